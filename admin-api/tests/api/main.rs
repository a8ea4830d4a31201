//! The control plane as its callers see it: one file a URL, against a real store in a folder of its own.

mod admin;
mod errors;
mod hang_up;
mod harness;
mod v1;
