//! What is asked of a decision, and what it answers.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method};
use tollgate_config::{MethodSet, Route};
use tollgate_domain::limit::{LimitStanding, Standing};
use tollgate_domain::{KeyId, MeterId, Period, Plan, Reason, Refusal, Timestamp};
use tollgate_limiter::Limiter;

use crate::credential::Places;
use crate::directory::KeyEntry;

/// What is known of a call when its head has been read and judged.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its canonical path.
    pub path: &'a str,
    /// Its query as it came.
    pub query: Option<&'a str>,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Who calls, as far as it can be believed.
    pub client: IpAddr,
    /// The length its body is declared to have.
    pub body_length: Option<u64>,
    /// When it began.
    pub now: Timestamp,
}

/// What is to be done with a call.
#[expect(clippy::large_enum_variant, reason = "most calls are forwarded, and an allocation costs more than a copy")]
pub enum Verdict<L: Limiter> {
    /// Forward it.
    Forward(Passage<L>),
    /// Refuse it.
    Refuse(Box<Denied<L>>),
    /// Answer a preflight.
    Preflight,
    /// Hand it to the control plane, under the path that follows the mount.
    Control(Box<str>),
}

/// A call that goes on.
pub struct Passage<L: Limiter> {
    /// The route it takes.
    pub route: Arc<Route>,
    /// The key it brought, if it is a good one.
    pub caller: Option<Arc<KeyEntry<L>>>,
    /// The plan it runs under.
    pub plan: Option<Arc<Plan>>,
    /// Where its key stood.
    pub places: Places,
    /// What was debited.
    pub charge: Option<Charge>,
    /// How the account stands after it.
    pub standing: Option<Standing>,
    /// What would have refused it, were limits enforced.
    pub would_refuse: Option<(Refusal, Reason)>,
}

/// What a call debited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The period its units were charged in.
    pub period: Period,
    /// Units debited and charged.
    pub units: u64,
    /// The lineage of the key whose own limits were debited as well.
    pub own_key: Option<KeyId>,
    /// The meter that the same units were charged to: the route's.
    pub meter: Option<MeterId>,
    /// Whether the shared limiter did not answer and has not counted it.
    pub detached: bool,
}

/// Why a call is refused.
#[derive(Clone, Debug)]
pub enum Denial {
    /// By the contract's table.
    Refusal(Refusal, Reason),
    /// The route takes tokens, and none that is good was sent.
    InvalidToken {
        /// Why, for the caller.
        detail: Box<str>,
        /// Why, for the log: none was sent, or a bad one.
        reason: Reason,
    },
    /// Its path cannot be read safely on this route.
    BadPath(&'static str),
    /// Its body is larger than the route takes.
    BodyTooLarge,
    /// Routes have its path, but none its method.
    MethodNotAllowed(MethodSet),
    /// The control plane serves no such path here.
    NotFound,
}

/// A call that is refused, and what an answer, a log line and a metric say of it.
pub struct Denied<L: Limiter> {
    /// Why.
    pub denial: Denial,
    /// The route it matched.
    pub route: Option<Arc<Route>>,
    /// Its key, where it is a known one.
    pub caller: Option<Arc<KeyEntry<L>>>,
    /// The plan it would run under.
    pub plan: Option<Arc<Plan>>,
    /// How the account stands.
    pub standing: Option<Standing>,
    /// The limit that refused.
    pub limit: Option<RefusingLimit>,
}

/// The limit that refused a call, and until when it will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusingLimit {
    /// How the account or client stands with it.
    pub standing: LimitStanding,
    /// Microseconds until the same call, made by a lone caller, is admitted.
    pub wait_us: i64,
    /// The same as an instant.
    pub resets_at: Timestamp,
}

impl<L: Limiter> Denied<L> {
    pub(super) fn new(denial: Denial, route: Option<&Arc<Route>>) -> Self {
        Self { denial, route: route.cloned(), caller: None, plan: None, standing: None, limit: None }
    }

    pub(super) fn boxed(denial: Denial, route: Option<&Arc<Route>>) -> Box<Self> {
        Box::new(Self::new(denial, route))
    }
}

/// A call that goes on, of which no more is known than its route and where its key stood.
pub(super) fn passage<L: Limiter>(route: &Arc<Route>, places: Places) -> Passage<L> {
    Passage {
        route: Arc::clone(route),
        caller: None,
        plan: None,
        places,
        charge: None,
        standing: None,
        would_refuse: None,
    }
}
