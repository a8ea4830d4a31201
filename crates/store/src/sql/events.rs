//! Use that is reported after the fact: each event once, however often it is sent.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use tollgate_domain::limit::UNITS_MAX;
use tollgate_domain::{AccountId, MeterName, Timestamp, UsageTally};

use super::database::{Connection, query};
use super::insert::{Insert, Kind};
use super::ledger::{self, Line, Origin, bounded};
use super::row::{Fields, key_column};
use super::{accounts, outbox};
use crate::customers::{EventOutcome, UsageEvent, charged};
use crate::error::StoreError;
use crate::record::Change;

const EVENTS: Insert = Insert {
    table: "usage_events",
    columns: &[
        ("account", Kind::Text),
        ("id", Kind::Text),
        ("key", Kind::Text),
        ("at_us", Kind::Int),
        ("recorded_at_us", Kind::Int),
        ("meters", Kind::Text),
        ("dimensions", Kind::Text),
        ("metadata", Kind::Text),
    ],
    on_conflict: "",
};

const DIMENSIONS: Insert = Insert {
    table: "usage_dimensions",
    columns: &[
        ("account", Kind::Text),
        ("event", Kind::Text),
        ("name", Kind::Text),
        ("value", Kind::Text),
        ("at_us", Kind::Int),
    ],
    on_conflict: "",
};

/// What an event says, as it is kept and compared. Its time is not among it: whoever sends an event again without one
/// would give it another. Nor is its period, which is the one open when it is sent.
#[derive(Clone, Debug)]
struct Content {
    key: String,
    meters: String,
    dimensions: String,
    metadata: String,
}

impl Content {
    fn of(event: &UsageEvent) -> Self {
        let meters: BTreeMap<&str, u64> = event.meters.iter().map(|(name, units)| (name.as_str(), *units)).collect();
        Self {
            key: key_column(event.key),
            meters: serde_json::json!(meters).to_string(),
            dimensions: serde_json::json!(event.dimensions).to_string(),
            metadata: event.metadata.to_string(),
        }
    }

    /// Whether both say the same, in whatever order their fields stand.
    fn is_same(&self, other: &Self) -> bool {
        let is_same = |one: &str, other: &str| {
            let read = |text| serde_json::from_str::<Json>(text).ok();
            one == other || (read(one).is_some() && read(one) == read(other))
        };
        self.key == other.key
            && is_same(&self.meters, &other.meters)
            && is_same(&self.dimensions, &other.dimensions)
            && is_same(&self.metadata, &other.metadata)
    }
}

pub(super) async fn record(
    connection: &mut Connection,
    events: &[UsageEvent],
    now: Timestamp,
) -> Result<(Vec<EventOutcome>, Vec<Change>), StoreError> {
    let owners: BTreeSet<AccountId> = events.iter().map(|event| event.account).collect();
    let deleted = accounts::hold_deleted(connection, &owners).await?;
    // Whoever reports an event holds the turn to append, so none is found missing by two.
    let newest = ledger::begin(connection).await?;
    let mut known = known(connection, events).await?;
    let mut outcomes = Vec::with_capacity(events.len());
    let mut fresh = Vec::new();
    for event in events {
        let content = Content::of(event);
        outcomes.push(match known.get(&(event.account, &*event.id)) {
            Some(known) if known.is_same(&content) => EventOutcome::Known,
            Some(_) => EventOutcome::Conflict,
            None => {
                known.insert((event.account, &*event.id), content.clone());
                fresh.push((event, content));
                EventOutcome::Recorded
            }
        });
    }
    insert(connection, &fresh, &deleted, now).await?;
    let lines: Vec<Line<'_>> = fresh.iter().flat_map(|(event, _)| lines_of(event)).collect();
    let places = ledger::append(connection, newest, Origin::Events(now), &lines).await?;
    let changes: Vec<Change> = lines.iter().zip(places).filter_map(|(line, place)| change_of(line, place)).collect();
    outbox::append(connection, &changes, now).await?;
    Ok((outcomes, changes))
}

