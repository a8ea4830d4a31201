//! [`SqliteStore`]: the store in one `SQLite` file, or in memory for tests.
//!
//! This module owns the connections and hands each call to the module of its table. It decides nothing. One
//! connection writes, so that writers wait for each other here and never meet a locked database; a few others read.

mod accounts;
mod audit;
mod fault;
mod idempotency;
mod import;
mod keys;
mod ledger;
mod limiter_state;
mod lock;
mod open;
mod row;
mod seed;
#[cfg(test)]
mod tests;
mod usage;

use std::path::Path;

use async_trait::async_trait;
use sqlx::{Sqlite, SqlitePool, Transaction};
use tollgate_domain::limit::Seed;
use tollgate_domain::{
    Account, AccountId, Ban, Key, KeyHash, KeyId, Period, PlanName, PlanTable, Timestamp, UsageBatch,
};

use crate::error::StoreError;
use crate::record::{
    AuditEntry, AuditQuery, Idempotency, IdempotentAnswer, ImportReport, ImportedAccount, ImportedKey, KeyWithAccount,
    NewAccount, NewAudit, NewKey, Page, QuotaUsed, SavedState, SeedQuery,
};
use crate::store::{CreateAccount, CreateKey, RotateKey, Store};

use fault::failed;
use lock::FileLock;

/// Accounts, keys, ledger and audit in one `SQLite` file that no other process uses.
pub struct SqliteStore {
    writer: SqlitePool,
    reader: SqlitePool,
    /// Held for the store's life, and let go after the connections.
    _lock: Option<FileLock>,
}

