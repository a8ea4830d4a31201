//! Composition: builds the parts that a configuration names, runs them in one process, and stops them in order.

mod logging;
mod observe;
mod reload;
mod signals;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::runtime::Runtime;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tollgate_admin_api::{AdminDeps, NodeFacts, OperatorToken, load_or_create_token};
use tollgate_config::{AdminAccess, AdminToken, Config, Database, Live, Loaded, ProcessEnvironment, Settings, Threads};
use tollgate_domain::{Clock, NodeId};
use tollgate_gateway::listener::{BoundListeners, bind};
use tollgate_gateway::metrics::Metrics;
use tollgate_gateway::{Gateway, GatewayParts, Serving, SystemClock};
use tollgate_limiter::{InProcess, InProcessSettings};
use tollgate_store::{SqliteStore, Store};

use reload::WatchedFile;
use signals::StopSignals;

/// The file that is read where none is named.
const DEFAULT_FILE: &str = "tollgate.toml";
/// How long the control plane may take to finish its last answers.
const ADMIN_DRAIN: Duration = Duration::from_secs(5);

/// A process that serves.
pub(crate) struct Running {
    /// Where the gateway listens.
    pub(crate) gateway: Vec<SocketAddr>,
    /// Where the admin API listens.
    pub(crate) admin: SocketAddr,
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
    serving: Serving<InProcess>,
    stop_rest: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
    store: Arc<SqliteStore>,
}

/// The sockets of the process, bound before anything else starts.
struct Listeners {
    gateway: BoundListeners,
    admin: TcpListener,
    metrics: TcpListener,
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

/// Starts everything the configuration names. When it returns, every listener accepts.
///
/// # Errors
/// An address cannot be listened on, the database cannot be used, or the operator's token cannot be kept.
pub(crate) fn start(loaded: Loaded) -> anyhow::Result<Running> {
    let Loaded { config, warnings, .. } = loaded;
    // Taken before anything that takes time, so that an edit made meanwhile is seen as one.
    let file = WatchedFile::new(config.source.clone());
    logging::start(&config.settings.log);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let listeners = bind_all(&config.settings)?;
    let (gateway, admin) = (listeners.gateway.addresses().to_vec(), listeners.admin.local_addr()?);
    let metrics = listeners.metrics.local_addr()?;
    let runtime = runtime(config.settings.gateway.threads)?;
    let listen = async { Ok::<_, std::io::Error>((StopSignals::listen()?, signals::reload_requests()?)) };
    let (signals, reload_requests) = runtime.block_on(listen).context("the system gives no signals")?;
    let (parts, operator_token) = runtime.block_on(build(config, listeners, file, reload_requests))?;
    tracing::info!(?gateway, %admin, %metrics, "tollgate is up");
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
    let Parts { stop_gateway, serving, stop_rest, servers, store } = parts;
    stop_gateway.send_replace(true);
    let closed = serving.closed().await;
    // The control plane goes last: requests in flight may be on their way to it.
    stop_rest.send_replace(true);
    for server in servers {
        if tokio::time::timeout(ADMIN_DRAIN, server).await.is_err() {
            tracing::warn!("the control plane did not finish its last answers in time");
        }
    }
    store.close().await;
    let closed = closed?;
    if closed.cut_off > 0 {
        tracing::warn!(connections = closed.cut_off, "drain_timeout is over; what was still in flight is cut off");
    }
    if closed.usage_lines_lost > 0 {
        return Err(anyhow!("{} usage lines could not be stored and are lost", closed.usage_lines_lost));
    }
    tracing::info!(subjects_saved = closed.subjects_saved, "stopped; every count is saved");
    Ok(())
}

fn bind_all(settings: &Settings) -> anyhow::Result<Listeners> {
    let one = |key: &'static str, address: SocketAddr| -> anyhow::Result<TcpListener> {
        let failed = || format!("cannot listen on {address} ({key})");
        let listener = TcpListener::bind(address).with_context(failed)?;
        listener.set_nonblocking(true).with_context(failed)?;
        Ok(listener)
    };
    Ok(Listeners {
        gateway: bind(&settings.gateway.listen).context("gateway.listen")?,
        admin: one("admin.listen", settings.admin.listen)?,
        metrics: one("metrics.listen", settings.metrics.listen)?,
    })
}

