//! The configuration file: read, typed, checked as a whole.
//!
//! Owns the format of the one TOML file, its defaults and everything that can be wrong with it:
//! every problem is a [`Diagnostic`] with file, line and column, and all of them are reported at
//! once. What comes out is a [`Config`] in which nothing is unset and no text stands for a type.
//!
//! Deliberately does not watch the file, bind a port, open a database or log: that is the
//! business of whoever loads it. What the numbers of a plan mean stands in the domain crate.

mod admin;
mod auth;
mod billing;
mod config;
mod cors;
mod customers;
#[cfg(test)]
mod default_file;
mod diagnostics;
mod environment;
mod file;
mod fleet;
mod gateway;
mod headers;
mod item;
mod keys;
mod limits;
mod listeners;
mod live;
mod log;
mod mail;
mod meters;
mod methods;
mod normal;
mod path;
mod plans;
mod portal;
mod reader;
mod render;
mod route;
mod route_checks;
mod routes;
mod scalars;
mod secret;
mod source;
mod store;
mod store_url;
mod suggest;
mod upstream;
mod url_text;
mod usage;
mod value;

pub use admin::{AdminConfig, AdminToken, MetricsConfig};
pub use auth::{AuthConfig, JwtConfig, JwtKeys};
pub use billing::{BilledMeter, BillingConfig, OnDispute, OnRefund, ProrationBehavior, StripeConfig};
pub use config::{Config, Loaded, Policy, Settings, changed_settings};
pub use cors::{Allowed, Cors, Origin};
pub use diagnostics::{Diagnostic, Diagnostics, Severity};
pub use environment::{Environment, ProcessEnvironment};
pub use file::{AdminAccess, load, load_admin_access, load_without_webhook_secrets, parse};
pub use gateway::{GatewayConfig, MountPath, Threads};
pub use keys::KeysConfig;
pub use limits::{LimitHeaders, LimiterMode, LimitsConfig, OnLimiterDown, RateScope};
pub use live::{Live, ReloadStatus};
pub use log::{LogConfig, LogFormat, LogLevel};
pub use mail::{MailConfig, MailTls};
pub use methods::MethodSet;
pub use path::{InvalidPath, PathPattern, Segment};
pub use portal::PortalConfig;
pub use route::{Access, Condition, Cost, MinPlan, Route, UNMATCHED_ROUTE};
pub use scalars::ByteLimit;
pub use secret::Secret;
pub use store::{Database, RedisConfig, StoreConfig};
pub use upstream::{Scheme, UpstreamConfig, UpstreamUrl};
pub use usage::{NoticeWebhook, RequestLog, UsageConfig};

/// The documented file: every key with its meaning, settings at their defaults, plans, routes and CORS as comments.
pub const DEFAULT_FILE: &str = include_str!("../tollgate.toml");
