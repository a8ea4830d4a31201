//! What the leases promise in fair weather: rates reached and never exceeded, quota to the unit, few commands.

#![expect(clippy::print_stdout, reason = "the figures, for whoever asks for them with --nocapture")]

use tollgate_domain::Unit;
use tollgate_domain::limit::LimitSet;

use crate::arbiter::Arbiter;
use crate::fleet::{Fleet, Weather};
use crate::judge::{check, possible};
use crate::redis::{self, InRedis};
use crate::reference::Reference;
use crate::support::{SECOND_US, bucket, quota};

/// At least 99 % of what the bucket gives while all nodes ask for more, and never more than it.
fn rate_is_reached<A: Arbiter>(limits: &LimitSet, nodes: usize, clients: usize, rest_us: i64) {
    let seconds = 5;
    let fleet = Fleet::<A>::seeded(1, nodes, Weather::FAIR, limits);
    for client in 0..nodes * clients {
        fleet.client(client % nodes, limits, rest_us, seconds * SECOND_US);
    }
    fleet.world().run_until(seconds * SECOND_US);
    check(&fleet.admissions(), limits).expect("within the limits");
    let (admitted, possible) = (fleet.admitted(), possible(limits, seconds * SECOND_US));
    println!("{nodes} nodes, {limits:?}: {admitted} of {possible}, {} commands", fleet.commands());
    assert!(admitted * 100 >= possible * 99, "{nodes} nodes: {admitted} of {possible}");
}

fn quota_is_reached<A: Arbiter>(nodes: usize) {
    let limits = quota(10_000);
    let fleet = Fleet::<A>::seeded(2, nodes, Weather::FAIR, &limits);
    for client in 0..nodes * 64 {
        fleet.client(client % nodes, &limits, 5_000, 5 * SECOND_US);
    }
    fleet.world().run_until(5 * SECOND_US);
    println!("{nodes} nodes: {} of 10 000 by {} commands", fleet.admitted(), fleet.commands());
    assert_eq!((fleet.admitted(), fleet.quota_used(), fleet.outstanding()), (10_000, Some(10_000), 0));
}

#[test]
fn the_rate_is_reached_while_demand_exceeds_it() {
    for nodes in [1, 3] {
        for (count, burst) in [(100, 2), (100, 10), (1_000, 10), (1_000, 200), (50, 500)] {
            rate_is_reached::<Reference>(&bucket(count, Unit::Second, burst), nodes, 8, 1_500);
        }
    }
}

#[test]
fn the_scripts_reach_the_rate_and_the_quota_too() {
    if !redis::is_there() {
        return;
    }
    rate_is_reached::<InRedis>(&bucket(100, Unit::Second, 20), 3, 4, 3_000);
    quota_is_reached::<InRedis>(3);
}

#[test]
fn a_quota_is_reached_to_the_unit() {
    quota_is_reached::<Reference>(1);
    quota_is_reached::<Reference>(3);
}

#[test]
fn a_hot_account_costs_few_commands() {
    for (nodes, rest_us) in [(1, 500), (3, 1_000)] {
        let limits = LimitSet { quota: quota(1 << 40).quota, ..bucket(1_000_000, Unit::Second, 1_000_000) };
        let fleet = Fleet::<Reference>::seeded(3, nodes, Weather::FAIR, &limits);
        for node in 0..nodes {
            fleet.client(node, &limits, rest_us, 10 * SECOND_US);
        }
        fleet.world().run_until(10 * SECOND_US);
        let (admitted, commands) = (fleet.admitted(), fleet.commands());
        println!("{nodes} nodes: {commands} commands for {admitted} requests");
        assert!(commands * 50 <= admitted, "{nodes} nodes: {commands} commands for {admitted} requests");
    }
}
