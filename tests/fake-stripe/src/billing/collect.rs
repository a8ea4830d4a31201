//! Finalising invoices and charging them: attempts, retries, and what they do to the subscription.

use crate::config::AfterRetries;
use crate::http::error::ApiError;
use crate::objects::charge::Charge;
use crate::objects::customer::invoice_prefix;
use crate::objects::invoice::{Invoice, InvoiceStatus};
use crate::objects::payment_method::Card;
use crate::objects::subscription::Status;
use crate::state::State;
use crate::state::clock::DAY;
use crate::state::due::Due;

/// Who asked for an attempt. By Stripe's rule only the first attempt and automatic retries move the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    Automatic,
    ByHand,
}

/// A draft's hour is over.
pub(crate) fn finalize_when_due(state: &mut State, id: &str) {
    if state.invoices.get(id).is_some_and(|invoice| invoice.status == InvoiceStatus::Draft && invoice.auto_advance) {
        finalize_and_charge(state, id);
    }
}

/// An invoice's next attempt is due.
pub(crate) fn retry_when_due(state: &mut State, id: &str) {
    let now = state.now;
    let due = |invoice: &Invoice| {
        invoice.status == InvoiceStatus::Open
            && invoice.auto_advance
            && invoice.next_payment_attempt.is_some_and(|at| at <= now)
    };
    if state.invoices.get(id).is_some_and(due) {
        charge(state, id, Attempt::Automatic);
    }
}

/// Makes a draft final and charges it at once.
pub(crate) fn finalize_and_charge(state: &mut State, id: &str) {
    finalize(state, id);
    if state.invoices.get(id).is_some_and(|invoice| invoice.status == InvoiceStatus::Open) {
        charge(state, id, Attempt::Automatic);
    }
}

/// Makes a draft final: it gets its number and uses the customer's balance. One with nothing to pay is paid.
pub(crate) fn finalize(state: &mut State, id: &str) {
    let now = state.now;
    let intent = state.new_id("pi");
    let Some(invoice) = state.invoices.get_mut(id).filter(|invoice| invoice.status == InvoiceStatus::Draft) else {
        return;
    };
    let Some(customer) = state.customers.get_mut(&invoice.customer) else { return };
    let total = invoice.total();
    let starting = customer.balance;
    // Credit pays as much as is due; what the invoice credits is kept as credit.
    invoice.balance_applied = if total < 0 { -total } else { starting.clamp(-total, 0) };
    customer.balance = if total < 0 { starting + total } else { starting - invoice.balance_applied };
    invoice.balances = Some((starting, customer.balance));
    customer.invoices_numbered += 1;
    customer.currency.get_or_insert_with(|| invoice.currency.clone());
    invoice.number = Some(format!("{}-{:04}", invoice_prefix(&customer.id), customer.invoices_numbered));
    invoice.status = InvoiceStatus::Open;
    invoice.finalized_at = Some(now);
    let nothing_to_pay = invoice.amount_due() == 0;
    if !nothing_to_pay {
        invoice.payment_intent = Some(intent);
    }
    state.emit("invoice.finalized", id);
    if nothing_to_pay {
        settle(state, id);
    }
}

/// Tries to charge an open invoice. Whether it was paid.
pub(crate) fn charge(state: &mut State, id: &str, attempt: Attempt) -> bool {
    let Some(invoice) = state.invoices.get_mut(id).filter(|invoice| invoice.status == InvoiceStatus::Open) else {
        return false;
    };
    if attempt == Attempt::Automatic || invoice.attempt_count == 0 {
        invoice.attempt_count += 1;
    }
    let customer = invoice.customer.clone();
    match try_card(state, &customer) {
        CardAnswer::Accepted => {
            record_charge(state, id, true);
            settle(state, id);
            true
        }
        CardAnswer::Declined => {
            record_charge(state, id, false);
            failed(state, id, attempt);
            false
        }
        CardAnswer::NoCard => {
            failed(state, id, attempt);
            false
        }
    }
}

