//! The calls on subscriptions.

use serde_json::Value;

use super::invoice::Line;
use super::subscription::{Status, Subscription};
use super::{new_metadata, payment_method, subscription_settings};
use crate::billing::prorate::{self, Behavior, Change};
use crate::billing::start::{self, New, NewItem, Payment};
use crate::billing::{collect, draft, end, pause};
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::paging;
use crate::http::params::Params;
use crate::state::State;
use crate::state::due::Due;

const KNOWN_TO_CREATE: &[&str] = &[
    "add_invoice_items",
    "application_fee_percent",
    "automatic_tax",
    "backdate_start_date",
    "billing_cycle_anchor",
    "billing_cycle_anchor_config",
    "billing_mode",
    "billing_schedules",
    "billing_thresholds",
    "cancel_at",
    "cancel_at_period_end",
    "collection_method",
    "currency",
    "customer",
    "customer_account",
    "days_until_due",
    "default_payment_method",
    "default_source",
    "default_tax_rates",
    "description",
    "discounts",
    "expand",
    "invoice_settings",
    "items",
    "metadata",
    "off_session",
    "on_behalf_of",
    "payment_behavior",
    "payment_settings",
    "pending_invoice_item_interval",
    "proration_behavior",
    "transfer_data",
    "trial_end",
    "trial_from_plan",
    "trial_period_days",
    "trial_settings",
];

const KNOWN_TO_UPDATE: &[&str] = &[
    "add_invoice_items",
    "application_fee_percent",
    "automatic_tax",
    "billing_cycle_anchor",
    "billing_schedules",
    "billing_thresholds",
    "cancel_at",
    "cancel_at_period_end",
    "cancellation_details",
    "collection_method",
    "days_until_due",
    "default_payment_method",
    "default_source",
    "default_tax_rates",
    "description",
    "discounts",
    "expand",
    "invoice_settings",
    "items",
    "metadata",
    "off_session",
    "on_behalf_of",
    "pause_collection",
    "payment_behavior",
    "payment_settings",
    "pending_invoice_item_interval",
    "proration_behavior",
    "proration_date",
    "transfer_data",
    "trial_end",
    "trial_from_plan",
    "trial_settings",
];

/// What costs money or time and is not played: refused, so that nobody believes it had an effect.
const NOT_PLAYED: &[&str] = &[
    "add_invoice_items",
    "backdate_start_date",
    "billing_cycle_anchor_config",
    "billing_schedules",
    "discounts",
    "default_tax_rates",
];

fn refuse_not_played(params: &Params) -> Result<(), ApiError> {
    if let Some(name) = NOT_PLAYED.iter().find(|name| params.part(name).is_some() || params.value(name).is_some()) {
        return Err(ApiError::not_played(&format!("`{name}` on subscriptions")));
    }
    if params.value("collection_method").is_some_and(|method| method != "charge_automatically") {
        return Err(ApiError::not_played("`collection_method=send_invoice`"));
    }
    Ok(())
}

/// `POST /v1/subscriptions`
pub(crate) fn create(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    call.only(KNOWN_TO_CREATE)?;
    let params = &call.params;
    refuse_not_played(params)?;
    let customer = params.required("customer")?.to_owned();
    state.living_customer(&customer)?;
    if let Some(given) = params.value("default_payment_method") {
        payment_method::use_for(state, &customer, given)?;
    }
    let payment = match params.value("payment_behavior") {
        None | Some("allow_incomplete") => Payment::Allowed,
        Some("error_if_incomplete") => Payment::Required,
        Some("default_incomplete") => Payment::Later,
        Some(other) => {
            return Err(ApiError::invalid(format!("Invalid payment_behavior: {other}"), Some("payment_behavior")));
        }
    };
    let default_payment_method = match params.value("default_payment_method") {
        Some(_) => state.customers.get(&customer).and_then(|customer| customer.payment_method.clone()),
        None => None,
    };
    let new = New {
        items: read_items(params, "items")?,
        trial_end: subscription_settings::read_trial_end(state, params)?,
        anchor: params.integer("billing_cycle_anchor")?.filter(|anchor| *anchor > state.now),
        cancel_at_period_end: params.flag("cancel_at_period_end")?.unwrap_or(false),
        cancel_at: params.integer("cancel_at")?,
        missing_payment_method: subscription_settings::read_missing_payment_method(params)?.unwrap_or_default(),
        default_payment_method,
        description: params.value("description").map(str::to_owned),
        metadata: new_metadata(params, "metadata"),
        payment,
        customer,
    };
    let id = start::start(state, new)?;
    call.show(state, &id)
}

