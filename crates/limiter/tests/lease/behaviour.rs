//! Single promises, one story each: what is held, spent, reported and given back.

use tollgate_domain::Unit;
use tollgate_domain::limit::{LimitKind, LimitSet, LimitStanding, Outcome, Standing};
use tollgate_limiter::LimiterDown;

use crate::arbiter::Arbiter;
use crate::fleet::{Fleet, TTL_US, Weather, month};
use crate::judge::check;
use crate::reference::Reference;
use crate::support::{SECOND_US, bucket, fair, is_admitted, quota, refused, standing, warm};

#[test]
fn a_cold_account_costs_one_command_a_call_and_holds_nothing() {
    let limits = quota(100);
    let fleet = fair(1, &limits);
    for calls in 1..=10 {
        assert!(is_admitted(&fleet.call(0, &limits, 1)));
        assert_eq!((fleet.commands(), fleet.outstanding()), (calls, 0));
        fleet.pass(2 * SECOND_US);
    }
    assert!(!fleet.nodes[0].entry.is_held());
    assert_eq!((fleet.commands(), fleet.quota_used()), (10, Some(10)));
}

#[test]
fn callers_at_once_share_an_ask() {
    let limits = quota(1_000);
    let fleet = fair(1, &limits);
    fleet.burst(0, &limits, month(0), 1, 64);
    fleet.pass(10_000);
    assert_eq!(fleet.admitted(), 64);
    assert!(fleet.commands() <= 3, "{} commands for 64 calls at once", fleet.commands());
}

#[test]
fn headers_count_what_was_spent_here() {
    let limits = LimitSet { quota: quota(10_000).quota, ..bucket(10, Unit::Second, 2_000) };
    let fleet = fair(1, &limits);
    warm(&fleet, 0, &limits, 20);
    let used = |standing: &Standing| standing.last().map(|quota: &LimitStanding| (quota.used, quota.remaining));
    for _ in 0..300 {
        let standing = standing(fleet.call(0, &limits, 1));
        assert_eq!(used(&standing), Some((fleet.admitted(), 10_000 - fleet.admitted())));
    }
}

#[test]
fn while_nothing_answers_what_is_held_is_spent_and_then_the_limiter_is_down() {
    let limits = quota(10_000);
    let fleet = fair(1, &limits);
    warm(&fleet, 0, &limits, 30);
    fleet.cut(true);
    let held = fleet.nodes[0].entry.units_left();
    for _ in 0..held {
        assert!(is_admitted(&fleet.call(0, &limits, 1)));
    }
    assert_eq!(fleet.call(0, &limits, 1), Err(LimiterDown));
    fleet.pass(3 * SECOND_US);
    fleet.cut(false);
    fleet.pass(5 * SECOND_US);
    assert_eq!(fleet.quota_used(), Some(fleet.admitted()), "the late report has put it right");
}

#[test]
fn nothing_is_spent_past_the_deadline() {
    let limits = quota(10_000);
    let fleet = fair(1, &limits);
    warm(&fleet, 0, &limits, 30);
    fleet.cut(true);
    fleet.pass(TTL_US);
    assert_eq!(fleet.call(0, &limits, 1), Err(LimiterDown));
    let held = fleet.quota_used().expect("it has state") - fleet.admitted();
    assert!(held > 0, "what expired counts as spent");
    fleet.cut(false);
    fleet.pass(5 * SECOND_US);
    assert_eq!(fleet.quota_used(), Some(fleet.admitted()), "and is given back by the late report");
}

#[test]
fn what_is_too_little_for_a_call_goes_back_with_its_ask() {
    let limits = quota(10_000);
    let fleet = fair(1, &limits);
    warm(&fleet, 0, &limits, 30);
    let held = fleet.nodes[0].entry.units_left();
    assert!(is_admitted(&fleet.call(0, &limits, held + 1)));
    assert_eq!(fleet.nodes[0].entry.units_left(), fleet.outstanding());
}

#[test]
fn a_lease_lasts_from_the_sending_of_its_ask() {
    let limits = quota(10_000);
    let fleet = fair(1, &limits);
    warm(&fleet, 0, &limits, 80);
    fleet.cut(true);
    let ends_us = fleet.answered_us() + TTL_US;
    for _ in 0..2_000 {
        let (now_us, left) = (fleet.world().now_us(), fleet.nodes[0].entry.units_left());
        assert_eq!(is_admitted(&fleet.call(0, &limits, 1)), now_us < ends_us, "{} µs before its end", ends_us - now_us);
        if now_us >= ends_us {
            assert!(left > 0, "it was held to the end");
            return;
        }
        fleet.pass(if ends_us - now_us < 1_000 { 100 } else { 9_900 });
    }
    panic!("it never ended");
}

