//! The data plane as one thing: made of its parts, served until told to stop, closed without losing a count.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tollgate_config::{Policy, RateScope, Settings, UpstreamConfig, UpstreamUrl};
use tollgate_domain::{Clock, NodeId};
use tollgate_identity::Verifier;
use tollgate_limiter::{Limiter, SavedSubject};
use tollgate_store::{ChangeSink, Feed, KeyRecords, SavedState, Store, StoreError, UsageSink};

use crate::access_log::{AccessLog, AccessLogWriter};
use crate::answer::Problems;
use crate::credential::KeyReader;
use crate::decision::{Decider, DeciderParts, TokenGate};
use crate::directory::{Directory, DirectoryParts};
use crate::guard::{GuardSettings, MinimumRate};
use crate::limit_headers::Forms;
use crate::listener::{BoundListeners, DrainReport, ListenerSettings, UpstreamSettings, proxy_app, serve};
use crate::metrics::Metrics;
use crate::observer::Observer;
use crate::proxy::{Proxy, ProxyParts, Upstream};
use crate::request_id::RequestIds;
use crate::snapshot::Snapshot;
use crate::usage::{UsageFlusher, UsageRecorder};

/// How often idle state is let go of.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// How long the last counts may take to reach the ledger at a stop.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);
/// The least a client must send of a body or take of an answer, over a minute at the least.
const MINIMUM_RATE: MinimumRate = MinimumRate { bytes_per_second: 32, grace: Duration::from_mins(1) };

/// What a gateway is made of.
pub struct GatewayParts<L: Limiter> {
    /// The settings it keeps for its life.
    pub settings: Arc<Settings>,
    /// The first policy.
    pub policy: Arc<Policy>,
    /// Records and ledger.
    pub store: Arc<dyn Store>,
    /// Where keys are found that this process does not remember.
    pub records: Arc<dyn KeyRecords>,
    /// Where usage is handed.
    pub usage: Arc<dyn UsageSink>,
    /// Whether changes arrive.
    pub feed: Arc<Feed>,
    /// Limits.
    pub limiter: Arc<L>,
    /// Verifies tokens on `jwt` routes; `None` without `[auth.jwt]`.
    pub verifier: Option<Arc<Verifier>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// This run's name in the ledger.
    pub node: NodeId,
    /// Where the control plane is reached.
    pub control: UpstreamUrl,
    /// Where access-log lines go.
    pub log_output: Box<dyn Write + Send>,
    /// Scatters request ids.
    pub random: u64,
    /// Where counts are handed over from: not where requests run, so that however many of those there are, a count
    /// does not wait behind them.
    pub background: Handle,
}

/// The data plane.
pub struct Gateway<L: Limiter> {
    settings: Arc<Settings>,
    decider: Arc<Decider<L>>,
    limiter: Arc<L>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    generation: AtomicU64,
    proxy: ProxyParts<L>,
    log_writer: AccessLogWriter,
    flusher: UsageFlusher,
    work: Handle,
}

/// A gateway that serves.
pub struct Serving<L: Limiter> {
    drained: JoinHandle<DrainReport>,
    flushed: JoinHandle<usize>,
    stop_flusher: watch::Sender<bool>,
    background: Vec<JoinHandle<()>>,
    limiter: Arc<L>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    log_writer: AccessLogWriter,
}

/// Puts policies in force in a gateway that serves.
pub struct Policies<L: Limiter> {
    decider: Arc<Decider<L>>,
    generation: AtomicU64,
    rates_per_key: bool,
}

/// How a gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Connections that were cut off because the time for draining was over.
    pub cut_off: usize,
    /// Usage lines that nobody took over.
    pub usage_lines_lost: usize,
    /// Subjects whose bucket or windows were saved.
    pub subjects_saved: usize,
}

