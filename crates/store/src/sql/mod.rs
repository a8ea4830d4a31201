//! Every statement there is, for both databases, and the [`Store`] made of them. Each module is one table's, and
//! hands back whole records. How a database is opened, locked and waited for is its own module's.
//!
//! What a transaction reads before it writes, it holds: the account before its keys, the turn to append before the
//! ledger, the lease before anything that needs it. Two that still wait for each other are told apart by the server, which gives one up; it is run again.

pub(crate) mod accounts;
mod admin;
mod apply;
mod audit;
mod batches;
pub(crate) mod billed;
mod billing;
mod credit;
mod database;
pub(crate) mod differences;
pub(crate) mod events;
pub(crate) mod export;
pub(crate) mod facts;
mod fault;
pub(crate) mod history;
mod idempotency;
mod import;
pub(crate) mod inbox;
mod insert;
pub(crate) mod keys;
mod leases;
mod ledger;
mod limiter_state;
pub(crate) mod meter_sends;
pub(crate) mod notices;
pub(crate) mod openings;
mod outbox;
pub(crate) mod prune;
pub(crate) mod requests;
mod row;
mod schema;
pub(crate) mod seed;
pub(crate) mod sign_in;
pub(crate) mod subscriptions;
mod sums;
mod usage;
pub(crate) mod uses;

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
use crate::store::{CreateAccount, CreateKey, RotateKey, Store};

pub(crate) use database::{Connection, Lock, Row, Value, query};
pub(crate) use fault::{damage, failed, is_of_a_server_that_only_reads, one_line, refusal};
pub(crate) use insert::{Insert, Kind};
pub(crate) use row::Fields;
pub(crate) use schema::{APPLIED, Applied, unknown_schema};

/// How often a transaction is run that others overtake each time.
const ATTEMPTS: u32 = 5;

/// How a call uses the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One statement that reads.
    Single,
    /// Statements that read one state of the database.
    Snapshot,
    /// Statements that may write. What is read sees what was committed before it.
    Write,
}

/// A database that is open.
#[async_trait]
pub trait Backend: Send + Sync {
    /// A connection for one call. What it wrote is undone unless it is committed.
    async fn begin(&self, mode: Mode) -> Result<Connection, StoreError>;
}

/// The store over one of the databases.
pub struct SqlStore<B> {
    pub(crate) backend: B,
}

/// Runs a call in a transaction: all of what it writes, or nothing, and again where another one overtook it.
macro_rules! in_transaction {
    ($store:expr, |$connection:ident| $work:expr) => {{
        let mut attempt = 1;
        loop {
            let outcome = async {
                let mut transaction = $store.backend.begin($crate::sql::Mode::Write).await?;
                let $connection = &mut transaction;
                let done = $work.await?;
                transaction.commit().await?;
                Ok(done)
            };
            match outcome.await {
                Err(error) if attempt < $crate::sql::ATTEMPTS && $crate::sql::fault::is_race(&error) => attempt += 1,
                outcome => break outcome,
            }
        }
    }};
}

use in_transaction;

