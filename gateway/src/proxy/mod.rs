//! The proxy's phases: where a request's life meets Pingora.
//!
//! Each phase asks a module that knows nothing of the proxy and carries the answer out. The guard has judged the
//! request before any of them runs.

mod context;
mod count;
mod forward;
mod report;
mod respond;
mod settle;
mod upstream;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use tollgate_config::Access;
use tollgate_domain::Clock;
use tollgate_limiter::Limiter;

pub(crate) use context::Context;
pub(crate) use upstream::Upstream;

use crate::access_log::{AccessLog, AccessRecord};
use crate::answer::{Answer, Problems, X_REQUEST_ID};
use crate::client_address::{client_address, is_trusted};
use crate::decision::{Call, Decider, Passage, Verdict};
use crate::guard::{Framing, GuardedRequest};
use crate::limit_headers::Forms;
use crate::metrics::Metrics;
use crate::request_id::{RequestId, RequestIds};
use crate::usage::UsageRecorder;
use forward::{Forwarding, Origin};
use report::ReportWarnings;
use settle::End;

/// What a hung-up client's request is logged as; no such status is ever sent.
const CLIENT_CLOSED: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

/// What the proxy is made of.
pub(crate) struct ProxyParts<L: Limiter> {
    /// Decides on calls.
    pub decider: Arc<Decider<L>>,
    /// Keeps limits; refunds go to it.
    pub limiter: Arc<L>,
    /// Counts usage.
    pub usage: Arc<UsageRecorder>,
    /// Writes problems.
    pub problems: Arc<Problems>,
    /// Counts requests.
    pub metrics: Arc<Metrics>,
    /// Takes log lines.
    pub log: AccessLog,
    /// Names requests.
    pub request_ids: Arc<RequestIds>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// The backend.
    pub upstream: Arc<Upstream>,
    /// The control plane.
    pub control: Arc<Upstream>,
    /// Which limit headers are written.
    pub limit_forms: Forms,
    /// The settings of the listener.
    pub gateway: tollgate_config::GatewayConfig,
}

/// The proxy.
pub(crate) struct Proxy<L: Limiter> {
    parts: ProxyParts<L>,
    forwarding: Forwarding,
    warnings: ReportWarnings,
}

impl<L: Limiter> Proxy<L> {
    /// A proxy of these parts.
    pub(crate) fn new(parts: ProxyParts<L>) -> Self {
        let forwarding = Forwarding::new(&parts.gateway, parts.upstream.config(), parts.decider.keys());
        Self { parts, forwarding, warnings: ReportWarnings::default() }
    }

    /// A trusted proxy's own id is kept, so that one request has one name everywhere.
    fn adopt_request_id(&self, session: &Session, ctx: &mut Context<L>) {
        let given = session.req_header().headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
        if let Some(given) = given.and_then(RequestId::parse)
            && is_trusted(ctx.peer_address(), self.forwarding.trusted_proxies())
        {
            ctx.request_id = given;
        }
    }

    fn note_passage(&self, ctx: &mut Context<L>, passage: Passage<L>) {
        ctx.report.route = Some(passage.route.name.clone());
        ctx.report.plan = passage.plan.as_ref().filter(|_| passage.caller.is_some()).map(|plan| plan.name.clone());
        ctx.report.key = passage.caller.as_ref().map(|caller| caller.key.hashed.hash);
        ctx.report.outcome = match passage.route.access {
            Access::Pass => "passed",
            Access::Jwt => "signed_in",
            Access::Key | Access::Optional | Access::Public => "forwarded",
        };
        if let Some((refusal, reason)) = passage.would_refuse {
            ctx.report.would_refuse = Some((refusal.code(), reason));
            let route = passage.route.name.as_str();
            let plan = ctx.report.plan.as_ref().map_or("", |plan| plan.as_str());
            self.parts.metrics.would_refuse.with_label_values(&[route, plan, refusal.code(), reason.as_str()]).inc();
        }
        ctx.passage = Some(passage);
    }
}

#[async_trait]
impl<L: Limiter> ProxyHttp for Proxy<L> {
    type CTX = Context<L>;

    fn new_ctx(&self) -> Context<L> {
        let parts = &self.parts;
        Context::new(
            parts.clock.now(),
            parts.request_ids.next(),
            parts.decider.snapshot(),
            Arc::clone(&parts.usage),
            parts.metrics.requests_in_flight.clone(),
        )
    }

