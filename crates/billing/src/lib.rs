//! Stripe, from both sides: what it tells (webhooks, verified, stored once, heeded in whatever order they come), and what
//! is asked of it (checkout, portal, changes, metered use, whether the books agree).
//!
//! Nothing here decides about a call to the API: what it learns becomes facts of an account, from which the domain works
//! out what the account is entitled to. A customer's facts are always read afresh and whole, so that no order, doubling or
//! delay of news ends in another state.

mod actions;
pub mod api;
mod event;
mod inbox;
mod lease;
mod matching;
mod meters;
pub mod reconcile;
mod refresh;
pub mod setup;
mod signature;
mod stats;
mod sweep;
#[cfg(test)]
mod testing;
mod worker;

use std::sync::{Arc, OnceLock};

use futures::future::FutureExt;
use tokio::sync::{Notify, watch};
use tollgate_config::{Live, StripeConfig};
use tollgate_domain::Clock;
use tollgate_store::{AdminStore, ChangeSink, StoreError};

pub use actions::{ActionError, NewPlan, PlanChange, Preview, PreviewLine, Standing, When, metered_key, sold_plans};
pub use api::{Api, ApiError};
pub use event::{EVENT_KINDS, is_used};
pub use inbox::{BODY_BYTES_MAX, Received, Rejected};
pub use meters::{MeterEvent, MeterPass, MeterSink, NoMeters, StripeMeters, TellError};
pub use refresh::{Facts, Note, Read, Reversal, Rules, facts};
pub use signature::{InvalidSignature, TOLERANCE_SECS, verify};
pub use stats::BillingStats;
pub use sweep::Swept;
pub use worker::{Refreshed, Worked};

/// What billing is made of.
pub struct BillingDeps {
    /// Inbox, facts, ledger.
    pub store: Arc<dyn AdminStore>,
    /// The policy in force: plans, prices, grace.
    pub live: Arc<Live>,
    /// `[billing.stripe]`.
    pub stripe: StripeConfig,
    /// Where customers come back to, if the settings name no other address: the public address with the mount.
    pub public_base: String,
    /// Who must hear of a change.
    pub changes: Arc<dyn ChangeSink>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Which process this is, among those of one deployment.
    pub holder: String,
}

/// What keeps billing from doing what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BillingError {
    /// Stripe gave no answer that can be used.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The store did not do what it was asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another process works on billing; nothing was written.
    #[error("another process works on billing now")]
    Lost,
}

/// Stripe, as one process knows it. What is told comes in by [`Billing::receive`]; [`Billing::run`] works it off.
pub struct Billing {
    deps: BillingDeps,
    api: Api,
    stats: Arc<BillingStats>,
    /// Wakes the worker: there is an event.
    wake: Notify,
    lease: lease::Lease,
    /// One customer is read and written by one at a time, or what was read first could be written last.
    customers: worker::Turns,
    meters: meters::MeterMemory,
    /// What the nightly comparison asks of the limiter.
    limiter: OnceLock<Arc<dyn reconcile::Standing>>,
}

impl Billing {
    /// Made of these parts; nothing runs yet.
    ///
    /// # Errors
    /// The settings fit no client.
    pub fn new(deps: BillingDeps) -> Result<Arc<Self>, BillingError> {
        let stats: Arc<BillingStats> = Arc::default();
        let api = Api::with_stats(&deps.stripe, Arc::clone(&stats))?;
        Ok(Arc::new(Self {
            deps,
            api,
            stats,
            wake: Notify::new(),
            lease: lease::Lease::default(),
            customers: worker::Turns::default(),
            meters: meters::MeterMemory::default(),
            limiter: OnceLock::new(),
        }))
    }

    /// Works until `stop` turns true: heeds events, sweeps, tells of metered use, compares the books. It does not end by itself and cannot fail for good: what does
    /// not work is tried again. Any number of processes may run it; one of them works, the others wait to take over.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        futures::join!(
            self.run_worker(stop.clone()).boxed(),
            self.run_sweeps(stop.clone()).boxed(),
            self.run_meters(stop.clone()).boxed(),
            self.run_comparisons(stop.clone()).boxed(),
            self.keep_lease(stop)
        );
        if let Err(error) = self.release().await {
            tracing::info!(%error, "another process takes billing over in some seconds");
        }
    }

    /// Stripe, to be asked.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// How it went so far.
    pub fn stats(&self) -> &Arc<BillingStats> {
        &self.stats
    }
}
