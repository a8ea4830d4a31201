//! What every handler shares: the parts that the composition root hands in, and what follows from the settings.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};
use tollgate_config::{KeysConfig, Live, Policy, RateScope, Settings};
use tollgate_domain::{Clock, KeyHasher, NodeId, Timestamp};
use tollgate_limiter::Peek;
use tollgate_store::{Change, ChangeSink, NewAudit, Store};

use crate::nodes::Nodes;
use crate::problem::Problem;
use crate::token::OperatorToken;

/// Who is named in the audit trail for what the operator API does.
const ACTOR: &str = "operator";

/// What the control plane is made of.
pub struct AdminDeps {
    /// Accounts, keys, ledger, audit.
    pub store: Arc<dyn Store>,
    /// The policy in force.
    pub live: Arc<Live>,
    /// The settings this process started with.
    pub settings: Arc<Settings>,
    /// Who must hear of a change before the call that made it returns.
    pub changes: Arc<dyn ChangeSink>,
    /// How accounts stand with their limits.
    pub peek: Arc<dyn Peek>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What operators prove themselves with.
    pub token: OperatorToken,
    /// Which process this is.
    pub node: NodeFacts,
    /// Which processes there are.
    pub nodes: Arc<dyn Nodes>,
}

/// Which process answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its id, as batches of usage carry it.
    pub id: NodeId,
    /// The version of the program.
    pub version: &'static str,
    /// When it started.
    pub started_at: Timestamp,
}

/// The shared part of every handler.
pub(crate) type Context = Arc<Shared>;

/// The parts handed in, and what follows from the settings.
pub(crate) struct Shared {
    pub(crate) deps: AdminDeps,
    /// Hashes keys as this deployment stores them.
    pub(crate) hasher: KeyHasher,
    /// How a caller of the customer's side may prove who it is.
    pub(crate) key_challenge: HeaderValue,
    /// Where callers without a key get one, for problem bodies.
    pub(crate) signup_url: Option<String>,
}

impl Shared {
    pub(crate) fn new(deps: AdminDeps) -> Context {
        let pepper = deps.settings.keys.pepper.as_ref();
        let hasher = KeyHasher::new(pepper.map(|pepper| pepper.reveal().as_bytes()));
        let key_header = &deps.settings.keys.header;
        let key_challenge = format!("ApiKey realm=\"api\", header=\"{key_header}\", Bearer realm=\"api\"");
        let key_challenge = HeaderValue::from_str(&key_challenge).expect("a header's name is visible ASCII");
        let signup_url = deps.settings.gateway.signup_url.as_ref().map(ToString::to_string);
        Arc::new(Self { deps, hasher, key_challenge, signup_url })
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.deps.store
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.deps.live.policy()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.deps.clock.now()
    }

    pub(crate) fn keys(&self) -> &KeysConfig {
        &self.deps.settings.keys
    }

    pub(crate) fn key_header(&self) -> &HeaderName {
        &self.keys().header
    }

    pub(crate) fn invalid_key_status(&self) -> StatusCode {
        self.deps.settings.gateway.invalid_key_status
    }

    /// Whether bucket and windows are each key's own.
    pub(crate) fn rates_per_key(&self) -> bool {
        self.deps.settings.limits.rate_scope == RateScope::Key
    }

    /// Tells the gateways; returns when the one in this process obeys.
    pub(crate) async fn publish(&self, changes: &[Change]) {
        // Together: where a change travels, one way is long enough for all of them.
        futures::future::join_all(changes.iter().map(|change| self.deps.changes.publish(change))).await;
    }
}

/// An audit line of the operator's. The facts hold no secret and no e-mail: an account's deletion erases that.
pub(crate) fn audit_line(action: &'static str, at: Timestamp, facts: serde_json::Value) -> NewAudit {
    NewAudit { actor: ACTOR.into(), action, at, detail: facts }
}

/// Random bytes from the system.
///
/// # Errors
/// The system gives none.
pub(crate) fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], Problem> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).map_err(|error| Problem::internal(format!("no random bytes: {error}")))?;
    Ok(bytes)
}
