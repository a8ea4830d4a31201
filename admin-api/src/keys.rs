//! Making, rotating, changing and revoking keys, the same for operators and customers.
//!
//! Who may, and whose key it is, was decided before. A raw key is in the answer of the call that made it and nowhere
//! else.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::json;
use tollgate_domain::{Account, AccountId, Entitlement, Key, KeyId, KeyLimits, PlainKey, Plan, Timestamp, entitlement};
use tollgate_store::{Change, CreateKey, NewKey, RotateKey};
use utoipa::ToSchema;

use crate::context::{Shared, audit_line_of, random};
use crate::idempotency::WithoutSecret;
use crate::key_fields::{KeyChange, KeyFields};
use crate::problem::{Problem, ProblemCode};
use crate::views::{KeyView, counts};

/// Keys that are read at a time when an account's are counted.
const KEYS_BATCH: u32 = 200;

/// A key that was just made.
pub(crate) struct Issued {
    plain: PlainKey,
    key: Key,
    replaces: Option<ReplacedView>,
}

/// The answer that shows a raw key, this once.
#[derive(Serialize, ToSchema)]
#[schema(as = IssuedKey)]
pub(crate) struct IssuedView {
    #[serde(flatten)]
    view: KeyView,
    /// The account's e-mail.
    email: String,
    /// The account's plan; null without one.
    plan: Option<String>,
    /// The key that it takes the place of.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    replaces: Option<ReplacedView>,
    /// The raw key: shown by this answer and never again.
    key: String,
}

/// The key that a rotation replaced.
#[derive(Serialize, ToSchema)]
#[schema(as = ReplacedKey)]
struct ReplacedView {
    id: String,
    /// Until when it goes on working.
    grace_until: String,
}

/// Makes a key of this account.
///
/// # Errors
/// The account has as many as its plan allows, or is gone.
pub(crate) async fn make(
    shared: &Shared,
    account: &Account,
    entitlement: &Entitlement,
    given: KeyFields,
    bucket: Option<tollgate_domain::Bucket>,
    actor: &'static str,
) -> Result<Issued, Problem> {
    let now = shared.now();
    let plan = entitlement.plan();
    let plain = PlainKey::generate(&shared.keys().prefix, random()?);
    let new = NewKey {
        id: KeyId::new(now, random()?),
        account: account.id,
        hashed: plain.hashed(&shared.hasher),
        name: given.name,
        created_at: now,
        expires_at: given.expires_at,
        scopes: given.scopes,
        read_only: given.read_only,
        ip_rules: given.ip_rules,
        limits: KeyLimits { bucket, cap: given.cap },
    };
    let facts =
        json!({ "masked": new.hashed.masked.to_string(), "expires_at": new.expires_at.map(|at| at.to_string()) });
    let audit = audit_line_of(actor, "key.create", now, facts);
    match shared.store().create_key(&new, plan.and_then(|plan| plan.max_keys), &audit).await? {
        CreateKey::Created(key) => {
            // A guess at this key may be remembered as unknown.
            shared.publish(&[Change::Key(key.hashed.hash)]).await;
            Ok(Issued { plain, key, replaces: None })
        }
        CreateKey::LimitReached { active } => {
            let max_keys = plan.and_then(|plan| plan.max_keys).unwrap_or(active);
            Err(limit_reached(active, max_keys, plan.map(AsRef::as_ref)))
        }
        CreateKey::NoAccount => Err(Problem::not_found("The account was deleted meanwhile")),
        CreateKey::Duplicate => Err(Problem::internal("a new key's hash is known already")),
    }
}

/// Keys of an account that count against its plan's `max_keys`.
///
/// # Errors
/// The store does not answer.
pub(crate) async fn active(shared: &Shared, account: AccountId) -> Result<u64, Problem> {
    let now = shared.now();
    let mut active = 0;
    let mut after = None;
    loop {
        let page = shared.store().keys(Some(account), after, KEYS_BATCH).await?;
        active += page.items.iter().filter(|key| counts(key, now)).map(|_| 1).sum::<u64>();
        after = page.items.last().map(|key| key.id).filter(|_| page.has_more);
        if after.is_none() {
            return Ok(active);
        }
    }
}

