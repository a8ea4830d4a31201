//! Composition: builds the parts that a configuration names, runs them in one process, and stops them in order.

mod listeners;
mod logging;
mod observe;
mod plane;
mod reload;
mod role;
mod shared;
mod signals;
mod stores;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use tokio::runtime::Runtime;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tollgate_admin_api::{
    AdminDeps, NodeFacts, NodeRecord, Nodes, NodesUnavailable, OperatorToken, load_or_create_token,
};
use tollgate_config::{
    AdminAccess, AdminConfig, AdminToken, Config, Database, Live, Loaded, ProcessEnvironment, Settings, Threads,
    UpstreamUrl,
};
use tollgate_domain::{Clock, NodeId, Timestamp};
use tollgate_gateway::metrics::Metrics;
use tollgate_gateway::{GatewayParts, SystemClock};
use tollgate_limiter::{InProcess, InProcessSettings, Limiter, Peek};
use tollgate_store::{ChangeSink, Direct, Feed, KeyRecords, UsageSink};

use listeners::Listeners;
use observe::Readings;
use plane::{Closing, Made};
use reload::WatchedFile;
pub(crate) use role::Role;
use shared::{ControlSide, GatewaySide, Shared};
use signals::StopSignals;
use stores::OpenStore;

/// The file that is read where none is named.
const DEFAULT_FILE: &str = "tollgate.toml";
/// How long the control plane may take to finish its last answers.
const ADMIN_DRAIN: Duration = Duration::from_secs(5);
/// How long a stopping gateway waits for the ledger to have its last usage; what it does not have stays in the spool.
const SETTLE_AT_STOP: Duration = Duration::from_secs(1);

/// A process that serves.
pub(crate) struct Running {
    /// Where the gateway listens; empty where there is none.
    pub(crate) gateway: Vec<SocketAddr>,
    /// Where the admin API listens, if it does.
    pub(crate) admin: Option<SocketAddr>,
    /// Where metrics and health are served.
    pub(crate) metrics: SocketAddr,
    /// What operators prove themselves with.
    pub(crate) operator_token: String,
    signals: StopSignals,
    runtime: Runtime,
    parts: Parts,
}

/// The running parts, in the order they are stopped.
struct Parts {
    stop_gateway: watch::Sender<bool>,
    data_plane: Option<Closing>,
    usage: Option<Arc<dyn UsageSink>>,
    stop_rest: watch::Sender<bool>,
    rest: Vec<JoinHandle<()>>,
    store: OpenStore,
}

/// Reads the file that is named, else `./tollgate.toml`, else takes the defaults.
///
/// # Errors
/// Every problem of the file at once.
pub(crate) fn load_config(named: Option<&Path>) -> anyhow::Result<Loaded> {
    if let Some(path) = file(named) {
        return Ok(tollgate_config::load(path, &ProcessEnvironment)?);
    }
    Ok(Loaded { config: Config::default_for_missing_file(), warnings: Vec::new(), blank: true })
}

/// Reads from the same file how the running process is reached.
///
/// # Errors
/// What is wrong with the sections that say so.
pub(crate) fn load_admin_access(named: Option<&Path>) -> anyhow::Result<AdminAccess> {
    match file(named) {
        Some(path) => Ok(tollgate_config::load_admin_access(path, &ProcessEnvironment)?),
        None => Ok(AdminAccess::default()),
    }
}

/// The file to read; `None` where there is none and the defaults hold.
fn file(named: Option<&Path>) -> Option<&Path> {
    let default = Path::new(DEFAULT_FILE);
    named.or_else(|| default.exists().then_some(default))
}

