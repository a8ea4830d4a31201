//! What is to be billed by the ledger, and how much of it Stripe was or is to be told. How it is told is not known here.

use std::fmt::Write as _;

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
        ("planned", Kind::Int),
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

/// One figure of all the sends of a period `c`, or of those that are chosen.
macro_rules! of_sends {
    ($figure:literal) => {
        of_sends!($figure, "")
    };
    ($figure:literal, $which:literal) => {
        concat!(
            "(SELECT ",
            $figure,
            " FROM meter_sends s WHERE s.account = c.account AND s.meter = c.meter \
             AND s.period_start_us = c.period_start_us AND s.period_end_us = c.period_end_us",
            $which,
            ")"
        )
    };
}

/// A column of the last send of a period `c`.
macro_rules! of_last {
    ($column:literal) => {
        of_sends!($column, " ORDER BY s.number DESC LIMIT 1")
    };
}

/// The periods of billed accounts that changed since `$1`, with what ledger and sends say of each. The figures are of all
/// of a period, not only of what changed. `unbilled` is what was counted elsewhere and imported, and what was used before
/// the first subscription was made; an event may have happened 35 days before the period that it was reported in.
macro_rules! changed {
    ($figures:expr, $after:literal) => {
        concat!(
            "SELECT c.account, c.meter, c.period_start_us, c.period_end_us, c.newest_us, a.stripe_customer AS customer, \
             (SELECT CAST(SUM(u.units_charged - u.units_refunded) AS BIGINT) FROM usage_periods u \
             WHERE u.account = c.account AND u.meter = c.meter AND u.period_start_us = c.period_start_us \
             AND u.period_end_us = c.period_end_us) AS used, \
             (SELECT CAST(COALESCE(SUM(o.units), 0) AS BIGINT) FROM period_openings o \
             WHERE o.account = c.account AND o.meter = c.meter AND o.period_start_us = c.period_start_us \
             AND o.period_end_us = c.period_end_us) AS opened, \
             CASE WHEN c.period_start_us < a.billed_since_us THEN \
             (SELECT CAST(COALESCE(SUM(l.units_charged - l.units_refunded), 0) AS BIGINT) FROM usage_lines l \
             WHERE l.account = c.account AND l.at_us >= c.period_start_us - 3110400000000 \
             AND l.at_us < a.billed_since_us AND l.meter = c.meter AND l.period_start_us = c.period_start_us \
             AND l.period_end_us = c.period_end_us AND l.kind NOT IN ('opening', 'imported')) ELSE 0 END + \
             (SELECT CAST(COALESCE(SUM(i.units_charged - i.units_refunded), 0) AS BIGINT) FROM usage_lines i \
             WHERE i.account = c.account AND i.meter = c.meter AND i.period_start_us = c.period_start_us \
             AND i.period_end_us = c.period_end_us AND i.kind = 'imported') AS unbilled, ",
            $figures,
            " FROM (SELECT account, meter, period_start_us, period_end_us, MAX(newest_us) AS newest_us \
             FROM usage_periods WHERE newest_us >= $1 AND meter IN {list}",
            $after,
            " GROUP BY account, meter, period_start_us, period_end_us) AS c CROSS JOIN accounts a \
             WHERE a.id = c.account AND a.stripe_customer IS NOT NULL AND a.billed_since_us IS NOT NULL"
        )
    };
}

/// What Stripe was not told of. A period of which a send is under way is left alone, and so is one that goes on and of
/// which the last send is not as long ago as sends of it have been made, nor `$4`.
pub(crate) const UNTOLD: &str = concat!(
    "SELECT * FROM (",
    changed!(
        concat!(
            "COALESCE(",
            of_last!("s.planned"),
            ", 0) AS planned, COALESCE(",
            of_last!("s.number"),
            " + 1, 0) AS number, ",
            of_sends!("s.created_at_us", " ORDER BY s.number LIMIT 1"),
            " AS first_us, ",
            of_last!("s.created_at_us"),
            " AS last_us, ",
            of_sends!("COUNT(*)", " AND s.state = 'pending'"),
            " AS pending, (SELECT MAX(o.opened_us) FROM period_openings o \
             WHERE o.account = c.account AND o.meter = c.meter AND o.period_start_us = c.period_start_us \
             AND o.period_end_us = c.period_end_us) AS opened_us"
        ),
        ""
    ),
    ") AS known WHERE pending = 0 AND used + opened > planned AND used + opened - unbilled > planned \
     AND (number = 0 OR period_end_us <= $3 \
     OR $3 - last_us >= CASE WHEN last_us - first_us < $4 THEN last_us - first_us ELSE $4 END) \
     ORDER BY CASE WHEN period_end_us <= $3 THEN 0 ELSE 1 END, newest_us, account, meter, period_start_us, \
     period_end_us LIMIT $2"
);
pub(crate) const PERIODS: &str = concat!(
    changed!(
        concat!(
            of_sends!("CAST(COALESCE(SUM(s.units), 0) AS BIGINT)"),
            " AS planned, ",
            of_sends!("CAST(COALESCE(SUM(CASE WHEN s.state = 'sent' THEN s.units END), 0) AS BIGINT)"),
            " AS sent, ",
            of_sends!("CAST(COALESCE(SUM(CASE WHEN s.state = 'failed' THEN s.units END), 0) AS BIGINT)"),
            " AS failed"
        ),
        " AND (account, meter, period_start_us, period_end_us) > ($3, $4, $5, $6)"
    ),
    " ORDER BY c.account, c.meter, c.period_start_us, c.period_end_us LIMIT $2"
);

fn meters(billed: &[BilledUse]) -> Vec<String> {
    billed.iter().map(|billed| meter_column(billed.meter.as_ref())).collect()
}

