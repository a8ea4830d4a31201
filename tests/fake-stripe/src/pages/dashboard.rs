//! The dashboard: the clock, customers and what can happen to them, events and where they went.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use axum::Form;
use axum::extract::State as Shared_;
use axum::response::Response;

use super::html::{button, escape, moment, page, see_other};
use crate::fake::Shared;
use crate::http::error::ApiError;
use crate::objects::customer::Customer;
use crate::objects::event::{Event, Outcome};
use crate::objects::payment_method::{Card, set_card};
use crate::objects::subscription::Subscription;
use crate::state::State;
use crate::state::clock::{DAY, HOUR, add_months};

/// How many customers and events the page shows.
const CUSTOMERS_SHOWN: usize = 50;
const EVENTS_SHOWN: usize = 100;

/// What can be done to a subscription with a button.
const BUTTONS: [(&str, &str); 12] = [
    ("Cancel at the period's end", "cancel_at_period_end"),
    ("Don't cancel", "reactivate"),
    ("Cancel now", "cancel_now"),
    ("Pay the open invoice", "pay_open_invoice"),
    ("Pause", "pause"),
    ("Resume", "resume"),
    ("Refund", "refund"),
    ("Dispute", "dispute"),
    ("Dispute won", "dispute_won"),
    ("Dispute lost", "dispute_lost"),
    ("End trial", "end_trial"),
    ("Renew", "renew"),
];

/// `GET /_fake/`
pub(crate) async fn show(Shared_(shared): Shared_<Arc<Shared>>) -> Response {
    let mut state = shared.lock();
    state.catch_up();
    render(&state, "")
}

fn render(state: &State, error: &str) -> Response {
    let mut body = String::new();
    if !error.is_empty() {
        write!(body, "<p class=\"error\" role=\"alert\">{}</p>", escape(error)).expect("text takes text");
    }
    write!(body, "<h2>Clock</h2><p id=\"clock\">{} UTC</p>", moment(state.now)).expect("text takes text");
    for (label, step) in [("Advance 1 hour", "hour"), ("Advance 1 day", "day"), ("Advance 1 month", "month")] {
        body.push_str(&button(label, &[("advance", step)]));
    }
    if let Some(next) = state.agenda.next_at() {
        write!(body, "<p class=\"note\">Something may next happen at {} UTC.</p>", moment(next))
            .expect("text takes text");
    }
    body.push_str("<h2>Customers</h2>");
    for customer in state.customers.iter().rev().filter(|customer| !customer.deleted).take(CUSTOMERS_SHOWN) {
        body.push_str(&one_customer(state, customer));
    }
    body.push_str("<h2>Events</h2><table><tr><th>Time</th><th>Type</th><th>Delivered</th><th></th></tr>");
    for event in state.events.iter().rev().take(EVENTS_SHOWN) {
        body.push_str(&one_event(event));
    }
    body.push_str("</table>");
    page("Fake Stripe", &body)
}

fn one_customer(state: &State, customer: &Customer) -> String {
    let id = customer.id.as_str();
    let email = customer.email.as_deref().unwrap_or("no address");
    let card = match customer.card {
        Card::Good | Card::DeclinesNext(0) => "next charge succeeds".to_owned(),
        Card::Declines => "charges fail".to_owned(),
        Card::DeclinesNext(more) => format!("next {more} charges fail"),
        Card::None => "no card".to_owned(),
    };
    let mut text = format!("<div class=\"card\"><p><strong>{}</strong> <code>{id}</code>: {card}</p>", escape(email));
    for (label, card) in [
        ("Next charge succeeds", "good"),
        ("Charges fail", "declines"),
        ("Next charge fails", "declines_next"),
        ("Remove card", "none"),
    ] {
        text.push_str(&button(label, &[("customer", id), ("card", card)]));
    }
    for subscription in state.subscriptions.of_customer(id).rev() {
        text.push_str(&one_subscription(subscription));
    }
    text.push_str("</div>");
    text
}

fn one_subscription(subscription: &Subscription) -> String {
    let id = subscription.id.as_str();
    let prices: Vec<&str> = subscription.items.iter().map(|item| item.price.as_str()).collect();
    let (start, end) = subscription.period();
    let mut text = format!(
        "<p><code>{id}</code> {} <strong>{}</strong>, {} to {}</p>",
        escape(&prices.join(", ")),
        subscription.status.as_str(),
        moment(start),
        moment(end)
    );
    if !subscription.status.is_final() {
        for (label, action) in BUTTONS {
            text.push_str(&button(label, &[("subscription", id), ("action", action)]));
        }
    }
    text
}

fn one_event(event: &Event) -> String {
    let mut delivered = String::new();
    for delivery in &event.deliveries {
        let word = match delivery.outcome {
            Outcome::Pending => "waiting",
            Outcome::Delivered => "yes",
            Outcome::Failed => "failed",
            Outcome::Dropped => "lost on purpose",
        };
        let status = delivery.status.map_or(String::new(), |status| format!(" ({status})"));
        write!(delivered, "{word}{status}, {} attempts<br>", delivery.attempts).expect("text takes text");
    }
    if event.deliveries.is_empty() {
        delivered.push_str(if event.is_delivered() { "nobody asked for it" } else { "only collected" });
    }
    format!(
        "<tr><td>{}</td><td>{}<br><code>{}</code></td><td>{delivered}</td><td>{}</td></tr>",
        moment(event.created),
        escape(&event.kind),
        event.id,
        button("Send again", &[("redeliver", &event.id)])
    )
}

/// `POST /_fake/`
pub(crate) async fn act(Shared_(shared): Shared_<Arc<Shared>>, Form(form): Form<HashMap<String, String>>) -> Response {
    let mut state = shared.lock();
    state.catch_up();
    let result = play(&mut state, &form);
    shared.wake.notify_one();
    match result {
        Ok(()) => see_other("/_fake/"),
        Err(error) => render(&state, &error.message),
    }
}

fn play(state: &mut State, form: &HashMap<String, String>) -> Result<(), ApiError> {
    let field = |name: &str| form.get(name).map(String::as_str);
    if let Some(step) = field("advance") {
        let seconds = match step {
            "hour" => HOUR,
            "month" => add_months(state.now, 1) - state.now,
            _ => DAY,
        };
        state.advance(seconds);
    }
    if let Some(event) = field("redeliver") {
        state.redeliver(event);
    }
    if let (Some(customer), Some(card)) = (field("customer"), field("card")) {
        state.living_customer(customer)?;
        let card = match card {
            "declines" => Card::Declines,
            "declines_next" => Card::DeclinesNext(1),
            "none" => Card::None,
            _ => Card::Good,
        };
        set_card(state, customer, card);
    }
    if let (Some(subscription), Some(action)) = (field("subscription"), field("action")) {
        let action =
            action.parse().map_err(|error: crate::action::UnknownAction| ApiError::invalid(error.to_string(), None))?;
        state.act(subscription, &action)?;
    }
    Ok(())
}