#[test]
fn what_is_reported_late_refills_from_the_spend_on_and_not_before() {
    let limits = bucket(1_000, Unit::Second, 100);
    for rest_us in [20_000, 60_000, 100_000] {
        let fleet = fair(2, &limits);
        warm(&fleet, 0, &limits, 10);
        // Full again, as far as what is held lets it: what is held is spent now, and heard of later.
        fleet.pass(rest_us);
        let held = usize::try_from(fleet.nodes[0].entry.units_left()).expect("some");
        fleet.burst(0, &limits, month(0), 1, held);
        fleet.burst(1, &limits, month(0), 1, 200);
        fleet.pass(10_000);
        for _ in 0..40 {
            fleet.burst(0, &limits, month(0), 1, 200);
            fleet.burst(1, &limits, month(0), 1, 200);
            fleet.pass(1_500);
        }
        assert_eq!(check(&fleet.admissions(), &limits), Ok(()), "rested {rest_us} µs");
        let since = |from_us: i64| fleet.admissions().iter().filter(|admission| admission.at_us >= from_us).count();
        let from_us = fleet.world().now_us() - 70_000;
        assert!(since(from_us) >= 160, "{} of 170: a full bucket, and what refills in 70 ms", since(from_us));
    }
}

#[test]
fn callers_that_wait_for_an_ask_that_fails_fail_with_it() {
    let limits = quota(1_000);
    let fleet = fair(1, &limits);
    fleet.cut(true);
    fleet.burst(0, &limits, month(0), 1, 64);
    fleet.pass(25_000);
    assert_eq!(fleet.commands(), 1, "one ask for all");
    assert_eq!(fleet.call(0, &limits, 1), Err(LimiterDown));
}

