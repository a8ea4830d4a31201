//! The whole of a checked file, in the two parts that differ in when they take effect.

use std::path::PathBuf;

use sha2::{Digest, Sha256};
use tollgate_domain::PlanTable;

use crate::admin::{AdminConfig, MetricsConfig};
use crate::auth::AuthConfig;
use crate::billing::BillingConfig;
use crate::cors::Cors;
use crate::diagnostics::Diagnostic;
use crate::gateway::GatewayConfig;
use crate::keys::KeysConfig;
use crate::limits::LimitsConfig;
use crate::log::LogConfig;
use crate::mail::MailConfig;
use crate::portal::PortalConfig;
use crate::render;
use crate::route::{Access, Route};
use crate::store::{Database, StoreConfig};
use crate::upstream::UpstreamConfig;
use crate::usage::UsageConfig;

/// A file that may be used, and what is doubtful about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The warnings, in the order of the file.
    pub warnings: Vec<Diagnostic>,
    /// Whether the text set nothing, comments or not: at start that means the defaults, on a reload that it was being
    /// written or lost by accident.
    pub blank: bool,
}

/// A checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What a restart changes.
    pub settings: Settings,
    /// What a reload changes.
    pub policy: Policy,
    /// The file it came from; `None` for the defaults.
    pub source: Option<PathBuf>,
}

impl Config {
    /// What holds where there is no file: the defaults, no plans, no routes, paths relative to the working directory.
    pub fn default_for_missing_file() -> Self {
        Self { settings: Settings::default(), policy: Policy::default(), source: None }
    }

    /// SHA-256 in hexadecimal digits of the effective values. Files that mean the same have one hash. Secrets are left
    /// out, and what may rightly differ between the processes of one deployment: addresses, threads, where the
    /// database, Redis and the spool are and how much of them one process takes, the log's level. Take it of the
    /// settings and the policy in force.
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(render::common_file(&self.settings, &self.policy)))
    }

    /// The effective values as a file, secrets redacted: what operators are shown.
    pub fn to_redacted_toml(&self) -> String {
        render::file(&self.settings, &self.policy)
    }
}

/// What takes effect at a start only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// `[gateway]`
    pub gateway: GatewayConfig,
    /// `[upstream]`
    pub upstream: UpstreamConfig,
    /// `[admin]`
    pub admin: AdminConfig,
    /// `[metrics]`
    pub metrics: MetricsConfig,
    /// `[store]`
    pub store: StoreConfig,
    /// `[keys]`
    pub keys: KeysConfig,
    /// `[limits]`
    pub limits: LimitsConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[auth]`
    pub auth: AuthConfig,
    /// `[mail]`; without it nothing is mailed.
    pub mail: Option<MailConfig>,
    /// `[portal]`
    pub portal: PortalConfig,
    /// `[usage]`
    pub usage: UsageConfig,
    /// `[billing]`
    pub billing: BillingConfig,
}

impl Settings {
    /// Whether they are those of a fleet: `PostgreSQL` holds the truth, and Redis what the nodes share.
    pub fn is_fleet(&self) -> bool {
        self.missing_for_fleet().is_empty()
    }

    /// The keys that a fleet needs and that are not set to it: `store.database` where it is no `PostgreSQL`, `store.redis`
    /// where there is none. Empty for a fleet.
    pub fn missing_for_fleet(&self) -> Vec<&'static str> {
        let database = matches!(self.store.database, Database::Postgres { .. });
        let needed = [("store.database", database), ("store.redis", self.store.redis.is_some())];
        needed.into_iter().filter(|(_, there)| !there).map(|(key, _)| key).collect()
    }
}

/// What a reload swaps whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// `[plans]`, `default_plan` of `[accounts]`, and `grace` of `[billing.stripe]`.
    pub plans: PlanTable,
    /// `[[routes]]`, in file order.
    pub routes: Vec<Route>,
    /// `[cors]`; `None` answers no preflight.
    pub cors: Option<Cors>,
}

impl Default for Policy {
    fn default() -> Self {
        let plans = PlanTable::default().with_grace(BillingConfig::default().grace_us());
        Self { plans, routes: Vec::new(), cors: None }
    }
}

impl Policy {
    /// Why the policy cannot be put in force while these settings are; `None` when it can. A file is checked as a whole,
    /// but of its settings a reload takes none.
    pub fn unmet_by(&self, in_force: &Settings) -> Option<String> {
        let route = self.routes.iter().find(|route| route.access == Access::Jwt)?;
        let message = || format!("the route `{}` has access = \"jwt\", and [auth.jwt] takes a restart", route.name);
        in_force.auth.jwt.is_none().then(message)
    }
}

/// The keys whose values differ, such as `gateway.listen`: what needs a restart to take effect. Grace does not, as the
/// policy has it too.
pub fn changed_settings(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let (old, new) = (render::settings(old), render::settings(new));
    let changed = old.iter().zip(&new).filter(|(old, new)| old != new).map(|((key, _), _)| *key);
    changed.filter(|key| *key != render::GRACE).collect()
}
