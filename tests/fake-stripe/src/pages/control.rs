//! The controls under `/_fake`, as JSON: what the handle does from inside, for scripts and other processes.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State as Shared_};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::control_bodies::{
    ActBody, AsyncBody, CardBody, CheckoutBody, ClockBody, DeliveryBody, EmitBody, EndpointBody, FaultBody, PriceBody,
    RollBody, SeedBody, ShapeBody,
};
use crate::action::Action;
use crate::fake::Shared;
use crate::http::error::ApiError;
use crate::objects::payment_method::set_card;
use crate::objects::{checkout_outcomes, webhook_endpoint};
use crate::seed::{NewPrice, Seed};
use crate::state::State;
use crate::state::clock::{DAY, add_months};

type Control = Shared_<Arc<Shared>>;

/// Does something with the state and answers with what came of it.
fn with(shared: &Shared, act: impl FnOnce(&mut State) -> Result<Value, ApiError>) -> Response {
    let mut state = shared.lock();
    state.catch_up();
    let result = act(&mut state);
    drop(state);
    shared.wake.notify_one();
    match result {
        Ok(value) => Json(value).into_response(),
        Err(error) => {
            let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
            (status, Json(error.body())).into_response()
        }
    }
}

fn done() -> Value {
    json!({ "done": true })
}

pub(crate) async fn state(Shared_(shared): Control) -> Response {
    with(&shared, |state| {
        Ok(json!({
            "now": state.now,
            "customers": state.customers.len(),
            "subscriptions": state.subscriptions.len(),
            "invoices": state.invoices.len(),
            "events": state.events.len(),
            "collected": state.collected.len(),
            "unfinished_deliveries": state.jobs.unfinished(),
        }))
    })
}

pub(crate) async fn clock(Shared_(shared): Control) -> Response {
    with(&shared, |state| Ok(json!({ "now": state.now, "next_due": state.agenda.next_at() })))
}

pub(crate) async fn move_clock(Shared_(shared): Control, Json(body): Json<ClockBody>) -> Response {
    with(&shared, |state| {
        let to = body.to.unwrap_or(add_months(state.now, body.months) + body.days * DAY + body.seconds);
        state.advance(to - state.now);
        Ok(json!({ "now": state.now, "next_due": state.agenda.next_at() }))
    })
}

pub(crate) async fn make_price(Shared_(shared): Control, Json(body): Json<PriceBody>) -> Response {
    with(&shared, |state| {
        let id = state.make_price(&NewPrice {
            id: &body.id,
            product: &body.product,
            unit_amount: body.unit_amount,
            currency: &body.currency,
            interval: body.interval,
            interval_count: body.interval_count,
            metered: body.metered.as_deref(),
        });
        Ok(json!({ "id": id }))
    })
}

pub(crate) async fn seed(Shared_(shared): Control, Json(body): Json<SeedBody>) -> Response {
    let prices: Vec<&str> = body.prices.iter().map(String::as_str).collect();
    let metadata: Vec<(&str, &str)> =
        body.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    with(&shared, |state| {
        let mut one = |email: &str| {
            state.seed(&Seed {
                email,
                customer: body.customer.as_deref(),
                prices: &prices,
                trial_days: body.trial_days,
                pause_without_card: body.pause_without_card,
                metadata: &metadata,
                card: body.card,
            })
        };
        let Some(count) = body.count else { return Ok(json!(one(&body.email)?)) };
        let (name, host) = body.email.split_once('@').unwrap_or((&body.email, "example.com"));
        let made: Result<Vec<_>, ApiError> =
            (1..=count).map(|number| one(&format!("{name}+{number}@{host}"))).collect();
        Ok(json!(made?))
    })
}

pub(crate) async fn card(Shared_(shared): Control, Path(id): Path<String>, Json(body): Json<CardBody>) -> Response {
    with(&shared, |state| {
        state.living_customer(&id)?;
        set_card(state, &id, body.card);
        Ok(done())
    })
}

pub(crate) async fn act(Shared_(shared): Control, Path(id): Path<String>, Json(body): Json<ActBody>) -> Response {
    with(&shared, |state| {
        let action = match (body.action.as_str(), body.price, body.amount) {
            ("change_price", Some(price), _) => Action::ChangePrice(price),
            ("refund", _, amount) => Action::Refund(amount),
            (word, ..) => word
                .parse()
                .map_err(|error: crate::action::UnknownAction| ApiError::invalid(error.to_string(), Some("action")))?,
        };
        state.act(&id, &action)?;
        Ok(done())
    })
}

