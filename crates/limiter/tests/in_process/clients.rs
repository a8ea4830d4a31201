//! Client addresses: fresh when unknown, bounded in number, and not to be reset by a flood of others.

use std::collections::HashSet;

use tollgate_domain::limit::{LimitSet, Outcome, Quota};
use tollgate_domain::{DAY_US, MINUTE_US, SECOND_US, Unit};
use tollgate_limiter::{Handle, InProcess, Limiter};

use crate::support::{
    admitted, at, bucket, client, debit, is_admitted, limiter, one, quota, quota_used, ready, window,
};

/// Lets each of these clients call once, and gives the handles.
fn each_calls(limiter: &InProcess, numbers: std::ops::Range<u32>, limits: &LimitSet, after_us: i64) -> Vec<Handle> {
    let calls = numbers.map(|number| {
        let handle = limiter.open(client(number));
        debit(limiter, &handle, &one(limits), after_us);
        handle
    });
    calls.collect()
}

#[test]
fn an_unknown_client_begins_with_a_full_bucket_and_is_never_unseeded() {
    let limiter = limiter(100);
    let limits = bucket(30, Unit::Minute, 10);
    assert_eq!(ready(limiter.peek(client(1), &one(&limits), at(0))), Ok(None));
    let handle = limiter.open(client(1));
    assert_eq!(admitted(&limiter, &handle, &limits, 20, 0), 10);
    assert_eq!(admitted(&limiter, &limiter.open(client(1)), &limits, 20, 2 * SECOND_US), 1);
    assert_eq!(admitted(&limiter, &limiter.open(client(2)), &limits, 20, 2 * SECOND_US), 10);
}

