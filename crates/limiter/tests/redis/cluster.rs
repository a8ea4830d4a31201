//! Redis Cluster: every key of an account in one slot, moved slots followed, a lost node survived.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tollgate_domain::Unit;
use tollgate_domain::limit::{Debit, LimitSet, Quota, Seed, Spending};
use tollgate_limiter::{Limiter, Mode, RedisLimiter, Topology};

use crate::private::{Server, not_run};
use crate::support::{
    account, admitted, bucket, call, debit, is_admitted, key, meter, quota, seeded, settings, used, wall_clock,
};

/// Three nodes that have shared the slots out; `None` where one cannot be made here.
fn cluster() -> Option<Vec<Server>> {
    let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Server::start(&options)?);
    }
    let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
    let mut command = Command::new("redis-cli");
    command.args(["--cluster", "create"]).args(&addresses).args(["--cluster-replicas", "0", "--cluster-yes"]);
    let Ok(status) = command.stdout(Stdio::null()).stderr(Stdio::null()).status() else {
        return not_run("redis-cli");
    };
    assert!(status.success(), "the cluster is not made");
    let began = Instant::now();
    while !nodes.iter().all(|node| node.run::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:ok")) {
        assert!(began.elapsed() < Duration::from_secs(20), "the cluster does not come up");
        std::thread::sleep(Duration::from_millis(50));
    }
    Some(nodes)
}

fn limiter(nodes: &[Server], mode: Mode, number: u8) -> RedisLimiter {
    let urls = nodes.iter().map(Server::url).collect();
    RedisLimiter::new(&settings(Topology::Cluster(urls), mode, number)).expect("URLs")
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_spread_over_the_nodes_and_each_lies_in_one_slot() {
    let Some(nodes) = cluster() else { return };
    let exact = limiter(&nodes, Mode::Exact, 1);
    let leased = limiter(&nodes, Mode::Leased { ttl: Duration::from_millis(500) }, 2);
    let limits = LimitSet { quota: Quota { limit: Some(20) }, ..bucket(1, Unit::Day, 20) };
    let own = quota(2);
    for number in 0..30 {
        let handle = seeded(&exact, account(number), &limits).await;
        let tokens = Some((meter("tokens"), quota(1).quota));
        let by_key = Debit { key: Some((key(1), &own)), meter: tokens, ..call(&limits, 1) };
        let (key, meter) = (Some((key(1), Spending::default())), Some((meter("tokens"), Spending::default())));
        let seed = Seed { key, meter, ..used(0, 1) };
        assert_eq!(exact.seed(&handle, 0, &by_key, &seed, wall_clock()).await, Ok(true));
        assert!(is_admitted(&debit(&exact, &handle, &by_key).await));
        assert!(!is_admitted(&debit(&exact, &handle, &by_key).await), "the meter is spent");
        assert_eq!(admitted(&exact, &handle, &limits, 9).await, 9);
        let handle = leased.open(account(number));
        assert_eq!(admitted(&leased, &handle, &limits, 30).await, 10, "account {number}");
    }
    leased.close().await;
    let held: Vec<usize> = nodes.iter().map(|node| node.run::<usize>(&["DBSIZE"])).collect();
    assert!(held.iter().all(|count| *count > 0), "{held:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_is_followed_without_a_lost_or_doubled_call() {
    let Some(nodes) = cluster() else { return };
    let limiter = limiter(&nodes, Mode::Exact, 1);
    let limits = quota(1_000);
    let handle = seeded(&limiter, account(1), &limits).await;
    assert_eq!(admitted(&limiter, &handle, &limits, 10).await, 10);
    let holds = |node: &Server| node.run::<usize>(&["DBSIZE"]) > 0;
    let keys_of = |node: &Server| -> Vec<String> { node.run(&["KEYS", "tg:l:*"]) };
    let from = nodes.iter().find(|node| holds(node) && !keys_of(node).is_empty()).expect("one holds it");
    let to = nodes.iter().find(|node| node.port() != from.port()).expect("there are three");
    let state = keys_of(from).remove(0);
    let slot = from.run::<u32>(&["CLUSTER", "KEYSLOT", &state]).to_string();
    let (from_id, to_id): (String, String) = (from.run(&["CLUSTER", "MYID"]), to.run(&["CLUSTER", "MYID"]));
    to.run::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
    from.run::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
    assert_eq!(admitted(&limiter, &handle, &limits, 5).await, 5);
    from.run::<()>(&["MIGRATE", "127.0.0.1", &to.port().to_string(), &state, "0", "1000"]);
    assert_eq!(admitted(&limiter, &handle, &limits, 5).await, 5, "asked at the new place");
    for node in &nodes {
        node.run::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
    }
    assert_eq!(admitted(&limiter, &handle, &limits, 5).await, 5, "moved to the new place");
    assert_eq!(crate::support::quota_used(&limiter, account(1), &limits).await, Some(25));
}
