//! What a person or a script reaches over HTTP beside the API: Checkout, the portal, the dashboard, the controls.

pub(crate) mod checkout;
pub(crate) mod control;
pub(crate) mod control_bodies;
pub(crate) mod dashboard;
pub(crate) mod html;
pub(crate) mod portal;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::fake::Shared;

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/c/pay/{session}", get(checkout::show).post(checkout::act))
        .route("/p/session/{token}", get(portal::show).post(portal::act))
        .route("/_fake", get(dashboard::show))
        .route("/_fake/", get(dashboard::show).post(dashboard::act))
        .route("/_fake/state", get(control::state))
        .route("/_fake/clock", get(control::clock).post(control::move_clock))
        .route("/_fake/prices", post(control::make_price))
        .route("/_fake/seed", post(control::seed))
        .route("/_fake/customers/{id}/card", post(control::card))
        .route("/_fake/subscriptions/{id}/act", post(control::act))
        .route("/_fake/checkout/{id}", post(control::checkout))
        .route("/_fake/checkout/{id}/async", post(control::async_payment))
        .route("/_fake/endpoints", post(control::add_endpoint))
        .route("/_fake/endpoints/{id}/roll", post(control::roll))
        .route("/_fake/delivery", post(control::delivery))
        .route("/_fake/shape", post(control::shape))
        .route("/_fake/events/take", post(control::take_events))
        .route("/_fake/events/{id}/redeliver", post(control::redeliver))
        .route("/_fake/events/{id}/delivered", post(control::delivered))
        .route("/_fake/emit", post(control::emit))
        .route("/_fake/faults", post(control::inject).delete(control::clear_faults))
        .route("/_fake/requests", get(control::requests).delete(control::clear_requests))
        .route("/_fake/meter_events", get(control::meter_events))
        .route("/_fake/objects/{id}", get(control::object))
}
