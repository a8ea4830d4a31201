//! The customer's own side, `/v1/*`: plans for everybody; account, quota and keys for whoever has proven who it is; how
//! somebody signs in.
//!
//! What was used, told and reported stands in `crate::usage`. Nothing a proxy before us may have said about the caller
//! is believed, and nobody sees what is another account's: to them it is not there.

mod caller;
mod cookies;
mod credential;
mod keys;
mod links;
mod login;
mod me;
mod plans;
mod proofs;
mod sender;
mod session;

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use caller::{CSRF_HEADER, Caller, Payer, Proof, SignedIn};
pub(crate) use cookies::mounted_at;
pub(crate) use sender::LinkBounds;

use crate::context::Context;
use crate::idempotency;

/// Largest body of a customer's call, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Everything under `/v1` but use, and the page that a mailed link opens.
pub(crate) fn router() -> OpenApiRouter<Context> {
    let own = OpenApiRouter::new()
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::show, keys::change, keys::revoke))
        .routes(routes!(keys::rotate))
        .route_layer(from_fn(idempotency::of_account));
    OpenApiRouter::new()
        .routes(routes!(plans::list))
        .routes(routes!(me::me, me::change))
        .routes(routes!(me::quota))
        .routes(routes!(links::send))
        .routes(routes!(session::show, session::sign_in, session::end))
        .routes(routes!(login::page, login::sign_in))
        .merge(own)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}
