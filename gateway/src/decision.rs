//! Decides on a call: steps 2 to 8 of a request's life. It knows nothing of the proxy, so that a benchmark and a
//! test can ask it the same questions the proxy does.

mod debit;
mod token;
mod verdict;

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::Method;
use tollgate_config::{Access, ByteLimit, MountPath, OnLimiterDown, Route};
use tollgate_domain::limit::{Debit, Outcome};
use tollgate_domain::{
    AccessRequest, Anonymous, Clock, Reason, Refusal, decide, decide_anonymous, key_allows, plan_reaches,
};
use tollgate_limiter::{Limiter, Subject};

use debit::{over_limit, refusing_limit};
pub use token::TokenGate;
use verdict::passage;
pub use verdict::{Call, Charge, Denial, Denied, Passage, RefusingLimit, Verdict};

use crate::cors::preflight_method;
use crate::credential::{Credential, KeyReader, Places};
use crate::directory::{Directory, KeyEntry};
use crate::guard::target::{has_encoded_slash, has_path_params};
use crate::metrics::Metrics;
use crate::router::{Matched, Target};
use crate::snapshot::Snapshot;

/// Decides on calls.
pub struct Decider<L: Limiter> {
    snapshot: ArcSwap<Snapshot>,
    /// Finds keys.
    pub directory: Arc<Directory<L>>,
    limiter: Arc<L>,
    keys: KeyReader,
    tokens: Option<TokenGate>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    mount: Option<MountPath>,
    max_body: ByteLimit,
    enforce: bool,
    on_limiter_down: OnLimiterDown,
}

/// What a decider is made of.
pub struct DeciderParts<L: Limiter> {
    /// The first policy.
    pub snapshot: Snapshot,
    /// Finds keys.
    pub directory: Arc<Directory<L>>,
    /// Keeps limits.
    pub limiter: Arc<L>,
    /// Reads keys.
    pub keys: KeyReader,
    /// Opens `jwt` routes; without it they answer that they cannot tell.
    pub tokens: Option<TokenGate>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Tells the time a seeded call is debited at.
    pub clock: Arc<dyn Clock>,
    /// Where the control plane is mounted.
    pub mount: Option<MountPath>,
    /// The largest body of routes that set none.
    pub max_body: ByteLimit,
    /// Whether limits are enforced.
    pub enforce: bool,
    /// What is done while the limiter does not answer, on routes that do not say.
    pub on_limiter_down: OnLimiterDown,
}

type Decided<L> = Result<Passage<L>, Box<Denied<L>>>;

impl<L: Limiter> Decider<L> {
    /// A decider of these parts.
    pub fn new(parts: DeciderParts<L>) -> Self {
        let DeciderParts {
            snapshot,
            directory,
            limiter,
            keys,
            tokens,
            metrics,
            clock,
            mount,
            max_body,
            enforce,
            on_limiter_down,
        } = parts;
        let snapshot = ArcSwap::from_pointee(snapshot);
        Self { snapshot, directory, limiter, keys, tokens, metrics, clock, mount, max_body, enforce, on_limiter_down }
    }

    /// The policy in force; a request takes it once.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts another policy in force for the requests that start from now on.
    pub fn install(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }

    /// How keys are read.
    pub fn keys(&self) -> &KeyReader {
        &self.keys
    }

    /// Decides on a call.
    pub async fn decide(&self, snapshot: &Snapshot, call: &Call<'_>) -> Verdict<L> {
        let preflight = snapshot.cors.as_ref().and_then(|_| preflight_method(call.method, call.headers));
        if let Some(rest) = self.mount.as_ref().and_then(|mount| mount.strip(call.path)) {
            return match control(rest) {
                Verdict::Control(_) if preflight.is_some() => Verdict::Preflight,
                verdict => verdict,
            };
        }
        let method = preflight.as_ref().unwrap_or(call.method);
        // The key is read before the route is known, so that the memory which tells of it is fetched while the route is
        // searched: with many keys known, to wait for that memory is much of what a decision costs.
        let (credential, places) = self.keys.read(call.headers, call.query, |hash| self.directory.prefetch(hash));
        if let Credential::Key(hash) = &credential {
            self.directory.prefetch_entry(hash);
        }
        let target = Target { method, path: call.path, query: call.query, headers: call.headers };
        let route = match snapshot.router.find(&target) {
            Matched::Route(route) if preflight.is_some() && route.access != Access::Pass => return Verdict::Preflight,
            Matched::MethodNotAllowed(_) if preflight.is_some() => return Verdict::Preflight,
            Matched::MethodNotAllowed(allowed) => {
                return Verdict::Refuse(Denied::boxed(Denial::MethodNotAllowed(allowed), None));
            }
            Matched::Route(route) => route,
        };
        let decided = match path_fits(route, call.path) {
            Err(detail) => Err(Denied::boxed(Denial::BadPath(detail), Some(route))),
            Ok(()) => self.decide_on_route(snapshot, call, route, credential, places).await,
        };
        match decided {
            Ok(passage) => Verdict::Forward(passage),
            Err(denied) => Verdict::Refuse(denied),
        }
    }

