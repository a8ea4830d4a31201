//! Stores usage batches: once each, with everything that is summed from them. Reading them back is `seed`.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::QueryBuilder;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use tollgate_domain::{KeyId, Timestamp, UsageBatch, UsageTally};

use super::fault::failed;
use super::ledger::{self, Line, Origin, bounded, chunks};
use super::row::count_column;
use crate::error::StoreError;

/// Whether the batch was new. Where it was not, nothing was changed.
pub(super) async fn store_batch(connection: &mut SqliteConnection, batch: &UsageBatch) -> Result<bool, StoreError> {
    let stored = sqlx::query(
        "INSERT INTO usage_batches (node, sequence, start_us, end_us, lines) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (node, sequence) DO NOTHING",
    )
    .bind(batch.node.to_string())
    .bind(count_column(batch.sequence))
    .bind(batch.start.as_micros())
    .bind(batch.end.as_micros())
    .bind(i64::try_from(batch.lines.len()).unwrap_or(i64::MAX))
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    if stored.rows_affected() == 0 {
        return Ok(false);
    }
    let lines: Vec<Line<'_>> = batch
        .lines
        .iter()
        .map(|line| Line {
            account: line.key.account,
            key: line.key.key,
            call: Some((&line.key.route, line.key.status)),
            period: line.key.period,
            tally: bounded(&line.tally),
        })
        .collect();
    ledger::append(connection, Origin::Batch(batch), &lines).await?;
    add_to_hours(connection, batch.end, &lines).await?;
    touch_keys(connection, batch.end, &lines).await?;
    Ok(true)
}

async fn add_to_hours(connection: &mut SqliteConnection, at: Timestamp, lines: &[Line<'_>]) -> Result<(), StoreError> {
    let mut sums: BTreeMap<_, UsageTally> = BTreeMap::new();
    for line in lines {
        if let Some((route, status)) = line.call {
            sums.entry((line.account, line.key, route, status)).or_default().add(&line.tally);
        }
    }
    let sums: Vec<_> = sums.into_iter().collect();
    for sums in chunks(&sums) {
        let mut upsert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO usage_hours (account, hour_us, key, route, status, calls, calls_unenforced, units_debited, \
             units_charged, units_refunded, newest_us) ",
        );
        upsert.push_values(sums, |mut row, ((account, key, route, status), tally)| {
            row.push_bind(account.to_string())
                .push_bind(at.start_of_hour().as_micros())
                .push_bind(key.to_string())
                .push_bind(route.as_str())
                .push_bind(status.as_str())
                .push_bind(count_column(tally.calls))
                .push_bind(count_column(tally.calls_unenforced))
                .push_bind(count_column(tally.units_debited))
                .push_bind(count_column(tally.units_charged))
                .push_bind(count_column(tally.units_refunded))
                .push_bind(at.as_micros());
        });
        upsert.push(
            " ON CONFLICT (account, hour_us, key, route, status) DO UPDATE SET \
             calls = usage_hours.calls + excluded.calls, \
             calls_unenforced = usage_hours.calls_unenforced + excluded.calls_unenforced, \
             units_debited = usage_hours.units_debited + excluded.units_debited, \
             units_charged = usage_hours.units_charged + excluded.units_charged, \
             units_refunded = usage_hours.units_refunded + excluded.units_refunded, \
             newest_us = CASE WHEN excluded.newest_us > usage_hours.newest_us \
             THEN excluded.newest_us ELSE usage_hours.newest_us END",
        );
        upsert.build().execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
}

/// Moves the last use of the keys that let calls in. A line that only gives units back is no use.
async fn touch_keys(connection: &mut SqliteConnection, at: Timestamp, lines: &[Line<'_>]) -> Result<(), StoreError> {
    let used = lines.iter().filter(|line| line.tally.calls > 0 || line.tally.calls_unenforced > 0);
    let used: BTreeSet<KeyId> = used.map(|line| line.key).collect();
    let used: Vec<KeyId> = used.into_iter().collect();
    for keys in chunks(&used) {
        let mut update = QueryBuilder::<Sqlite>::new("UPDATE keys SET last_used_at_us = ");
        update.push_bind(at.as_micros());
        update.push(" WHERE (last_used_at_us IS NULL OR last_used_at_us < ");
        update.push_bind(at.as_micros());
        update.push(") AND id IN (");
        let mut list = update.separated(", ");
        for key in keys {
            list.push_bind(key.to_string());
        }
        update.push(")");
        update.build().execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
}
