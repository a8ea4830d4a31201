//! Meters in Redis: debited with the account or not at all, settled either way, seeded, forgotten, never leased, and
//! shared out while Redis is away.

use std::time::Duration;

use tollgate_domain::limit::{Charged, Debit, LimitLabel, LimitSet, Outcome, Quota, QuotaUse, Refused, Seed, Spending};
use tollgate_domain::{DAY_US, Period, Unit};
use tollgate_limiter::{Limiter, Mode, RedisHandle, RedisLimiter, Subject, Topology};

use crate::private::Server;
use crate::support::{
    CALLS, account, admitted, at, bucket, call, debit, exact, is_admitted, key, leased, long, meter, quota, quota_used,
    seeded, settings, standing, used, wall_clock,
};

/// A call that debits so much of a meter as well.
fn metered<'a>(limits: &'a LimitSet, name: &str, limit: u64, cost: u64) -> Debit<'a> {
    Debit { meter: Some((meter(name), Quota { limit: Some(limit) })), ..call(limits, cost) }
}

/// What a ledger tells of an account, and of a meter of which so much was used.
fn told(name: &str, units: u64, ledger_position: u64) -> Seed {
    let quota = Some(QuotaUse { period: long(), used: units });
    Seed { meter: Some((meter(name), Spending { debits: Vec::new(), quota })), ..used(0, ledger_position) }
}

async fn seed_meter(limiter: &RedisLimiter, handle: &RedisHandle, debit: &Debit<'_>, seed: &Seed) -> bool {
    limiter.seed(handle, limiter.ticket(), debit, seed, wall_clock()).await.expect("it answers")
}

/// Units of each limit that a call meets, in order.
async fn used_of(limiter: &RedisLimiter, subject: Subject, debit: &Debit<'_>) -> Option<Vec<u64>> {
    Some(standing(limiter, subject, debit).await?.iter().map(|limit| limit.used).collect())
}

fn refused(outcome: Outcome) -> Refused {
    match outcome {
        Outcome::Refused(refused) => refused,
        other => panic!("it is refused, not {other:?}"),
    }
}

#[tokio::test]
async fn bucket_quota_key_and_meter_are_debited_together_or_not_at_all() {
    let Some(server) = Server::start(&[]) else { return };
    let limiter = exact(&server);
    let own = quota(6);
    for (number, burst, calls, tokens, by) in [
        (1, 5, 9, 9, LimitLabel::Burst),
        (2, 9, 5, 9, LimitLabel::Quota),
        (3, 9, 9, 5, LimitLabel::Meter),
        (4, 9, 9, 9, LimitLabel::KeyQuota),
    ] {
        let limits = LimitSet { quota: quota(calls).quota, ..bucket(1, Unit::Day, burst) };
        let cost = if by == LimitLabel::KeyQuota { 6 } else { 5 };
        let one = Debit { key: Some((key(1), &own)), ..metered(&limits, "tokens", tokens, cost) };
        let handle = seeded(&limiter, account(number), &limits).await;
        assert_eq!(debit(&limiter, &handle, &one).await, Outcome::Unseeded);
        let seed = Seed { key: Some((key(1), Spending::default())), ..told("tokens", 0, 1) };
        assert!(seed_meter(&limiter, &handle, &one, &seed).await);
        let commands = limiter.health().commands;
        let too_much = refused(debit(&limiter, &handle, &Debit { cost: cost + 1, ..one }).await);
        assert_eq!(limiter.health().commands, commands + 1);
        assert_eq!(too_much.by, by);
        if by != LimitLabel::Burst {
            let left_us = long().end - wall_clock();
            assert!((left_us..left_us + 60_000_000).contains(&too_much.wait_us), "{by}: {}", too_much.wait_us);
        }
        assert_eq!(used_of(&limiter, account(number), &one).await, Some(vec![0, 0, 0, 0]), "{by}");
        assert!(is_admitted(&debit(&limiter, &handle, &one).await), "{by}");
        assert_eq!(used_of(&limiter, account(number), &one).await, Some(vec![cost; 4]), "{by}");
    }
}

