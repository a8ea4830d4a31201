//! Which timestamp Stripe is told for use, and when a doubtful send must not be sent again. Pure; the time is a parameter.
//!
//! Stripe bills use in the invoice period that its timestamp lies in, and adds it up by whole minutes only. So a timestamp
//! keeps to the whole minutes of its period wherever the period has any: then what Stripe has of a period can be asked
//! for to the unit, whatever second the period begins at.

use tollgate_domain::{DAY_US, HOUR_US, MINUTE_US, Period, SECOND_US, Timestamp};

/// Stripe takes what is at most 35 days old; what is nearly as old could be older when it arrives.
const AGE_US_MAX: i64 = 35 * DAY_US - 10 * MINUTE_US;
/// Stripe takes what is at most five minutes ahead of its clock; ours may be ahead of it too.
const AHEAD_US_MAX: i64 = 2 * MINUTE_US;
/// Stripe knows an identifier again for a day at least. What was first tried longer ago is asked for before it is sent.
const KNOWN_AGAIN_US: i64 = 23 * HOUR_US;
/// The first wait after a failed attempt; each further one doubles it.
const AGAIN_US: i64 = 15 * SECOND_US;
/// The longest wait after a failed attempt.
const AGAIN_US_MAX: i64 = 30 * MINUTE_US;

/// How long after a period's end nothing of it can be told any more, nor is anything of it in doubt.
pub(crate) const FOLDED_AFTER_US: i64 = 40 * DAY_US;

/// Where a send can be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At this whole second of its period.
    At(Timestamp),
    /// Its period has not begun by our clock; then it can be sent.
    NotYet(Timestamp),
    /// Nothing of its period is young enough for Stripe.
    TooOld,
}

/// The timestamp of use that was at `at`, in its period and not further from `now` than Stripe takes. What is placed once
/// is placed at the same second again, as long as that is young enough.
pub(crate) fn place(at: Timestamp, period: Period, now: Timestamp) -> Place {
    let (first, last) = seconds(period);
    let oldest = ceil(now.plus_micros(-AGE_US_MAX), SECOND_US);
    if last < oldest {
        return Place::TooOld;
    }
    if first > now.plus_micros(AHEAD_US_MAX) {
        return Place::NotYet(first);
    }
    let whole = Timestamp::from_secs(at.min(now).as_secs());
    Place::At(whole.max(oldest).clamp(first, last))
}

/// The whole minutes of a period, which is what Stripe adds up. All of a period's timestamps lie in them, save where it
/// has none: then they are those around it.
pub(crate) fn minutes(period: Period) -> Period {
    let inner = inner_minutes(period);
    inner.unwrap_or(Period { start: floor(period.start, MINUTE_US), end: ceil(period.end, MINUTE_US) })
}

/// Whether nothing of a period is young enough for Stripe any more.
pub(crate) fn is_too_old(period: Period, now: Timestamp) -> bool {
    place(period.start, period, now) == Place::TooOld
}

/// Whether a send that was first tried then may have been forgotten by Stripe, so that its identifier protects no more.
pub(crate) fn is_doubtful(first_tried_at: Option<Timestamp>, now: Timestamp) -> bool {
    first_tried_at.is_some_and(|first| now.micros_since(first) > KNOWN_AGAIN_US)
}

/// When to try again what has failed so often before.
pub(crate) fn again_at(now: Timestamp, attempts: u32) -> Timestamp {
    let wait = AGAIN_US.checked_shl(attempts.min(16)).map_or(AGAIN_US_MAX, |wait| wait.min(AGAIN_US_MAX));
    now.plus_micros(wait)
}

/// The first and the last whole second that a timestamp in this period may have.
fn seconds(period: Period) -> (Timestamp, Timestamp) {
    let within = inner_minutes(period).unwrap_or(period);
    let first = ceil(within.start, SECOND_US);
    // Of a period within a second nothing is a whole second; its own is the nearest.
    (first, floor(within.end.plus_micros(-1), SECOND_US).max(first))
}

fn inner_minutes(period: Period) -> Option<Period> {
    let (start, end) = (ceil(period.start, MINUTE_US), floor(period.end, MINUTE_US));
    (start < end).then_some(Period { start, end })
}

fn floor(at: Timestamp, step_us: i64) -> Timestamp {
    at.plus_micros(-at.as_micros().rem_euclid(step_us))
}