/// The items of a new subscription, here or in a Checkout session.
pub(crate) fn read_items(params: &Params, path: &str) -> Result<Vec<NewItem>, ApiError> {
    let parts = params.parts(path);
    if parts.is_empty() {
        return Err(ApiError::missing(path));
    }
    parts
        .into_iter()
        .map(|part| {
            if part.has("price_data") {
                return Err(ApiError::not_played("`price_data`: make the price first"));
            }
            Ok(NewItem {
                price: part.required("price")?.to_owned(),
                quantity: part.integer("quantity")?,
                metadata: new_metadata(part, "metadata"),
            })
        })
        .collect()
}

/// `GET /v1/subscriptions/{id}`
pub(crate) fn get(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    found(state, id)?;
    call.show(state, id)
}

fn found<'a>(state: &'a State, id: &str) -> Result<&'a Subscription, ApiError> {
    state.subscriptions.get(id).ok_or_else(|| ApiError::no_such("subscription", id, "id"))
}

/// `GET /v1/subscriptions`: without a status, those that are not cancelled.
pub(crate) fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    call.only(&[
        "automatic_tax",
        "collection_method",
        "created",
        "current_period_end",
        "current_period_start",
        "customer",
        "customer_account",
        "ending_before",
        "expand",
        "limit",
        "price",
        "starting_after",
        "status",
        "test_clock",
    ])?;
    let params = &call.params;
    let status = params.value("status");
    let price = params.value("price");
    paging::page(state, &state.subscriptions, call, params.value("customer"), |subscription| {
        let wanted = match status {
            None => subscription.status != Status::Canceled,
            Some("all") => true,
            Some("ended") => subscription.status.is_final(),
            Some(status) => subscription.status.as_str() == status,
        };
        wanted && price.is_none_or(|price| subscription.items.iter().any(|item| item.price == price))
    })
}

/// `POST /v1/subscriptions/{id}`
pub(crate) fn update(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    call.only(KNOWN_TO_UPDATE)?;
    let params = &call.params;
    refuse_not_played(params)?;
    let subscription = found(state, id)?.clone();
    if subscription.status.is_final()
        && params.names().any(|name| !matches!(name, "metadata" | "cancellation_details" | "expand"))
    {
        return Err(ApiError::invalid(
            "A canceled subscription can only update its cancellation_details and metadata.",
            None,
        ));
    }
    let behavior = Behavior::read(params, "proration_behavior")?;
    let change = planned(state, &subscription, params, behavior)?;
    let bills = change
        .as_ref()
        .is_some_and(|change| !change.lines.is_empty() && (change.restarts || behavior == Behavior::AlwaysInvoice));
    match params.value("payment_behavior") {
        Some("error_if_incomplete") if bills && !collect::would_pay(state, &subscription.customer) => {
            return Err(ApiError::declined());
        }
        Some("pending_if_incomplete") => return Err(ApiError::not_played("`payment_behavior=pending_if_incomplete`")),
        _ => {}
    }
    let before = state.snapshot(id);
    subscription_settings::settings(state, id, params)?;
    let ends_trial = params.value("trial_end") == Some("now") && subscription.status == Status::Trialing;
    let invoice = match change {
        Some(change) => apply(state, id, change, bills),
        None => None,
    };
    state.emit_change("customer.subscription.updated", id, before);
    if let Some(invoice) = invoice {
        collect::finalize_and_charge(state, &invoice);
    }
    if ends_trial {
        end_trial(state, id);
    }
    call.show(state, id)
}

