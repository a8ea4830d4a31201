//! Redis that is not there, goes away, hangs, forgets, is full, or may not be written.

use std::time::{Duration, Instant};

use tollgate_domain::Unit;
use tollgate_domain::limit::{Debit, LimitSet, Outcome, Seed, Spending};
use tollgate_limiter::{Limiter, LimiterDown, Mode, RedisHandle, RedisLimiter, RedisSettings, Subject, Topology};

use crate::private::Server;
use crate::support::{
    CALLS, account, admitted, bucket, call, debit, exact, is_admitted, key, long, node, quota, quota_used, seeded,
    used, wall_clock,
};

/// A limiter with the usual timeout, as long as a busy machine allows.
fn hasty(server: &Server) -> RedisLimiter {
    let settings = RedisSettings::new(Topology::Single(server.url()), Mode::Exact, node(1));
    RedisLimiter::new(&RedisSettings { timeout: Duration::from_millis(100), ..settings }).expect("a URL")
}

async fn try_debit(limiter: &RedisLimiter, handle: &RedisHandle, limits: &LimitSet) -> Result<Outcome, LimiterDown> {
    limiter.debit(handle, &call(limits, 1), wall_clock()).await
}

/// Calls until the circuit breaker has opened.
async fn open_breaker(limiter: &RedisLimiter, handle: &RedisHandle, limits: &LimitSet) {
    for _ in 0..200 {
        if limiter.health().is_down {
            return;
        }
        drop(try_debit(limiter, handle, limits).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it does not open");
}

/// Waits until it is answered again; how long that took.
async fn recover(limiter: &RedisLimiter) -> Duration {
    let began = Instant::now();
    while limiter.health().is_down {
        assert!(began.elapsed() < Duration::from_secs(15), "it does not recover");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_without_redis_and_finds_it_when_it_comes() {
    let Some(mut server) = Server::start(&[]) else { return };
    server.kill();
    let limiter = hasty(&server);
    let limits = quota(10);
    let handle = limiter.open(account(1));
    open_breaker(&limiter, &handle, &limits).await;
    let refused = Instant::now();
    for _ in 0..100 {
        assert_eq!(try_debit(&limiter, &handle, &limits).await, Err(LimiterDown));
    }
    assert!(
        refused.elapsed() < Duration::from_millis(90),
        "an open breaker waits for nothing: {:?}",
        refused.elapsed()
    );
    server.restart();
    recover(&limiter).await;
    assert_eq!(try_debit(&limiter, &handle, &limits).await, Ok(Outcome::Unseeded));
    assert_eq!(limiter.health().outages, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_killed_and_comes_back_empty_is_filled_from_the_ledger_after_a_moment() {
    let Some(mut server) = Server::start(&[]) else { return };
    let limiter = hasty(&server);
    let limits = quota(10);
    let handle = seeded(&limiter, account(1), &limits).await;
    assert_eq!(admitted(&limiter, &handle, &limits, 3).await, 3);
    server.kill();
    open_breaker(&limiter, &handle, &limits).await;
    server.restart();
    recover(&limiter).await;
    let lost = Instant::now();
    while try_debit(&limiter, &handle, &limits).await == Err(LimiterDown) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(lost.elapsed() >= Duration::from_millis(1_200), "{:?}", lost.elapsed());
    assert_eq!(limiter.seed(&handle, 0, &call(&limits, 1), &used(3, 1), wall_clock()).await, Ok(true));
    assert_eq!(admitted(&limiter, &handle, &limits, 10).await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_five_seconds_is_survived_and_what_nobody_used_is_given_back() {
    let Some(server) = Server::start(&[]) else { return };
    let limiter = hasty(&server);
    let limits = quota(100);
    let handle = seeded(&limiter, account(1), &limits).await;
    assert_eq!(admitted(&limiter, &handle, &limits, 3).await, 3);
    server.signal("-STOP");
    let paused = Instant::now();
    open_breaker(&limiter, &handle, &limits).await;
    assert!(paused.elapsed() < Duration::from_secs(2), "{:?}", paused.elapsed());
    tokio::time::sleep(Duration::from_secs(5).saturating_sub(paused.elapsed())).await;
    server.signal("-CONT");
    recover(&limiter).await;
    // The debits that were sent before the breaker opened were done after all, and nobody had waited for them.
    let began = Instant::now();
    while quota_used(&limiter, account(1), &limits).await != Some(3) {
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", quota_used(&limiter, account(1), &limits).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(admitted(&limiter, &handle, &limits, 2).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_in_the_middle_pays_nothing() {
    let Some(server) = Server::start(&[]) else { return };
    let limiter = exact(&server);
    let limits = quota(100);
    let handle = seeded(&limiter, account(1), &limits).await;
    server.signal("-STOP");
    let gone = tokio::time::timeout(Duration::from_millis(50), try_debit(&limiter, &handle, &limits)).await;
    assert!(gone.is_err());
    server.signal("-CONT");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(quota_used(&limiter, account(1), &limits).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_were_flushed_are_loaded_again() {
    let Some(server) = Server::start(&[]) else { return };
    let limiter = exact(&server);
    let limits = quota(10);
    let handle = seeded(&limiter, account(1), &limits).await;
    assert_eq!(admitted(&limiter, &handle, &limits, 2).await, 2);
    server.run::<()>(&["SCRIPT", "FLUSH"]);
    assert_eq!(admitted(&limiter, &handle, &limits, 2).await, 2);
    assert_eq!(quota_used(&limiter, account(1), &limits).await, Some(4));
    assert!(!limiter.health().is_down);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_cannot_be_written_counts_as_down_until_it_can() {
    let Some(server) = Server::start(&[]) else { return };
    let cases = [
        (["CONFIG", "SET", "maxmemory", "1"].as_slice(), ["CONFIG", "SET", "maxmemory", "0"].as_slice()),
        (["REPLICAOF", "127.0.0.1", "1"].as_slice(), ["REPLICAOF", "NO", "ONE"].as_slice()),
    ];
    for (number, (broken, mended)) in (1..).zip(cases) {
        let limiter = exact(&server);
        let limits = quota(10);
        let handle = seeded(&limiter, account(number), &limits).await;
        assert_eq!(admitted(&limiter, &handle, &limits, 2).await, 2);
        server.run::<()>(broken);
        open_breaker(&limiter, &handle, &limits).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(limiter.health().is_down, "a probe must find out that it cannot be written");
        server.run::<()>(mended);
        recover(&limiter).await;
        assert_eq!(admitted(&limiter, &handle, &limits, 10).await, 8);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_node_goes_on_with_its_share() {
    let Some(mut server) = Server::start(&[]) else { return };
    let limiter = hasty(&server);
    limiter.set_nodes(3);
    let limits = LimitSet { quota: quota(100).quota, ..bucket(1, Unit::Day, 60) };
    let handle = seeded(&limiter, account(1), &limits).await;
    assert_eq!(admitted(&limiter, &handle, &limits, 40).await, 40);
    server.kill();
    open_breaker(&limiter, &handle, &limits).await;
    let locally = |subject: &RedisHandle, limits: &LimitSet, calls: usize| {
        (0..calls).filter(|_| is_admitted(&limiter.debit_locally(subject, &call(limits, 1), wall_clock()))).count()
    };
    assert_eq!(locally(&handle, &limits, 100), 20, "a third of 60 left of the quota, and of the burst of 60");
    limiter.settle_locally(&handle, CALLS, long(), -20);
    assert_eq!(locally(&handle, &limits, 100), 0, "the bucket is empty");
    let unknown = limiter.open(account(2));
    assert_eq!(locally(&unknown, &quota(100), 100), 33, "nothing was ever heard of it");
    let own = quota(5);
    let by_key = Debit { key: Some((key(1), &own)), ..call(&limits, 1) };
    let fresh = limiter.open(account(3));
    let mut count = 0;
    for _ in 0..9 {
        count += u32::from(is_admitted(&limiter.debit_locally(&fresh, &by_key, wall_clock())));
    }
    assert_eq!(count, 1, "a third of five");
    let one = quota(30);
    let client = Subject::Client(7);
    let by_client = || is_admitted(&limiter.debit_locally(&limiter.open(client), &call(&one, 1), wall_clock()));
    assert_eq!((0..30).filter(|_| by_client()).count(), 10, "each call opens the address anew, and it is the same one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_outage_goes_on_from_what_redis_had_last() {
    let Some(mut server) = Server::start(&[]) else { return };
    let limiter = hasty(&server);
    let limits = quota(90);
    let seed = Seed { account: Spending::default(), ..used(0, 0) };
    for (before, shared) in [(0, 30), (60, 10)] {
        let handle = limiter.open(account(1));
        while try_debit(&limiter, &handle, &limits).await != Ok(Outcome::Unseeded) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(limiter.seed(&handle, 0, &call(&limits, 1), &seed, wall_clock()).await, Ok(true));
        assert_eq!(admitted(&limiter, &handle, &limits, before).await, before);
        limiter.set_nodes(3);
        assert!(is_admitted(&debit(&limiter, &handle, &call(&limits, 0)).await));
        server.kill();
        open_breaker(&limiter, &handle, &limits).await;
        let locally =
            (0..90).filter(|_| is_admitted(&limiter.debit_locally(&handle, &call(&limits, 1), wall_clock()))).count();
        assert_eq!(locally, shared);
        server.restart();
        recover(&limiter).await;
    }
}
