//! A process that keeps its limits to itself has the database alone, and notices when it has not.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tollgate_store::{PostgresSettings, PostgresStore, Store, StoreError};

use crate::database::{TestDatabase, run_on};
use crate::{open, refusal};

/// The lock's number, which processes of other versions rely on.
const CLAIM_LOCK: i64 = 0x746f_6c6c_0000;
/// Ends the connection that holds the lock.
const END_ITS_HOLDER: &str = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted \
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

fn alone(database: &TestDatabase) -> PostgresSettings {
    PostgresSettings { exclusive: true, outbox: false, ..PostgresSettings::new(&*database.url) }
}

/// Waits until the store answers so.
async fn until(store: &PostgresStore, what: &str, is_so: impl Fn(&Result<(), StoreError>) -> bool) {
    let began = Instant::now();
    loop {
        let answer = store.ping().await;
        if is_so(&answer) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(8), "{what}: {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn one_that_must_have_it_alone_has_it_alone() {
    let Some(database) = TestDatabase::make("").await else { return };
    let first = PostgresStore::open(alone(&database)).await.expect("nobody else uses it");
    for (settings, says) in [
        (alone(&database), "another process uses it, and this one must have it alone"),
        (PostgresSettings::new(&*database.url), "another process has it alone"),
    ] {
        let error = refusal(settings).await;
        assert!(matches!(error, StoreError::Unusable(_)), "{error:?}");
        assert!(error.to_string().contains(says), "{error}");
    }
    first.ping().await.expect("the first goes on");
    first.close().await;
    let (one, two) = (open(&database.url).await, open(&database.url).await);
    one.ping().await.expect("it is shared");
    two.ping().await.expect("it is shared");
    let error = refusal(alone(&database)).await;
    assert!(matches!(error, StoreError::Unusable(_)), "{error:?}");
    drop((one, two));
    PostgresStore::open(alone(&database)).await.expect("the others let go of it");
}

#[tokio::test]
async fn a_lost_claim_is_noticed_and_made_again() {
    let Some(database) = TestDatabase::make("").await else { return };
    let store = PostgresStore::open(alone(&database)).await.expect("nobody else uses it");
    run_on(&database.url, END_ITS_HOLDER).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    until(&store, "it is held again", Result::is_ok).await;
    let error = refusal(alone(&database)).await;
    assert!(matches!(error, StoreError::Unusable(_)), "{error:?}");
}

#[tokio::test]
async fn a_store_that_lost_its_claim_to_another_does_nothing_more() {
    let Some(database) = TestDatabase::make("").await else { return };
    let store = PostgresStore::open(alone(&database)).await.expect("nobody else uses it");
    let mut other = PgConnection::connect(&database.url).await.expect("the server answers");
    let waiting = tokio::spawn(async move {
        let locked = sqlx::query("SELECT pg_advisory_lock($1)").bind(CLAIM_LOCK).execute(&mut other).await;
        locked.expect("it is let go at last");
        other
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    run_on(&database.url, END_ITS_HOLDER).await;
    let other = waiting.await.expect("no panic");
    until(&store, "it is lost", |answer| matches!(answer, Err(StoreError::Unusable(_)))).await;
    other.close().await.expect("it closes");
    until(&store, "it is held again", Result::is_ok).await;
}
