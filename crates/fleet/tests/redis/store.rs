//! A store to test with: a database in memory that can be taken away, and an outbox that the test fills.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tollgate_domain::limit::Seed;
use tollgate_domain::{
    Account, AccountId, Ban, HashedKey, IpRules, Key, KeyHash, KeyId, KeyLimits, MaskedKey, MeterName, NodeId, Period,
    PlanName, PlanTable, RequestRow, RouteName, StatusClass, Timestamp, UsageBatch, UsageKey, UsageLine, UsageTally,
};
use tollgate_store::{
    AuditEntry, AuditQuery, Change, CreateAccount, CreateKey, Idempotency, IdempotentAnswer, ImportReport,
    ImportedAccount, ImportedKey, KeyWithAccount, NewAccount, NewAudit, NewKey, OutboxEntry, Page, QuotaUsed,
    RotateKey, SavedState, SeedQuery, SqliteStore, Store, StoreError,
};

/// So many seconds after noon on 1 March 2026, UTC.
pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_772_366_400 + secs)
}

pub(crate) fn account_id(number: u8) -> AccountId {
    AccountId::new(at(i64::from(number)), [number; 10])
}

pub(crate) fn key_id(number: u8) -> KeyId {
    KeyId::new(at(i64::from(number)), [number; 10])
}

pub(crate) fn node(number: u8) -> NodeId {
    NodeId::new(at(i64::from(number)), [number; 10])
}

pub(crate) fn hash(number: u8) -> KeyHash {
    KeyHash::from_bytes([number; 32])
}

fn audit() -> NewAudit {
    NewAudit { actor: "operator".into(), action: "test", at: at(0), detail: json!({}) }
}

/// A batch of one line: so many calls of account 1 with key 1.
pub(crate) fn batch(node: NodeId, sequence: u64, calls: u64) -> UsageBatch {
    let key = UsageKey {
        account: account_id(1),
        key: key_id(1),
        route: RouteName::new("events").expect("a good name"),
        status: StatusClass::Success,
        period: Period::calendar_month(at(0)),
        meter: None,
        detached: false,
    };
    let tally = UsageTally { calls, units_debited: calls, units_charged: calls, ..UsageTally::default() };
    UsageBatch { node, sequence, start: at(0), end: at(1), lines: vec![UsageLine { key, tally }], requests: Vec::new() }
}

/// The batch with so many units of a meter besides.
pub(crate) fn with_meter(mut batch: UsageBatch, name: &str, units_charged: u64) -> UsageBatch {
    let mut line = batch.lines[0].clone();
    line.key.meter = MeterName::new(name);
    line.tally = UsageTally { calls: 1, units_charged, ..UsageTally::default() };
    batch.lines.push(line);
    batch
}

/// The batch with the rows of so many calls besides.
pub(crate) fn with_requests(mut batch: UsageBatch, count: u64) -> UsageBatch {
    let row = |number| RequestRow {
        request: format!("req_{}_{number}", batch.sequence),
        at: at(0),
        account: account_id(1),
        key: key_id(1),
        route: RouteName::new("events").expect("a good name"),
        method: "GET".into(),
        path: "/events/7".into(),
        status: 200,
        duration_us: 1_500,
        units: 1,
        period: Some(Period::calendar_month(at(0))),
        reason: None,
    };
    batch.requests = (0..count).map(row).collect();
    batch
}

/// A database with an outbox, and what was asked of it.
pub(crate) struct TestStore {
    inner: SqliteStore,
    /// Whether it does not answer.
    pub(crate) is_away: AtomicBool,
    /// How often a key was looked up.
    pub(crate) finds: AtomicU64,
    /// How long an answer about a key or the outbox is under way, in milliseconds.
    pub(crate) slowness_ms: AtomicU64,
    /// The batches that it was brought.
    pub(crate) stored: Mutex<Vec<UsageBatch>>,
    outbox: Mutex<Vec<OutboxEntry>>,
    next: AtomicI64,
}

