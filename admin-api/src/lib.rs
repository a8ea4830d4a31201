//! The control plane: the operator API, and the customer's own side.
//!
//! [`router`] makes one axum router of it for whoever owns a listener, and [`openapi`] tells what it serves: both are
//! made of one table of routes, so that neither has what the other lacks. It decides nothing about calls to the
//! customer's API, keeps no state of its own, and knows no gateway: what it changes, it changes in the store, and
//! it tells the [`tollgate_store::ChangeSink`] before it answers.

mod billing;
mod context;
mod customer;
mod envelope;
mod fields;
mod html;
mod idempotency;
mod import_rows;
mod inputs;
mod key_fields;
mod key_request;
mod keys;
mod mail;
mod nodes;
mod notices;
mod openapi;
mod operator;
mod page;
mod problem;
mod request;
mod standing;
mod strict_json;
mod token;
mod usage;
mod views;

use axum::middleware::{from_fn, from_fn_with_state};
use axum::{Extension, Router};
use utoipa_axum::router::OpenApiRouter;

pub use billing::LimiterUse;
pub use context::{AdminDeps, NodeFacts, public_base};
pub use mail::{LogMailer, MailError, Mailer, SmtpMailer};
pub use nodes::{NodeRecord, Nodes, NodesUnavailable};
pub use notices::{Background, BackgroundDeps, BackgroundStats, WebhookFailed, WebhookPost};
pub use problem::ProblemCode;
pub use token::{InvalidToken, OperatorToken, TokenFileError, load_or_create_token};

/// Everything the control plane serves: `/admin/v1/*` with the operator's token, `/v1/*` by the customer's own proof or
/// openly, `/stripe/webhook` by Stripe's signature, `/login` and the pages that Stripe's lead back to, `/openapi.json`.
pub fn router(deps: AdminDeps) -> Router {
    let context = context::Shared::new(deps);
    let (routes, _) = described();
    routes
        .fallback(request::unknown_path)
        .method_not_allowed_fallback(request::unknown_method)
        .layer(from_fn_with_state(context.clone(), operator::authenticate))
        .layer(Extension(context.clone()))
        .layer(from_fn(envelope::run_to_the_end))
        .layer(from_fn(envelope::finish))
        .with_state(context)
}

/// What [`router`] serves, as an `OpenAPI` 3.1 document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    described().1
}

fn described() -> (Router<context::Context>, utoipa::openapi::OpenApi) {
    let (routes, document) = OpenApiRouter::with_openapi(openapi::frame())
        .merge(customer::router())
        .merge(billing::router())
        .merge(usage::router())
        .merge(operator::router())
        .merge(usage::operator_router())
        .merge(openapi::router())
        .split_for_parts();
    (routes, openapi::completed(document))
}
