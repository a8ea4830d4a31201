//! Events, as far as they are believed: which happened, to whose facts. What an event says of its object is not believed,
//! for it may be old: it only tells whom to read afresh.

use std::str::FromStr;

use serde::Deserialize;
use serde_json::Value;
use tollgate_domain::{AccountId, Timestamp};
use tollgate_store::NewEvent;

use crate::api::objects::{ACCOUNT_KEY, Event, id_in, is_id};

/// The kinds of event from which something follows, for the endpoint at Stripe to be made with.
pub const EVENT_KINDS: [&str; 21] = [
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.updated",
    "charge.refund.updated",
    "charge.refunded",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.updated",
    "invoice.marked_uncollectible",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.voided",
    "refund.failed",
];

/// The kind of the events that Tollgate puts into the inbox itself, so that whoever works on it reads a customer afresh.
pub(crate) const REFRESH_KIND: &str = "tollgate.refresh";

/// Whether something follows from events of this kind.
pub fn is_used(kind: &str) -> bool {
    // All of a dispute's, also those that a later version adds.
    EVENT_KINDS.binary_search(&kind).is_ok() || kind.starts_with("charge.dispute.")
}

/// Whether an event of this kind may change what is withheld, so that charges must be read too.
pub(crate) fn is_about_charges(kind: &str) -> bool {
    kind.starts_with("charge.") || kind.starts_with("refund.")
}

/// What is wrong with the body of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidEvent {
    /// It is not the JSON of an event.
    #[error("the body is not an event: {0}")]
    Unreadable(String),
    /// It is of the other mode.
    #[error("the event is of {} mode, and this deployment is not", if *.0 { "live" } else { "test" })]
    OtherMode(bool),
}

/// The members that an envelope must have.
#[derive(Deserialize)]
struct Envelope {
    #[serde(flatten)]
    event: Event,
}

/// Reads an event from a webhook's body.
///
/// # Errors
/// It is not one, or is of the other mode.
pub(crate) fn parse(body: &[u8], livemode: bool) -> Result<Event, InvalidEvent> {
    let envelope: Envelope =
        serde_json::from_slice(body).map_err(|error| InvalidEvent::Unreadable(error.to_string()))?;
    check(envelope.event, livemode)
}

/// Checks an event that Stripe listed.
///
/// # Errors
/// Its id is none, or it is of the other mode.
pub(crate) fn check(event: Event, livemode: bool) -> Result<Event, InvalidEvent> {
    if !is_id(&event.id) {
        return Err(InvalidEvent::Unreadable("its id is not one of Stripe's".into()));
    }
    match event.livemode {
        Some(mode) if mode == livemode => Ok(event),
        Some(mode) => Err(InvalidEvent::OtherMode(mode)),
        None => Err(InvalidEvent::Unreadable("it does not say its mode".into())),
    }
}

/// The event as it is stored: whose facts it changes.
pub(crate) fn stored(event: &Event, payload: String, now: Timestamp) -> NewEvent {
    let object = &event.data.object;
    let id = id_in(object).unwrap_or(&event.id).to_owned();
    NewEvent {
        id: event.id.clone(),
        kind: event.kind.clone(),
        subject: customer(object).map_or_else(|| id.clone(), str::to_owned),
        object: id,
        account: account(object),
        created_at: Timestamp::from_secs(event.created),
        received_at: now,
        payload,
    }
}

/// Whether an event's subject is not a customer, but the object that leads to one.
pub(crate) fn is_unresolved(event: &NewEvent) -> bool {
    event.subject == event.object && !matches!(event.kind.as_str(), "customer.deleted" | REFRESH_KIND)
}

/// The customer whom an object belongs to, or is.
fn customer(object: &Value) -> Option<&str> {
    if object.get("object").and_then(Value::as_str) == Some("customer") {
        return id_in(object);
    }
    object.get("customer").and_then(id_in)
}

/// The account that an object names, in whatever place its shape has for it.
fn account(object: &Value) -> Option<AccountId> {
    let places = [
        "/client_reference_id",
        &format!("/metadata/{ACCOUNT_KEY}"),
        &format!("/subscription_details/metadata/{ACCOUNT_KEY}"),
        &format!("/parent/subscription_details/metadata/{ACCOUNT_KEY}"),
    ];
    places.iter().find_map(|place| AccountId::from_str(object.pointer(place)?.as_str()?).ok())
}

/// The charge that a dispute or a refund names in an event's payload.
pub(crate) fn charge_of(payload: &str) -> Option<String> {
    let event: Event = serde_json::from_str(payload).ok()?;
    let object = &event.data.object;
    let kind = object.get("object").and_then(Value::as_str);
    let charge = if kind == Some("charge") { id_in(object) } else { object.get("charge").and_then(id_in) };
    charge.map(str::to_owned)
}

#[cfg(test)]
mod tests;