fn runtime(threads: Threads) -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Threads::Count(count) = threads {
        builder.worker_threads(count.get());
    }
    builder.thread_name("tollgate").enable_all().build().context("the runtime cannot be started")
}

async fn build(
    config: Config,
    listeners: Listeners,
    file: WatchedFile,
    reload_requests: Signal,
) -> anyhow::Result<(Parts, String)> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = Arc::new(Metrics::default());
    let hash = config.hash();
    let Config { settings, policy, .. } = config;
    let settings = Arc::new(settings);
    let Database::Sqlite { path } = &settings.store.database;
    let token = operator_token(&settings, path)?;
    let store = Arc::new(SqliteStore::open(path).await?);
    let live = Arc::new(Live::new(policy, hash, clock.now()));
    let node = NodeId::new(clock.now(), random()?);
    let limiter = Arc::new(InProcess::new(InProcessSettings::default()));
    let gateway = Gateway::new(GatewayParts {
        settings: Arc::clone(&settings),
        policy: live.policy(),
        store: Arc::clone(&store) as Arc<dyn Store>,
        limiter: Arc::clone(&limiter),
        clock: Arc::clone(&clock),
        metrics: Arc::clone(&metrics),
        node,
        control: control_address(listeners.admin.local_addr()?),
        log_output: Box::new(std::io::stderr()),
        random: u64::from_ne_bytes(random()?),
    })
    .await?;
    let admin = tollgate_admin_api::router(AdminDeps {
        store: Arc::clone(&store) as Arc<dyn Store>,
        live: Arc::clone(&live),
        settings: Arc::clone(&settings),
        changes: gateway.changes(),
        peek: limiter,
        clock: Arc::clone(&clock),
        token: token.clone(),
        node: NodeFacts { id: node, version: env!("CARGO_PKG_VERSION"), started_at: clock.now() },
    });
    let (stop_gateway, gateway_stopped) = watch::channel(false);
    let (stop_rest, rest_stopped) = watch::channel(false);
    let observed = observe::router(Arc::clone(&metrics), Arc::clone(&store) as Arc<dyn Store>, gateway_stopped.clone());
    observe::show_config(&metrics, &live);
    // The gateway first: who is told that the process is ready may call it.
    let (serving, policies) = gateway.start(listeners.gateway, gateway_stopped);
    let mut servers = vec![
        tokio::spawn(serve_http(listeners.admin, admin, rest_stopped.clone())),
        tokio::spawn(serve_http(listeners.metrics, observed, rest_stopped.clone())),
    ];
    let watched = reload::Watched { file, requests: reload_requests, policies, settings, live, metrics, clock };
    servers.push(tokio::spawn(watched.watch(rest_stopped)));
    Ok((Parts { stop_gateway, serving, stop_rest, servers, store }, token.reveal().to_owned()))
}

/// Serves a router until told to stop, then lets its last answers finish.
async fn serve_http(listener: TcpListener, router: axum::Router, mut stop: watch::Receiver<bool>) {
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

fn operator_token(settings: &Settings, database: &Path) -> anyhow::Result<OperatorToken> {
    match &settings.admin.token {
        AdminToken::Given(secret) => OperatorToken::new(secret.reveal()).context("admin.token"),
        AdminToken::KeptBesideStore => Ok(load_or_create_token(&token_file(database))?),
    }
}

/// Where the operator's token is kept when the configuration names none.
pub(crate) fn token_file(database: &Path) -> PathBuf {
    database.with_file_name("admin-token")
}

/// The control plane as the gateway of this process reaches it.
fn control_address(mut admin: SocketAddr) -> SocketAddr {
    if admin.ip().is_unspecified() {
        admin.set_ip(match admin {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    admin
}

fn random<const LENGTH: usize>() -> anyhow::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("the system gives no random bytes: {error}"))?;
    Ok(bytes)
}
