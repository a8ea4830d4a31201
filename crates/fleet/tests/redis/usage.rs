//! The stream of usage: whatever is done to Redis, the database and the processes, each batch counts once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tempfile::TempDir;
use tollgate_domain::{NodeId, Period};
use tollgate_fleet::{FleetError, SpoolSettings, SpooledUsage, UsageIngest};
use tollgate_store::UsageSink;

use crate::store::{TestStore, account_id, at, batch, key_id, node, with_meter, with_requests};
use crate::support::{Running, Server, until};

fn try_spool(server: &Server, folder: &Path, node: NodeId, bytes_max: u64) -> Result<Arc<SpooledUsage>, FleetError> {
    SpooledUsage::open(&SpoolSettings { folder: folder.to_path_buf(), bytes_max, node }, server.link())
}

/// A gateway's spool and its sender.
fn gateway(server: &Server, folder: &Path, number: u8) -> (Arc<SpooledUsage>, Running) {
    let spool = try_spool(server, folder, node(number), 64 << 20).expect("the folder can be used");
    let running = Running::start(|stop| Arc::clone(&spool).run(stop));
    (spool, running)
}

fn ingest(server: &Server, store: &Arc<TestStore>, number: u8) -> (Arc<UsageIngest>, Running) {
    let ingest = UsageIngest::new(server.link(), Arc::clone(store) as _, node(number));
    let running = Running::start(|stop| Arc::clone(&ingest).run(stop));
    (ingest, running)
}

async fn take(spool: &SpooledUsage, number: u8, sequences: std::ops::RangeInclusive<u64>) {
    for sequence in sequences {
        spool.take(&batch(node(number), sequence, 1)).await.expect("there is room");
    }
}

async fn settled(spool: &SpooledUsage) {
    tokio::time::timeout(Duration::from_secs(30), spool.settled(None)).await.expect("it settles");
}

