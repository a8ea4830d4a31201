//! A key that is revoked while three gateways serve it.

use std::time::Duration;

use tollgate_e2e::scenario::{cut_stream, revocations};
use tollgate_e2e::service::Shared;

const ROUNDS: usize = 25;
/// The last admission comes at most so long after the operator's answer, in 99 of 100 revocations.
const BOUND: Duration = Duration::from_secs(1);
/// How soon a gateway that was cut off must have caught up. It would read a key from the database by itself only when
/// what it knows is five seconds old, and it was cut off for two.
const CAUGHT_UP: Duration = Duration::from_millis(2_500);

#[test]
fn it_opens_no_gateway_a_second_later() {
    if !Shared::are_there("it_opens_no_gateway_a_second_later") {
        return;
    }
    let times = revocations(ROUNDS);
    // Of so few, the 99th of 100 is the longest.
    assert!(times.iter().all(|time| *time < BOUND), "{times:?}");
}

#[test]
fn a_gateway_that_was_cut_off_misses_no_change() {
    if !Shared::are_there("a_gateway_that_was_cut_off_misses_no_change") {
        return;
    }
    let outcome = cut_stream();
    assert_eq!(outcome.missed_by_others, 0, "{outcome:?}");
    assert!(outcome.caught_up.is_some_and(|time| time < CAUGHT_UP), "{outcome:?}");
}
