//! The data plane of a process, whatever keeps its limits.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;
use tollgate_config::Policy;
use tollgate_gateway::listener::BoundListeners;
use tollgate_gateway::{Closed, Gateway, GatewayError, GatewayParts};
use tollgate_limiter::Limiter;
use tollgate_store::ChangeSink;

/// Puts a policy in force.
pub(super) type Install = Box<dyn Fn(Arc<Policy>) + Send + Sync>;
/// Ends when a gateway has drained and everything it counted is handed over.
pub(super) type Closing = Pin<Box<dyn Future<Output = Result<Closed, GatewayError>> + Send>>;

type Start = Box<dyn FnOnce(BoundListeners, watch::Receiver<bool>) -> (Install, Closing) + Send>;

/// A gateway that does not serve yet, but obeys changes already.
pub(super) struct Made {
    /// Who obeys changes.
    pub(super) changes: Arc<dyn ChangeSink>,
    start: Start,
}

impl Made {
    /// Serves until `stopped` turns true.
    pub(super) fn start(self, listeners: BoundListeners, stopped: watch::Receiver<bool>) -> (Install, Closing) {
        (self.start)(listeners, stopped)
    }
}

/// Makes a gateway of these parts.
///
/// # Errors
/// As [`Gateway::new`].
pub(super) async fn make<L: Limiter>(parts: GatewayParts<L>) -> Result<Made, GatewayError> {
    let gateway = Gateway::new(parts).await?;
    let changes = gateway.changes();
    let start = move |listeners, stopped| {
        let (serving, policies) = gateway.start(listeners, stopped);
        let install: Install = Box::new(move |policy| policies.install(policy));
        (install, Box::pin(serving.closed()) as Closing)
    };
    Ok(Made { changes, start: Box::new(start) })
}
