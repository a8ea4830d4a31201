//! The fake's clock, and calendar arithmetic on Unix seconds.
//!
//! What falls due when is the business of `state::due`.

use chrono::{DateTime, Months};

use crate::config::ClockStart;

pub(crate) const MINUTE: i64 = 60;
pub(crate) const HOUR: i64 = 3_600;
pub(crate) const DAY: i64 = 86_400;

/// A clock that stands still or runs with the real time, and can be moved forward.
#[derive(Debug)]
pub(crate) struct Clock {
    start: ClockStart,
    moved_by: i64,
}

impl Clock {
    pub(crate) fn new(start: ClockStart) -> Self {
        Self { start, moved_by: 0 }
    }

    /// What the clock shows, in Unix seconds.
    pub(crate) fn now(&self) -> i64 {
        self.moved_by
            + match self.start {
                ClockStart::Real => real_now(),
                ClockStart::Fixed(start) => start,
            }
    }

    /// Moves it forward; a clock never goes back.
    pub(crate) fn move_by(&mut self, seconds: i64) {
        self.moved_by += seconds.max(0);
    }
}

/// The real time in Unix seconds.
#[expect(
    clippy::disallowed_methods,
    reason = "the fake is a program of its own, and this is its one look at the clock"
)]
pub(crate) fn real_now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// `time` plus whole months, the day clamped to the month's length.
pub(crate) fn add_months(time: i64, months: u32) -> i64 {
    DateTime::from_timestamp(time, 0)
        .and_then(|moment| moment.checked_add_months(Months::new(months)))
        .map_or(time, |moment| moment.timestamp())
}

/// How often a price recurs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interval {
    /// Every day.
    Day,
    /// Every week.
    Week,
    /// Every month, on the anchor's day, clamped to short months.
    #[default]
    Month,
    /// Every year.
    Year,
}

impl Interval {
    /// Stripe's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// The interval of this word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Day, Self::Week, Self::Month, Self::Year].into_iter().find(|interval| interval.as_str() == text)
    }
}

/// The first boundary after `time` of periods that repeat from `anchor`, whose day survives short months.
pub(crate) fn next_boundary(anchor: i64, interval: Interval, count: u32, time: i64) -> i64 {
    let count = count.max(1);
    if time < anchor {
        return anchor;
    }
    let months = match interval {
        Interval::Month => count,
        Interval::Year => count * 12,
        Interval::Day | Interval::Week => {
            let length = i64::from(count) * if interval == Interval::Week { 7 * DAY } else { DAY };
            return anchor + ((time - anchor) / length + 1) * length;
        }
    };
    // A month is at most 31 days, so this many steps are surely behind; a few more reach the boundary.
    let surely_behind = u32::try_from((time - anchor) / (31 * DAY)).unwrap_or(0) / months;
    (surely_behind..u32::MAX)
        .map(|step| add_months(anchor, step * months))
        .find(|boundary| *boundary > time)
        .unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).expect("a time").timestamp()
    }

    #[test]
    fn months_keep_the_anchor_day_across_short_ones() {
        let anchor = at("2026-01-31T12:00:00Z");
        let mut time = anchor;
        let mut days = Vec::new();
        for _ in 0..5 {
            time = next_boundary(anchor, Interval::Month, 1, time);
            days.push(DateTime::from_timestamp(time, 0).expect("in range").format("%m-%d").to_string());
        }
        assert_eq!(days, ["02-28", "03-31", "04-30", "05-31", "06-30"]);
    }

    #[test]
    fn years_and_weeks_step_from_the_anchor() {
        let anchor = at("2024-02-29T00:00:00Z");
        assert_eq!(next_boundary(anchor, Interval::Year, 1, anchor), at("2025-02-28T00:00:00Z"));
        assert_eq!(next_boundary(anchor, Interval::Year, 1, at("2027-03-01T00:00:00Z")), at("2028-02-29T00:00:00Z"));
        assert_eq!(next_boundary(anchor, Interval::Week, 2, anchor + 14 * DAY), anchor + 28 * DAY);
        assert_eq!(
            next_boundary(anchor, Interval::Month, 1, anchor - 1),
            anchor,
            "an anchor ahead is the first boundary"
        );
    }
}
