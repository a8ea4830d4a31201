//! One account at three gateways.

use std::time::Duration;

use tollgate_e2e::Mode;
use tollgate_e2e::scenario::{Bucket, bucket, commands, quota};
use tollgate_e2e::service::Shared;

const QUOTA: usize = 10_000;
const CLIENTS: usize = 64;
/// So little that a machine that is busy wants more.
const BUCKET: Bucket = Bucket { rate: 60, burst: 40 };
/// Scripts a second that a hot account costs beside those of its calls.
const PER_SECOND: f64 = 10.0;
/// Scripts that a fleet of one gateway and one control plane runs a second beside the limiter.
const BESIDE_PER_SECOND: f64 = 25.0;

#[track_caller]
fn is_spent_to_the_unit(mode: Mode, in_cluster: bool) {
    let outcome = quota(mode, in_cluster, CLIENTS, QUOTA);
    // To the unit, unless this machine is so busy that Redis did not answer within two seconds.
    assert!((QUOTA..=QUOTA + outcome.detached).contains(&outcome.admitted), "{outcome:?}");
    assert_eq!(outcome.arrived, outcome.admitted, "{outcome:?}");
    let is_fair =
        |(status, code): &(u16, String)| *status == 429 && ["rate_limited", "quota_exceeded"].contains(&&**code);
    assert!(outcome.refused.keys().all(is_fair), "{outcome:?}");
    // Only who takes units ahead of need may keep one from another, so nobody else is told to try again soon.
    let told_to_wait = outcome.refused.get(&(429, "rate_limited".to_owned()));
    assert!(mode == Mode::Leased || told_to_wait.is_none(), "{outcome:?}");
    assert!(
        outcome.afterwards.iter().all(|(status, code)| (*status, &**code) == (429, "quota_exceeded")),
        "{outcome:?}"
    );
    assert_eq!(outcome.ledger, u64::try_from(outcome.admitted).ok(), "{outcome:?}");
}

#[test]
fn a_quota_is_spent_to_the_unit_when_every_call_asks_redis() {
    if Shared::are_there("a_quota_is_spent_to_the_unit_when_every_call_asks_redis") {
        is_spent_to_the_unit(Mode::Exact, false);
    }
}

#[test]
fn a_quota_is_spent_to_the_unit_when_units_are_taken_ahead_of_need() {
    if Shared::are_there("a_quota_is_spent_to_the_unit_when_units_are_taken_ahead_of_need") {
        is_spent_to_the_unit(Mode::Leased, false);
    }
}

#[test]
fn a_quota_is_spent_to_the_unit_in_a_cluster() {
    if Shared::are_there("a_quota_is_spent_to_the_unit_in_a_cluster") {
        is_spent_to_the_unit(Mode::Exact, true);
        is_spent_to_the_unit(Mode::Leased, true);
    }
}

#[track_caller]
fn gives_all_it_may_and_never_more(mode: Mode) {
    let outcome = bucket(mode, 6, BUCKET, Duration::from_secs(8), 0);
    assert!(outcome.excess <= 0.0, "{outcome:?}");
    assert!(outcome.share >= 0.99, "{outcome:?}");
    assert_eq!(outcome.others, 0, "{outcome:?}");
}

#[test]
fn a_bucket_gives_all_it_may_and_never_more_when_every_call_asks_redis() {
    if Shared::are_there("a_bucket_gives_all_it_may_and_never_more_when_every_call_asks_redis") {
        gives_all_it_may_and_never_more(Mode::Exact);
    }
}

#[test]
fn a_bucket_gives_all_it_may_and_never_more_when_units_are_taken_ahead_of_need() {
    if Shared::are_there("a_bucket_gives_all_it_may_and_never_more_when_units_are_taken_ahead_of_need") {
        gives_all_it_may_and_never_more(Mode::Leased);
    }
}

#[test]
fn a_gateway_that_stood_still_spends_nothing_that_it_no_longer_holds() {
    if !Shared::are_there("a_gateway_that_stood_still_spends_nothing_that_it_no_longer_holds") {
        return;
    }
    let outcome = bucket(Mode::Leased, 6, BUCKET, Duration::from_secs(9), 4);
    assert!(outcome.excess <= 0.0, "{outcome:?}");
    assert_eq!(outcome.others, 0, "{outcome:?}");
}

#[test]
fn a_call_costs_one_command_or_next_to_none() {
    if !Shared::are_there("a_call_costs_one_command_or_next_to_none") {
        return;
    }
    let exact = commands(Mode::Exact, 4, 2_000);
    assert!((exact.calls..=exact.calls * 1.001).contains(&exact.limiter), "{exact:?}");
    let leased = commands(Mode::Leased, 4, 2_000);
    // What leases cost goes by the second, which a slow build sees more of than a quick one.
    assert!(leased.limiter <= leased.calls * 0.02 + leased.seconds * PER_SECOND, "{leased:?}");
    for outcome in [exact, leased] {
        // Redis saw what the limiter says it sent, and what all the rest sends whether anybody calls or not.
        let beside = outcome.scripts - outcome.limiter;
        assert!((0.0..=outcome.seconds * BESIDE_PER_SECOND + 1.0).contains(&beside), "{outcome:?}");
    }
}
