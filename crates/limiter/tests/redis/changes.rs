//! What Redis answers is what its hash holds: changed plans, forgotten limits, keys that come and go.

use tollgate_domain::limit::{Debit, LimitSet, Outcome, Seed, Spending, Window};
use tollgate_domain::{DAY_US, Unit};
use tollgate_limiter::{Limiter, Mode, RedisLimiter, Topology};

use crate::private::Server;
use crate::support::{
    CALLS, account, admitted, at, bucket, call, debit, exact, is_admitted, key, quota, seeded, settings, used,
    wall_clock, window,
};

#[tokio::test]
async fn a_limit_that_a_plan_gives_up_is_forgotten_and_learnt_again_from_the_ledger() {
    let Some(server) = Server::start(&[]) else { return };
    let limiter = exact(&server);
    let both = LimitSet {
        windows: [Window { limit: 5, length: Unit::Minute }, Window { limit: 9, length: Unit::Hour }]
            .into_iter()
            .collect(),
        ..quota(100)
    };
    let one = window(9, Unit::Hour);
    let handle = seeded(&limiter, account(1), &both).await;
    assert_eq!(admitted(&limiter, &handle, &both, 2).await, 2);
    assert_eq!(admitted(&limiter, &handle, &one, 1).await, 1);
    assert_eq!(debit(&limiter, &handle, &call(&both, 1)).await, Outcome::Unseeded);
    assert_eq!(limiter.seed(&handle, 0, &call(&both, 1), &used(3, 2), wall_clock()).await, Ok(true));
    assert_eq!(admitted(&limiter, &handle, &both, 9).await, 5, "the minute was told nothing, the hour has three");
}

#[tokio::test]
async fn a_refund_and_a_look_leave_bucket_and_windows_alone() {
    let Some(server) = Server::start(&[]) else { return };
    let limiter = exact(&server);
    let limits = LimitSet { windows: window(4, Unit::Hour).windows, ..bucket(1, Unit::Day, 4) };
    let handle = seeded(&limiter, account(1), &limits).await;
    assert_eq!(admitted(&limiter, &handle, &limits, 4).await, 4);
    limiter.settle(&handle, CALLS, crate::support::long(), -4).await.expect("it answers");
    for _ in 0..3 {
        let looked = limiter.peek(account(1), &call(&limits, 1), wall_clock()).await.expect("it answers");
        assert!(looked.is_some_and(|outcome| !is_admitted(&outcome)));
    }
    assert_eq!(admitted(&limiter, &handle, &limits, 4).await, 0);
}

#[tokio::test]
async fn keys_that_have_not_called_for_a_day_are_forgotten_when_another_one_comes() {
    let Some(server) = Server::start(&[]) else { return };
    let settings = settings(Topology::Single(server.url()), Mode::Exact, 1);
    let limiter = RedisLimiter::with_callers_clock(&settings).expect("a URL");
    let (limits, short, long) =
        (quota(1_000), bucket(60, Unit::Minute, 5), window(5, Unit::Days(std::num::NonZero::new(7).expect("seven"))));
    let handle = limiter.open(account(1));
    let call_by = async |number: u8, own: &LimitSet, after_us: i64| {
        let debit = Debit { key: Some((key(number), own)), ..call(&limits, 1) };
        let outcome = limiter.debit(&handle, &debit, at(after_us)).await.expect("it answers");
        if outcome == Outcome::Unseeded {
            let seed = Seed { key: Some((key(number), Spending::default())), ..used(0, 0) };
            assert_eq!(limiter.seed(&handle, 0, &debit, &seed, at(after_us)).await, Ok(true));
            assert!(is_admitted(&limiter.debit(&handle, &debit, at(after_us)).await.expect("it answers")));
        }
        outcome == Outcome::Unseeded
    };
    assert!(call_by(1, &short, 0).await && call_by(2, &long, 0).await && call_by(3, &short, DAY_US / 2).await);
    assert!(call_by(4, &short, DAY_US + DAY_US / 4).await, "it is new, and makes the others be looked at");
    for (number, own, is_forgotten) in [(1, &short, true), (2, &long, false), (3, &short, false)] {
        assert_eq!(call_by(number, own, DAY_US + DAY_US / 4).await, is_forgotten, "key {number}");
    }
}
