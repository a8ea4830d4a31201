//! From one machine to a fleet.

use tollgate_e2e::scenario::migration;
use tollgate_e2e::service::Shared;

const KEYS: usize = 300;

#[test]
fn keys_and_what_was_used_move_to_postgresql_in_the_middle_of_a_month() {
    if !Shared::are_there("keys_and_what_was_used_move_to_postgresql_in_the_middle_of_a_month") {
        return;
    }
    let outcome = migration(KEYS);
    assert_eq!(outcome.keys, (KEYS, KEYS), "{outcome:?}");
    assert_eq!(outcome.used.0, outcome.used.1, "{outcome:?}");
    for (before, after) in &outcome.left {
        assert_eq!(before - 1, *after, "one call later: {outcome:?}");
    }
}