impl TestStore {
    /// A store with account 1.
    pub(crate) async fn open() -> Arc<Self> {
        let inner = SqliteStore::open_in_memory().await.expect("it needs nothing");
        let new = NewAccount {
            id: account_id(1),
            email: "ada@example.com".into(),
            name: None,
            assigned_plan: None,
            created_at: at(0),
        };
        inner.create_account(&new, &audit()).await.expect("the store answers");
        Arc::new(Self {
            inner,
            is_away: AtomicBool::new(false),
            finds: AtomicU64::new(0),
            slowness_ms: AtomicU64::new(0),
            stored: Mutex::default(),
            outbox: Mutex::default(),
            next: AtomicI64::new(1),
        })
    }

    /// Puts a change into the outbox.
    pub(crate) fn post(&self, change: Change) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.outbox.lock().push(OutboxEntry { id, change });
    }

    pub(crate) fn posted(&self) -> usize {
        self.outbox.lock().len()
    }

    pub(crate) async fn make_key(&self, number: u8) {
        let new = NewKey {
            id: key_id(number),
            account: account_id(1),
            hashed: HashedKey { hash: hash(number), masked: MaskedKey::default() },
            name: None,
            created_at: at(0),
            expires_at: None,
            scopes: Vec::new(),
            read_only: false,
            ip_rules: IpRules::default(),
            limits: KeyLimits::default(),
        };
        self.inner.create_key(&new, None, &audit()).await.expect("the store answers");
        self.post(Change::Key(hash(number)));
    }

    pub(crate) async fn revoke(&self, number: u8) {
        self.inner.revoke_key(key_id(number), at(5), &audit()).await.expect("the store answers");
        self.post(Change::Key(hash(number)));
    }

    pub(crate) async fn ban(&self) {
        let ban = Ban { at: at(5), reason: None };
        self.inner.set_ban(account_id(1), Some(&ban), &audit()).await.expect("the store answers");
        self.post(Change::Account(account_id(1)));
    }

    pub(crate) async fn delete_account(&self) {
        let deleted = self.inner.delete_account(account_id(1), at(5), &audit()).await.expect("the store answers");
        self.post(Change::Account(account_id(1)));
        for key in deleted.map(|(_, keys)| keys).unwrap_or_default() {
            self.post(Change::Key(key.hashed.hash));
        }
    }

    /// Units of account 1 in the ledger.
    pub(crate) async fn used(&self) -> u64 {
        let period = Period::calendar_month(at(0));
        self.inner.quota_used(account_id(1), None, period).await.expect("the store answers").account
    }

    async fn dawdle(&self) {
        let slowness = Duration::from_millis(self.slowness_ms.load(Ordering::Relaxed));
        tokio::time::sleep(slowness).await;
    }

    fn answer(&self) -> Result<(), StoreError> {
        if self.is_away.load(Ordering::Relaxed) { Err(StoreError::Unavailable("taken away".into())) } else { Ok(()) }
    }
}

