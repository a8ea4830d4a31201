//! A subscription's end: asked for, forced by failed payments, or because it never began.

use super::{collect, draft, renew};
use crate::objects::invoice::{InvoiceStatus, Line};
use crate::objects::subscription::Status;
use crate::state::State;

/// The moment of a planned end.
pub(crate) fn cancel_at_reached(state: &mut State, id: &str) {
    let due = state.subscriptions.get(id).is_some_and(|subscription| {
        !subscription.status.is_final() && subscription.cancel_at.is_some_and(|at| at <= state.now)
    });
    if due {
        end(state, id, "cancellation_requested");
    }
}

/// Nobody paid the first invoice in time.
pub(crate) fn incomplete_expires(state: &mut State, id: &str) {
    let Some(subscription) = state.subscriptions.get(id).filter(|found| found.status == Status::Incomplete) else {
        return;
    };
    let invoice = subscription
        .latest_invoice
        .clone()
        .filter(|id| state.invoices.get(id).is_some_and(|invoice| invoice.status == InvoiceStatus::Open));
    match invoice {
        // Voiding it expires the subscription.
        Some(invoice) => drop(collect::close(state, &invoice, InvoiceStatus::Void)),
        None => expire_incomplete(state, id),
    }
}

/// An incomplete subscription is over.
pub(crate) fn expire_incomplete(state: &mut State, id: &str) {
    if let Some(subscription) = state.subscriptions.get_mut(id) {
        subscription.ended_at = Some(state.now);
    }
    collect::set_status(state, id, Status::IncompleteExpired);
}

/// Ends a subscription now. What metered items used and nobody billed is billed.
pub(crate) fn end(state: &mut State, id: &str, reason: &'static str) {
    let Some(subscription) = state.subscriptions.get(id).filter(|found| !found.status.is_final()).cloned() else {
        return;
    };
    let mut lines: Vec<Line> = subscription.pending.clone();
    if matches!(subscription.status, Status::Active | Status::PastDue) {
        for item in &subscription.items {
            let until = item.period_end.min(state.now);
            lines.extend(
                renew::metered_line(state, &subscription.customer, item, until).filter(|line| line.quantity != 0),
            );
        }
    }
    let period = subscription.period();
    let final_invoice = if lines.is_empty() { None } else { draft(state, id, "subscription_cycle", lines, period) };
    let now = state.now;
    if let Some(subscription) = state.subscriptions.get_mut(id) {
        subscription.status = Status::Canceled;
        subscription.ended_at = Some(now);
        subscription.canceled_at.get_or_insert(now);
        subscription.cancel_reason = Some(reason);
        subscription.pending.clear();
    }
    stop_collecting(state, id, &subscription.customer, final_invoice.as_deref());
    state.emit("customer.subscription.deleted", id);
    if let Some(invoice) = final_invoice {
        collect::finalize_and_charge(state, &invoice);
    }
}

/// Open invoices stay open, and nobody charges them any more.
fn stop_collecting(state: &mut State, id: &str, customer: &str, except: Option<&str>) {
    let open: Vec<String> = state
        .invoices
        .of_customer(customer)
        .filter(|invoice| invoice.subscription.as_deref() == Some(id))
        .filter(|invoice| matches!(invoice.status, InvoiceStatus::Open | InvoiceStatus::Draft))
        .filter(|invoice| Some(invoice.id.as_str()) != except)
        .map(|invoice| invoice.id.clone())
        .collect();
    for invoice in open {
        if let Some(invoice) = state.invoices.get_mut(&invoice) {
            invoice.auto_advance = false;
            invoice.next_payment_attempt = None;
        }
    }
}
