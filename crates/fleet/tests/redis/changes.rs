//! The stream of changes: whatever is done to Redis, a gateway hears of every change or forgets everything.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use tollgate_domain::{AccountId, Charged, Clock, KeyHash, MeterName, Period};
use tollgate_fleet::{CacheSettings, ChangeReader, Charges, Relay};
use tollgate_store::{Change, ChangeSink, Feed};

use crate::store::{TestStore, account_id, at, hash, key_id};
use crate::support::{Running, Server, SystemClock, until};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Limits that take every charge.
pub(crate) struct NoCharges;

#[async_trait]
impl Charges for NoCharges {
    async fn charge(&self, _: AccountId, _: Charged, _: Period, _: i64, _: u64) -> Result<(), Failure> {
        Ok(())
    }
}

/// Limits that take charges of all accounts but one, until told otherwise.
#[derive(Default)]
struct Limits {
    refuses: AtomicBool,
    taken: Mutex<Vec<(AccountId, u64)>>,
    of: Mutex<Vec<Charged>>,
}

#[async_trait]
impl Charges for Limits {
    async fn charge(&self, account: AccountId, of: Charged, _: Period, _: i64, position: u64) -> Result<(), Failure> {
        if account == account_id(1) && self.refuses.load(Ordering::Relaxed) {
            return Err("the limits are away".into());
        }
        self.taken.lock().push((account, position));
        self.of.lock().push(of);
        Ok(())
    }
}

/// Remembers what it was told.
#[derive(Default)]
pub(crate) struct Heard {
    changes: Mutex<Vec<Change>>,
    resyncs: AtomicU64,
}

impl Heard {
    pub(crate) fn has(&self, change: &Change) -> bool {
        self.changes.lock().contains(change)
    }

    fn hashes(&self) -> HashSet<KeyHash> {
        let changes = self.changes.lock();
        changes.iter().filter_map(|change| if let Change::Key(hash) = change { Some(*hash) } else { None }).collect()
    }

