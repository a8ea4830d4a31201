//! Refunds: money that went back, in whole or in part.

use serde_json::{Value, json};

use super::{charge, new_metadata};
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::paging;
use crate::state::table::Row;
use crate::state::{Metadata, Shape, State};

#[derive(Debug)]
pub(crate) struct Refund {
    id: String,
    created: i64,
    customer: String,
    charge: String,
    payment_intent: String,
    amount: i64,
    currency: String,
    reason: Option<String>,
    metadata: Metadata,
}

impl Row for Refund {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn customer(&self) -> Option<&str> {
        Some(&self.customer)
    }

    fn render(&self, _state: &State, _shape: Shape) -> Value {
        json!({
            "id": self.id,
            "object": "refund",
            "amount": self.amount,
            "balance_transaction": null,
            "charge": self.charge,
            "created": self.created,
            "currency": self.currency,
            "destination_details": { "card": { "reference": null, "type": "refund" }, "type": "card" },
            "metadata": self.metadata,
            "payment_intent": self.payment_intent,
            "reason": self.reason,
            "receipt_number": null,
            "source_transfer_reversal": null,
            "status": "succeeded",
            "transfer_reversal": null,
        })
    }
}

/// `POST /v1/refunds`
pub(crate) fn create(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    call.only(&[
        "amount",
        "charge",
        "currency",
        "customer",
        "expand",
        "instructions_email",
        "metadata",
        "origin",
        "payment_intent",
        "reason",
        "refund_application_fee",
        "reverse_transfer",
    ])?;
    let params = &call.params;
    let charge = match (params.value("charge"), params.value("payment_intent")) {
        (Some(id), _) if state.charges.contains(id) => id.to_owned(),
        (Some(id), _) => return Err(ApiError::no_such("charge", id, "charge")),
        (None, Some(intent)) => charge::of_intent(state, intent)
            .map(|charge| charge.id.clone())
            .ok_or_else(|| ApiError::no_such("payment_intent", intent, "payment_intent"))?,
        (None, None) => return Err(ApiError::missing("charge")),
    };
    let metadata = new_metadata(params, "metadata");
    let id = refund(state, &charge, params.integer("amount")?, params.value("reason"), metadata)?;
    call.show(state, &id)
}

/// Gives back an amount in cents, or all that is left.
pub(crate) fn refund(
    state: &mut State,
    charge_id: &str,
    amount: Option<i64>,
    reason: Option<&str>,
    metadata: Metadata,
) -> Result<String, ApiError> {
    let charge = state.charges.get(charge_id).ok_or_else(|| ApiError::no_such("charge", charge_id, "charge"))?.clone();
    let left = charge.amount - charge.amount_refunded;
    if !charge.paid {
        return Err(ApiError::invalid(format!("Charge {charge_id} has not been paid."), Some("charge")));
    }
    if charge.disputed {
        return Err(ApiError::invalid(
            format!("Charge {charge_id} has been charged back; cannot issue a refund."),
            None,
        )
        .with_code("charge_disputed"));
    }
    if left == 0 {
        return Err(ApiError::invalid(format!("Charge {charge_id} has already been refunded."), None)
            .with_code("charge_already_refunded"));
    }
    let amount = amount.unwrap_or(left);
    if amount < 1 || amount > left {
        return Err(ApiError::invalid(
            format!("Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"),
            Some("amount"),
        ));
    }
    let before = state.snapshot(charge_id);
    let id = state.new_id("re");
    state.refunds.insert(Refund {
        id: id.clone(),
        created: state.now,
        customer: charge.customer,
        charge: charge_id.to_owned(),
        payment_intent: charge.payment_intent,
        amount,
        currency: charge.currency,
        reason: reason.map(str::to_owned),
        metadata,
    });
    if let Some(charge) = state.charges.get_mut(charge_id) {
        charge.amount_refunded += amount;
        charge.refunds.push(id.clone());
    }
    state.emit("refund.created", &id);
    state.emit_change("charge.refunded", charge_id, before);
    Ok(id)
}

/// `GET /v1/refunds/{id}`
pub(crate) fn get(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    state.refunds.get(id).ok_or_else(|| ApiError::no_such("refund", id, "id"))?;
    call.show(state, id)
}

/// `GET /v1/refunds`, also of one charge.
pub(crate) fn list(state: &State, call: &Call, of_charge: Option<&str>) -> Result<Value, ApiError> {
    let charge = of_charge.or(call.params.value("charge"));
    let intent = call.params.value("payment_intent");
    // A charge's customer narrows the search.
    let customer = charge.and_then(|id| state.charges.get(id)).map(|charge| charge.customer.clone());
    paging::page(state, &state.refunds, call, customer.as_deref(), |refund| {
        charge.is_none_or(|charge| refund.charge == charge)
            && intent.is_none_or(|intent| refund.payment_intent == intent)
    })
}
