//! What is to be billed by the ledger, and how much of it Stripe was or is to be told. How it is told is not known here.

use sha2::{Digest, Sha256};
use tollgate_domain::{AccountId, MeterName, Period, SECOND_US, Timestamp};

use super::accounts::page;
use super::database::{Connection, Row, Value, query};
use super::insert::{Insert, Kind};
use super::row::{Fields, meter_column};
use crate::billing::{BilledPeriod, BilledUse, SendState};
use crate::error::StoreError;
use crate::record::Page;

const SENDS: Insert = Insert {
    table: "meter_sends",
    columns: &[
        ("identifier", Kind::Text),
        ("account", Kind::Text),
        ("customer", Kind::Text),
        ("meter", Kind::Text),
        ("event_name", Kind::Text),
        ("period_start_us", Kind::Int),
        ("period_end_us", Kind::Int),
        ("number", Kind::Int),
        ("units", Kind::Int),
        ("at_us", Kind::Int),
        ("created_at_us", Kind::Int),
        ("state", Kind::Text),
        ("attempts", Kind::Int),
        ("due_us", Kind::Int),
    ],
    on_conflict: "",
};

/// The digits of a send's identifier: with its prefix far below the 100 characters that Stripe takes.
const IDENTIFIER_DIGITS: usize = 40;

/// The periods of billed accounts that changed since `$1`, with what the ledger and the sends say of each. Sums are of all
/// of a period, not of what changed alone.
macro_rules! periods {
    ($condition:literal, $($of_sends:literal),+) => {
        concat!(
            "SELECT c.account, c.meter, c.period_start_us, c.period_end_us, c.newest_us, a.stripe_customer AS customer, ",
            "(SELECT CAST(SUM(u.units_charged - u.units_refunded) AS BIGINT) FROM usage_periods u ",
            "WHERE u.account = c.account AND u.meter = c.meter AND u.period_start_us = c.period_start_us ",
            "AND u.period_end_us = c.period_end_us) AS used, ",
            "(SELECT CAST(COALESCE(SUM(o.units), 0) AS BIGINT) FROM period_openings o ",
            "WHERE o.account = c.account AND o.meter = c.meter AND o.period_start_us = c.period_start_us ",
            "AND o.period_end_us = c.period_end_us) AS opened",
            $(
                ", (SELECT ", $of_sends, " FROM meter_sends s WHERE s.account = c.account AND s.meter = c.meter ",
                "AND s.period_start_us = c.period_start_us AND s.period_end_us = c.period_end_us)",
            )+
            " FROM (SELECT account, meter, period_start_us, period_end_us, MAX(newest_us) AS newest_us FROM usage_periods ",
            "WHERE newest_us >= $1 AND meter IN {list}", $condition,
            " GROUP BY account, meter, period_start_us, period_end_us) AS c CROSS JOIN accounts a ",
            "WHERE a.id = c.account AND a.stripe_customer IS NOT NULL"
        )
    };
}