/// A period of which Stripe was told less than was used.
struct Untold {
    account: AccountId,
    customer: String,
    meter: Option<MeterName>,
    period: Period,
    /// When it last changed.
    newest: Timestamp,
    /// Units that Stripe was not told of.
    units: i64,
    /// How many of them were used before a later period was opened, and when it was.
    before_opening: Option<(i64, Timestamp)>,
    /// The number of its next send.
    number: i64,
    /// Units in all its sends.
    planned: i64,
}

/// Plans a send for each period of which Stripe was told too little; how many.
pub(super) async fn plan(
    connection: &mut Connection,
    billed: &[BilledUse],
    since: Timestamp,
    now: Timestamp,
    rest_us: i64,
    limit: u32,
) -> Result<u64, StoreError> {
    if billed.is_empty() {
        return Ok(0);
    }
    let rows = query(UNTOLD)
        .bind(since.as_micros())
        .bind(i64::from(limit))
        .bind(now.as_micros())
        .bind(rest_us)
        .bind_list(meters(billed))
        .fetch_all(connection)
        .await?;
    let mut sends = Vec::with_capacity(rows.len());
    for row in &rows {
        let untold = untold(row)?;
        let event_name = billed.iter().find(|billed| billed.meter == untold.meter).map(|billed| &*billed.event_name);
        sends.push(values(&untold, event_name.unwrap_or_default(), now));
    }
    SENDS.values(connection, &sends).await?;
    Ok(sends.len() as u64)
}

fn untold(row: &Row) -> Result<Untold, StoreError> {
    let fields = Fields::of("usage_periods", &["account", "meter", "period_start_us", "period_end_us"], row);
    let planned: i64 = fields.get("planned")?;
    let planned_or_free = planned + fields.get::<i64>("unbilled")?;
    let opened: i64 = fields.get("opened")?;
    let opened_at = fields.timestamp_optional("opened_us")?;
    Ok(Untold {
        account: fields.parse("account", |text| text.parse().ok())?,
        customer: fields.get("customer")?,
        meter: fields.meter("meter")?,
        period: fields.period()?,
        newest: fields.timestamp("newest_us")?,
        units: fields.get::<i64>("used")? + opened - planned_or_free,
        before_opening: opened_at.map(|at| (opened - planned_or_free, at)),
        number: fields.get("number")?,
        planned,
    })
}

impl Untold {
    /// How many units are sent next, and when they were used. What was used before a later period was opened goes first
    /// and by itself: Stripe bills it with what lies before the opening.
    fn next(&self, now: Timestamp) -> (i64, Timestamp) {
        let Period { start, end } = self.period;
        let last = end.plus_micros(-SECOND_US).min(now).max(start);
        match self.before_opening {
            Some((units, at)) if units > 0 => (units.min(self.units), at.plus_micros(-SECOND_US).clamp(start, last)),
            Some((_, at)) => (self.units, self.newest.max(at).clamp(start, last)),
            None => (self.units, self.newest.clamp(start, last)),
        }
    }
}

fn values(untold: &Untold, event_name: &str, now: Timestamp) -> Vec<Value> {
    let (units, at) = untold.next(now);
    vec![
        identifier(untold).into(),
        untold.account.to_string().into(),
        (&untold.customer).into(),
        meter_column(untold.meter.as_ref()).into(),
        event_name.into(),
        untold.period.start.as_micros().into(),
        untold.period.end.as_micros().into(),
        untold.number.into(),
        units.into(),
        (untold.planned + units).into(),
        at.as_micros().into(),
        now.as_micros().into(),
        SendState::Pending.as_str().into(),
        0.into(),
        now.as_micros().into(),
    ]
}

/// What lets Stripe count a send once: the same for the same send, whoever plans it.
fn identifier(untold: &Untold) -> String {
    let Untold { account, meter, period, number, .. } = untold;
    let (start, end) = (period.start.as_micros(), period.end.as_micros());
    let of = format!("{account}|{}|{start}|{end}|{number}", meter_column(meter.as_ref()));
    let mut identifier = String::from("tg_");
    for byte in &Sha256::digest(of)[..IDENTIFIER_DIGITS / 2] {
        write!(identifier, "{byte:02x}").expect("a string takes every text");
    }
    identifier
}

pub(super) async fn periods(
    connection: &mut Connection,
    billed: &[BilledUse],
    since: Timestamp,
    after: Option<&BilledPeriod>,
    limit: u32,
) -> Result<Page<BilledPeriod>, StoreError> {
    if billed.is_empty() {
        return Ok(Page { items: Vec::new(), has_more: false });
    }
    let asked = query(PERIODS).bind(since.as_micros()).bind(i64::from(limit) + 1);
    // Before every account.
    let asked = match after {
        None => asked.bind("").bind("").bind(i64::MIN).bind(i64::MIN),
        Some(last) => asked
            .bind(last.account.to_string())
            .bind(meter_column(last.meter.as_ref()))
            .bind(last.period.start.as_micros())
            .bind(last.period.end.as_micros()),
    };
    let rows = asked.bind_list(meters(billed)).fetch_all(connection).await?;
    let read = |row: &Row| {
        let fields = Fields::of("usage_periods", &["account", "meter", "period_start_us", "period_end_us"], row);
        Ok(BilledPeriod {
            account: fields.parse("account", |text| text.parse().ok())?,
            customer: fields.get("customer")?,
            meter: fields.meter("meter")?,
            period: fields.period()?,
            ledger: fields.get::<i64>("used")? + fields.get::<i64>("opened")? - fields.get::<i64>("unbilled")?,
            planned: fields.count("planned")?,
            sent: fields.count("sent")?,
            failed: fields.count("failed")?,
            newest: fields.timestamp("newest_us")?,
        })
    };
    page(rows.iter().map(read), limit)
}
