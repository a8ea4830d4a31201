//! `GET /v1/usage`, and the same of any account for operators: what was used, step by step.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use tollgate_domain::AccountId;
use tollgate_store::HistoryRow;
use utoipa::ToSchema;

use super::csv;
use super::meters::{CALLS, meter_word};
use super::query::{self, Asked, Format};
use crate::context::{Context, Shared};
use crate::customer::Caller;
use crate::problem::{FieldError, Problem};
use crate::request::Parameters;

/// Rows an answer may have. More are refused rather than cut off: the totals are those of all rows.
const ROWS_MAX: u32 = 10_000;

/// An account's past. Steps in which nothing was used are left out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = History)]
pub(crate) struct HistoryView {
    /// The first instant that is covered.
    from: String,
    /// The first instant after what is covered.
    to: String,
    step: &'static str,
    /// What rows are told apart by beside time and meter; null for nothing.
    group_by: Option<String>,
    pub(super) rows: Vec<RowView>,
    /// Sums of all rows, by meter; `calls` is always among them unless another meter was asked for.
    totals: BTreeMap<String, TotalsView>,
}

/// What was used in one step.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryRow)]
pub(super) struct RowView {
    /// The step's beginning.
    pub(super) at: String,
    /// `calls`, or a meter's name.
    pub(super) meter: String,
    /// The route, key, status class or dimension's value; empty where an event has none, null where nothing is
    /// grouped by.
    pub(super) group: Option<String>,
    /// Calls, or of a meter the calls and events that counted it.
    pub(super) calls: u64,
    /// Units charged, less those given back; below zero where more was given back in it than charged.
    pub(super) units: i64,
    /// Units given back.
    pub(super) units_refunded: u64,
}

/// Sums of rows.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = HistoryTotals)]
pub(super) struct TotalsView {
    calls: u64,
    units: i64,
    units_refunded: u64,
}

/// The caller's own past.
///
/// Steps in which nothing was used have no row. `dimension.NAME=VALUE` shows reported events of that dimension only, and
/// may stand there for several names. CSV is given for `Accept: text/csv` or `format=csv`.
#[utoipa::path(
    get, path = "/v1/usage", tag = "usage", operation_id = "show_usage",
    params(
        ("step" = Option<String>, Query, description = "How long each row is: `hour`, `day` (the default) or `month`, UTC.", pattern = "^(hour|day|month)$"),
        ("from" = Option<String>, Query, description = "From, laid back on the step's beginning. If left out, a day before by hour, 30 days by day, a year by month."),
        ("to" = Option<String>, Query, description = "To, exclusive, laid forward on the next step; now if left out. At most 31 days by hour, 400 by day."),
        ("group_by" = Option<String>, Query, description = "What rows are told apart by beside time and meter: `route`, `key`, `status`, `meter` (which they are in any case) or `dimension:NAME`."),
        ("meter" = Option<String>, Query, description = "Only `calls`, or only this meter."),
        ("key" = Option<String>, Query, description = "Only this key, by its id."),
        ("route" = Option<String>, Query, description = "Only this route."),
        ("format" = Option<String>, Query, description = "`json` or `csv`, whatever `Accept` says.", pattern = "^(json|csv)$"),
    ),
    responses(
        (status = 200, description = "Rows in order of time, meter and group, and their sums.", content((HistoryView = "application/json"), (String = "text/csv"))),
        (status = 404, body = Problem, description = "`key` names no key of the account."),
    ),
    security(("api_key" = []), ("session" = []), ("token" = [])),
)]
pub(super) async fn show(
    State(context): State<Context>,
    caller: Caller,
    headers: HeaderMap,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    if let Some(carries_key) = context.keys().query.as_deref() {
        parameters.ignore(carries_key);
    }
    answer(&context, caller.account.id, &headers, parameters).await
}

