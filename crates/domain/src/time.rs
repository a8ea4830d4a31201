//! The one representation of an instant. It does not read any clock.

use std::fmt;
use std::ops::{Add, Sub};

use chrono::{DateTime, SecondsFormat, Utc};

/// Microseconds in a second.
pub const SECOND_US: i64 = 1_000_000;
/// Microseconds in a minute.
pub const MINUTE_US: i64 = 60 * SECOND_US;
/// Microseconds in an hour.
pub const HOUR_US: i64 = 60 * MINUTE_US;
/// Microseconds in a day of 86 400 s.
pub const DAY_US: i64 = 24 * HOUR_US;

/// The last instant that RFC 3339 can write (the end of the year 9999).
const WRITABLE_MAX_US: i64 = 253_402_300_799 * SECOND_US;
/// The first instant that RFC 3339 can write (the start of the year 0).
const WRITABLE_MIN_US: i64 = -62_167_219_200 * SECOND_US;

/// An instant, in whole microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);

    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From whole seconds since the Unix epoch, saturating.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(SECOND_US))
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(SECOND_US)
    }

    /// This instant moved by so many microseconds, saturating.
    #[must_use]
    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Microseconds from `earlier` to this instant, zero when it lies ahead.
    pub const fn micros_since(self, earlier: Self) -> i64 {
        let elapsed = self.0.saturating_sub(earlier.0);
        if elapsed < 0 { 0 } else { elapsed }
    }

    /// The start of the hour (UTC) this instant lies in.
    #[must_use]
    pub const fn start_of_hour(self) -> Self {
        Self(self.0 - self.0.rem_euclid(HOUR_US))
    }

    /// The calendar view of this instant, clamped to the years 0 to 9999.
    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0.clamp(WRITABLE_MIN_US, WRITABLE_MAX_US))
            .expect("the clamped range is inside what a calendar date can hold")
    }

    /// From a calendar instant, truncated to microseconds.
    pub fn from_utc(instant: DateTime<Utc>) -> Self {
        Self(instant.timestamp_micros())
    }

    /// Reads RFC 3339 (`2026-03-01T00:00:00Z`), or a date alone, which means its first instant in UTC,
    /// with a space in place of `T` and without an offset too, as databases print it (taken as UTC).
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
            return Some(Self::from_utc(instant.to_utc()));
        }
        for form in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"] {
            if let Ok(instant) = chrono::NaiveDateTime::parse_from_str(text, form) {
                return Some(Self::from_utc(instant.and_utc()));
            }
        }
        let date = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        Some(Self::from_utc(date.and_hms_opt(0, 0, 0)?.and_utc()))
    }
}

/// Tells the time. Whoever composes the program gives the clock; tests give one they move themselves.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// RFC 3339 in UTC; whole seconds are written without a fraction.
impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

/// Moves an instant by so many microseconds, saturating.
impl Add<i64> for Timestamp {
    type Output = Self;
    fn add(self, micros: i64) -> Self {
        self.plus_micros(micros)
    }
}

/// The signed distance in microseconds, saturating.
impl Sub for Timestamp {
    type Output = i64;
    fn sub(self, other: Self) -> i64 {
        self.0.saturating_sub(other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_forms_that_files_and_people_use() {
        let noon = Timestamp::from_secs(1_772_366_400);
        for text in
            ["2026-03-01T12:00:00Z", "2026-03-01T13:00:00+01:00", "2026-03-01 12:00:00", "2026-03-01T12:00:00.000"]
        {
            assert_eq!(Timestamp::parse(text), Some(noon), "{text}");
        }
        assert_eq!(Timestamp::parse("2026-03-01"), Some(noon + -12 * HOUR_US));
        for text in ["", "soon", "2026-13-01", "1772366400"] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn extreme_instants_print_without_panic() {
        assert_eq!(Timestamp::from_micros(i64::MAX).to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(Timestamp::from_micros(i64::MIN).to_string(), "0000-01-01T00:00:00Z");
    }
}
