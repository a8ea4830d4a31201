//! What goes into a store and comes out of it, beyond the domain's own records.

use async_trait::async_trait;
use tollgate_domain::limit::UNITS_MAX;
use tollgate_domain::{
    Account, AccountId, Charged, Glob, HashedKey, IpRules, Key, KeyHash, KeyId, KeyLimits, MeterName, Period, PlanName,
    Timestamp,
};

/// What a gateway needs to know about a key that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyWithAccount {
    /// The key.
    pub key: Key,
    /// Its owner.
    pub account: Account,
}

/// An account to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAccount {
    /// Its id.
    pub id: AccountId,
    /// How its owner is reached.
    pub email: String,
    /// What it is called.
    pub name: Option<String>,
    /// The plan an operator gives it; `None` leaves it to the default plan or a subscription.
    pub assigned_plan: Option<PlanName>,
    /// Now.
    pub created_at: Timestamp,
}

/// A key to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// Its id.
    pub id: KeyId,
    /// Its owner.
    pub account: AccountId,
    /// What finds it and what may be shown of it.
    pub hashed: HashedKey,
    /// What its owner calls it.
    pub name: Option<String>,
    /// Now.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// The routes it may call; empty means all.
    pub scopes: Vec<Glob>,
    /// Whether it may only read.
    pub read_only: bool,
    /// Where it may be used from.
    pub ip_rules: IpRules,
    /// Limits of its own.
    pub limits: KeyLimits,
}

/// One line of a file of existing keys, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedKey {
    /// The id it gets if it is new.
    pub id: KeyId,
    /// Its plain SHA-256.
    pub hash: KeyHash,
    /// Its owner's address; the account is made if it is new.
    pub email: String,
    /// The id the account gets if it is new.
    pub account_id_if_new: AccountId,
    /// The plan an operator gives the account; `None` leaves an existing one as it is.
    pub plan: Option<PlanName>,
    /// What its owner calls it.
    pub name: Option<String>,
    /// Whether it is taken over as revoked.
    pub revoked: bool,
    /// Units it may use a period.
    pub cap: Option<u64>,
    /// Units used in the open period.
    pub used: u64,
    /// The period `used` is charged in; the account's open period under its plan once imported.
    pub cycle_start: Option<Timestamp>,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
}

/// One line of a file of existing accounts, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedAccount {
    /// The id it gets if it is new.
    pub id: AccountId,
    /// How its owner is reached.
    pub email: String,
    /// What it is called.
    pub name: Option<String>,
    /// The plan an operator gives it.
    pub plan: Option<PlanName>,
    /// The customer at Stripe.
    pub stripe_customer: Option<String>,
    /// The subscription at Stripe.
    pub stripe_subscription: Option<String>,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Accounts that were made.
    pub accounts_created: u64,
    /// Accounts that were there and got the line's facts.
    pub accounts_updated: u64,
    /// Keys that were made.
    pub keys_created: u64,
    /// Keys that were there already, by hash; left as they are.
    pub keys_known: u64,
    /// What a gateway must hear of.
    pub changes: Vec<Change>,
}

/// Units charged in a period, and by each key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuotaUsed {
    /// The whole account: charged less refunded, in entries whose period overlaps the one asked for.
    pub account: u64,
    /// The key asked for, with the keys of its chain of rotations: they share a cap.
    pub key: u64,
    /// Calls behind it, for the account.
    pub calls: u64,
}

/// What a limiter asks the ledger before an account's first call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedQuery {
    /// Whose.
    pub account: AccountId,
    /// The key that calls, where it has limits of its own. What others of its chain of rotations spent counts for it.
    pub key: Option<KeyId>,
    /// The meter that the call debits.
    pub meter: Option<MeterName>,
    /// From when on debits are needed.
    pub since: Timestamp,
    /// Debits may be merged into groups as long as this, in microseconds, each at its newest call.
    pub resolution_us: i64,
    /// The period that holds now.
    pub period: Period,
}

/// An account's buckets and windows as a graceful stop saves them: opaque to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedState {
    /// What it belongs to, in the limiter's own words.
    pub subject: String,
    /// The state, in the limiter's own form.
    pub state: String,
}

/// What every gateway must hear of, so that what it has cached is never older than the call that changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A key was made or changed: forget what is cached under this hash.
    Key(KeyHash),
    /// An account was changed: forget what is cached of it.
    Account(AccountId),
    /// Units were charged or credited beside the gateways.
    Usage {
        /// Whose quota.
        account: AccountId,
        /// Which of its quotas.
        of: Charged,
        /// The period.
        period: Period,
        /// Units; negative for a credit. At most 2^53 either way.
        units: i64,
        /// The entry's place in the ledger.
        position: u64,
    },
}

const _: () = assert!(UNITS_MAX <= i64::MAX as u64, "a change's units fit a signed number");

/// A change that was committed and that the fleet may not have heard of yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Its number, to be named when it has been told.
    pub id: i64,
    /// What changed.
    pub change: Change,
}

/// Where changes go: in one process straight to the gateway's caches, in a fleet to all of them.
#[async_trait]
pub trait ChangeSink: Send + Sync {
    /// Returns when the gateway in this process obeys the change.
    async fn publish(&self, change: &Change);

    /// Changes may have been missed: everything remembered is to be read again before it is believed.
    async fn resync(&self);
}

/// One line of the audit trail to be written, in the same transaction as what it tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAudit {
    /// Who did it: `operator`, `import`, ….
    pub actor: String,
    /// What was done: `key.create`, `account.ban`, ….
    pub action: &'static str,
    /// When.
    pub at: Timestamp,
    /// Facts of it as JSON, never a secret.
    pub detail: serde_json::Value,
}

/// One line of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number, rising with time.
    pub sequence: i64,
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// Whose account it was done to.
    pub account: Option<AccountId>,
    /// Which key.
    pub key: Option<KeyId>,
    /// Facts of it, as JSON.
    pub detail: serde_json::Value,
}

/// Which audit lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only of this account.
    pub account: Option<AccountId>,
    /// Only lines older than this one, newest first.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

/// A page of a list, in order of id, and where the next begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The things.
    pub items: Vec<T>,
    /// Whether more follow the last one.
    pub has_more: bool,
}

/// An answer kept for a repeated `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotentAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body, without any secret it held.
    pub body: serde_json::Value,
    /// Whether the first answer held a secret that this one cannot repeat.
    pub held_secret: bool,
}

/// What is known of an `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// It is new and now reserved for this request.
    Reserved,
    /// Another request with it is under way.
    InProgress,
    /// It was used for another request.
    Mismatch,
    /// It was used for this request, with this answer.
    Done(IdempotentAnswer),
}
