//! `/admin/v1/explain`: why a key is let in or refused, and what became of a request that was kept.
//!
//! A raw key is taken in a body only, is looked up by its hash, and never repeated.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tollgate_config::{RequestLog, Route};
use tollgate_domain::{
    Access, Account, Key, KeyId, KeyShape, NoAccess, NodeId, Reason, Refusal, RequestRow, entitlement,
};
use utoipa::ToSchema;

use super::verdict::{self, Facts, Judgement, ReasonView, RouteVerdict};
use crate::context::{Context, Shared};
use crate::fields::Fields;
use crate::problem::Problem;
use crate::request::{Body, Segment};
use crate::standing::{self, LimitView, MeterView, PeriodView};
use crate::views::{AccountView, KeyView, PlanView};

/// Longest id of a request, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Why, and everything it follows from.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Explanation)]
pub(crate) struct ExplainView {
    subject: SubjectView,
    #[serde(flatten)]
    verdict: Judgement,
    /// Null where nobody has such a key.
    account: Option<AccountView>,
    /// The plan that holds; null where none does.
    plan: Option<PlanView>,
    /// `plan`, `plan_without_api`, `lapsed` or `no_plan`; null where there is no account.
    entitlement: Option<&'static str>,
    /// Null where nobody has such a key.
    key: Option<KeyView>,
    /// How the account stands with each of its limits, this key's own among them.
    limits: Vec<LimitView>,
    /// How it stands with its meters, by name.
    meters: BTreeMap<String, MeterView>,
    /// Which routes are open to the key, of those that ask for one.
    routes: Vec<RouteVerdict>,
    /// The request that was asked about, as it was kept; null where a key was asked about.
    request: Option<RequestView>,
}

/// What was asked about.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplanationSubject)]
struct SubjectView {
    /// `key`, `request` or `raw_key`.
    kind: &'static str,
    /// Its id; null for a raw key.
    id: Option<String>,
}

/// A request as it was kept.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeptRequest)]
struct RequestView {
    id: String,
    /// The run of the gateway that served it.
    node: String,
    at: String,
    method: String,
    /// The path, cut to 256 bytes.
    path: String,
    route: String,
    status: u16,
    duration_ms: f64,
    /// Units charged to the quota.
    units: u64,
    /// The period they were charged in; null where nothing was.
    period: Option<PeriodView>,
    /// Why it was refused, or would have been; null for neither.
    reason: Option<String>,
    /// The same in a sentence.
    detail: Option<&'static str>,
    /// The code that the same call would be refused with now; null where it would be let in, addresses left out.
    code_now: Option<&'static str>,
}

/// Explains a key by its id, or a request by its id.
#[utoipa::path(
    get, path = "/admin/v1/explain/{id}", tag = "usage", operation_id = "operator_explain",
    params(("id" = String, Path, description = "A key's id (key_…), or a request's (`x-request-id`) where requests are kept.")),
    responses((status = 200, body = ExplainView)),
)]
pub(crate) async fn by_id(State(context): State<Context>, Segment(id): Segment) -> Result<Json<ExplainView>, Problem> {
    if let Ok(key) = id.parse::<KeyId>() {
        let key = context.store().key(key).await?.ok_or_else(|| Problem::not_found("There is no such key"))?;
        let subject = SubjectView { kind: "key", id: Some(key.id.to_string()) };
        return Ok(Json(explained(&context, subject, key, None).await?));
    }
    if is_meant_as_key(&context, &id) {
        // It stands in the address by now, and in whatever log keeps that; the answer at least does not repeat it.
        return Err(Problem::not_found(
            "This is a raw key: send it in the body of POST /admin/v1/explain, and rotate it",
        ));
    }
    let fits = id.len() <= REQUEST_ID_BYTES_MAX && !id.chars().any(char::is_control);
    let found = if fits { context.store().request(&id).await? } else { None };
    let Some((node, row)) = found else { return Err(unknown_request(&context)) };
    let Some(key) = context.store().key(row.key).await? else {
        return Err(Problem::internal("a kept request names a key that is not there"));
    };
    let subject = SubjectView { kind: "request", id: Some(row.request.clone()) };
    Ok(Json(explained(&context, subject, key, Some((node, row))).await?))
}

/// A raw key.
#[derive(ToSchema)]
#[schema(as = ExplainRequest, example = json!({ "key": "tg_live_and_the_rest_of_it" }))]
#[expect(dead_code, reason = "it describes what is read")]
pub(crate) struct ExplainSchema {
    /// The key itself; it is looked up by its hash, and neither kept nor repeated.
    key: String,
}

/// Explains a raw key.
#[utoipa::path(
    post, path = "/admin/v1/explain", tag = "usage", operation_id = "operator_explain_key",
    request_body = ExplainSchema,
    responses((status = 200, body = ExplainView)),
)]
pub(crate) async fn by_key(State(context): State<Context>, Body(fields): Body) -> Result<Json<ExplainView>, Problem> {
    let raw = raw_key(fields)?;
    let keys = context.keys();
    let shape = KeyShape::of(raw.as_bytes(), &keys.prefix, &keys.also_accept);
    let subject = SubjectView { kind: "raw_key", id: None };
    let Some(hash) = context.hasher.hash_of_shape(shape, raw.as_bytes()) else {
        return Ok(Json(opens_nothing(&context, subject, Reason::Malformed)));
    };
    match context.store().find_key(&hash).await? {
        Some(found) => Ok(Json(explained(&context, subject, found.key, None).await?)),
        None => Ok(Json(opens_nothing(&context, subject, Reason::Unknown))),
    }
}

