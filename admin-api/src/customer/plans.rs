//! `GET /v1/plans`: what can be had, for everybody.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::inputs::account_plans;
use crate::views::PlanView;

/// What can be had.
#[derive(Serialize, ToSchema)]
#[schema(as = Plans)]
struct PlansView {
    plans: Vec<PlanView>,
}

/// Every plan that accounts may be on, by rank and name. Caches may keep it for a minute: it changes with the
/// configuration file only.
#[utoipa::path(
    get, path = "/v1/plans", tag = "account", operation_id = "list_plans",
    responses((status = 200, body = PlansView)),
)]
pub(super) async fn list(State(context): State<Context>) -> Response {
    let policy = context.policy();
    let plans = account_plans(&policy.plans).into_iter().map(PlanView::new).collect();
    ([(CACHE_CONTROL, "public, max-age=60")], Json(PlansView { plans })).into_response()
}