enum CardAnswer {
    Accepted,
    Declined,
    NoCard,
}

fn try_card(state: &mut State, customer: &str) -> CardAnswer {
    let Some(customer) = state.customers.get_mut(customer) else { return CardAnswer::NoCard };
    match customer.card {
        Card::None => CardAnswer::NoCard,
        Card::Good | Card::DeclinesNext(0) => CardAnswer::Accepted,
        Card::Declines => CardAnswer::Declined,
        Card::DeclinesNext(more) => {
            customer.card = Card::DeclinesNext(more - 1);
            CardAnswer::Declined
        }
    }
}

/// Whether the next charge of a customer would go through.
pub(crate) fn would_pay(state: &State, customer: &str) -> bool {
    state.customers.get(customer).is_some_and(|customer| matches!(customer.card, Card::Good | Card::DeclinesNext(0)))
}

/// Writes down an attempt and tells of it.
fn record_charge(state: &mut State, invoice_id: &str, paid: bool) {
    let id = state.new_id("ch");
    let now = state.now;
    let Some(invoice) = state.invoices.get_mut(invoice_id) else { return };
    invoice.charge = Some(id.clone());
    let payment_method = state.customers.get(&invoice.customer).and_then(|customer| customer.payment_method.clone());
    state.charges.insert(Charge {
        id: id.clone(),
        created: now,
        customer: invoice.customer.clone(),
        amount: invoice.amount_due(),
        currency: invoice.currency.clone(),
        paid,
        amount_refunded: 0,
        disputed: false,
        invoice: Some(invoice_id.to_owned()),
        payment_intent: invoice.payment_intent.clone().unwrap_or_default(),
        payment_method,
        refunds: Vec::new(),
    });
    state.emit(if paid { "charge.succeeded" } else { "charge.failed" }, &id);
}

/// A charge on a page that never became an invoice: a card declined in Checkout.
pub(crate) fn record_declined_without_invoice(state: &mut State, customer: &str, amount: i64, currency: &str) {
    let id = state.new_id("ch");
    let payment_intent = state.new_id("pi");
    state.charges.insert(Charge {
        id: id.clone(),
        created: state.now,
        customer: customer.to_owned(),
        amount,
        currency: currency.to_owned(),
        paid: false,
        amount_refunded: 0,
        disputed: false,
        invoice: None,
        payment_intent,
        payment_method: None,
        refunds: Vec::new(),
    });
    state.emit("charge.failed", &id);
}

/// An invoice is paid, and the subscription recovers with its latest one.
pub(crate) fn settle(state: &mut State, id: &str) {
    let now = state.now;
    let Some(invoice) = state.invoices.get_mut(id) else { return };
    invoice.status = InvoiceStatus::Paid;
    invoice.amount_paid = invoice.amount_due();
    invoice.paid_at = Some(now);
    invoice.next_payment_attempt = None;
    state.emit("invoice.paid", id);
    state.emit("invoice.payment_succeeded", id);
    recover(state, id);
}

/// The subscription whose latest invoice is settled is active again.
pub(crate) fn recover(state: &mut State, invoice_id: &str) {
    let Some(subscription_id) = state.invoices.get(invoice_id).and_then(|invoice| invoice.subscription.clone()) else {
        return;
    };
    let Some(subscription) = state.subscriptions.get(&subscription_id) else { return };
    let waits = matches!(subscription.status, Status::Incomplete | Status::PastDue | Status::Unpaid | Status::Paused);
    // A paused subscription waits only for the invoice that resumes it.
    let resumes = subscription.status != Status::Paused || subscription.paused_at.is_none();
    if !waits || !resumes || subscription.latest_invoice.as_deref() != Some(invoice_id) {
        return;
    }
    let kinds = ["customer.subscription.resumed", "customer.subscription.updated"];
    let kinds = &kinds[usize::from(subscription.status != Status::Paused)..];
    let before = state.snapshot(&subscription_id);
    if let Some(subscription) = state.subscriptions.get_mut(&subscription_id) {
        subscription.status = Status::Active;
    }
    state.emit_changes(kinds, &subscription_id, &before);
}

