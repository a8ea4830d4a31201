//! The request log: calls kept one by one, where that is asked for. What of them is kept is the gateway's to choose.

use std::collections::BTreeSet;

use tollgate_domain::{AccountId, NodeId, Period, RequestRow, RouteName, UsageBatch};

use super::accounts;
use super::database::{Connection, query};
use super::insert::{Insert, Kind};
use super::row::{Fields, count_column};
use crate::error::StoreError;

/// Bytes of a path that are kept at most, whatever a node sends.
const PATH_BYTES_MAX: usize = 256;
/// Bytes of each other text that are kept at most.
const TEXT_BYTES_MAX: usize = 128;
/// Rows of one batch that are kept at most: the newest.
const ROWS_MAX: usize = 20_000;

const INSERT: Insert = Insert {
    table: "request_log",
    columns: &[
        ("request", Kind::Text),
        ("node", Kind::Text),
        ("account", Kind::Text),
        ("key", Kind::Text),
        ("at_us", Kind::Int),
        ("route", Kind::Text),
        ("method", Kind::Text),
        ("path", Kind::Text),
        ("status", Kind::Int),
        ("duration_us", Kind::Int),
        ("units", Kind::Int),
        ("period_start_us", Kind::Int),
        ("period_end_us", Kind::Int),
        ("reason", Kind::Text),
    ],
    on_conflict: " ON CONFLICT DO NOTHING",
};

/// The accounts of a batch's rows that were deleted, as they stay until the transaction ends: no path of theirs is
/// stored any more. Taken before the turn to append, as all others that hold accounts do.
pub(super) async fn hold_owners(
    connection: &mut Connection,
    batch: &UsageBatch,
) -> Result<BTreeSet<AccountId>, StoreError> {
    let owners: BTreeSet<AccountId> = batch.requests.iter().map(|row| row.account).collect();
    accounts::hold_deleted(connection, &owners).await
}

/// Adds the rows of a batch that is new.
pub(super) async fn append(
    connection: &mut Connection,
    batch: &UsageBatch,
    deleted: &BTreeSet<AccountId>,
) -> Result<(), StoreError> {
    let node = batch.node.to_string();
    let row = |row: &RequestRow| {
        let path = if deleted.contains(&row.account) { "" } else { &*row.path };
        [
            text(&row.request, TEXT_BYTES_MAX).into(),
            node.clone().into(),
            row.account.to_string().into(),
            row.key.to_string().into(),
            row.at.as_micros().into(),
            row.route.as_str().into(),
            text(&row.method, TEXT_BYTES_MAX).into(),
            text(path, PATH_BYTES_MAX).into(),
            i64::from(row.status).into(),
            count_column(row.duration_us).into(),
            count_column(row.units).into(),
            row.period.map(|period| period.start.as_micros()).into(),
            row.period.map(|period| period.end.as_micros()).into(),
            row.reason.as_deref().map(|reason| text(reason, TEXT_BYTES_MAX)).into(),
        ]
    };
    let kept = &batch.requests[batch.requests.len().saturating_sub(ROWS_MAX)..];
    INSERT.rows(connection, kept, row).await
}

/// A text of the client's as every database keeps it.
fn text(text: &str, bytes_max: usize) -> String {
    let text = text.replace('\0', "");
    text[..text.floor_char_boundary(bytes_max)].into()
}

pub(crate) const FIND: &str = "SELECT request, node, account, key, at_us, route, method, path, status, duration_us, \
    units, period_start_us, period_end_us, reason FROM request_log WHERE request = $1 ORDER BY at_us DESC LIMIT 1";

pub(super) async fn find(
    connection: &mut Connection,
    request: &str,
) -> Result<Option<(NodeId, RequestRow)>, StoreError> {
    let Some(row) = query(FIND).bind(request).fetch_optional(connection).await? else { return Ok(None) };
    let fields = Fields::of("request_log", &["request", "node"], &row);
    let period = match (fields.timestamp_optional("period_start_us")?, fields.timestamp_optional("period_end_us")?) {
        (Some(start), Some(end)) => Some(Period { start, end }),
        (None, None) => None,
        _ => return Err(fields.corrupt("period_end_us")),
    };
    let found = RequestRow {
        request: fields.get("request")?,
        at: fields.timestamp("at_us")?,
        account: fields.parse("account", |text| text.parse().ok())?,
        key: fields.parse("key", |text| text.parse().ok())?,
        route: fields.parse("route", RouteName::new)?,
        method: fields.get("method")?,
        path: fields.get("path")?,
        status: u16::try_from(fields.get::<i64>("status")?).map_err(|_| fields.corrupt("status"))?,
        duration_us: fields.count("duration_us")?,
        units: fields.count("units")?,
        period,
        reason: fields.get("reason")?,
    };
    Ok(Some((fields.parse("node", |text| text.parse().ok())?, found)))
}

/// Takes the paths out of an account's rows.
pub(super) async fn erase(connection: &mut Connection, account: AccountId) -> Result<(), StoreError> {
    query("UPDATE request_log SET path = '' WHERE account = $1").bind(account.to_string()).execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        for (given, expected) in [("abc", "abc"), ("abcd", "abcd"), ("abcde", "abcd"), ("abcé", "abc"), ("a\0b", "ab")]
        {
            assert_eq!(text(given, 4), expected, "{given:?}");
        }
    }
}
