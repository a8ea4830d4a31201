//! The control plane: the operator API, and the customer's own view by key.
//!
//! [`router`] makes one axum router of it for whoever owns a listener. It decides nothing about calls to the
//! customer's API, keeps no state of its own, and knows no gateway: what it changes, it changes in the store, and
//! it tells the [`tollgate_store::ChangeSink`] before it answers.

mod context;
mod customer;
mod envelope;
mod fields;
mod import_rows;
mod inputs;
mod key_request;
mod nodes;
mod operator;
mod page;
mod problem;
mod request;
mod standing;
mod strict_json;
mod token;
mod views;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};

pub use context::{AdminDeps, NodeFacts};
pub use nodes::{NodeRecord, Nodes, NodesUnavailable};
pub use problem::ProblemCode;
pub use token::{InvalidToken, OperatorToken, TokenFileError, load_or_create_token};

/// Everything the control plane serves: `/admin/v1/*` with the operator's token, `/v1/*` by key or openly.
pub fn router(deps: AdminDeps) -> Router {
    let context = context::Shared::new(deps);
    Router::new()
        .nest("/admin", operator::router(&context))
        .merge(customer::router())
        .fallback(request::unknown_path)
        .method_not_allowed_fallback(request::unknown_method)
        .layer(from_fn_with_state(context.clone(), operator::authenticate))
        .layer(from_fn(envelope::run_to_the_end))
        .layer(from_fn(envelope::finish))
        .with_state(context)
}
