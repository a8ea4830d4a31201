//! Answers, counts and logs what the guard refuses before any phase of the proxy runs.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::ORIGIN;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tollgate_domain::Clock;
use tollgate_limiter::Limiter;

use crate::access_log::{AccessLog, AccessRecord};
use crate::answer::{X_REQUEST_ID, bad_request};
use crate::decision::Decider;
use crate::guard::{GuardObserver, RejectedRequest, RenderedAnswer};
use crate::metrics::Metrics;
use crate::request_id::RequestIds;

/// The data plane's side of the guard.
pub(crate) struct Observer<L: Limiter> {
    /// Knows the CORS rules in force.
    pub decider: Arc<Decider<L>>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Takes log lines.
    pub log: AccessLog,
    /// Names requests.
    pub request_ids: Arc<RequestIds>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

impl<L: Limiter> GuardObserver for Observer<L> {
    fn rejected(&self, request: &RejectedRequest<'_>) -> RenderedAnswer {
        let rejection = request.rejection;
        let request_id = self.request_ids.next();
        let status = StatusCode::from_u16(rejection.status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut answer = bad_request(status, rejection.code, &rejection.detail, &request_id);
        let id = HeaderValue::from_str(request_id.as_str()).expect("our ids are hexadecimal digits");
        answer.headers.push((X_REQUEST_ID, id));
        if let Some(cors) = &self.decider.snapshot().cors {
            let mut headers = HeaderMap::new();
            if let Some(origin) = request.origin.and_then(|origin| HeaderValue::from_str(origin).ok()) {
                headers.insert(ORIGIN, origin);
            }
            cors.write(&headers, |name, value| answer.headers.push((name, value)));
            answer.headers.push(cors.vary());
        }
        self.metrics.guard_rejections.with_label_values(&[rejection.code]).inc();
        self.metrics.request_ended("", "", rejection.code, rejection.status, request.elapsed);
        let method = request.method.and_then(|method| Method::from_bytes(method.as_bytes()).ok());
        self.log.record(AccessRecord {
            at: self.clock.now(),
            method: method.unwrap_or_default(),
            path: request.path.unwrap_or("-").into(),
            status: rejection.status,
            took: request.elapsed,
            plan: None,
            key: None,
            route: None,
            outcome: rejection.code,
            reason: None,
            would_refuse: None,
            client: request.peer.ip(),
            request_id,
        });
        RenderedAnswer { headers: answer.headers, body: answer.body }
    }

    fn refused_unseen(&self, _peer: SocketAddr, status: u16) {
        self.metrics.guard_rejections.with_label_values(&["unparsable"]).inc();
        self.metrics.request_ended("", "", "unparsable", status, std::time::Duration::ZERO);
    }

    fn panicked(&self, message: &str) {
        self.metrics.panics.inc();
        tracing::error!(message, "serving a request panicked; its connection is closed and others go on");
    }

    fn connection_opened(&self, _peer: SocketAddr) {
        self.metrics.connections.inc();
    }

    fn connection_closed(&self, _peer: SocketAddr) {
        self.metrics.connections.dec();
    }

    fn connection_refused(&self, _peer: SocketAddr) {
        self.metrics.connections_refused.inc();
    }

    fn accept_failed(&self, error: &std::io::Error) {
        tracing::error!(%error, "a connection could not be accepted");
    }
}
