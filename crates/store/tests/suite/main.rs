//! What every store must do, whatever keeps the rows: each test runs on each backend. What only one backend can
//! do wrong, such as a damaged file, has a test binary of its own.

mod accounts;
mod audit;
mod backend;
mod billing_model;
#[path = "../postgres/database.rs"]
mod database;
mod events;
mod fixture;
mod history;
mod idempotency;
mod import;
mod inbox;
mod keys;
mod leases;
mod ledger_model;
mod limiter_state;
mod meter_sends;
mod notices;
mod openings;
mod outbox;
mod quota_model;
mod races;
mod retention;
mod rotation;
mod seed;
mod sign_in;
mod stripe;
mod subscriptions;
mod usage;