fn ceil(at: Timestamp, step_us: i64) -> Timestamp {
    let over = at.as_micros().rem_euclid(step_us);
    if over == 0 { at } else { at.plus_micros(step_us - over) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect(text)
    }

    fn period(start: &str, end: &str) -> Period {
        Period { start: at(start), end: at(end) }
    }

    #[test]
    fn a_timestamp_keeps_to_the_whole_minutes_of_its_period() {
        let march = period("2026-03-01T12:34:56Z", "2026-04-01T12:34:56Z");
        for (used, now, expected) in [
            ("2026-03-10T01:02:03.9Z", "2026-03-10T01:03:00Z", "2026-03-10T01:02:03Z"),
            ("2026-03-01T12:34:57Z", "2026-03-01T12:34:58Z", "2026-03-01T12:35:00Z"),
            ("2026-04-01T12:34:55Z", "2026-04-01T12:36:00Z", "2026-04-01T12:33:59Z"),
            // A batch ends after its last call, so that it may end after the period.
            ("2026-04-01T12:34:57Z", "2026-04-01T12:36:00Z", "2026-04-01T12:33:59Z"),
            // A gateway's clock is ahead of ours.
            ("2026-03-10T02:00:00Z", "2026-03-10T01:03:00.5Z", "2026-03-10T01:03:00Z"),
            // Long under way, and some of its period is young enough.
            ("2026-03-02T00:00:00Z", "2026-04-20T00:00:00Z", "2026-03-16T00:10:00Z"),
        ] {
            assert_eq!(place(at(used), march, at(now)), Place::At(at(expected)), "{used} at {now}");
        }
        assert_eq!(place(at("2026-03-02"), march, at("2026-05-07")), Place::TooOld);
        let not_yet = Place::NotYet(at("2026-03-01T12:35:00Z"));
        assert_eq!(place(at("2026-03-02"), march, at("2026-03-01T12:30:00Z")), not_yet, "our clock was set back");
    }

    #[test]
    fn what_was_tried_a_day_ago_is_doubtful() {
        let tried = at("2026-03-10T00:00:00Z");
        assert!(!is_doubtful(None, at("2026-03-20")));
        assert!(!is_doubtful(Some(tried), at("2026-03-10T23:00:00Z")));
        assert!(is_doubtful(Some(tried), at("2026-03-10T23:00:01Z")));
    }

    #[test]
    fn waits_double_up_to_half_an_hour() {
        let now = at("2026-03-10");
        let waits: Vec<_> = [0, 1, 2, 6, 7, 40, u32::MAX].map(|n| (again_at(now, n) - now) / SECOND_US).into();
        assert_eq!(waits, [15, 30, 60, 960, 1_800, 1_800, 1_800]);
    }

    proptest! {
        #[test]
        fn a_placed_timestamp_is_one_that_stripe_takes_and_adds_up(
            start in 0..100 * DAY_US, length in 2 * MINUTE_US..40 * DAY_US, used in 0..150 * DAY_US, now in 0..150 * DAY_US,
        ) {
            let [start, used, now] = [start, used, now].map(Timestamp::from_micros);
            let period = Period { start, end: start + length };
            let Place::At(placed) = place(used, period, now) else { return Ok(()) };
            prop_assert!(period.contains(placed), "in its period");
            prop_assert_eq!(placed.as_micros() % SECOND_US, 0);
            prop_assert!(placed - now <= 5 * MINUTE_US && now - placed <= 35 * DAY_US, "as Stripe takes it");
            prop_assert!(minutes(period).contains(placed), "in what Stripe adds up");
            prop_assert!(minutes(period).start >= period.start && minutes(period).end <= period.end || length < 3 * MINUTE_US);
            prop_assert_eq!(place(placed, period, now), Place::At(placed), "and placed there again");
        }

        #[test]
        fn a_short_period_still_has_a_second(start in 0..DAY_US, length in 1..3 * MINUTE_US, late in 0..DAY_US) {
            let period = Period { start: Timestamp::from_micros(start), end: Timestamp::from_micros(start + length) };
            let placed = place(period.start, period, period.end + late);
            let Place::At(placed) = placed else { return Err(TestCaseError::fail(format!("{placed:?}"))) };
            prop_assert!(minutes(period).contains(placed) || length < SECOND_US);
        }
    }
}
