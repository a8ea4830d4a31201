//! `POST /v1/usage`: what was used beside the gate, reported after the fact. All of a request's events are counted or
//! none; each is counted once, however often it is sent.

use std::collections::{BTreeSet, HashMap};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tollgate_domain::{Account, AccountId, Key, KeyId, MeterName, Timestamp, entitlement};
use tollgate_store::{EventOutcome, UsageEvent};
use utoipa::ToSchema;

use super::event_rows::{self, EventRow};
use super::event_schema::ReportSchema;
use super::meters::KnownMeters;
use super::reporter::Reporter;
use crate::context::{Context, Shared};
use crate::problem::{FieldError, Problem, ProblemCode};
use crate::request::Body;

/// What became of each event, in the order they were sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageReport)]
pub(super) struct ReportView {
    results: Vec<EventView>,
}

/// What became of one event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageEventOutcome)]
pub(super) struct EventView {
    id: String,
    /// `recorded`; `known`: it was counted before; `conflict`: another event has this id, and this one is not counted.
    status: &'static str,
}

/// Counts events. Limits do not refuse them: what they tell of has happened.
///
/// A backend reports with the service token, for any account; a customer with a key, for its own account, on meters that
/// are marked `client_reported`.
#[utoipa::path(
    post, path = "/v1/usage", tag = "usage", operation_id = "report_usage",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes the call safe to repeat; events are so by their ids already.")),
    request_body = ReportSchema,
    responses(
        (status = 200, body = ReportView),
        (status = 409, body = Problem, description = "A request with the same `Idempotency-Key` is under way."),
    ),
    security(("operator" = []), ("service" = []), ("api_key" = [])),
)]
pub(super) async fn report(
    State(context): State<Context>,
    reporter: Reporter,
    Body(body): Body,
) -> Result<Json<ReportView>, Problem> {
    let now = context.now();
    let known = KnownMeters::of(&context.policy().plans);
    let rows = event_rows::read(body, &known, now).map_err(Problem::invalid_fields)?;
    if let Reporter::Customer(_) = &reporter {
        refuse_meters_of_the_backend(&context, &rows)?;
    }
    let mut owners = Owners { shared: &context, reporter: &reporter, accounts: HashMap::new(), keys: HashMap::new() };
    let (mut events, mut errors) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        match owners.of(&row).await? {
            Ok((account, key)) => events.push(event(&context, row, &account, key, now)),
            Err((name, detail)) => {
                let pointer = Some(format!("{}/{name}", row.pointer));
                errors.push(FieldError { pointer, detail, ..FieldError::default() });
            }
        }
    }
    if !errors.is_empty() {
        return Err(Problem::invalid_fields(errors));
    }
    let (outcomes, changes) = context.store().record_events(&events, now).await?;
    context.publish(&changes).await;
    let results = events.into_iter().zip(outcomes).map(|(event, outcome)| EventView {
        id: event.id,
        status: match outcome {
            EventOutcome::Recorded => "recorded",
            EventOutcome::Known => "known",
            EventOutcome::Conflict => "conflict",
        },
    });
    Ok(Json(ReportView { results: results.collect() }))
}

/// What a customer reports about itself must never be what it is billed for.
fn refuse_meters_of_the_backend(shared: &Shared, rows: &[EventRow]) -> Result<(), Problem> {
    let own = &shared.deps.settings.usage.client_reported;
    let meters: BTreeSet<&MeterName> = rows.iter().flat_map(|row| row.meters.keys()).collect();
    let Some(refused) = meters.into_iter().find(|meter| !own.contains(meter)) else { return Ok(()) };
    let names: Vec<&str> = own.iter().map(MeterName::as_str).collect();
    let advice = match names.as_slice() {
        [] => "no meter is reported with a key".to_owned(),
        names => format!("with a key, {} may be reported", names.join(", ")),
    };
    Err(Problem::new(ProblemCode::NotAllowed, format!("`{refused}` is reported by the backend only; {advice}")))
}