pub(crate) async fn checkout(
    Shared_(shared): Control,
    Path(id): Path<String>,
    Json(body): Json<CheckoutBody>,
) -> Response {
    with(&shared, |state| checkout_outcomes::play(state, &id, body.outcome, body.email.as_deref()).map(|()| done()))
}

pub(crate) async fn async_payment(
    Shared_(shared): Control,
    Path(id): Path<String>,
    Json(body): Json<AsyncBody>,
) -> Response {
    with(&shared, |state| checkout_outcomes::async_payment(state, &id, body.succeeded).map(|()| done()))
}

pub(crate) async fn add_endpoint(Shared_(shared): Control, Json(body): Json<EndpointBody>) -> Response {
    with(&shared, |state| {
        let secret = state.config.webhook_secret.clone();
        let events = body.enabled_events.unwrap_or_else(|| vec!["*".to_owned()]);
        let id = webhook_endpoint::add(state, &body.url, events, Some(secret.clone()));
        Ok(json!({ "id": id, "secret": secret }))
    })
}

pub(crate) async fn roll(Shared_(shared): Control, Path(id): Path<String>, Json(body): Json<RollBody>) -> Response {
    with(&shared, |state| Ok(json!({ "secret": webhook_endpoint::roll(state, &id, body.keep_old_seconds)? })))
}

pub(crate) async fn delivery(Shared_(shared): Control, Json(body): Json<DeliveryBody>) -> Response {
    with(&shared, |state| {
        body.apply(&mut state.config.delivery);
        Ok(done())
    })
}

pub(crate) async fn shape(Shared_(shared): Control, Json(body): Json<ShapeBody>) -> Response {
    with(&shared, |state| {
        state.config.event_shape =
            body.shape().ok_or_else(|| ApiError::invalid("A shape is `new`, `old` or `mixed`.", Some("shape")))?;
        Ok(done())
    })
}

pub(crate) async fn take_events(Shared_(shared): Control) -> Response {
    with(&shared, |state| {
        let positions = std::mem::take(&mut state.collected);
        let events = positions.into_iter().map(|position| {
            let event = state.signed(position);
            json!({
                "id": event.id,
                "type": event.kind,
                "created": event.created,
                "customer": event.customer,
                "subscription": event.subscription,
                "body": &*event.body,
                "signature": event.signature,
            })
        });
        Ok(events.collect())
    })
}

pub(crate) async fn redeliver(Shared_(shared): Control, Path(id): Path<String>) -> Response {
    with(&shared, |state| if state.redeliver(&id) { Ok(done()) } else { Err(ApiError::no_such("event", &id, "id")) })
}

pub(crate) async fn delivered(Shared_(shared): Control, Path(id): Path<String>) -> Response {
    with(&shared, |state| {
        let event = state.events.get_mut(&id).ok_or_else(|| ApiError::no_such("event", &id, "id"))?;
        event.marked_delivered = Some(true);
        Ok(done())
    })
}

pub(crate) async fn emit(Shared_(shared): Control, Json(body): Json<EmitBody>) -> Response {
    with(&shared, |state| Ok(json!({ "id": state.tell_foreign(&body.kind, body.object) })))
}

pub(crate) async fn inject(Shared_(shared): Control, Json(body): Json<FaultBody>) -> Response {
    with(&shared, |state| {
        let fault = body.fault().ok_or_else(|| {
            ApiError::invalid("A fault is `status`, `hang`, `late`, `cut` or `cut_after`.", Some("kind"))
        })?;
        state.faults.0.push(fault);
        Ok(done())
    })
}

pub(crate) async fn clear_faults(Shared_(shared): Control) -> Response {
    with(&shared, |state| {
        state.faults.0.clear();
        Ok(done())
    })
}

pub(crate) async fn requests(Shared_(shared): Control) -> Response {
    with(&shared, |state| Ok(json!(state.requests)))
}

pub(crate) async fn clear_requests(Shared_(shared): Control) -> Response {
    with(&shared, |state| {
        state.requests.clear();
        Ok(done())
    })
}

pub(crate) async fn meter_events(Shared_(shared): Control) -> Response {
    with(&shared, |state| Ok(json!(state.meter_events.records)))
}

pub(crate) async fn object(Shared_(shared): Control, Path(id): Path<String>) -> Response {
    with(&shared, |state| {
        let shape = state.event_shape();
        state.render(&id, shape).ok_or_else(|| ApiError::no_such("object", &id, "id"))
    })
}
