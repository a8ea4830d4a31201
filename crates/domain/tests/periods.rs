//! Quota periods over many years, judged by a calendar that is counted by hand.

use proptest::prelude::*;
use proptest::test_runner::Config;
use tollgate_domain::{DAY_US, Period, PeriodBasis, QuotaPeriod, Timestamp};

/// A day as year, month and day.
type Date = (i64, i64, i64);

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Midnight of a day, by adding up years and months from 1970.
fn midnight(date: Date) -> i64 {
    let (year, month, day) = date;
    let years: i64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let months: i64 = (1..month).map(|month| days_in_month(year, month)).sum();
    (years + months + day - 1) * DAY_US
}

/// The anchor's day of month so many months later: its last day where the month is too short for it.
fn months_later(anchor: Date, months: i64) -> Date {
    let (year, month, day) = anchor;
    let index = year * 12 + month - 1 + months;
    let (year, month) = (index.div_euclid(12), index.rem_euclid(12) + 1);
    (year, month, day.min(days_in_month(year, month)))
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn period(start_us: i64, end_us: i64) -> Period {
    Period { start: at(start_us), end: at(end_us) }
}

fn basis(definition: QuotaPeriod, subscription: Option<Period>, rolling_anchor: i64) -> PeriodBasis {
    PeriodBasis { definition, subscription, rolling_anchor: at(rolling_anchor) }
}

fn date() -> impl Strategy<Value = Date> {
    let day = prop_oneof![4 => 28_i64..=31, 3 => 1_i64..=31];
    (2023_i64..=2032, 1_i64..=12, day).prop_map(|(year, month, day)| (year, month, day.min(days_in_month(year, month))))
}

fn time_of_day() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), Just(DAY_US - 1), 0..DAY_US]
}

/// Any way to lay periods.
fn any_basis() -> impl Strategy<Value = PeriodBasis> {
    let definition =
        prop_oneof![Just(QuotaPeriod::Billing), Just(QuotaPeriod::Calendar), Just(QuotaPeriod::Rolling30Days)];
    let item = (date(), time_of_day(), prop_oneof![Just(1_i64), Just(12), Just(3)])
        .prop_map(|(from, time, months)| period(midnight(from) + time, midnight(months_later(from, months)) + time));
    (definition, proptest::option::of(item), date(), time_of_day())
        .prop_map(|(definition, item, anchor, time)| basis(definition, item, midnight(anchor) + time))
}

proptest! {
    #![proptest_config(Config { cases: 2_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn every_instant_lies_in_one_period_that_begins_where_the_last_one_ended(
        basis in any_basis(),
        day in date(),
        time in time_of_day(),
    ) {
        let now = at(midnight(day) + time);
        let held = basis.period_at(now);
        prop_assert!(held.contains(now));
        prop_assert!(held.end - held.start <= 32 * DAY_US, "{:?}", held);
        prop_assert_eq!(basis.period_at(held.start), held);
        prop_assert_eq!(basis.period_at(held.end + -1), held);
        let next = basis.period_at(held.end);
        prop_assert_eq!(next.start, held.end);
        prop_assert_eq!(basis.period_at(held.start + -1).end, held.start);
    }

    #[test]
    fn a_calendar_month_is_a_calendar_month(day in date(), time in time_of_day()) {
        let first = (day.0, day.1, 1);
        let expected = period(midnight(first), midnight(months_later(first, 1)));
        prop_assert_eq!(Period::calendar_month(at(midnight(day) + time)), expected);
    }

    #[test]
    fn rolling_periods_are_thirty_days_each(anchor in date(), time in time_of_day(), count in -40_i64..40, into in 0..30 * DAY_US) {
        let anchor_us = midnight(anchor) + time;
        let start_us = anchor_us + count * 30 * DAY_US;
        let basis = basis(QuotaPeriod::Rolling30Days, None, anchor_us);
        prop_assert_eq!(basis.period_at(at(start_us + into)), period(start_us, start_us + 30 * DAY_US));
    }
}

#[test]
fn an_annual_item_is_cut_into_twelve_months_from_every_day_of_every_month() {
    for year in [2023, 2024, 2027, 2028, 2099, 2100] {
        for month in 1..=12 {
            for day in 1..=days_in_month(year, month) {
                let anchor = (year, month, day);
                let time = 37 * 60 * 1_000_000 + 1;
                let starts: Vec<i64> = (0..=12).map(|months| midnight(months_later(anchor, months)) + time).collect();
                let item = period(starts[0], starts[12]);
                let basis = basis(QuotaPeriod::Billing, Some(item), 0);
                for months in starts.windows(2) {
                    let expected = period(months[0], months[1]);
                    for instant in [months[0], months[0] + 1, months[1] - 1] {
                        assert_eq!(basis.period_at(at(instant)), expected, "{anchor:?} at {}", at(instant));
                    }
                }
            }
        }
    }
}

#[test]
fn a_monthly_item_is_its_own_period_whatever_day_it_begins() {
    for anchor in [(2026, 1, 28), (2026, 1, 29), (2026, 1, 30), (2026, 1, 31), (2028, 2, 29), (2027, 12, 31)] {
        let item = period(midnight(anchor), midnight(months_later(anchor, 1)));
        let basis = basis(QuotaPeriod::Billing, Some(item), 0);
        assert_eq!(basis.period_at(item.start), item, "{anchor:?}");
        assert_eq!(basis.period_at(item.end + -1), item, "{anchor:?}");
        assert_eq!(basis.period_at(item.end).start, item.end, "{anchor:?}");
    }
}