/// An event as it is counted: its units in the period that is open now, whenever it happened.
fn event(shared: &Shared, row: EventRow, account: &Account, key: Option<KeyId>, now: Timestamp) -> UsageEvent {
    let period = entitlement(account, &shared.policy().plans, now).period_basis(account).period_at(now);
    UsageEvent {
        id: row.id,
        account: account.id,
        key,
        meters: row.meters,
        at: row.at,
        period,
        dimensions: row.dimensions,
        metadata: row.metadata,
    }
}

/// Whose events are: each account and key is asked for once a request.
struct Owners<'a> {
    shared: &'a Shared,
    reporter: &'a Reporter,
    accounts: HashMap<String, Option<Account>>,
    keys: HashMap<KeyId, Option<Key>>,
}

/// An event's account and key, or which of its fields names nothing, and why.
type Owner = Result<(Account, Option<KeyId>), (&'static str, String)>;

impl Owners<'_> {
    /// # Errors
    /// The store does not answer.
    async fn of(&mut self, row: &EventRow) -> Result<Owner, Problem> {
        match self.reporter {
            Reporter::Backend => self.named(row).await,
            Reporter::Customer(caller) => {
                let (account, key) = &**caller;
                self.own(row, account, key).await
            }
        }
    }

    async fn named(&mut self, row: &EventRow) -> Result<Owner, Problem> {
        let account = match &row.account {
            None => None,
            Some(reference) => match self.account(reference).await? {
                Some(account) => Some(account),
                None => return Ok(Err(("account", "there is no account of this id (acc_…) or e-mail".into()))),
            },
        };
        let key = match row.key {
            None => None,
            Some(id) => match self.key(id).await? {
                Some(key) => Some(key),
                None => return Ok(Err(("key", "there is no key of this id (key_…)".into()))),
            },
        };
        Ok(match (account, key) {
            (Some(account), Some(key)) if key.account != account.id => {
                Err(("key", "this key is not of the event's account".into()))
            }
            (Some(account), key) => Ok((account, key.map(|key| key.id))),
            (None, Some(key)) => match self.account(&key.account.to_string()).await? {
                Some(account) => Ok((account, Some(key.id))),
                None => Err(("key", "the account of this key was deleted".into())),
            },
            (None, None) => Err(("account", "whose use is this? send `account` (id or e-mail) or `key` (id)".into())),
        })
    }

    /// Whether another account or key is there at all, a customer does not learn.
    async fn own(&mut self, row: &EventRow, account: &Account, key: &Key) -> Result<Owner, Problem> {
        let is_own =
            |named: &String| *named == account.id.to_string() || named.to_lowercase() == account.email.to_lowercase();
        if row.account.as_ref().is_some_and(|named| !is_own(named)) {
            return Ok(Err(("account", "this is not the account of the key that was sent; leave it out".into())));
        }
        let named = match row.key {
            None => return Ok(Ok((account.clone(), Some(key.id)))),
            Some(id) => self.key(id).await?,
        };
        Ok(match named.filter(|named| named.account == account.id) {
            Some(named) => Ok((account.clone(), Some(named.id))),
            None => Err(("key", "there is no key of this id (key_…) in your account".into())),
        })
    }

    async fn account(&mut self, reference: &str) -> Result<Option<Account>, Problem> {
        if let Some(known) = self.accounts.get(reference) {
            return Ok(known.clone());
        }
        let store = self.shared.store();
        let found = match reference.parse::<AccountId>() {
            Ok(id) => store.account(id).await?,
            Err(_) if reference.contains('@') => store.account_by_email(reference).await?,
            Err(_) => None,
        };
        let found = found.filter(|account| account.deleted_at.is_none());
        self.accounts.insert(reference.to_owned(), found.clone());
        Ok(found)
    }

    async fn key(&mut self, id: KeyId) -> Result<Option<Key>, Problem> {
        if let Some(known) = self.keys.get(&id) {
            return Ok(known.clone());
        }
        let found = self.shared.store().key(id).await?;
        self.keys.insert(id, found.clone());
        Ok(found)
    }
}
