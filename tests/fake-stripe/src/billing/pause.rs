//! Pausing: a subscription that stands still, and one that runs on without being charged.

use super::{collect, draft, start};
use crate::http::error::ApiError;
use crate::objects::invoice::InvoiceStatus;
use crate::objects::subscription::Status;
use crate::state::State;
use crate::state::clock::next_boundary;
use crate::state::due::Due;

/// A subscription stands still from now on: no periods, no invoices.
pub(crate) fn pause(state: &mut State, id: &str) {
    let before = state.snapshot(id);
    let now = state.now;
    if let Some(subscription) = state.subscriptions.get_mut(id) {
        subscription.status = Status::Paused;
        subscription.paused_at = Some(now);
    }
    state.emit_changes(&["customer.subscription.paused", "customer.subscription.updated"], id, &before);
}

/// The same, refused where there is nothing that could stand still.
pub(crate) fn pause_if_running(state: &mut State, id: &str) -> Result<(), ApiError> {
    let subscription = state.subscriptions.get(id).ok_or_else(|| ApiError::no_such("subscription", id, "id"))?;
    if !subscription.status.renews() {
        let status = subscription.status.as_str();
        return Err(ApiError::invalid(format!("A subscription that is {status} cannot be paused."), None));
    }
    pause(state, id);
    Ok(())
}

/// A paused subscription goes on, with its old anchor or a new one, and the new period is charged.
pub(crate) fn resume(state: &mut State, id: &str, anchor_now: bool) -> Result<(), ApiError> {
    let subscription = state.subscriptions.get(id).ok_or_else(|| ApiError::no_such("subscription", id, "id"))?;
    if subscription.status != Status::Paused {
        return Err(ApiError::invalid("You can only resume a subscription that is paused.", None));
    }
    let before = state.snapshot(id);
    let Some(mut subscription) = state.subscriptions.get(id).cloned() else { return Ok(()) };
    if anchor_now {
        subscription.anchor = state.now;
    }
    let mut lines = std::mem::take(&mut subscription.pending);
    for item in &mut subscription.items {
        // What was paid before the pause is not paid again.
        if item.period_end > state.now && !anchor_now {
            continue;
        }
        let Some(recurring) = state.prices.get(&item.price).and_then(|price| price.recurring.clone()) else { continue };
        item.period_start = state.now;
        item.period_end = next_boundary(subscription.anchor, recurring.interval, recurring.count, state.now);
        let amount = state.prices.get(&item.price).map_or(0, |price| price.amount(item.quantity));
        lines.extend(start::advance_line(state, item, amount, false));
    }
    for item in &subscription.items {
        state.agenda.add(item.period_end, Due::Period(id.to_owned()));
    }
    subscription.paused_at = None;
    let period = subscription.period();
    if let Some(kept) = state.subscriptions.get_mut(id) {
        *kept = subscription;
    }
    let invoice = if lines.is_empty() { None } else { draft(state, id, "subscription_update", lines, period) };
    // What the payment does to the status is told as one change below.
    state.mute(&["customer.subscription.updated", "customer.subscription.resumed"]);
    let paid = match &invoice {
        None => true,
        Some(invoice) => {
            collect::finalize_and_charge(state, invoice);
            state.invoices.get(invoice).is_some_and(|invoice| invoice.status == InvoiceStatus::Paid)
        }
    };
    state.unmute();
    if let Some(subscription) = state.subscriptions.get_mut(id) {
        // It stays paused until that invoice is paid; `recover` sees to it then.
        subscription.status = if paid { Status::Active } else { Status::Paused };
    }
    let kinds = &["customer.subscription.resumed", "customer.subscription.updated"][usize::from(!paid)..];
    state.emit_changes(kinds, id, &before);
    Ok(())
}

/// Collection goes on at the moment that was named when it was paused.
pub(crate) fn collection_resumes(state: &mut State, id: &str) {
    let now = state.now;
    let due = state.subscriptions.get(id).is_some_and(|subscription| {
        subscription.pause_collection.as_ref().is_some_and(|pause| pause.resumes_at.is_some_and(|at| at <= now))
    });
    if due {
        let before = state.snapshot(id);
        if let Some(subscription) = state.subscriptions.get_mut(id) {
            subscription.pause_collection = None;
        }
        state.emit_change("customer.subscription.updated", id, before);
    }
}
