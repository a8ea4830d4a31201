//! What a cached key is worth while changes do not arrive, after some may have been missed, and with the database gone.

use std::sync::Arc;
use std::time::Duration;

use tollgate_config::RequestLog;
use tollgate_domain::{
    AccountId, Clock, IpRules, KeyHash, KeyHasher, KeyId, KeyLimits, KeyPrefix, KeyState, PlainKey, SECOND_US,
    Timestamp,
};
use tollgate_gateway::SystemClock;
use tollgate_gateway::directory::{Directory, DirectoryError, DirectoryParts};
use tollgate_gateway::metrics::Metrics;
use tollgate_gateway::snapshot::Snapshot;
use tollgate_gateway::usage::UsageRecorder;
use tollgate_limiter::{InProcess, InProcessSettings};
use tollgate_store::{
    Change, ChangeSink, CreateAccount, CreateKey, Direct, Feed, NewAccount, NewAudit, NewKey, SqliteStore, Store,
    StoreError,
};

/// How long a cached key works without any store, in these tests.
const STALE_FOR: Duration = Duration::from_mins(10);

struct Fixture {
    store: Arc<SqliteStore>,
    feed: Arc<Feed>,
    directory: Directory<InProcess>,
    snapshot: Snapshot,
    hash: KeyHash,
    key: KeyId,
    account: AccountId,
    start: Timestamp,
}

/// A key that is stored and cached, and a feed that was heard last at the start.
async fn fixture() -> Fixture {
    let store = Arc::new(SqliteStore::open_in_memory().await.expect("memory opens"));
    let start = SystemClock.now();
    let audit = NewAudit { actor: "test".into(), action: "test", at: start, detail: serde_json::Value::Null };
    let account = AccountId::new(start, [1; 10]);
    let new =
        NewAccount { id: account, email: "a@example.com".into(), name: None, assigned_plan: None, created_at: start };
    assert!(matches!(store.create_account(&new, &audit).await, Ok(CreateAccount::Created(_))));
    let plain = PlainKey::generate(&KeyPrefix::new("tg_test").expect("a good prefix"), [7; 32]);
    let hashed = plain.hashed(&KeyHasher::new(None));
    let (hash, key) = (hashed.hash, KeyId::new(start, [2; 10]));
    let new = NewKey {
        id: key,
        account,
        hashed,
        name: None,
        created_at: start,
        expires_at: None,
        scopes: Vec::new(),
        read_only: false,
        ip_rules: IpRules::default(),
        limits: KeyLimits::default(),
    };
    assert!(matches!(store.create_key(&new, None, &audit).await, Ok(CreateKey::Created(_))));
    let metrics = Arc::new(Metrics::default());
    let direct = Arc::new(Direct(Arc::clone(&store) as Arc<dyn Store>));
    let feed = Arc::new(Feed::silent());
    feed.heard(start);
    let directory = Directory::new(DirectoryParts {
        store: Arc::clone(&store) as Arc<dyn Store>,
        records: Arc::clone(&direct) as _,
        feed: Arc::clone(&feed),
        stale_keys_for: STALE_FOR,
        limiter: Arc::new(InProcess::new(InProcessSettings::default())),
        usage: UsageRecorder::new(direct, Arc::clone(&metrics), RequestLog::Off),
        metrics,
        clock: Arc::new(SystemClock),
    });
    let policy = tollgate_config::Config::default_for_missing_file().policy;
    let snapshot = Snapshot::new(Arc::new(policy), 0, false);
    let fixture = Fixture { store, feed, directory, snapshot, hash, key, account, start };
    assert!(!fixture.is_revoked_at(0).await.expect("the store answers"));
    fixture
}

impl Fixture {
    fn at(&self, seconds: i64) -> Timestamp {
        self.start + seconds * SECOND_US
    }

    /// Whether the directory says, so many seconds after the start, that the key is revoked.
    async fn is_revoked_at(&self, seconds: i64) -> Result<bool, DirectoryError> {
        let found = self.directory.find(&self.hash, &self.snapshot, self.at(seconds)).await?;
        Ok(found.expect("it was made").key.state(self.at(seconds)) == KeyState::Revoked)
    }

    /// Revokes the key where no change tells of it.
    async fn revoke_silently(&self) {
        let audit = NewAudit { actor: "test".into(), action: "test", at: self.start, detail: serde_json::Value::Null };
        self.store.revoke_key(self.key, self.start, &audit).await.expect("the store answers").expect("it is there");
    }
}

#[tokio::test]
async fn while_changes_arrive_a_cached_key_is_not_read_again() {
    let fixture = fixture().await;
    fixture.revoke_silently().await;
    fixture.feed.heard(fixture.at(3_600));
    assert!(!fixture.is_revoked_at(3_601).await.expect("it is cached"));
    fixture.directory.publish(&Change::Key(fixture.hash)).await;
    assert!(fixture.is_revoked_at(3_601).await.expect("the store answers"));
}

#[tokio::test]
async fn without_changes_a_key_is_read_again_once_it_is_five_seconds_old() {
    let fixture = fixture().await;
    fixture.revoke_silently().await;
    assert!(!fixture.is_revoked_at(4).await.expect("it is cached"));
    assert!(fixture.is_revoked_at(5).await.expect("the store answers"));
}

#[tokio::test]
async fn a_confirmed_key_holds_another_five_seconds() {
    let fixture = fixture().await;
    assert!(!fixture.is_revoked_at(6).await.expect("the store answers"));
    fixture.revoke_silently().await;
    assert!(!fixture.is_revoked_at(10).await.expect("it is cached"));
    assert!(fixture.is_revoked_at(11).await.expect("the store answers"));
}

#[tokio::test]
async fn without_changes_and_database_a_key_works_for_its_time_and_no_longer() {
    let fixture = fixture().await;
    fixture.store.close().await;
    assert!(!fixture.is_revoked_at(599).await.expect("it is cached"));
    let too_old = fixture.is_revoked_at(600).await;
    assert!(matches!(too_old, Err(DirectoryError::Store(StoreError::Unavailable(_)))), "{too_old:?}");
}

#[tokio::test]
async fn after_missed_changes_a_key_is_read_again_before_it_is_believed() {
    let fixture = fixture().await;
    fixture.revoke_silently().await;
    fixture.directory.resync().await;
    fixture.feed.heard(fixture.at(1));
    assert!(fixture.is_revoked_at(1).await.expect("the store answers"));
}

#[tokio::test]
async fn after_missed_changes_with_the_database_gone_a_key_still_works() {
    let fixture = fixture().await;
    fixture.store.close().await;
    fixture.directory.resync().await;
    fixture.feed.heard(fixture.at(500));
    assert!(!fixture.is_revoked_at(500).await.expect("it is cached"));
    let too_old = fixture.is_revoked_at(600).await;
    assert!(too_old.is_err(), "what came after the resync confirms nothing that was read before it");
}

#[tokio::test]
async fn a_key_that_is_known_to_have_changed_is_never_used_as_it_was() {
    let fixture = fixture().await;
    fixture.directory.publish(&Change::Account(fixture.account)).await;
    fixture.store.close().await;
    assert!(fixture.is_revoked_at(1).await.is_err());
}
