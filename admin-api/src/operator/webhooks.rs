//! `/admin/v1/webhooks`: what Stripe told, what became of it, and having it heeded once more.
//!
//! An event is shown as Stripe sent it. It holds no secret of Tollgate's, but customers' addresses: like everything here
//! it is the operators' alone.

use std::fmt;
use std::str::FromStr;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use tollgate_domain::{AccountId, Timestamp};
use tollgate_store::{EventQuery, EventState, InboxEvent};
use utoipa::ToSchema;

use super::account_named;
use super::accounts::EmptySchema;
use crate::billing::stripe_of;
use crate::context::{Context, audit_line};
use crate::fields::shown;
use crate::inputs;
use crate::page::PageView;
use crate::problem::Problem;
use crate::request::{OptionalBody, Parameters, Segment};

/// Longest kind of event, in characters.
const KIND_CHARS_MAX: usize = 100;

/// An event in the inbox.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = WebhookEvent)]
pub(super) struct EventView {
    /// Its id at Stripe.
    id: String,
    /// Such as `invoice.paid`.
    kind: String,
    /// Whose facts it changes: the customer's id, or the object's where it names none.
    subject: String,
    /// The id of the object it tells of.
    object: String,
    /// The account it names, or was heeded for.
    account: Option<String>,
    /// When it happened, as Stripe says.
    created_at: String,
    received_at: String,
    /// `pending`, `done`, or `dead`: given up, and somebody must look at it.
    state: &'static str,
    /// Attempts that failed.
    attempts: u32,
    /// When a pending one is tried next.
    due_at: String,
    /// When it was heeded or given up.
    settled_at: Option<String>,
    /// Why it failed, or what somebody should know.
    note: Option<String>,
}

/// An event with what Stripe sent.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = WebhookEventDetail)]
pub(super) struct EventDetail {
    #[serde(flatten)]
    event: EventView,
    /// As it came.
    #[schema(schema_with = crate::openapi::any_object)]
    payload: Value,
}

impl EventView {
    fn new(stored: &InboxEvent) -> Self {
        let InboxEvent { event, state, attempts, due_at, settled_at, note } = stored;
        Self {
            id: event.id.clone(),
            kind: event.kind.clone(),
            subject: event.subject.clone(),
            object: event.object.clone(),
            account: event.account.map(|account| account.to_string()),
            created_at: event.created_at.to_string(),
            received_at: event.received_at.to_string(),
            state: state.as_str(),
            attempts: *attempts,
            due_at: due_at.to_string(),
            settled_at: settled_at.map(|at| at.to_string()),
            note: note.clone(),
        }
    }
}

impl EventDetail {
    fn new(stored: &InboxEvent) -> Result<Self, Problem> {
        let payload = serde_json::from_str(&stored.event.payload).map_err(|error| {
            Problem::internal(format!("the stored payload of {} is not JSON: {error}", stored.event.id))
        })?;
        Ok(Self { event: EventView::new(stored), payload })
    }
}

/// Where a page ends: when its last event was received, and that one's id.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cursor(Timestamp, String);

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (micros, id) = text.split_once('.').ok_or(())?;
        let micros = micros.parse().map_err(|_| ())?;
        inputs::foreign_id(id).map(|id| Self(Timestamp::from_micros(micros), id)).map_err(|_| ())
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.0.as_micros(), self.1)
    }
}

