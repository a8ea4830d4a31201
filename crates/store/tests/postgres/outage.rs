//! A server that goes away: every call ends in bounded time, and goes on when the server is back. What was told to be
//! stored is stored, once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate_store::{PostgresStore, Store, StoreError};

use crate::database::TestDatabase;
use crate::server::{Line, PrivateServer};
use crate::{account_id, audit, batch, fill, key_hash, open, period};

/// What a call may take while the server is away: the wait for a connection, or for an answer, and what a busy machine
/// adds.
const BOUND: Duration = Duration::from_millis(3_500);

/// Calls each kind of call; how each ended.
async fn call_each(store: &PostgresStore) -> Vec<Result<(), StoreError>> {
    vec![
        store.ping().await,
        store.find_key(&key_hash()).await.map(drop),
        store.quota_used(account_id(), None, period()).await.map(drop),
        store.store_batch(&batch(1_000)).await.map(drop),
        store.set_ban(account_id(), None, &audit()).await.map(drop),
    ]
}

/// Sixteen callers, more than there are connections: nobody waits longer than the bound for each call.
async fn check_that_all_are_refused_in_time(store: &Arc<PostgresStore>) {
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let began = Instant::now();
                let answers = call_each(&store).await;
                (began.elapsed() / 5, answers)
            })
        })
        .collect();
    for caller in callers {
        let (elapsed, answers) = caller.await.expect("no panic");
        assert!(elapsed < BOUND, "{elapsed:?} a call");
        for answer in answers {
            let error = answer.expect_err("nobody answers");
            assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        }
    }
}

async fn until_it_answers(store: &PostgresStore) {
    let began = Instant::now();
    while let Err(error) = store.ping().await {
        assert!(began.elapsed() < Duration::from_secs(10), "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_loses_everything_fails_calls_in_time_and_heals() {
    let Some(database) = TestDatabase::make("").await else { return };
    let (user, place) = database.url.rsplit_once('@').expect("the URL names a user");
    let (server, name) = place.split_once('/').expect("the URL names a database");
    let line = Line::to(server.into()).await;
    let store = Arc::new(open(&format!("{user}@{}/{name}", line.at)).await);
    fill(&store).await;
    let held: Vec<_> = call_each(&store).await;
    assert!(held.iter().all(Result::is_ok), "{held:?}");
    line.cut(true);
    check_that_all_are_refused_in_time(&store).await;
    line.cut(false);
    until_it_answers(&store).await;
    for answer in call_each(&store).await {
        answer.expect("it is back");
    }
    let used = store.quota_used(account_id(), None, period()).await.expect("the store answers");
    assert_eq!(used.account, 1, "the batch that was sent again and again is stored once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_loses_nothing_that_was_told_to_be_stored() {
    if TestDatabase::make("").await.is_none() {
        return;
    }
    let Some(mut server) = PrivateServer::start_new().await else { return };
    let store = Arc::new(open(&server.url()).await);
    fill(&store).await;
    let storing = {
        let store = Arc::clone(&store);
        // A batch is sent until somebody says that it is stored, as whoever has usage to hand in does.
        tokio::spawn(async move {
            let (mut refused, began) = (0, Instant::now());
            for sequence in 1..=400 {
                loop {
                    let sent = Instant::now();
                    let stored = store.store_batch(&batch(sequence)).await;
                    assert!(sent.elapsed() < BOUND, "{:?} for a call", sent.elapsed());
                    match stored {
                        Ok(_) => break,
                        Err(StoreError::Unavailable(_)) => refused += 1,
                        Err(error) => panic!("{error:?}"),
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    assert!(began.elapsed() < Duration::from_mins(1), "it does not go on");
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            refused
        })
    };
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(600)).await;
        server.kill();
        check_that_all_are_refused_in_time(&store).await;
        server.start().await;
        until_it_answers(&store).await;
    }
    let refused = storing.await.expect("no panic");
    assert!(refused > 0, "the server was away while batches were sent");
    let used = store.quota_used(account_id(), None, period()).await.expect("the store answers");
    assert_eq!(used.account, 400, "each is stored once");
}
