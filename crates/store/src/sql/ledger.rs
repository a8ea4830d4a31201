//! Appends to the ledger and keeps the periods' sums beside it. Where lines come from is other modules' business.

use std::collections::BTreeMap;

use tollgate_domain::limit::UNITS_MAX;
use tollgate_domain::{AccountId, KeyId, Period, RouteName, StatusClass, Timestamp, UsageBatch, UsageTally};

use super::database::{Connection, Lock, query};
use super::insert::{Insert, Kind};
use super::row::{Fields, count_column};
use crate::error::StoreError;

/// What is known of a line beyond its tally.
pub(super) struct Line<'a> {
    pub(super) account: AccountId,
    pub(super) key: KeyId,
    /// Route and status class, of a line of calls.
    pub(super) call: Option<(&'a RouteName, StatusClass)>,
    pub(super) period: Period,
    /// Within the bounds that [`bounded`] sets.
    pub(super) tally: UsageTally,
}

/// Where a line comes from.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    /// A batch, whose end is the time of its lines.
    Batch(&'a UsageBatch),
    /// A file of existing keys.
    Import(Timestamp),
}

impl Origin<'_> {
    fn kind(self) -> &'static str {
        match self {
            Self::Batch(_) => "calls",
            Self::Import(_) => "imported",
        }
    }

    fn at(self) -> Timestamp {
        match self {
            Self::Batch(batch) => batch.end,
            Self::Import(at) => at,
        }
    }
}

const LINES: Insert = Insert {
    table: "usage_lines",
    columns: &[
        ("id", Kind::Int),
        ("kind", Kind::Text),
        ("at_us", Kind::Int),
        ("node", Kind::Text),
        ("sequence", Kind::Int),
        ("account", Kind::Text),
        ("key", Kind::Text),
        ("route", Kind::Text),
        ("status", Kind::Text),
        ("period_start_us", Kind::Int),
        ("period_end_us", Kind::Int),
        ("calls", Kind::Int),
        ("calls_unenforced", Kind::Int),
        ("units_debited", Kind::Int),
        ("units_charged", Kind::Int),
        ("units_refunded", Kind::Int),
    ],
    on_conflict: "",
};

const PERIODS: Insert = Insert {
    table: "usage_periods",
    columns: &[
        ("account", Kind::Text),
        ("period_start_us", Kind::Int),
        ("period_end_us", Kind::Int),
        ("key", Kind::Text),
        ("calls", Kind::Int),
        ("units_charged", Kind::Int),
        ("units_refunded", Kind::Int),
        ("first_us", Kind::Int),
        ("newest_us", Kind::Int),
    ],
    on_conflict: " ON CONFLICT (account, period_start_us, period_end_us, key) DO UPDATE SET \
        calls = usage_periods.calls + excluded.calls, \
        units_charged = usage_periods.units_charged + excluded.units_charged, \
        units_refunded = usage_periods.units_refunded + excluded.units_refunded, \
        first_us = CASE WHEN excluded.first_us < usage_periods.first_us \
        THEN excluded.first_us ELSE usage_periods.first_us END, \
        newest_us = CASE WHEN excluded.newest_us > usage_periods.newest_us \
        THEN excluded.newest_us ELSE usage_periods.newest_us END",
};

/// Takes the turn to append and tells the newest entry's place. Whoever appends takes it before anything that another
/// one that appends could be waiting for, and holds it to its commit: so ids are in the order of commits, and a
/// snapshot that holds an entry holds all before it.
pub(super) async fn begin(connection: &mut Connection) -> Result<Position, StoreError> {
    connection.lock(Lock::Ledger).await?;
    position(connection).await.map(Position)
}

/// The newest entry's place in the ledger, where it is known that nobody else appends.
#[derive(Clone, Copy)]
pub(super) struct Position(u64);

/// The newest entry's place in the ledger.
pub(super) async fn position(connection: &mut Connection) -> Result<u64, StoreError> {
    let row = query("SELECT MAX(id) AS id FROM usage_lines").fetch_one(connection).await?;
    let newest: Option<i64> = Fields::of("usage_lines", &[], &row).get("id")?;
    Ok(newest.unwrap_or(0).unsigned_abs())
}

/// Appends lines and adds them to the sums of their periods; the places in the ledger that they got, in order.
pub(super) async fn append(
    connection: &mut Connection,
    newest: Position,
    origin: Origin<'_>,
    lines: &[Line<'_>],
) -> Result<Vec<u64>, StoreError> {
    let placed: Vec<_> = (newest.0 + 1..).zip(lines).collect();
    append_lines(connection, origin, &placed).await?;
    add_to_periods(connection, origin.at(), lines).await?;
    Ok(placed.into_iter().map(|(place, _)| place).collect())
}

async fn append_lines(
    connection: &mut Connection,
    origin: Origin<'_>,
    lines: &[(u64, &Line<'_>)],
) -> Result<(), StoreError> {
    let (node, sequence) = match origin {
        Origin::Batch(batch) => (Some(batch.node.to_string()), Some(count_column(batch.sequence))),
        Origin::Import(_) => (None, None),
    };
    let row = |(place, line): &(u64, &Line<'_>)| {
        [
            count_column(*place).into(),
            origin.kind().into(),
            origin.at().as_micros().into(),
            node.clone().into(),
            sequence.into(),
            line.account.to_string().into(),
            line.key.to_string().into(),
            line.call.map(|(route, _)| route.as_str()).into(),
            line.call.map(|(_, status)| status.as_str()).into(),
            line.period.start.as_micros().into(),
            line.period.end.as_micros().into(),
            count_column(line.tally.calls).into(),
            count_column(line.tally.calls_unenforced).into(),
            count_column(line.tally.units_debited).into(),
            count_column(line.tally.units_charged).into(),
            count_column(line.tally.units_refunded).into(),
        ]
    };
    LINES.rows(connection, lines, row).await
}

async fn add_to_periods(connection: &mut Connection, at: Timestamp, lines: &[Line<'_>]) -> Result<(), StoreError> {
    let mut sums: BTreeMap<_, UsageTally> = BTreeMap::new();
    for line in lines {
        sums.entry((line.account, line.period, line.key)).or_default().add(&line.tally);
    }
    let sums: Vec<_> = sums.into_iter().collect();
    let row = |((account, period, key), tally): &((AccountId, Period, KeyId), UsageTally)| {
        [
            account.to_string().into(),
            period.start.as_micros().into(),
            period.end.as_micros().into(),
            key.to_string().into(),
            count_column(tally.calls).into(),
            count_column(tally.units_charged).into(),
            count_column(tally.units_refunded).into(),
            at.as_micros().into(),
            at.as_micros().into(),
        ]
    };
    PERIODS.rows(connection, &sums, row).await
}

/// A tally as the ledger takes it: no limit is above this bound, and below it sums stay far from what a column holds.
pub(super) fn bounded(tally: &UsageTally) -> UsageTally {
    UsageTally {
        calls: tally.calls.min(UNITS_MAX),
        units_debited: tally.units_debited.min(UNITS_MAX),
        units_charged: tally.units_charged.min(UNITS_MAX),
        units_refunded: tally.units_refunded.min(UNITS_MAX),
        calls_unenforced: tally.calls_unenforced.min(UNITS_MAX),
    }
}
