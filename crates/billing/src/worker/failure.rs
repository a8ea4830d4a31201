//! Why events could not be heeded, and when they are tried again.

use std::fmt;

use tollgate_domain::{DAY_US, HOUR_US, MINUTE_US, SECOND_US, Timestamp};
use tollgate_store::{InboxEvent, Outcome, Settled, StoreError};

use crate::api::ApiError;

/// Attempts that may fail before an event is given up.
const ATTEMPTS_MAX: u32 = 40;
/// For how long after it was received an event is tried again, in microseconds; about as long as Stripe sends it again.
const TRIED_US: i64 = 3 * DAY_US;
/// Attempts that an event has at least, however old it is: it may have waited for days because Stripe was away.
const ATTEMPTS_MIN: u32 = 5;
/// How long an event waits at most for its next attempt, in microseconds.
const WAIT_MOST_US: i64 = HOUR_US;
/// The same, where Stripe could not be asked.
const AWAY_MOST_US: i64 = MINUTE_US;

/// Why events could not be heeded.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Stripe cannot be asked: they wait for it, however long.
    Away(ApiError),
    /// Stripe did not say what was asked for; it may later.
    Passing(ApiError),
    /// Nobody knows whose they are, and no retry finds out. With advice.
    Unmatched(String),
    /// They are of a second customer of an account. With advice.
    OtherCustomer(String),
    /// The store did not do what it was asked.
    Store(StoreError),
    /// Another process does the work.
    Lost,
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        if error.is_about_stripe() { Self::Away(error) } else { Self::Passing(error) }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(error) | Self::Passing(error) => error.fmt(formatter),
            Self::Unmatched(note) | Self::OtherCustomer(note) => formatter.write_str(note),
            Self::Store(error) => error.fmt(formatter),
            Self::Lost => formatter.write_str("another process works on billing now"),
        }
    }
}

impl Failure {
    /// What becomes of an event that failed so.
    pub(crate) fn settles(&self, event: &InboxEvent, now: Timestamp) -> Settled {
        let note = self.to_string();
        let outcome = match self {
            Self::Away(_) | Self::Lost => {
                Outcome::Retry { at: now.plus_micros(away_us(event, now)), note, counted: false }
            }
            Self::Unmatched(_) | Self::OtherCustomer(_) => Outcome::Dead { note },
            Self::Passing(_) | Self::Store(_) => {
                let attempts = event.attempts.saturating_add(1);
                let is_old = now.micros_since(event.event.received_at) >= TRIED_US && attempts >= ATTEMPTS_MIN;
                if is_old || attempts >= ATTEMPTS_MAX {
                    let note = format!("given up after {attempts} attempts: {note}. Mend it, then replay this event");
                    Outcome::Dead { note }
                } else {
                    Outcome::Retry { at: now.plus_micros(wait_us(event)), note, counted: true }
                }
            }
        };
        Settled { id: event.event.id.clone(), outcome }
    }
}

/// A second, doubled with every attempt that failed, and up to a quarter more, the same for the same event and attempt.
fn wait_us(event: &InboxEvent) -> i64 {
    let doubled = SECOND_US.saturating_mul(1_i64 << event.attempts.min(20)).min(WAIT_MOST_US);
    let jittered = doubled + doubled / 4 * spread(&event.event.id, event.attempts) / 1_000;
    jittered.min(WAIT_MOST_US)
}

/// An eighth of how long it has waited already, between a second and a minute.
fn away_us(event: &InboxEvent, now: Timestamp) -> i64 {
    let waited = now.micros_since(event.event.received_at) / 8;
    waited.clamp(SECOND_US, AWAY_MOST_US) + SECOND_US * spread(&event.event.id, event.attempts) / 1_000
}

/// A number from 0 to 999 that is as good as random, and the same every time.
fn spread(id: &str, attempt: u32) -> i64 {
    let mixed = id
        .bytes()
        .chain(attempt.to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    i64::try_from((mixed >> 20) % 1_000).expect("less than a thousand")
}

#[cfg(test)]
mod tests;
