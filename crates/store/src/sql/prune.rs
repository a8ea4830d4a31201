//! What is thrown away once its time is over, some thousands of rows a call. The ledger and the sums by the period are
//! never among it.

use tollgate_domain::{DAY_US, HOUR_US, Timestamp};

use super::database::{Connection, query};
use super::row::Fields;
use crate::customers::Pruned;
use crate::error::StoreError;

/// Rows of a table that are thrown away at once, about.
const ROWS: i64 = 5_000;
/// Long windows are rebuilt from the sums by the hour, so those that the longest may need stay, whatever is asked for.
const HOURS_KEPT_US: i64 = 32 * DAY_US;
/// How long it is remembered that a notice was given: longer than any period or key's last days may be.
const NOTICES_KEPT_US: i64 = 400 * DAY_US;

pub(super) async fn prune(
    connection: &mut Connection,
    requests_before: Timestamp,
    hours_before: Timestamp,
    now: Timestamp,
) -> Result<Pruned, StoreError> {
    let hours_before = hours_before.min(now.plus_micros(-HOURS_KEPT_US)).start_of_hour();
    let requests = oldest(connection, &REQUESTS, requests_before).await?;
    let dimensions = oldest(connection, &DIMENSIONS, hours_before).await?;
    let hours = oldest_hours(connection, hours_before).await?;
    // A link counts for its address for an hour, whether it still opens anything or not.
    let links = oldest(connection, &LINKS, now.plus_micros(-HOUR_US)).await?;
    let sessions = oldest(connection, &SESSIONS, now).await?;
    oldest(connection, &NOTICES, now.plus_micros(-NOTICES_KEPT_US)).await?;
    Ok(Pruned { requests, hours: hours + dimensions, sign_ins: links + sessions })
}

/// The statements by which a table's oldest rows are thrown away.
pub(crate) struct Oldest {
    /// The time of the last row of a portion, where there are as many.
    pub(crate) last: &'static str,
    /// Throws away what is as old or older.
    pub(crate) delete: &'static str,
}

macro_rules! oldest {
    ($table:literal, $time:literal) => {
        Oldest {
            last: concat!(
                "SELECT ",
                $time,
                " AS last_us FROM ",
                $table,
                " WHERE ",
                $time,
                " < $1 ORDER BY ",
                $time,
                " LIMIT 1 OFFSET $2"
            ),
            delete: concat!("DELETE FROM ", $table, " WHERE ", $time, " <= $1"),
        }
    };
}

pub(crate) const REQUESTS: Oldest = oldest!("request_log", "at_us");
pub(crate) const DIMENSIONS: Oldest = oldest!("usage_dimensions", "at_us");
pub(crate) const LINKS: Oldest = oldest!("links", "expires_at_us");
pub(crate) const SESSIONS: Oldest = oldest!("sessions", "expires_at_us");
pub(crate) const NOTICES: Oldest = oldest!("notices", "created_at_us");

pub(super) async fn oldest(connection: &mut Connection, table: &Oldest, before: Timestamp) -> Result<u64, StoreError> {
    let last = query(table.last).bind(before.as_micros()).bind(ROWS - 1).fetch_optional(connection).await?;
    let last = last.map(|row| Fields::of("", &[], &row).timestamp("last_us")).transpose()?;
    let last = last.unwrap_or(before.plus_micros(-1));
    query(table.delete).bind(last.as_micros()).execute(connection).await
}

/// Far more rows than are thrown away at once may be of one hour, so the last of a portion is told by its account, too.
pub(crate) const LAST_HOUR: &str =
    "SELECT hour_us, account FROM usage_hours WHERE hour_us < $1 ORDER BY hour_us, account LIMIT 1 OFFSET $2";
pub(crate) const BEFORE_HOUR: &str = "DELETE FROM usage_hours WHERE hour_us < $1";
pub(crate) const OF_HOUR: &str = "DELETE FROM usage_hours WHERE hour_us = $1 AND account <= $2";

async fn oldest_hours(connection: &mut Connection, before: Timestamp) -> Result<u64, StoreError> {
    let last = query(LAST_HOUR).bind(before.as_micros()).bind(ROWS - 1).fetch_optional(connection).await?;
    let Some(last) = last else {
        return query(BEFORE_HOUR).bind(before.as_micros()).execute(connection).await;
    };
    let fields = Fields::of("usage_hours", &["account"], &last);
    let (hour, account) = (fields.get::<i64>("hour_us")?, fields.get::<&str>("account")?);
    let before = query(BEFORE_HOUR).bind(hour).execute(connection).await?;
    let of_hour = query(OF_HOUR).bind(hour).bind(account).execute(connection).await?;
    Ok(before + of_hour)
}
