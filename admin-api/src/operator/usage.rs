//! What was used, for operators: any account's history, the ledger's own lines, and everything for export.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Serialize;
use tollgate_domain::{AccountId, DAY_US, Timestamp};
use tollgate_store::{ExportRow, LedgerLine};
use utoipa::ToSchema;

use super::account_named;
use crate::context::{Context, Shared};
use crate::fields::shown;
use crate::inputs;
use crate::page::PageView;
use crate::problem::Problem;
use crate::request::{Parameters, Segment};
use crate::standing::PeriodView;
use crate::usage::{self, HistoryView};

/// Rows of a page if the caller names no number.
const PAGE_DEFAULT: u32 = 1_000;
/// Rows a page may have.
const PAGE_MAX: u32 = 10_000;
/// How far back is shown if the caller names no beginning.
const USUAL_DAYS: i64 = 30;

/// An hour of one account's use, by meter, key, route and status class.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExportRow)]
pub(crate) struct ExportView {
    account: String,
    /// The hour's beginning.
    hour: String,
    /// `calls`, or a meter's name.
    meter: String,
    /// Null for what no key did.
    key: Option<String>,
    /// Null for what no route did.
    route: Option<String>,
    /// `1xx` to `5xx`; null for what has none.
    status: Option<String>,
    /// Calls, or of a meter the calls and events that counted it.
    calls: u64,
    units_charged: u64,
    units_refunded: u64,
}

/// One line of the ledger.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LedgerLine)]
pub(crate) struct LineView {
    /// Its number, rising with time.
    line: i64,
    /// Not before its last call.
    at: String,
    /// `calls`, or a meter's name.
    meter: String,
    /// Null for what no key did.
    key: Option<String>,
    /// Null for what no route did.
    route: Option<String>,
    /// Calls, or of a meter the calls and events that counted it.
    calls: u64,
    /// Units taken from bucket and windows.
    units_debited: u64,
    /// Units charged, less those given back.
    units: i64,
    /// The period they are charged in.
    period: PeriodView,
}

/// An account's history, as its customer sees it at `/v1/usage`.
#[utoipa::path(
    get, path = "/admin/v1/accounts/{account}/usage", tag = "usage", operation_id = "operator_show_usage",
    params(
        ("account" = String, Path, description = "The account's id or e-mail; of one that was deleted, its id."),
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
    ),
)]
pub(crate) async fn history(
    State(context): State<Context>,
    Segment(account): Segment,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let account = with_past(&context, &account).await?;
    usage::answer(&context, account, &headers, parameters).await
}

/// Everything that was charged, hour by hour, of one account or of all.
#[utoipa::path(
    get, path = "/admin/v1/usage/export", tag = "usage", operation_id = "operator_export_usage",
    params(
        ("account" = Option<String>, Query, description = "Only of this account, by its id or e-mail."),
        ("from" = Option<String>, Query, description = "From, inclusive; 30 days before `to` if left out."),
        ("to" = Option<String>, Query, description = "To, exclusive; now if left out."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
        ("limit" = Option<u32>, Query, description = "Rows of a page; 1000 if left out.", minimum = 1, maximum = 10000),
    ),
    responses((status = 200, body = PageView<ExportView>), (status = 404, body = Problem)),
)]
pub(crate) async fn export(
    State(context): State<Context>,
    mut query: Parameters,
) -> Result<Json<PageView<ExportView>>, Problem> {
    let limit = page_limit(&mut query);
    let after = query.take("cursor", |text| {
        let unknown = || "this is not a `next_cursor` of this list".to_owned();
        ExportRow::is_place(text).then(|| text.to_owned()).ok_or_else(unknown)
    });
    let account = query.take("account", |text| Ok(text.to_owned()));
    let (from, to) = stretch(&mut query, context.now());
    query.finish()?;
    let account = match account {
        None => None,
        Some(reference) => Some(with_past(&context, &reference).await?),
    };
    let mut rows = context.store().export(account, from, to, after.as_deref(), limit + 1).await?;
    let has_more = cut(&mut rows, limit);
    let next = rows.last().filter(|_| has_more).map(|row| row.place.clone());
    Ok(Json(PageView::new(rows.into_iter().map(ExportView::from).collect(), next)))
}

