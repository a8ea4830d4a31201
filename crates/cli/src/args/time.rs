//! Times as people type them: a span, and an instant given outright or as a span from now. It reads no clock.

use std::fmt;

use tollgate_domain::{DAY_US, HOUR_US, MINUTE_US, SECOND_US, Timestamp, parse_count};

/// A length of time in whole seconds, written as `90s`, `30m`, `12h`, `30d` or `2w`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Its length in microseconds.
    pub(crate) micros: i64,
}

impl Span {
    /// The longest span: a hundred years, beyond which a time is a mistake.
    const MICROS_MAX: i64 = 36_500 * DAY_US;

    /// So many days.
    pub(crate) const fn days(count: u32) -> Self {
        Self { micros: count as i64 * DAY_US }
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let advice = || "write a number and a unit, such as `90s`, `30m`, `12h` or `30d`".to_owned();
        let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "s" => SECOND_US,
            "m" => MINUTE_US,
            "h" => HOUR_US,
            "d" => DAY_US,
            "w" => 7 * DAY_US,
            _ => return Err(advice()),
        };
        let number = parse_count(digits).and_then(|number| i64::try_from(number).ok()).ok_or_else(advice)?;
        let micros = number.checked_mul(unit).filter(|micros| *micros <= Self::MICROS_MAX);
        micros.map(|micros| Self { micros }).ok_or_else(|| "that is more than a hundred years".to_owned())
    }

    /// As the admin API reads it: whole seconds.
    pub(crate) fn as_seconds_text(self) -> String {
        format!("{}s", self.micros / SECOND_US)
    }
}

/// In the largest unit that divides it, as [`Span::parse`] reads it.
impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(DAY_US, "d"), (HOUR_US, "h"), (MINUTE_US, "m"), (SECOND_US, "s")];
        let fits = units.into_iter().find(|(unit, _)| self.micros % unit == 0);
        let (unit, name) = fits.unwrap_or((SECOND_US, "s"));
        write!(formatter, "{}{name}", self.micros / unit)
    }
}

/// When a key stops working, as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// At an instant.
    At(Timestamp),
    /// So long from now.
    After(Span),
}

impl Expiry {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(at) = Timestamp::parse(text) {
            return Ok(Self::At(at));
        }
        Span::parse(text).map(Self::After).map_err(|_| {
            "write RFC 3339 (`2030-01-31T12:00:00Z`), a date (`2030-01-31`, UTC), or a time from now such as `30d`"
                .to_owned()
        })
    }

    /// The instant meant, when asked now.
    pub(crate) fn instant(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::After(span) => now.plus_micros(span.micros),
        }
    }
}

/// An instant, given outright or as a span before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// At an instant.
    At(Timestamp),
    /// So long ago.
    Ago(Span),
}

impl Moment {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(at) = Timestamp::parse(text) {
            return Ok(Self::At(at));
        }
        Span::parse(text).map(Self::Ago).map_err(|_| {
            "write RFC 3339 (`2026-01-31T12:00:00Z`), a date (`2026-01-31`, UTC), or how long ago, such as `30d`"
                .to_owned()
        })
    }

    /// The instant meant, when asked now.
    pub(crate) fn instant(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(span) => now.plus_micros(-span.micros),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_expiries_are_read() {
        let now = Timestamp::from_secs(1_000);
        for (text, expected) in [
            ("90s", Some(1_090)),
            ("1m", Some(1_060)),
            ("2h", Some(8_200)),
            ("30d", Some(1_000 + 30 * 86_400)),
            ("1w", Some(1_000 + 7 * 86_400)),
            ("0s", Some(1_000)),
            ("2030-01-31", Some(1_896_048_000)),
            ("2030-01-31T01:00:00+01:00", Some(1_896_048_000)),
            ("", None),
            ("30", None),
            ("d", None),
            ("1.5h", None),
            ("é", None),
            ("99999999999999999999d", None),
            ("36501d", None),
        ] {
            let instant = Expiry::parse(text).ok().map(|expiry| expiry.instant(now).as_secs());
            assert_eq!(instant, expected, "{text}");
        }
        assert_eq!(Moment::parse("1m").map(|moment| moment.instant(now)), Ok(Timestamp::from_secs(940)));
        assert_eq!(Moment::parse("2030-01-31").map(|moment| moment.instant(now).as_secs()), Ok(1_896_048_000));
        assert!(Moment::parse("soon").is_err());
        assert_eq!(Span::parse("1h").map(Span::as_seconds_text), Ok("3600s".to_owned()));
    }
}
