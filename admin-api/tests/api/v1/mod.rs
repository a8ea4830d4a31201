//! `/v1/*`.

mod me;
mod plans;
mod quota;
