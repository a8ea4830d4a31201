//! Composition: builds the parts that a configuration names, runs them in one process, and stops them in order.

mod compose;
mod listeners;
mod logging;
mod observe;
mod outside;
mod plane;
mod reload;
mod role;
mod shared;
mod signals;
mod stores;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tollgate_admin_api::Mailer;
use tollgate_config::{AdminAccess, Config, Loaded, ProcessEnvironment, Threads};
use tollgate_store::UsageSink;

use listeners::Listeners;
use plane::Closing;
use reload::WatchedFile;
pub(crate) use role::Role;
use signals::StopSignals;
use stores::OpenStore;

/// The file that is read where none is named.
const DEFAULT_FILE: &str = "tollgate.toml";
/// How long the control plane may take to finish its last answers.
const ADMIN_DRAIN: Duration = Duration::from_secs(5);
/// Threads for work that must not wait behind requests. It mostly waits for others.
const BACKGROUND_THREADS: NonZeroUsize = NonZeroUsize::new(2).expect("two is not zero");
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
    /// Where work runs that must not wait behind requests: the database's connections, counts on their way.
    background: Runtime,
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
    if let Some(path) = config_file(named) {
        return Ok(tollgate_config::load(path, &ProcessEnvironment)?);
    }
    Ok(Loaded { config: Config::default_for_missing_file(), warnings: Vec::new(), blank: true })
}

/// Reads from the same file how the running process is reached.
///
/// # Errors
/// What is wrong with the sections that say so.
pub(crate) fn load_admin_access(named: Option<&Path>) -> anyhow::Result<AdminAccess> {
    match config_file(named) {
        Some(path) => Ok(tollgate_config::load_admin_access(path, &ProcessEnvironment)?),
        None => Ok(AdminAccess::default()),
    }
}

/// The file to read; `None` where there is none and the defaults hold.
pub(crate) fn config_file(named: Option<&Path>) -> Option<&Path> {
    let default = Path::new(DEFAULT_FILE);
    named.or_else(|| default.exists().then_some(default))
}

/// Starts what the role consists of, as the configuration names it. When it returns, every listener accepts.
///
/// # Errors
/// An address cannot be listened on, the database cannot be used, or the operator's token cannot be kept.
pub(crate) fn start(loaded: Loaded, role: Role) -> anyhow::Result<Running> {
    start_with(loaded, role, None)
}

/// As [`start`]; links to sign in with are mailed by `mailer` where there is one, whatever the settings say.
///
/// # Errors
/// As [`start`].
pub(crate) fn start_with(loaded: Loaded, role: Role, mailer: Option<Arc<dyn Mailer>>) -> anyhow::Result<Running> {
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
    let background = runtime(Threads::Count(BACKGROUND_THREADS), "tollgate-work")?;
    let runtime = runtime(config.settings.gateway.threads, "tollgate")?;
    let listen = async { Ok::<_, std::io::Error>((StopSignals::listen()?, signals::reload_requests()?)) };
    let (signals, reload_requests) = runtime.block_on(listen).context("the system gives no signals")?;
    let (parts, operator_token) = runtime.block_on(compose::build(
        config,
        role,
        listeners,
        file,
        reload_requests,
        background.handle().clone(),
        mailer,
    ))?;
    let admin_shown = admin.map(tracing::field::display);
    tracing::info!(role = role.as_str(), ?gateway, admin = admin_shown, %metrics, "tollgate is up");
    Ok(Running { gateway, admin, metrics, operator_token, signals, runtime, background, parts })
}

impl Running {
    /// Serves until SIGTERM or SIGINT, then lets requests in flight finish and saves every count. A second signal
    /// ends the process at once.
    ///
    /// # Errors
    /// Some count or state could not be saved.
    pub(crate) fn until_stopped(self) -> anyhow::Result<()> {
        let Self { mut signals, runtime, background, parts, .. } = self;
        let stopped = runtime.block_on(async {
            signals.next().await;
            tracing::info!("stopping: no more connections are taken, requests in flight finish");
            tokio::spawn(signals.exit_on_next());
            stop(parts).await
        });
        runtime.shutdown_timeout(Duration::from_millis(100));
        background.shutdown_timeout(Duration::from_millis(100));
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

fn runtime(threads: Threads, name: &str) -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Threads::Count(count) = threads {
        builder.worker_threads(count.get());
    }
    builder.thread_name(name).enable_all().build().context("the runtime cannot be started")
}

/// Where the operator's token is kept when the configuration names none.
pub(crate) fn token_file(database: &Path) -> PathBuf {
    database.with_file_name("admin-token")
}
