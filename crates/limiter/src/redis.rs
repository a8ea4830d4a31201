//! The limiter that many nodes share: every subject's state in Redis, changed by scripts that see and write it whole.
//!
//! A state is one hash, named by its subject in the braces that Redis Cluster looks for. The scripts decide, by
//! Redis's clock; what a refusal means to the caller is worked out here, by the domain. In `exact` every call is one
//! script call; in `leased` most calls are decided from units that the node has taken ahead ([`protocol`]).
//!
//! What is not here: the ledger that accounts are seeded from, and what to do while Redis is away: a call that gets
//! [`LimiterDown`] may go on with [`Limiter::debit_locally`].

mod breaker;
mod connection;
pub mod lease;
mod link;
mod local;
pub mod protocol;
mod scripts;
mod server;
mod subjects;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use tollgate_domain::limit::{Charged, Debit, Outcome, Seed};
use tollgate_domain::{NodeId, Period, Timestamp};

use crate::limiter::{Health, Limiter, LimiterDown, SavedSubject, Subject};
use connection::Source;
use lease::{LeaseSettings, Leases, Tokio};
use local::Local;
use protocol::{LeaseAsk, LeaseReply, LeaseServer};
use server::{Served, Server};
use subjects::Entry;

/// How long an answer is waited for where nothing else is said.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_millis(20);
/// The bound of a lease's time to live: a dead node's lease holds units for so long.
const TTL_MAX: Duration = Duration::from_mins(1);

/// Which Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server, by its URL: `redis://` or `rediss://`.
    Single(String),
    /// A Cluster, by the URLs of some of its nodes.
    Cluster(Vec<String>),
}

/// How calls are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each by one command.
    Exact,
    /// Most from units taken ahead of need.
    Leased {
        /// How long units may be held unspent. Every node of a fleet must be given the same.
        ttl: Duration,
    },
}

/// What a [`RedisLimiter`] must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    /// Where Redis is.
    pub topology: Topology,
    /// How calls are decided.
    pub mode: Mode,
    /// This run of this process.
    pub node: NodeId,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// What every name in Redis begins with, before a colon.
    pub prefix: String,
    /// Connections that calls share; a few a core are enough.
    pub connections: usize,
}

impl RedisSettings {
    /// The usual settings for a topology.
    pub fn new(topology: Topology, mode: Mode, node: NodeId) -> Self {
        let connections = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(1, 8));
        Self { topology, mode, node, timeout: TIMEOUT_DEFAULT, prefix: "tg".into(), connections }
    }
}

/// Settings that no connection can be made with.
#[derive(Debug, thiserror::Error)]
#[error("the limiter's Redis cannot be used: {0}")]
pub struct InvalidSettings(String);

/// A subject's handle.
#[derive(Clone, Debug)]
pub struct RedisHandle(Arc<Entry>);

/// The limiter in Redis.
pub struct RedisLimiter {
    server: Arc<Server>,
    leases: Option<Leases<Served, Tokio>>,
    local: Local,
}

impl RedisLimiter {
    /// Begins to connect; Redis need not be there yet. It must be called within a tokio runtime, on which connections
    /// and background work live from then on.
    ///
    /// # Errors
    /// A URL that is none, or one of no server that can be reached in principle.
    pub fn new(settings: &RedisSettings) -> Result<Self, InvalidSettings> {
        Self::with_clock(settings, false)
    }

    /// The same, but the time of every call is the caller's instead of Redis's: for comparing it with other limiters
    /// on one trace. Two nodes whose clocks differ would admit too much.
    ///
    /// # Errors
    /// As [`Self::new`].
    #[doc(hidden)]
    pub fn with_callers_clock(settings: &RedisSettings) -> Result<Self, InvalidSettings> {
        Self::with_clock(settings, true)
    }

    fn with_clock(settings: &RedisSettings, is_callers: bool) -> Result<Self, InvalidSettings> {
        let source = Source::new(&settings.topology).map_err(|error| InvalidSettings(error.to_string()))?;
        let ttl = match settings.mode {
            Mode::Exact => None,
            Mode::Leased { ttl } => Some(ttl.clamp(Duration::from_millis(1), TTL_MAX)),
        };
        let server = Arc::new(Server::new(&source, settings, ttl, is_callers));
        let runtime = tokio::runtime::Handle::current();
        let leases =
            ttl.map(|ttl| Leases::new(Served(Arc::clone(&server)), Tokio::new(runtime.clone()), LeaseSettings { ttl }));
        if let Some(leases) = leases.clone() {
            runtime.spawn(async move { leases.run().await });
        }
        Ok(Self { server, leases, local: Local::default() })
    }

    /// Says how many nodes share the limits, this one included: what each takes while Redis is away.
    pub fn set_nodes(&self, count: usize) {
        self.server.set_nodes(count);
    }

