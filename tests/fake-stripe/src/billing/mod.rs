//! What time and payment do to subscriptions and invoices.
//!
//! Everything here is played at `state.now`; what is to happen later is put on the agenda.

pub(crate) mod collect;
pub(crate) mod end;
pub(crate) mod pause;
pub(crate) mod prorate;
pub(crate) mod renew;
pub(crate) mod start;
pub(crate) mod trial;

use crate::objects::invoice::{Invoice, InvoiceStatus, Line};
use crate::state::State;

/// Makes a draft for a subscription, and makes it the subscription's latest.
pub(crate) fn draft(
    state: &mut State,
    subscription_id: &str,
    billing_reason: &'static str,
    lines: Vec<Line>,
    period: (i64, i64),
) -> Option<String> {
    let invoice = unsaved(state, subscription_id, billing_reason, lines, period)?;
    let id = invoice.id.clone();
    state.invoices.insert(invoice);
    if let Some(subscription) = state.subscriptions.get_mut(subscription_id) {
        subscription.latest_invoice = Some(id.clone());
    }
    state.emit("invoice.created", &id);
    Some(id)
}

/// The same invoice, told to nobody: what a preview shows.
pub(crate) fn unsaved(
    state: &mut State,
    subscription_id: &str,
    billing_reason: &'static str,
    lines: Vec<Line>,
    (period_start, period_end): (i64, i64),
) -> Option<Invoice> {
    let id = state.new_id("in");
    let subscription = state.subscriptions.get(subscription_id)?;
    Some(Invoice {
        id,
        customer: subscription.customer.clone(),
        subscription: Some(subscription_id.to_owned()),
        subscription_metadata: subscription.metadata.clone(),
        status: InvoiceStatus::Draft,
        billing_reason,
        created: state.now,
        currency: subscription.currency.clone(),
        period_start,
        period_end,
        lines,
        balance_applied: 0,
        balances: None,
        amount_paid: 0,
        attempt_count: 0,
        next_payment_attempt: None,
        auto_advance: true,
        number: None,
        finalized_at: None,
        paid_at: None,
        voided_at: None,
        uncollectible_at: None,
        charge: None,
        payment_intent: None,
    })
}