/// The ledger's lines of an account: what it used as finely as that is known.
#[utoipa::path(
    get, path = "/admin/v1/accounts/{account}/lines", tag = "usage", operation_id = "operator_list_lines",
    params(
        ("account" = String, Path, description = "The account's id or e-mail; of one that was deleted, its id."),
        ("from" = Option<String>, Query, description = "From, inclusive; 30 days before `to` if left out."),
        ("to" = Option<String>, Query, description = "To, exclusive; now if left out."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
        ("limit" = Option<u32>, Query, description = "Rows of a page; 1000 if left out.", minimum = 1, maximum = 10000),
    ),
    responses((status = 200, body = PageView<LineView>)),
)]
pub(crate) async fn lines(
    State(context): State<Context>,
    Segment(account): Segment,
    mut query: Parameters,
) -> Result<Json<PageView<LineView>>, Problem> {
    let limit = page_limit(&mut query);
    let after = query.cursor::<i64>();
    let (from, to) = stretch(&mut query, context.now());
    query.finish()?;
    let account = with_past(&context, &account).await?;
    let mut lines = context.store().lines(account, from, to, after, limit + 1).await?;
    let has_more = cut(&mut lines, limit);
    let next = lines.last().filter(|_| has_more).map(|line| line.place.to_string());
    Ok(Json(PageView::new(lines.into_iter().map(LineView::from).collect(), next)))
}

/// The account that an id or an e-mail names. One that was deleted has a past, and is named by its id.
async fn with_past(shared: &Shared, reference: &str) -> Result<AccountId, Problem> {
    if let Ok(id) = reference.trim().parse::<AccountId>()
        && let Some(account) = shared.store().account(id).await?
    {
        return Ok(account.id);
    }
    Ok(account_named(shared, reference).await?.id)
}

fn page_limit(query: &mut Parameters) -> u32 {
    let read = |text: &str| {
        text.parse::<u32>()
            .ok()
            .filter(|limit| (1..=PAGE_MAX).contains(limit))
            .ok_or_else(|| format!("`{}` is not a number from 1 to {PAGE_MAX}", shown(text)))
    };
    query.take("limit", read).unwrap_or(PAGE_DEFAULT)
}

/// From and to; the last 30 days unless named.
fn stretch(query: &mut Parameters, now: Timestamp) -> (Timestamp, Timestamp) {
    // What was counted at this very instant is among what is shown.
    let to = query.take("to", inputs::instant).unwrap_or(now + 1);
    let from = query.take("from", inputs::instant).unwrap_or(to + -USUAL_DAYS * DAY_US);
    if from >= to {
        query.refuse(
            "from",
            format!("{from} does not lie before {to}: `from` lies before `to`, which is now if left out"),
        );
    }
    (from, to)
}

/// Cuts a page to its length; whether there was more than that.
fn cut<T>(rows: &mut Vec<T>, limit: u32) -> bool {
    let length = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = rows.len() > length;
    rows.truncate(length);
    has_more
}

impl From<ExportRow> for ExportView {
    fn from(row: ExportRow) -> Self {
        let named = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            account: row.account.to_string(),
            hour: row.hour.to_string(),
            meter: usage::meter_word(row.meter.as_ref()),
            key: row.key.map(|key| key.to_string()),
            route: named(row.route),
            status: named(row.status),
            calls: row.calls,
            units_charged: row.units_charged,
            units_refunded: row.units_refunded,
        }
    }
}

impl From<LedgerLine> for LineView {
    fn from(line: LedgerLine) -> Self {
        Self {
            line: line.place,
            at: line.at.to_string(),
            meter: usage::meter_word(line.meter.as_ref()),
            key: line.key.map(|key| key.to_string()),
            route: line.route.filter(|route| !route.is_empty()),
            calls: line.calls,
            units_debited: line.units_debited,
            units: line.units,
            period: line.period.into(),
        }
    }
}
