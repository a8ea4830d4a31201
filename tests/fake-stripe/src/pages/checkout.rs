//! The Checkout page: pay, be declined, or leave.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use axum::Form;
use axum::extract::{Path, State as Shared_};
use axum::response::Response;

use super::html::{button, escape, money, not_found, page, see_other};
use crate::fake::Shared;
use crate::objects::checkout::{CheckoutOutcome, Session, SessionStatus};
use crate::objects::checkout_outcomes::play;
use crate::state::State;

/// `GET /c/pay/{session}`
pub(crate) async fn show(Shared_(shared): Shared_<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let mut state = shared.lock();
    state.catch_up();
    render(&state, &id, "")
}

fn render(state: &State, id: &str, error: &str) -> Response {
    let Some(session) = state.sessions.get(id) else { return not_found("There is no such Checkout session.") };
    match session.status {
        SessionStatus::Open => {}
        SessionStatus::Complete => return page("You are all done here", "<p>This Checkout session is paid.</p>"),
        SessionStatus::Expired => return page("Something went wrong", "<p>This Checkout session has expired.</p>"),
    }
    let mut body = String::new();
    if !error.is_empty() {
        write!(body, "<p class=\"error\" role=\"alert\">{}</p>", escape(error)).expect("text takes text");
    }
    body.push_str(&items(state, session));
    body.push_str(&pay_form(session, state));
    body.push_str(&button("Card declines", &[("outcome", "decline")]));
    body.push_str(&button("Pay by bank debit, which answers later", &[("outcome", "pay_later")]));
    body.push_str(&button("Cancel", &[("outcome", "cancel")]));
    page("Checkout", &body)
}

fn items(state: &State, session: &Session) -> String {
    let mut rows = String::from("<div class=\"card\"><table>");
    for (id, quantity) in &session.items {
        let Some(price) = state.prices.get(id) else { continue };
        let product = state.products.get(&price.product).map_or(id.as_str(), |product| product.name.as_str());
        let every = price.recurring.as_ref().map_or("", |recurring| recurring.interval.as_str());
        let amount =
            if price.meter().is_some() { "by use".to_owned() } else { money(price.amount(*quantity), &price.currency) };
        write!(rows, "<tr><td>{quantity} × {}</td><td>{amount} a {every}</td></tr>", escape(product))
            .expect("text takes text");
    }
    let due = money(session.due_now(state), &session.currency);
    write!(rows, "<tr><th>Due today</th><th>{due}</th></tr></table>").expect("text takes text");
    if let Some(days) = session.trial_days {
        write!(rows, "<p>{days} days free, then the price above.</p>").expect("text takes text");
    }
    rows.push_str("</div>");
    rows
}

/// The button that pays; without a known customer it asks for an e-mail, as Stripe does.
fn pay_form(session: &Session, state: &State) -> String {
    let label = if session.has_trial() { "Start trial" } else { "Pay" };
    if session.knows_email(state) {
        return button(label, &[("outcome", "pay")]);
    }
    format!(
        "<form method=\"post\"><label>E-mail <input type=\"email\" name=\"email\" required></label>\
         <input type=\"hidden\" name=\"outcome\" value=\"pay\"><button type=\"submit\">{label}</button></form>"
    )
}

/// `POST /c/pay/{session}`
pub(crate) async fn act(
    Shared_(shared): Shared_<Arc<Shared>>,
    Path(id): Path<String>,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let mut state = shared.lock();
    state.catch_up();
    let Some(session) = state.sessions.get(&id) else { return not_found("There is no such Checkout session.") };
    let (success, cancel) = (session.success_address(), session.cancel_url.clone());
    let email = form.get("email").map(String::as_str).filter(|email| !email.is_empty());
    let outcome = match form.get("outcome").map(String::as_str) {
        Some("pay") => CheckoutOutcome::Pay,
        Some("pay_later") => CheckoutOutcome::PayLater,
        Some("decline") => CheckoutOutcome::Decline,
        // Leaving changes nothing: the session stays open until its day is over.
        _ => return see_other(cancel.as_deref().unwrap_or(&success)),
    };
    let result = play(&mut state, &id, outcome, email);
    shared.wake.notify_one();
    match (result, outcome) {
        (Err(error), _) => render(&state, &id, &error.message),
        (Ok(()), CheckoutOutcome::Decline) => render(&state, &id, "Your card was declined. Try another one."),
        (Ok(()), _) => see_other(&success),
    }
}
