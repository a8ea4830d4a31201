//! Which call is which: method and path to the function that plays it.

use serde_json::Value;

use super::call::Call;
use super::error::ApiError;
use super::expand::expand;
use crate::objects::invoice::InvoiceStatus;
use crate::objects::{
    account, charge, checkout_calls, customer, dispute, event, invoice_calls, meter, payment_method, portal, price,
    product, refund, subscription_calls as subscription, webhook_endpoint,
};
use crate::state::State;

/// Plays a call and expands its answer.
pub(crate) fn dispatch(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    let path = call.path.trim_matches('/');
    let Some(path) = path.strip_prefix("v1/") else { return Err(ApiError::unrecognized(&call.method, &call.path)) };
    let segments: Vec<&str> = path.split('/').collect();
    let mut answer = match segments.first() {
        Some(&("customers" | "payment_methods" | "products" | "prices" | "webhook_endpoints")) => {
            basics(state, call, &segments)
        }
        Some(&("charges" | "refunds" | "disputes" | "payment_intents")) => money(state, call, &segments),
        Some(&("subscriptions" | "invoices" | "invoice_payments")) => billing(state, call, &segments),
        _ => others(state, call, &segments),
    }?;
    expand(state, &mut answer, &call.params.texts("expand"), call.shape)?;
    Ok(answer)
}

fn basics(state: &mut State, call: &Call, segments: &[&str]) -> Result<Value, ApiError> {
    match (call.method.as_str(), segments) {
        ("POST", ["customers"]) => customer::create(state, call),
        ("GET", ["customers"]) => customer::list(state, call),
        ("GET", ["customers", id]) => customer::get(state, call, id),
        ("POST", ["customers", id]) => customer::update(state, call, id),
        ("DELETE", ["customers", id]) => customer::delete(state, id),
        ("GET", ["payment_methods"]) => payment_method::list(state, call),
        ("GET", ["payment_methods", id]) => payment_method::get(state, call, id),
        ("POST", ["payment_methods", id, "attach"]) => payment_method::attach(state, call, id),
        ("POST", ["products"]) => product::create(state, call),
        ("GET", ["products"]) => product::list(state, call),
        ("GET", ["products", id]) => product::get(state, call, id),
        ("POST", ["products", id]) => product::update(state, call, id),
        ("POST", ["prices"]) => price::create(state, call),
        ("GET", ["prices"]) => price::list(state, call),
        ("GET", ["prices", id]) => price::get(state, call, id),
        ("POST", ["prices", id]) => price::update(state, call, id),
        ("POST", ["webhook_endpoints"]) => webhook_endpoint::create(state, call),
        ("GET", ["webhook_endpoints"]) => webhook_endpoint::list(state, call),
        ("GET", ["webhook_endpoints", id]) => webhook_endpoint::get(state, call, id),
        ("POST", ["webhook_endpoints", id]) => webhook_endpoint::update(state, call, id),
        ("DELETE", ["webhook_endpoints", id]) => webhook_endpoint::delete(state, id),
        _ => Err(ApiError::unrecognized(&call.method, &call.path)),
    }
}

fn money(state: &mut State, call: &Call, segments: &[&str]) -> Result<Value, ApiError> {
    match (call.method.as_str(), segments) {
        ("GET", ["charges"]) => charge::list(state, call),
        ("GET", ["charges", id]) => charge::get(state, call, id),
        ("GET", ["charges", id, "refunds"]) => refund::list(state, call, Some(id)),
        ("GET", ["payment_intents", id]) => charge::get_intent(state, id),
        ("POST", ["refunds"]) => refund::create(state, call),
        ("GET", ["refunds"]) => refund::list(state, call, None),
        ("GET", ["refunds", id]) => refund::get(state, call, id),
        ("GET", ["disputes"]) => dispute::list(state, call),
        ("GET", ["disputes", id]) => dispute::get(state, call, id),
        ("POST", ["disputes", id]) => dispute::update(state, call, id),
        ("POST", ["disputes", id, "close"]) => dispute::close(state, call, id),
        _ => Err(ApiError::unrecognized(&call.method, &call.path)),
    }
}

fn billing(state: &mut State, call: &Call, segments: &[&str]) -> Result<Value, ApiError> {
    match (call.method.as_str(), segments) {
        ("POST", ["subscriptions"]) => subscription::create(state, call),
        ("GET", ["subscriptions"]) => subscription::list(state, call),
        ("GET", ["subscriptions", id]) => subscription::get(state, call, id),
        ("POST", ["subscriptions", id]) => subscription::update(state, call, id),
        ("DELETE", ["subscriptions", id]) => subscription::cancel(state, call, id),
        ("POST", ["subscriptions", id, "resume"]) => subscription::resume(state, call, id),
        ("POST", ["subscriptions", id, "pause"]) => subscription::pause(state, call, id),
        ("GET", ["invoices"]) => invoice_calls::list(state, call),
        ("POST", ["invoices", "create_preview"]) => invoice_calls::preview(state, call),
        ("GET", ["invoices", id]) => invoice_calls::get(state, call, id),
        ("POST", ["invoices", id, "finalize"]) => invoice_calls::finalize(state, call, id),
        ("POST", ["invoices", id, "pay"]) => invoice_calls::pay(state, call, id),
        ("POST", ["invoices", id, "void"]) => invoice_calls::close(state, call, id, InvoiceStatus::Void),
        ("POST", ["invoices", id, "mark_uncollectible"]) => {
            invoice_calls::close(state, call, id, InvoiceStatus::Uncollectible)
        }
        ("GET", ["invoice_payments"]) => invoice_calls::payments(state, call),
        _ => Err(ApiError::unrecognized(&call.method, &call.path)),
    }
}

fn others(state: &mut State, call: &Call, segments: &[&str]) -> Result<Value, ApiError> {
    match (call.method.as_str(), segments) {
        ("GET", ["account"]) => Ok(account::get(state)),
        ("POST", ["checkout", "sessions"]) => checkout_calls::create(state, call),
        ("GET", ["checkout", "sessions"]) => checkout_calls::list(state, call),
        ("GET", ["checkout", "sessions", id]) => checkout_calls::get(state, call, id),
        ("GET", ["checkout", "sessions", id, "line_items"]) => checkout_calls::line_items(state, call, id),
        ("POST", ["checkout", "sessions", id, "expire"]) => checkout_calls::expire(state, call, id),
        ("POST", ["billing_portal", "sessions"]) => portal::create(state, call),
        ("GET", ["billing_portal", "configurations"]) => Ok(portal::configurations(state, call)),
        ("GET", ["events"]) => event::list(state, call),
        ("GET", ["events", id]) => event::get(state, call, id),
        ("POST", ["billing", "meters"]) => meter::create(state, call),
        ("GET", ["billing", "meters"]) => meter::list(state, call),
        ("GET", ["billing", "meters", id]) => meter::get(state, call, id),
        ("POST", ["billing", "meters", id, "deactivate"]) => meter::set_active(state, call, id, false),
        ("POST", ["billing", "meters", id, "reactivate"]) => meter::set_active(state, call, id, true),
        ("GET", ["billing", "meters", id, "event_summaries"]) => meter::summaries(state, call, id),
        ("POST", ["billing", "meter_events"]) => meter::report(state, call),
        _ => Err(ApiError::unrecognized(&call.method, &call.path)),
    }
}
