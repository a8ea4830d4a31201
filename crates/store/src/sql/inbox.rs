//! What Stripe has told: each event stored once, and what became of it. What an event means is not known here.

use tollgate_domain::{AccountId, Timestamp};

use super::accounts::page;
use super::audit;
use super::database::{Connection, Query, Row, Value, query};
use super::prune::{Oldest, oldest};
use super::row::Fields;
use crate::billing::{EventQuery, EventState, InboxEvent, InboxState, NewEvent, Outcome, Settled};
use crate::error::StoreError;
use crate::record::{NewAudit, Page};

macro_rules! columns {
    () => {
        "id, kind, subject, object, account, created_at_us, received_at_us, payload, state, attempts, due_us, \
         settled_at_us, note"
    };
}

/// What is left of a payload whose account was deleted.
const ERASED_PAYLOAD: &str = "{}";

/// Stores an event. Of one that is told of an account that was deleted, nothing is kept that may tell of a person.
pub(crate) const RECEIVE: &str = "INSERT INTO webhook_inbox (id, kind, subject, object, account, created_at_us, \
    received_at_us, payload, state, attempts, due_us) VALUES ($1, $2, $3, $4, $5, $6, $7, \
    CASE WHEN EXISTS (SELECT 1 FROM accounts a WHERE a.id = $5 AND a.deleted_at_us IS NOT NULL) \
    OR (EXISTS (SELECT 1 FROM accounts a WHERE a.stripe_customer = $3 AND a.deleted_at_us IS NOT NULL) \
    AND NOT EXISTS (SELECT 1 FROM accounts a WHERE a.stripe_customer = $3 AND a.deleted_at_us IS NULL)) \
    THEN $9 ELSE $8 END, 'pending', 0, $7) ON CONFLICT (id) DO NOTHING";

/// Whether the event was new.
pub(super) async fn receive(connection: &mut Connection, event: &NewEvent) -> Result<bool, StoreError> {
    let stored = query(RECEIVE)
        .bind(&event.id)
        .bind(&event.kind)
        .bind(&event.subject)
        .bind(&event.object)
        .bind(event.account.map(|id| id.to_string()))
        .bind(event.created_at.as_micros())
        .bind(event.received_at.as_micros())
        .bind(&event.payload)
        .bind(ERASED_PAYLOAD)
        .execute(connection)
        .await?;
    Ok(stored > 0)
}

/// Events, newest first.
pub(super) async fn list(
    connection: &mut Connection,
    asked: &EventQuery,
    limit: u32,
) -> Result<Page<InboxEvent>, StoreError> {
    let rows = listing(asked, limit).fetch_all(connection).await?;
    page(rows.iter().map(event), limit)
}

/// The statement of a list, which holds the conditions that are asked for and no others: so an index serves each. Few
/// events are in a state that has an index, and it is found by the state's own word.
pub(crate) fn listing(asked: &EventQuery, limit: u32) -> Query {
    let mut conditions = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    if let Some(state) = asked.state {
        conditions.push(format!("state = '{}'", state.as_str()));
    }
    if let Some(kind) = &asked.kind {
        values.push(kind.into());
        conditions.push(format!("kind = ${}", values.len()));
    }
    if let Some(account) = asked.account {
        values.push(account.to_string().into());
        conditions.push(format!("account = ${}", values.len()));
    }
    if let Some((received_at, id)) = &asked.before {
        values.extend([received_at.as_micros().into(), id.into()]);
        conditions.push(format!("(received_at_us, id) < (${}, ${})", values.len() - 1, values.len()));
    }
    let mut text = concat!("SELECT ", columns!(), " FROM webhook_inbox").to_owned();
    if !conditions.is_empty() {
        text = format!("{text} WHERE {}", conditions.join(" AND "));
    }
    values.push((i64::from(limit) + 1).into());
    text = format!("{text} ORDER BY received_at_us DESC, id DESC LIMIT ${}", values.len());
    values.into_iter().fold(query(text), Query::bind)
}

pub(super) async fn find(connection: &mut Connection, id: &str) -> Result<Option<InboxEvent>, StoreError> {
    let text = concat!("SELECT ", columns!(), " FROM webhook_inbox WHERE id = $1");
    let row = query(text).bind(id).fetch_optional(connection).await?;
    row.as_ref().map(event).transpose()
}

pub(crate) const PENDING: &str =
    "SELECT COUNT(*) AS events, MIN(received_at_us) AS oldest_us FROM webhook_inbox WHERE state = 'pending'";
pub(crate) const DEAD: &str = "SELECT COUNT(*) AS events FROM webhook_inbox WHERE state = 'dead'";

pub(super) async fn state(connection: &mut Connection) -> Result<InboxState, StoreError> {
    let pending = query(PENDING).fetch_one(connection).await?;
    let dead = query(DEAD).fetch_one(connection).await?;
    let pending = Fields::of("webhook_inbox", &[], &pending);
    Ok(InboxState {
        pending: pending.count("events")?,
        dead: Fields::of("webhook_inbox", &[], &dead).count("events")?,
        oldest_pending: pending.timestamp_optional("oldest_us")?,
    })
}

