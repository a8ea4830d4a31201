//! Stores usage batches: once each, with everything that is summed from them. Reading them back is `seed`.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_domain::{AccountId, KeyId, RouteName, StatusClass, Timestamp, UsageBatch, UsageLine, UsageTally};

use super::database::{Connection, query};
use super::insert::{Insert, Kind};
use super::ledger::{self, Line, Origin, bounded};
use super::outbox;
use super::row::count_column;
use crate::error::StoreError;
use crate::record::Change;

const HOURS: Insert = Insert {
    table: "usage_hours",
    columns: &[
        ("account", Kind::Text),
        ("hour_us", Kind::Int),
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
    on_conflict: " ON CONFLICT (account, hour_us, key, route, status) DO UPDATE SET \
        calls = usage_hours.calls + excluded.calls, \
        calls_unenforced = usage_hours.calls_unenforced + excluded.calls_unenforced, \
        units_debited = usage_hours.units_debited + excluded.units_debited, \
        units_charged = usage_hours.units_charged + excluded.units_charged, \
        units_refunded = usage_hours.units_refunded + excluded.units_refunded, \
        newest_us = CASE WHEN excluded.newest_us > usage_hours.newest_us \
        THEN excluded.newest_us ELSE usage_hours.newest_us END",
};

/// Whether the batch was new. Where it was not, nothing was changed.
pub(super) async fn store_batch(connection: &mut Connection, batch: &UsageBatch) -> Result<bool, StoreError> {
    let newest = ledger::begin(connection).await?;
    let stored = query(
        "INSERT INTO usage_batches (node, sequence, start_us, end_us, lines) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (node, sequence) DO NOTHING",
    )
    .bind(batch.node.to_string())
    .bind(count_column(batch.sequence))
    .bind(batch.start.as_micros())
    .bind(batch.end.as_micros())
    .bind(i64::try_from(batch.lines.len()).unwrap_or(i64::MAX))
    .execute(connection)
    .await?;
    if stored == 0 {
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
    let places = ledger::append(connection, newest, Origin::Batch(batch), &lines).await?;
    add_to_hours(connection, batch.end, &lines).await?;
    touch_keys(connection, batch.end, &lines).await?;
    let placed = batch.lines.iter().zip(&lines).zip(places);
    let charged: Vec<Change> = placed.filter_map(|((line, stored), place)| unheard_of(line, stored, place)).collect();
    outbox::append(connection, &charged, batch.end).await?;
    Ok(true)
}

/// What the shared limiter must hear of a line that it did not count itself.
fn unheard_of(line: &UsageLine, stored: &Line<'_>, position: u64) -> Option<Change> {
    let signed = |units: u64| i64::try_from(units).expect("the ledger's numbers are bounded by 2^53");
    let units = signed(stored.tally.units_charged) - signed(stored.tally.units_refunded);
    let is_told = line.key.detached && units != 0;
    is_told.then_some(Change::Usage {
        account: stored.account,
        key: Some(stored.key),
        period: stored.period,
        units,
        position,
    })
}

async fn add_to_hours(connection: &mut Connection, at: Timestamp, lines: &[Line<'_>]) -> Result<(), StoreError> {
    let mut sums: BTreeMap<_, UsageTally> = BTreeMap::new();
    for line in lines {
        if let Some((route, status)) = line.call {
            sums.entry((line.account, line.key, route, status)).or_default().add(&line.tally);
        }
    }
    let sums: Vec<_> = sums.into_iter().collect();
    let row = |((account, key, route, status), tally): &((AccountId, KeyId, &RouteName, StatusClass), UsageTally)| {
        [
            account.to_string().into(),
            at.start_of_hour().as_micros().into(),
            key.to_string().into(),
            route.as_str().into(),
            status.as_str().into(),
            count_column(tally.calls).into(),
            count_column(tally.calls_unenforced).into(),
            count_column(tally.units_debited).into(),
            count_column(tally.units_charged).into(),
            count_column(tally.units_refunded).into(),
            at.as_micros().into(),
        ]
    };
    HOURS.rows(connection, &sums, row).await
}

/// Moves the last use of the keys that let calls in. A line that only gives units back is no use.
async fn touch_keys(connection: &mut Connection, at: Timestamp, lines: &[Line<'_>]) -> Result<(), StoreError> {
    let used = lines.iter().filter(|line| line.tally.calls > 0 || line.tally.calls_unenforced > 0);
    let used: BTreeSet<KeyId> = used.map(|line| line.key).collect();
    let used: Vec<String> = used.into_iter().map(|key| key.to_string()).collect();
    for keys in connection.chunks(&used) {
        query(
            "UPDATE keys SET last_used_at_us = $1 \
             WHERE (last_used_at_us IS NULL OR last_used_at_us < $1) AND id IN {list}",
        )
        .bind(at.as_micros())
        .bind_list(keys.to_vec())
        .execute(connection)
        .await?;
    }
    Ok(())
}