/// A gateway cannot be made, or cannot be closed cleanly.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The state that the last stop saved could not be read, or this stop's could not be saved.
    #[error("the limiter's state: {0}")]
    Store(#[from] StoreError),
    /// The system starts no thread.
    #[error("the access log's thread could not be started: {0}")]
    Log(#[source] std::io::Error),
}

impl<L: Limiter> Gateway<L> {
    /// Makes a gateway; it takes back the limiter's state that the last graceful stop saved.
    ///
    /// # Errors
    /// That state cannot be read, or a thread cannot be started.
    pub async fn new(parts: GatewayParts<L>) -> Result<Self, GatewayError> {
        let GatewayParts { settings, policy, store, records, usage, feed, limiter, clock, metrics, node, .. } = parts;
        let GatewayParts { verifier, control, log_output, random, background, .. } = parts;
        if L::IN_THIS_PROCESS {
            restore(&*limiter, &*store, &*clock).await?;
        }
        let (log, log_writer) =
            AccessLog::start(settings.log.format, log_output, Arc::clone(&metrics)).map_err(GatewayError::Log)?;
        let usage = UsageRecorder::new(usage, Arc::clone(&metrics), settings.usage.request_log);
        let flusher = UsageFlusher::new(Arc::clone(&usage), Arc::clone(&clock), node);
        let directory = Arc::new(Directory::new(DirectoryParts {
            store: Arc::clone(&store),
            records,
            feed,
            stale_keys_for: settings.store.stale_keys_for,
            limiter: Arc::clone(&limiter),
            usage: Arc::clone(&usage),
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
        }));
        let decider = Arc::new(Decider::new(DeciderParts {
            snapshot: Snapshot::new(policy, 0, settings.limits.rate_scope == RateScope::Key),
            directory,
            limiter: Arc::clone(&limiter),
            keys: KeyReader::new(&settings.keys),
            tokens: verifier.map(|verifier| token_gate(verifier, &settings)),
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
            mount: settings.gateway.mount.clone(),
            max_body: settings.gateway.max_body,
            enforce: settings.limits.enforce,
            on_limiter_down: settings.limits.on_limiter_down,
        }));
        let proxy = ProxyParts {
            problems: Arc::new(Problems::new(&settings.gateway, decider.keys().header())),
            upstream: Arc::new(Upstream::new(settings.upstream.clone())),
            control: Arc::new(Upstream::new(UpstreamConfig { url: control, ..UpstreamConfig::default() })),
            limit_forms: Forms { draft: settings.limits.headers.draft(), legacy: settings.limits.headers.legacy() },
            gateway: settings.gateway.clone(),
            request_ids: Arc::new(RequestIds::new(random)),
            decider: Arc::clone(&decider),
            limiter: Arc::clone(&limiter),
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
            usage,
            log,
        };
        let generation = AtomicU64::new(0);
        Ok(Self {
            settings,
            decider,
            limiter,
            store,
            clock,
            metrics,
            generation,
            proxy,
            log_writer,
            flusher,
            work: background,
        })
    }

    /// Where changes are to be told, so that this gateway obeys them at once.
    pub fn changes(&self) -> Arc<dyn ChangeSink> {
        Arc::clone(&self.decider.directory) as Arc<dyn ChangeSink>
    }

    /// Serves until `shutdown` turns true, on the runtime it is called on. The second handle puts other policies in
    /// force meanwhile.
    pub fn start(self, listeners: BoundListeners, shutdown: watch::Receiver<bool>) -> (Serving<L>, Policies<L>) {
        let Self { settings, decider, limiter, store, clock, metrics, generation, proxy, log_writer, flusher, work } =
            self;
        let observer = Arc::new(Observer {
            decider: Arc::clone(&decider),
            metrics: Arc::clone(&metrics),
            log: proxy.log.clone(),
            request_ids: Arc::clone(&proxy.request_ids),
            clock: Arc::clone(&clock),
        });
        let background = vec![
            tokio::spawn(Arc::clone(&proxy.upstream).keep_looked_up()),
            tokio::spawn(sweep(Arc::clone(&decider), Arc::clone(&limiter), metrics, Arc::clone(&clock))),
        ];
        let app = proxy_app(Proxy::new(proxy), UpstreamSettings::default());
        let drained = tokio::spawn(serve(listeners, app, observer, listener_settings(&settings), shutdown));
        let (stop_flusher, stopped) = watch::channel(false);
        let flushed = work.spawn(flusher.run(stopped, CLOSE_PATIENCE));
        let rates_per_key = settings.limits.rate_scope == RateScope::Key;
        let policies = Policies { decider, generation, rates_per_key };
        let serving = Serving { drained, flushed, stop_flusher, background, limiter, store, clock, log_writer };
        (serving, policies)
    }
}

impl<L: Limiter> Policies<L> {
    /// Puts a policy in force for the requests that start from now on. Limits keep their state.
    pub fn install(&self, policy: Arc<Policy>) {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        self.decider.install(Snapshot::new(policy, generation, self.rates_per_key));
    }
}

impl<L: Limiter> Serving<L> {
    /// Waits until the listeners have drained, then stores every count and the limiter's state.
    ///
    /// # Errors
    /// The limiter's state cannot be saved; it is rebuilt from the ledger at the next start.
    pub async fn closed(self) -> Result<Closed, GatewayError> {
        let Self { drained, flushed, stop_flusher, background, limiter, store, clock, log_writer } = self;
        let cut_off = drained.await.map_or(0, |report| report.cut_off);
        for task in background {
            task.abort();
            // Waited for, so that nothing it holds outlives this call; it was told to end.
            let _aborted = task.await;
        }
        stop_flusher.send_replace(true);
        let usage_lines_lost = flushed.await.unwrap_or(0);
        limiter.close().await;
        let subjects_saved = if L::IN_THIS_PROCESS { save(&*limiter, &*store, &*clock).await? } else { 0 };
        let joined = tokio::task::spawn_blocking(move || log_writer.finish());
        if tokio::time::timeout(CLOSE_PATIENCE, joined).await.is_err() {
            tracing::warn!("the access log's last lines could not be written in time");
        }
        Ok(Closed { cut_off, usage_lines_lost, subjects_saved })
    }
}

fn token_gate(verifier: Arc<Verifier>, settings: &Settings) -> TokenGate {
    TokenGate { verifier, cookie: settings.auth.jwt.as_ref().and_then(|jwt| jwt.cookie.clone()) }
}

async fn save<L: Limiter>(limiter: &L, store: &dyn Store, clock: &dyn Clock) -> Result<usize, GatewayError> {
    let saved = limiter.save(clock.now());
    let saved: Vec<SavedState> =
        saved.into_iter().map(|SavedSubject { subject, state }| SavedState { subject, state }).collect();
    store.save_limiter_state(&saved).await?;
    Ok(saved.len())
}

async fn restore<L: Limiter>(limiter: &L, store: &dyn Store, clock: &dyn Clock) -> Result<(), GatewayError> {
    let saved: Vec<SavedSubject> = store
        .take_limiter_state()
        .await?
        .into_iter()
        .map(|SavedState { subject, state }| SavedSubject { subject, state })
        .collect();
    let restored = limiter.restore(&saved, clock.now());
    if restored < saved.len() {
        tracing::warn!(unread = saved.len() - restored, "saved limits could not be read; the ledger rebuilds them");
    }
    Ok(())
}

async fn sweep<L: Limiter>(decider: Arc<Decider<L>>, limiter: Arc<L>, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) {
    let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        decider.directory.sweep();
        metrics.limiter_subjects.set(gauge(limiter.sweep(clock.now())));
        metrics.keys_cached.set(gauge(decider.directory.keys_cached()));
    }
}

fn listener_settings(settings: &Settings) -> ListenerSettings {
    let gateway = &settings.gateway;
    ListenerSettings {
        guard: GuardSettings {
            header_timeout: gateway.header_timeout,
            max_header_bytes: gateway.max_header,
            keepalive_timeout: gateway.keepalive_timeout,
            body_read_timeout: gateway.body_timeout,
            write_timeout: gateway.write_timeout,
            minimum_rate: MINIMUM_RATE,
        },
        max_connections: gateway.max_connections.get(),
        drain_timeout: gateway.drain_timeout,
    }
}