#[async_trait::async_trait]
impl Store for TestStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.answer()
    }

    async fn find_key(&self, hash: &KeyHash) -> Result<Option<KeyWithAccount>, StoreError> {
        self.answer()?;
        self.finds.fetch_add(1, Ordering::Relaxed);
        let found = self.inner.find_key(hash).await;
        self.dawdle().await;
        found
    }

    async fn store_batch(&self, batch: &UsageBatch) -> Result<bool, StoreError> {
        self.answer()?;
        self.stored.lock().push(batch.clone());
        self.inner.store_batch(batch).await
    }

    async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.answer()?;
        self.inner.account(id).await
    }

    async fn outbox(&self, limit: u32) -> Result<Vec<OutboxEntry>, StoreError> {
        self.answer()?;
        self.dawdle().await;
        Ok(self.outbox.lock().iter().take(limit as usize).copied().collect())
    }

    async fn clear_outbox(&self, ids: &[i64]) -> Result<(), StoreError> {
        self.answer()?;
        self.outbox.lock().retain(|row| !ids.contains(&row.id));
        Ok(())
    }

    async fn seed(&self, query: &SeedQuery) -> Result<Seed, StoreError> {
        self.inner.seed(query).await
    }

    async fn quota_used(
        &self,
        account: AccountId,
        key: Option<KeyId>,
        period: Period,
    ) -> Result<QuotaUsed, StoreError> {
        self.inner.quota_used(account, key, period).await
    }

    async fn save_limiter_state(&self, states: &[SavedState]) -> Result<(), StoreError> {
        self.inner.save_limiter_state(states).await
    }

    async fn take_limiter_state(&self) -> Result<Vec<SavedState>, StoreError> {
        self.inner.take_limiter_state().await
    }

    async fn create_account(&self, new: &NewAccount, audit: &NewAudit) -> Result<CreateAccount, StoreError> {
        self.inner.create_account(new, audit).await
    }

    async fn account_by_email(&self, email: &str) -> Result<Option<Account>, StoreError> {
        self.inner.account_by_email(email).await
    }

    async fn accounts(&self, after: Option<AccountId>, limit: u32) -> Result<Page<Account>, StoreError> {
        self.inner.accounts(after, limit).await
    }

    async fn assign_plan(
        &self,
        id: AccountId,
        plan: Option<&PlanName>,
        until: Option<Timestamp>,
        audit: &NewAudit,
    ) -> Result<Option<Account>, StoreError> {
        self.inner.assign_plan(id, plan, until, audit).await
    }

    async fn set_ban(&self, id: AccountId, ban: Option<&Ban>, audit: &NewAudit) -> Result<Option<Account>, StoreError> {
        self.inner.set_ban(id, ban, audit).await
    }

    async fn delete_account(
        &self,
        id: AccountId,
        at: Timestamp,
        audit: &NewAudit,
    ) -> Result<Option<(Account, Vec<Key>)>, StoreError> {
        self.inner.delete_account(id, at, audit).await
    }

    async fn create_key(&self, new: &NewKey, max_keys: Option<u64>, audit: &NewAudit) -> Result<CreateKey, StoreError> {
        self.inner.create_key(new, max_keys, audit).await
    }

    async fn key(&self, id: KeyId) -> Result<Option<Key>, StoreError> {
        self.inner.key(id).await
    }

    async fn keys(
        &self,
        account: Option<AccountId>,
        after: Option<KeyId>,
        limit: u32,
    ) -> Result<Page<Key>, StoreError> {
        self.inner.keys(account, after, limit).await
    }

    async fn rotate_key(
        &self,
        id: KeyId,
        new: &NewKey,
        grace_until: Timestamp,
        audit: &NewAudit,
    ) -> Result<RotateKey, StoreError> {
        self.inner.rotate_key(id, new, grace_until, audit).await
    }

    async fn revoke_key(&self, id: KeyId, at: Timestamp, audit: &NewAudit) -> Result<Option<Key>, StoreError> {
        self.inner.revoke_key(id, at, audit).await
    }

    async fn import_keys(
        &self,
        keys: &[ImportedKey],
        plans: &PlanTable,
        now: Timestamp,
        audit: &NewAudit,
    ) -> Result<ImportReport, StoreError> {
        self.inner.import_keys(keys, plans, now, audit).await
    }

    async fn import_accounts(
        &self,
        accounts: &[ImportedAccount],
        now: Timestamp,
        audit: &NewAudit,
    ) -> Result<ImportReport, StoreError> {
        self.inner.import_accounts(accounts, now, audit).await
    }

    async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
        self.inner.audit(query).await
    }

    async fn reserve_idempotency(
        &self,
        scope: &str,
        key: &str,
        request_hash: &str,
        now: Timestamp,
    ) -> Result<Idempotency, StoreError> {
        self.inner.reserve_idempotency(scope, key, request_hash, now).await
    }

    async fn complete_idempotency(&self, scope: &str, key: &str, answer: &IdempotentAnswer) -> Result<(), StoreError> {
        self.inner.complete_idempotency(scope, key, answer).await
    }

    async fn release_idempotency(&self, scope: &str, key: &str) -> Result<(), StoreError> {
        self.inner.release_idempotency(scope, key).await
    }
}
