//! What a fleet must hear of, kept beside the change itself until somebody has told it. Who tells is not known here.

use tollgate_domain::{Charged, KeyHash, MeterId, Period, Timestamp};

use super::database::{Connection, Row, Value, query};
use super::insert::{Insert, Kind};
use super::row::{Fields, count_column};
use crate::error::StoreError;
use crate::record::{Change, OutboxEntry};

const INSERT: Insert = Insert {
    table: "outbox",
    columns: &[
        ("created_at_us", Kind::Int),
        ("kind", Kind::Text),
        ("hash", Kind::Bytes),
        ("account", Kind::Text),
        ("key", Kind::Text),
        ("period_start_us", Kind::Int),
        ("period_end_us", Kind::Int),
        ("units", Kind::Int),
        ("position", Kind::Int),
        ("meter", Kind::Bytes),
    ],
    on_conflict: "",
};

const KEY: &str = "key";
const ACCOUNT: &str = "account";
const USAGE: &str = "usage";

/// Adds changes in the transaction that makes them, where the store keeps an outbox.
pub(crate) async fn append(connection: &mut Connection, changes: &[Change], at: Timestamp) -> Result<(), StoreError> {
    if !connection.keeps_outbox() {
        return Ok(());
    }
    INSERT.rows(connection, changes, |change| values(change, at)).await
}

fn values(change: &Change, at: Timestamp) -> [Value; 10] {
    let at = Value::from(at.as_micros());
    let (no_int, no_text, no_bytes) = (Value::Int(None), Value::Text(None), Value::Bytes(None));
    match *change {
        Change::Key(hash) => [
            at,
            KEY.into(),
            hash.as_bytes()[..].into(),
            no_text.clone(),
            no_text,
            no_int.clone(),
            no_int.clone(),
            no_int.clone(),
            no_int,
            no_bytes,
        ],
        Change::Account(account) => [
            at,
            ACCOUNT.into(),
            no_bytes.clone(),
            account.to_string().into(),
            no_text,
            no_int.clone(),
            no_int.clone(),
            no_int.clone(),
            no_int,
            no_bytes,
        ],
        Change::Usage { account, of, period, units, position } => {
            let (key, meter) = match of {
                Charged::Calls { key } => (key.map(|key| key.to_string()).into(), no_bytes.clone()),
                Charged::Meter(meter) => (no_text, meter.as_u128().to_be_bytes()[..].into()),
            };
            [
                at,
                USAGE.into(),
                no_bytes,
                account.to_string().into(),
                key,
                period.start.as_micros().into(),
                period.end.as_micros().into(),
                units.into(),
                count_column(position).into(),
                meter,
            ]
        }
    }
}

pub(crate) async fn list(connection: &mut Connection, limit: u32) -> Result<Vec<OutboxEntry>, StoreError> {
    let rows = query(
        "SELECT id, kind, hash, account, key, period_start_us, period_end_us, units, position, meter \
         FROM outbox ORDER BY id LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    rows.iter().map(entry).collect()
}

fn entry(row: &Row) -> Result<OutboxEntry, StoreError> {
    let fields = Fields::of("outbox", &["id"], row);
    let change = match fields.get("kind")? {
        KEY => {
            let hash: [u8; 32] = fields.get::<&[u8]>("hash")?.try_into().map_err(|_| fields.corrupt("hash"))?;
            Change::Key(KeyHash::from_bytes(hash))
        }
        ACCOUNT => Change::Account(fields.parse("account", |text| text.parse().ok())?),
        USAGE => Change::Usage {
            account: fields.parse("account", |text| text.parse().ok())?,
            of: charged(&fields)?,
            period: Period { start: fields.timestamp("period_start_us")?, end: fields.timestamp("period_end_us")? },
            units: fields.get("units")?,
            position: fields.count("position")?,
        },
        _ => return Err(fields.corrupt("kind")),
    };
    Ok(OutboxEntry { id: fields.get("id")?, change })
}

/// Which quota a row is of.
fn charged(fields: &Fields<'_>) -> Result<Charged, StoreError> {
    let Some(meter) = fields.get::<Option<&[u8]>>("meter")? else {
        return Ok(Charged::Calls { key: fields.parse_optional("key", |text| text.parse().ok())? });
    };
    let number = meter.try_into().map(u128::from_be_bytes).map_err(|_| fields.corrupt("meter"))?;
    Ok(Charged::Meter(MeterId::from_u128(number)))
}

/// Entries that are gone already are nobody's loss.
pub(crate) async fn clear(connection: &mut Connection, ids: &[i64]) -> Result<(), StoreError> {
    for ids in connection.chunks(ids) {
        query("DELETE FROM outbox WHERE id IN {list}").bind_list(ids.to_vec()).execute(connection).await?;
    }
    Ok(())
}
