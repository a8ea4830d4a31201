//! The data plane: everything a request touches on its way.
//!
//! A request is judged raw by the [`guard`], decided on by [`decision`], forwarded by the proxy's phases, settled
//! and counted. What stands here knows nothing of the control plane; it is told of changes through the store's
//! [`ChangeSink`](tollgate_store::ChangeSink).

pub mod access_log;
pub mod answer;
pub mod client_address;
mod clock;
mod cookie;
pub mod cors;
pub mod credential;
pub mod decision;
pub mod directory;
mod gateway;
pub mod guard;
pub mod limit_headers;
pub mod listener;
pub mod metrics;
mod observer;
mod period;
mod proxy;
mod query;
mod request_id;
pub mod router;
pub mod snapshot;
pub mod usage;
pub mod usage_report;

pub use clock::SystemClock;
pub use gateway::{Closed, Gateway, GatewayError, GatewayParts, Policies, Serving};
pub use request_id::{RequestId, RequestIds};