/// Puts an event back, as if nothing had been done about it yet.
pub(super) async fn replay(
    connection: &mut Connection,
    id: &str,
    audit: &NewAudit,
) -> Result<Option<InboxEvent>, StoreError> {
    let replayed = query(
        "UPDATE webhook_inbox SET state = 'pending', attempts = 0, due_us = $2, settled_at_us = NULL, note = NULL \
         WHERE id = $1",
    )
    .bind(id)
    .bind(audit.at.as_micros())
    .execute(connection)
    .await?;
    if replayed == 0 {
        return Ok(None);
    }
    let event = find(connection, id).await?;
    // The trail names accounts that there are; an event may name any.
    let account = match event.as_ref().and_then(|event| event.event.account) {
        Some(account) => super::accounts::by_id(connection, account).await?.map(|account| account.id),
        None => None,
    };
    audit::append(connection, audit, account, None).await?;
    Ok(event)
}

pub(crate) const PRUNED: Oldest = Oldest {
    last: "SELECT settled_at_us AS last_us FROM webhook_inbox WHERE state = 'done' AND settled_at_us < $1 \
        ORDER BY settled_at_us LIMIT 1 OFFSET $2",
    delete: "DELETE FROM webhook_inbox WHERE state = 'done' AND settled_at_us <= $1",
};

/// Throws away events that were heeded; those that were not, and those that were given up, stay.
pub(super) async fn prune(connection: &mut Connection, before: Timestamp) -> Result<u64, StoreError> {
    oldest(connection, &PRUNED, before).await
}

pub(crate) const DUE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM webhook_inbox WHERE state = 'pending' AND due_us <= $1 ORDER BY due_us, id LIMIT $2"
);

pub(super) async fn due(
    connection: &mut Connection,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<InboxEvent>, StoreError> {
    let rows = query(DUE).bind(now.as_micros()).bind(i64::from(limit)).fetch_all(connection).await?;
    rows.iter().map(event).collect()
}

pub(crate) const DUE_OF: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM webhook_inbox WHERE state = 'pending' AND subject = $3 AND due_us <= $1 ORDER BY due_us, id LIMIT $2"
);

pub(super) async fn due_of(
    connection: &mut Connection,
    subject: &str,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<InboxEvent>, StoreError> {
    let due = query(DUE_OF).bind(now.as_micros()).bind(i64::from(limit)).bind(subject);
    due.fetch_all(connection).await?.iter().map(event).collect()
}

/// Notes how events ended, and whose they were where that is known now. One that is settled already stays as it is.
pub(super) async fn settle(
    connection: &mut Connection,
    settled: &[Settled],
    account: Option<AccountId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut groups: Vec<(&Outcome, Vec<String>)> = Vec::new();
    for Settled { id, outcome } in settled {
        match groups.iter_mut().find(|(known, _)| *known == outcome) {
            Some((_, ids)) => ids.push(id.clone()),
            None => groups.push((outcome, vec![id.clone()])),
        }
    }
    for (outcome, ids) in groups {
        let (state, attempts, due, settled_at, note) = match outcome {
            Outcome::Done { note } => (EventState::Done, 0, None, Some(now), note.as_ref()),
            Outcome::Retry { at, note, counted } => {
                (EventState::Pending, i64::from(*counted), Some(*at), None, Some(note))
            }
            Outcome::Dead { note } => (EventState::Dead, 1, None, Some(now), Some(note)),
        };
        for ids in connection.chunks(&ids) {
            query(
                "UPDATE webhook_inbox SET state = $1, attempts = attempts + $2, due_us = COALESCE($3, due_us), \
                 settled_at_us = $4, note = $5, account = COALESCE($6, account) \
                 WHERE state = 'pending' AND id IN {list}",
            )
            .bind(state.as_str())
            .bind(attempts)
            .bind(due.map(Timestamp::as_micros))
            .bind(settled_at.map(Timestamp::as_micros))
            .bind(note.map(String::as_str))
            .bind(account.map(|id| id.to_string()))
            .bind_list(ids.to_vec())
            .execute(connection)
            .await?;
        }
    }
    Ok(())
}

/// Takes out of the events of an account, and of its customer at Stripe, what may tell of a person.
pub(super) async fn erase(
    connection: &mut Connection,
    account: AccountId,
    customer: Option<&str>,
) -> Result<(), StoreError> {
    query("UPDATE webhook_inbox SET payload = $2 WHERE account = $1")
        .bind(account.to_string())
        .bind(ERASED_PAYLOAD)
        .execute(connection)
        .await?;
    if let Some(customer) = customer {
        query("UPDATE webhook_inbox SET payload = $2 WHERE subject = $1")
            .bind(customer)
            .bind(ERASED_PAYLOAD)
            .execute(connection)
            .await?;
    }
    Ok(())
}

fn event(row: &Row) -> Result<InboxEvent, StoreError> {
    let fields = Fields::of("webhook_inbox", &["id"], row);
    Ok(InboxEvent {
        event: NewEvent {
            id: fields.get("id")?,
            kind: fields.get("kind")?,
            subject: fields.get("subject")?,
            object: fields.get("object")?,
            account: fields.parse_optional("account", |text| text.parse().ok())?,
            created_at: fields.timestamp("created_at_us")?,
            received_at: fields.timestamp("received_at_us")?,
            payload: fields.get("payload")?,
        },
        state: fields.parse("state", EventState::parse)?,
        attempts: u32::try_from(fields.count("attempts")?).unwrap_or(u32::MAX),
        due_at: fields.timestamp("due_us")?,
        settled_at: fields.timestamp_optional("settled_at_us")?,
        note: fields.get("note")?,
    })
}
