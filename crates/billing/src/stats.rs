//! How billing goes, counted for metrics. Whoever serves metrics reads it; nothing is decided by it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use crate::api::ApiError;

/// Counters since the start, and gauges as last seen by this process.
#[derive(Debug, Default)]
pub struct BillingStats {
    /// Events that were stored, by webhook or sweep.
    pub received: AtomicU64,
    /// Events that came again.
    pub duplicates: AtomicU64,
    /// Events of a kind that nothing follows from.
    pub ignored: AtomicU64,
    /// Webhooks refused for their signature.
    pub rejected_signature: AtomicU64,
    /// Webhooks refused for their body.
    pub rejected_payload: AtomicU64,
    /// Webhooks refused for being of the other mode.
    pub rejected_livemode: AtomicU64,
    /// Webhooks refused because the store did not answer.
    pub rejected_store: AtomicU64,
    /// Events that were heeded.
    pub applied: AtomicU64,
    /// Attempts to heed an event that failed.
    pub failed: AtomicU64,
    /// Events that were given up.
    pub dead: AtomicU64,
    /// Customers that were read afresh.
    pub refreshed: AtomicU64,
    /// Events that wait, as of the last look.
    pub pending: AtomicU64,
    /// Events given up that nobody has looked at, as of the last look.
    pub dead_waiting: AtomicU64,
    /// When the oldest event that waits was received, in microseconds since the epoch; zero where none waits.
    pub oldest_pending_us: AtomicI64,
    /// Prices that no plan has.
    pub alert_unknown_price: AtomicU64,
    /// Statuses that this version does not know.
    pub alert_unknown_status: AtomicU64,
    /// Customers whose account is another customer's.
    pub alert_other_customer: AtomicU64,
    /// Customers who pay for a plan and whose account cannot be found or made.
    pub alert_unmatched: AtomicU64,
    /// Sweeps that ran to their end.
    pub sweeps: AtomicU64,
    /// Sweeps that did not.
    pub sweeps_failed: AtomicU64,
    /// Events that only a sweep found.
    pub sweep_found: AtomicU64,
    /// Accounts that sweeps read.
    pub sweep_accounts: AtomicU64,
    /// Accounts whose facts a sweep found changed.
    pub sweep_mended: AtomicU64,
    /// Calls that Stripe refused.
    pub api_refused: AtomicU64,
    /// Calls that Stripe did not answer.
    pub api_unavailable: AtomicU64,
    /// Calls whose answer could not be read.
    pub api_unreadable: AtomicU64,
    /// Units that Stripe's meters took.
    pub meter_units_sent: AtomicU64,
    /// Sends of metered use that are tried again.
    pub meter_failed: AtomicU64,
    /// Sends of metered use that were given up.
    pub meter_given_up: AtomicU64,
    /// Differences between the books that the last comparison left.
    pub reconcile_differences: AtomicU64,
    /// Whether this process is the one that works: 1 or 0.
    pub is_working: AtomicU64,
}

impl BillingStats {
    pub(crate) fn api_failed(&self, error: &ApiError) {
        let counter = match error {
            ApiError::Refused { .. } => &self.api_refused,
            ApiError::Unavailable(_) => &self.api_unavailable,
            ApiError::Unreadable(_) => &self.api_unreadable,
        };
        counter.fetch_add(1, Relaxed);
    }
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Counts several.
pub(crate) fn add(counter: &AtomicU64, many: usize) {
    counter.fetch_add(u64::try_from(many).unwrap_or(u64::MAX), Relaxed);
}
