//! `/v1/*`.

mod address;
mod every_call;
mod keys;
mod login;
mod me;
mod plans;
mod quota;
mod session;
mod token;
