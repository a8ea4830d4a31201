//! Charges: one an attempt that was made, paid or declined.

use serde_json::{Value, json};

use super::list as sublist;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::paging;
use crate::state::table::Row;
use crate::state::{Shape, State};

#[derive(Clone, Debug)]
pub(crate) struct Charge {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) customer: String,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) paid: bool,
    pub(crate) amount_refunded: i64,
    pub(crate) disputed: bool,
    pub(crate) invoice: Option<String>,
    pub(crate) payment_intent: String,
    pub(crate) payment_method: Option<String>,
    pub(crate) refunds: Vec<String>,
}

impl Charge {
    pub(crate) fn is_refunded(&self) -> bool {
        self.amount > 0 && self.amount_refunded == self.amount
    }

    fn outcome(&self) -> Value {
        json!({
            "advice_code": null,
            "network_advice_code": null,
            "network_decline_code": null,
            "network_status": if self.paid { "approved_by_network" } else { "declined_by_network" },
            "reason": if self.paid { Value::Null } else { json!("generic_decline") },
            "risk_level": "normal",
            "risk_score": 1,
            "seller_message": if self.paid { "Payment complete." } else { "The bank did not return any further details with this decline." },
            "type": if self.paid { "authorized" } else { "issuer_declined" },
        })
    }
}

impl Row for Charge {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn customer(&self) -> Option<&str> {
        Some(&self.customer)
    }

    fn render(&self, state: &State, shape: Shape) -> Value {
        let email = state.customers.get(&self.customer).and_then(|customer| customer.email.as_deref());
        let mut value = json!({
            "id": self.id,
            "object": "charge",
            "amount": self.amount,
            "amount_captured": if self.paid { self.amount } else { 0 },
            "amount_refunded": self.amount_refunded,
            "application": null,
            "application_fee": null,
            "application_fee_amount": null,
            "balance_transaction": null,
            "billing_details": { "address": null, "email": email, "name": null, "phone": null, "tax_id": null },
            "calculated_statement_descriptor": "FAKE STRIPE",
            "captured": self.paid,
            "created": self.created,
            "currency": self.currency,
            "customer": self.customer,
            "description": "Subscription update",
            "destination": null,
            "dispute": null,
            "disputed": self.disputed,
            "failure_balance_transaction": null,
            "failure_code": if self.paid { Value::Null } else { json!("card_declined") },
            "failure_message": if self.paid { Value::Null } else { json!("Your card was declined.") },
            "fraud_details": {},
            "livemode": state.config.livemode,
            "metadata": {},
            "on_behalf_of": null,
            "order": null,
            "outcome": self.outcome(),
            "paid": self.paid,
            "payment_intent": self.payment_intent,
            "payment_method": self.payment_method,
            "payment_method_details": {
                "card": { "brand": "visa", "exp_month": 12, "exp_year": 2040, "last4": "4242" },
                "type": "card",
            },
            "radar_options": {},
            "receipt_email": email,
            "receipt_number": null,
            "receipt_url": format!("{}/receipt/{}", state.base, self.id),
            "refunded": self.is_refunded(),
            "review": null,
            "shipping": null,
            "source": null,
            "source_transfer": null,
            "statement_descriptor": null,
            "statement_descriptor_suffix": null,
            "status": if self.paid { "succeeded" } else { "failed" },
            "transfer_data": null,
            "transfer_group": null,
        });
        if shape == Shape::Old {
            value["invoice"] = json!(self.invoice);
            let refunds = self.refunds.iter().rev().filter_map(|id| state.render(id, shape)).collect();
            value["refunds"] = sublist(refunds, &format!("/v1/charges/{}/refunds", self.id));
        }
        value
    }
}

/// `GET /v1/charges/{id}`
pub(crate) fn get(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    state.charges.get(id).ok_or_else(|| ApiError::no_such("charge", id, "id"))?;
    call.show(state, id)
}

/// `GET /v1/charges`
pub(crate) fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    call.only(&[
        "created",
        "customer",
        "ending_before",
        "expand",
        "limit",
        "payment_intent",
        "starting_after",
        "transfer_group",
    ])?;
    let intent = call.params.value("payment_intent");
    paging::page(state, &state.charges, call, call.params.value("customer"), |charge| {
        intent.is_none_or(|intent| charge.payment_intent == intent)
    })
}

/// The customer's charge with this payment intent: the one that was paid, else the newest.
pub(crate) fn of_intent<'a>(state: &'a State, intent: &str) -> Option<&'a Charge> {
    let mut found = None;
    for charge in state.charges.iter().rev().filter(|charge| charge.payment_intent == intent) {
        if charge.paid {
            return Some(charge);
        }
        found = found.or(Some(charge));
    }
    found
}

/// `GET /v1/payment_intents/{id}`: as much of it as leads from a charge to its invoice.
pub(crate) fn get_intent(state: &State, id: &str) -> Result<Value, ApiError> {
    let charge = of_intent(state, id).ok_or_else(|| ApiError::no_such("payment_intent", id, "id"))?;
    Ok(json!({
        "id": id,
        "object": "payment_intent",
        "amount": charge.amount,
        "amount_received": if charge.paid { charge.amount } else { 0 },
        "capture_method": "automatic",
        "client_secret": null,
        "confirmation_method": "automatic",
        "created": charge.created,
        "currency": charge.currency,
        "customer": charge.customer,
        "latest_charge": charge.id,
        "livemode": state.config.livemode,
        "metadata": {},
        "payment_method": charge.payment_method,
        "payment_method_types": ["card"],
        "status": if charge.paid { "succeeded" } else { "requires_payment_method" },
    }))
}
