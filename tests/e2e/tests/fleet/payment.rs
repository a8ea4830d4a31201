//! A payment that fails and comes after all, while three gateways serve the key.

use std::time::Duration;

use tollgate_e2e::scenario::lapses;
use tollgate_e2e::service::Shared;

/// Each control plane is the one that Stripe's events reach.
const ROUNDS: usize = 2;
/// An end is told in whole milliseconds, and two processes read the clock.
const EXACT: Duration = Duration::from_millis(50);
/// How soon after the payment each gateway serves the key again.
const BACK: Duration = Duration::from_secs(1);

#[test]
fn who_never_pays_is_refused_by_every_gateway_at_the_second_and_back_at_each_once_it_pays() {
    if !Shared::are_there("who_never_pays_is_refused_by_every_gateway_at_the_second_and_back_at_each_once_it_pays") {
        return;
    }
    for outcome in lapses(ROUNDS) {
        assert!(outcome.overran < EXACT, "a call was let in after the grace: {outcome:?}");
        assert_eq!(outcome.early, 0, "a call was refused within the grace: {outcome:?}");
        assert_eq!((outcome.others, outcome.refused_again), (0, 0), "{outcome:?}");
        assert!(outcome.back.iter().all(|time| *time < BACK), "{outcome:?}");
    }
}
