//! What was told to be stored is there after any end: closed, dropped, or killed.

use std::fs;
use std::path::Path;

use tollgate_domain::{
    KeyId, NodeId, Period, RouteName, SECOND_US, StatusClass, Timestamp, UsageBatch, UsageKey, UsageLine, UsageTally,
};
use tollgate_store::{QuotaUsed, SqliteStore, Store, StoreError};

use crate::{account_id, fill, folder, key_hash, open};

fn batch(sequence: u64) -> UsageBatch {
    let period = Period::calendar_month(Timestamp::EPOCH);
    let key = UsageKey {
        account: account_id(),
        key: KeyId::new(Timestamp::EPOCH, [1; 10]),
        route: RouteName::new("events").expect("a good name"),
        status: StatusClass::Success,
        period,
        meter: None,
        detached: false,
    };
    let tally = UsageTally { calls: 1, units_debited: 1, units_charged: 1, ..UsageTally::default() };
    let end = Timestamp::from_secs(sequence.try_into().expect("a small number"));
    let lines = vec![UsageLine { key, tally }];
    UsageBatch {
        node: NodeId::new(Timestamp::EPOCH, [1; 10]),
        sequence,
        start: end + -SECOND_US,
        end,
        lines,
        requests: Vec::new(),
    }
}

async fn check_kept(store: &SqliteStore, batches: u64) {
    let period = Period::calendar_month(Timestamp::EPOCH);
    let used = store.quota_used(account_id(), None, period).await.expect("the store answers");
    assert_eq!(used, QuotaUsed { account: batches, key: 0, calls: batches });
    let found = store.find_key(&key_hash()).await.expect("the store answers").expect("the key is kept");
    assert_eq!(found.account.id, account_id());
    for sequence in 1..=batches {
        let is_new = store.store_batch(&batch(sequence)).await.expect("the store answers");
        assert!(!is_new, "batch {sequence} is known");
    }
}

#[tokio::test]
async fn everything_is_kept_when_the_store_is_dropped() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    fill(&store).await;
    for sequence in 1..=3 {
        store.store_batch(&batch(sequence)).await.expect("the store answers");
    }
    drop(store);
    check_kept(&open(&path).await, 3).await;
}

#[tokio::test]
async fn everything_is_kept_and_folded_into_the_file_when_the_store_is_closed() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    fill(&store).await;
    store.store_batch(&batch(1)).await.expect("the store answers");
    store.close().await;
    assert!(!path.with_file_name("tollgate.db-wal").exists(), "the log is folded into the file");
    let error = store.ping().await.expect_err("it is closed");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    drop(store);
    check_kept(&open(&path).await, 1).await;
}

/// The files as a killed process leaves them, taken while the store is open.
fn copy_as_killed(path: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        let (mut from, mut to) = (path.as_os_str().to_owned(), to.as_os_str().to_owned());
        from.push(suffix);
        to.push(suffix);
        fs::copy(from, to).expect("it is there");
    }
}

#[tokio::test]
async fn everything_told_to_be_stored_is_kept_when_the_process_is_killed() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    fill(&store).await;
    for sequence in 1..=20 {
        store.store_batch(&batch(sequence)).await.expect("the store answers");
        if sequence % 7 == 0 {
            let killed = path.with_file_name(format!("killed{sequence}.db"));
            copy_as_killed(&path, &killed);
            check_kept(&open(&killed).await, sequence).await;
        }
    }
}

#[tokio::test]
async fn a_log_that_breaks_off_loses_only_what_was_not_told_to_be_stored() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    fill(&store).await;
    store.store_batch(&batch(1)).await.expect("the store answers");
    let whole = fs::metadata(path.with_file_name("tollgate.db-wal")).expect("the log is there").len();
    store.store_batch(&batch(2)).await.expect("the store answers");
    let killed = path.with_file_name("killed.db");
    copy_as_killed(&path, &killed);
    let log = fs::File::options().write(true).open(path.with_file_name("killed.db-wal")).expect("the log is there");
    log.set_len(whole + 100).expect("it is cut");
    let reopened = open(&killed).await;
    check_kept(&reopened, 1).await;
    assert!(reopened.store_batch(&batch(2)).await.expect("the store answers"), "it was lost whole, so it is new");
}
