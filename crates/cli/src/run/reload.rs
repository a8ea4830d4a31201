//! Reloads the policy when the file changes or SIGHUP comes: checked first, swapped whole, the old one kept when
//! the new one is wrong.
//!
//! The file is asked for a few times a second rather than watched: that sees a rename, a swapped symbolic link and
//! a mounted volume alike.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tollgate_config::{Config, Live, Policy, ProcessEnvironment, Settings, changed_settings};
use tollgate_domain::{Clock, PlanName};
use tollgate_gateway::metrics::Metrics;

use super::observe;
use super::plane::Install;

/// How often the file is asked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long it must have rested before it is read, so that a half-written file is not.
const REST: Duration = Duration::from_millis(200);

/// A file and what it governs.
pub(crate) struct Watched {
    pub(crate) file: WatchedFile,
    /// SIGHUP, each time it comes.
    pub(crate) requests: Signal,
    /// Puts a policy in force in this process's gateway, where it has one.
    pub(crate) install: Option<Install>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) live: Arc<Live>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The file that the configuration came from, and the state it was in then.
pub(crate) struct WatchedFile {
    /// `None` where the defaults are in force: there is nothing to read then, but SIGHUP must not end the process.
    path: Option<PathBuf>,
    seen: Fingerprint,
}

impl WatchedFile {
    /// As it is now: what is edited from now on is seen as an edit.
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        let seen = path.as_ref().and_then(|path| std::fs::metadata(path).ok()).map(|meta| fingerprint(&meta));
        Self { path, seen }
    }
}

/// What tells one state of a file from another; `None` while there is none.
type Fingerprint = Option<(u64, u64, u64, i64, i64)>;

fn fingerprint(meta: &Metadata) -> (u64, u64, u64, i64, i64) {
    (meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec())
}

impl Watched {
    /// Watches until told to stop.
    pub(crate) async fn watch(mut self, mut stop: watch::Receiver<bool>) {
        let mut known = self.file.seen;
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => false,
                Some(()) = self.requests.recv() => true,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let seen = self.fingerprint().await;
            if seen == known && !asked {
                continue;
            }
            let Some(file) = &self.file.path else {
                tracing::warn!("asked to reload, but there is no configuration file: the defaults are in force");
                continue;
            };
            known = self.rested(seen).await;
            self.reload(file).await;
        }
    }

    /// Waits until the file has not changed for a while.
    async fn rested(&self, mut seen: Fingerprint) -> Fingerprint {
        loop {
            tokio::time::sleep(REST).await;
            let now = self.fingerprint().await;
            if now == seen {
                return now;
            }
            seen = now;
        }
    }

    async fn fingerprint(&self) -> Fingerprint {
        tokio::fs::metadata(self.file.path.as_ref()?).await.ok().map(|meta| fingerprint(&meta))
    }

    async fn reload(&self, file: &Path) {
        let named = file.to_owned();
        let loaded = tokio::task::spawn_blocking(move || tollgate_config::load(&named, &ProcessEnvironment)).await;
        match loaded {
            Ok(Ok(loaded)) if loaded.blank => {
                self.reject(format!("{}: the file is empty, or sets nothing", file.display()));
            }
            Ok(Ok(loaded)) => {
                for warning in &loaded.warnings {
                    tracing::warn!("{warning}");
                }
                self.apply(loaded.config);
            }
            Ok(Err(diagnostics)) => self.reject(diagnostics.to_string()),
            Err(error) => self.reject(format!("{}: reading it failed: {error}", file.display())),
        }
    }

    fn apply(&self, config: Config) {
        if let Some(why) = config.policy.unmet_by(&self.settings) {
            return self.reject(why);
        }
        let restart_needed = changed_settings(&self.settings, &config.settings);
        let before = self.live.policy();
        let in_force = Config { settings: (*self.settings).clone(), ..config };
        let hash = in_force.hash();
        let unchanged = in_force.policy == *before;
        let vanished = vanished_plans(&before, &in_force.policy);
        let waiting = restart_needed.iter().map(|key| (*key).to_owned()).collect();
        self.live.apply(in_force.policy, hash, waiting, self.clock.now());
        if !restart_needed.is_empty() {
            tracing::warn!(
                keys = restart_needed.join(", "),
                "these settings have changed and need a restart to take effect"
            );
        }
        if let Some(install) = self.install.as_ref().filter(|_| !unchanged) {
            install(self.live.policy());
        }
        observe::show_config(&self.metrics, &self.live);
        if !vanished.is_empty() {
            let plans = vanished.join(", ");
            tracing::error!(
                plans,
                "plans are gone from the file; their accounts are on the default plan until they come back"
            );
        }
        tracing::info!(hash = self.live.status().hash, unchanged, "the configuration is reloaded");
    }

    fn reject(&self, error: String) {
        tracing::error!(error, "the configuration cannot be reloaded; the old one stays in force");
        self.metrics.config_reload_failures.inc();
        self.metrics.config_rejected.set(1);
        self.live.reject(error);
    }
}

fn vanished_plans(before: &Policy, after: &Policy) -> Vec<String> {
    let gone = |name: &PlanName| after.plans.get(name.as_str()).is_none();
    before.plans.iter().map(|plan| &plan.name).filter(|name| gone(name)).map(ToString::to_string).collect()
}
