//! What somebody does on a Checkout page, and what comes of it.

use super::checkout::{CheckoutOutcome, Session, SessionStatus};
use super::checkout_calls::found;
use super::customer;
use super::payment_method::{Card, set_card};
use crate::billing::collect;
use crate::billing::start::{self, New, NewItem, Payment};
use crate::http::error::ApiError;
use crate::objects::invoice::InvoiceStatus;
use crate::state::clock::DAY;
use crate::state::{Metadata, State};

/// Somebody does something on the page.
pub(crate) fn play(state: &mut State, id: &str, outcome: CheckoutOutcome, email: Option<&str>) -> Result<(), ApiError> {
    open(state, id)?;
    match outcome {
        CheckoutOutcome::Expire => close(state, id),
        CheckoutOutcome::Decline => decline(state, id),
        CheckoutOutcome::Pay => complete(state, id, Payment::Allowed, email)?,
        CheckoutOutcome::PayLater => complete(state, id, Payment::Later, email)?,
    }
    Ok(())
}

/// A declined card leaves a charge where there is a customer, and no subscription.
fn decline(state: &mut State, id: &str) {
    let Some(session) = state.sessions.get(id) else { return };
    let (amount, currency) = (session.due_now(state), session.currency.clone());
    if let Some(customer) = session.customer.clone().filter(|_| amount > 0) {
        collect::record_declined_without_invoice(state, &customer, amount, &currency);
    }
}

/// The customer of a session, made from the e-mail if there is none yet.
fn customer_of(state: &mut State, id: &str, email: Option<&str>) -> String {
    let session = state.sessions.get(id);
    if let Some(customer) = session.and_then(|session| session.customer.clone()) {
        return customer;
    }
    let email = email.map(str::to_owned).or_else(|| session.and_then(|session| session.customer_email.clone()));
    let made = customer::add(state, email.as_deref(), None, Metadata::new());
    state.emit("customer.created", &made);
    made
}

fn complete(state: &mut State, id: &str, payment: Payment, email: Option<&str>) -> Result<(), ApiError> {
    let customer = customer_of(state, id, email);
    let session = found(state, id)?;
    let gives_card = session.collects_card || session.due_now(state) > 0;
    let new = New {
        customer: customer.clone(),
        items: session
            .items
            .iter()
            .map(|(price, quantity)| NewItem {
                price: price.clone(),
                quantity: Some(*quantity),
                metadata: Metadata::new(),
            })
            .collect(),
        trial_end: session.trial_end.or(session.trial_days.map(|days| state.now + days * DAY)),
        missing_payment_method: session.missing_payment_method,
        description: session.description.clone(),
        metadata: session.subscription_metadata.clone(),
        payment,
        ..New::default()
    };
    if gives_card {
        set_card(state, &customer, Card::Good);
    }
    let subscription = start::start(state, new)?;
    let invoice = state.subscriptions.get(&subscription).and_then(|subscription| subscription.latest_invoice.clone());
    let paid = invoice
        .as_deref()
        .and_then(|id| state.invoices.get(id))
        .is_some_and(|invoice| invoice.status == InvoiceStatus::Paid);
    if let Some(session) = state.sessions.get_mut(id) {
        session.status = SessionStatus::Complete;
        session.payment_status = match (paid, session.trial_days.is_some() || session.trial_end.is_some()) {
            (true, true) => "no_payment_required",
            (true, false) => "paid",
            (false, _) => "unpaid",
        };
        session.customer = Some(customer);
        session.subscription = Some(subscription);
        session.invoice = invoice;
    }
    state.emit("checkout.session.completed", id);
    Ok(())
}

/// The delayed payment of a completed session arrives, or fails for good.
pub(crate) fn async_payment(state: &mut State, id: &str, succeeded: bool) -> Result<(), ApiError> {
    let session = found(state, id)?;
    let invoice = session
        .invoice
        .clone()
        .filter(|_| session.status == SessionStatus::Complete && session.payment_status == "unpaid");
    let invoice = invoice.ok_or_else(|| ApiError::invalid("This session waits for no payment.", None))?;
    if succeeded {
        collect::charge(state, &invoice, collect::Attempt::Automatic);
        if let Some(session) = state.sessions.get_mut(id) {
            session.payment_status = "paid";
        }
        state.emit("checkout.session.async_payment_succeeded", id);
    } else {
        state.emit("invoice.payment_failed", &invoice);
        state.emit("checkout.session.async_payment_failed", id);
        collect::close(state, &invoice, InvoiceStatus::Void)?;
    }
    Ok(())
}

/// A session's day is over.
pub(crate) fn expire_when_due(state: &mut State, id: &str) {
    if state.sessions.get(id).is_some_and(|session| session.status == SessionStatus::Open) {
        close(state, id);
    }
}

/// Nobody can pay any more.
pub(crate) fn close(state: &mut State, id: &str) {
    if let Some(session) = state.sessions.get_mut(id) {
        session.status = SessionStatus::Expired;
    }
    state.emit("checkout.session.expired", id);
}

/// A session that still waits for somebody.
pub(crate) fn open<'a>(state: &'a State, id: &str) -> Result<&'a Session, ApiError> {
    let session = found(state, id)?;
    if session.status == SessionStatus::Open {
        return Ok(session);
    }
    Err(ApiError::invalid(
        format!("This Session is in status {}, it is no longer open.", session.status.as_str()),
        None,
    ))
}
