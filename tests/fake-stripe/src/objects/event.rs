//! Events: what happened, kept as the text that was sent.
//!
//! Making them is in `webhooks::emit`, sending them in `webhooks::deliver`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::paging;
use crate::state::clock::DAY;
use crate::state::table::Row;
use crate::state::{Shape, State};

#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) created: i64,
    pub(crate) customer: Option<String>,
    pub(crate) subscription: Option<String>,
    /// The event as it was sent, so that it never changes with the object.
    pub(crate) body: Arc<str>,
    pub(crate) deliveries: Vec<DeliveryRecord>,
    /// Set where events are only collected, or a test says that one arrived.
    pub(crate) marked_delivered: Option<bool>,
}

/// What became of an event at one endpoint.
#[derive(Debug)]
pub(crate) struct DeliveryRecord {
    pub(crate) endpoint: String,
    pub(crate) outcome: Outcome,
    pub(crate) attempts: u32,
    /// The last answer's status; none where there was no answer.
    pub(crate) status: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Pending,
    Delivered,
    Failed,
    /// Never sent, because the fake was told to lose it.
    Dropped,
}

impl Event {
    /// Whether every endpoint that wanted it has it.
    pub(crate) fn is_delivered(&self) -> bool {
        self.marked_delivered
            .unwrap_or_else(|| self.deliveries.iter().all(|delivery| delivery.outcome == Outcome::Delivered))
    }

    fn pending(&self) -> usize {
        if self.marked_delivered == Some(true) {
            return 0;
        }
        self.deliveries.iter().filter(|delivery| delivery.outcome != Outcome::Delivered).count()
    }
}

impl Row for Event {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn customer(&self) -> Option<&str> {
        self.customer.as_deref()
    }

    fn render(&self, _state: &State, _shape: Shape) -> Value {
        let mut value: Value = serde_json::from_str(&self.body).unwrap_or(Value::Null);
        value["pending_webhooks"] = json!(self.pending());
        value
    }
}

/// Events are kept for 30 days.
fn kept_since(state: &State) -> i64 {
    state.now - 30 * DAY
}

/// `GET /v1/events/{id}`
pub(crate) fn get(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    let since = kept_since(state);
    let found = state.events.get(id).filter(|event| event.created >= since);
    found.ok_or_else(|| ApiError::no_such("event", id, "id"))?;
    call.show(state, id)
}

/// `GET /v1/events`
pub(crate) fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    call.only(&[
        "created",
        "delivery_success",
        "ending_before",
        "expand",
        "limit",
        "starting_after",
        "type",
        "types",
        "related_object",
    ])?;
    let delivered = call.params.flag("delivery_success")?;
    let mut types = call.params.texts("types");
    types.extend(call.params.value("type"));
    let since = kept_since(state);
    paging::page(state, &state.events, call, None, |event| {
        event.created >= since
            && delivered.is_none_or(|delivered| event.is_delivered() == delivered)
            && (types.is_empty() || types.iter().any(|pattern| matches(pattern, &event.kind)))
    })
}

/// Whether a type is meant by a pattern such as `*`, `invoice.*` or `invoice.paid`.
pub(crate) fn matches(pattern: &str, kind: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == kind, |prefix| kind.starts_with(prefix))
}