/// What the parameters would make of the items, if they are about them.
pub(crate) fn planned(
    state: &mut State,
    subscription: &Subscription,
    params: &Params,
    behavior: Behavior,
) -> Result<Option<Change>, ApiError> {
    let wanted = params.parts("items");
    let anchor_now = params.value("billing_cycle_anchor") == Some("now");
    if wanted.is_empty() && !anchor_now {
        return Ok(None);
    }
    if subscription.status == Status::Paused {
        return Err(ApiError::invalid("A paused subscription cannot be changed: resume it first.", None));
    }
    let at = params.integer("proration_date")?.unwrap_or(state.now);
    let (start, end) = subscription.period();
    if !(start..=end).contains(&at) {
        return Err(ApiError::invalid(
            "Cannot specify proration date outside of current subscription period.",
            Some("proration_date"),
        ));
    }
    prorate::plan(state, subscription, &wanted, behavior, at, anchor_now).map(Some)
}

/// Takes a change over; its lines go to an invoice now or to the next one.
fn apply(state: &mut State, id: &str, change: Change, bills: bool) -> Option<String> {
    for item in &change.items {
        state.agenda.add(item.period_end, Due::Period(id.to_owned()));
    }
    let subscription = state.subscriptions.get_mut(id)?;
    subscription.items = change.items;
    subscription.anchor = change.anchor;
    if subscription.cancel_at_period_end {
        subscription.cancel_at = subscription.last_period_end();
    }
    if !bills {
        subscription.pending.extend(change.lines);
        return None;
    }
    let mut lines: Vec<Line> = std::mem::take(&mut subscription.pending);
    lines.extend(change.lines);
    let now = state.now;
    draft(state, id, "subscription_update", lines, (now, now))
}

/// A trial ends now: its periods do, and what follows is played as if the time had come.
pub(crate) fn end_trial(state: &mut State, id: &str) {
    let now = state.now;
    if let Some(subscription) = state.subscriptions.get_mut(id).filter(|found| found.status == Status::Trialing) {
        subscription.trial_end = Some(now);
        subscription.anchor = now;
        for item in &mut subscription.items {
            item.period_end = now;
        }
    }
    crate::billing::renew::period_ended(state, id);
}

/// `DELETE /v1/subscriptions/{id}`
pub(crate) fn cancel(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    call.only(&["cancellation_details", "expand", "invoice_now", "prorate"])?;
    let subscription = found(state, id)?.clone();
    if subscription.status.is_final() {
        return Err(ApiError::no_such("subscription", id, "id"));
    }
    if call.params.flag("prorate")? == Some(true) {
        let mut lines = Vec::new();
        for item in &subscription.items {
            lines.extend(prorate::credit(state, item));
        }
        if let Some(subscription) = state.subscriptions.get_mut(id) {
            subscription.pending.extend(lines);
        }
    }
    end::end(state, id, "cancellation_requested");
    call.show(state, id)
}

/// `POST /v1/subscriptions/{id}/resume`: without a word about the anchor, a new period begins.
pub(crate) fn resume(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    call.only(&["billing_cycle_anchor", "expand", "payment_behavior", "proration_behavior", "proration_date"])?;
    pause::resume(state, id, call.params.value("billing_cycle_anchor") != Some("unchanged"))?;
    call.show(state, id)
}

/// `POST /v1/subscriptions/{id}/pause`
pub(crate) fn pause(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    pause::pause_if_running(state, id)?;
    call.show(state, id)
}

/// Metadata that changes with every call, for a plain `customer.subscription.updated`.
pub(crate) fn touch(state: &mut State, id: &str) {
    let before = state.snapshot(id);
    if let Some(subscription) = state.subscriptions.get_mut(id) {
        let touched: u64 = subscription.metadata.get("touched").and_then(|text| text.parse().ok()).unwrap_or(0);
        subscription.metadata.insert("touched".to_owned(), (touched + 1).to_string());
    }
    state.emit_change("customer.subscription.updated", id, before);
}
