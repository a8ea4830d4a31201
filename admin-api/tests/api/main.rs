//! The control plane as its callers see it: one file a URL, against a real store in a folder of its own.

mod admin;
mod billing;
mod credit;
mod errors;
mod events;
mod explain;
mod hang_up;
mod harness;
mod notices;
mod openapi;
mod usage;
mod usage_support;
mod v1;
