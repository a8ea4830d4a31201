//! The portal page: what a customer has, and cancelling, taking that back, changing the price, another card.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use axum::Form;
use axum::extract::{Path, State as Shared_};
use axum::response::Response;

use super::html::{button, escape, moment, money, not_found, page, see_other};
use crate::action::Action;
use crate::fake::Shared;
use crate::http::error::ApiError;
use crate::objects::payment_method::{Card, set_card};
use crate::objects::portal::by_token;
use crate::objects::subscription::{Status, Subscription};
use crate::state::State;

/// `GET /p/session/{token}`
pub(crate) async fn show(Shared_(shared): Shared_<Arc<Shared>>, Path(token): Path<String>) -> Response {
    let mut state = shared.lock();
    state.catch_up();
    render(&state, &token, "")
}

fn render(state: &State, token: &str, error: &str) -> Response {
    let Some(session) = by_token(state, token) else { return not_found("There is no such portal session.") };
    let mut body = String::new();
    if !error.is_empty() {
        write!(body, "<p class=\"error\" role=\"alert\">{}</p>", escape(error)).expect("text takes text");
    }
    for subscription in state.subscriptions.of_customer(&session.customer).rev() {
        body.push_str(&one_subscription(state, subscription));
    }
    let card = state.customers.get(&session.customer).map_or(Card::None, |customer| customer.card);
    let card = match card {
        Card::None => "None",
        Card::Good => "Visa ending in 4242",
        Card::Declines | Card::DeclinesNext(_) => "Visa ending in 0341",
    };
    write!(body, "<h2>Payment method</h2><p>{card}</p>").expect("text takes text");
    body.push_str(&button("New card", &[("action", "card")]));
    body.push_str(&button("New card that declines", &[("action", "card_bad")]));
    if let Some(return_url) = &session.return_url {
        write!(body, "<p><a href=\"{}\">Return to the shop</a></p>", escape(return_url)).expect("text takes text");
    }
    page("Your billing", &body)
}

fn one_subscription(state: &State, subscription: &Subscription) -> String {
    let mut text = String::from("<div class=\"card\">");
    for item in &subscription.items {
        let Some(price) = state.prices.get(&item.price) else { continue };
        let product = state.products.get(&price.product).map_or("", |product| product.name.as_str());
        let amount = money(price.amount(item.quantity), &price.currency);
        write!(text, "<p><strong>{}</strong> {amount} (<code>{}</code>)</p>", escape(product), escape(&price.id))
            .expect("text takes text");
    }
    write!(text, "<p>Status: <strong>{}</strong>", subscription.status.as_str()).expect("text takes text");
    if let Some(at) = subscription.cancel_at.filter(|_| !subscription.status.is_final()) {
        write!(text, ", ends on {}", moment(at)).expect("text takes text");
    } else if let Some(at) = subscription.next_period_end().filter(|_| subscription.status.renews()) {
        write!(text, ", renews on {}", moment(at)).expect("text takes text");
    }
    text.push_str("</p>");
    if !subscription.status.is_final() {
        text.push_str(&subscription_buttons(state, subscription));
    }
    text.push_str("</div>");
    text
}

fn subscription_buttons(state: &State, subscription: &Subscription) -> String {
    let id = subscription.id.as_str();
    let mut text = if subscription.cancel_at.is_some() {
        button("Don't cancel", &[("action", "reactivate"), ("subscription", id)])
    } else {
        button("Cancel at the period's end", &[("action", "cancel"), ("subscription", id)])
    };
    text.push_str(&button("Cancel now", &[("action", "cancel_now"), ("subscription", id)]));
    if matches!(subscription.status, Status::PastDue | Status::Unpaid | Status::Incomplete) {
        text.push_str(&button("Pay the open invoice", &[("action", "pay"), ("subscription", id)]));
    }
    if subscription.status == Status::Paused {
        text.push_str(&button("Resume", &[("action", "resume"), ("subscription", id)]));
    }
    for price in
        state.prices.iter().filter(|price| price.active && price.recurring.is_some() && price.meter().is_none())
    {
        if subscription.items.iter().all(|item| item.price != price.id) {
            let product = state.products.get(&price.product).map_or("", |product| product.name.as_str());
            let label = format!("Change to {product}, {}", money(price.amount(1), &price.currency));
            text.push_str(&button(&label, &[("action", "change"), ("subscription", id), ("price", &price.id)]));
        }
    }
    text
}

/// `POST /p/session/{token}`
pub(crate) async fn act(
    Shared_(shared): Shared_<Arc<Shared>>,
    Path(token): Path<String>,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let mut state = shared.lock();
    state.catch_up();
    let Some(session) = by_token(&state, &token) else { return not_found("There is no such portal session.") };
    let customer = session.customer.clone();
    let result = play(&mut state, &customer, &form);
    shared.wake.notify_one();
    match result {
        Ok(()) => see_other(&format!("/p/session/{token}")),
        Err(error) => render(&state, &token, &error.message),
    }
}

fn play(state: &mut State, customer: &str, form: &HashMap<String, String>) -> Result<(), ApiError> {
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let action = match field("action") {
        "card" | "card_bad" => {
            set_card(state, customer, if field("action") == "card" { Card::Good } else { Card::Declines });
            return Ok(());
        }
        "cancel" => Action::CancelAtPeriodEnd,
        "cancel_now" => Action::CancelNow,
        "reactivate" => Action::Reactivate,
        "pay" => Action::PayOpenInvoice,
        "resume" => Action::Resume,
        "change" => Action::ChangePrice(field("price").to_owned()),
        other => return Err(ApiError::invalid(format!("There is no button `{other}`."), Some("action"))),
    };
    let id = field("subscription");
    // A page of one customer reaches nothing of another's.
    let own = state.subscriptions.get(id).is_some_and(|subscription| subscription.customer == customer);
    if !own {
        return Err(ApiError::no_such("subscription", id, "subscription"));
    }
    state.act(id, &action)
}