fn raw_key(mut fields: Fields) -> Result<String, Problem> {
    let key = fields.required_text("key", |text| Ok(text.trim().to_owned()));
    fields.finish(&["key"], key)
}

fn is_meant_as_key(shared: &Shared, text: &str) -> bool {
    let keys = shared.keys();
    let begins_as_ours = text.strip_prefix(keys.prefix.as_str()).is_some_and(|rest| rest.starts_with('_'));
    begins_as_ours || KeyShape::of(text.as_bytes(), &keys.prefix, &keys.also_accept) != KeyShape::Malformed
}

/// A 404 that says what to switch on, where that is why nothing is known.
fn unknown_request(shared: &Shared) -> Problem {
    let usage = &shared.deps.settings.usage;
    let days = usage.request_log_retention.as_secs() / 86_400;
    Problem::not_found(match usage.request_log {
        RequestLog::Off => "Requests are not kept: set `request_log = \"all\"`, or \"1/100\" for one in a hundred and every refused one, under [usage]; \
             a key is explained by its id (key_…)"
            .to_owned(),
        RequestLog::Sampled(of) => format!(
            "No such request is kept: one in {of} and every refused one are, for {days} days, a second after they end; set `request_log = \"all\"` under [usage] to keep all"
        ),
        RequestLog::All => {
            format!("No such request is kept: they are for {days} days, a second after they end, where they had a known key")
        }
    })
}

/// What a text is told that is no key here.
fn opens_nothing(shared: &Shared, subject: SubjectView, reason: Reason) -> ExplainView {
    let enforced = shared.deps.settings.limits.enforce || reason != Reason::Unknown;
    let verdict = Judgement {
        verdict: if enforced { "refused" } else { "allowed_unenforced" },
        status: Some(shared.invalid_key_status().as_u16()),
        code: Some(Refusal::InvalidKey.code()),
        reasons: vec![ReasonView {
            reason: reason.as_str(),
            detail: verdict::sentence_of_word(reason.as_str()).into(),
        }],
        conditions: Vec::new(),
    };
    ExplainView {
        subject,
        verdict,
        account: None,
        plan: None,
        entitlement: None,
        key: None,
        limits: Vec::new(),
        meters: BTreeMap::new(),
        routes: Vec::new(),
        request: None,
    }
}

async fn explained(
    shared: &Shared,
    subject: SubjectView,
    key: Key,
    request: Option<(NodeId, RequestRow)>,
) -> Result<ExplainView, Problem> {
    let (policy, now) = (shared.policy(), shared.now());
    let account: Account = shared
        .store()
        .account(key.account)
        .await?
        .ok_or_else(|| Problem::internal(format!("the account of {} is not there", key.id)))?;
    let entitlement = entitlement(&account, &policy.plans, now);
    let standing = standing::of_account(shared, &account, Some(&key), &entitlement, now).await?;
    let (limits, meters) = standing.map(|standing| (standing.limits, standing.meters)).unwrap_or_default();
    let facts = Facts {
        key: &key,
        account: &account,
        entitlement: &entitlement,
        limits: &limits,
        plans: &policy.plans,
        invalid_key_status: shared.invalid_key_status().as_u16(),
        is_enforced: shared.deps.settings.limits.enforce,
        now,
    };
    let verdict = verdict::verdict(&facts);
    let routes = verdict::routes(&policy.routes, &facts);
    let request = request.map(|(node, row)| request_view(node, row, &policy.routes, &facts));
    Ok(ExplainView {
        subject,
        verdict,
        account: Some(AccountView::new(&account, &policy.plans, now)),
        plan: entitlement.plan().map(|plan| PlanView::new(plan)),
        entitlement: Some(match &entitlement.access {
            Access::Plan(_) => "plan",
            Access::None(NoAccess::PlanWithoutApi(_)) => "plan_without_api",
            Access::None(NoAccess::Lapsed(_)) => "lapsed",
            Access::None(NoAccess::NoPlan) => "no_plan",
        }),
        key: Some(KeyView::new(&key, now)),
        limits,
        meters,
        routes,
        request,
    })
}

fn request_view(node: NodeId, row: RequestRow, routes: &[Route], facts: &Facts<'_>) -> RequestView {
    let unmatched = Route::unmatched(routes.len());
    let route = routes.iter().find(|route| route.name == row.route).unwrap_or(&unmatched);
    let reads_only = ["GET", "HEAD", "OPTIONS"].contains(&row.method.as_str());
    let code_now = verdict::of_call(route, reads_only, facts).map(|(refusal, _)| refusal.code());
    #[expect(clippy::cast_precision_loss, reason = "a duration of centuries is not shown to the microsecond")]
    let duration_ms = row.duration_us as f64 / 1_000.0;
    RequestView {
        id: row.request,
        node: node.to_string(),
        at: row.at.to_string(),
        method: row.method,
        path: row.path,
        route: row.route.to_string(),
        status: row.status,
        duration_ms,
        units: row.units,
        period: row.period.map(PeriodView::from),
        detail: row.reason.as_deref().map(verdict::sentence_of_word),
        reason: row.reason,
        code_now: code_now.or(facts_code(facts)),
    }
}

/// The code that a spent limit of calls gives.
fn facts_code(facts: &Facts<'_>) -> Option<&'static str> {
    verdict::verdict(facts).code
}
