//! Forgetting: only what nobody has held for long and what is as good as new; never much at a time.

use tollgate_domain::limit::{Charged, Debit, LimitSet, Outcome, Quota, Seed, Spending};
use tollgate_domain::{DAY_US, MINUTE_US, SECOND_US, Unit};
use tollgate_limiter::Limiter;

use crate::support::{
    account, admitted, at, bucket, client, debit, key, limiter, meter, month, one, quota, ready, seeded, used, window,
};

#[test]
fn an_account_is_forgotten_two_minutes_after_nobody_was_seen_to_hold_it() {
    let limiter = limiter(1);
    let limits = quota(10);
    let handle = seeded(&limiter, account(1), &limits);
    assert_eq!(limiter.sweep(at(DAY_US)), 1, "held");
    drop(handle);
    assert_eq!(limiter.sweep(at(DAY_US + SECOND_US)), 1, "not held since now");
    assert_eq!(limiter.sweep(at(DAY_US + 2 * MINUTE_US)), 1, "not for two minutes yet");
    drop(limiter.open(account(1)));
    assert_eq!(limiter.sweep(at(DAY_US + 3 * MINUTE_US)), 1, "held in between");
    assert_eq!(limiter.sweep(at(DAY_US + 4 * MINUTE_US)), 1);
    assert_eq!(limiter.sweep(at(DAY_US + 5 * MINUTE_US)), 0);
    assert_eq!(debit(&limiter, &limiter.open(account(1)), &one(&limits), 2 * DAY_US), Outcome::Unseeded);
}

#[test]
fn an_account_whose_limits_hold_something_is_kept() {
    let hour_us = 60 * MINUTE_US;
    for limits in [window(10, Unit::Hour), bucket(1, Unit::Hour, 10)] {
        let limiter = limiter(1);
        assert_eq!(admitted(&limiter, &seeded(&limiter, account(1), &limits), &limits, 1, 0), 1);
        limiter.sweep(at(SECOND_US));
        assert_eq!(limiter.sweep(at(hour_us - 1)), 1);
        assert_eq!(limiter.sweep(at(hour_us)), 0);
    }
}

#[test]
fn a_clock_that_was_set_back_makes_nothing_be_forgotten_early() {
    let limiter = limiter(1);
    seeded(&limiter, account(1), &quota(10));
    limiter.sweep(at(DAY_US));
    assert_eq!(limiter.sweep(at(0)), 1);
    assert_eq!(limiter.sweep(at(MINUTE_US)), 1);
    assert_eq!(limiter.sweep(at(2 * MINUTE_US)), 0);
}

#[test]
fn a_sweep_forgets_some_thousands_and_the_next_one_goes_on() {
    const CLIENTS: u32 = 40_000;
    let limiter = limiter(1_000_000);
    let limits = bucket(600, Unit::Minute, 10);
    for number in 0..CLIENTS {
        debit(&limiter, &limiter.open(client(number)), &one(&limits), 0);
    }
    let mut left = usize::try_from(CLIENTS).expect("small");
    for second in 0..10 {
        assert_eq!(limiter.sweep(at(second * SECOND_US)), left, "all are marked before any is forgotten");
    }
    let mut sweeps = 0;
    while left > 0 {
        let now_left = limiter.sweep(at(5 * MINUTE_US));
        assert!((1..=10_000).contains(&(left - now_left)), "{left} before, {now_left} after");
        left = now_left;
        sweeps += 1;
    }
    assert!(sweeps >= 4, "{sweeps}");
}

#[test]
fn counters_of_a_key_that_has_not_called_for_a_day_are_forgotten_while_the_account_goes_on() {
    let limiter = limiter(1);
    let (limits, own) = (quota(1_000), bucket(60, Unit::Minute, 5));
    let handle = seeded(&limiter, account(1), &limits);
    let by = |number: u8| Debit { key: Some((key(number), &own)), ..one(&limits) };
    for number in [1, 2] {
        let seed = Seed { key: Some((key(number), Spending::default())), ..used(0) };
        assert_eq!(ready(limiter.seed(&handle, limiter.ticket(), &by(number), &seed, at(0))), Ok(true));
        assert!(matches!(debit(&limiter, &handle, &by(number), 0), Outcome::Admitted(_)));
    }
    limiter.sweep(at(DAY_US));
    assert!(matches!(debit(&limiter, &handle, &by(2), DAY_US), Outcome::Admitted(_)));
    limiter.sweep(at(DAY_US + MINUTE_US));
    assert_eq!(debit(&limiter, &handle, &by(1), DAY_US + MINUTE_US), Outcome::Unseeded);
    assert!(matches!(debit(&limiter, &handle, &by(2), DAY_US + MINUTE_US), Outcome::Admitted(_)));
    assert!(matches!(debit(&limiter, &handle, &one(&LimitSet::default()), DAY_US), Outcome::Admitted(_)));
}

#[test]
fn meters_that_were_not_called_for_a_day_are_forgotten_while_the_account_goes_on() {
    let limiter = limiter(1);
    let limits = quota(1_000);
    let handle = seeded(&limiter, account(1), &limits);
    let by = |name: &str| Debit { meter: Some((meter(name), Quota { limit: Some(9) })), ..one(&limits) };
    for name in ["tokens", "images"] {
        assert_eq!(debit(&limiter, &handle, &by(name), 0), Outcome::Unseeded);
        let seed = Seed { meter: Some((meter(name), Spending::default())), ..used(0) };
        assert_eq!(ready(limiter.seed(&handle, limiter.ticket(), &by(name), &seed, at(0))), Ok(true));
        assert!(matches!(debit(&limiter, &handle, &by(name), 0), Outcome::Admitted(_)));
    }
    limiter.sweep(at(DAY_US));
    assert!(matches!(debit(&limiter, &handle, &by("images"), DAY_US), Outcome::Admitted(_)));
    limiter.sweep(at(DAY_US + MINUTE_US));
    let tokens = Charged::Meter(meter("tokens"));
    assert_eq!(ready(limiter.settle(&handle, tokens, month(), 1)), Ok(false), "it is the ledger's to tell");
    assert_eq!(debit(&limiter, &handle, &by("tokens"), DAY_US + MINUTE_US), Outcome::Unseeded);
    assert!(matches!(debit(&limiter, &handle, &by("images"), DAY_US + MINUTE_US), Outcome::Admitted(_)));
}