    fn on_connection_reuse(&self, _: &mut Session, ctx: &mut Context<L>, context: Box<dyn Any + Send + Sync>) {
        ctx.guarded = GuardedRequest::from_context(context);
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context<L>) -> Result<bool> {
        self.adopt_request_id(session, ctx);
        let request = session.req_header();
        let client = client_address(ctx.peer_address(), &request.headers, self.forwarding.trusted_proxies());
        ctx.client = Some(client);
        let body_length = match ctx.guarded.as_ref().map(|guarded| guarded.framing) {
            Some(Framing::Length(length)) => Some(length),
            _ => None,
        };
        let call = Call {
            method: &request.method,
            path: request.uri.path(),
            query: request.uri.query(),
            headers: &request.headers,
            client,
            body_length,
            now: ctx.now,
        };
        let verdict = self.parts.decider.decide(&ctx.snapshot, &call).await;
        self.parts.metrics.gate_duration.observe(ctx.started.elapsed().as_secs_f64());
        match verdict {
            Verdict::Forward(passage) => {
                self.note_passage(ctx, passage);
                Ok(false)
            }
            Verdict::Control(path) => {
                ctx.report.outcome = "control";
                ctx.control = Some(path);
                Ok(false)
            }
            Verdict::Preflight => {
                ctx.report.outcome = "preflight";
                let mut answer = Answer::no_content();
                if let Some(cors) = &ctx.snapshot.cors {
                    let headers = &session.req_header().headers;
                    cors.write_preflight(headers, |name, value| answer.headers.push((name, value)));
                }
                self.respond(session, ctx, answer).await?;
                Ok(true)
            }
            Verdict::Refuse(denied) => {
                self.refuse(session, ctx, &denied).await?;
                Ok(true)
            }
        }
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut Context<L>,
    ) -> Result<()> {
        let Some(passage) = &ctx.passage else { return Ok(()) };
        let bytes = body.as_ref().map_or(0, |body| body.len() as u64);
        if !self.parts.decider.body_limit(&passage.route).admits(ctx.body_bytes + bytes) {
            ctx.body_too_large = true;
            return Err(Error::new_down(ErrorType::HTTPStatus(413)));
        }
        ctx.body_bytes += bytes;
        Ok(())
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut Context<L>) -> Result<Box<HttpPeer>> {
        let upstream = if ctx.control.is_some() { &self.parts.control } else { &self.parts.upstream };
        let unknown = || Error::explain(ErrorType::ConnectNoRoute, "the upstream's name is not known").into_up();
        upstream.peer().map(Box::new).ok_or_else(unknown)
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context<L>,
    ) -> Result<()> {
        let peer = ctx.peer_address();
        let origin = Origin { peer, client: ctx.client.unwrap_or(peer), request_id: &ctx.request_id };
        if let Some(path) = &ctx.control {
            return self.forwarding.to_control_plane(request, origin, path);
        }
        let Some(passage) = &ctx.passage else { return Ok(()) };
        let plan = passage.plan.as_ref().map_or("", |plan| plan.name.as_str());
        let caller = passage.caller.as_deref().map(|caller| (caller, plan));
        self.forwarding.to_upstream(request, origin, passage.places, caller)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context<L>,
    ) -> Result<()> {
        let reported = self.take_reported(ctx, response);
        if ctx.control.is_none() {
            forward::keep_session(response)?;
        }
        if response.status.is_informational() {
            return Ok(());
        }
        ctx.report.status = Some(response.status);
        self.settle(ctx, response.status, End::Answered(reported)).await;
        self.write_standing(ctx, response)?;
        let passes = ctx.passage.as_ref().is_some_and(|passage| passage.route.access == Access::Pass);
        if ctx.snapshot.cors.is_some() && !passes {
            for name in crate::cors::OURS {
                response.remove_header(&name);
            }
            ctx.write_cors(session.req_header(), response)?;
        }
        response.insert_header(X_REQUEST_ID, ctx.request_id.as_str())?;
        if let Some(guarded) = &ctx.guarded {
            guarded.prepare_response(session, response);
        }
        Ok(())
    }

    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, ctx: &mut Context<L>, mut e: Box<Error>) -> Box<Error> {
        self.parts.metrics.upstream_connect_errors.inc();
        // Nothing of the request was sent, so another address may be tried; a slow one is not tried again.
        e.set_retry(*e.etype() != ErrorType::ConnectTimedout && ctx.body_bytes == 0);
        e
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, ctx: &mut Context<L>) -> FailToProxy {
        let failure = self.judge_error(e, ctx);
        let end = if failure.charged { End::Charged } else { End::Refunded };
        self.settle(ctx, failure.status, end).await;
        let begun = session.response_written().is_some_and(|header| !header.status.is_informational());
        if begun {
            // The header is out: the caller has its status, and the body breaks off.
            ctx.report.outcome = if ctx.report.outcome == "client_closed" { "client_closed" } else { "broken_off" };
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        }
        ctx.report.status = Some(failure.status);
        session.set_keepalive(None);
        if let Some(mut answer) = failure.answer {
            if let Some(passage) = &ctx.passage {
                self.add_standing(passage.standing.as_ref(), &passage.route, &mut answer);
            }
            if self.respond(session, ctx, answer).await.is_err() {
                ctx.report.outcome = "client_closed";
            }
        }
        FailToProxy { error_code: failure.status.as_u16(), can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, ctx: &mut Context<L>) {
        if !ctx.counted {
            self.settle(ctx, CLIENT_CLOSED, End::Charged).await;
        }
        let took: Duration = ctx.started.elapsed();
        let report = &ctx.report;
        let status = report.status.unwrap_or(CLIENT_CLOSED).as_u16();
        let route = report.route.as_ref().map_or("", |route| route.as_str());
        let plan = report.plan.as_ref().map_or("", |plan| plan.as_str());
        self.parts.metrics.request_ended(route, plan, report.outcome, status, took);
        let request = session.req_header();
        self.keep_row(ctx, request, status, took);
        self.parts.log.record(AccessRecord {
            at: ctx.now,
            method: request.method.clone(),
            path: request.uri.path().into(),
            status,
            took,
            plan: report.plan.clone(),
            key: report.key,
            route: report.route.clone(),
            outcome: report.outcome,
            reason: report.reason,
            would_refuse: report.would_refuse,
            client: ctx.client.unwrap_or_else(|| ctx.peer_address()),
            request_id: ctx.request_id,
        });
    }

    /// The access log has a line of its own; an error line would repeat it, the raw target included.
    fn suppress_error_log(&self, _: &Session, _: &Context<L>, _: &Error) -> bool {
        true
    }

    fn request_summary(&self, session: &Session, ctx: &Context<L>) -> String {
        format!(
            "{} {} request {}",
            session.req_header().method,
            session.req_header().uri.path(),
            ctx.request_id.as_str()
        )
    }
}
