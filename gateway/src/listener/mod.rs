//! The listener: sockets bound, connections accepted, counted and drained.
//!
//! Addresses are bound before anything else starts, so that a port in use is one clear line and
//! not a panic. Each connection is served by the [`guard`](crate::guard) in a task of its own: a
//! panic costs that connection alone. Deliberately reads no byte of a request. TLS and HTTP/2 join
//! between the accept and the guard.

mod accept;
mod bind;

pub use accept::{DrainReport, ListenerSettings, serve};
pub use bind::{BindError, BoundListeners, adopt, bind};

use std::sync::Arc;

use pingora::proxy::{HttpProxy, ProxyHttp, http_proxy};
use pingora::server::configuration::ServerConf;

/// How the proxy keeps and retries connections to upstreams.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamSettings {
    /// How many idle connections to upstreams are kept in all.
    pub idle_connections_max: usize,
    /// How often a request that reached no upstream may be tried, the first time included.
    pub tries_max: usize,
}

impl Default for UpstreamSettings {
    fn default() -> Self {
        Self { idle_connections_max: 256, tries_max: 3 }
    }
}

/// Builds the proxy that [`serve`] hands requests to, its modules initialised.
pub fn proxy_app<P: ProxyHttp>(phases: P, upstream: UpstreamSettings) -> Arc<HttpProxy<P>> {
    let conf = ServerConf {
        // Pool sizes there are per thread; one makes the number ours.
        threads: 1,
        upstream_keepalive_pool_size: upstream.idle_connections_max,
        // None would leave every request without an answer.
        max_retries: upstream.tries_max.max(1),
        ..ServerConf::default()
    };
    Arc::new(http_proxy(&Arc::new(conf), phases))
}
