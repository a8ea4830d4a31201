//! Refusals: what is remembered of them, for how long, and what their callers are told.

use tollgate_domain::limit::LimitKind;
use tollgate_domain::{DAY_US, Unit};

use crate::fleet::{TTL_US, month};
use crate::judge::check;
use crate::support::{SECOND_US, bucket, fair, is_admitted, quota, refused, warm, window};

#[test]
fn a_refusal_is_remembered_and_costs_a_few_commands_a_second() {
    for (limits, is_quota) in [(quota(5), true), (bucket(1, Unit::Hour, 5), false), (window(5, Unit::Hour), false)] {
        let fleet = fair(1, &limits);
        for _ in 0..5 {
            assert!(is_admitted(&fleet.call(0, &limits, 1)));
        }
        let before = fleet.commands();
        for cost in [1, 2, 1, 3].repeat(1_000) {
            let refused = refused(fleet.call(0, &limits, cost));
            assert_eq!(refused.by.kind() == LimitKind::Quota, is_quota, "{limits:?}");
            fleet.pass(500);
        }
        let commands = fleet.commands() - before;
        assert!(commands <= 30, "{commands} commands in two seconds, {limits:?}");
    }
}

#[test]
fn a_remembered_refusal_ends_at_the_moment_the_call_can_pass() {
    let limits = bucket(100, Unit::Second, 1);
    let fleet = fair(1, &limits);
    assert!(is_admitted(&fleet.call(0, &limits, 1)));
    let first = refused(fleet.call(0, &limits, 1));
    assert!((1..=10_000).contains(&first.wait_us), "{first:?}");
    fleet.pass(first.wait_us);
    assert!(is_admitted(&fleet.call(0, &limits, 1)), "a lone caller that obeys the wait succeeds");
}

#[test]
fn a_lone_caller_that_obeys_a_window_or_quota_succeeds() {
    let limits = window(3, Unit::Minute);
    let fleet = fair(1, &limits);
    for _ in 0..3 {
        assert!(is_admitted(&fleet.call(0, &limits, 1)));
        fleet.pass(SECOND_US);
    }
    let wait_us = refused(fleet.call(0, &limits, 2)).wait_us;
    fleet.pass(wait_us);
    assert!(is_admitted(&fleet.call(0, &limits, 2)));
    assert_eq!(check(&fleet.admissions(), &limits), Ok(()));
}

#[test]
fn a_refund_a_charge_or_a_changed_limit_makes_a_refusal_forgotten() {
    let limits = quota(1);
    let fleet = fair(1, &limits);
    assert!(is_admitted(&fleet.call(0, &limits, 1)));
    refused(fleet.call(0, &limits, 1));
    let commands = fleet.commands();
    refused(fleet.call(0, &limits, 1));
    assert_eq!(fleet.commands(), commands, "remembered");
    fleet.nodes[0].entry.forget_refusals();
    refused(fleet.call(0, &limits, 1));
    assert_eq!(fleet.commands(), commands + 1, "forgotten on a charge");
    assert!(is_admitted(&fleet.call(0, &quota(2), 1)), "forgotten with another plan");
    fleet.nodes[0].entry.settled(month(0), -1);
    refused(fleet.call(0, &quota(2), 1));
    assert_eq!(fleet.commands(), commands + 3, "forgotten on a refund");
}

#[test]
fn a_forgotten_refusal_is_not_remembered_from_an_answer_on_its_way() {
    let limits = quota(1);
    let fleet = fair(1, &limits);
    assert!(is_admitted(&fleet.call(0, &limits, 1)));
    fleet.pass(2 * TTL_US);
    fleet.burst(0, &limits, month(0), 1, 1);
    fleet.pass(100);
    fleet.nodes[0].entry.forget_refusals();
    fleet.pass(5_000);
    let commands = fleet.commands();
    refused(fleet.call(0, &limits, 1));
    assert_eq!(fleet.commands(), commands + 1);
}

#[test]
fn what_others_hold_is_a_matter_of_rate_and_of_a_lease_at_least() {
    let limits = quota(40);
    let fleet = fair(2, &limits);
    warm(&fleet, 0, &limits, 4);
    while fleet.nodes[0].entry.units_left() > 1 {
        assert!(is_admitted(&fleet.call(0, &limits, 1)));
    }
    let mut last = None;
    for _ in 0..60 {
        last = Some(fleet.call(1, &limits, 1));
        if !is_admitted(last.as_ref().expect("just called")) {
            break;
        }
    }
    let first = refused(last.expect("called"));
    assert_eq!(first.by.kind(), LimitKind::Rate, "while units are out, the quota is not known to be exhausted");
    assert!(first.wait_us >= TTL_US, "{first:?}");
    fleet.pass(2 * TTL_US);
    assert_eq!(fleet.outstanding(), 0, "given back");
    while is_admitted(&fleet.call(1, &limits, 1)) {}
    let last = refused(fleet.call(1, &limits, 1));
    assert_eq!((last.by.kind(), fleet.admitted()), (LimitKind::Quota, 40), "{last:?}");
    assert!(last.wait_us > 29 * DAY_US, "{last:?}");
}
