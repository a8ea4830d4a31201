//! What every handler shares: the parts that the composition root hands in, and what follows from the settings.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};
use tokio::sync::OnceCell;
use tollgate_billing::Billing;
use tollgate_config::{KeysConfig, Live, Policy, RateScope, Settings};
use tollgate_domain::{Clock, KeyHasher, NodeId, Timestamp};
use tollgate_identity::Verifier;
use tollgate_limiter::Peek;
use tollgate_store::{AdminStore, Change, ChangeSink, NewAudit};

use crate::customer::LinkBounds;
use crate::mail::Mailer;
use crate::nodes::Nodes;
use crate::problem::Problem;
use crate::token::OperatorToken;

/// Who is named in the audit trail for what the operator API does.
pub(crate) const OPERATOR: &str = "operator";
/// Mails that may be under way at once.
const MAILS_UNDER_WAY_MAX: usize = 32;

/// What the control plane is made of.
pub struct AdminDeps {
    /// Accounts, keys, ledger, audit, sign-ins.
    pub store: Arc<dyn AdminStore>,
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
    /// Believes tokens of the backend's own; `None` without `[auth.jwt]`.
    pub verifier: Option<Arc<Verifier>>,
    /// Mails links and notices; `None` where nothing can be mailed and several processes have no one log to look into.
    pub mailer: Option<Arc<dyn Mailer>>,
    /// Speaks with Stripe; `None` without `[billing.stripe]`.
    pub billing: Option<Arc<Billing>>,
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
    /// Where links lead.
    pub(crate) link_base: String,
    /// How many mails may be under way.
    pub(crate) mails: Arc<tokio::sync::Semaphore>,
    /// How many links each address may ask for.
    pub(crate) link_bounds: LinkBounds,
    session_secret: OnceCell<[u8; 32]>,
    csrf_secret: OnceCell<[u8; 32]>,
}

impl Shared {
    pub(crate) fn new(deps: AdminDeps) -> Context {
        let pepper = deps.settings.keys.pepper.as_ref();
        let hasher = KeyHasher::new(pepper.map(|pepper| pepper.reveal().as_bytes()));
        let key_header = &deps.settings.keys.header;
        let key_challenge = format!("ApiKey realm=\"api\", header=\"{key_header}\", Bearer realm=\"api\"");
        let key_challenge = HeaderValue::from_str(&key_challenge).expect("a header's name is visible ASCII");
        let signup_url = deps.settings.gateway.signup_url.as_ref().map(ToString::to_string);
        let link_base = public_base(&deps.settings);
        Arc::new(Self {
            deps,
            hasher,
            key_challenge,
            signup_url,
            link_base,
            mails: Arc::new(tokio::sync::Semaphore::new(MAILS_UNDER_WAY_MAX)),
            link_bounds: LinkBounds::default(),
            session_secret: OnceCell::new(),
            csrf_secret: OnceCell::new(),
        })
    }

    pub(crate) fn store(&self) -> &dyn AdminStore {
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

    /// What the cookies of sessions are signed with: the same in every process.
    pub(crate) async fn session_secret(&self) -> Result<[u8; 32], Problem> {
        self.shared_secret(&self.session_secret, "session").await
    }

    /// What proves that a write by cookie was meant: the same in every process.
    pub(crate) async fn csrf_secret(&self) -> Result<[u8; 32], Problem> {
        self.shared_secret(&self.csrf_secret, "csrf").await
    }

    async fn shared_secret(&self, cell: &OnceCell<[u8; 32]>, name: &'static str) -> Result<[u8; 32], Problem> {
        let fresh = random()?;
        let secret = cell.get_or_try_init(|| self.store().shared_secret(name, &fresh)).await?;
        Ok(*secret)
    }

    /// How a caller may prove who it is where a key is not enough.
    pub(crate) fn sign_in_challenge() -> HeaderValue {
        HeaderValue::from_static("Bearer realm=\"api\"")
    }

    /// Tells the gateways; returns when the one in this process obeys.
    pub(crate) async fn publish(&self, changes: &[Change]) {
        // Together: where a change travels, one way is long enough for all of them.
        futures::future::join_all(changes.iter().map(|change| self.deps.changes.publish(change))).await;
    }
}

/// An audit line of the operator's. The facts hold no secret and no e-mail: an account's deletion erases that.
pub(crate) fn audit_line(action: &'static str, at: Timestamp, facts: serde_json::Value) -> NewAudit {
    audit_line_of(OPERATOR, action, at, facts)
}

/// An audit line of somebody else's: `customer`, `key`, `token`, `link`, ….
pub(crate) fn audit_line_of(
    actor: &'static str,
    action: &'static str,
    at: Timestamp,
    facts: serde_json::Value,
) -> NewAudit {
    NewAudit { actor: actor.into(), action, at, detail: facts }
}

/// Where what the control plane serves to customers is reached: the public address with the mount, else where the control
/// plane listens. Without a slash at its end.
pub fn public_base(settings: &Settings) -> String {
    let base = match &settings.gateway.public_url {
        Some(url) => {
            let mount = settings.gateway.mount.as_ref().map_or("", |mount| mount.as_str());
            format!("{}{mount}", url.as_str().trim_end_matches('/'))
        }
        None => settings.admin.reach().to_string(),
    };
    base.trim_end_matches('/').to_owned()
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
