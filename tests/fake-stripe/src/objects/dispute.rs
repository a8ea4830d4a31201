//! Disputes: a cardholder's bank took the money back, for good or until it is won.

use serde_json::{Value, json};

use super::charge;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::paging;
use crate::state::clock::DAY;
use crate::state::table::Row;
use crate::state::{Shape, State};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DisputeStatus {
    NeedsResponse,
    UnderReview,
    Won,
    Lost,
}

impl DisputeStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::NeedsResponse => "needs_response",
            Self::UnderReview => "under_review",
            Self::Won => "won",
            Self::Lost => "lost",
        }
    }

    fn is_closed(self) -> bool {
        matches!(self, Self::Won | Self::Lost)
    }
}

#[derive(Debug)]
pub(crate) struct Dispute {
    id: String,
    created: i64,
    customer: String,
    pub(crate) charge: String,
    payment_intent: String,
    amount: i64,
    currency: String,
    reason: String,
    status: DisputeStatus,
}

impl Row for Dispute {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn customer(&self) -> Option<&str> {
        Some(&self.customer)
    }

    fn render(&self, state: &State, _shape: Shape) -> Value {
        let responded = self.status != DisputeStatus::NeedsResponse;
        json!({
            "id": self.id,
            "object": "dispute",
            "amount": self.amount,
            "balance_transactions": [],
            "charge": self.charge,
            "created": self.created,
            "currency": self.currency,
            "enhanced_eligibility_types": [],
            "evidence": { "enhanced_evidence": {} },
            "evidence_details": {
                "due_by": self.created + 9 * DAY,
                "enhanced_eligibility": {},
                "has_evidence": responded,
                "past_due": false,
                "submission_count": u8::from(responded),
            },
            "is_charge_refundable": false,
            "livemode": state.config.livemode,
            "metadata": {},
            "network_reason_code": null,
            "payment_intent": self.payment_intent,
            "payment_method_details": { "card": { "brand": "visa", "case_type": "chargeback", "network_reason_code": "10" }, "type": "card" },
            "reason": self.reason,
            "status": self.status.as_str(),
        })
    }
}

/// The bank disputes a whole charge.
pub(crate) fn open(state: &mut State, charge_id: &str, reason: &str) -> Result<String, ApiError> {
    let charge = state.charges.get(charge_id).ok_or_else(|| ApiError::no_such("charge", charge_id, "charge"))?.clone();
    if !charge.paid || charge.disputed {
        return Err(ApiError::invalid("Only a paid charge can be disputed, and once.", Some("charge")));
    }
    let id = state.new_id("du");
    state.disputes.insert(Dispute {
        id: id.clone(),
        created: state.now,
        customer: charge.customer,
        charge: charge_id.to_owned(),
        payment_intent: charge.payment_intent,
        amount: charge.amount,
        currency: charge.currency,
        reason: reason.to_owned(),
        status: DisputeStatus::NeedsResponse,
    });
    if let Some(charge) = state.charges.get_mut(charge_id) {
        charge.disputed = true;
    }
    state.emit("charge.dispute.created", &id);
    state.emit("charge.dispute.funds_withdrawn", &id);
    Ok(id)
}

/// Moves a dispute on: evidence was sent, or the bank decided.
pub(crate) fn move_to(state: &mut State, id: &str, status: DisputeStatus) -> Result<(), ApiError> {
    let dispute = state.disputes.get(id).ok_or_else(|| ApiError::no_such("dispute", id, "id"))?;
    if dispute.status.is_closed() {
        return Err(ApiError::invalid("This dispute is already closed.", None));
    }
    let before = state.snapshot(id);
    if let Some(dispute) = state.disputes.get_mut(id) {
        dispute.status = status;
    }
    if !status.is_closed() {
        state.emit_change("charge.dispute.updated", id, before);
        return Ok(());
    }
    state.emit_change("charge.dispute.closed", id, before);
    if status == DisputeStatus::Won {
        state.emit("charge.dispute.funds_reinstated", id);
    }
    Ok(())
}

/// The newest open dispute about a customer's charges that `about` takes.
pub(crate) fn newest_open(state: &State, customer: &str, about: impl Fn(&str) -> bool) -> Option<String> {
    let mut disputes = state.disputes.of_customer(customer).rev();
    disputes.find(|dispute| !dispute.status.is_closed() && about(&dispute.charge)).map(|dispute| dispute.id.clone())
}

/// `GET /v1/disputes/{id}`
pub(crate) fn get(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    state.disputes.get(id).ok_or_else(|| ApiError::no_such("dispute", id, "id"))?;
    call.show(state, id)
}

/// `POST /v1/disputes/{id}`: evidence puts it under review.
pub(crate) fn update(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    call.only(&["evidence", "expand", "metadata", "submit"])?;
    if call.params.has("evidence") {
        move_to(state, id, DisputeStatus::UnderReview)?;
    }
    get(state, call, id)
}

/// `POST /v1/disputes/{id}/close`: the merchant gives in.
pub(crate) fn close(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    move_to(state, id, DisputeStatus::Lost)?;
    get(state, call, id)
}

/// `GET /v1/disputes`
pub(crate) fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    call.only(&["charge", "created", "ending_before", "expand", "limit", "payment_intent", "starting_after"])?;
    let charge = call.params.value("charge");
    let intent = call.params.value("payment_intent");
    let of = charge.and_then(|id| state.charges.get(id)).or_else(|| charge::of_intent(state, intent?));
    let customer = of.map(|charge| charge.customer.clone());
    paging::page(state, &state.disputes, call, customer.as_deref(), |dispute| {
        charge.is_none_or(|charge| dispute.charge == charge)
            && intent.is_none_or(|intent| dispute.payment_intent == intent)
    })
}
