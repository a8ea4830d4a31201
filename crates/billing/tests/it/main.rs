//! Billing against a Stripe of its own and a store in memory: what is told in whatever order, how late and however often,
//! ends in what is so.

#![expect(clippy::unwrap_used, reason = "what a test prepares is there")]

mod api;
mod faults;
mod lives;
mod matching;
mod order;
mod processes;
mod sweep;
mod webhook;
mod withheld;
mod world;
