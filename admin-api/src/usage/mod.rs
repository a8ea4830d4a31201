//! What was used: looked back at by customers and operators, reported after the fact by backends; and why a call is
//! let in or not.
//!
//! Rows come from the store as they are; nothing is added up here but the totals of an answer. What is reported
//! is judged whole before any of it is counted. Whose usage it is, the caller's proof tells, never a parameter.

mod csv;
mod event_rows;
mod event_schema;
mod events;
mod history;
mod meters;
mod query;
mod reporter;

use axum::Extension;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::context::Context;
use crate::idempotency;
use crate::operator::{credit, explain, usage};
use reporter::Reporter;

pub(crate) use history::{HistoryView, answer};
pub(crate) use meters::{KnownMeters, meter_word};

/// Largest body of a report, and of an operator's call, in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// `/v1/usage`.
pub(crate) fn router() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(history::show, events::report))
        .route_layer(from_fn(of_reporter))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

/// What operators see and correct of what was used.
pub(crate) fn operator_router() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(usage::history))
        .routes(routes!(usage::lines))
        .routes(routes!(usage::export))
        .routes(routes!(credit::give))
        .routes(routes!(explain::by_id))
        .routes(routes!(explain::by_key))
        .route_layer(from_fn(idempotency::of_operator))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

/// Does a report with an `Idempotency-Key` at most once; the keys are those of whoever reports.
async fn of_reporter(Extension(context): Extension<Context>, request: Request, next: Next) -> Response {
    if !idempotency::asks(&request) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    match Reporter::from_request_parts(&mut parts, &context).await {
        Ok(reporter) => {
            let scope = reporter.scope();
            idempotency::answer_once(&context, &scope, Request::from_parts(parts, body), next).await
        }
        Err(problem) => problem.into_response(),
    }
}
