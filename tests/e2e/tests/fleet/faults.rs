//! Redis, `PostgreSQL` or a process of the fleet is gone, under load.

use std::time::Duration;

use tollgate_e2e::Mode;
use tollgate_e2e::scenario::{Fault, node_killed, under_load};
use tollgate_e2e::service::Shared;

/// Counts are handed over four times a second; as much again for a machine that is busy.
const IN_MEMORY: Duration = Duration::from_millis(500);
/// The longest that a call may take, whatever is away: nobody hangs.
const SLOWEST: Duration = Duration::from_secs(3);

#[track_caller]
fn customers_keep_their_service_and_counts(fault: Fault, mode: Mode) {
    let outcome = under_load(fault, mode);
    let logs = &outcome.logs;
    assert!(outcome.failed.is_empty(), "{fault:?}: failed: {:?}\n{logs}", outcome.failed);
    assert!(outcome.wide_refused.is_empty(), "{fault:?}: refused: {:?}\n{logs}", outcome.wide_refused);
    assert!(outcome.slowest < SLOWEST, "{fault:?}: a call took {:?}\n{logs}", outcome.slowest);
    assert_eq!(outcome.small_under_load, 0, "{fault:?}: of a quota that was used up: {:?}\n{logs}", outcome.small);
    let (admitted, most) = outcome.slow;
    assert!(
        u32::try_from(admitted).is_ok_and(|admitted| f64::from(admitted) <= most),
        "{fault:?}: {admitted} of {most}"
    );
    let (status, code, expected) = &outcome.newcomer;
    assert_eq!(status, expected, "{fault:?}: a key that no gateway had met: {code}\n{logs}");
    let (status, code, expected) = &outcome.stranger;
    assert_eq!(status, expected, "{fault:?}: a key that nobody made: {code}\n{logs}");
    for (status, code, _) in [&outcome.newcomer, &outcome.stranger] {
        assert!(*status != 503 || code == "store_unavailable", "{fault:?}: {code}");
    }
    let (wide, small) = (outcome.wide, outcome.small);
    assert!(outcome.settled.is_some(), "{fault:?}: wide {wide:?}, small {small:?} (admitted, ledger)\n{logs}");
}

/// A test for each fault.
macro_rules! faults {
    ($($name:ident: $fault:ident $mode:ident,)*) => {$(
        #[test]
        fn $name() {
            if Shared::are_there(stringify!($name)) {
                customers_keep_their_service_and_counts(Fault::$fault, Mode::$mode);
            }
        }
    )*};
}

faults! {
    redis_is_killed_and_comes_back: RedisKilled Leased,
    redis_is_killed_and_comes_back_where_every_call_asks_it: RedisKilled Exact,
    redis_stops_for_five_seconds: RedisPaused Leased,
    redis_stops_for_five_seconds_where_every_call_asks_it: RedisPaused Exact,
    nothing_passes_to_or_from_redis: RedisSilent Leased,
    nothing_passes_to_or_from_redis_where_every_call_asks_it: RedisSilent Exact,
    redis_is_emptied: RedisFlushed Leased,
    redis_is_emptied_where_every_call_asks_it: RedisFlushed Exact,
    redis_is_killed_and_comes_back_empty: RedisEmpty Leased,
    redis_is_full: RedisFull Leased,
    redis_is_full_where_every_call_asks_it: RedisFull Exact,
    postgresql_is_killed_and_comes_back: PostgresKilled Leased,
    redis_and_postgresql_are_killed_and_come_back: BothKilled Leased,
    redis_and_postgresql_are_killed_and_come_back_where_every_call_asks_redis: BothKilled Exact,
    the_control_plane_is_killed_and_comes_back: AdminKilled Leased,
}

#[test]
fn a_killed_gateway_loses_its_last_moments_at_most() {
    if !Shared::are_there("a_killed_gateway_loses_its_last_moments_at_most") {
        return;
    }
    let outcome = node_killed(Mode::Leased, IN_MEMORY);
    let count = |number: usize| u64::try_from(number).expect("a small number");
    assert!(outcome.ledger + count(outcome.in_memory_max) >= count(outcome.admitted), "{outcome:?}");
    assert!(outcome.ledger <= count(outcome.admitted + outcome.unanswered), "{outcome:?}");
}
