//! The ledger read out in full, page by page: its sums by the hour for exports, its lines as they are. It writes nothing.

use tollgate_domain::{AccountId, Timestamp};

use super::database::{Connection, Query, Row, query};
use super::row::Fields;
use crate::customers::{ExportRow, LedgerLine};
use crate::error::StoreError;

/// The columns of an export, in its order.
macro_rules! export {
    ($where:literal) => {
        concat!(
            "SELECT hour_us, account, meter, key, route, status, calls, units_charged, units_refunded FROM usage_hours \
             WHERE hour_us < $2 AND ",
            $where,
            " ORDER BY hour_us, account, meter, key, route, status LIMIT $3"
        )
    };
}

pub(crate) const ALL: &str = export!("hour_us >= $1");
/// The first two columns once more by themselves: by them an index is entered where the page before ended.
pub(crate) const ALL_AFTER: &str = export!(
    "(hour_us, account) >= ($1, $4) AND (hour_us, account, meter, key, route, status) > ($1, $4, $5, $6, $7, $8)"
);
pub(crate) const ACCOUNT: &str = export!("hour_us >= $1 AND account = $4");
pub(crate) const ACCOUNT_AFTER: &str =
    export!("hour_us >= $1 AND account = $4 AND (hour_us, meter, key, route, status) > ($1, $5, $6, $7, $8)");

/// Where a page ended: the primary key of its last row.
struct Place<'a> {
    hour: Timestamp,
    /// Account, meter, key, route, status.
    rest: [&'a str; 5],
}

impl<'a> Place<'a> {
    /// Reads what [`Self::text`] writes. The route comes last: it alone may hold a dot.
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, '.');
        let hour = Timestamp::from_micros(parts.next()?.parse().ok()?);
        let (account, meter, key) = (parts.next()?, parts.next()?, parts.next()?);
        let (status, route) = (parts.next()?, parts.next()?);
        account.parse::<AccountId>().ok()?;
        Some(Self { hour, rest: [account, meter, key, route, status] })
    }

    fn text(&self) -> String {
        let [account, meter, key, route, status] = self.rest;
        format!("{}.{account}.{meter}.{key}.{status}.{route}", self.hour.as_micros())
    }
}

/// Whether a text is the place of a row of an export.
pub(crate) fn is_place(text: &str) -> bool {
    Place::parse(text).is_some()
}

pub(super) async fn export(
    connection: &mut Connection,
    account: Option<AccountId>,
    from: Timestamp,
    to: Timestamp,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<ExportRow>, StoreError> {
    let after = match after.map(Place::parse) {
        None => None,
        // No row has such a place, so none comes after it.
        Some(None) => return Ok(Vec::new()),
        Some(Some(place)) => Some(place),
    };
    let begin = |text: &'static str, from: Timestamp| {
        query(text).bind(from.as_micros()).bind(to.as_micros()).bind(i64::from(limit))
    };
    let selected = match (account, after) {
        (None, None) => begin(ALL, from),
        (Some(account), None) => begin(ACCOUNT, from).bind(account.to_string()),
        // A place before the span, as of another export, is as good as none.
        (None, Some(place)) if place.hour < from => begin(ALL, from),
        (Some(account), Some(place)) if place.hour < from => begin(ACCOUNT, from).bind(account.to_string()),
        (None, Some(place)) => place.rest.into_iter().fold(begin(ALL_AFTER, place.hour), Query::bind),
        (Some(account), Some(place)) => {
            let rest = place.rest.into_iter().skip(1);
            rest.fold(begin(ACCOUNT_AFTER, place.hour).bind(account.to_string()), Query::bind)
        }
    };
    selected.fetch_all(connection).await?.iter().map(export_row).collect()
}

fn export_row(row: &Row) -> Result<ExportRow, StoreError> {
    let fields = Fields::of("usage_hours", &["account", "hour_us", "meter", "key", "route", "status"], row);
    let hour = fields.timestamp("hour_us")?;
    let part = |column| fields.get::<&str>(column);
    let rest = [part("account")?, part("meter")?, part("key")?, part("route")?, part("status")?];
    Ok(ExportRow {
        place: Place { hour, rest }.text(),
        account: fields.parse("account", |text| text.parse().ok())?,
        hour,
        meter: fields.meter("meter")?,
        key: fields.key("key")?,
        route: fields.get("route")?,
        status: fields.get("status")?,
        calls: fields.count("calls")?,
        units_charged: fields.count("units_charged")?,
        units_refunded: fields.count("units_refunded")?,
    })
}

pub(crate) const LINES: &str = "SELECT id, at_us, meter, key, route, calls, units_debited, units_charged, units_refunded, \
    period_start_us, period_end_us FROM usage_lines \
    WHERE account = $1 AND at_us >= $2 AND at_us < $3 AND (at_us > $4 OR id > $5) ORDER BY at_us, id LIMIT $6";

pub(super) async fn lines(
    connection: &mut Connection,
    account: AccountId,
    from: Timestamp,
    to: Timestamp,
    after: Option<i64>,
    limit: u32,
) -> Result<Vec<LedgerLine>, StoreError> {
    let (after, place) = match after {
        None => (from.plus_micros(-1), i64::MAX),
        Some(place) => match time_of(connection, account, place).await? {
            Some(at) => (at, place),
            None => return Ok(Vec::new()),
        },
    };
    let rows = query(LINES)
        .bind(account.to_string())
        .bind(from.max(after).as_micros())
        .bind(to.as_micros())
        .bind(after.as_micros())
        .bind(place)
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await?;
    rows.iter().map(line).collect()
}

/// When a line of this account was.
async fn time_of(connection: &mut Connection, account: AccountId, place: i64) -> Result<Option<Timestamp>, StoreError> {
    let row = query("SELECT id, at_us FROM usage_lines WHERE id = $1 AND account = $2")
        .bind(place)
        .bind(account.to_string())
        .fetch_optional(connection)
        .await?;
    row.map(|row| Fields::of("usage_lines", &["id"], &row).timestamp("at_us")).transpose()
}

fn line(row: &Row) -> Result<LedgerLine, StoreError> {
    let fields = Fields::of("usage_lines", &["id"], row);
    Ok(LedgerLine {
        place: fields.get("id")?,
        at: fields.timestamp("at_us")?,
        meter: fields.meter("meter")?,
        key: fields.key("key")?,
        route: fields.get("route")?,
        calls: fields.count("calls")?,
        units_debited: fields.count("units_debited")?,
        units: fields.get::<i64>("units_charged")?.saturating_sub(fields.get("units_refunded")?),
        period: fields.period()?,
    })
}
