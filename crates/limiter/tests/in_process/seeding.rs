//! Accounts learn their past from the ledger, and what changed the ledger meanwhile is not missed.

use tollgate_domain::Unit;
use tollgate_domain::limit::{Charged, Debit, LimitLabel, Outcome, Quota, Seed, Spending};
use tollgate_limiter::{Limiter, Subject};

use crate::support::{
    CALLS, account, admitted, at, bucket, debit, is_admitted, key, limiter, meter, month, one, quota, quota_used,
    ready, seeded, used,
};

#[test]
fn an_account_without_state_asks_for_it_and_one_with_state_goes_on_from_it() {
    let limiter = limiter(1);
    let limits = quota(10);
    let handle = limiter.open(account(1));
    assert_eq!(debit(&limiter, &handle, &one(&limits), 0), Outcome::Unseeded);
    assert_eq!(quota_used(&limiter, account(1), &limits, 0), None);
    let ticket = limiter.ticket();
    assert_eq!(ready(limiter.seed(&handle, ticket, &one(&limits), &used(8), at(0))), Ok(true));
    assert_eq!(quota_used(&limiter, account(1), &limits, 0), Some(8));
    assert_eq!(admitted(&limiter, &handle, &limits, 5, 0), 2);
}

#[test]
fn a_ledger_read_before_a_charge_is_not_believed() {
    let limiter = limiter(1);
    let limits = quota(10);
    let handle = limiter.open(account(1));
    let ticket = limiter.ticket();
    ready(limiter.charge(account(1), CALLS, month(), 6, 1)).expect("it answers");
    assert_eq!(ready(limiter.seed(&handle, ticket, &one(&limits), &used(0), at(0))), Ok(false));
    assert_eq!(debit(&limiter, &handle, &one(&limits), 0), Outcome::Unseeded);
    let ticket = limiter.ticket();
    assert_eq!(ready(limiter.seed(&handle, ticket, &one(&limits), &used(6), at(0))), Ok(true));
    assert_eq!(admitted(&limiter, &handle, &limits, 9, 0), 4);
}

#[test]
fn charges_and_credits_reach_an_account_that_has_state() {
    let limiter = limiter(1);
    let limits = quota(10);
    let handle = seeded(&limiter, account(1), &limits);
    for (units, expected) in [(6, 6), (-2, 4), (-9, 0), (i64::MAX, i64::MAX.unsigned_abs()), (i64::MIN, 0), (3, 3)] {
        ready(limiter.charge(account(1), CALLS, month(), units, 1)).expect("it answers");
        assert_eq!(quota_used(&limiter, account(1), &limits, 0), Some(expected), "{units}");
    }
    assert_eq!(admitted(&limiter, &handle, &limits, 9, 0), 7);
}

#[test]
fn a_second_seed_does_not_bring_back_what_was_used_since_the_first() {
    let limiter = limiter(1);
    let limits = quota(10);
    let handle = seeded(&limiter, account(1), &limits);
    assert_eq!(admitted(&limiter, &handle, &limits, 4, 0), 4);
    let ticket = limiter.ticket();
    assert_eq!(ready(limiter.seed(&handle, ticket, &one(&limits), &used(0), at(0))), Ok(true));
    assert_eq!(admitted(&limiter, &handle, &limits, 9, 0), 6);
}

#[test]
fn a_keys_cap_is_charged_and_refunded_with_the_accounts_quota() {
    let limiter = limiter(1);
    let (limits, own) = (quota(10), quota(3));
    let handle = seeded(&limiter, account(1), &limits);
    let by_key = Debit { key: Some((key(1), &own)), ..one(&limits) };
    assert_eq!(debit(&limiter, &handle, &by_key, 0), Outcome::Unseeded);
    let seed = Seed { key: Some((key(1), Spending::default())), ..used(0) };
    assert_eq!(ready(limiter.seed(&handle, limiter.ticket(), &by_key, &seed, at(0))), Ok(true));
    let calls = |count: usize| (0..count).filter(|_| is_admitted(&debit(&limiter, &handle, &by_key, 0))).count();
    assert_eq!(calls(5), 3);
    ready(limiter.settle(&handle, Charged::Calls { key: Some(key(1)) }, month(), -2)).expect("it answers");
    assert_eq!(calls(5), 2);
    assert_eq!(quota_used(&limiter, account(1), &limits, 0), Some(3));
    ready(limiter.settle(&handle, Charged::Calls { key: Some(key(2)) }, month(), -1)).expect("it answers");
    assert_eq!(calls(5), 0);
}

