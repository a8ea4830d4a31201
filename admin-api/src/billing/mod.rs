//! What customers and Stripe have to do with payment: `/v1/billing/*` for whoever has signed in, `/stripe/webhook`, and the
//! pages that Stripe's lead back to.
//!
//! Stripe itself is asked by [`tollgate_billing`]; here its answers and refusals become answers of this API. Which plan
//! follows from a subscription is the domain's.

mod actions;
mod limiter_use;
mod pages;
mod show;
mod webhook;
pub(crate) mod words;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use tollgate_billing::{BODY_BYTES_MAX, Billing};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use limiter_use::LimiterUse;

use crate::context::{Context, Shared};
use crate::idempotency;
use crate::problem::Problem;

/// Largest body of a customer's call, in bytes.
const CALL_BYTES_MAX: usize = 64 * 1024;

/// Everything under `/v1/billing`, and Stripe's way in. To see, to manage and to end what is paid for is open to banned
/// accounts too.
pub(crate) fn router() -> OpenApiRouter<Context> {
    let own = OpenApiRouter::new()
        .routes(routes!(show::show))
        .routes(routes!(actions::checkout))
        .routes(routes!(actions::portal))
        .routes(routes!(actions::cancel))
        .routes(routes!(actions::reactivate))
        .routes(routes!(actions::change))
        .routes(routes!(actions::preview))
        .route_layer(from_fn(idempotency::of_payer))
        .layer(DefaultBodyLimit::max(CALL_BYTES_MAX));
    let stripes = OpenApiRouter::new().routes(routes!(webhook::take)).layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    let pages = OpenApiRouter::new().routes(routes!(pages::account)).routes(routes!(pages::pricing));
    OpenApiRouter::new().merge(own).merge(stripes).merge(pages)
}

/// What speaks to Stripe.
///
/// # Errors
/// The settings name no Stripe.
pub(crate) fn stripe_of(shared: &Shared) -> Result<&Arc<Billing>, Problem> {
    shared.deps.billing.as_ref().ok_or_else(|| {
        Problem::not_found(
            "Nothing is sold here: this deployment has no [billing.stripe]; the operator adds it, and `tollgate stripe setup` makes what Stripe needs",
        )
    })
}
