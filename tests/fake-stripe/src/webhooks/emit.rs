//! Events made from changes of objects, and collected or handed to delivery.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::deliver::Job;
use super::sign::signature_header;
use crate::config::{Mode, SignatureTime};
use crate::objects::event::{DeliveryRecord, Event, Outcome};
use crate::state::clock::real_now;
use crate::state::{Shape, Snapshot, State};

/// An event as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedEvent {
    /// Its id.
    pub id: String,
    /// Its `type`.
    pub kind: String,
    /// When it was made, in Unix seconds.
    pub created: i64,
    /// The customer it is about.
    pub customer: Option<String>,
    /// The subscription it is about.
    pub subscription: Option<String>,
    /// The body to send.
    pub body: Arc<str>,
    /// The `Stripe-Signature` header to send with it.
    pub signature: String,
}

impl State {
    /// Tells of an object as it is.
    pub(crate) fn emit(&mut self, kind: &str, id: &str) {
        if self.muted.contains(&kind) {
            return;
        }
        let shape = self.event_shape();
        if let Some(object) = self.render(id, shape) {
            self.tell(kind, id, object, None, shape);
        }
    }

    /// Tells of an object that changed. An `updated` without any change is not told.
    pub(crate) fn emit_change(&mut self, kind: &str, id: &str, before: Snapshot) {
        if self.muted.contains(&kind) {
            return;
        }
        let Some(object) = self.render(id, before.shape) else { return };
        let previous = difference(before.value, &object);
        if kind.ends_with(".updated") && previous.is_empty() {
            return;
        }
        self.tell(kind, id, object, Some(previous), before.shape);
    }

    /// Tells of one change under several types.
    pub(crate) fn emit_changes(&mut self, kinds: &[&str], id: &str, before: &Snapshot) {
        for kind in kinds {
            self.emit_change(kind, id, before.clone());
        }
    }