#[test]
fn a_peek_debits_nothing_and_makes_no_state() {
    let limiter = limiter(1);
    let limits = bucket(1, Unit::Day, 3);
    assert_eq!(ready(limiter.peek(account(1), &one(&limits), at(0))), Ok(None));
    assert_eq!(limiter.sweep(at(0)), 0);
    let handle = seeded(&limiter, account(1), &limits);
    for _ in 0..5 {
        let peeked = ready(limiter.peek(account(1), &one(&limits), at(0))).expect("it answers");
        assert!(peeked.as_ref().is_some_and(is_admitted), "{peeked:?}");
    }
    assert_eq!(admitted(&limiter, &handle, &limits, 5, 0), 3);
    let Subject::Account(id) = account(1) else { panic!("an account") };
    assert_eq!(ready(limiter.peek(Subject::Client(id.as_u128()), &one(&limits), at(0))), Ok(None));
}

#[test]
fn a_meter_is_seeded_charged_and_settled_beside_the_accounts_quota() {
    let limiter = limiter(1);
    let limits = quota(10);
    let handle = seeded(&limiter, account(1), &limits);
    let tokens = Charged::Meter(meter("tokens"));
    let metered = Debit { meter: Some((meter("tokens"), Quota { limit: Some(30) })), ..one(&limits) };
    assert_eq!(debit(&limiter, &handle, &metered, 0), Outcome::Unseeded);
    assert_eq!(ready(limiter.peek(account(1), &metered, at(0))), Ok(None));
    let seed = Seed { meter: Some((meter("tokens"), used(20).account)), ..used(0) };
    let ticket = limiter.ticket();
    ready(limiter.charge(account(1), tokens, month(), 4, 1)).expect("it answers");
    assert_eq!(
        ready(limiter.seed(&handle, ticket, &metered, &seed, at(0))),
        Ok(false),
        "it was read before the charge"
    );
    let seed = Seed { meter: Some((meter("tokens"), used(24).account)), ..used(0) };
    assert_eq!(ready(limiter.seed(&handle, limiter.ticket(), &metered, &seed, at(0))), Ok(true));
    let counted = || match ready(limiter.peek(account(1), &Debit { cost: 0, ..metered }, at(0))) {
        Ok(Some(Outcome::Admitted(admitted))) => admitted.standing.iter().map(|limit| limit.used).collect::<Vec<_>>(),
        other => panic!("a look at nothing is admitted, not {other:?}"),
    };
    assert_eq!(counted(), [0, 24]);
    ready(limiter.charge(account(1), tokens, month(), -3, 2)).expect("it answers");
    assert!(is_admitted(&debit(&limiter, &handle, &metered, 0)));
    assert_eq!(ready(limiter.settle(&handle, tokens, month(), 99)), Ok(true));
    assert_eq!(ready(limiter.settle(&handle, CALLS, month(), 2)), Ok(true));
    assert_eq!(counted(), [3, 121]);
    match debit(&limiter, &handle, &metered, 0) {
        Outcome::Refused(refused) => {
            assert_eq!((refused.by, refused.wait_us), (LimitLabel::Meter, month().end - at(0)));
        }
        other => panic!("the meter is spent, not {other:?}"),
    }
    assert_eq!(admitted(&limiter, &handle, &limits, 9, 0), 7);
}
