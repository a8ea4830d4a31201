//! Stores usage batches: once each, with everything that is summed from them. Reading them back is `seed`.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_domain::{KeyId, Timestamp, UsageBatch, UsageLine, UsageTally};

use super::database::{Connection, query};
use super::ledger::{self, Line, Origin, bounded};
use super::row::{Fields, count_column};
use super::{outbox, requests};
use crate::customers::charged;
use crate::error::StoreError;
use crate::record::Change;

/// Whether the batch was new. Where it was not, nothing was changed.
pub(super) async fn store_batch(connection: &mut Connection, batch: &UsageBatch) -> Result<bool, StoreError> {
    let owners = requests::hold_owners(connection, batch).await?;
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
            at: batch.end,
            account: line.key.account,
            key: Some(line.key.key),
            meter: line.key.meter.as_ref(),
            call: Some((&line.key.route, line.key.status)),
            event: None,
            period: line.key.period,
            tally: bounded(&charged_alone(line)),
        })
        .collect();
    let places = ledger::append(connection, newest, Origin::Batch(batch), &lines).await?;
    touch_keys(connection, batch.end, &lines).await?;
    requests::append(connection, batch, &owners).await?;
    let told = batch.lines.iter().filter(|line| line.key.detached && line.key.meter.is_none());
    let lineages = lineages(connection, told.map(|line| line.key.key).collect()).await?;
    let placed = batch.lines.iter().zip(&lines).zip(places);
    let charged: Vec<Change> =
        placed.filter_map(|((line, stored), place)| unheard_of(line, stored, place, &lineages)).collect();
    outbox::append(connection, &charged, batch.end).await?;
    Ok(true)
}

/// What a line counts, of a meter without what bucket and windows were debited: no meter has any.
fn charged_alone(line: &UsageLine) -> UsageTally {
    match line.key.meter {
        Some(_) => UsageTally { units_debited: 0, ..line.tally },
        None => line.tally,
    }
}

/// What the shared limiter must hear of a line that it did not count itself.
fn unheard_of(line: &UsageLine, stored: &Line<'_>, position: u64, lineages: &BTreeMap<KeyId, KeyId>) -> Option<Change> {
    let signed = |units: u64| i64::try_from(units).expect("the ledger's numbers are bounded by 2^53");
    let units = signed(stored.tally.units_charged) - signed(stored.tally.units_refunded);
    let is_told = line.key.detached && units != 0;
    let key = stored.key.map(|key| lineages.get(&key).copied().unwrap_or(key));
    is_told.then_some(Change::Usage {
        account: stored.account,
        of: charged(stored.meter, key),
        period: stored.period,
        units,
        position,
    })
}

/// The first keys of the chains that these keys belong to: the shared limiter counts a key's own use by its chain. A key
/// that is not known is a chain of its own.
pub(super) async fn lineages(
    connection: &mut Connection,
    keys: BTreeSet<KeyId>,
) -> Result<BTreeMap<KeyId, KeyId>, StoreError> {
    let keys: Vec<String> = keys.into_iter().map(|key| key.to_string()).collect();
    let mut lineages = BTreeMap::new();
    for keys in connection.chunks(&keys) {
        let rows = query("SELECT id, lineage FROM keys WHERE id IN {list}");
        for row in &rows.bind_list(keys.to_vec()).fetch_all(connection).await? {
            let fields = Fields::of("keys", &["id"], row);
            let id = fields.parse("id", |text| text.parse().ok())?;
            lineages.insert(id, fields.parse("lineage", |text| text.parse().ok())?);
        }
    }
    Ok(lineages)
}

/// Moves the last use of the keys that let calls in. A line that only gives units back is no use.
async fn touch_keys(connection: &mut Connection, at: Timestamp, lines: &[Line<'_>]) -> Result<(), StoreError> {
    let used = lines.iter().filter(|line| line.tally.calls > 0 || line.tally.calls_unenforced > 0);
    let used: BTreeSet<KeyId> = used.filter_map(|line| line.key).collect();
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