#[async_trait]
impl<B: Backend> Store for SqlStore<B> {
    async fn ping(&self) -> Result<(), StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        query("SELECT id FROM accounts LIMIT 1").fetch_optional(&mut connection).await?;
        Ok(())
    }

    async fn find_key(&self, hash: &KeyHash) -> Result<Option<KeyWithAccount>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        keys::find(&mut connection, hash).await
    }

    async fn seed(&self, query: &SeedQuery) -> Result<Seed, StoreError> {
        let mut snapshot = self.backend.begin(Mode::Snapshot).await?;
        seed::seed(&mut snapshot, query).await
    }

    async fn store_batch(&self, batch: &UsageBatch) -> Result<bool, StoreError> {
        in_transaction!(self, |connection| usage::store_batch(connection, batch))
    }

    async fn quota_used(
        &self,
        account: AccountId,
        key: Option<KeyId>,
        period: Period,
    ) -> Result<QuotaUsed, StoreError> {
        let mut snapshot = self.backend.begin(Mode::Snapshot).await?;
        seed::quota_used(&mut snapshot, account, key, period).await
    }

    async fn save_limiter_state(&self, states: &[SavedState]) -> Result<(), StoreError> {
        in_transaction!(self, |connection| limiter_state::save(connection, states))
    }

    async fn take_limiter_state(&self) -> Result<Vec<SavedState>, StoreError> {
        in_transaction!(self, |connection| limiter_state::take(connection))
    }

    async fn create_account(&self, new: &NewAccount, audit: &NewAudit) -> Result<CreateAccount, StoreError> {
        in_transaction!(self, |connection| accounts::create(connection, new, audit))
    }

    async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        accounts::by_id(&mut connection, id).await
    }

    async fn account_by_email(&self, email: &str) -> Result<Option<Account>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        accounts::by_email(&mut connection, email).await
    }

    async fn accounts(&self, after: Option<AccountId>, limit: u32) -> Result<Page<Account>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        accounts::list(&mut connection, after, limit).await
    }

    async fn assign_plan(
        &self,
        id: AccountId,
        plan: Option<&PlanName>,
        until: Option<Timestamp>,
        audit: &NewAudit,
    ) -> Result<Option<Account>, StoreError> {
        in_transaction!(self, |connection| accounts::assign_plan(connection, id, plan, until, audit))
    }

    async fn set_ban(&self, id: AccountId, ban: Option<&Ban>, audit: &NewAudit) -> Result<Option<Account>, StoreError> {
        in_transaction!(self, |connection| accounts::set_ban(connection, id, ban, audit))
    }

    async fn delete_account(
        &self,
        id: AccountId,
        at: Timestamp,
        audit: &NewAudit,
    ) -> Result<Option<(Account, Vec<Key>)>, StoreError> {
        in_transaction!(self, |connection| accounts::delete(connection, id, at, audit))
    }

    async fn create_key(&self, new: &NewKey, max_keys: Option<u64>, audit: &NewAudit) -> Result<CreateKey, StoreError> {
        in_transaction!(self, |connection| keys::create(connection, new, max_keys, audit))
    }

    async fn key(&self, id: KeyId) -> Result<Option<Key>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        keys::by_id(&mut connection, id).await
    }

    async fn keys(
        &self,
        account: Option<AccountId>,
        after: Option<KeyId>,
        limit: u32,
    ) -> Result<Page<Key>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        keys::list(&mut connection, account, after, limit).await
    }

    async fn rotate_key(
        &self,
        id: KeyId,
        new: &NewKey,
        grace_until: Timestamp,
        audit: &NewAudit,
    ) -> Result<RotateKey, StoreError> {
        in_transaction!(self, |connection| keys::rotate(connection, id, new, grace_until, audit))
    }

    async fn revoke_key(&self, id: KeyId, at: Timestamp, audit: &NewAudit) -> Result<Option<Key>, StoreError> {
        in_transaction!(self, |connection| keys::revoke(connection, id, at, audit))
    }

    async fn import_keys(
        &self,
        keys: &[ImportedKey],
        plans: &PlanTable,
        now: Timestamp,
        audit: &NewAudit,
    ) -> Result<ImportReport, StoreError> {
        in_transaction!(self, |connection| import::keys(connection, keys, plans, now, audit))
    }

    async fn import_accounts(
        &self,
        accounts: &[ImportedAccount],
        now: Timestamp,
        audit: &NewAudit,
    ) -> Result<ImportReport, StoreError> {
        in_transaction!(self, |connection| import::accounts(connection, accounts, now, audit))
    }

    async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        audit::list(&mut connection, query).await
    }

    async fn outbox(&self, limit: u32) -> Result<Vec<OutboxEntry>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        if !connection.keeps_outbox() {
            return Ok(Vec::new());
        }
        outbox::list(&mut connection, limit).await
    }

    async fn clear_outbox(&self, ids: &[i64]) -> Result<(), StoreError> {
        in_transaction!(self, |connection| outbox::clear(connection, ids))
    }

    async fn reserve_idempotency(
        &self,
        scope: &str,
        key: &str,
        request_hash: &str,
        now: Timestamp,
    ) -> Result<Idempotency, StoreError> {
        in_transaction!(self, |connection| idempotency::reserve(connection, scope, key, request_hash, now))
    }

    async fn complete_idempotency(&self, scope: &str, key: &str, answer: &IdempotentAnswer) -> Result<(), StoreError> {
        in_transaction!(self, |connection| idempotency::complete(connection, scope, key, answer))
    }

    async fn release_idempotency(&self, scope: &str, key: &str) -> Result<(), StoreError> {
        in_transaction!(self, |connection| idempotency::release(connection, scope, key))
    }
}
