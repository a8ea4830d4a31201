//! The effective configuration as values and as text: what hashes, operators and reloads compare.
//!
//! Every field is named by destructuring, so that a new one cannot be left out.

mod customers;
mod policy;

use std::time::Duration;

use http::HeaderValue;
use tollgate_domain::ShapePattern;

use crate::admin::{AdminConfig, AdminToken, MetricsConfig};
use crate::config::{Policy, Settings};
use crate::gateway::{GatewayConfig, Threads};
use crate::keys::KeysConfig;
use crate::limits::{LimitHeaders, LimiterMode, LimitsConfig, OnLimiterDown, RateScope};
use crate::log::{LogConfig, LogFormat};
use crate::scalars::show_size;
use crate::secret::Secret;
use crate::store::{Database, RedisConfig, StoreConfig};
use crate::upstream::UpstreamConfig;
use crate::value::Value;

/// A section's values by their keys; what is absent is left out.
type Entries = Vec<(&'static str, Option<Value>)>;

/// Every setting in the order of the file, under its full key.
pub(crate) fn settings(settings: &Settings) -> Entries {
    let Settings { gateway, upstream, admin, metrics, store, keys, limits, log, auth, mail, portal, usage, billing } =
        settings;
    [
        gateway_entries(gateway),
        upstream_entries(upstream),
        admin_entries(admin),
        vec![metrics_entry(metrics)],
        store_entries(store),
        keys_entries(keys),
        limits_entries(limits),
        log_entries(log),
        customers::auth(auth),
        customers::mail(mail.as_ref()),
        customers::portal(portal),
        customers::usage(usage),
        customers::billing(billing),
    ]
    .concat()
}

fn gateway_entries(gateway: &GatewayConfig) -> Entries {
    let GatewayConfig {
        listen,
        trusted_proxies,
        mount,
        public_url,
        upgrade_url,
        signup_url,
        invalid_key_status,
        drain_timeout,
        max_body,
        header_timeout,
        max_header,
        max_connections,
        keepalive_timeout,
        body_timeout,
        write_timeout,
        threads,
    } = gateway;
    let threads = match threads {
        Threads::Auto => Value::text("auto"),
        Threads::Count(count) => Value::Number(count.get() as u64),
    };
    vec![
        ("gateway.listen", Some(Value::list(listen))),
        ("gateway.trusted_proxies", Some(Value::list(trusted_proxies))),
        ("gateway.mount", Some(Value::text(mount.as_ref().map_or("", |mount| mount.as_str())))),
        ("gateway.public_url", public_url.as_ref().map(Value::text)),
        ("gateway.upgrade_url", upgrade_url.as_ref().map(Value::text)),
        ("gateway.signup_url", signup_url.as_ref().map(Value::text)),
        ("gateway.invalid_key_status", Some(Value::Number(invalid_key_status.as_u16().into()))),
        ("gateway.drain_timeout", Some(Value::duration(*drain_timeout))),
        ("gateway.max_body", Some(Value::byte_limit(*max_body))),
        ("gateway.header_timeout", Some(Value::duration(*header_timeout))),
        ("gateway.max_header", Some(Value::Text(show_size(*max_header as u64)))),
        ("gateway.max_connections", Some(Value::Number(max_connections.get() as u64))),
        ("gateway.keepalive_timeout", Some(Value::duration(*keepalive_timeout))),
        ("gateway.body_timeout", Some(Value::duration(*body_timeout))),
        ("gateway.write_timeout", Some(Value::duration(*write_timeout))),
        ("gateway.threads", Some(threads)),
    ]
}

fn upstream_entries(upstream: &UpstreamConfig) -> Entries {
    let UpstreamConfig { url, host, add_headers, connect_timeout, read_timeout, write_timeout } = upstream;
    let text_of = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let added = add_headers.iter().map(|(name, value)| (name.to_string(), Value::Secret(Secret::new(text_of(value)))));
    vec![
        ("upstream.url", Some(Value::text(url))),
        ("upstream.host", host.as_ref().map(|host| Value::Text(text_of(host)))),
        ("upstream.add_headers", Some(Value::Table(added.collect()))),
        ("upstream.connect_timeout", Some(Value::duration(*connect_timeout))),
        ("upstream.read_timeout", Some(Value::duration(*read_timeout))),
        ("upstream.write_timeout", Some(Value::duration(*write_timeout))),
    ]
}

fn admin_entries(admin: &AdminConfig) -> Entries {
    let AdminConfig { listen, url, token } = admin;
    let token = match token {
        AdminToken::Given(secret) => Some(Value::Secret(secret.clone())),
        AdminToken::KeptBesideStore => None,
    };
    vec![
        ("admin.listen", Some(Value::text(listen))),
        ("admin.url", url.as_ref().map(Value::text)),
        ("admin.token", token),
    ]
}

fn metrics_entry(metrics: &MetricsConfig) -> (&'static str, Option<Value>) {
    let MetricsConfig { listen } = metrics;
    ("metrics.listen", Some(Value::text(listen)))
}

fn store_entries(store: &StoreConfig) -> Entries {
    let StoreConfig { database, connections, redis, redis_prefix, redis_timeout, stale_keys_for, spool, spool_max } =
        store;
    let database = match database {
        Database::Sqlite { path } => Value::Text(format!("sqlite://{}", path.display())),
        Database::Postgres { url } => Value::Secret(url.clone()),
    };
    let redis = redis.as_ref().map(|redis| match redis {
        RedisConfig::Single(url) => Value::Secret(url.clone()),
        RedisConfig::Cluster(urls) => Value::List(urls.iter().cloned().map(Value::Secret).collect()),
    });
    vec![
        ("store.database", Some(database)),
        ("store.connections", Some(Value::Number(connections.get().into()))),
        ("store.redis", redis),
        ("store.redis_prefix", Some(Value::text(redis_prefix))),
        ("store.redis_timeout", Some(Value::duration(*redis_timeout))),
        ("store.stale_keys_for", Some(Value::duration(*stale_keys_for))),
        ("store.spool", Some(Value::text(&spool.display()))),
        ("store.spool_max", Some(Value::Text(show_size(*spool_max)))),
    ]
}

fn keys_entries(keys: &KeysConfig) -> Entries {
    let KeysConfig { prefix, header, query, pepper, also_accept } = keys;
    vec![
        ("keys.prefix", Some(Value::text(prefix))),
        ("keys.header", Some(Value::text(header))),
        ("keys.query", query.as_ref().map(Value::text)),
        ("keys.pepper", pepper.clone().map(Value::Secret)),
        ("keys.also_accept", Some(Value::list(also_accept.iter().map(ShapePattern::as_str)))),
    ]
}

fn limits_entries(limits: &LimitsConfig) -> Entries {
    let LimitsConfig { mode, lease_ttl, rate_scope, on_limiter_down, headers, enforce } = limits;
    let mode = match mode {
        LimiterMode::Leased => "leased",
        LimiterMode::Exact => "exact",
    };
    let rate_scope = match rate_scope {
        RateScope::Account => "account",
        RateScope::Key => "key",
    };
    let headers = match headers {
        LimitHeaders::Draft => "draft",
        LimitHeaders::Legacy => "legacy",
        LimitHeaders::Both => "both",
        LimitHeaders::Off => "off",
    };
    vec![
        ("limits.mode", Some(Value::text(mode))),
        ("limits.lease_ttl", Some(Value::duration(*lease_ttl))),
        ("limits.rate_scope", Some(Value::text(rate_scope))),
        ("limits.on_limiter_down", Some(on_limiter_down_value(*on_limiter_down))),
        ("limits.headers", Some(Value::text(headers))),
        ("limits.enforce", Some(Value::Flag(*enforce))),
    ]
}

fn on_limiter_down_value(choice: OnLimiterDown) -> Value {
    Value::text(match choice {
        OnLimiterDown::Local => "local",
        OnLimiterDown::Open => "open",
        OnLimiterDown::Closed => "closed",
    })
}

fn log_entries(log: &LogConfig) -> Entries {
    let LogConfig { format, level } = log;
    let format = match format {
        LogFormat::Json => "json",
        LogFormat::Line => "line",
    };
    vec![("log.format", Some(Value::text(format))), ("log.level", Some(Value::text(level.as_str())))]
}

/// What may rightly differ between the processes of one deployment.
const OF_ONE_PROCESS: [&str; 11] = [
    "gateway.listen",
    "gateway.threads",
    "admin.listen",
    "admin.url",
    "metrics.listen",
    "store.database",
    "store.connections",
    "store.redis",
    "store.spool",
    "store.spool_max",
    "log.level",
];

/// What the policy has besides the settings.
pub(crate) const GRACE: &str = "billing.stripe.grace";

/// The whole as a file, secrets redacted.
pub(crate) fn file(in_force: &Settings, policy: &Policy) -> String {
    write_file(effective(in_force, policy), policy)
}

/// The settings, of which a reload may have changed one.
fn effective(in_force: &Settings, policy: &Policy) -> Entries {
    let mut entries = settings(in_force);
    for (_, value) in entries.iter_mut().filter(|(key, value)| *key == GRACE && value.is_some()) {
        *value = Some(Value::duration(Duration::from_micros(policy.plans.grace_us().unsigned_abs())));
    }
    entries
}

/// What all processes of a deployment must agree on, as a file, secrets redacted.
pub(crate) fn common_file(in_force: &Settings, policy: &Policy) -> String {
    let common = effective(in_force, policy).into_iter().filter(|(key, _)| !OF_ONE_PROCESS.contains(key));
    write_file(common.collect(), policy)
}

fn write_file(settings: Entries, policy: &Policy) -> String {
    let mut out = String::new();
    let mut section = "";
    for (key, value) in settings {
        let (of, key) = key.rsplit_once('.').unwrap_or(("", key));
        if value.is_none() {
            continue;
        }
        if of != section {
            section = of;
            write_header(&mut out, &format!("[{section}]"));
        }
        write_entries(&mut out, vec![(key, value)]);
    }
    let Policy { plans, routes, cors } = policy;
    if let Some(plan) = plans.default_plan() {
        write_header(&mut out, "[accounts]");
        write_entries(&mut out, vec![("default_plan", Some(Value::text(&plan.name)))]);
    }
    for plan in plans.iter() {
        write_header(&mut out, &format!("[plans.{}]", plan.name));
        write_entries(&mut out, policy::plan(plan));
    }
    for route in routes {
        write_header(&mut out, "[[routes]]");
        write_entries(&mut out, policy::route(route));
    }
    if let Some(cors) = cors {
        write_header(&mut out, "[cors]");
        write_entries(&mut out, policy::cors(cors));
    }
    out
}

fn write_header(out: &mut String, header: &str) {
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(header);
    out.push('\n');
}

fn write_entries(out: &mut String, entries: Entries) {
    for (key, value) in entries {
        let Some(value) = value else { continue };
        out.push_str(key);
        out.push_str(" = ");
        value.write(out);
        out.push('\n');
    }
}