/// Starts what the role consists of, as the configuration names it. When it returns, every listener accepts.
///
/// # Errors
/// An address cannot be listened on, the database cannot be used, or the operator's token cannot be kept.
pub(crate) fn start(loaded: Loaded, role: Role) -> anyhow::Result<Running> {
    let Loaded { config, warnings, .. } = loaded;
    // Taken before anything that takes time, so that an edit made meanwhile is seen as one.
    let file = WatchedFile::new(config.source.clone());
    logging::start(&config.settings.log);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    role.fits(&config.settings)?;
    let listeners = Listeners::open(&config.settings, role)?;
    let gateway = listeners.gateway.as_ref().map(|bound| bound.addresses().to_vec()).unwrap_or_default();
    let admin = listeners.admin.as_ref().map(std::net::TcpListener::local_addr).transpose()?;
    let metrics = listeners.metrics.local_addr()?;
    let runtime = runtime(config.settings.gateway.threads)?;
    let listen = async { Ok::<_, std::io::Error>((StopSignals::listen()?, signals::reload_requests()?)) };
    let (signals, reload_requests) = runtime.block_on(listen).context("the system gives no signals")?;
    let (parts, operator_token) = runtime.block_on(build(config, role, listeners, file, reload_requests))?;
    tracing::info!(role = role.as_str(), ?gateway, ?admin, %metrics, "tollgate is up");
    Ok(Running { gateway, admin, metrics, operator_token, signals, runtime, parts })
}

impl Running {
    /// Serves until SIGTERM or SIGINT, then lets requests in flight finish and saves every count. A second signal
    /// ends the process at once.
    ///
    /// # Errors
    /// Some count or state could not be saved.
    pub(crate) fn until_stopped(self) -> anyhow::Result<()> {
        let Self { mut signals, runtime, parts, .. } = self;
        let stopped = runtime.block_on(async {
            signals.next().await;
            tracing::info!("stopping: no more connections are taken, requests in flight finish");
            tokio::spawn(signals.exit_on_next());
            stop(parts).await
        });
        runtime.shutdown_timeout(Duration::from_millis(100));
        stopped
    }
}

async fn stop(parts: Parts) -> anyhow::Result<()> {
    let Parts { stop_gateway, data_plane, usage, stop_rest, rest, store } = parts;
    stop_gateway.send_replace(true);
    let closed = match data_plane {
        Some(closing) => closing.await.map(Some),
        None => Ok(None),
    };
    if let Some(usage) = usage {
        // What is not stored by then is in the spool, and the next run sends it.
        let _in_time = tokio::time::timeout(SETTLE_AT_STOP, usage.settled(None)).await;
    }
    // The control plane goes last: requests in flight may be on their way to it.
    stop_rest.send_replace(true);
    for task in rest {
        if tokio::time::timeout(ADMIN_DRAIN, task).await.is_err() {
            tracing::warn!("the control plane did not finish its last answers in time");
        }
    }
    store.close().await;
    let Some(closed) = closed? else {
        tracing::info!("stopped");
        return Ok(());
    };
    if closed.cut_off > 0 {
        tracing::warn!(connections = closed.cut_off, "drain_timeout is over; what was still in flight is cut off");
    }
    if closed.usage_lines_lost > 0 {
        return Err(anyhow!("{} usage lines could not be stored and are lost", closed.usage_lines_lost));
    }
    tracing::info!(subjects_saved = closed.subjects_saved, "stopped; every count is saved");
    Ok(())
}

fn runtime(threads: Threads) -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Threads::Count(count) = threads {
        builder.worker_threads(count.get());
    }
    builder.thread_name("tollgate").enable_all().build().context("the runtime cannot be started")
}

/// What every part of the process is made with.
struct Base {
    settings: Arc<Settings>,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    store: OpenStore,
    node: NodeId,
    started_at: Timestamp,
    shared: Option<Arc<Shared>>,
}

