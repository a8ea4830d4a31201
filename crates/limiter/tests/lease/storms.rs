//! Random histories: calls of any cost, lost and late messages, a cut network, nodes that pause, die and close. Whatever
//! happens, no limit is exceeded over any interval; and once all is calm, the count is right again.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tollgate_domain::Unit;
use tollgate_domain::limit::{LimitSet, Window};

use crate::arbiter::Arbiter;
use crate::fleet::{Fleet, TTL_US, Weather, month};
use crate::judge::check;
use crate::redis::{self, InRedis};
use crate::reference::Reference;
use crate::support::{SECOND_US, bucket, quota, window};

#[derive(Clone, Debug)]
enum Event {
    Burst { node: usize, cost: u64, calls: usize },
    Stream { node: usize, rest_us: i64, calls: usize },
    Pause { node: usize, micros: i64 },
    Weather { is_foul: bool },
    Cut { is_cut: bool },
    Close { node: usize },
    Replace { node: usize },
    Pass { micros: i64 },
}

fn events(may_die: bool) -> impl Strategy<Value = Vec<Event>> {
    let node = || 0_usize..3;
    let pause = (node(), 1_000..1_500_000_i64).prop_map(|(node, micros)| Event::Pause { node, micros });
    let event = prop_oneof![
        6 => (node(), 1_u64..4, 1_usize..40).prop_map(|(node, cost, calls)| Event::Burst { node, cost, calls }),
        6 => (node(), 100_i64..20_000, 1_usize..200)
            .prop_map(|(node, rest_us, calls)| Event::Stream { node, rest_us, calls }),
        2 => pause.clone(),
        1 => any::<bool>().prop_map(|is_foul| Event::Weather { is_foul }),
        1 => any::<bool>().prop_map(|is_cut| Event::Cut { is_cut }),
        1 => node().prop_map(|node| Event::Close { node }),
        1 => if may_die { node().prop_map(|node| Event::Replace { node }).boxed() } else { pause.boxed() },
        10 => (100_i64..400_000).prop_map(|micros| Event::Pass { micros }),
    ];
    proptest::collection::vec(event, 1..60)
}

fn plans() -> impl Strategy<Value = LimitSet> {
    let all = LimitSet {
        windows: [Window { limit: 150, length: Unit::Second }, Window { limit: 2_000, length: Unit::Minute }]
            .into_iter()
            .collect(),
        quota: quota(1_500).quota,
        ..bucket(200, Unit::Second, 60)
    };
    prop_oneof![
        Just(bucket(100, Unit::Second, 5)),
        Just(bucket(1_000, Unit::Second, 200)),
        Just(bucket(7, Unit::Minute, 30)),
        Just(window(100, Unit::Second)),
        Just(quota(700)),
        Just(all),
    ]
}

fn play<A: Arbiter>(seed: u64, limits: &LimitSet, events: &[Event]) -> Fleet<A> {
    let mut fleet = Fleet::<A>::seeded(seed, 3, Weather::FAIR, limits);
    for event in events {
        match *event {
            Event::Burst { node, cost, calls } => fleet.burst(node, limits, month(0), cost, calls),
            Event::Stream { node, rest_us, calls } => {
                let limits = limits.clone();
                fleet.on(node, move |node, world| async move {
                    for _ in 0..calls {
                        drop(node.call(&limits, month(0), 1).await);
                        world.sleep(world.spread(rest_us)).await;
                    }
                });
            }
            Event::Pause { node, micros } => fleet.world().pause(fleet.nodes[node].id, micros),
            Event::Weather { is_foul } => fleet.set_weather(if is_foul { Weather::FOUL } else { Weather::FAIR }),
            Event::Cut { is_cut } => fleet.cut(is_cut),
            Event::Close { node } => fleet.on(node, |node, _| async move { node.leases.close().await }),
            Event::Replace { node } => fleet.replace(node),
            Event::Pass { micros } => fleet.pass(micros),
        }
    }
    fleet.cut(false);
    fleet.set_weather(Weather::FAIR);
    fleet.pass(20 * TTL_US);
    fleet
}

fn is_within_limits<A: Arbiter>(seed: u64, limits: &LimitSet, events: &[Event]) -> Result<(), TestCaseError> {
    let fleet = play::<A>(seed, limits, events);
    prop_assert_eq!(check(&fleet.admissions(), limits), Ok(()));
    Ok(())
}

/// A call that was debited in answer to an ask nobody waits for any more may stay charged.
fn is_settled<A: Arbiter>(seed: u64, limits: &LimitSet, events: &[Event]) -> Result<(), TestCaseError> {
    let fleet = play::<A>(seed, limits, events);
    prop_assert_eq!(check(&fleet.admissions(), limits), Ok(()));
    prop_assert_eq!(fleet.outstanding(), 0);
    let (admitted, used, unheard) = (fleet.admitted(), fleet.quota_used().expect("it has state"), fleet.unheard());
    prop_assert!(
        (admitted..=admitted + unheard).contains(&used),
        "{admitted} admitted, {used} used, {unheard} unheard"
    );
    Ok(())
}

fn is_rid_of_the_dead<A: Arbiter>(seed: u64, events: &[Event]) -> Result<(), TestCaseError> {
    let fleet = play::<A>(seed, &quota(1 << 20), events);
    fleet.pass(61 * SECOND_US);
    let (admitted, used) = (fleet.admitted(), fleet.quota_used().expect("it has state"));
    prop_assert!(used <= admitted + fleet.unheard(), "{admitted} admitted, {used} used");
    Ok(())
}

proptest! {
    #![proptest_config(Config { cases: 32, failure_persistence: None, ..Config::default() })]

    #[test]
    fn no_limit_is_ever_exceeded(seed: u64, limits in plans(), events in events(true)) {
        is_within_limits::<Reference>(seed, &limits, &events)?;
    }

    #[test]
    fn once_all_is_calm_the_quota_is_what_was_admitted(seed: u64, limits in plans(), events in events(false)) {
        is_settled::<Reference>(seed, &limits, &events)?;
    }

    #[test]
    fn the_dead_leave_the_quota(seed: u64, events in events(true)) {
        is_rid_of_the_dead::<Reference>(seed, &events)?;
    }
}

/// The same histories, with the scripts in a real Redis in the reference's place.
#[test]
fn the_scripts_stand_the_same_storms() {
    if !redis::is_there() {
        return;
    }
    let mut runner = TestRunner::new(Config { cases: 6, failure_persistence: None, ..Config::default() });
    let within = runner.run(&(any::<u64>(), plans(), events(true)), |(seed, limits, events)| {
        is_within_limits::<InRedis>(seed, &limits, &events)
    });
    let settled = runner.run(&(any::<u64>(), plans(), events(false)), |(seed, limits, events)| {
        is_settled::<InRedis>(seed, &limits, &events)
    });
    let rid = runner.run(&(any::<u64>(), events(true)), |(seed, events)| is_rid_of_the_dead::<InRedis>(seed, &events));
    for outcome in [
        within.map_err(|error| error.to_string()),
        settled.map_err(|error| error.to_string()),
        rid.map_err(|error| error.to_string()),
    ] {
        assert_eq!(outcome, Ok(()));
    }
}
