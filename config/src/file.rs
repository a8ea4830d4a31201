//! Reads a whole file: every section, then what only shows between them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::admin::{AdminConfig, MetricsConfig};
use crate::auth::AuthConfig;
use crate::billing::{BillingConfig, WebhookSecrets};
use crate::config::{Config, Loaded, Policy, Settings};
use crate::cors::Cors;
use crate::diagnostics::{Diagnostic, Diagnostics, Severity};
use crate::environment::Environment;
use crate::gateway::GatewayConfig;
use crate::keys::KeysConfig;
use crate::limits::LimitsConfig;
use crate::listeners::Listeners;
use crate::log::LogConfig;
use crate::mail::MailConfig;
use crate::plans::Plans;
use crate::portal::PortalConfig;
use crate::reader::{Reader, Table};
use crate::source::{self, Readable, Source};
use crate::store::StoreConfig;
use crate::upstream::UpstreamConfig;
use crate::usage::UsageConfig;
use crate::{customers, fleet, route_checks, routes};

/// The largest file, in bytes. Ten thousand routes take about two million.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Reads and checks a file. Paths in it are relative to its folder.
///
/// # Errors
/// Every problem at once, in the order of the file; a file that cannot be read is one of them.
pub fn load(path: &Path, environment: &dyn Environment) -> Result<Loaded, Diagnostics> {
    parse(&text_of(path)?, path, environment)
}

/// As [`load`], for making the endpoint whose secret the file is to hold: those of webhooks may be missing, are not read
/// and not in what is returned.
///
/// # Errors
/// As [`load`].
pub fn load_without_webhook_secrets(path: &Path, environment: &dyn Environment) -> Result<Loaded, Diagnostics> {
    parse_with(&text_of(path)?, path, environment, WebhookSecrets::NotYet)
}

/// How a running process is reached: what `[admin]` and `[store]` say of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdminAccess {
    /// `[admin]`
    pub admin: AdminConfig,
    /// `[store]`, beside whose database a token that nobody chose is kept.
    pub store: StoreConfig,
}

/// Reads from a file how the process it governs is reached, and nothing else: a mistake elsewhere in it, or a variable
/// that is set for the process only, must not keep an operator from revoking a key.
///
/// # Errors
/// What is wrong with these two sections, or that the file cannot be read.
pub fn load_admin_access(path: &Path, environment: &dyn Environment) -> Result<AdminAccess, Diagnostics> {
    let text = text_of(path)?;
    let source = Source::new(&text, path);
    let readable = Readable::of(&source);
    let syntax = source::read(&source, &readable);
    let folder = path.parent().unwrap_or(Path::new(""));
    let reader = Reader::new(&source, &syntax, environment, folder);
    let root = reader.root();
    let admin = AdminConfig::read(&root.section("admin"), &mut Listeners::default());
    let store = StoreConfig::read(&root.section("store"));
    fleet::check_token(&root, &store);
    let (diagnostics, errors) = reader.into_section_diagnostics();
    if errors { Err(Diagnostics(diagnostics)) } else { Ok(AdminAccess { admin, store }) }
}

fn text_of(path: &Path) -> Result<String, Diagnostics> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        return Err(at_start(path, format!("the file cannot be read: {error}")));
    }
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(at_start(path, "the file is too large for a configuration: over 32 MiB".into()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good_up_to = error.utf8_error().valid_up_to();
        let good = std::str::from_utf8(&error.as_bytes()[..good_up_to]).unwrap_or_default();
        let source = Source::new(good, path);
        let message = "the file is not UTF-8: this byte belongs to no character".into();
        Diagnostics(vec![source.diagnostic(good.len(), Severity::Error, message)])
    })
}

/// Checks a text as if it stood in the file `path`, which need not exist.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, path: &Path, environment: &dyn Environment) -> Result<Loaded, Diagnostics> {
    parse_with(text, path, environment, WebhookSecrets::Needed)
}

fn parse_with(
    text: &str,
    path: &Path,
    environment: &dyn Environment,
    webhook_secrets: WebhookSecrets,
) -> Result<Loaded, Diagnostics> {
    let source = Source::new(text, path);
    let readable = Readable::of(&source);
    let syntax = source::read(&source, &readable);
    let folder = path.parent().unwrap_or(Path::new(""));
    let reader = Reader::new(&source, &syntax, environment, folder);
    let (settings, policy) = read(&reader.root(), webhook_secrets);
    let (diagnostics, errors) = reader.into_diagnostics();
    if errors {
        return Err(Diagnostics(diagnostics));
    }
    Ok(Loaded {
        config: Config { settings, policy, source: Some(path.into()) },
        warnings: diagnostics,
        blank: syntax.root.get_ref().is_empty(),
    })
}

fn at_start(path: &Path, message: String) -> Diagnostics {
    Diagnostics(vec![Diagnostic { file: path.into(), line: 1, column: 1, severity: Severity::Error, message }])
}

/// Reads every section. What it returns is only whole when nothing was reported.
pub(crate) fn read(root: &Table<'_>, webhook_secrets: WebhookSecrets) -> (Settings, Policy) {
    let reader = root.reader;
    let mut listeners = Listeners::default();
    let settings = Settings {
        gateway: GatewayConfig::read(&root.section("gateway"), &mut listeners),
        upstream: UpstreamConfig::read(&root.section("upstream"), &mut listeners),
        admin: AdminConfig::read(&root.section("admin"), &mut listeners),
        metrics: MetricsConfig::read(&root.section("metrics"), &mut listeners),
        store: StoreConfig::read(&root.section("store")),
        keys: KeysConfig::read(&root.section("keys")),
        limits: LimitsConfig::read(&root.section("limits")),
        log: LogConfig::read(&root.section("log")),
        auth: AuthConfig::read(&root.section("auth")),
        mail: root.take("mail").and_then(|item| item.table("mail")).and_then(|table| MailConfig::read(&table)),
        portal: PortalConfig::read(&root.section("portal")),
        usage: UsageConfig::read(&root.section("usage")),
        billing: BillingConfig::read(&root.section("billing"), webhook_secrets),
    };
    let (accounts, plans) = (root.section("accounts"), root.section("plans"));
    let (routes, cors) = (root.take("routes"), root.take("cors"));
    let unknown = root.finish();
    if unknown.may_hold("plans") {
        reader.set_lost_plans();
    }
    let plans = Plans::read(&plans, &accounts);
    let placed = routes::read(routes.as_ref(), &plans);
    let cors = cors.and_then(|item| item.table("cors")).map(|table| Cors::read(&table));
    listeners.check(&settings, reader);
    fleet::check(root, &settings);
    customers::check(root, &unknown, &settings, &placed, &plans);
    route_checks::check(&placed, &plans, settings.gateway.mount.as_ref(), reader);
    let routes = placed.into_iter().map(|placed| placed.route).collect();
    let plans = plans.into_table().with_grace(settings.billing.grace_us());
    (settings, Policy { plans, routes, cors })
}