#[test]
fn a_public_plan_that_gains_a_window_leaves_the_bucket_as_it_is() {
    let limiter = limiter(100);
    let before = bucket(30, Unit::Minute, 10);
    let after = LimitSet { windows: window(3, Unit::Hour).windows, ..before.clone() };
    let handle = limiter.open(client(1));
    assert_eq!(admitted(&limiter, &handle, &before, 8, 0), 8);
    let outcome = debit(&limiter, &handle, &one(&after), 0);
    let Outcome::Admitted(outcome) = outcome else { panic!("{outcome:?}") };
    assert_eq!(outcome.standing.iter().map(|limit| limit.remaining).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn there_are_never_more_clients_than_allowed_however_many_call() {
    for clients_max in [1, 10, 64, 1_000, 20_000] {
        let limiter = limiter(clients_max);
        let limits = window(1, Unit::Day);
        each_calls(&limiter, 0..30_000, &limits, 0);
        let kept = limiter.sweep(at(0));
        assert!(kept <= clients_max, "{kept} of {clients_max}");
        assert!(kept >= clients_max * 3 / 4, "{kept} of {clients_max}");
    }
}

#[test]
fn clients_without_room_share_one_limit_a_shard() {
    let limiter = limiter(64);
    let limits = bucket(1, Unit::Day, 5);
    let held = each_calls(&limiter, 0..64, &limits, 0);
    let admitted: usize =
        (1_000..2_000).map(|number| admitted(&limiter, &limiter.open(client(number)), &limits, 5, 0)).sum();
    assert_eq!(admitted, 5);
    drop(held);
}

#[test]
fn room_is_made_by_forgetting_clients_that_are_as_good_as_new() {
    let limiter = limiter(64);
    let limits = bucket(60, Unit::Minute, 10);
    each_calls(&limiter, 0..64, &limits, 0);
    // A second later all have their token back, and as many others find room.
    assert_eq!(admitted(&limiter, &limiter.open(client(63)), &limits, 1, SECOND_US), 1);
    for number in 100..160 {
        assert_eq!(admitted(&limiter, &limiter.open(client(number)), &limits, 20, SECOND_US), 10, "client {number}");
    }
    assert!(limiter.sweep(at(SECOND_US)) <= 64);
}

#[test]
fn a_full_shard_is_searched_for_room_once_a_second() {
    let limiter = limiter(64);
    let limits = bucket(600, Unit::Minute, 10);
    each_calls(&limiter, 0..64, &limits, 0);
    // The first newcomer has searched in vain; half a second later there would be room, but nobody looks.
    assert_eq!(admitted(&limiter, &limiter.open(client(100)), &limits, 20, 0), 10);
    limiter.sweep(at(SECOND_US / 2));
    assert_eq!(admitted(&limiter, &limiter.open(client(101)), &limits, 20, SECOND_US / 2), 5);
    limiter.sweep(at(SECOND_US));
    assert_eq!(admitted(&limiter, &limiter.open(client(102)), &limits, 20, SECOND_US), 10);
    assert_eq!(admitted(&limiter, &limiter.open(client(103)), &limits, 20, SECOND_US), 10);
}

#[test]
fn a_flood_of_other_addresses_does_not_reset_a_spent_bucket() {
    let limiter = limiter(1_000);
    let limits = bucket(1, Unit::Minute, 10);
    assert_eq!(admitted(&limiter, &limiter.open(client(0)), &limits, 20, 0), 10);
    for round in 0..60 {
        let first = 1 + u32::try_from(round).expect("small") * 2_000;
        each_calls(&limiter, first..first + 2_000, &limits, round * SECOND_US);
    }
    assert_eq!(admitted(&limiter, &limiter.open(client(0)), &limits, 20, MINUTE_US), 1);
}

#[test]
fn the_longest_unseen_give_way_once_they_have_not_been_seen_for_long() {
    let limiter = limiter(64);
    let limits = window(2, Unit::Day);
    each_calls(&limiter, 0..32, &limits, 0);
    each_calls(&limiter, 32..64, &limits, MINUTE_US);
    let own = |numbers: std::ops::Range<u32>, after_us| -> HashSet<u32> {
        let spent_alone = |number: &u32| {
            let handle = limiter.open(client(*number));
            is_admitted(&debit(&limiter, &handle, &one(&limits), after_us))
        };
        numbers.filter(spent_alone).collect()
    };
    // Within two minutes nobody gives way: newcomers share one window of two calls.
    assert_eq!(own(100..110, MINUTE_US).len(), 2);
    // Later a few of the first do, and none of those seen later. Opening knows the time from calls and sweeps.
    limiter.sweep(at(2 * MINUTE_US));
    assert_eq!(own(200..204, 2 * MINUTE_US).len(), 4);
    assert_eq!(own(32..64, 2 * MINUTE_US + SECOND_US).len(), 32);
    let reset = (0..32).filter(|number| {
        let peeked = ready(limiter.peek(client(*number), &one(&limits), at(2 * MINUTE_US))).expect("it answers");
        peeked.is_none()
    });
    assert_eq!(reset.count(), 4);
}

#[test]
fn a_client_in_use_never_gives_way() {
    let limiter = limiter(1);
    let limits = window(2, Unit::Day);
    let held = limiter.open(client(1));
    assert_eq!(admitted(&limiter, &held, &limits, 2, 0), 2);
    for hour in 1..24 {
        limiter.sweep(at(60 * hour * MINUTE_US));
        let other = limiter.open(client(2));
        assert_eq!(admitted(&limiter, &other, &limits, 3, 60 * hour * MINUTE_US), if hour == 1 { 2 } else { 0 });
        assert_eq!(admitted(&limiter, &limiter.open(client(1)), &limits, 1, 60 * hour * MINUTE_US), 0);
    }
    drop(held);
}

#[test]
fn a_client_in_use_keeps_its_one_bucket_even_while_it_is_full() {
    let limiter = limiter(1);
    let limits = bucket(1, Unit::Minute, 10);
    let held = limiter.open(client(1));
    limiter.sweep(at(DAY_US));
    let other = limiter.open(client(2));
    assert_eq!(admitted(&limiter, &held, &limits, 10, DAY_US), 10);
    assert_eq!(admitted(&limiter, &limiter.open(client(1)), &limits, 10, DAY_US), 0);
    assert_eq!(admitted(&limiter, &other, &limits, 10, DAY_US), 10);
}

#[test]
fn a_clients_quota_is_kept_until_its_period_ends() {
    let limiter = limiter(100);
    let limits = LimitSet { quota: Quota { limit: Some(3) }, ..bucket(600, Unit::Minute, 10) };
    assert_eq!(admitted(&limiter, &limiter.open(client(1)), &limits, 5, 0), 3);
    for sweeps in 1..20 {
        assert_eq!(limiter.sweep(at(sweeps * DAY_US)), 1);
    }
    assert_eq!(quota_used(&limiter, client(1), &limits, 20 * DAY_US), Some(3));
    limiter.sweep(at(31 * DAY_US));
    assert_eq!(limiter.sweep(at(32 * DAY_US)), 0);
}

#[test]
fn a_quota_without_limit_keeps_no_client() {
    let limiter = limiter(100);
    let limits = bucket(600, Unit::Minute, 10);
    assert_eq!(admitted(&limiter, &limiter.open(client(1)), &limits, 3, 0), 3);
    limiter.sweep(at(MINUTE_US));
    assert_eq!(limiter.sweep(at(4 * MINUTE_US)), 0);
    // Only a plan that limits it makes it worth keeping.
    assert_eq!(admitted(&limiter, &limiter.open(client(1)), &quota(3), 5, 5 * MINUTE_US), 3);
}
