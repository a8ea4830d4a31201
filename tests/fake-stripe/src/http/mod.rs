//! The API over HTTP: parameters, answers, lists, errors, idempotency, faults.
//!
//! What the calls do is in `objects`; pages for people and the controls are in `pages`.

pub(crate) mod api;
pub(crate) mod call;
pub(crate) mod error;
pub(crate) mod expand;
pub(crate) mod faults;
pub(crate) mod idempotency;
pub(crate) mod paging;
pub(crate) mod params;
pub(crate) mod record;
pub(crate) mod routes;
pub(crate) mod server;
