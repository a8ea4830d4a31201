//! The cache of key records: what a gateway finds in Redis is never older than the last change.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tollgate_domain::KeyState;
use tollgate_fleet::{CacheSettings, CachedKeys, Relay};
use tollgate_store::{Change, ChangeSink, KeyRecords, StoreError};

use crate::changes::NoCharges;
use crate::store::{TestStore, account_id, at, hash};
use crate::support::{Running, Server, until};

/// Its own bound is long, so that a busy machine is not taken for a slow Redis.
fn cache(server: &Server, store: &Arc<TestStore>) -> CachedKeys {
    let settings = CacheSettings { bound: Duration::from_secs(2), ..CacheSettings::default() };
    CachedKeys::new(server.link(), Arc::clone(store) as _, settings)
}

fn relay(server: &Server, store: &Arc<TestStore>) -> Arc<Relay> {
    Relay::new(server.link(), Arc::clone(store) as _, Arc::new(NoCharges), None, CacheSettings::default())
}

/// Whether Redis holds this record, whatever it says.
fn holds(server: &Server, name: &str) -> bool {
    let value: Vec<u8> = server.ask(&["GET", name]);
    value.get(16) == Some(&b'=')
}

fn holds_key(server: &Server, number: u8) -> bool {
    holds(server, &format!("tg:k:{}", hash(number)))
}

fn holds_account(server: &Server) -> bool {
    holds(server, &format!("tg:a:{}", account_id(1)))
}