    async fn decide_on_route(
        &self,
        snapshot: &Snapshot,
        call: &Call<'_>,
        route: &Arc<Route>,
        credential: Credential,
        places: Places,
    ) -> Decided<L> {
        match route.access {
            Access::Pass => {
                self.check_body(call, route)?;
                Ok(passage(route, Places::default()))
            }
            // Put aside, so that no other call carries what this one needs while it waits.
            Access::Jwt => Box::pin(self.with_token(call, route, places)).await,
            Access::Public => {
                // A key is ignored here, but it is still ours: it does not go on.
                self.anonymous(snapshot, call, route, places).await
            }
            Access::Key | Access::Optional => {
                if credential == Credential::None && route.access == Access::Optional {
                    let public = snapshot.policy.plans.public().map(Arc::as_ref);
                    if decide_anonymous(&access_request(call, route), public) == Anonymous::Served {
                        return self.anonymous(snapshot, call, route, places).await;
                    }
                }
                self.keyed(snapshot, call, route, credential, places).await
            }
        }
    }

    async fn anonymous(&self, snapshot: &Snapshot, call: &Call<'_>, route: &Arc<Route>, places: Places) -> Decided<L> {
        self.check_body(call, route)?;
        let Some(plan) = snapshot.policy.plans.public() else { return Ok(passage(route, places)) };
        let handle = self.limiter.open(Subject::client(call.client));
        let debit = Debit {
            limits: &plan.limits,
            key: None,
            // Meters are accounts'.
            meter: None,
            period: crate::period::calendar_month(call.now),
            cost: route.cost.upfront(),
        };
        let debited = match self.limiter.debit(&handle, &debit, call.now).await {
            Ok(outcome) => Ok(outcome),
            Err(down) => {
                self.without_limiter(route, &handle, &debit, call.now, down.into()).map(|went_on| went_on.outcome)
            }
        };
        let refused = match debited {
            Ok(Outcome::Admitted(_)) => return Ok(Passage { plan: Some(Arc::clone(plan)), ..passage(route, places) }),
            Ok(Outcome::Refused(refused)) => refused,
            Ok(Outcome::Unseeded) | Err(_) => {
                let denial = Denial::Refusal(Refusal::LimiterUnavailable, Reason::Unavailable);
                return Err(Box::new(Denied { plan: Some(Arc::clone(plan)), ..Denied::new(denial, Some(route)) }));
            }
        };
        let (refusal, reason) = over_limit(refused.by);
        if !self.enforce {
            let would_refuse = Some((refusal, reason));
            return Ok(Passage { plan: Some(Arc::clone(plan)), would_refuse, ..passage(route, places) });
        }
        Err(Box::new(Denied {
            plan: Some(Arc::clone(plan)),
            limit: refusing_limit(&refused, call.now),
            ..Denied::new(Denial::Refusal(refusal, reason), Some(route))
        }))
    }

    async fn keyed(
        &self,
        snapshot: &Snapshot,
        call: &Call<'_>,
        route: &Arc<Route>,
        credential: Credential,
        places: Places,
    ) -> Decided<L> {
        let hash = match credential {
            Credential::None => return self.without_key(call, route, places, Refusal::MissingKey, Reason::NoKey),
            Credential::Bad(reason) => return self.without_key(call, route, places, Refusal::InvalidKey, reason),
            Credential::Key(hash) => hash,
        };
        let caller = match self.directory.find(&hash, snapshot, call.now).await {
            Ok(Some(caller)) => caller,
            Ok(None) => return self.without_key(call, route, places, Refusal::InvalidKey, Reason::Unknown),
            Err(_) => {
                let denial = Denial::Refusal(Refusal::StoreUnavailable, Reason::Unavailable);
                return Err(Denied::boxed(denial, Some(route)));
            }
        };
        let request = access_request(call, route);
        let decided = match caller.usual_plan(call.now) {
            Some(plan) => plan_reaches(&request, plan).map(|()| plan),
            None => decide(&request, &caller.key, &caller.owner.account, &caller.entitlement).map(|grant| grant.plan),
        };
        match decided {
            Ok(plan) => {
                let plan = Arc::clone(plan);
                self.debit(snapshot, call, route, caller, plan, places).await
            }
            Err((refusal, reason)) => {
                if self.enforce || refusal != Refusal::UpgradeRequired {
                    return Err(self.deny_key(snapshot, &caller, route, refusal, reason).await);
                }
                if let Err((refusal, reason)) = key_allows(&request, &caller.key) {
                    return Err(self.deny_key(snapshot, &caller, route, refusal, reason).await);
                }
                self.check_body(call, route)?;
                let plan = caller.entitlement.plan().cloned();
                let would_refuse = Some((refusal, reason));
                Ok(Passage { caller: Some(caller), plan, would_refuse, ..passage(route, places) })
            }
        }
    }

