//! Quota periods: which stretch of time a call is counted in.

use chrono::{Datelike, Months, NaiveDate};

use crate::time::{DAY_US, Timestamp};

/// The length of a rolling period.
const ROLLING_US: i64 = 30 * DAY_US;
/// A subscription item's period longer than this is cut into months.
const MONTHLY_US_MAX: i64 = 32 * DAY_US;

/// How a plan's quota periods are laid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum QuotaPeriod {
    /// The subscription item's period; an annual one is cut into months; without one, the calendar month.
    #[default]
    Billing,
    /// The calendar month, UTC.
    Calendar,
    /// Consecutive periods of 30 x 86 400 s.
    Rolling30Days,
}

/// A stretch of time: from `start` up to, but not with, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period {
    /// The first instant in it.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
}

impl Period {
    /// Whether the instant lies in it.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// Whether the two share an instant.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The calendar month (UTC) that holds the instant.
    pub fn calendar_month(now: Timestamp) -> Self {
        let first = now.to_utc().date_naive().with_day(1).expect("every month has a first day");
        anchored_month(midnight(first), now)
    }
}

/// What an account brings to the choice of its period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeriodBasis {
    /// How its plan lays periods.
    pub definition: QuotaPeriod,
    /// The subscription item's current period, where there is a subscription.
    pub subscription: Option<Period>,
    /// Where rolling periods begin: the account's creation, or the earliest imported cycle start.
    pub rolling_anchor: Timestamp,
}

impl PeriodBasis {
    /// The period that holds `now`.
    pub fn period_at(&self, now: Timestamp) -> Period {
        match (self.definition, self.subscription) {
            (QuotaPeriod::Rolling30Days, _) => rolling(self.rolling_anchor, now),
            (QuotaPeriod::Billing, Some(item)) => billing(item, now),
            (QuotaPeriod::Billing, None) | (QuotaPeriod::Calendar, _) => Period::calendar_month(now),
        }
    }
}

fn rolling(anchor: Timestamp, now: Timestamp) -> Period {
    let whole = (now - anchor).div_euclid(ROLLING_US);
    let start = anchor + whole.saturating_mul(ROLLING_US);
    Period { start, end: start + ROLLING_US }
}

/// The item's own period while it lasts and is a monthly one; the months from its start day otherwise, which also
/// bridges the time between a period's end and the news of the next. An item that ended on no such boundary is
/// bridged from its end.
fn billing(item: Period, now: Timestamp) -> Period {
    if item.contains(now) && item.end - item.start <= MONTHLY_US_MAX {
        return item;
    }
    if now >= item.end {
        let ended_on_boundary = anchored_month(item.start, item.end).start == item.end;
        return anchored_month(if ended_on_boundary { item.start } else { item.end }, now);
    }
    let month = anchored_month(item.start, now);
    Period { start: month.start, end: month.end.min(item.end.max(month.start + 1)) }
}

/// The month that holds `now` among those that begin at the anchor's day and time of day. A day the month
/// does not have is its last one: 31 January, 28 February, 31 March.
fn anchored_month(anchor: Timestamp, now: Timestamp) -> Period {
    let (from, to) = (anchor.to_utc(), now.to_utc());
    let months = (to.year() - from.year()) * 12 + month_number(to.month()) - month_number(from.month());
    let mut index = months;
    while boundary(anchor, index) > now {
        index -= 1;
    }
    while boundary(anchor, index + 1) <= now {
        index += 1;
    }
    Period { start: boundary(anchor, index), end: boundary(anchor, index + 1) }
}

fn month_number(month: u32) -> i32 {
    i32::try_from(month).expect("a month is at most 12")
}

/// The anchor moved by so many months, its day clamped, its time of day to the microsecond kept.
fn boundary(anchor: Timestamp, months: i32) -> Timestamp {
    let at = anchor.to_utc();
    let moved = if months < 0 {
        at.checked_sub_months(Months::new(months.unsigned_abs()))
    } else {
        at.checked_add_months(Months::new(months.unsigned_abs()))
    };
    moved.map_or(anchor, Timestamp::from_utc)
}

fn midnight(date: NaiveDate) -> Timestamp {
    Timestamp::from_utc(date.and_hms_opt(0, 0, 0).expect("every day has a midnight in UTC").and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect(text)
    }

    fn period(start: &str, end: &str) -> Period {
        Period { start: at(start), end: at(end) }
    }

    fn basis(definition: QuotaPeriod, subscription: Option<Period>) -> PeriodBasis {
        PeriodBasis { definition, subscription, rolling_anchor: at("2026-01-10T06:30:00Z") }
    }

    #[test]
    fn calendar_months_begin_at_midnight_utc() {
        let basis = basis(QuotaPeriod::Calendar, None);
        for (now, start, end) in [
            ("2026-02-28T23:59:59.999999Z", "2026-02-01", "2026-03-01"),
            ("2026-03-01", "2026-03-01", "2026-04-01"),
            ("2028-02-29T12:00:00Z", "2028-02-01", "2028-03-01"),
            ("2026-12-31T23:00:00Z", "2026-12-01", "2027-01-01"),
        ] {
            assert_eq!(basis.period_at(at(now)), period(start, end), "{now}");
        }
    }

    #[test]
    fn billing_without_a_subscription_is_the_calendar_month() {
        assert_eq!(basis(QuotaPeriod::Billing, None).period_at(at("2026-05-05")), period("2026-05-01", "2026-06-01"));
    }

    #[test]
    fn a_monthly_item_is_its_own_period_and_goes_on_monthly_until_news_arrives() {
        let basis = basis(QuotaPeriod::Billing, Some(period("2026-01-31T10:00:00Z", "2026-02-28T10:00:00Z")));
        assert_eq!(basis.period_at(at("2026-02-10")), period("2026-01-31T10:00:00Z", "2026-02-28T10:00:00Z"));
        assert_eq!(basis.period_at(at("2026-03-02")), period("2026-02-28T10:00:00Z", "2026-03-31T10:00:00Z"));
    }

    #[test]
    fn an_annual_item_is_cut_into_months_from_its_anchor_day_clamped() {
        let basis = basis(QuotaPeriod::Billing, Some(period("2026-01-31", "2027-01-31")));
        for (now, start, end) in [
            ("2026-01-31", "2026-01-31", "2026-02-28"),
            ("2026-02-28", "2026-02-28", "2026-03-31"),
            ("2026-03-31", "2026-03-31", "2026-04-30"),
            ("2027-01-30", "2026-12-31", "2027-01-31"),
        ] {
            assert_eq!(basis.period_at(at(now)), period(start, end), "{now}");
        }
    }

    #[test]
    fn rolling_periods_are_thirty_days_of_86_400_seconds_on_either_side_of_the_anchor() {
        let basis = basis(QuotaPeriod::Rolling30Days, None);
        assert_eq!(basis.period_at(at("2026-02-09T06:30:00Z")), period("2026-02-09T06:30:00Z", "2026-03-11T06:30:00Z"));
        assert_eq!(basis.period_at(at("2026-01-10T06:29:59Z")), period("2025-12-11T06:30:00Z", "2026-01-10T06:30:00Z"));
    }
}
