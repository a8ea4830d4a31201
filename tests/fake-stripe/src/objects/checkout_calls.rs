//! The calls on Checkout sessions.

use serde_json::Value;

use super::checkout::{Session, SessionStatus, render_line_items};
use super::checkout_outcomes::{close, open};
use super::{new_metadata, subscription_calls, subscription_settings};
use crate::billing::start;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::paging;
use crate::state::State;
use crate::state::clock::{DAY, MINUTE};
use crate::state::due::Due;

const KNOWN: &[&str] = &[
    "adaptive_pricing",
    "after_expiration",
    "allow_promotion_codes",
    "allowed_payment_method_types",
    "automatic_tax",
    "billing_address_collection",
    "branding_settings",
    "cancel_url",
    "client_reference_id",
    "consent_collection",
    "currency",
    "custom_fields",
    "custom_text",
    "customer",
    "customer_account",
    "customer_email",
    "customer_update",
    "discounts",
    "excluded_payment_method_types",
    "expand",
    "expires_at",
    "integration_identifier",
    "line_items",
    "locale",
    "managed_payments",
    "metadata",
    "mode",
    "name_collection",
    "origin_context",
    "payment_method_collection",
    "payment_method_configuration",
    "payment_method_data",
    "payment_method_options",
    "payment_method_types",
    "permissions",
    "phone_number_collection",
    "redirect_on_completion",
    "return_url",
    "saved_payment_method_options",
    "shipping_address_collection",
    "submit_type",
    "subscription_data",
    "success_url",
    "tax_id_collection",
    "ui_mode",
    "wallet_options",
];

/// `POST /v1/checkout/sessions`
pub(crate) fn create(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    call.only(KNOWN)?;
    let params = &call.params;
    if params.required("mode")? != "subscription" {
        return Err(ApiError::not_played("Checkout in another mode than `subscription`"));
    }
    if params.value("ui_mode").is_some_and(|mode| !matches!(mode, "hosted" | "hosted_page")) {
        return Err(ApiError::not_played("Checkout embedded in a page"));
    }
    let success_url = params.required("success_url")?.to_owned();
    if params.value("customer").is_some() && params.value("customer_email").is_some() {
        return Err(ApiError::invalid(
            "You may only specify one of these parameters: customer, customer_email.",
            Some("customer"),
        )
        .with_code("parameters_exclusive"));
    }
    if let Some(customer) = params.value("customer") {
        state.living_customer(customer)?;
    }
    let (items, currency) = read_line_items(state, call)?;
    let subscription_data = params.part("subscription_data").cloned().unwrap_or_default();
    let expires_at = params.integer("expires_at")?.unwrap_or(state.now + DAY);
    if expires_at < state.now + 30 * MINUTE || expires_at > state.now + DAY {
        return Err(ApiError::invalid(
            "The `expires_at` timestamp must be at least 30 minutes and at most 24 hours from Checkout Session creation.",
            Some("expires_at"),
        ));
    }
    let id = state.new_id(if state.config.livemode { "cs_live" } else { "cs_test" });
    state.sessions.insert(Session {
        id: id.clone(),
        created: state.now,
        expires_at,
        status: SessionStatus::Open,
        payment_status: "unpaid",
        customer: params.value("customer").map(str::to_owned),
        customer_email: params.value("customer_email").map(str::to_owned),
        client_reference_id: params.value("client_reference_id").map(str::to_owned),
        success_url,
        cancel_url: params.value("cancel_url").map(str::to_owned),
        items,
        currency,
        trial_days: subscription_data.integer("trial_period_days")?.filter(|days| *days > 0),
        trial_end: subscription_data.integer("trial_end")?,
        missing_payment_method: subscription_settings::read_missing_payment_method(&subscription_data)?
            .unwrap_or_default(),
        collects_card: params.value("payment_method_collection") != Some("if_required"),
        description: subscription_data.value("description").map(str::to_owned),
        subscription_metadata: new_metadata(&subscription_data, "metadata"),
        metadata: new_metadata(params, "metadata"),
        subscription: None,
        invoice: None,
    });
    state.agenda.add(expires_at, Due::SessionExpires(id.clone()));
    call.show(state, &id)
}

fn read_line_items(state: &State, call: &Call) -> Result<(Vec<(String, i64)>, String), ApiError> {
    let mut items = Vec::new();
    let mut currency = String::new();
    for item in subscription_calls::read_items(&call.params, "line_items")? {
        let (price, _) = start::usable(state, &item.price)?;
        match item.quantity {
            Some(_) if price.meter().is_some() => {
                return Err(ApiError::invalid(
                    "Quantity should not be specified where usage_type is `metered`.",
                    Some("line_items[0][quantity]"),
                ));
            }
            None if price.meter().is_none() => return Err(ApiError::missing("line_items[0][quantity]")),
            _ => {}
        }
        price.currency.clone_into(&mut currency);
        items.push((item.price, item.quantity.unwrap_or(1)));
    }
    Ok((items, currency))
}

pub(crate) fn found<'a>(state: &'a State, id: &str) -> Result<&'a Session, ApiError> {
    state.sessions.get(id).ok_or_else(|| ApiError::no_such("checkout.session", id, "id"))
}

/// `GET /v1/checkout/sessions/{id}`
pub(crate) fn get(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    found(state, id)?;
    call.show(state, id)
}

/// `GET /v1/checkout/sessions/{id}/line_items`
pub(crate) fn line_items(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    Ok(render_line_items(found(state, id)?, state, call.shape))
}

/// `GET /v1/checkout/sessions`
pub(crate) fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    let params = &call.params;
    let (customer, subscription, status) =
        (params.value("customer"), params.value("subscription"), params.value("status"));
    paging::page(state, &state.sessions, call, None, |session| {
        customer.is_none_or(|customer| session.customer.as_deref() == Some(customer))
            && subscription.is_none_or(|subscription| session.subscription.as_deref() == Some(subscription))
            && status.is_none_or(|status| session.status.as_str() == status)
    })
}

/// `POST /v1/checkout/sessions/{id}/expire`
pub(crate) fn expire(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    open(state, id)?;
    close(state, id);
    call.show(state, id)
}