    pub(crate) fn resyncs(&self) -> u64 {
        self.resyncs.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl ChangeSink for Heard {
    async fn publish(&self, change: &Change) {
        self.changes.lock().push(*change);
    }

    async fn resync(&self) {
        self.resyncs.fetch_add(1, Ordering::Relaxed);
    }
}

/// A gateway's side.
struct Gateway {
    heard: Arc<Heard>,
    feed: Arc<Feed>,
    reader: Arc<ChangeReader>,
    running: Running,
}

impl Gateway {
    fn start(server: &Server) -> Self {
        let (heard, feed) = (Arc::new(Heard::default()), Arc::new(Feed::silent()));
        let clock = Arc::new(SystemClock(0));
        let reader = ChangeReader::new(server.link(), Arc::clone(&heard) as _, Arc::clone(&feed), clock);
        let running = Running::start(|stop| Arc::clone(&reader).run(stop));
        Self { heard, feed, reader, running }
    }

    async fn started(server: &Server) -> Self {
        let gateway = Self::start(server);
        until("the feed is live", || gateway.is_live()).await;
        gateway
    }

    fn is_live(&self) -> bool {
        self.feed.is_live(SystemClock(0).now())
    }
}

fn relay(server: &Server, store: &Arc<TestStore>) -> (Arc<Relay>, Running) {
    relay_charging(server, store, Arc::new(NoCharges))
}

fn relay_charging(server: &Server, store: &Arc<TestStore>, charges: Arc<dyn Charges>) -> (Arc<Relay>, Running) {
    let relay = Relay::new(server.link(), Arc::clone(store) as _, charges, None, CacheSettings::default());
    let running = Running::start(|stop| Arc::clone(&relay).run(stop));
    (relay, running)
}

fn many(count: u8) -> impl Iterator<Item = KeyHash> {
    (0..count).map(|number| KeyHash::from_bytes([number; 32]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_change_reaches_every_gateway_at_once() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let (relay, _relaying) = relay(&server, &store);
    let gateways = [Gateway::started(&server).await, Gateway::started(&server).await, Gateway::started(&server).await];
    let mut slowest = Duration::ZERO;
    for number in 0..20 {
        let change = Change::Key(hash(number));
        store.post(change);
        relay.publish(&change).await;
        let returned = Instant::now();
        until("all have heard", || gateways.iter().all(|gateway| gateway.heard.has(&change))).await;
        slowest = slowest.max(returned.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert_eq!(store.posted(), 0);
    for gateway in gateways {
        assert_eq!(gateway.reader.stats().resyncs.load(Ordering::Relaxed), 0);
        assert!(gateway.reader.stats().lag_us.load(Ordering::Relaxed) < 1_000_000);
        gateway.running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_lose_nothing_and_need_no_resync() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let (relay, relaying) = relay(&server, &store);
    let gateway = Gateway::started(&server).await;
    let resyncs = gateway.heard.resyncs();
    for (number, hash) in many(60).enumerate() {
        store.post(Change::Key(hash));
        if number % 10 == 5 {
            server.ask::<u64>(&["CLIENT", "KILL", "TYPE", "normal"]);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until("all have arrived", || gateway.heard.hashes().len() == 60).await;
    assert_eq!(gateway.heard.resyncs(), resyncs);
    assert!(gateway.reader.stats().reconnects.load(Ordering::Relaxed) >= 2);
    relay.flushed().await;
    assert_eq!(store.posted(), 0);
    relaying.stop().await;
    gateway.running.stop().await;
}

/// Does something to a server over which changes may be missed, and checks that the gateway forgets everything and
/// hears of what comes after.
async fn check_resync(server: &mut Server, spoil: impl FnOnce(&mut Server)) {
    let store = TestStore::open().await;
    let (relay, relaying) = relay(server, &store);
    let gateway = Gateway::started(server).await;
    for hash in many(5) {
        store.post(Change::Key(hash));
    }
    relay.flushed().await;
    until("the first have arrived", || gateway.heard.hashes().len() == 5).await;
    let before = gateway.heard.resyncs();
    spoil(server);
    until("everything is forgotten", || gateway.heard.resyncs() > before).await;
    let after = Change::Key(hash(99));
    store.post(after);
    until("the next one arrives", || gateway.heard.has(&after)).await;
    assert!(gateway.reader.stats().resyncs.load(Ordering::Relaxed) >= 1);
    assert_eq!(gateway.heard.resyncs(), before + 1, "once is enough");
    relaying.stop().await;
    gateway.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flushed_redis_makes_gateways_forget_everything() {
    let Some(mut server) = Server::start() else { return };
    check_resync(&mut server, |server| server.ask(&["FLUSHALL"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_cut_off_behind_the_reader_makes_gateways_forget_everything() {
    let Some(mut server) = Server::start() else { return };
    check_resync(&mut server, |server| {
        server.ask::<u64>(&["XTRIM", "tg:changes", "MAXLEN", "0"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_stream_makes_gateways_forget_everything() {
    let Some(mut server) = Server::start() else { return };
    check_resync(&mut server, |server| {
        server.ask::<()>(&["FLUSHALL"]);
        server.ask::<String>(&["XADD", "tg:changes", "*", "change", r#"{"kind":"mark"}"#]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_started_anew_and_empty_makes_gateways_forget_everything() {
    let Some(mut server) = Server::start() else { return };
    check_resync(&mut server, |server| {
        server.kill();
        server.restart();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_back_with_what_it_had_saved_makes_gateways_forget_everything() {
    let Some(mut server) = Server::start() else { return };
    check_resync(&mut server, |server| {
        // The reader's place is in the copy, but nobody can tell whether anything had come after it.
        server.ask::<()>(&["SAVE"]);
        server.kill();
        server.restart();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_understood_makes_gateways_forget_everything() {
    let Some(server) = Server::start() else { return };
    let gateway = Gateway::started(&server).await;
    let before = gateway.heard.resyncs();
    server.ask::<String>(&["XADD", "tg:changes", "*", "change", r#"{"kind":"tenant"}"#]);
    server.ask::<String>(&["XADD", "tg:changes", "*", "other", "field"]);
    until("both were met", || gateway.heard.resyncs() == before + 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_redis_silences_the_feed_and_loses_nothing() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let (relay, _relaying) = relay(&server, &store);
    let gateway = Gateway::started(&server).await;
    server.pause();
    let start = Instant::now();
    let change = Change::Key(hash(1));
    store.post(change);
    relay.publish(&change).await;
    assert!(start.elapsed() < Duration::from_secs(2), "a caller waits {:?}", start.elapsed());
    assert_eq!(store.posted(), 1, "the row stays");
    until("the feed is silent", || !gateway.is_live()).await;
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    until("the reader has noticed", || !gateway.reader.stats().is_connected.load(Ordering::Relaxed)).await;
    server.resume();
    until("the change arrives", || gateway.heard.has(&change)).await;
    until("the feed is live", || gateway.is_live()).await;
    assert_eq!(gateway.reader.stats().resyncs.load(Ordering::Relaxed), 0);
    until("the row is gone", || store.posted() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_that_takes_no_changes_silences_the_feed() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let (relay, _relaying) = relay(&server, &store);
    let gateway = Gateway::started(&server).await;
    relay.flushed().await;
    until("the relay is known", || server.ask::<u64>(&["EXISTS", "{tg:changes}:carried"]) == 1).await;
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let change = Change::Key(hash(1));
    store.post(change);
    relay.publish(&change).await;
    until("the feed is silent", || !gateway.is_live()).await;
    assert!(gateway.reader.stats().is_connected.load(Ordering::Relaxed), "reading goes on");
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    until("the change arrives", || gateway.heard.has(&change)).await;
    until("the feed is live", || gateway.is_live()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_does_not_silence_the_feed() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let (relay, _relaying) = relay(&server, &store);
    let gateway = Gateway::started(&server).await;
    until("the relay is known", || server.ask::<u64>(&["EXISTS", "{tg:changes}:carried"]) == 1).await;
    for slowness_ms in [0, 60_000] {
        store.slowness_ms.store(slowness_ms, Ordering::Relaxed);
        store.is_away.store(slowness_ms == 0, Ordering::Relaxed);
        for _ in 0..50 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(gateway.is_live(), "nothing can change");
        }
    }
    assert!(relay.stats().failures.load(Ordering::Relaxed) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_stops_leaves_the_feed_alive_and_one_that_dies_does_not() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let (_first, relaying) = relay(&server, &store);
    let gateway = Gateway::started(&server).await;
    until("the relay is known", || server.ask::<u64>(&["EXISTS", "{tg:changes}:carried"]) == 1).await;
    relaying.stop().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(gateway.is_live(), "nothing can change");
    let (_second, relaying) = relay(&server, &store);
    until("the relay is known", || server.ask::<u64>(&["EXISTS", "{tg:changes}:carried"]) == 1).await;
    relaying.crash();
    until("the feed is silent", || !gateway.is_live()).await;
    let (_third, _relaying) = relay(&server, &store);
    until("the feed is live", || gateway.is_live()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_never_makes_the_feed_live_on() {
    let Some(server) = Server::start() else { return };
    let (heard, feed) = (Arc::new(Heard::default()), Arc::new(Feed::silent()));
    let clock = Arc::new(SystemClock(3_600_000_000));
    let reader = ChangeReader::new(server.link(), Arc::clone(&heard) as _, Arc::clone(&feed), clock);
    let _reading = Running::start(|stop| Arc::clone(&reader).run(stop));
    server.ask::<String>(&["XADD", "tg:changes", "*", "change", &format!(r#"{{"kind":"key","hash":"{}"}}"#, hash(1))]);
    until("the reader reads", || heard.resyncs() == 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!feed.is_live(SystemClock(0).now()));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_wait_in_the_outbox_while_redis_is_not_there() {
    let Some(mut server) = Server::start() else { return };
    server.kill();
    let store = TestStore::open().await;
    let (relay, _relaying) = relay(&server, &store);
    let gateway = Gateway::start(&server);
    let change = Change::Key(hash(1));
    store.post(change);
    let start = Instant::now();
    relay.publish(&change).await;
    assert!(start.elapsed() < Duration::from_secs(2), "a caller waits {:?}", start.elapsed());
    assert!(!gateway.is_live() && store.posted() == 1);
    server.restart();
    until("the feed is live", || gateway.is_live()).await;
    until("the row is carried", || store.posted() == 0).await;
    // Either it was told, or it had been carried before the gateway forgot all it remembered.
    until("the gateway obeys", || gateway.heard.has(&change) || gateway.heard.resyncs() > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_in_the_same_process_is_told_without_redis() {
    let Some(mut server) = Server::start() else { return };
    server.kill();
    let store = TestStore::open().await;
    let local = Arc::new(Heard::default());
    let sink = Some(Arc::clone(&local) as _);
    let relay = Relay::new(server.link(), Arc::clone(&store) as _, Arc::new(NoCharges), sink, CacheSettings::default());
    let change = Change::Account(account_id(1));
    let publishing = relay.publish(&change);
    let told = until("it is told", || local.has(&change));
    tokio::join!(publishing, told);
    relay.resync().await;
    assert_eq!(local.resyncs(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_control_planes_may_carry_the_same_rows() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let charged = Arc::new(Limits::default());
    let one = relay_charging(&server, &store, Arc::clone(&charged) as _);
    let other = relay_charging(&server, &store, Arc::clone(&charged) as _);
    let gateway = Gateway::started(&server).await;
    for number in 0..100_u8 {
        store.post(Change::Key(hash(number)));
        store.post(usage(1, u64::from(number)));
        if number % 10 == 0 {
            tokio::join!(one.0.flushed(), other.0.flushed());
        }
    }
    until("all rows are carried", || store.posted() == 0).await;
    until("all have arrived", || gateway.heard.hashes().len() == 100).await;
    let positions: HashSet<u64> = charged.taken.lock().iter().map(|(_, position)| *position).collect();
    assert_eq!(positions.len(), 100);
}

fn usage(account: u8, position: u64) -> Change {
    usage_of(account, Charged::Calls { key: None }, position)
}

fn usage_of(account: u8, of: Charged, position: u64) -> Change {
    Change::Usage { account: account_id(account), of, period: Period::calendar_month(at(0)), units: 1, position }
}

#[tokio::test(flavor = "multi_thread")]
async fn units_of_calls_keys_and_meters_are_charged_as_what_they_are_and_told_to_gateways() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let limits = Arc::new(Limits::default());
    let gateway = Gateway::started(&server).await;
    let (relay, _relaying) = relay_charging(&server, &store, Arc::clone(&limits) as _);
    let meter = MeterName::new("tokens").expect("a good name").id();
    let all = [Charged::Calls { key: None }, Charged::Calls { key: Some(key_id(3)) }, Charged::Meter(meter)];
    for (of, position) in all.into_iter().zip(1..) {
        store.post(usage_of(1, of, position));
    }
    relay.flushed().await;
    assert_eq!(*limits.of.lock(), all);
    for (of, position) in all.into_iter().zip(1..) {
        until("it arrives", || gateway.heard.has(&usage_of(1, of, position))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_fails_holds_up_nothing_but_later_ones_of_its_account() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    let charged = Arc::new(Limits::default());
    charged.refuses.store(true, Ordering::Relaxed);
    let gateway = Gateway::started(&server).await;
    for change in [usage(1, 1), Change::Key(hash(1)), usage(2, 2), usage(1, 3)] {
        store.post(change);
    }
    let (relay, _relaying) = relay_charging(&server, &store, Arc::clone(&charged) as _);
    until("the others are carried", || store.posted() == 2).await;
    until("the key's change arrives", || gateway.heard.has(&Change::Key(hash(1)))).await;
    assert_eq!(*charged.taken.lock(), [(account_id(2), 2)]);
    charged.refuses.store(false, Ordering::Relaxed);
    relay.flushed().await;
    assert_eq!(*charged.taken.lock(), [(account_id(2), 2), (account_id(1), 1), (account_id(1), 3)]);
    until("all have arrived", || gateway.heard.has(&usage(1, 3))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_of_thousands_of_keys_does_not_hold_up_a_revocation() {
    let Some(server) = Server::start() else { return };
    let store = TestStore::open().await;
    for number in 0..10_000_u32 {
        let mut bytes = [7; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        store.post(Change::Key(KeyHash::from_bytes(bytes)));
    }
    let (relay, _relaying) = relay(&server, &store);
    let start = Instant::now();
    store.post(Change::Key(hash(1)));
    relay.flushed().await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!((store.posted(), relay.stats().relayed.load(Ordering::Relaxed)), (0, 10_001));
}
