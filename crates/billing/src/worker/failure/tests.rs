use tollgate_store::{EventState, NewEvent};

use super::*;

const RECEIVED: Timestamp = Timestamp::from_secs(1_773_144_000);

fn event(id: &str, attempts: u32) -> InboxEvent {
    InboxEvent {
        event: NewEvent {
            id: id.into(),
            kind: "invoice.paid".into(),
            subject: "cus_1".into(),
            object: "in_1".into(),
            account: None,
            created_at: RECEIVED,
            received_at: RECEIVED,
            payload: "{}".into(),
        },
        state: EventState::Pending,
        attempts,
        due_at: RECEIVED,
        settled_at: None,
        note: None,
    }
}

fn passing() -> Failure {
    Failure::Passing(ApiError::Unreadable("no items".into()))
}

fn away() -> Failure {
    Failure::Away(ApiError::Unavailable("not within 10 s".into()))
}

#[test]
fn waits_double_from_a_second_to_an_hour_with_a_spread_that_repeats() {
    for attempts in 0..ATTEMPTS_MAX {
        let wait = wait_us(&event("evt_1", attempts));
        let doubled = (SECOND_US << attempts.min(20)).min(HOUR_US);
        assert!(doubled <= wait && wait <= (doubled + doubled / 4).min(HOUR_US), "{attempts}: {wait}");
        assert_eq!(wait, wait_us(&event("evt_1", attempts)));
    }
    let waits: std::collections::HashSet<i64> = (0..50).map(|i| wait_us(&event(&format!("evt_{i}"), 6))).collect();
    assert!(waits.len() > 30, "events of one moment are not tried at one moment");
}

#[test]
fn an_event_is_given_up_after_forty_attempts_or_three_days() {
    let day = |days: i64| RECEIVED.plus_micros(days * DAY_US);
    // Attempts that failed before this one, now, whether it is given up.
    let table = [
        (0, RECEIVED, false),
        (38, day(1), false),
        (39, day(1), true),
        (10, day(3), true),
        (10, day(3).plus_micros(-1), false),
        // It has waited for Stripe for a week: it has its chances yet.
        (0, day(7), false),
        (3, day(7), false),
        (4, day(7), true),
    ];
    for (attempts, now, is_dead) in table {
        let settled = passing().settles(&event("evt_1", attempts), now);
        match settled.outcome {
            Outcome::Dead { note } => assert!(is_dead && note.contains("replay"), "{attempts} at {now}: {note}"),
            Outcome::Retry { at, counted, .. } => assert!(!is_dead && counted && at > now, "{attempts} at {now}"),
            Outcome::Done { .. } => panic!("{attempts} at {now}"),
        }
    }
}

#[test]
fn while_stripe_is_away_nothing_is_given_up_or_counted() {
    for days in 0..100 {
        let now = RECEIVED.plus_micros(days * DAY_US);
        let Outcome::Retry { at, counted, .. } = away().settles(&event("evt_1", 39), now).outcome else {
            panic!("after {days} days")
        };
        assert!(!counted && at > now && at - now <= AWAY_MOST_US + SECOND_US, "{days}");
    }
}

#[test]
fn what_no_retry_mends_is_given_up_at_once_with_its_advice() {
    for failure in [Failure::Unmatched("write the id".into()), Failure::OtherCustomer("write the id".into())] {
        let settled = failure.settles(&event("evt_1", 0), RECEIVED);
        assert_eq!(settled.outcome, Outcome::Dead { note: "write the id".into() });
    }
}

#[test]
fn a_refusal_of_the_key_is_stripe_being_away() {
    let refused = |status| ApiError::Refused { status, code: None, message: String::new(), param: None };
    for (status, is_away) in [(401, true), (403, true), (400, false), (404, false)] {
        assert_eq!(matches!(Failure::from(refused(status)), Failure::Away(_)), is_away, "{status}");
    }
    assert!(matches!(Failure::from(ApiError::Unavailable(String::new())), Failure::Away(_)));
    assert!(matches!(Failure::from(ApiError::Unreadable(String::new())), Failure::Passing(_)));
}