async fn build(
    config: Config,
    role: Role,
    listeners: Listeners,
    file: WatchedFile,
    reload_requests: Signal,
) -> anyhow::Result<(Parts, String)> {
    let hash = config.hash();
    let Config { settings, policy, .. } = config;
    let settings = Arc::new(settings);
    let token = operator_token(&settings)?;
    let live = Arc::new(Live::new(policy, hash, SystemClock.now()));
    let node = NodeId::new(SystemClock.now(), random()?);
    let shared = match &settings.store.redis {
        Some(redis) => Some(Arc::new(Shared::new(redis, &settings, role, node, &live)?)),
        None => None,
    };
    let store = OpenStore::open(&settings, role).await?;
    let clock: Arc<dyn Clock> = match &shared {
        Some(shared) => Arc::clone(&shared.clock) as Arc<dyn Clock>,
        None => Arc::new(SystemClock),
    };
    let metrics = Arc::new(Metrics::default());
    let started_at = clock.now();
    let base = Base { settings, live, metrics, clock, store, node, started_at, shared };

    let (stop_gateway, gateway_stopped) = watch::channel(false);
    let (stop_rest, rest_stopped) = watch::channel(false);
    let mut readings = Readings::new(Arc::clone(&base.metrics));
    let mut rest = Vec::new();
    if let Some(shared) = &base.shared {
        rest.extend(shared.start(Arc::clone(&base.live), &rest_stopped));
        readings.of_shared(shared);
    }
    let gateway = if role.serves_calls() { Some(base.make_gateway(role, &listeners).await?) } else { None };
    if let Some(GatewayMade { made, side: Some(side), .. }) = &gateway
        && let Some(shared) = &base.shared
    {
        let (reader, tasks) = side.start(shared, Arc::clone(&made.changes), &rest_stopped);
        rest.extend(tasks);
        readings.of_gateway(side, reader);
    }
    if let Some(listener) = listeners.admin {
        let (router, control) = base.control_plane(token.clone(), gateway.as_ref());
        if let Some(control) = control {
            rest.extend(control.start(&rest_stopped));
            readings.of_control(&control);
        }
        rest.push(tokio::spawn(serve_http(listener, router, rest_stopped.clone())));
    }
    observe::show_config(&base.metrics, &base.live);
    let ready = observe::Readiness::new(base.store.store(), base.shared.as_ref(), role, gateway_stopped.clone());
    // The gateway first: who is told that the process is ready may call it.
    let usage = gateway.as_ref().and_then(|gateway| gateway.side.as_ref().map(GatewaySide::usage));
    let (install, data_plane) = match (gateway, listeners.gateway) {
        (Some(gateway), Some(bound)) => {
            let (install, closed) = gateway.made.start(bound, gateway_stopped);
            (Some(install), Some(closed))
        }
        _ => (None, None),
    };
    rest.push(tokio::spawn(serve_http(listeners.metrics, observe::router(readings, ready), rest_stopped.clone())));
    let Base { settings, live, metrics, clock, store, .. } = base;
    let watched = reload::Watched { file, requests: reload_requests, install, settings, live, metrics, clock };
    rest.push(tokio::spawn(watched.watch(rest_stopped)));
    Ok((Parts { stop_gateway, data_plane, usage, stop_rest, rest, store }, token.reveal().to_owned()))
}

/// A gateway that is made and does not serve yet.
struct GatewayMade {
    made: Made,
    side: Option<GatewaySide>,
    peek: Arc<dyn Peek>,
}

impl Base {
    async fn make_gateway(&self, role: Role, listeners: &Listeners) -> anyhow::Result<GatewayMade> {
        let control = match &listeners.admin {
            Some(listener) if role.serves_control() => control_url(listener.local_addr()?),
            _ => self.settings.admin.reach_parts(),
        };
        let store = self.store.store();
        match &self.shared {
            None => {
                let limiter = Arc::new(InProcess::new(InProcessSettings::default()));
                let direct = Arc::new(Direct(store));
                let feed = Arc::new(Feed::always());
                let parts =
                    self.gateway_parts(Arc::clone(&limiter), Arc::clone(&direct) as _, direct, feed, control)?;
                Ok(GatewayMade { made: plane::make(parts).await?, side: None, peek: limiter })
            }
            Some(shared) => {
                let side = shared.gateway_side(&self.settings, store)?;
                let (records, usage, feed) =
                    (Arc::clone(&side.records), Arc::clone(&side.usage), Arc::clone(&side.feed));
                let parts = self.gateway_parts(Arc::clone(&shared.limiter), records, usage, feed, control)?;
                let peek = Arc::clone(&shared.limiter) as Arc<dyn Peek>;
                Ok(GatewayMade { made: plane::make(parts).await?, side: Some(side), peek })
            }
        }
    }

