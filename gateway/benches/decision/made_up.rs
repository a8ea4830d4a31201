//! A store of made-up keys in memory: each key its own account, nobody has used anything yet.

use async_trait::async_trait;
use hashbrown::HashMap;
use tollgate_domain::limit::{Seed, Spending};
use tollgate_domain::{
    Account, AccountId, Ban, IpRules, Key, KeyHash, KeyHasher, KeyId, KeyLimits, KeyPrefix, Period, PlainKey, PlanName,
    PlanTable, Timestamp, UsageBatch,
};
use tollgate_store::{
    AuditEntry, AuditQuery, CreateAccount, CreateKey, Idempotency, IdempotentAnswer, ImportReport, ImportedAccount,
    ImportedKey, KeyWithAccount, NewAccount, NewAudit, NewKey, OutboxEntry, Page, QuotaUsed, RotateKey, SavedState,
    SeedQuery, Store, StoreError,
};

/// 2^64 divided by the golden ratio: steps that scatter numbers.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Numbered keys on the plan `pro`.
pub(crate) struct MadeUpKeys {
    numbers: HashMap<KeyHash, u64>,
    now: Timestamp,
}

impl MadeUpKeys {
    /// So many keys, and their raw texts in order.
    pub(crate) fn new(count: usize, now: Timestamp) -> (Self, Vec<String>) {
        let prefix = KeyPrefix::new("tg_live").expect("a prefix");
        let hasher = KeyHasher::new(None);
        let mut raw = Vec::with_capacity(count);
        let mut numbers = HashMap::with_capacity(count);
        for number in 0..count as u64 {
            let mut random = [0_u8; 32];
            random[..8].copy_from_slice(&number.wrapping_mul(GOLDEN).to_be_bytes());
            let plain = PlainKey::generate(&prefix, random);
            numbers.insert(hasher.hash(plain.reveal().as_bytes()), number);
            raw.push(plain.reveal().to_owned());
        }
        (Self { numbers, now }, raw)
    }

    fn record(&self, number: u64, hash: KeyHash) -> KeyWithAccount {
        let mut random = [0_u8; 10];
        random[2..].copy_from_slice(&number.to_be_bytes());
        let (id, account) = (KeyId::new(self.now, random), AccountId::new(self.now, random));
        let key = Key {
            id,
            account,
            lineage: id,
            hashed: tollgate_domain::HashedKey { hash, masked: tollgate_domain::MaskedKey::default() },
            name: None,
            created_at: self.now,
            expires_at: None,
            revoked_at: None,
            superseded: None,
            scopes: Vec::new(),
            read_only: false,
            ip_rules: IpRules::default(),
            limits: KeyLimits::default(),
            last_used_at: None,
        };
        let account = Account {
            id: account,
            email: format!("user{number}@example.com"),
            subject: None,
            name: None,
            created_at: self.now,
            assigned_plan: PlanName::new("pro"),
            ban: None,
            deleted_at: None,
            rolling_anchor: self.now,
            assigned_until: None,
            stripe_customer: None,
            stripe_subscription: None,
            subscriptions: Vec::new(),
        };
        KeyWithAccount { key, account }
    }
}

/// Deciding finds keys and seeds limits; nothing else of a store is asked.
#[async_trait]
impl Store for MadeUpKeys {
    async fn ping(&self) -> Result<(), StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn find_key(&self, hash: &KeyHash) -> Result<Option<KeyWithAccount>, StoreError> {
        Ok(self.numbers.get(hash).map(|number| self.record(*number, *hash)))
    }

    async fn seed(&self, query: &SeedQuery) -> Result<Seed, StoreError> {
        let key = query.key.map(|id| (id, Spending::default()));
        let meter = query.meter.as_ref().map(|name| (name.id(), Spending::default()));
        Ok(Seed { since: query.since, account: Spending::default(), key, meter, ledger_position: 0 })
    }

    async fn store_batch(&self, _: &UsageBatch) -> Result<bool, StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn quota_used(&self, _: AccountId, _: Option<KeyId>, _: Period) -> Result<QuotaUsed, StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn save_limiter_state(&self, _: &[SavedState]) -> Result<(), StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn take_limiter_state(&self) -> Result<Vec<SavedState>, StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn create_account(&self, _: &NewAccount, _: &NewAudit) -> Result<CreateAccount, StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn account(&self, _: AccountId) -> Result<Option<Account>, StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn account_by_email(&self, _: &str) -> Result<Option<Account>, StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn accounts(&self, _: Option<AccountId>, _: u32) -> Result<Page<Account>, StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn assign_plan(
        &self,
        _: AccountId,
        _: Option<&PlanName>,
        _: Option<Timestamp>,
        _: &NewAudit,
    ) -> Result<Option<Account>, StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn set_ban(&self, _: AccountId, _: Option<&Ban>, _: &NewAudit) -> Result<Option<Account>, StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn delete_account(
        &self,
        _: AccountId,
        _: Timestamp,
        _: &NewAudit,
    ) -> Result<Option<(Account, Vec<Key>)>, StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn create_key(&self, _: &NewKey, _: Option<u64>, _: &NewAudit) -> Result<CreateKey, StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn key(&self, _: KeyId) -> Result<Option<Key>, StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn keys(&self, _: Option<AccountId>, _: Option<KeyId>, _: u32) -> Result<Page<Key>, StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn rotate_key(&self, _: KeyId, _: &NewKey, _: Timestamp, _: &NewAudit) -> Result<RotateKey, StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn revoke_key(&self, _: KeyId, _: Timestamp, _: &NewAudit) -> Result<Option<Key>, StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn import_keys(
        &self,
        _: &[ImportedKey],
        _: &PlanTable,
        _: Timestamp,
        _: &NewAudit,
    ) -> Result<ImportReport, StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn import_accounts(
        &self,
        _: &[ImportedAccount],
        _: Timestamp,
        _: &NewAudit,
    ) -> Result<ImportReport, StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn audit(&self, _: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn outbox(&self, _: u32) -> Result<Vec<OutboxEntry>, StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn clear_outbox(&self, _: &[i64]) -> Result<(), StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn reserve_idempotency(&self, _: &str, _: &str, _: &str, _: Timestamp) -> Result<Idempotency, StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn complete_idempotency(&self, _: &str, _: &str, _: &IdempotentAnswer) -> Result<(), StoreError> {
        unreachable!("a decision asks for nothing else")
    }

    async fn release_idempotency(&self, _: &str, _: &str) -> Result<(), StoreError> {
        unreachable!("a decision asks for nothing else")
    }
}
