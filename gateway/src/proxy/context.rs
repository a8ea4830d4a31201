//! What one request carries from phase to phase.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use prometheus::IntGauge;
use tollgate_domain::{AccountId, KeyHash, KeyId, PlanName, Reason, RouteName, Timestamp};
use tollgate_limiter::Limiter;

use super::count::count;
use super::settle::Settlement;
use crate::decision::Passage;
use crate::guard::GuardedRequest;
use crate::request_id::RequestId;
use crate::snapshot::Snapshot;
use crate::usage::UsageRecorder;

/// One request's state.
pub(crate) struct Context<L: Limiter> {
    /// When its head was complete.
    pub(super) started: Instant,
    /// The same on the wall clock.
    pub(super) now: Timestamp,
    /// What the guard knows of it.
    pub(super) guarded: Option<GuardedRequest>,
    /// Its name.
    pub(super) request_id: RequestId,
    /// Who calls, once known.
    pub(super) client: Option<IpAddr>,
    /// The policy it runs under from its start to its end.
    pub(super) snapshot: Arc<Snapshot>,
    /// Set when it goes to the upstream.
    pub(super) passage: Option<Passage<L>>,
    /// Set when it goes to the control plane: the path there.
    pub(super) control: Option<Box<str>>,
    /// Whether its usage has been counted.
    pub(super) counted: bool,
    /// Units of quota that it was charged in the end.
    pub(super) units: u64,
    /// Who called, where a known key was refused.
    pub(super) refused: Option<(AccountId, KeyId)>,
    /// Bytes of its body so far.
    pub(super) body_bytes: u64,
    /// Whether its body grew beyond what the route takes.
    pub(super) body_too_large: bool,
    /// What its log line and metrics say.
    pub(super) report: Report,
    usage: Arc<UsageRecorder>,
    _in_flight: InFlight,
}

/// What a log line and the metrics say of a request.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) route: Option<RouteName>,
    pub(super) plan: Option<PlanName>,
    pub(super) key: Option<KeyHash>,
    pub(super) outcome: &'static str,
    pub(super) reason: Option<Reason>,
    pub(super) would_refuse: Option<(&'static str, Reason)>,
    /// The status it was answered with.
    pub(super) status: Option<StatusCode>,
}

impl<L: Limiter> Context<L> {
    pub(super) fn new(
        now: Timestamp,
        request_id: RequestId,
        snapshot: Arc<Snapshot>,
        usage: Arc<UsageRecorder>,
        in_flight: IntGauge,
    ) -> Self {
        Self {
            started: Instant::now(),
            now,
            guarded: None,
            request_id,
            client: None,
            snapshot,
            passage: None,
            control: None,
            counted: false,
            units: 0,
            refused: None,
            body_bytes: 0,
            body_too_large: false,
            report: Report::default(),
            usage,
            _in_flight: InFlight::new(in_flight),
        }
    }
}

/// A request that ends without its last phase, as when a phase panics, keeps what it was charged: the ledger then
/// says what the limiter says.
impl<L: Limiter> Drop for Context<L> {
    fn drop(&mut self) {
        if let Some(passage) = self.passage.as_ref().filter(|_| !self.counted) {
            count(&self.usage, passage, StatusCode::INTERNAL_SERVER_ERROR, &Settlement::default(), self.now);
        }
    }
}

/// Counts a request for as long as it is there, however it ends.
struct InFlight(IntGauge);

impl InFlight {
    fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