/// Changes a status and tells of it.
pub(crate) fn set_status(state: &mut State, subscription_id: &str, status: Status) {
    let before = state.snapshot(subscription_id);
    if let Some(subscription) = state.subscriptions.get_mut(subscription_id) {
        subscription.status = status;
    }
    state.emit_change("customer.subscription.updated", subscription_id, before);
}

/// An attempt failed: another is planned, or the last one has its consequence.
fn failed(state: &mut State, id: &str, attempt: Attempt) {
    let Some(invoice) = state.invoices.get(id) else { return };
    let subscription_id = invoice.subscription.clone();
    let status =
        subscription_id.as_deref().and_then(|id| state.subscriptions.get(id)).map(|subscription| subscription.status);
    let first_of_all = status == Some(Status::Incomplete);
    let over = status.is_none_or(|status| status.is_final() || status == Status::Paused);
    let tried = usize::try_from(invoice.attempt_count).unwrap_or(usize::MAX);
    let wait = state.config.retry_days.get(tried.saturating_sub(1)).copied();
    let moves = attempt == Attempt::Automatic || tried == 1;
    if moves && !first_of_all {
        let next = wait.filter(|_| !over).map(|days| state.now + i64::from(days) * DAY);
        if let Some(invoice) = state.invoices.get_mut(id) {
            invoice.next_payment_attempt = next;
        }
        if let Some(next) = next {
            state.agenda.add(next, Due::Retry(id.to_owned()));
        }
    }
    state.emit("invoice.payment_failed", id);
    let Some(subscription_id) = subscription_id else { return };
    if matches!(status, Some(Status::Active | Status::Trialing)) {
        set_status(state, &subscription_id, Status::PastDue);
    }
    if moves && !first_of_all && !over && wait.is_none() {
        exhausted(state, &subscription_id);
    }
}

/// The last retry has failed.
fn exhausted(state: &mut State, subscription_id: &str) {
    match state.config.after_retries {
        AfterRetries::Cancel => super::end::end(state, subscription_id, "payment_failed"),
        AfterRetries::Unpaid => set_status(state, subscription_id, Status::Unpaid),
        AfterRetries::PastDue => {}
    }
}

/// An open invoice is declared void or lost, and the subscription no longer waits for it.
pub(crate) fn close(state: &mut State, id: &str, status: InvoiceStatus) -> Result<(), ApiError> {
    let now = state.now;
    let invoice = state.invoices.get_mut(id).ok_or_else(|| ApiError::no_such("invoice", id, "id"))?;
    let allowed = match invoice.status {
        InvoiceStatus::Open => true,
        InvoiceStatus::Uncollectible => status == InvoiceStatus::Void,
        _ => false,
    };
    if !allowed {
        return Err(ApiError::invalid(
            format!("You can only pass in open invoices. This invoice isn't open (it is {}).", invoice.status.as_str()),
            None,
        )
        .with_code("invoice_not_editable"));
    }
    invoice.status = status;
    invoice.next_payment_attempt = None;
    let kind = if status == InvoiceStatus::Void {
        invoice.voided_at = Some(now);
        "invoice.voided"
    } else {
        invoice.uncollectible_at = Some(now);
        "invoice.marked_uncollectible"
    };
    state.emit(kind, id);
    let incomplete = state
        .invoices
        .get(id)
        .and_then(|invoice| state.subscriptions.get(invoice.subscription.as_deref()?))
        .filter(|subscription| subscription.status == Status::Incomplete)
        .map(|subscription| subscription.id.clone());
    match incomplete {
        // Without its first invoice nothing is left to wait for.
        Some(subscription) => super::end::expire_incomplete(state, &subscription),
        None => recover(state, id),
    }
    Ok(())
}