/// Events that were received, the newest first.
#[utoipa::path(
    get, path = "/admin/v1/webhooks", tag = "billing", operation_id = "operator_list_webhooks",
    params(
        ("state" = Option<String>, Query, description = "Only `pending`, `done` or `dead` ones."),
        ("kind" = Option<String>, Query, description = "Only of this kind, such as `invoice.paid`."),
        ("account" = Option<String>, Query, description = "Only of this account, by its id or e-mail."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
        ("limit" = Option<u32>, Query, description = "Entries of a page.", minimum = 1, maximum = 200),
    ),
    responses((status = 200, body = PageView<EventView>), (status = 404, body = Problem)),
)]
pub(super) async fn list(
    State(context): State<Context>,
    mut query: Parameters,
) -> Result<Json<PageView<EventView>>, Problem> {
    let limit = query.page_limit();
    let cursor = query.cursor::<Cursor>();
    let state = query.take("state", state);
    let kind = query.take("kind", kind);
    let account = query.take("account", |text| Ok(text.to_owned()));
    query.finish()?;
    let account = match account {
        None => None,
        Some(reference) => Some(match reference.parse::<AccountId>() {
            Ok(id) => id,
            Err(_) => account_named(&context, &reference).await?.id,
        }),
    };
    let before = cursor.map(|Cursor(at, id)| (at, id));
    let page = context.store().inbox(&EventQuery { state, kind, account, before }, limit).await?;
    let last = page.items.last().filter(|_| page.has_more);
    let next = last.map(|last| Cursor(last.event.received_at, last.event.id.clone()).to_string());
    Ok(Json(PageView::new(page.items.iter().map(EventView::new).collect(), next)))
}

/// One event, with what Stripe sent.
#[utoipa::path(
    get, path = "/admin/v1/webhooks/{event}", tag = "billing", operation_id = "operator_show_webhook",
    params(("event" = String, Path, description = "The event's id at Stripe.")),
    responses((status = 200, body = EventDetail)),
)]
pub(super) async fn show(
    State(context): State<Context>,
    Segment(event): Segment,
) -> Result<Json<EventDetail>, Problem> {
    let stored = context.store().inbox_event(&event).await?.ok_or_else(|| no_such_event(&event))?;
    EventDetail::new(&stored).map(Json)
}

/// Has an event heeded once more, whatever became of it: what it tells of is read afresh from Stripe.
#[utoipa::path(
    post, path = "/admin/v1/webhooks/{event}/replay", tag = "billing", operation_id = "operator_replay_webhook",
    params(("event" = String, Path, description = "The event's id at Stripe.")),
    request_body = Option<EmptySchema>,
    responses(
        (status = 202, body = EventView, description = "It waits to be heeded, which is at once where nothing is in the way."),
        (status = 404, body = Problem, description = "There is no such event, or no `[billing.stripe]`."),
    ),
)]
pub(super) async fn replay(
    State(context): State<Context>,
    Segment(event): Segment,
    OptionalBody(fields): OptionalBody,
) -> Result<Response, Problem> {
    fields.finish(&[], Some(()))?;
    // Without it nobody would heed the event.
    stripe_of(&context)?;
    // Only one that is there gets a line in the audit trail, and only its own id stands in it.
    let known = context.store().inbox_event(&event).await?.ok_or_else(|| no_such_event(&event))?;
    let audit = audit_line("webhook.replay", context.now(), json!({ "event": known.event.id }));
    let replayed = context.store().replay_event(&known.event.id, &audit).await?;
    let replayed = replayed.ok_or_else(|| no_such_event(&event))?;
    Ok((http::StatusCode::ACCEPTED, Json(EventView::new(&replayed))).into_response())
}

fn no_such_event(id: &str) -> Problem {
    let advice = "events that were heeded are kept for a while only, and Stripe sends one again from its dashboard";
    Problem::not_found(format!("There is no event `{}`; {advice}", shown(id)))
}

fn state(text: &str) -> Result<EventState, String> {
    EventState::parse(text).ok_or_else(|| format!("`{}` is not a state: send pending, done or dead", shown(text)))
}

fn kind(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._".contains(&byte);
    let fits = (1..=KIND_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_plain);
    fits.then(|| text.to_owned())
        .ok_or_else(|| format!("`{}` is not a kind of event, such as invoice.paid", shown(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let cursor = Cursor(Timestamp::from_micros(-5), "evt_1.a".into());
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "5", ".evt_1", "x.evt_1", "5.", "5.é", "5.a b"] {
            assert_eq!(bad.parse::<Cursor>(), Err(()), "{bad}");
        }
    }
}
