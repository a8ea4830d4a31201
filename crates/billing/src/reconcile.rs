//! Whether the books agree: what gateways counted, what the limiter counts, the ledger and its sums, what Stripe was told
//! of use and what it has, what it says of subscriptions and what is known of them, what it told and what was heeded.
//!
//! Every difference is found, named and, with `fix`, mended where it is ours: facts are read afresh, events fetched, sends
//! put back, limiters told. Nothing is ever changed about money at Stripe. A difference that time alone may end, as while
//! a batch is under way, counts only if a second look finds it too. All of it is read page by page; of what Stripe lists
//! only eight bytes an object are kept.

mod facts;
mod inbox;
mod kind;
mod ledger;
mod metered;
mod pages;
mod report;
mod subscriptions;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tollgate_domain::{AccountId, MeterName, Period, Timestamp};

pub use kind::DifferenceKind;
pub use report::{Difference, Figure, Looked, Mending, Report, Stretch, Unread};

use crate::worker::stopped;
use crate::{Billing, BillingError};

/// After how long what differed is looked at again: gateways have told by then what they had counted at the first look.
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(5);
/// Questions that are asked at a time.
const AT_ONCE: usize = 8;
/// When a process that works on billing first compares the books: after its first sweep.
const FIRST: Duration = Duration::from_mins(20);
/// The most differences that the log names each night; the report names all.
const LOGGED_MAX: usize = 100;
/// Rows that the store is asked for at a time.
const PAGE: u32 = 500;

/// What the limiter counts.
#[async_trait]
pub trait Standing: Send + Sync {
    /// Units used of a quota in a period, `meter` is `None` for calls; `None` where the limiter has no state of it, or does not
    /// answer.
    async fn used(&self, account: AccountId, meter: Option<&MeterName>, period: Period) -> Option<u64>;
}

/// No limiter can be asked: what it counts is not compared.
pub struct NoStanding;

#[async_trait]
impl Standing for NoStanding {
    async fn used(&self, _: AccountId, _: Option<&MeterName>, _: Period) -> Option<u64> {
        None
    }
}

impl Billing {
    /// Has the nightly comparison ask this limiter too. The first one counts.
    pub fn know_limiter(&self, standing: Arc<dyn Standing>) {
        self.limiter.get_or_init(|| standing);
    }

    /// Compares the books again and again until told to stop, while this is the process that works on billing. It only
    /// looks: what it leaves is counted, and named in the log.
    pub(crate) async fn run_comparisons(&self, mut stop: watch::Receiver<bool>) {
        let every = self.deps.stripe.sweep;
        let mut rest = every.min(FIRST);
        loop {
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = stopped(&mut stop) => return,
            }
            rest = every;
            let compared = tokio::select! {
                compared = self.compare_if_working() => compared,
                () = stopped(&mut stop) => return,
            };
            if let Err(error) = compared {
                tracing::warn!(%error, "the books cannot be compared");
            }
        }
    }

    async fn compare_if_working(&self) -> Result<(), BillingError> {
        if self.fence().await?.is_none() {
            return Ok(());
        }
        let limiter = self.limiter.get();
        let report = self.reconcile(false, limiter.map_or(&NoStanding, |limiter| &**limiter)).await?;
        for difference in report.differences.iter().take(LOGGED_MAX) {
            let Difference { kind, account, subject, expected, found, .. } = difference;
            let [expected, found] = [expected, found].map(|figure| figure.as_ref().map(Figure::to_string));
            tracing::warn!(%kind, account, subject, expected, found, "two books differ; see `tollgate reconcile`");
        }
        for Unread { what, why } in &report.unread {
            tracing::warn!(what, why, "books could not be compared");
        }
        Ok(())
    }

    /// Compares all books, and with `fix` mends what is ours to mend.
    ///
    /// # Errors
    /// The store does not answer. Where Stripe does not, the report says what could not be compared.
    pub async fn reconcile(&self, fix: bool, standing: &dyn Standing) -> Result<Report, BillingError> {
        self.reconcile_patiently(fix, standing, SECOND_LOOK_AFTER).await
    }

    pub(crate) async fn reconcile_patiently(
        &self,
        fix: bool,
        standing: &dyn Standing,
        second_look_after: Duration,
    ) -> Result<Report, BillingError> {
        let now = self.deps.clock.now();
        let report = Report::new(now, fix);
        let mut books = Books { billing: self, standing, second_look_after, now, report, calls: AtomicU64::new(0) };
        if let Err(error) = books.compare().await {
            if matches!(error, BillingError::Lost) {
                self.lost().await;
            }
            return Err(error);
        }
        let Books { mut report, calls, .. } = books;
        report.looked.calls = calls.into_inner();
        report.sort();
        let (left, mended) = (report.left(), report.mended());
        self.stats.reconcile_differences.store(left, Relaxed);
        tracing::info!(fix, left, mended, "the books were compared");
        Ok(report)
    }
}

/// The books, while they are compared.
struct Books<'a> {
    billing: &'a Billing,
    standing: &'a dyn Standing,
    second_look_after: Duration,
    /// When it was begun.
    now: Timestamp,
    report: Report,
    /// Questions that Stripe was asked.
    calls: AtomicU64,
}

impl Books<'_> {
    async fn compare(&mut self) -> Result<(), BillingError> {
        // What was missed is fetched before what follows from it is compared.
        self.compare_inbox().await?;
        self.compare_batches().await?;
        self.compare_sums().await?;
        self.compare_limiter().await?;
        self.compare_facts().await?;
        self.compare_metered().await
    }

    fn fix(&self) -> bool {
        self.report.fix
    }

    async fn rest(&self) {
        tokio::time::sleep(self.second_look_after).await;
    }

    /// Counts a question that Stripe is asked.
    fn asks(&self) {
        self.calls.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests;