impl SqliteStore {
    /// Opens the database in this file, made with mode 0600 if it is missing, and brings it up to date.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] says in one line what is in the way: the folder, the permissions, another process
    /// that uses the file, a file that is no database, is damaged, or was made by a newer version. Such a file is
    /// left as it is.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        open::open(path).await
    }

    /// Opens an empty database that is gone when the store is.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_in_memory() -> Result<Self, StoreError> {
        open::open_in_memory().await
    }

    /// Waits for calls under way, then closes the file and folds its write-ahead log into it. Later calls fail.
    /// A store that is dropped instead loses nothing; its log stays beside the file until the next start.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    /// Begins a transaction that may write. It waits for the one before it, not for a lock in the file.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)
    }

    /// Begins a transaction that sees one state of the database throughout.
    async fn read(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.reader.begin().await.map_err(failed)
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SqliteStore")
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT id FROM accounts LIMIT 1").fetch_optional(&self.reader).await.map_err(failed)?;
        Ok(())
    }

    async fn find_key(&self, hash: &KeyHash) -> Result<Option<KeyWithAccount>, StoreError> {
        keys::find(&self.reader, hash).await
    }

    async fn seed(&self, query: &SeedQuery) -> Result<Seed, StoreError> {
        let mut snapshot = self.read().await?;
        seed::seed(&mut snapshot, query).await
    }

    async fn store_batch(&self, batch: &UsageBatch) -> Result<bool, StoreError> {
        let mut transaction = self.write().await?;
        let is_new = usage::store_batch(&mut transaction, batch).await?;
        if is_new {
            transaction.commit().await.map_err(failed)?;
        }
        Ok(is_new)
    }

    async fn quota_used(
        &self,
        account: AccountId,
        key: Option<KeyId>,
        period: Period,
    ) -> Result<QuotaUsed, StoreError> {
        let mut snapshot = self.read().await?;
        seed::quota_used(&mut snapshot, account, key, period).await
    }

    async fn save_limiter_state(&self, states: &[SavedState]) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        limiter_state::save(&mut transaction, states).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn take_limiter_state(&self) -> Result<Vec<SavedState>, StoreError> {
        let mut transaction = self.write().await?;
        let states = limiter_state::take(&mut transaction).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(states)
    }

    async fn create_account(&self, new: &NewAccount, audit: &NewAudit) -> Result<CreateAccount, StoreError> {
        let mut transaction = self.write().await?;
        let outcome = accounts::create(&mut transaction, new, audit).await?;
        if matches!(outcome, CreateAccount::Created(_)) {
            transaction.commit().await.map_err(failed)?;
        }
        Ok(outcome)
    }

    async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        accounts::by_id(&self.reader, id).await
    }

    async fn account_by_email(&self, email: &str) -> Result<Option<Account>, StoreError> {
        accounts::by_email(&self.reader, email).await
    }

    async fn accounts(&self, after: Option<AccountId>, limit: u32) -> Result<Page<Account>, StoreError> {
        accounts::list(&self.reader, after, limit).await
    }

    async fn assign_plan(
        &self,
        id: AccountId,
        plan: Option<&PlanName>,
        audit: &NewAudit,
    ) -> Result<Option<Account>, StoreError> {
        let mut transaction = self.write().await?;
        let account = accounts::assign_plan(&mut transaction, id, plan, audit).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(account)
    }

    async fn set_ban(&self, id: AccountId, ban: Option<&Ban>, audit: &NewAudit) -> Result<Option<Account>, StoreError> {
        let mut transaction = self.write().await?;
        let account = accounts::set_ban(&mut transaction, id, ban, audit).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(account)
    }

    async fn delete_account(
        &self,
        id: AccountId,
        at: Timestamp,
        audit: &NewAudit,
    ) -> Result<Option<(Account, Vec<Key>)>, StoreError> {
        let mut transaction = self.write().await?;
        let deleted = accounts::delete(&mut transaction, id, at, audit).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(deleted)
    }

    async fn create_key(&self, new: &NewKey, max_keys: Option<u64>, audit: &NewAudit) -> Result<CreateKey, StoreError> {
        let mut transaction = self.write().await?;
        let outcome = keys::create(&mut transaction, new, max_keys, audit).await?;
        if matches!(outcome, CreateKey::Created(_)) {
            transaction.commit().await.map_err(failed)?;
        }
        Ok(outcome)
    }

    async fn key(&self, id: KeyId) -> Result<Option<Key>, StoreError> {
        keys::by_id(&self.reader, id).await
    }

    async fn keys(
        &self,
        account: Option<AccountId>,
        after: Option<KeyId>,
        limit: u32,
    ) -> Result<Page<Key>, StoreError> {
        keys::list(&self.reader, account, after, limit).await
    }

    async fn rotate_key(
        &self,
        id: KeyId,
        new: &NewKey,
        grace_until: Timestamp,
        audit: &NewAudit,
    ) -> Result<RotateKey, StoreError> {
        let mut transaction = self.write().await?;
        let outcome = keys::rotate(&mut transaction, id, new, grace_until, audit).await?;
        if matches!(outcome, RotateKey::Rotated { .. }) {
            transaction.commit().await.map_err(failed)?;
        }
        Ok(outcome)
    }

    async fn revoke_key(&self, id: KeyId, at: Timestamp, audit: &NewAudit) -> Result<Option<Key>, StoreError> {
        let mut transaction = self.write().await?;
        let key = keys::revoke(&mut transaction, id, at, audit).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(key)
    }

    async fn import_keys(
        &self,
        keys: &[ImportedKey],
        plans: &PlanTable,
        now: Timestamp,
        audit: &NewAudit,
    ) -> Result<ImportReport, StoreError> {
        let mut transaction = self.write().await?;
        let report = import::keys(&mut transaction, keys, plans, now, audit).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(report)
    }

    async fn import_accounts(
        &self,
        accounts: &[ImportedAccount],
        now: Timestamp,
        audit: &NewAudit,
    ) -> Result<ImportReport, StoreError> {
        let mut transaction = self.write().await?;
        let report = import::accounts(&mut transaction, accounts, now, audit).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(report)
    }

    async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
        audit::list(&self.reader, query).await
    }

    async fn reserve_idempotency(
        &self,
        scope: &str,
        key: &str,
        request_hash: &str,
        now: Timestamp,
    ) -> Result<Idempotency, StoreError> {
        let mut transaction = self.write().await?;
        let known = idempotency::reserve(&mut transaction, scope, key, request_hash, now).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(known)
    }

    async fn complete_idempotency(&self, scope: &str, key: &str, answer: &IdempotentAnswer) -> Result<(), StoreError> {
        idempotency::complete(&self.writer, scope, key, answer).await
    }

    async fn release_idempotency(&self, scope: &str, key: &str) -> Result<(), StoreError> {
        idempotency::release(&self.writer, scope, key).await
    }
}