#[tokio::test]
async fn a_settling_changes_only_what_it_names_and_may_pass_the_limit() {
    let Some(server) = Server::start(&[]) else { return };
    let limiter = exact(&server);
    let limits = quota(100);
    let handle = seeded(&limiter, account(1), &limits).await;
    let one = metered(&limits, "tokens", 50, 10);
    let other = metered(&limits, "images", 50, 10);
    assert!(seed_meter(&limiter, &handle, &one, &told("tokens", 0, 1)).await);
    assert!(is_admitted(&debit(&limiter, &handle, &one).await));
    let (tokens, images) = (Charged::Meter(meter("tokens")), Charged::Meter(meter("images")));
    assert_eq!(limiter.settle(&handle, images, long(), 3).await, Ok(false), "nothing is counted of it");
    assert!(seed_meter(&limiter, &handle, &other, &told("images", 4, 1)).await);
    for (of, units, expected) in
        [(tokens, -4, [10, 6]), (CALLS, 5, [15, 6]), (tokens, 1_000, [15, 1_006]), (CALLS, -99, [0, 1_006])]
    {
        assert_eq!(limiter.settle(&handle, of, long(), units).await, Ok(true));
        assert_eq!(used_of(&limiter, account(1), &one).await, Some(expected.to_vec()), "{of:?} {units}");
    }
    assert_eq!(limiter.settle(&handle, images, long(), 3).await, Ok(true));
    assert_eq!(used_of(&limiter, account(1), &other).await, Some(vec![0, 7]));
    assert_eq!(refused(debit(&limiter, &handle, &Debit { cost: 1, ..one }).await).by, LimitLabel::Meter);
    assert!(is_admitted(&debit(&limiter, &handle, &other).await), "the other meter is not spent");
    assert_eq!(admitted(&limiter, &handle, &limits, 1).await, 1, "nor are calls");
}

#[tokio::test]
async fn a_ledger_read_before_a_meters_charge_is_not_believed_though_the_account_has_state() {
    let Some(server) = Server::start(&[]) else { return };
    let limiter = exact(&server);
    let limits = quota(100);
    let handle = seeded(&limiter, account(1), &limits).await;
    let one = metered(&limits, "tokens", 50, 1);
    let state = server.run::<Vec<String>>(&["KEYS", "*"]).remove(0);
    let kept_ms: i64 = server.run(&["PTTL", &state]);
    limiter.charge_shared(account(1), Charged::Meter(meter("tokens")), long(), 6, 12).await.expect("it answers");
    let still_kept_ms: i64 = server.run(&["PTTL", &state]);
    assert!(still_kept_ms > kept_ms - 60_000, "the account is kept as long as before: {still_kept_ms} of {kept_ms}");
    assert!(!seed_meter(&limiter, &handle, &one, &told("tokens", 0, 11)).await);
    // What is seeded meanwhile from a newer ledger does not make the old one good.
    let other = metered(&limits, "images", 50, 1);
    assert!(seed_meter(&limiter, &handle, &other, &told("images", 0, 13)).await);
    assert!(!seed_meter(&limiter, &handle, &one, &told("tokens", 0, 11)).await);
    assert_eq!(debit(&limiter, &handle, &one).await, Outcome::Unseeded);
    assert!(seed_meter(&limiter, &handle, &one, &told("tokens", 6, 12)).await);
    for (units, position, expected) in [(6, 12, 6), (4, 13, 10), (4, 13, 10), (-1, 14, 9), (-99, 15, 0), (3, 16, 3)] {
        let tokens = Charged::Meter(meter("tokens"));
        limiter.charge_shared(account(1), tokens, long(), units, position).await.expect("it answers");
        assert_eq!(used_of(&limiter, account(1), &one).await, Some(vec![0, expected]), "{units} at {position}");
    }
    assert_eq!(quota_used(&limiter, account(1), &limits).await, Some(0), "calls are charged apart");
}

