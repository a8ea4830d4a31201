//! What only a `SQLite` file can do wrong: be missing, be in use, be another program's, be damaged, hold nonsense.

mod corrupt;
mod migrate;
mod migrated;
mod open;
mod planted;
mod reconcile;
mod reopen;

use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;
use tollgate_domain::{AccountId, HashedKey, IpRules, KeyHash, KeyId, KeyLimits, MaskedKey, Timestamp};
use tollgate_store::{NewAccount, NewAudit, NewKey, SqliteStore, Store};

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("tollgate.db");
    (folder, path)
}

async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path).await.expect("it opens")
}

/// Runs a statement as another program would.
async fn run(path: &Path, statement: &str) {
    let mut connection = connect(path).await;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.expect(statement);
    connection.close().await.expect("it closes");
}

async fn connect(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).foreign_keys(false);
    options.connect().await.expect("it connects")
}

fn audit() -> NewAudit {
    NewAudit { actor: "operator".into(), action: "test", at: Timestamp::EPOCH, detail: serde_json::Value::Null }
}

fn account_id() -> AccountId {
    AccountId::new(Timestamp::EPOCH, [1; 10])
}

fn key_hash() -> KeyHash {
    KeyHash::from_bytes([1; 32])
}

/// One account with one key.
async fn fill(store: &SqliteStore) {
    let account = NewAccount {
        id: account_id(),
        email: "owner@example.com".into(),
        name: None,
        assigned_plan: None,
        created_at: Timestamp::EPOCH,
    };
    store.create_account(&account, &audit()).await.expect("the store answers");
    let key = NewKey {
        id: KeyId::new(Timestamp::EPOCH, [1; 10]),
        account: account.id,
        hashed: HashedKey { hash: key_hash(), masked: MaskedKey::default() },
        name: None,
        created_at: Timestamp::EPOCH,
        expires_at: None,
        scopes: Vec::new(),
        read_only: false,
        ip_rules: IpRules::default(),
        limits: KeyLimits::default(),
    };
    store.create_key(&key, None, &audit()).await.expect("the store answers");
}