/// An account's past, as JSON or CSV.
///
/// # Errors
/// The parameters cannot be taken, too many rows are asked for, or the store does not answer.
pub(crate) async fn answer(
    shared: &Shared,
    account: AccountId,
    headers: &HeaderMap,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let asked = query::read(parameters, account, shared.now())?;
    if let Some(key) = asked.query.key {
        let known = shared.store().key(key).await?.filter(|key| key.account == account);
        known.ok_or_else(|| Problem::not_found("There is no such key"))?;
    }
    let rows = shared.store().history(&asked.query, ROWS_MAX + 1).await?;
    if rows.len() > usize::try_from(ROWS_MAX).unwrap_or(usize::MAX) {
        let detail =
            format!("this has more than {ROWS_MAX} rows; ask for a shorter stretch, longer steps or one meter");
        let refused = FieldError { parameter: Some("from".into()), detail, ..FieldError::default() };
        return Err(Problem::invalid_fields(vec![refused]));
    }
    let format = asked.format.unwrap_or_else(|| accepted(headers));
    let view = view(asked, rows);
    let mut response = match format {
        Format::Json => Json(view).into_response(),
        Format::Csv => {
            let kind = [
                (CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present")),
                (CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"usage.csv\"")),
            ];
            (kind, csv::write(&view)).into_response()
        }
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

fn view(asked: Asked, rows: Vec<HistoryRow>) -> HistoryView {
    let mut totals: BTreeMap<String, TotalsView> = BTreeMap::new();
    let has_calls = match &asked.query.meter {
        None => asked.query.dimensions.is_empty(),
        Some(meter) => meter.is_none(),
    };
    if has_calls {
        totals.insert(CALLS.into(), TotalsView::default());
    }
    if let Some(Some(meter)) = &asked.query.meter {
        totals.insert(meter.to_string(), TotalsView::default());
    }
    let rows: Vec<RowView> = rows.into_iter().map(RowView::from).collect();
    for row in &rows {
        let sum = totals.entry(row.meter.clone()).or_default();
        sum.calls = sum.calls.saturating_add(row.calls);
        sum.units = sum.units.saturating_add(row.units);
        sum.units_refunded = sum.units_refunded.saturating_add(row.units_refunded);
    }
    HistoryView {
        from: asked.query.from.to_string(),
        to: asked.query.to.to_string(),
        step: query::step_word(asked.query.step),
        group_by: asked.group_by,
        rows,
        totals,
    }
}

impl From<HistoryRow> for RowView {
    fn from(row: HistoryRow) -> Self {
        Self {
            at: row.at.to_string(),
            meter: meter_word(row.meter.as_ref()),
            group: row.group,
            calls: row.calls,
            units: row.units,
            units_refunded: row.units_refunded,
        }
    }
}

/// CSV where `Accept` names it, and JSON neither as well nor better; JSON otherwise.
fn accepted(headers: &HeaderMap) -> Format {
    let (mut csv, mut json) = (0.0_f32, 0.0_f32);
    for value in headers.get_all(ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            let quality = quality.map_or(1.0, |quality| quality.parse::<f32>().unwrap_or(0.0));
            match kind.as_str() {
                "text/csv" => csv = quality,
                "application/json" => json = quality,
                _ => {}
            }
        }
    }
    if csv > json { Format::Csv } else { Format::Json }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_is_given_to_those_who_ask_for_it() {
        for (accept, expected) in [
            ("", Format::Json),
            ("*/*", Format::Json),
            ("text/csv", Format::Csv),
            ("TEXT/CSV; header=present", Format::Csv),
            ("text/csv, */*;q=0.1", Format::Csv),
            ("application/json, text/csv", Format::Json),
            ("application/json;q=0.5, text/csv;q=0.9", Format::Csv),
            ("text/csv;q=0", Format::Json),
            ("text/csv;q=x", Format::Json),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_str(accept).expect("a header"));
            assert_eq!(accepted(&headers), expected, "{accept}");
        }
    }
}
