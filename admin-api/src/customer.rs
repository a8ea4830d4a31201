//! The customer's own view, `/v1/*`: plans for everybody, account and quota for whoever holds a key.
//!
//! Nothing a proxy before us may have said about the caller is believed: the key alone tells whose data is shown.

mod credential;
mod me;
mod plans;

use axum::Router;
use axum::routing::get;

use crate::context::Context;

/// Everything under `/v1`.
pub(crate) fn router() -> Router<Context> {
    Router::new().route("/v1/plans", get(plans::list)).route("/v1/me", get(me::me)).route("/v1/quota", get(me::quota))
}
