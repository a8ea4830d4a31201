//! The list of nodes and the fleet's time.

use std::sync::Arc;
use std::time::Duration;

use tollgate_domain::{Clock, SECOND_US};
use tollgate_fleet::{FleetClock, NodeFacts, Registry, Role};

use crate::store::{at, node};
use crate::support::{Running, Server, SystemClock, until};

/// A node whose own clock is off by so many seconds.
fn registry(server: &Server, number: u8, role: Role, off_secs: i64) -> (Arc<Registry>, Arc<FleetClock>) {
    let clock = FleetClock::new(Arc::new(SystemClock(off_secs * SECOND_US)));
    let facts = NodeFacts {
        id: node(number),
        role,
        version: "0.1.0".into(),
        config_hash: format!("hash {number}"),
        started_at: at(0),
    };
    (Registry::new(server.link(), Arc::clone(&clock), facts), clock)
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_hear_of_each_other_and_of_each_others_end() {
    let Some(server) = Server::start() else { return };
    let roles = [Role::Gateway, Role::Both, Role::Admin];
    let mut nodes = Vec::new();
    for (number, role) in (1..).zip(roles) {
        let (registry, _clock) = registry(&server, number, role, 0);
        let running = Running::start(|stop| Arc::clone(&registry).run(stop));
        nodes.push((registry, running));
    }
    let gateways = nodes[2].0.live_gateways();
    until("two gateways are known", || *gateways.borrow() == 2).await;
    nodes[0].0.set_config_hash("another");
    nodes[0].0.beat().await.expect("Redis answers");
    let reports = nodes[1].0.nodes().await.expect("Redis answers");
    let facts: Vec<_> =
        reports.iter().map(|report| (report.facts.id, report.facts.role, &*report.facts.config_hash)).collect();
    let expected =
        [(node(1), Role::Gateway, "another"), (node(2), Role::Both, "hash 2"), (node(3), Role::Admin, "hash 3")];
    assert_eq!(facts, expected);
    let (gone, running) = nodes.remove(0);
    running.stop().await;
    drop(gone);
    let reports = nodes[0].0.nodes().await.expect("Redis answers");
    assert_eq!(reports.len(), 2, "who stops says so");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_on_one_node_changes_nothing() {
    let Some(server) = Server::start() else { return };
    let (right, _) = registry(&server, 1, Role::Gateway, 0);
    let (wrong, clock) = registry(&server, 2, Role::Gateway, -90_000);
    let off_secs = || (SystemClock(0).now() - clock.now() + SECOND_US / 2).div_euclid(SECOND_US);
    assert_eq!(off_secs(), 90_000, "before Redis is heard there is no other time");
    wrong.beat().await.expect("Redis answers");
    right.beat().await.expect("Redis answers");
    assert_eq!(off_secs(), 0);
    assert_eq!(clock.system_ahead_us().map(|ahead| (ahead + SECOND_US / 2).div_euclid(SECOND_US)), Some(-90_000));
    assert_eq!(right.nodes().await.expect("Redis answers").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_count_of_gateways_stays_while_redis_is_away_or_empty() {
    let Some(mut server) = Server::start() else { return };
    let (one, _) = registry(&server, 1, Role::Gateway, 0);
    let (other, _) = registry(&server, 2, Role::Gateway, 0);
    other.beat().await.expect("Redis answers");
    one.beat().await.expect("Redis answers");
    let gateways = one.live_gateways();
    assert_eq!(*gateways.borrow(), 2);
    server.ask::<()>(&["FLUSHALL"]);
    one.beat().await.expect("Redis answers");
    assert_eq!(*gateways.borrow(), 2, "the other had no time to say that it lives");
    server.kill();
    assert!(one.beat().await.is_err());
    assert_eq!(*gateways.borrow(), 2);
    server.restart();
    tokio::time::sleep(Duration::from_secs(10)).await;
    one.beat().await.expect("Redis answers");
    assert_eq!(*gateways.borrow(), 1, "nobody has heard the other for ten seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_leave_the_list_after_ten_seconds_and_are_forgotten_after_a_day() {
    let Some(server) = Server::start() else { return };
    let now_us = SystemClock(0).now().as_micros();
    let facts = r#"{"role":"gateway","version":"0.1.0","config_hash":"","started_at":0}"#;
    for (number, age_secs) in [(1, 9), (2, 11), (3, 86_390), (4, 86_410)] {
        let seen = now_us - age_secs * SECOND_US;
        server.ask::<()>(&["HSET", "tg:nodes", &node(number).to_string(), &format!("{seen} {facts}")]);
    }
    let (registry, _) = registry(&server, 9, Role::Admin, 0);
    registry.beat().await.expect("Redis answers");
    let living: Vec<_> = registry.last_known().into_iter().map(|report| report.facts.id).collect();
    assert_eq!(living, [node(1), node(9)]);
    assert_eq!(server.ask::<u64>(&["HLEN", "tg:nodes"]), 4, "one is forgotten, one is new");
}
