//! Stripe, from both sides: what it tells (webhooks, verified, stored once, heeded in whatever order they come), and what
//! is asked of it (checkout, portal, changes, metered use, whether the books agree).
//!
//! Nothing here decides about a call to the API: what it learns becomes facts of an account, from which the domain works
//! out what the account is entitled to. A customer's facts are always read afresh and whole, so that no order, doubling or
//! delay of news ends in another state.

use std::sync::Arc;

use tollgate_config::{Live, StripeConfig};
use tollgate_domain::Clock;
use tollgate_store::{AdminStore, ChangeSink};

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