    /// Charges (or, negative, credits) units that were used beside the gateways, once for each place in the ledger. For
    /// the one who relays changes; every node then hears of it by [`Limiter::charge`].
    ///
    /// # Errors
    /// Redis did not answer: it may be tried again.
    pub async fn charge_shared(
        &self,
        subject: Subject,
        of: Charged,
        period: Period,
        units: i64,
        position: u64,
    ) -> Result<(), LimiterDown> {
        self.server.charge(subject, of, period, units, position).await
    }

    /// The leases, where this call can be decided from one.
    fn leases(&self, entry: &Entry, debit: &Debit<'_>) -> Option<&Leases<Served, Tokio>> {
        let is_leasable = debit.key.is_none() && debit.meter.is_none() && matches!(entry.subject, Subject::Account(_));
        self.leases.as_ref().filter(|_| is_leasable)
    }
}

/// Asks as this node, for whoever keeps leases of his own.
impl LeaseServer for RedisLimiter {
    async fn lease(&self, ask: LeaseAsk<'_>) -> Result<LeaseReply, LimiterDown> {
        self.server.lease(ask).await
    }
}

impl std::fmt::Debug for RedisLimiter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RedisLimiter").field("health", &self.health()).finish_non_exhaustive()
    }
}

impl Limiter for RedisLimiter {
    type Handle = RedisHandle;

    const IN_THIS_PROCESS: bool = false;

    fn open(&self, subject: Subject) -> RedisHandle {
        RedisHandle(self.server.subjects().open(subject))
    }

    async fn debit(&self, handle: &RedisHandle, debit: &Debit<'_>, now: Timestamp) -> Result<Outcome, LimiterDown> {
        let entry = &handle.0;
        let outcome = match self.leases(entry, debit) {
            Some(leases) => leases.debit(&entry.lease, debit).await?,
            None => self.server.debit(entry, debit, now, false).await?,
        };
        if outcome == Outcome::Unseeded && entry.is_lost() {
            return Err(LimiterDown);
        }
        Ok(outcome)
    }

    fn debit_locally(&self, handle: &RedisHandle, debit: &Debit<'_>, now: Timestamp) -> Outcome {
        self.local.debit(&handle.0, debit, now, self.server.nodes())
    }

    async fn peek(&self, subject: Subject, debit: &Debit<'_>, now: Timestamp) -> Result<Option<Outcome>, LimiterDown> {
        let known = self.server.subjects().find(subject);
        if let (Some(leases), Some(entry)) = (&self.leases, &known) {
            leases.report(&entry.lease).await;
        }
        let entry = known.unwrap_or_else(|| Arc::new(self.server.subjects().apart(subject)));
        let outcome = self.server.debit(&entry, debit, now, true).await?;
        Ok((outcome != Outcome::Unseeded).then_some(outcome))
    }

    /// The place in the ledger says what a seed has missed, so a ticket tells nothing here.
    fn ticket(&self) -> u64 {
        0
    }

    async fn seed(
        &self,
        handle: &RedisHandle,
        _ticket: u64,
        debit: &Debit<'_>,
        seed: &Seed,
        now: Timestamp,
    ) -> Result<bool, LimiterDown> {
        let is_current = self.server.seed(&handle.0, debit, seed, now).await?;
        handle.0.lease.forget_refusals();
        Ok(is_current)
    }

    async fn settle(&self, handle: &RedisHandle, of: Charged, period: Period, units: i64) -> Result<bool, LimiterDown> {
        let is_counted = self.server.settle(&handle.0, of, period, units).await?;
        if let Charged::Calls { .. } = of {
            handle.0.lease.settled(period, units);
        }
        Ok(is_counted)
    }

    fn settle_locally(&self, handle: &RedisHandle, of: Charged, period: Period, units: i64) -> bool {
        self.local.settle(&handle.0, of, period, units)
    }

    async fn charge(
        &self,
        subject: Subject,
        of: Charged,
        _period: Period,
        _units: i64,
        _position: u64,
    ) -> Result<(), LimiterDown> {
        // No lease was ever refused for a meter: who brings one asks Redis.
        if let (Charged::Calls { .. }, Some(entry)) = (of, self.server.subjects().find(subject)) {
            entry.lease.forget_refusals();
        }
        Ok(())
    }

    fn save(&self, _now: Timestamp) -> Vec<SavedSubject> {
        Vec::new()
    }

    fn restore(&self, _saved: &[SavedSubject], _now: Timestamp) -> usize {
        0
    }

    fn sweep(&self, now: Timestamp) -> usize {
        self.local.sweep(now);
        self.server.subjects().sweep()
    }

    fn health(&self) -> Health {
        let units_leased = self.leases.as_ref().map_or(0, Leases::units_held);
        Health { units_leased, ..self.server.health() }
    }

    async fn close(&self) {
        if let Some(leases) = &self.leases {
            leases.close().await;
        }
    }
}