/// What Redis alone knows of a key: `None` when it must ask the store.
async fn known_to_redis(server: &Server, store: &TestStore, number: u8) -> Option<Option<KeyState>> {
    let other = TestStore::open().await;
    other.is_away.store(true, Ordering::Relaxed);
    let found = cache(server, &other).find_key(&hash(number)).await;
    assert!(!store.is_away.load(Ordering::Relaxed));
    match found {
        Ok(found) => Some(found.map(|found| found.key.state(at(100)))),
        Err(StoreError::Unavailable(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_one_gateway_has_read_is_there_for_the_others() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    store.make_key(1).await;
    let (one, other) = (cache(&server, &store), cache(&server, &store));
    let read = one.find_key(&hash(1)).await.expect("the store answers").expect("it is there");
    until("the record is in Redis", || holds_key(&server, 1) && holds_account(&server)).await;
    let before = store.finds.load(Ordering::Relaxed);
    let found = other.find_key(&hash(1)).await.expect("Redis answers").expect("it is there");
    assert_eq!((found, store.finds.load(Ordering::Relaxed)), (read, before));
    assert_eq!((other.stats().hits.load(Ordering::Relaxed), other.stats().misses.load(Ordering::Relaxed)), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_remembered_until_it_is_made() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let gateway = cache(&server, &store);
    assert!(gateway.find_key(&hash(1)).await.expect("the store answers").is_none());
    until("that it is unknown is in Redis", || holds_key(&server, 1)).await;
    assert!(gateway.find_key(&hash(1)).await.expect("Redis answers").is_none());
    assert_eq!(store.finds.load(Ordering::Relaxed), 1);
    let relay = relay(&server, &store);
    let running = Running::start(|stop| Arc::clone(&relay).run(stop));
    store.make_key(1).await;
    relay.publish(&Change::Key(hash(1))).await;
    assert!(gateway.find_key(&hash(1)).await.expect("Redis answers").is_some());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_writes_changed_records_through() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    store.make_key(1).await;
    store.make_key(2).await;
    let relay = relay(&server, &store);
    let running = Running::start(|stop| Arc::clone(&relay).run(stop));
    store.revoke(1).await;
    store.ban().await;
    relay.flushed().await;
    assert_eq!(known_to_redis(&server, &store, 1).await, Some(Some(KeyState::Revoked)));
    assert_eq!(known_to_redis(&server, &store, 2).await, Some(Some(KeyState::Active)));
    let other = TestStore::open().await;
    other.is_away.store(true, Ordering::Relaxed);
    let found = cache(&server, &other).find_key(&hash(2)).await.expect("Redis answers").expect("it is there");
    assert!(found.account.ban.is_some());
    store.delete_account().await;
    relay.flushed().await;
    assert_eq!(known_to_redis(&server, &store, 2).await, Some(Some(KeyState::Revoked)));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_before_a_change_never_lands_after_it() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    store.make_key(1).await;
    let relay = relay(&server, &store);
    let running = Running::start(|stop| Arc::clone(&relay).run(stop));
    relay.flushed().await;
    // Nobody has it in Redis, as after an eviction.
    server.ask::<()>(&["DEL", &format!("tg:k:{}", hash(1))]);
    store.slowness_ms.store(400, Ordering::Relaxed);
    let gateway = cache(&server, &store);
    let reading = tokio::spawn(async move { gateway.find_key(&hash(1)).await });
    until("the gateway has asked the store", || store.finds.load(Ordering::Relaxed) > 1).await;
    store.slowness_ms.store(0, Ordering::Relaxed);
    store.revoke(1).await;
    relay.flushed().await;
    let read = reading.await.expect("no panic").expect("the store answers").expect("it is there");
    assert_eq!(read.key.state(at(100)), KeyState::Active, "it was read before the change");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(known_to_redis(&server, &store, 1).await, Some(Some(KeyState::Revoked)));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_came_back_with_an_older_copy_is_not_believed() {
    let Some(mut server) = Server::start() else { return };
    let store = TestStore::open().await;
    store.make_key(1).await;
    let relay = relay(&server, &store);
    let running = Running::start(|stop| Arc::clone(&relay).run(stop));
    relay.flushed().await;
    cache(&server, &store).find_key(&hash(1)).await.expect("the store answers");
    until("the record is in Redis", || holds_key(&server, 1) && holds_account(&server)).await;
    server.ask::<()>(&["SAVE"]);
    store.revoke(1).await;
    relay.flushed().await;
    server.kill();
    server.restart();
    assert!(holds_key(&server, 1), "the older copy is back");
    assert_eq!(known_to_redis(&server, &store, 1).await, None);
    let gateway = cache(&server, &store);
    let found = gateway.find_key(&hash(1)).await.expect("the store answers").expect("it is there");
    assert_eq!(found.key.state(at(100)), KeyState::Revoked);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_record_is_a_miss_and_is_replaced() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    store.make_key(1).await;
    let gateway = cache(&server, &store);
    gateway.find_key(&hash(1)).await.expect("the store answers");
    until("the record is in Redis", || holds_key(&server, 1) && holds_account(&server)).await;
    for name in [format!("tg:k:{}", hash(1)), format!("tg:a:{}", account_id(1))] {
        let good: String = server.ask(&["GET", &name]);
        server.ask::<()>(&["SET", &name, &good.replace("\"version\":1", "\"version\":99")]);
        gateway.find_key(&hash(1)).await.expect("the store answers").expect("it is there");
        until("it is replaced", || server.ask::<String>(&["GET", &name]) == good).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_the_store_answers_and_nobody_waits_for_long() {
    let Some(mut server) = Server::start() else { return };
    let store = TestStore::open().await;
    store.make_key(1).await;
    let gateway = CachedKeys::new(server.link(), Arc::clone(&store) as _, CacheSettings::default());
    let find = async || gateway.find_key(&hash(1)).await.expect("the store answers").expect("it is there");
    find().await;
    server.pause();
    let start = Instant::now();
    for _ in 0..200 {
        find().await;
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?} for 200 keys", start.elapsed());
    assert!(gateway.stats().skipped.load(Ordering::Relaxed) >= 100, "{:?}", gateway.stats());
    server.resume();
    let hits = || gateway.stats().hits.load(Ordering::Relaxed);
    let start = Instant::now();
    while hits() == 0 {
        find().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(start.elapsed() < Duration::from_secs(10), "Redis is never asked again: {:?}", gateway.stats());
    }
    server.kill();
    let start = Instant::now();
    for _ in 0..200 {
        find().await;
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?} for 200 keys", start.elapsed());
}
