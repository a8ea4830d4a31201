//! What lines of the ledger add up to: by the hour, and by the period they were charged in. Reading sums back is `seed`
//! and `history`.

use std::collections::BTreeMap;

use tollgate_domain::{AccountId, KeyId, MeterName, Period, RouteName, StatusClass, Timestamp, UsageTally};

use super::database::Connection;
use super::insert::{Insert, Kind};
use super::ledger::Line;
use super::row::{count_column, key_column, meter_column};
use crate::error::StoreError;

const HOURS: Insert = Insert {
    table: "usage_hours",
    columns: &[
        ("account", Kind::Text),
        ("hour_us", Kind::Int),
        ("meter", Kind::Text),
        ("key", Kind::Text),
        ("route", Kind::Text),
        ("status", Kind::Text),
        ("calls", Kind::Int),
        ("calls_unenforced", Kind::Int),
        ("units_debited", Kind::Int),
        ("units_charged", Kind::Int),
        ("units_refunded", Kind::Int),
        ("newest_us", Kind::Int),
    ],
    on_conflict: " ON CONFLICT (account, hour_us, meter, key, route, status) DO UPDATE SET \
        calls = usage_hours.calls + excluded.calls, \
        calls_unenforced = usage_hours.calls_unenforced + excluded.calls_unenforced, \
        units_debited = usage_hours.units_debited + excluded.units_debited, \
        units_charged = usage_hours.units_charged + excluded.units_charged, \
        units_refunded = usage_hours.units_refunded + excluded.units_refunded, \
        newest_us = CASE WHEN excluded.newest_us > usage_hours.newest_us \
        THEN excluded.newest_us ELSE usage_hours.newest_us END",
};

const PERIODS: Insert = Insert {
    table: "usage_periods",
    columns: &[
        ("account", Kind::Text),
        ("meter", Kind::Text),
        ("period_start_us", Kind::Int),
        ("period_end_us", Kind::Int),
        ("key", Kind::Text),
        ("calls", Kind::Int),
        ("units_charged", Kind::Int),
        ("units_refunded", Kind::Int),
        ("first_us", Kind::Int),
        ("newest_us", Kind::Int),
    ],
    on_conflict: " ON CONFLICT (account, meter, period_start_us, period_end_us, key) DO UPDATE SET \
        calls = usage_periods.calls + excluded.calls, \
        units_charged = usage_periods.units_charged + excluded.units_charged, \
        units_refunded = usage_periods.units_refunded + excluded.units_refunded, \
        first_us = CASE WHEN excluded.first_us < usage_periods.first_us \
        THEN excluded.first_us ELSE usage_periods.first_us END, \
        newest_us = CASE WHEN excluded.newest_us > usage_periods.newest_us \
        THEN excluded.newest_us ELSE usage_periods.newest_us END",
};

/// What lines of one hour are told apart by.
type HourKey<'a> = (AccountId, Timestamp, Option<&'a MeterName>, Option<KeyId>, Option<(&'a RouteName, StatusClass)>);

/// Adds lines to the sums of the hours they lie in.
pub(super) async fn add_to_hours(connection: &mut Connection, lines: &[Line<'_>]) -> Result<(), StoreError> {
    let mut sums: BTreeMap<HourKey<'_>, (UsageTally, Timestamp)> = BTreeMap::new();
    for line in lines {
        let key = (line.account, line.at.start_of_hour(), line.meter, line.key, line.call);
        let (tally, newest) = sums.entry(key).or_insert_with(|| (UsageTally::default(), line.at));
        tally.add(&line.tally);
        *newest = line.at.max(*newest);
    }
    let sums: Vec<_> = sums.into_iter().collect();
    let row = |((account, hour, meter, key, call), (tally, newest)): &(HourKey<'_>, (UsageTally, Timestamp))| {
        [
            account.to_string().into(),
            hour.as_micros().into(),
            meter_column(*meter).into(),
            key_column(*key).into(),
            call.map_or("", |(route, _)| route.as_str()).into(),
            call.map_or("", |(_, status)| status.as_str()).into(),
            count_column(tally.calls).into(),
            count_column(tally.calls_unenforced).into(),
            count_column(tally.units_debited).into(),
            count_column(tally.units_charged).into(),
            count_column(tally.units_refunded).into(),
            newest.as_micros().into(),
        ]
    };
    HOURS.rows(connection, &sums, row).await
}

/// What lines of one period are told apart by.
type PeriodKey<'a> = (AccountId, Option<&'a MeterName>, Period, Option<KeyId>);

/// Adds lines to the sums of the periods they were charged in. `at` is when they were.
pub(super) async fn add_to_periods(
    connection: &mut Connection,
    at: Timestamp,
    lines: &[Line<'_>],
) -> Result<(), StoreError> {
    let mut sums: BTreeMap<PeriodKey<'_>, UsageTally> = BTreeMap::new();
    for line in lines {
        sums.entry((line.account, line.meter, line.period, line.key)).or_default().add(&line.tally);
    }
    let sums: Vec<_> = sums.into_iter().collect();
    let row = |((account, meter, period, key), tally): &(PeriodKey<'_>, UsageTally)| {
        [
            account.to_string().into(),
            meter_column(*meter).into(),
            period.start.as_micros().into(),
            period.end.as_micros().into(),
            key_column(*key).into(),
            count_column(tally.calls).into(),
            count_column(tally.units_charged).into(),
            count_column(tally.units_refunded).into(),
            at.as_micros().into(),
            at.as_micros().into(),
        ]
    };
    PERIODS.rows(connection, &sums, row).await
}
