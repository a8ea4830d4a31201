//! Appends to the ledger and keeps the periods' sums beside it. Where lines come from is other modules' business.

use std::collections::BTreeMap;

use sqlx::QueryBuilder;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use tollgate_domain::limit::UNITS_MAX;
use tollgate_domain::{AccountId, KeyId, Period, RouteName, StatusClass, Timestamp, UsageBatch, UsageTally};

use super::fault::failed;
use super::row::count_column;
use crate::error::StoreError;

/// The sizes of the statements that many rows are cut into. Few sizes mean few statements to prepare; the widest
/// row has 15 columns, far below what one statement may bind.
const CHUNKS: [usize; 3] = [128, 16, 1];

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

/// Appends lines and adds them to the sums of their periods.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    origin: Origin<'_>,
    lines: &[Line<'_>],
) -> Result<(), StoreError> {
    append_lines(connection, origin, lines).await?;
    add_to_periods(connection, origin.at(), lines).await
}

async fn append_lines(
    connection: &mut SqliteConnection,
    origin: Origin<'_>,
    lines: &[Line<'_>],
) -> Result<(), StoreError> {
    let source = match origin {
        Origin::Batch(batch) => Some((batch.node.to_string(), count_column(batch.sequence))),
        Origin::Import(_) => None,
    };
    for lines in chunks(lines) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO usage_lines (kind, at_us, node, sequence, account, key, route, status, period_start_us, \
             period_end_us, calls, calls_unenforced, units_debited, units_charged, units_refunded) ",
        );
        insert.push_values(lines, |mut row, line| {
            row.push_bind(origin.kind())
                .push_bind(origin.at().as_micros())
                .push_bind(source.as_ref().map(|(node, _)| node))
                .push_bind(source.as_ref().map(|(_, sequence)| *sequence))
                .push_bind(line.account.to_string())
                .push_bind(line.key.to_string())
                .push_bind(line.call.map(|(route, _)| route.as_str()))
                .push_bind(line.call.map(|(_, status)| status.as_str()))
                .push_bind(line.period.start.as_micros())
                .push_bind(line.period.end.as_micros())
                .push_bind(count_column(line.tally.calls))
                .push_bind(count_column(line.tally.calls_unenforced))
                .push_bind(count_column(line.tally.units_debited))
                .push_bind(count_column(line.tally.units_charged))
                .push_bind(count_column(line.tally.units_refunded));
        });
        insert.build().execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
}

async fn add_to_periods(
    connection: &mut SqliteConnection,
    at: Timestamp,
    lines: &[Line<'_>],
) -> Result<(), StoreError> {
    let mut sums: BTreeMap<_, UsageTally> = BTreeMap::new();
    for line in lines {
        sums.entry((line.account, line.period, line.key)).or_default().add(&line.tally);
    }
    let sums: Vec<_> = sums.into_iter().collect();
    for sums in chunks(&sums) {
        let mut upsert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO usage_periods (account, period_start_us, period_end_us, key, calls, units_charged, \
             units_refunded, first_us, newest_us) ",
        );
        upsert.push_values(sums, |mut row, ((account, period, key), tally)| {
            row.push_bind(account.to_string())
                .push_bind(period.start.as_micros())
                .push_bind(period.end.as_micros())
                .push_bind(key.to_string())
                .push_bind(count_column(tally.calls))
                .push_bind(count_column(tally.units_charged))
                .push_bind(count_column(tally.units_refunded))
                .push_bind(at.as_micros())
                .push_bind(at.as_micros());
        });
        upsert.push(
            " ON CONFLICT (account, period_start_us, period_end_us, key) DO UPDATE SET \
             calls = usage_periods.calls + excluded.calls, \
             units_charged = usage_periods.units_charged + excluded.units_charged, \
             units_refunded = usage_periods.units_refunded + excluded.units_refunded, \
             first_us = CASE WHEN excluded.first_us < usage_periods.first_us \
             THEN excluded.first_us ELSE usage_periods.first_us END, \
             newest_us = CASE WHEN excluded.newest_us > usage_periods.newest_us \
             THEN excluded.newest_us ELSE usage_periods.newest_us END",
        );
        upsert.build().execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
}

/// Rows cut into the sizes of [`CHUNKS`], in order.
pub(super) fn chunks<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = CHUNKS.into_iter().find(|size| *size <= rows.len())?;
        let (chunk, rest) = rows.split_at(size);
        rows = rest;
        Some(chunk)
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_exactly_one_chunk() {
        for count in [0, 1, 15, 16, 17, 127, 128, 129, 2_000] {
            let rows: Vec<usize> = (0..count).collect();
            let cut: Vec<usize> = chunks(&rows).flatten().copied().collect();
            assert_eq!(cut, rows);
            assert!(chunks(&rows).all(|chunk| CHUNKS.contains(&chunk.len())), "{count}");
        }
    }
}