/// Puts a new key in the place of `old`, which works until its grace ends.
///
/// # Errors
/// The key does not work, or its own predecessor still does.
pub(crate) async fn rotate(shared: &Shared, old: Key, grace_us: i64, actor: &'static str) -> Result<Issued, Problem> {
    let now = shared.now();
    let grace_until = now + grace_us;
    let plain = PlainKey::generate(&shared.keys().prefix, random()?);
    let id = old.id;
    let new = NewKey {
        id: KeyId::new(now, random()?),
        account: old.account,
        hashed: plain.hashed(&shared.hasher),
        name: old.name,
        created_at: now,
        expires_at: old.expires_at,
        scopes: old.scopes,
        read_only: old.read_only,
        ip_rules: old.ip_rules,
        limits: old.limits,
    };
    let facts = json!({ "masked": new.hashed.masked.to_string(), "grace_until": grace_until.to_string() });
    let audit = audit_line_of(actor, "key.rotate", now, facts);
    match shared.store().rotate_key(id, &new, grace_until, &audit).await? {
        RotateKey::Rotated { new, old } => {
            shared.publish(&[Change::Key(old.hashed.hash), Change::Key(new.hashed.hash)]).await;
            let replaces = ReplacedView { id: old.id.to_string(), grace_until: grace_until.to_string() };
            Ok(Issued { plain, key: new, replaces: Some(replaces) })
        }
        RotateKey::NotActive(key) => {
            let advice = "so it cannot be rotated: rotate its successor if it has one, or make a new key";
            Err(not_active(&key, advice, now))
        }
        RotateKey::PredecessorInGrace { grace_until } => {
            let detail = "The key's own predecessor is still in its grace, and only one may be; wait, or revoke it";
            let problem = Problem::new(ProblemCode::PredecessorInGrace, detail);
            Err(problem.with("grace_until", grace_until.to_string()))
        }
        RotateKey::NoKey => Err(no_such_key()),
    }
}

/// Changes a key.
///
/// # Errors
/// The key does not work any more.
pub(crate) async fn change(shared: &Shared, key: &Key, change: KeyChange, actor: &'static str) -> Result<Key, Problem> {
    let now = shared.now();
    if !key.state(now).works() {
        return Err(not_active(key, "so it cannot be changed; make a new key", now));
    }
    let audit = audit_line_of(actor, "key.update", now, json!({ "changed": change.names() }));
    let patch = change.of(key);
    let changed = shared.store().update_key(key.account, key.id, &patch, &audit).await?.ok_or_else(no_such_key)?;
    if !changed.state(now).works() {
        return Err(not_active(&changed, "so it cannot be changed; make a new key", now));
    }
    shared.publish(&[Change::Key(changed.hashed.hash)]).await;
    Ok(changed)
}

/// Ends a key for good; ending it again changes nothing.
///
/// # Errors
/// There is none.
pub(crate) async fn revoke(shared: &Shared, id: KeyId, actor: &'static str) -> Result<Key, Problem> {
    let now = shared.now();
    let audit = audit_line_of(actor, "key.revoke", now, json!({}));
    let key = shared.store().revoke_key(id, now, &audit).await?.ok_or_else(no_such_key)?;
    shared.publish(&[Change::Key(key.hashed.hash)]).await;
    Ok(key)
}

impl Issued {
    /// The answer. What is kept of it for a repeated request has no secret. `folder` leads from the call's path to
    /// where keys are shown.
    pub(crate) fn answer(self, shared: &Shared, account: &Account, folder: &str) -> Response {
        let Self { plain, key, replaces } = self;
        let location = HeaderValue::from_str(&format!("{folder}/{}", key.id)).expect("ids are visible ASCII");
        let kept = json!({ "id": key.id.to_string(), "masked": key.hashed.masked.to_string() });
        let view = IssuedView {
            view: KeyView::new(&key, shared.now()),
            email: account.email.clone(),
            plan: entitlement(account, &shared.policy().plans, shared.now()).plan().map(|plan| plan.name.to_string()),
            replaces,
            key: plain.reveal().to_owned(),
        };
        let mut response = (StatusCode::CREATED, [(LOCATION, location)], Json(view)).into_response();
        response.extensions_mut().insert(WithoutSecret(kept));
        response
    }
}

/// The answer when an account has as many keys as its plan allows.
pub(crate) fn limit_reached(active: u64, max_keys: u64, plan: Option<&Plan>) -> Problem {
    let name = plan.map_or("", |plan| plan.name.as_str());
    let detail = format!(
        "The account has {active} active keys and plan `{name}` allows {max_keys}; revoke one, or change the plan"
    );
    Problem::new(ProblemCode::KeyLimitReached, detail).with("plan", name).with("limit", max_keys).with("used", active)
}

/// The id in a path. The text is not repeated: it may be a raw key that was put in the wrong place.
///
/// # Errors
/// It is none.
pub(crate) fn key_id(text: &str) -> Result<KeyId, Problem> {
    text.parse().map_err(|_| no_such_key())
}

/// The answer when there is no such key, or it is another's.
pub(crate) fn no_such_key() -> Problem {
    Problem::not_found("There is no such key; name it by its id (key_…), not by the key itself")
}

fn not_active(key: &Key, advice: &str, now: Timestamp) -> Problem {
    let state = key.state(now).as_str();
    let detail = format!("The key is {}, {advice}", state.replace('_', " "));
    Problem::new(ProblemCode::KeyNotActive, detail).with("state", state)
}
