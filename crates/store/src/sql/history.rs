//! An account's past, added up by time, meter and group. It reads the sums by the hour, or, where dimensions are asked
//! for, the lines of events; it writes nothing.

use std::fmt::Write as _;

use tollgate_domain::{DAY_US, HOUR_US, Period, Timestamp};

use super::database::{Connection, Query, Value, query};
use super::row::{Fields, meter_column};
use crate::customers::{GroupBy, HistoryQuery, HistoryRow, Step};
use crate::error::StoreError;

/// The first and the last hour of an account's past that lie in a span.
pub(crate) const FIRST_HOUR: &str =
    "SELECT hour_us FROM usage_hours WHERE account = $1 AND hour_us >= $2 AND hour_us < $3 ORDER BY hour_us LIMIT 1";
pub(crate) const LAST_HOUR: &str = "SELECT hour_us FROM usage_hours WHERE account = $1 AND hour_us >= $2 \
    AND hour_us < $3 ORDER BY hour_us DESC LIMIT 1";

pub(super) async fn history(
    connection: &mut Connection,
    asked: &HistoryQuery,
    limit: u32,
) -> Result<Vec<HistoryRow>, StoreError> {
    let from = beginning(asked.step, asked.from);
    let to = asked.to.plus_micros(HOUR_US - 1).start_of_hour();
    // What lies before the first hour that is kept has no dimensions any more, so that nothing of it is told.
    let Some(first) = hour(connection, FIRST_HOUR, asked, from, to).await? else { return Ok(Vec::new()) };
    let last = hour(connection, LAST_HOUR, asked, from, to).await?.unwrap_or(first);
    let (from, to) = (from.max(first), to.min(last.plus_micros(HOUR_US)));
    let step_us = match asked.step {
        Step::Hour => HOUR_US,
        Step::Day => DAY_US,
        Step::Month => return months(connection, asked, from, to, limit).await,
    };
    rows(connection, asked, span(from, to), step_us, limit).await
}

fn span(start: Timestamp, end: Timestamp) -> Period {
    Period { start, end }
}

/// Months are not of one length, so each is asked for by itself.
async fn months(
    connection: &mut Connection,
    asked: &HistoryQuery,
    from: Timestamp,
    to: Timestamp,
    limit: u32,
) -> Result<Vec<HistoryRow>, StoreError> {
    let mut found = Vec::new();
    let mut month = Period::calendar_month(from);
    while month.start < to && found.len() < limit as usize {
        let rest = limit - u32::try_from(found.len()).unwrap_or(limit);
        let part = span(from.max(month.start), to.min(month.end));
        let rows = rows(connection, asked, part, i64::MAX, rest).await?;
        found.extend(rows.into_iter().map(|row| HistoryRow { at: month.start, ..row }));
        month = Period::calendar_month(month.end);
    }
    Ok(found)
}

/// The beginning of the step that an instant lies in.
fn beginning(step: Step, at: Timestamp) -> Timestamp {
    match step {
        Step::Hour => at.start_of_hour(),
        Step::Day => Timestamp::from_micros(at.as_micros().div_euclid(DAY_US) * DAY_US),
        Step::Month => Period::calendar_month(at).start,
    }
}

async fn hour(
    connection: &mut Connection,
    text: &'static str,
    asked: &HistoryQuery,
    from: Timestamp,
    to: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let row = query(text)
        .bind(asked.account.to_string())
        .bind(from.as_micros())
        .bind(to.as_micros())
        .fetch_optional(connection)
        .await?;
    row.map(|row| Fields::of("usage_hours", &[], &row).timestamp("hour_us")).transpose()
}

async fn rows(
    connection: &mut Connection,
    asked: &HistoryQuery,
    span: Period,
    step_us: i64,
    limit: u32,
) -> Result<Vec<HistoryRow>, StoreError> {
    let rows = statement(asked, span, step_us, limit).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let fields = Fields::of("usage_hours", &["at_us", "meter"], row);
            let (charged, refunded) = (fields.get::<i64>("units_charged")?, fields.get::<i64>("units_refunded")?);
            Ok(HistoryRow {
                at: fields.timestamp("at_us")?,
                meter: fields.meter("meter")?,
                group: match asked.group_by {
                    GroupBy::Nothing => None,
                    _ => Some(fields.get("part")?),
                },
                calls: fields.count("calls")?,
                units: charged.saturating_sub(refunded),
                units_refunded: fields.count("units_refunded")?,
            })
        })
        .collect()
}

/// A statement that is put together: its text, and the values bound to it.
#[derive(Default)]
struct Statement {
    text: String,
    values: Vec<Value>,
}

