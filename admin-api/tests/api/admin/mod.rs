//! `/admin/v1/*`.

mod accounts;
mod audit;
mod auth;
mod config;
mod idempotency;
mod import;
mod keys;
