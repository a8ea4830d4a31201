//! The end of a period: what was used is billed, the next period is paid for.

use super::{collect, draft, end, start, trial};
use crate::objects::invoice::{InvoiceStatus, Line};
use crate::objects::meter;
use crate::objects::subscription::{Item, Status, Subscription};
use crate::state::State;
use crate::state::clock::next_boundary;
use crate::state::due::Due;

/// An item's period is over, if it still is the one that was planned.
pub(crate) fn period_ended(state: &mut State, id: &str) {
    let Some(subscription) = state.subscriptions.get(id) else { return };
    let over = subscription.next_period_end().is_some_and(|period_end| period_end <= state.now);
    if !subscription.status.renews() || !over {
        return;
    }
    let trial_over = subscription.status == Status::Trialing;
    let ends = subscription.cancel_at.is_some_and(|at| at <= state.now);
    if ends {
        end::end(state, id, "cancellation_requested");
    } else if !trial_over || trial::goes_on(state, id) {
        renew(state, id, trial_over);
    }
}

/// Begins the next periods of the items whose period is over, and bills them.
fn renew(state: &mut State, id: &str, trial_over: bool) {
    let before = state.snapshot(id);
    let Some(mut subscription) = state.subscriptions.get(id).cloned() else { return };
    let elapsed = subscription.period();
    let mut lines = std::mem::take(&mut subscription.pending);
    lines.extend(roll_items(state, &mut subscription, trial_over));
    if trial_over {
        subscription.status = Status::Active;
    }
    let status = subscription.status;
    let paused = subscription.pause_collection.as_ref().map(|pause| pause.behavior.clone());
    for item in &subscription.items {
        state.agenda.add(item.period_end, Due::Period(id.to_owned()));
    }
    if let Some(kept) = state.subscriptions.get_mut(id) {
        *kept = subscription;
    }
    let invoice = draft(state, id, "subscription_cycle", lines, elapsed);
    state.emit_change("customer.subscription.updated", id, before);
    let Some(invoice) = invoice else { return };
    match paused.as_deref() {
        Some(behavior) => collect_paused(state, &invoice, behavior),
        // Nothing is charged any more until somebody pays.
        None if status == Status::Unpaid => set_auto_advance(state, &invoice, false),
        None if state.config.finalize_after_secs == 0 => collect::finalize_and_charge(state, &invoice),
        None => state.agenda.add(state.now + state.config.finalize_after_secs, Due::Finalize(invoice)),
    }
}

/// What becomes of an invoice while collection is paused.
fn collect_paused(state: &mut State, invoice: &str, behavior: &str) {
    set_auto_advance(state, invoice, false);
    let closed = match behavior {
        "void" => InvoiceStatus::Void,
        "mark_uncollectible" => InvoiceStatus::Uncollectible,
        _ => return,
    };
    collect::finalize(state, invoice);
    // One without anything to pay is paid already and stays so.
    drop(collect::close(state, invoice, closed));
}

fn set_auto_advance(state: &mut State, invoice: &str, auto_advance: bool) {
    if let Some(invoice) = state.invoices.get_mut(invoice) {
        invoice.auto_advance = auto_advance;
    }
}

fn roll_items(state: &mut State, subscription: &mut Subscription, trial_over: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    let customer = subscription.customer.clone();
    for item in &mut subscription.items {
        if item.period_end > state.now {
            continue;
        }
        // What is used in a trial is free.
        if !trial_over {
            lines.extend(metered_line(state, &customer, item, item.period_end));
        }
        let Some(recurring) = state.prices.get(&item.price).and_then(|price| price.recurring.clone()) else { continue };
        item.period_start = item.period_end;
        item.period_end = next_boundary(subscription.anchor, recurring.interval, recurring.count, item.period_start);
        let amount = state.prices.get(&item.price).map_or(0, |price| price.amount(item.quantity));
        lines.extend(start::advance_line(state, item, amount, false));
    }
    lines
}

/// What a metered item used in its period up to `until`.
pub(crate) fn metered_line(state: &mut State, customer: &str, item: &Item, until: i64) -> Option<Line> {
    let id = state.new_id("il");
    let price = state.prices.get(&item.price)?;
    let used = meter::used(state, price.meter()?, customer, item.period_start, until);
    let product = state.products.get(&price.product).map_or("", |product| product.name.as_str());
    Some(Line {
        id,
        amount: price.amount(used),
        description: format!("{used} × {product}"),
        price: item.price.clone(),
        item: item.id.clone(),
        quantity: used,
        proration: false,
        period_start: item.period_start,
        period_end: until,
    })
}

/// The next renewal's lines, for a preview.
pub(crate) fn upcoming_lines(state: &mut State, subscription: &Subscription) -> Vec<Line> {
    let mut copy = subscription.clone();
    let mut lines = std::mem::take(&mut copy.pending);
    let Some(period_end) = copy.next_period_end() else { return lines };
    let now = std::mem::replace(&mut state.now, period_end);
    lines.extend(roll_items(state, &mut copy, subscription.status == Status::Trialing));
    state.now = now;
    lines
}