#[test]
fn a_caller_that_goes_away_holds_nobody_up() {
    let limits = quota(1_000);
    let fleet = fair(1, &limits);
    fleet.on(0, {
        let limits = limits.clone();
        |node, world| async move {
            let mut call = Box::pin(node.call(&limits, month(0), 1));
            let ends_us = world.now_us() + 100;
            std::future::poll_fn(|context| {
                let is_over = call.as_mut().poll(context).is_ready() || world.now_us() >= ends_us;
                if is_over { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
        }
    });
    fleet.pass(20);
    fleet.burst(0, &limits, month(0), 1, 5);
    fleet.pass(50_000);
    assert_eq!(fleet.admitted(), 5);
}

#[test]
fn what_is_not_spent_comes_back_before_its_time_is_over_and_at_close_at_once() {
    let limits = quota(10_000);
    let fleet = fair(2, &limits);
    warm(&fleet, 0, &limits, 30);
    assert!(fleet.outstanding() >= 30);
    fleet.pass(TTL_US * 4 / 5);
    assert_eq!((fleet.outstanding(), fleet.quota_used()), (0, Some(fleet.admitted())));
    warm(&fleet, 1, &limits, 30);
    fleet.on(1, |node, _| async move { node.leases.close().await });
    fleet.pass(5_000);
    assert_eq!((fleet.outstanding(), fleet.quota_used()), (0, Some(fleet.admitted())));
}

#[test]
fn a_changed_plan_takes_the_lease_back_and_holds_from_the_next_call() {
    let (large, small) = (quota(10_000), quota(400));
    let fleet = fair(1, &large);
    warm(&fleet, 0, &large, 50);
    assert!(fleet.admitted() < 350, "{} while it warmed", fleet.admitted());
    while is_admitted(&fleet.call(0, &small, 1)) {}
    assert_eq!((fleet.admitted(), fleet.quota_used()), (400, Some(400)));
    assert_eq!(refused(fleet.call(0, &small, 1)).by.kind(), LimitKind::Quota);
}

#[test]
fn a_smaller_bucket_holds_from_the_moment_all_nodes_know_it() {
    let (large, small) = (bucket(1_000, Unit::Second, 1_000), bucket(20, Unit::Second, 10));
    let fleet = fair(3, &large);
    for client in 0..12 {
        fleet.client(client % 3, &large, 2_000, SECOND_US);
    }
    fleet.pass(SECOND_US + 10_000);
    let changed_us = fleet.world().now_us();
    for client in 0..12 {
        fleet.client(client % 3, &small, 2_000, changed_us + 10 * SECOND_US);
    }
    fleet.pass(10 * SECOND_US);
    let (before, after): (Vec<_>, Vec<_>) =
        fleet.admissions().into_iter().partition(|admission| admission.at_us < changed_us);
    assert_eq!((check(&before, &large), check(&after, &small)), (Ok(()), Ok(())));
    // What other nodes held under the larger one holds it up for as long as a lease at most.
    let possible = 10 + 20 * 10;
    assert!((possible - 10 - 20..=possible).contains(&after.len()), "{} of {possible}", after.len());
}

#[test]
fn a_lease_is_not_spent_in_another_period() {
    let limits = quota(500);
    let fleet = fair(2, &limits);
    for period in [month(0), month(1)] {
        for node in [0, 1] {
            fleet.burst(node, &limits, period, 1, 100);
            fleet.pass(3_000);
        }
        for _ in 0..40 {
            for node in [0, 1] {
                fleet.burst(node, &limits, period, 1, 10);
            }
            fleet.pass(2_000);
        }
        let admitted = fleet.admissions().iter().filter(|admission| admission.period == period).count();
        // At once into the next period, with leases still out.
        assert!((480..=500).contains(&admitted), "{admitted} in {period:?}");
    }
    fleet.pass(2 * SECOND_US);
    let second = fleet.admissions().iter().filter(|admission| admission.period == month(1)).count();
    assert_eq!(fleet.quota_used(), u64::try_from(second).ok());
}

#[test]
fn a_lease_of_a_state_that_is_gone_is_void() {
    let limits = quota(1_000);
    let fleet = fair(1, &limits);
    warm(&fleet, 0, &limits, 30);
    let now_us = fleet.now_at_redis_us();
    fleet.shared.arbiter.lock().flush();
    assert_eq!(fleet.call(0, &limits, 100), Ok(Outcome::Unseeded), "more than is held: it must ask, and hears of it");
    assert_eq!(fleet.nodes[0].entry.units_left(), 0, "nothing that is void is spent");
    fleet.shared.arbiter.lock().seed(&limits, month(0), 1_000, now_us);
    assert_eq!(refused(fleet.call(0, &limits, 1)).by.kind(), LimitKind::Quota);
    fleet.pass(5 * SECOND_US);
    assert_eq!(fleet.quota_used(), Some(1_000), "nothing of the old state's leases is charged to the new one");
    assert!(!fleet.nodes[0].entry.is_held());
}

#[test]
fn a_state_lost_and_made_again_voids_the_lease_at_the_next_ask() {
    let limits = quota(1_000);
    let fleet = fair(1, &limits);
    warm(&fleet, 0, &limits, 30);
    let now_us = fleet.now_at_redis_us();
    fleet.shared.arbiter.lock().seed(&limits, month(0), 995, now_us);
    assert!(!is_admitted(&fleet.call(0, &limits, 100)));
    let admitted = fleet.admitted();
    for _ in 0..100 {
        drop(fleet.call(0, &limits, 1));
    }
    assert_eq!(fleet.admitted() - admitted, 5);
    fleet.pass(2 * SECOND_US);
    assert_eq!(fleet.quota_used(), Some(1_000));
}

#[test]
fn state_that_is_never_there_is_no_matter_of_waiting() {
    let fleet = Fleet::<Reference>::new(3, 1, Weather::FAIR);
    for _ in 0..5 {
        assert_eq!(fleet.call(0, &quota(5), 1), Ok(Outcome::Unseeded));
    }
    assert!(!fleet.nodes[0].entry.is_held(), "nothing was granted, so there is nothing to settle");
    fleet.shared.arbiter.lock().seed(&quota(5), month(0), 0, fleet.now_at_redis_us());
    assert!(is_admitted(&fleet.call(0, &quota(5), 1)));
}

#[test]
fn calls_for_nothing_debit_nothing() {
    let limits = quota(10);
    let fleet = fair(1, &limits);
    for _ in 0..100 {
        assert!(is_admitted(&fleet.call(0, &limits, 0)));
    }
    assert_eq!((fleet.commands(), fleet.quota_used()), (1, Some(0)));
}

#[test]
fn accounts_at_rest_cost_nothing() {
    let limits = quota(100_000);
    let fleet = fair(1, &limits);
    warm(&fleet, 0, &limits, 30);
    fleet.pass(5 * SECOND_US);
    let commands = fleet.commands();
    fleet.pass(60 * SECOND_US);
    assert_eq!(fleet.commands(), commands);
}

#[test]
fn a_paused_node_spends_nothing_that_has_expired_meanwhile() {
    let limits = LimitSet { quota: quota(1_000).quota, ..bucket(200, Unit::Second, 100) };
    let fleet = fair(2, &limits);
    warm(&fleet, 0, &limits, 10);
    fleet.world().pause(0, 3 * TTL_US);
    fleet.client(1, &limits, 500, fleet.world().now_us() + 4 * TTL_US);
    fleet.burst(0, &limits, month(0), 1, 50);
    fleet.pass(4 * TTL_US);
    fleet.pass(4 * TTL_US);
    assert_eq!(check(&fleet.admissions(), &limits), Ok(()));
    assert_eq!(fleet.quota_used(), Some(fleet.admitted()));
}
