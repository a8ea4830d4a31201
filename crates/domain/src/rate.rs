//! Counts per unit of time, as people write them: `600/minute`, `1_000/day`, `10_000/30d`.

use std::fmt;
use std::num::NonZeroU32;

use crate::time::{DAY_US, HOUR_US, MINUTE_US, SECOND_US};

/// The longest custom unit, in days.
const DAYS_MAX: u32 = 31;

/// A unit of time that counts are given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// One second.
    Second,
    /// Sixty seconds.
    Minute,
    /// 3 600 s.
    Hour,
    /// 86 400 s.
    Day,
    /// So many days of 86 400 s, up to 31.
    Days(NonZeroU32),
}

impl Unit {
    /// The unit's length in microseconds.
    pub fn micros(self) -> i64 {
        match self {
            Self::Second => SECOND_US,
            Self::Minute => MINUTE_US,
            Self::Hour => HOUR_US,
            Self::Day => DAY_US,
            Self::Days(days) => i64::from(days.get()) * DAY_US,
        }
    }

    /// The unit's word, where it has one.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Second => Some("second"),
            Self::Minute => Some("minute"),
            Self::Hour => Some("hour"),
            Self::Day => Some("day"),
            Self::Days(_) => None,
        }
    }

    /// Reads `second`, `minute`, `hour`, `day` or a number of days such as `30d`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "second" => Self::Second,
            "minute" => Self::Minute,
            "hour" => Self::Hour,
            "day" => Self::Day,
            _ => {
                let days = text.strip_suffix('d').filter(|days| !days.starts_with(['+', '0']))?;
                match days.parse::<NonZeroU32>().ok().filter(|days| days.get() <= DAYS_MAX)? {
                    NonZeroU32::MIN => Self::Day,
                    days => Self::Days(days),
                }
            }
        })
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.as_str(), self) {
            (Some(word), _) => formatter.write_str(word),
            (None, Self::Days(days)) => write!(formatter, "{days}d"),
            (None, Self::Second | Self::Minute | Self::Hour | Self::Day) => Ok(()),
        }
    }
}

/// A count per unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Units of cost.
    pub count: u64,
    /// For each of these.
    pub per: Unit,
}

/// Why a text is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRate {
    /// There is no slash.
    #[error("write a count, a slash and a unit, such as `600/minute`")]
    NoSlash,
    /// What stands before the slash is no count.
    #[error("`{0}` is not a count: write a whole number from 0, such as `10_000`")]
    Count(String),
    /// What stands behind the slash is no unit.
    #[error("`{0}` is not a unit: write `second`, `minute`, `hour`, `day` or a number of days up to `31d`")]
    Unit(String),
}

impl Rate {
    /// Reads `COUNT/UNIT`; the count may carry underscores between its digits.
    ///
    /// # Errors
    /// Says which part cannot be read and how to write it.
    pub fn parse(text: &str) -> Result<Self, InvalidRate> {
        let (count, unit) = text.split_once('/').ok_or(InvalidRate::NoSlash)?;
        let (count, unit) = (count.trim(), unit.trim());
        Ok(Self {
            count: parse_count(count).ok_or_else(|| InvalidRate::Count(count.into()))?,
            per: Unit::parse(unit).ok_or_else(|| InvalidRate::Unit(unit.into()))?,
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.count, self.per)
    }
}

/// Reads a whole number whose digits may be separated by single underscores, as in TOML.
pub fn parse_count(text: &str) -> Option<u64> {
    let separated_well = !text.starts_with('_') && !text.ends_with('_') && !text.contains("__");
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    if !(separated_well && all_digits) {
        return None;
    }
    text.replace('_', "").parse().ok()
}

/// The burst of a rate whose plan names none: a tenth of the count, at least 10, at most the count.
pub fn default_burst(rate: Rate) -> u64 {
    (rate.count / 10).max(10).min(rate.count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_documented_file_writes() {
        for (text, count, micros) in [
            ("600/minute", 600, MINUTE_US),
            ("10_000/day", 10_000, DAY_US),
            ("0/second", 0, SECOND_US),
            ("5 / hour", 5, HOUR_US),
            ("10_000/30d", 10_000, 30 * DAY_US),
            ("7/1d", 7, DAY_US),
        ] {
            let rate = Rate::parse(text).expect(text);
            assert_eq!((rate.count, rate.per.micros()), (count, micros), "{text}");
        }
    }

    #[test]
    fn says_which_part_is_wrong() {
        for (text, expected) in [
            ("600", InvalidRate::NoSlash),
            ("-1/minute", InvalidRate::Count("-1".into())),
            ("1__0/minute", InvalidRate::Count("1__0".into())),
            ("1.5/minute", InvalidRate::Count("1.5".into())),
            ("99999999999999999999/minute", InvalidRate::Count("99999999999999999999".into())),
            ("1/fortnight", InvalidRate::Unit("fortnight".into())),
            ("1/32d", InvalidRate::Unit("32d".into())),
            ("1/0d", InvalidRate::Unit("0d".into())),
        ] {
            assert_eq!(Rate::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn an_absent_burst_is_a_tenth_within_bounds() {
        for (count, burst) in [(600, 60), (30, 10), (5, 5), (0, 0), (3000, 300)] {
            assert_eq!(default_burst(Rate { count, per: Unit::Minute }), burst, "{count}");
        }
    }
}
