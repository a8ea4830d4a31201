//! The trait itself. Every mutation writes its audit line in the same transaction, and is whole or not at all.

use async_trait::async_trait;
use tollgate_domain::limit::Seed;
use tollgate_domain::{
    Account, AccountId, Ban, Key, KeyHash, KeyId, Period, PlanName, PlanTable, Timestamp, UsageBatch,
};

use crate::error::StoreError;
use crate::record::{
    AuditEntry, AuditQuery, Idempotency, IdempotentAnswer, ImportReport, ImportedAccount, ImportedKey, KeyWithAccount,
    NewAccount, NewAudit, NewKey, OutboxEntry, Page, QuotaUsed, SavedState, SeedQuery,
};

/// How the making of an account ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateAccount {
    /// It was made.
    Created(Account),
    /// There is one with this e-mail (compared without case); nothing was changed.
    Exists(Account),
}

/// How the making of a key ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one is made by a call of an operator and taken apart at once")]
pub enum CreateKey {
    /// It was made.
    Created(Key),
    /// The account has as many active keys as its plan allows; nothing was changed.
    LimitReached {
        /// Keys that count.
        active: u64,
    },
    /// There is no such account, or it was deleted.
    NoAccount,
    /// The same hash is stored already.
    Duplicate,
}

/// How a rotation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one is made by a call of an operator and taken apart at once")]
pub enum RotateKey {
    /// The new key, and the old one as it is now.
    Rotated {
        /// The successor, with the old key's name, scopes, rules, expiry and limits.
        new: Key,
        /// The predecessor.
        old: Key,
    },
    /// The key does not work any more, so there is nothing to rotate.
    NotActive(Key),
    /// The key's own predecessor is still in its grace: one at a time.
    PredecessorInGrace {
        /// Until when.
        grace_until: Timestamp,
    },
    /// There is no such key.
    NoKey,
}

/// Accounts, keys, ledger and audit. Used as `Arc<dyn Store>`; no method is on the path of a cached key's request.
#[async_trait]
pub trait Store: Send + Sync {
    /// Whether it answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// The key of this hash and its account, in any state.
    async fn find_key(&self, hash: &KeyHash) -> Result<Option<KeyWithAccount>, StoreError>;

    /// What the ledger tells about an account whose limits have no state in memory.
    async fn seed(&self, query: &SeedQuery) -> Result<Seed, StoreError>;

    /// Stores a batch once: true when it was new, false when it was there already (same node and sequence).
    /// Ledger lines, hourly and per-period rollups and the keys' last use change in one transaction.
    async fn store_batch(&self, batch: &UsageBatch) -> Result<bool, StoreError>;

    /// Units charged in a period.
    async fn quota_used(&self, account: AccountId, key: Option<KeyId>, period: Period)
    -> Result<QuotaUsed, StoreError>;

    /// Keeps the limiter's state across a graceful stop, in place of what was kept before.
    async fn save_limiter_state(&self, states: &[SavedState]) -> Result<(), StoreError>;

    /// Gives back what the last graceful stop kept, and forgets it, so that a crash later never finds it stale.
    async fn take_limiter_state(&self) -> Result<Vec<SavedState>, StoreError>;

    /// Makes an account.
    async fn create_account(&self, new: &NewAccount, audit: &NewAudit) -> Result<CreateAccount, StoreError>;

    /// The account of this id, deleted or not.
    async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError>;

    /// The account of this e-mail, compared without case, unless it was deleted.
    async fn account_by_email(&self, email: &str) -> Result<Option<Account>, StoreError>;

    /// Accounts that were not deleted, in order of id, after this one.
    async fn accounts(&self, after: Option<AccountId>, limit: u32) -> Result<Page<Account>, StoreError>;

    /// Sets the operator's plan, until an instant where it is to end by itself, or lifts it with `None`; the account as
    /// it is then.
    async fn assign_plan(
        &self,
        id: AccountId,
        plan: Option<&PlanName>,
        until: Option<Timestamp>,
        audit: &NewAudit,
    ) -> Result<Option<Account>, StoreError>;

    /// Bans, or lifts a ban with `None`; the account as it is then.
    async fn set_ban(&self, id: AccountId, ban: Option<&Ban>, audit: &NewAudit) -> Result<Option<Account>, StoreError>;

    /// Deletes: the account is marked, its keys revoked, its e-mail and name erased; the ledger stays.
    /// The account as it was before, and its keys.
    async fn delete_account(
        &self,
        id: AccountId,
        at: Timestamp,
        audit: &NewAudit,
    ) -> Result<Option<(Account, Vec<Key>)>, StoreError>;

    /// Makes a key, unless the account then had more than `max_keys` active ones (not revoked, expired or in grace).
    async fn create_key(&self, new: &NewKey, max_keys: Option<u64>, audit: &NewAudit) -> Result<CreateKey, StoreError>;

    /// The key of this id, in any state.
    async fn key(&self, id: KeyId) -> Result<Option<Key>, StoreError>;

    /// Keys of one account or of all, in any state, in order of id, after this one.
    async fn keys(&self, account: Option<AccountId>, after: Option<KeyId>, limit: u32)
    -> Result<Page<Key>, StoreError>;

    /// Replaces a key: `new` brings id, account, hash and time; the rest is the old key's. The old one works
    /// until `grace_until`.
    async fn rotate_key(
        &self,
        id: KeyId,
        new: &NewKey,
        grace_until: Timestamp,
        audit: &NewAudit,
    ) -> Result<RotateKey, StoreError>;

    /// Revokes a key for good; revoking it again changes nothing. The key as it is then.
    async fn revoke_key(&self, id: KeyId, at: Timestamp, audit: &NewAudit) -> Result<Option<Key>, StoreError>;

    /// Takes existing keys over, all or none. Accounts are made where their e-mail is new, plans set where a line
    /// names one; `used` enters the account's open quota period under its plan in `plans` as a ledger entry
    /// (0 where `cycle_start` is over 30 days old), and the earliest `cycle_start` moves the rolling anchor of an account
    /// that this import makes. A hash that is known already is left alone, its use too.
    async fn import_keys(
        &self,
        keys: &[ImportedKey],
        plans: &PlanTable,
        now: Timestamp,
        audit: &NewAudit,
    ) -> Result<ImportReport, StoreError>;

    /// Takes existing accounts over, all or none.
    async fn import_accounts(
        &self,
        accounts: &[ImportedAccount],
        now: Timestamp,
        audit: &NewAudit,
    ) -> Result<ImportReport, StoreError>;

    /// The audit trail, newest first.
    async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError>;

    /// The oldest changes that the fleet may not have heard of. A store that keeps no outbox has none.
    async fn outbox(&self, limit: u32) -> Result<Vec<OutboxEntry>, StoreError>;

    /// Takes changes out of the outbox, once the fleet has heard of them.
    async fn clear_outbox(&self, ids: &[i64]) -> Result<(), StoreError>;

    /// Reserves an `Idempotency-Key` of this scope for a request whose body has this hash, or tells what became of it.
    /// Reservations and answers are kept for 24 h.
    async fn reserve_idempotency(
        &self,
        scope: &str,
        key: &str,
        request_hash: &str,
        now: Timestamp,
    ) -> Result<Idempotency, StoreError>;

    /// Keeps the answer of a reserved request.
    async fn complete_idempotency(&self, scope: &str, key: &str, answer: &IdempotentAnswer) -> Result<(), StoreError>;

    /// Gives a reservation up, when its request failed without effect.
    async fn release_idempotency(&self, scope: &str, key: &str) -> Result<(), StoreError>;
}