impl Statement {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Adds a text and the place of a value after it.
    fn with(&mut self, text: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        let place = self.values.len();
        write!(self.text, "{text}${place}").expect("a string takes every text");
    }

    fn query(self) -> Query {
        self.values.into_iter().fold(query(self.text), Query::bind)
    }
}

/// The sums of one span in steps of so many microseconds.
pub(crate) fn statement(asked: &HistoryQuery, span: Period, step_us: i64, limit: u32) -> Query {
    let by_dimension = matches!(asked.group_by, GroupBy::Dimension(_)) || !asked.dimensions.is_empty();
    let mut select = if by_dimension { of_events(asked, span, step_us) } else { of_hours(asked, span, step_us) };
    select.with(" GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT ", i64::from(limit));
    select.query()
}

/// What holds for hours and events alike.
fn filter(select: &mut Statement, asked: &HistoryQuery) {
    if let Some(meter) = &asked.meter {
        select.with(" AND l.meter = ", meter_column(meter.as_ref()));
    }
    if let Some(key) = asked.key {
        select.with(" AND l.key = ", key.to_string());
    }
}

/// The hours' rows, added up by the hour first where they lie in that order: then few are left to be sorted by the step.
fn of_hours(asked: &HistoryQuery, span: Period, step_us: i64) -> Statement {
    let (part, by_hour) = match asked.group_by {
        GroupBy::Route => ("l.route", None),
        GroupBy::Status => ("l.status", None),
        GroupBy::Key => ("l.key", Some(" GROUP BY l.hour_us, l.meter, l.key")),
        GroupBy::Nothing | GroupBy::Dimension(_) => ("CAST('' AS TEXT)", Some(" GROUP BY l.hour_us, l.meter")),
    };
    let sums = |of: &str| {
        let sum = |column: &str| format!("CAST(SUM({of}.{column}) AS BIGINT) AS {column}");
        ["calls", "units_charged", "units_refunded"].map(sum).join(", ")
    };
    let (of, its_part) = if by_hour.is_some() { ("hours", "hours.part") } else { ("l", part) };
    let mut select = Statement::default();
    select.with(&format!("SELECT {of}.hour_us / "), step_us);
    select.push(&format!(" * $1 AS at_us, {of}.meter, {its_part} AS part, {} FROM ", sums(of)));
    if by_hour.is_some() {
        select.push(&format!("(SELECT l.hour_us, l.meter, {part} AS part, {} FROM ", sums("l")));
    }
    select.with("usage_hours l WHERE l.account = ", asked.account.to_string());
    select.with(" AND l.hour_us >= ", span.start.as_micros());
    select.with(" AND l.hour_us < ", span.end.as_micros());
    if let Some(route) = &asked.route {
        select.with(" AND l.route = ", route);
    }
    filter(&mut select, asked);
    if let Some(by_hour) = by_hour {
        select.push(by_hour);
        select.push(") hours");
    }
    select
}

fn of_events(asked: &HistoryQuery, span: Period, step_us: i64) -> Statement {
    let part = match asked.group_by {
        GroupBy::Dimension(_) => "COALESCE(d.value, '')",
        GroupBy::Key => "l.key",
        GroupBy::Nothing | GroupBy::Route | GroupBy::Status => "CAST('' AS TEXT)",
    };
    let mut select = Statement::default();
    select.with("SELECT l.at_us / ", step_us);
    // Each line of an event is one event of its meter, and events are never given back.
    select.push(&format!(
        " * $1 AS at_us, l.meter, {part} AS part, COUNT(*) AS calls, \
         CAST(SUM(l.units_charged) AS BIGINT) AS units_charged, CAST(0 AS BIGINT) AS units_refunded FROM usage_lines l"
    ));
    if let GroupBy::Dimension(name) = &asked.group_by {
        select.with(" LEFT JOIN usage_dimensions d ON d.account = l.account AND d.event = l.event AND d.name = ", name);
    }
    select.with(" WHERE l.event IS NOT NULL AND l.account = ", asked.account.to_string());
    select.with(" AND l.at_us >= ", span.start.as_micros());
    select.with(" AND l.at_us < ", span.end.as_micros());
    for (name, value) in &asked.dimensions {
        select.with(
            " AND EXISTS (SELECT 1 FROM usage_dimensions f WHERE f.account = l.account AND f.event = l.event \
             AND f.name = ",
            name,
        );
        select.with(" AND f.value = ", value);
        select.push(")");
    }
    if asked.route.as_ref().is_some_and(|route| !route.is_empty()) {
        // An event has no route.
        select.push(" AND 1 = 0");
    }
    filter(&mut select, asked);
    select
}