fn files(folder: &TempDir, kind: &str) -> usize {
    let entries = std::fs::read_dir(folder.path()).expect("the folder is there");
    entries
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().extension().is_some_and(|end| end == kind)))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_several_gateways_reach_the_ledger_once_through_several_control_planes() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let folder = tempfile::tempdir().expect("a folder");
    let admins = [ingest(&server, &store, 201), ingest(&server, &store, 202)];
    let (one, _sending) = gateway(&server, folder.path(), 1);
    let (other, _sending_too) = gateway(&server, folder.path(), 2);
    tokio::join!(take(&one, 1, 1..=100), take(&other, 2, 1..=100));
    settled(&one).await;
    settled(&other).await;
    assert_eq!(store.used().await, 200);
    assert_eq!(files(&folder, "batch"), 0);
    assert_eq!(one.stats().stored.load(Ordering::Relaxed), 100);
    until("the stream is empty", || server.ask::<u64>(&["XLEN", "tg:usage"]) == 0).await;
    let stored: u64 = admins.iter().map(|(ingest, _)| ingest.stats().stored.load(Ordering::Relaxed)).sum();
    assert_eq!(stored, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_taken_without_redis_and_stored_once_it_is_there() {
    let Some(mut server) = Server::start() else { return };
    server.kill();
    let store = TestStore::open().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (_admin, _ingesting) = ingest(&server, &store, 201);
    let (spool, _sending) = gateway(&server, folder.path(), 1);
    take(&spool, 1, 1..=50).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((files(&folder, "batch"), spool.stats().batches.load(Ordering::Relaxed)), (50, 50));
    assert!(tokio::time::timeout(Duration::from_millis(100), spool.settled(None)).await.is_err());
    assert!(spool.oldest_age() >= Duration::from_millis(300));
    server.restart();
    settled(&spool).await;
    assert_eq!((store.used().await, files(&folder, "batch")), (50, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_survive_the_gateway_that_counted_them() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (spool, sending) = gateway(&server, folder.path(), 1);
    take(&spool, 1, 1..=5).await;
    sending.crash();
    until("its memory is gone", || Arc::strong_count(&spool) == 1).await;
    // A living run keeps its own.
    let (second, second_sending) = gateway(&server, folder.path(), 2);
    assert_eq!(second.stats().batches.load(Ordering::Relaxed), 0);
    second_sending.crash();
    until("its memory is gone", || Arc::strong_count(&second) == 1).await;
    drop((spool, second));
    let (_admin, _ingesting) = ingest(&server, &store, 201);
    let (third, _third_sending) = gateway(&server, folder.path(), 3);
    assert_eq!(third.stats().batches.load(Ordering::Relaxed), 5);
    settled(&third).await;
    assert_eq!((store.used().await, files(&folder, "batch")), (5, 0));
    until("only the living run's lock is left", || files(&folder, "lock") == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_batches_of_a_neighbour_that_died_are_sent_too() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let folder = tempfile::tempdir().expect("a folder");
    let dying = try_spool(&server, folder.path(), node(1), 64 << 20).expect("the folder can be used");
    take(&dying, 1, 1..=3).await;
    let (_admin, _ingesting) = ingest(&server, &store, 201);
    let (_living, _sending) = gateway(&server, folder.path(), 2);
    drop(dying);
    until("they are stored", || files(&folder, "batch") == 0).await;
    assert_eq!(store.used().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_has_one_spool() {
    let Some(server) = Server::start() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let _first = try_spool(&server, folder.path(), node(1), 1).expect("the folder can be used");
    assert!(matches!(try_spool(&server, folder.path(), node(1), 1), Err(FleetError::Settings(_))));
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("there is room");
    assert!(matches!(try_spool(&server, &file.join("folder"), node(2), 1), Err(FleetError::Spool { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_lost_is_sent_again() {
    let Some(mut server) = Server::start() else { return };
    let store = TestStore::open().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (spool, _sending) = gateway(&server, folder.path(), 1);
    take(&spool, 1, 1..=20).await;
    until("all are sent", || spool.stats().sent.load(Ordering::Relaxed) == 20).await;
    server.kill();
    server.restart();
    assert_eq!(server.ask::<u64>(&["XLEN", "tg:usage"]), 0);
    take(&spool, 1, 21..=25).await;
    let (_admin, _ingesting) = ingest(&server, &store, 201);
    settled(&spool).await;
    assert_eq!((store.used().await, spool.stats().resent.load(Ordering::Relaxed)), (25, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_under_way_loses_nothing() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (admin, _ingesting) = ingest(&server, &store, 201);
    let (spool, _sending) = gateway(&server, folder.path(), 1);
    store.is_away.store(true, Ordering::Relaxed);
    take(&spool, 1, 1..=20).await;
    until("all are sent", || spool.stats().sent.load(Ordering::Relaxed) == 20).await;
    server.ask::<()>(&["FLUSHALL"]);
    store.is_away.store(false, Ordering::Relaxed);
    take(&spool, 1, 21..=40).await;
    // Those that nobody has heard of are looked after ten seconds later.
    settled(&spool).await;
    assert_eq!(store.used().await, 40);
    assert!(admin.stats().is_connected.load(Ordering::Relaxed));
    until("the stream is empty", || server.ask::<u64>(&["XLEN", "tg:usage"]) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_acknowledgement_makes_no_batch_count_twice() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (admin, _ingesting) = ingest(&server, &store, 201);
    let (spool, sending) = gateway(&server, folder.path(), 1);
    store.is_away.store(true, Ordering::Relaxed);
    take(&spool, 1, 1..=10).await;
    until("all are sent", || spool.stats().sent.load(Ordering::Relaxed) == 10).await;
    sending.crash();
    until("its memory is gone", || Arc::strong_count(&spool) == 1).await;
    drop(spool);
    store.is_away.store(false, Ordering::Relaxed);
    until("all are stored", || admin.stats().stored.load(Ordering::Relaxed) == 10).await;
    until("the stream is empty", || server.ask::<u64>(&["XLEN", "tg:usage"]) == 0).await;
    server.ask::<u64>(&["DEL", &format!("tg:stored:{{{}}}", node(1))]);
    let (again, _sending) = gateway(&server, folder.path(), 2);
    settled(&again).await;
    assert_eq!(store.used().await, 10);
    assert_eq!(admin.stats().repeated.load(Ordering::Relaxed), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_holds_batches_up_and_drops_none() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    store.is_away.store(true, Ordering::Relaxed);
    let folder = tempfile::tempdir().expect("a folder");
    let (admin, _ingesting) = ingest(&server, &store, 201);
    let (spool, _sending) = gateway(&server, folder.path(), 1);
    take(&spool, 1, 1..=30).await;
    until("it was tried", || admin.stats().failures.load(Ordering::Relaxed) >= 3).await;
    server.ask::<u64>(&["CLIENT", "KILL", "TYPE", "normal"]);
    store.is_away.store(false, Ordering::Relaxed);
    settled(&spool).await;
    assert_eq!((store.used().await, spool.stats().resent.load(Ordering::Relaxed)), (30, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_control_plane_had_taken_is_taken_over() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (spool, _sending) = gateway(&server, folder.path(), 1);
    take(&spool, 1, 1..=3).await;
    until("all are sent", || spool.stats().sent.load(Ordering::Relaxed) == 3).await;
    server.ask::<()>(&["XGROUP", "CREATE", "tg:usage", "tollgate", "0"]);
    let taken: deadpool_redis::redis::Value =
        server.ask(&["XREADGROUP", "GROUP", "tollgate", "dead", "STREAMS", "tg:usage", ">"]);
    assert_ne!(taken, deadpool_redis::redis::Value::Nil);
    let pending: Vec<Vec<deadpool_redis::redis::Value>> =
        server.ask(&["XPENDING", "tg:usage", "tollgate", "-", "+", "9"]);
    for entry in &pending {
        let id: String = deadpool_redis::redis::from_redis_value(entry[0].clone()).expect("an id");
        // As if it had lain for an hour; one of them is deleted besides, and must not get in the way.
        server.ask::<deadpool_redis::redis::Value>(&[
            "XCLAIM", "tg:usage", "tollgate", "dead", "0", &id, "IDLE", "3600001", "JUSTID",
        ]);
    }
    let (admin, _ingesting) = ingest(&server, &store, 201);
    settled(&spool).await;
    assert_eq!((store.used().await, admin.stats().claimed.load(Ordering::Relaxed)), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_moved_aside_and_holds_nothing_up() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let folder = tempfile::tempdir().expect("a folder");
    for (field, value) in [("batch", "tollgate-usage 3 00000000 0\n"), ("batch", "rubbish"), ("other", "field")] {
        server.ask::<String>(&["XADD", "tg:usage", "*", field, value]);
    }
    let (admin, _ingesting) = ingest(&server, &store, 201);
    let (spool, _sending) = gateway(&server, folder.path(), 1);
    take(&spool, 1, 1..=2).await;
    settled(&spool).await;
    assert_eq!((store.used().await, admin.stats().dead.load(Ordering::Relaxed)), (2, 3));
    assert_eq!(server.ask::<u64>(&["XLEN", "tg:usage:dead"]), 3);
    until("the stream is empty", || server.ask::<u64>(&["XLEN", "tg:usage"]) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_somebody_deleted_do_not_stop_the_ingest() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let folder = tempfile::tempdir().expect("a folder");
    let consumer = node(201).to_string();
    server.ask::<()>(&["XGROUP", "CREATE", "tg:usage", "tollgate", "0", "MKSTREAM"]);
    let id: String = server.ask(&["XADD", "tg:usage", "*", "batch", "taken, then deleted"]);
    server.ask::<deadpool_redis::redis::Value>(&[
        "XREADGROUP",
        "GROUP",
        "tollgate",
        &consumer,
        "STREAMS",
        "tg:usage",
        ">",
    ]);
    server.ask::<u64>(&["XDEL", "tg:usage", &id]);
    let (admin, _ingesting) = ingest(&server, &store, 201);
    let (spool, _sending) = gateway(&server, folder.path(), 1);
    take(&spool, 1, 1..=2).await;
    settled(&spool).await;
    assert_eq!((store.used().await, admin.stats().dead.load(Ordering::Relaxed)), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn meters_and_single_requests_reach_the_ledger_as_they_were_counted() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (_admin, _ingesting) = ingest(&server, &store, 201);
    let (spool, _sending) = gateway(&server, folder.path(), 1);
    let sent = with_requests(with_meter(batch(node(1), 1, 2), "tokens", 500), 3);
    spool.take(&sent).await.expect("there is room");
    settled(&spool).await;
    assert_eq!(store.used().await, 2, "units of a meter are none of calls");
    assert_eq!(*store.stored.lock(), [sent]);
    assert_eq!(spool.stats().requests_left_out.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn single_requests_give_way_in_a_spool_that_fills_up_and_usage_does_not() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let folder = tempfile::tempdir().expect("a folder");
    let spool = try_spool(&server, folder.path(), node(1), 60_000).expect("the folder can be used");
    for sequence in 1..=100 {
        let batch = with_requests(batch(node(1), sequence, 1), 20);
        spool.take(&batch).await.expect("usage alone has room");
    }
    assert!(spool.stats().bytes.load(Ordering::Relaxed) <= 60_000);
    let _sending = Running::start(|stop| Arc::clone(&spool).run(stop));
    let (_admin, _ingesting) = ingest(&server, &store, 201);
    settled(&spool).await;
    assert_eq!(store.used().await, 100);
    let kept: usize = store.stored.lock().iter().map(|batch| batch.requests.len()).sum();
    assert!(kept > 0, "there was room for some");
    assert_eq!(spool.stats().requests_left_out.load(Ordering::Relaxed), 2_000 - kept as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_version_before_meters_left_on_disk_and_in_the_stream_is_stored() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let folder = tempfile::tempdir().expect("a folder");
    let former = |sequence: u64| {
        let period = Period::calendar_month(at(0));
        let body = format!(
            concat!(
                r#"{{"node":"{node}","sequence":{sequence},"start":{start},"end":{end},"lines":[{{"a":"{account}","#,
                r#""k":"{key}","r":"events","s":"2xx","p":[{from},{to}],"d":false,"t":[3,3,3,0,0]}}]}}"#
            ),
            node = node(1),
            sequence = sequence,
            start = at(0).as_micros(),
            end = at(1).as_micros(),
            account = account_id(1),
            key = key_id(1),
            from = period.start.as_micros(),
            to = period.end.as_micros(),
        );
        format!("tollgate-usage 1 {:08x} {}\n{body}", crc32fast::hash(body.as_bytes()), body.len())
    };
    std::fs::write(folder.path().join(format!("{}-1.batch", node(1))), former(1)).expect("there is room");
    server.ask::<String>(&["XADD", "tg:usage", "*", "batch", &former(2)]);
    let (admin, _ingesting) = ingest(&server, &store, 201);
    let (spool, _sending) = gateway(&server, folder.path(), 2);
    settled(&spool).await;
    until("both are stored", || admin.stats().stored.load(Ordering::Relaxed) == 2).await;
    assert_eq!((store.used().await, admin.stats().dead.load(Ordering::Relaxed)), (6, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_refuses_until_there_is_room() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let folder = tempfile::tempdir().expect("a folder");
    let spool = try_spool(&server, folder.path(), node(1), 1_000).expect("the folder can be used");
    let sending = Running::start(|stop| Arc::clone(&spool).run(stop));
    let mut taken = 0;
    while spool.take(&batch(node(1), taken + 1, 1)).await.is_ok() {
        taken += 1;
        assert!(taken < 100, "it is never full");
    }
    assert!(taken > 0 && spool.stats().is_refusing.load(Ordering::Relaxed));
    assert!(spool.stats().bytes.load(Ordering::Relaxed) <= 1_000);
    let (_admin, _ingesting) = ingest(&server, &store, 201);
    settled(&spool).await;
    spool.take(&batch(node(1), taken + 1, 1)).await.expect("there is room again");
    assert!(!spool.stats().is_refusing.load(Ordering::Relaxed));
    settled(&spool).await;
    assert_eq!(store.used().await, taken + 1);
    sending.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_set_aside() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let folder = tempfile::tempdir().expect("a folder");
    for (sequence, content) in [(1, ""), (2, "tollgate-usage 1 00000000 5\nhello")] {
        std::fs::write(folder.path().join(format!("{}-{sequence}.batch", node(1))), content).expect("there is room");
    }
    let (_admin, _ingesting) = ingest(&server, &store, 201);
    let (spool, _sending) = gateway(&server, folder.path(), 2);
    take(&spool, 2, 1..=2).await;
    settled(&spool).await;
    assert_eq!((files(&folder, "damaged"), files(&folder, "batch"), store.used().await), (2, 0, 2));
    assert_eq!(spool.stats().damaged.load(Ordering::Relaxed), 2);
}
