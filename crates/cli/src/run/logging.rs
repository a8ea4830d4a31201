//! Where messages go: standard error, as JSON or as text, in the form the access log has too.

use tollgate_config::{LogConfig, LogFormat};
use tracing_subscriber::EnvFilter;

/// Starts logging. Only this program's own messages are written: a library's may hold a raw target.
pub(crate) fn start(log: &LogConfig) {
    let filter =
        EnvFilter::new(format!("off,{}", OURS.map(|target| format!("{target}={}", log.level.as_str())).join(",")));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process, as in tests, keeps the first one's form.
    let _already_started = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).with_target(false).try_init(),
        LogFormat::Line => builder.with_target(false).with_ansi(false).try_init(),
    };
}

/// The crates whose messages are ours.
const OURS: [&str; 6] =
    ["tollgate", "tollgate_gateway", "tollgate_admin_api", "tollgate_store", "tollgate_limiter", "tollgate_config"];
