//! `GET /v1/plans`: what can be had, for everybody.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use serde_json::json;

use crate::context::Context;
use crate::inputs::account_plans;
use crate::views::PlanView;

/// Every plan that accounts may be on, by rank and name. Caches may keep it for a minute: it changes with the
/// configuration file only.
pub(super) async fn list(State(context): State<Context>) -> Response {
    let policy = context.policy();
    let plans: Vec<_> = account_plans(&policy.plans).into_iter().map(PlanView::new).collect();
    ([(CACHE_CONTROL, "public, max-age=60")], Json(json!({ "plans": plans }))).into_response()
}
