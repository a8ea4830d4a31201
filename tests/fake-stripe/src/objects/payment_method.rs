//! Cards: what the next charge of a customer meets.
//!
//! A customer has one card at a time; a new one takes the old one's place, also on its subscriptions.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::paging;
use crate::state::table::Row;
use crate::state::{Shape, State};

/// What charging a customer meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Card {
    /// Every charge succeeds.
    #[default]
    Good,
    /// Every charge is declined.
    Declines,
    /// So many charges are declined, those after them succeed.
    DeclinesNext(u32),
    /// There is no card.
    None,
}

#[derive(Debug)]
pub(crate) struct PaymentMethod {
    id: String,
    created: i64,
    customer: Option<String>,
    card: Card,
}

impl Row for PaymentMethod {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn customer(&self) -> Option<&str> {
        self.customer.as_deref()
    }

    fn render(&self, state: &State, _shape: Shape) -> Value {
        let email =
            self.customer.as_deref().and_then(|id| state.customers.get(id)).and_then(|found| found.email.clone());
        json!({
            "id": self.id,
            "object": "payment_method",
            "allow_redisplay": "always",
            "billing_details": { "address": null, "email": email, "name": null, "phone": null, "tax_id": null },
            "card": {
                "brand": "visa",
                "checks": { "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass" },
                "country": "US",
                "display_brand": "visa",
                "exp_month": 12,
                "exp_year": 2040,
                "fingerprint": "fakefakefakefake",
                "funding": "credit",
                "generated_from": null,
                "last4": if matches!(self.card, Card::Declines) { "0341" } else { "4242" },
                "networks": { "available": ["visa"], "preferred": null },
                "three_d_secure_usage": { "supported": true },
                "wallet": null,
            },
            "created": self.created,
            "customer": self.customer,
            "customer_account": null,
            "livemode": state.config.livemode,
            "metadata": {},
            "type": "card",
        })
    }
}

/// Gives a customer this card in place of any other.
pub(crate) fn set_card(state: &mut State, customer: &str, card: Card) {
    let before = state.snapshot(customer);
    let method = (card != Card::None).then(|| state.new_id("pm"));
    if let Some(id) = &method {
        state.payment_methods.insert(PaymentMethod {
            id: id.clone(),
            created: state.now,
            customer: Some(customer.to_owned()),
            card,
        });
    }
    if let Some(customer) = state.customers.get_mut(customer) {
        customer.card = card;
        customer.payment_method.clone_from(&method);
    }
    if let Some(id) = &method {
        state.emit("payment_method.attached", id);
    }
    state.emit_change("customer.updated", customer, before);
}

/// Takes a payment method by id, or one of Stripe's test names, as the customer's card.
pub(crate) fn use_for(state: &mut State, customer: &str, given: &str) -> Result<(), ApiError> {
    if let Some(method) = state.payment_methods.get(given) {
        if method.customer.as_deref() != Some(customer) {
            return Err(ApiError::invalid(
                "The customer does not have a payment method with this id. The payment method must be attached to the customer.",
                Some("payment_method"),
            )
            .with_code("resource_missing"));
        }
        let card = method.card;
        if let Some(customer) = state.customers.get_mut(customer) {
            customer.card = card;
            customer.payment_method = Some(given.to_owned());
        }
        return Ok(());
    }
    set_card(state, customer, card_of_test_name(given)?);
    Ok(())
}

/// Stripe's test names: the ones that fail have it in their name.
fn card_of_test_name(given: &str) -> Result<Card, ApiError> {
    let is_name = given.starts_with("pm_card_") || given.starts_with("tok_");
    match given.to_ascii_lowercase() {
        _ if !is_name => Err(ApiError::no_such("PaymentMethod", given, "payment_method")),
        name if name.contains("fail") || name.contains("decline") => Ok(Card::Declines),
        _ => Ok(Card::Good),
    }
}

/// `POST /v1/payment_methods/{id}/attach`
pub(crate) fn attach(state: &mut State, call: &Call, given: &str) -> Result<Value, ApiError> {
    let customer = call.params.required("customer")?.to_owned();
    state.living_customer(&customer)?;
    let card = card_of_test_name(given)?;
    // Attaching gives no default, but with one card at a time the newest is the one that is charged.
    set_card(state, &customer, card);
    let id = state.customers.get(&customer).and_then(|customer| customer.payment_method.clone()).unwrap_or_default();
    call.show(state, &id)
}

/// `GET /v1/payment_methods/{id}`
pub(crate) fn get(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    state.payment_methods.get(id).ok_or_else(|| ApiError::no_such("PaymentMethod", id, "id"))?;
    call.show(state, id)
}

/// `GET /v1/payment_methods`
pub(crate) fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    paging::page(state, &state.payment_methods, call, call.params.value("customer"), |_| true)
}