    /// Keeps events of these types back until `unmute`: for changes that are told as a whole afterwards.
    pub(crate) fn mute(&mut self, kinds: &'static [&'static str]) {
        self.muted = kinds;
    }

    pub(crate) fn unmute(&mut self) {
        self.muted = &[];
    }

    /// Makes an event of any type around any object.
    pub(crate) fn tell(
        &mut self,
        kind: &str,
        id: &str,
        object: Value,
        previous: Option<Map<String, Value>>,
        shape: Shape,
    ) -> String {
        let event_id = self.random.id("evt", 24);
        let mut data = Map::from_iter([("object".to_owned(), object)]);
        data.extend(previous.map(|previous| ("previous_attributes".to_owned(), Value::Object(previous))));
        let (deliveries, jobs) = self.plan_deliveries(kind);
        let request = self.request.as_ref();
        let mut body = json!({
            "id": event_id,
            "object": "event",
            "api_version": shape.version(),
            "created": self.now,
            "livemode": self.config.livemode,
            "pending_webhooks": deliveries.len().max(1),
            "request": {
                "id": request.map(|request| request.id.as_str()),
                "idempotency_key": request.and_then(|request| request.idempotency_key.as_deref()),
            },
            "type": kind,
        });
        body["data"] = Value::Object(data);
        let (customer, subscription) = self.owner(id);
        let collected = self.config.delivery.mode == Mode::Off;
        let position = self.events.len();
        self.events.insert(Event {
            id: event_id.clone(),
            kind: kind.to_owned(),
            created: self.now,
            customer,
            subscription,
            body: body.to_string().into(),
            deliveries,
            marked_delivered: collected.then_some(false),
        });
        if collected {
            self.collected.push(position);
        }
        for delivery in jobs {
            self.jobs.push(Job::first(position, delivery));
        }
        event_id
    }

    /// Makes an event around an object that need not be the fake's.
    pub(crate) fn tell_foreign(&mut self, kind: &str, object: Value) -> String {
        let shape = self.event_shape();
        let id = object.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.tell(kind, &id, object, None, shape)
    }

    /// Which endpoints an event goes to, and how often: a delivery's index once for each time that it is sent.
    fn plan_deliveries(&mut self, kind: &str) -> (Vec<DeliveryRecord>, Vec<usize>) {
        if self.config.delivery.mode == Mode::Off {
            return (Vec::new(), Vec::new());
        }
        let wanting: Vec<String> =
            self.endpoints.iter().filter(|endpoint| endpoint.wants(kind)).map(|endpoint| endpoint.id.clone()).collect();
        let (share, times) = (self.config.delivery.drop, self.config.delivery.duplicates as usize + 1);
        let mut deliveries = Vec::new();
        let mut jobs = Vec::new();
        for endpoint in wanting {
            let dropped = self.random.chance(share);
            if !dropped {
                jobs.extend(std::iter::repeat_n(deliveries.len(), times));
            }
            let outcome = if dropped { Outcome::Dropped } else { Outcome::Pending };
            deliveries.push(DeliveryRecord { endpoint, outcome, attempts: 0, status: None });
        }
        (deliveries, jobs)
    }

    /// Whose an object is, and which subscription it belongs to.
    fn owner(&self, id: &str) -> (Option<String>, Option<String>) {
        let invoice_of = |charge: &str| self.charges.get(charge).and_then(|charge| charge.invoice.clone());
        let subscription = match id.split_once('_').map_or("", |(prefix, _)| prefix) {
            "sub" => Some(id.to_owned()),
            "in" => self.invoices.get(id).and_then(|invoice| invoice.subscription.clone()),
            "ch" => invoice_of(id).and_then(|id| self.invoices.get(&id)?.subscription.clone()),
            "du" => self
                .disputes
                .get(id)
                .and_then(|dispute| invoice_of(&dispute.charge))
                .and_then(|id| self.invoices.get(&id)?.subscription.clone()),
            "cs" => self.sessions.get(id).and_then(|session| session.subscription.clone()),
            _ => None,
        };
        let session_customer = self.sessions.get(id).and_then(|session| session.customer.clone());
        let customer = self.row(id).and_then(|row| row.customer().map(str::to_owned)).or(session_customer);
        (customer, subscription)
    }

    /// The time that signatures carry.
    pub(crate) fn signature_now(&self) -> i64 {
        match self.config.signature_time {
            SignatureTime::Real => real_now(),
            SignatureTime::Fake => self.now,
        }
    }

    /// An event signed with the configured secret.
    pub(crate) fn signed(&self, position: usize) -> SignedEvent {
        let event = self.events.at(position);
        let secret = self.config.webhook_secret.as_str();
        SignedEvent {
            id: event.id.clone(),
            kind: event.kind.clone(),
            created: event.created,
            customer: event.customer.clone(),
            subscription: event.subscription.clone(),
            body: Arc::clone(&event.body),
            signature: signature_header(event.body.as_bytes(), &[secret], self.signature_now(), self.config.sign_v0),
        }
    }
}

/// What changed, as it was before: whole values, and only the changed parts of objects that are no lists.
fn difference(before: Value, after: &Value) -> Map<String, Value> {
    let Value::Object(before) = before else { return Map::new() };
    let known: std::collections::BTreeSet<String> = before.keys().cloned().collect();
    let mut changed = Map::new();
    for (name, old) in before {
        let new = after.get(&name).unwrap_or(&Value::Null);
        if &old == new {
            continue;
        }
        let is_list = old.get("object").is_some_and(|kind| kind == "list");
        if old.is_object() && new.is_object() && !is_list {
            changed.insert(name, Value::Object(difference(old, new)));
        } else {
            changed.insert(name, old);
        }
    }
    // What was not there before, such as new metadata, was null.
    let new = after.as_object().into_iter().flatten().filter(|(name, _)| !known.contains(name.as_str()));
    changed.extend(new.map(|(name, _)| (name.clone(), Value::Null)));
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previous_attributes_hold_only_what_changed() {
        let before = json!({ "status": "active", "same": 1, "metadata": { "a": "1", "b": "2" }, "items": { "object": "list", "data": [1] } });
        let after = json!({ "status": "past_due", "same": 1, "metadata": { "a": "1", "b": "3", "c": "4" }, "items": { "object": "list", "data": [2] } });
        assert_eq!(
            Value::Object(difference(before, &after)),
            json!({ "status": "active", "metadata": { "b": "2", "c": null }, "items": { "object": "list", "data": [1] } })
        );
    }
}