    /// Refuses a known key before it comes to a debit. Where the key itself is good, the answer shows how its account
    /// stands; that of a key that opens nothing tells no more than an unknown one's.
    async fn deny_key(
        &self,
        snapshot: &Snapshot,
        caller: &Arc<KeyEntry<L>>,
        route: &Arc<Route>,
        refusal: Refusal,
        reason: Reason,
    ) -> Box<Denied<L>> {
        let plan = caller.entitlement.plan().cloned();
        let mut standing = None;
        if let (Some(plan), Refusal::UpgradeRequired | Refusal::NotAllowed) = (&plan, refusal) {
            let now = self.clock.now();
            let limits = caller.shared_limits().unwrap_or(&plan.limits);
            let looked = Debit {
                limits,
                key: caller.own_limits(),
                meter: snapshot.meter_debited(route, plan),
                period: caller.period_at(now),
                cost: 0,
            };
            let looked = self.debit_seeded(caller, &looked, route.meter.as_ref(), now).await;
            if let Ok(Outcome::Admitted(looked)) = looked {
                standing = Some(looked.standing);
            }
        }
        let denial = Denial::Refusal(refusal, reason);
        Box::new(Denied { caller: Some(Arc::clone(caller)), plan, standing, ..Denied::new(denial, Some(route)) })
    }

    /// A call without a key that can be used: refused, or let through where limits are not enforced and the key is
    /// missing or unknown. A call with two different keys is refused always.
    fn without_key(
        &self,
        call: &Call<'_>,
        route: &Arc<Route>,
        places: Places,
        refusal: Refusal,
        reason: Reason,
    ) -> Decided<L> {
        if self.enforce || reason == Reason::TwoKeys {
            return Err(Denied::boxed(Denial::Refusal(refusal, reason), Some(route)));
        }
        self.check_body(call, route)?;
        Ok(Passage { would_refuse: Some((refusal, reason)), ..passage(route, places) })
    }

    fn check_body(&self, call: &Call<'_>, route: &Arc<Route>) -> Result<(), Box<Denied<L>>> {
        match call.body_length {
            Some(length) if !self.body_limit(route).admits(length) => {
                Err(Denied::boxed(Denial::BodyTooLarge, Some(route)))
            }
            _ => Ok(()),
        }
    }

    /// The largest body a route takes.
    pub fn body_limit(&self, route: &Route) -> ByteLimit {
        route.max_body.unwrap_or(self.max_body)
    }
}

/// What of the control plane is served on the data plane's listener: what customers and Stripe need, never the
/// operators' side.
fn control<L: Limiter>(rest: &str) -> Verdict<L> {
    const PAGES: [&str; 6] = ["/pricing", "/docs", "/login", "/account", "/openapi.json", "/stripe/webhook"];
    let under = |prefix: &str| rest.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let served = rest.starts_with("/v1/") || PAGES.into_iter().any(under);
    if served && !has_encoded_slash(rest) && !has_path_params(rest) {
        Verdict::Control(rest.into())
    } else {
        Verdict::Refuse(Denied::boxed(Denial::NotFound, None))
    }
}

fn path_fits(route: &Route, path: &str) -> Result<(), &'static str> {
    if !route.encoded_slash_keep && has_encoded_slash(path) {
        return Err("An encoded slash (%2F) is not allowed in this path");
    }
    if !route.path_params_keep && has_path_params(path) {
        return Err("A semicolon is not allowed in this path");
    }
    Ok(())
}

fn access_request<'a>(call: &Call<'_>, route: &'a Route) -> AccessRequest<'a> {
    AccessRequest {
        route: &route.name,
        min_rank: route.min_plan.as_ref().map(|plan| plan.rank),
        feature: route.feature.as_deref(),
        reads_only: matches!(*call.method, Method::GET | Method::HEAD | Method::OPTIONS),
        client: call.client,
        now: call.now,
    }
}
