//! Everything once more over a Cluster of three servers, one of which is started anew meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tollgate_domain::KeyState;
use tollgate_fleet::{
    CacheSettings, CachedKeys, ChangeReader, FleetClock, FleetLink, LinkSettings, NodeFacts, Registry, Relay, Role,
    SpoolSettings, SpooledUsage, Topology, UsageIngest,
};
use tollgate_store::{Change, ChangeSink, Feed, KeyRecords, UsageSink};

use crate::changes::{Heard, NoCharges};
use crate::store::{TestStore, at, batch, hash, node};
use crate::support::{Running, Server, SystemClock, until};

fn link(servers: &[Server]) -> Arc<FleetLink> {
    let urls = servers.iter().map(Server::url).collect();
    FleetLink::new(&LinkSettings::new(Topology::Cluster(urls), "other-prefix")).expect("good addresses")
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_changes_and_nodes_work_over_a_cluster() {
    let Some(servers) = Server::start_cluster() else { return };
    let store = TestStore::open().await;
    for number in 1..=20 {
        store.make_key(number).await;
    }
    let settings = CacheSettings { bound: Duration::from_secs(2), ..CacheSettings::default() };
    let clock = FleetClock::new(Arc::new(SystemClock(0)));
    let (heard, feed) = (Arc::new(Heard::default()), Arc::new(Feed::silent()));
    let reader = ChangeReader::new(link(&servers), Arc::clone(&heard) as _, Arc::clone(&feed), Arc::clone(&clock) as _);
    let _reading = Running::start(|stop| Arc::clone(&reader).run(stop));
    until("the feed is live", || feed.is_live(tollgate_domain::Clock::now(&*clock))).await;
    let relay = Relay::new(link(&servers), Arc::clone(&store) as _, Arc::new(NoCharges), None, settings);
    let _relaying = Running::start(|stop| Arc::clone(&relay).run(stop));
    relay.flushed().await;
    let gateway = CachedKeys::new(link(&servers), Arc::clone(&store) as _, settings);
    for number in 1..=20 {
        gateway.find_key(&hash(number)).await.expect("the store answers").expect("it is there");
        store.revoke(number).await;
    }
    relay.publish(&Change::Key(hash(20))).await;
    until("all have arrived", || (1..=20).all(|number| heard.has(&Change::Key(hash(number))))).await;
    store.is_away.store(true, Ordering::Relaxed);
    let other = CachedKeys::new(link(&servers), Arc::clone(&store) as _, settings);
    for number in 1..=20 {
        let found = other.find_key(&hash(number)).await.expect("Redis answers").expect("it is there");
        assert_eq!(found.key.state(at(100)), KeyState::Revoked);
    }
    let facts = NodeFacts {
        id: node(1),
        role: Role::Both,
        version: "0.1.0".into(),
        config_hash: String::new(),
        started_at: at(0),
    };
    let registry = Registry::new(link(&servers), clock, facts);
    registry.beat().await.expect("Redis answers");
    assert_eq!(registry.nodes().await.expect("Redis answers").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_and_changes_survive_the_restart_of_every_node_of_a_cluster() {
    let Some(mut servers) = Server::start_cluster() else { return };
    let store = TestStore::open().await;
    let folder = tempfile::tempdir().expect("a folder");
    let settings = SpoolSettings { folder: folder.path().to_path_buf(), bytes_max: 1 << 20, node: node(1) };
    let spool = SpooledUsage::open(&settings, link(&servers)).expect("the folder can be used");
    let _sending = Running::start(|stop| Arc::clone(&spool).run(stop));
    let ingest = UsageIngest::new(link(&servers), Arc::clone(&store) as _, node(201));
    let _ingesting = Running::start(|stop| Arc::clone(&ingest).run(stop));
    let (heard, feed) = (Arc::new(Heard::default()), Arc::new(Feed::silent()));
    let clock = Arc::new(SystemClock(0));
    let reader = ChangeReader::new(link(&servers), Arc::clone(&heard) as _, feed, clock);
    let _reading = Running::start(|stop| Arc::clone(&reader).run(stop));
    until("the reader stands at the end", || heard.resyncs() == 1).await;
    for index in 0..3 {
        for sequence in 1..=10 {
            spool.take(&batch(node(1), index * 10 + sequence, 1)).await.expect("there is room");
        }
        let server = &mut servers[usize::try_from(index).expect("a small number")];
        server.kill();
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.restart();
    }
    until("everything is forgotten", || heard.resyncs() > 1).await;
    tokio::time::timeout(Duration::from_secs(30), spool.settled(None)).await.expect("it settles");
    assert_eq!(store.used().await, 30);
}