    fn gateway_parts<L: Limiter>(
        &self,
        limiter: Arc<L>,
        records: Arc<dyn KeyRecords>,
        usage: Arc<dyn UsageSink>,
        feed: Arc<Feed>,
        control: UpstreamUrl,
    ) -> anyhow::Result<GatewayParts<L>> {
        Ok(GatewayParts {
            settings: Arc::clone(&self.settings),
            policy: self.live.policy(),
            store: self.store.store(),
            records,
            usage,
            feed,
            limiter,
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            node: self.node,
            control,
            log_output: Box::new(std::io::stderr()),
            random: u64::from_ne_bytes(random()?),
        })
    }

    /// The control plane's router, and what it does besides where limits are shared.
    fn control_plane(
        &self,
        token: OperatorToken,
        gateway: Option<&GatewayMade>,
    ) -> (axum::Router, Option<ControlSide>) {
        let local = gateway.map(|gateway| Arc::clone(&gateway.made.changes));
        let store = self.store.store();
        let control = self.shared.as_ref().map(|shared| shared.control_side(&store, local.clone()));
        let relay = control.as_ref().map(|control| Arc::clone(&control.relay) as Arc<dyn ChangeSink>);
        let peek = gateway.map(|gateway| Arc::clone(&gateway.peek));
        let peek = peek.or_else(|| self.shared.as_ref().map(|shared| Arc::clone(&shared.limiter) as Arc<dyn Peek>));
        let alone = || {
            let (live, clock) = (Arc::clone(&self.live), Arc::clone(&self.clock));
            Arc::new(Alone { node: self.facts(), live, clock }) as Arc<dyn Nodes>
        };
        let router = tollgate_admin_api::router(AdminDeps {
            store,
            live: Arc::clone(&self.live),
            settings: Arc::clone(&self.settings),
            changes: relay.or(local).expect("a control plane without a gateway is a fleet's, which has a relay"),
            peek: peek.expect("the same goes for the limits"),
            clock: Arc::clone(&self.clock),
            token,
            node: self.facts(),
            nodes: self.shared.clone().map_or_else(alone, |shared| shared as Arc<dyn Nodes>),
        });
        (router, control)
    }

    fn facts(&self) -> NodeFacts {
        NodeFacts { id: self.node, version: env!("CARGO_PKG_VERSION"), started_at: self.started_at }
    }
}

/// A process that shares its limits with no other.
struct Alone {
    node: NodeFacts,
    live: Arc<Live>,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Nodes for Alone {
    async fn list(&self) -> Result<Vec<NodeRecord>, NodesUnavailable> {
        Ok(vec![NodeRecord {
            id: self.node.id.to_string(),
            role: Role::Up.as_str().into(),
            version: self.node.version.into(),
            config_hash: self.live.status().hash.clone(),
            started_at: self.node.started_at,
            seen_at: self.clock.now(),
        }])
    }
}

/// Serves a router until told to stop, then lets its last answers finish.
async fn serve_http(listener: std::net::TcpListener, router: axum::Router, mut stop: watch::Receiver<bool>) {
    let stopped = async move {
        // A sender that is gone can never say stop; what it would have stopped ends with it.
        let _seen = stop.wait_for(|stop| *stop).await;
    };
    let served = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => axum::serve(listener, router).with_graceful_shutdown(stopped).await,
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        tracing::error!(%error, "a listener of the control plane failed");
    }
}

fn operator_token(settings: &Settings) -> anyhow::Result<OperatorToken> {
    match (&settings.admin.token, &settings.store.database) {
        (AdminToken::Given(secret), _) => OperatorToken::new(secret.reveal()).context("admin.token"),
        (AdminToken::KeptBesideStore, Database::Sqlite { path }) => Ok(load_or_create_token(&token_file(path))?),
        (AdminToken::KeptBesideStore, Database::Postgres { .. }) => {
            Err(anyhow!("PostgreSQL has no folder to keep a token in; set `token` or `token_file` in [admin]"))
        }
    }
}

/// Where the operator's token is kept when the configuration names none.
pub(crate) fn token_file(database: &Path) -> PathBuf {
    database.with_file_name("admin-token")
}

/// The control plane as the gateway of this process reaches it.
fn control_url(admin: SocketAddr) -> UpstreamUrl {
    AdminConfig { listen: admin, ..AdminConfig::default() }.reach_parts()
}

fn random<const LENGTH: usize>() -> anyhow::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("the system gives no random bytes: {error}"))?;
    Ok(bytes)
}