/// One line for each of an event's meters.
fn lines_of(event: &UsageEvent) -> impl Iterator<Item = Line<'_>> {
    event.meters.iter().map(|(meter, units): (&MeterName, &u64)| Line {
        at: event.at,
        account: event.account,
        key: event.key,
        meter: Some(meter),
        call: None,
        event: Some(&event.id),
        period: event.period,
        tally: bounded(&UsageTally { calls: 1, units_charged: *units, ..UsageTally::default() }),
    })
}

/// What the gateways must hear of a line, if it charged anything.
fn change_of(line: &Line<'_>, position: u64) -> Option<Change> {
    let units = i64::try_from(line.tally.units_charged.min(UNITS_MAX)).expect("2^53 fits a signed number");
    (units > 0).then_some(Change::Usage {
        account: line.account,
        of: charged(line.meter, line.key),
        period: line.period,
        units,
        position,
    })
}

pub(crate) const KNOWN: &str =
    "SELECT account, id, key, meters, dimensions, metadata FROM usage_events WHERE account = $1 AND id IN {list}";

/// Those of these events that were recorded before.
async fn known<'e>(
    connection: &mut Connection,
    events: &'e [UsageEvent],
) -> Result<BTreeMap<(AccountId, &'e str), Content>, StoreError> {
    let mut asked: BTreeMap<AccountId, BTreeSet<&'e str>> = BTreeMap::new();
    for event in events {
        asked.entry(event.account).or_default().insert(&event.id);
    }
    let mut known = BTreeMap::new();
    for (account, ids) in asked {
        let ids: Vec<&str> = ids.into_iter().collect();
        for ids in connection.chunks(&ids) {
            let listed: Vec<String> = ids.iter().map(ToString::to_string).collect();
            let rows = query(KNOWN).bind(account.to_string()).bind_list(listed).fetch_all(connection).await?;
            for row in &rows {
                let fields = Fields::of("usage_events", &["account", "id"], row);
                let found: &str = fields.get("id")?;
                let Ok(place) = ids.binary_search(&found) else { return Err(fields.corrupt("id")) };
                let content = Content {
                    key: fields.get("key")?,
                    meters: fields.get("meters")?,
                    dimensions: fields.get("dimensions")?,
                    metadata: fields.get("metadata")?,
                };
                known.insert((account, ids[place]), content);
            }
        }
    }
    Ok(known)
}

/// Keeps events that are new. Of one whose account was deleted meanwhile nothing is kept that might tell of a person.
async fn insert(
    connection: &mut Connection,
    fresh: &[(&UsageEvent, Content)],
    deleted: &BTreeSet<AccountId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    EVENTS
        .rows(connection, fresh, |(event, content)| {
            let (dimensions, metadata) = if deleted.contains(&event.account) {
                (ERASED_DIMENSIONS, ERASED_METADATA)
            } else {
                (&*content.dimensions, &*content.metadata)
            };
            [
                event.account.to_string().into(),
                (&event.id).into(),
                (&content.key).into(),
                event.at.as_micros().into(),
                now.as_micros().into(),
                (&content.meters).into(),
                dimensions.into(),
                metadata.into(),
            ]
        })
        .await?;
    let kept = fresh.iter().filter(|(event, _)| !deleted.contains(&event.account));
    let dimensions: Vec<_> =
        kept.flat_map(|(event, _)| event.dimensions.iter().map(move |(name, value)| (*event, name, value))).collect();
    DIMENSIONS
        .rows(connection, &dimensions, |(event, name, value)| {
            [
                event.account.to_string().into(),
                (&event.id).into(),
                (*name).into(),
                (*value).into(),
                event.at.as_micros().into(),
            ]
        })
        .await
}

const ERASED_DIMENSIONS: &str = "{}";
const ERASED_METADATA: &str = "null";

/// Takes out of an account's events what may tell of a person. Their ids and units stay.
pub(super) async fn erase(connection: &mut Connection, account: AccountId) -> Result<(), StoreError> {
    let account = account.to_string();
    query("UPDATE usage_events SET dimensions = $2, metadata = $3 WHERE account = $1")
        .bind(&account)
        .bind(ERASED_DIMENSIONS)
        .bind(ERASED_METADATA)
        .execute(connection)
        .await?;
    query("DELETE FROM usage_dimensions WHERE account = $1").bind(&account).execute(connection).await?;
    Ok(())
}
