//! Where requests go on to: the backend's addresses, looked up off the requests' path, and the peer for each.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::upstreams::peer::HttpPeer;
use tollgate_config::{Scheme, UpstreamConfig};

/// How often a name is looked up again.
const LOOKUP_EVERY: Duration = Duration::from_secs(30);
/// How soon after a lookup that failed.
const ON_ERROR: Duration = Duration::from_secs(2);
/// The longest a connection to the backend is kept idle.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A backend, or the control plane.
#[derive(Debug)]
pub(crate) struct Upstream {
    config: UpstreamConfig,
    addresses: ArcSwap<Vec<SocketAddr>>,
    next: AtomicUsize,
}

impl Upstream {
    /// A backend whose name has not been looked up yet; an address needs no lookup.
    pub(crate) fn new(config: UpstreamConfig) -> Self {
        let known = config.url.host.parse::<IpAddr>().map(|address| SocketAddr::new(address, config.url.port));
        Self { addresses: ArcSwap::from_pointee(known.into_iter().collect()), next: AtomicUsize::new(0), config }
    }

    /// The settings it was made from.
    pub(crate) fn config(&self) -> &UpstreamConfig {
        &self.config
    }

    /// The peer for the next request, the addresses taken in turn; `None` while none is known.
    pub(crate) fn peer(&self) -> Option<HttpPeer> {
        let addresses = self.addresses.load();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let address = addresses.get(turn.checked_rem(addresses.len())?)?;
        let tls = self.config.url.scheme == Scheme::Https;
        let mut peer = HttpPeer::new(*address, tls, self.config.url.host.to_string());
        peer.options.connection_timeout = Some(self.config.connect_timeout);
        peer.options.total_connection_timeout = Some(self.config.connect_timeout);
        peer.options.read_timeout = Some(self.config.read_timeout);
        peer.options.write_timeout = Some(self.config.write_timeout);
        peer.options.idle_timeout = Some(IDLE_TIMEOUT);
        peer.options.http_upstream_request_policy =
            pingora::upstreams::peer::HttpUpstreamRequestPolicy::deny_upgrades();
        Some(peer)
    }

    /// Looks the name up now and again; returns at once for an address. Runs until dropped.
    pub(crate) async fn keep_looked_up(self: Arc<Self>) {
        if self.config.url.host.parse::<IpAddr>().is_ok() {
            return;
        }
        let mut failed = false;
        loop {
            let pause = match tokio::net::lookup_host((&*self.config.url.host, self.config.url.port)).await {
                Ok(found) => {
                    let found: Vec<SocketAddr> = found.collect();
                    if failed {
                        tracing::info!(upstream = %self.config.url, "the upstream's name is found again");
                    }
                    failed = false;
                    self.addresses.store(Arc::new(found));
                    LOOKUP_EVERY
                }
                Err(error) => {
                    // The addresses known so far stay in use: a name server's outage is not the backend's.
                    if !failed {
                        tracing::warn!(upstream = %self.config.url, %error, "the upstream's name cannot be looked up");
                    }
                    failed = true;
                    ON_ERROR
                }
            };
            tokio::time::sleep(pause).await;
        }
    }
}