#[tokio::test]
async fn a_charge_of_a_meter_that_nothing_is_known_of_is_learnt_from_the_ledger() {
    let Some(server) = Server::start(&[]) else { return };
    let limiter = exact(&server);
    let limits = quota(100);
    let handle = limiter.open(account(1));
    let one = metered(&limits, "tokens", 50, 1);
    let tokens = Charged::Meter(meter("tokens"));
    limiter.charge_shared(account(1), tokens, long(), 6, 12).await.expect("it answers");
    assert!(!seed_meter(&limiter, &handle, &one, &told("tokens", 0, 11)).await, "not even the account");
    assert!(seed_meter(&limiter, &handle, &one, &told("tokens", 6, 12)).await);
    limiter.charge_shared(account(1), tokens, long(), 6, 12).await.expect("it answers");
    assert_eq!(used_of(&limiter, account(1), &one).await, Some(vec![0, 6]));
    assert_eq!(server.run::<usize>(&["HLEN", &server.run::<Vec<String>>(&["KEYS", "*"])[0]]), 2, "no mark is left");
}

#[tokio::test]
async fn meters_that_were_not_called_for_a_day_are_forgotten_when_another_comes() {
    let Some(server) = Server::start(&[]) else { return };
    let limiter = RedisLimiter::with_callers_clock(&settings(Topology::Single(server.url()), Mode::Exact, 1));
    let limiter = limiter.expect("a URL");
    let limits = quota(1_000);
    let handle = limiter.open(account(1));
    let call_by = async |name: &str, after_us: i64| {
        let one = metered(&limits, name, 100, 1);
        let outcome = limiter.debit(&handle, &one, at(after_us)).await.expect("it answers");
        if outcome == Outcome::Unseeded {
            assert_eq!(limiter.seed(&handle, 0, &one, &told(name, 0, 0), at(after_us)).await, Ok(true));
            assert!(is_admitted(&limiter.debit(&handle, &one, at(after_us)).await.expect("it answers")));
        }
        outcome == Outcome::Unseeded
    };
    assert!(call_by("tokens", 0).await && call_by("images", DAY_US / 2).await);
    assert!(call_by("pages", DAY_US + DAY_US / 4).await, "it is new, and makes the others be looked at");
    for (name, is_forgotten) in [("images", false), ("tokens", true), ("pages", false)] {
        assert_eq!(call_by(name, DAY_US + DAY_US / 4).await, is_forgotten, "{name}");
    }
}

#[tokio::test]
async fn units_of_calls_keys_and_meters_are_charged_in_one_period() {
    let Some(server) = Server::start(&[]) else { return };
    let limiter = RedisLimiter::with_callers_clock(&settings(Topology::Single(server.url()), Mode::Exact, 1));
    let limiter = limiter.expect("a URL");
    let day = |number: i64| Period { start: at(number * DAY_US), end: at((number + 1) * DAY_US) };
    let (limits, own) = (quota(100), quota(50));
    let handle = limiter.open(account(1));
    let next = Debit { period: day(1), ..call(&limits, 1) };
    assert_eq!(limiter.seed(&handle, 0, &next, &used(0, 0), at(DAY_US)).await, Ok(true));
    assert!(is_admitted(&limiter.debit(&handle, &next, at(DAY_US)).await.expect("it answers")));
    // The clock was set back behind the period that is open; meter and key are seeded from the ledger of the last one.
    let one = Debit { key: Some((key(1), &own)), period: day(0), ..metered(&limits, "tokens", 10, 1) };
    let told = Spending { debits: Vec::new(), quota: Some(QuotaUse { period: day(0), used: 4 }) };
    let seed = Seed { key: Some((key(1), told.clone())), meter: Some((meter("tokens"), told)), ..used(0, 0) };
    assert_eq!(limiter.seed(&handle, 0, &one, &seed, at(1)).await, Ok(true));
    match limiter.debit(&handle, &one, at(2)).await.expect("it answers") {
        Outcome::Admitted(admitted) => {
            assert_eq!(admitted.period, day(1));
            assert_eq!(admitted.standing.iter().map(|limit| limit.used).collect::<Vec<_>>(), [2, 1, 1]);
        }
        other => panic!("it is admitted, not {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metered_call_is_never_leased_and_respects_what_is() {
    let Some(server) = Server::start(&[]) else { return };
    let limiter = leased(&server, 1);
    let limits = quota(1_000);
    let handle = seeded(&limiter, account(1), &limits).await;
    let one = metered(&limits, "tokens", 5, 1);
    assert!(seed_meter(&limiter, &handle, &one, &told("tokens", 0, 1)).await);
    let commands = limiter.health().commands;
    for _ in 0..5 {
        assert!(is_admitted(&debit(&limiter, &handle, &one).await));
    }
    assert_eq!(limiter.health().commands, commands + 5, "each asks Redis once");
    assert_eq!(limiter.health().units_leased, 0);
    // Demand makes the node take units ahead, which are missing for calls that ask Redis.
    let began = std::time::Instant::now();
    while limiter.health().units_leased < 100 {
        assert!(began.elapsed() < Duration::from_secs(20), "it takes no lease");
        assert_eq!(admitted(&limiter, &handle, &limits, 10).await, 10);
        tokio::time::sleep(Duration::from_millis(10)).await;
        if quota_used(&limiter, account(1), &limits).await > Some(700) {
            assert_eq!(limiter.settle(&handle, CALLS, long(), -700).await, Ok(true));
        }
        assert_eq!(admitted(&limiter, &handle, &limits, 10).await, 10);
    }
    let by_meter = refused(debit(&limiter, &handle, &one).await);
    assert_eq!(by_meter.by, LimitLabel::Meter, "a spent meter does not come back with leases");
    let all = metered(&limits, "tokens", 10_000, 1_000);
    let by_leases = refused(debit(&limiter, &handle, &all).await);
    assert_eq!(by_leases.by.kind(), tollgate_domain::limit::LimitKind::Rate);
    let both = metered(&limits, "tokens", 5, 1_000);
    assert_eq!(
        refused(debit(&limiter, &handle, &both).await).by,
        LimitLabel::Burst,
        "of both, the account's comes first"
    );
    limiter.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_in_the_middle_pays_no_meter_either() {
    let Some(server) = Server::start(&[]) else { return };
    let limiter = exact(&server);
    let (limits, own) = (quota(100), quota(50));
    let handle = seeded(&limiter, account(1), &limits).await;
    let one = Debit { key: Some((key(1), &own)), ..metered(&limits, "tokens", 10, 3) };
    let seed = Seed { key: Some((key(1), Spending::default())), ..told("tokens", 4, 1) };
    assert!(seed_meter(&limiter, &handle, &one, &seed).await);
    server.signal("-STOP");
    let gone = tokio::time::timeout(Duration::from_millis(50), debit(&limiter, &handle, &one)).await;
    assert!(gone.is_err());
    server.signal("-CONT");
    let began = std::time::Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let used = used_of(&limiter, account(1), &one).await;
        if used == Some(vec![0, 0, 4]) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{used:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_node_goes_on_with_its_share_of_meters_and_caps() {
    let Some(mut server) = Server::start(&[]) else { return };
    let limiter = exact(&server);
    limiter.set_nodes(3);
    let (limits, own) = (quota(1_000), quota(90));
    let one = Debit { key: Some((key(1), &own)), ..metered(&limits, "tokens", 60, 1) };
    let locally = |handle: &RedisHandle| {
        (0..200).filter(|_| is_admitted(&limiter.debit_locally(handle, &one, wall_clock()))).count()
    };
    let unknown = limiter.open(account(2));
    assert_eq!(locally(&unknown), 20, "a third of a meter that nothing was ever heard of");
    for (before, share) in [(30, 10), (18, 4)] {
        let handle = limiter.open(account(1));
        while limiter.debit(&handle, &one, wall_clock()).await != Ok(Outcome::Unseeded) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let seed =
            Seed { key: Some((key(1), Spending::default())), ..told("tokens", if share == 4 { 30 } else { 0 }, 0) };
        assert!(seed_meter(&limiter, &handle, &one, &seed).await);
        for _ in 0..before {
            assert!(is_admitted(&debit(&limiter, &handle, &one).await));
        }
        server.kill();
        assert_eq!(locally(&handle), share, "a third of what is left, each time anew");
        let tokens = Charged::Meter(meter("tokens"));
        assert!(limiter.settle_locally(&handle, tokens, long(), -2));
        assert_eq!(locally(&handle), 2);
        assert!(limiter.settle_locally(&handle, tokens, long(), 100));
        assert_eq!(locally(&handle), 0);
        assert!(!limiter.settle_locally(&handle, Charged::Meter(meter("images")), long(), 1));
        server.restart();
    }
}
