//! What the proxy answers by itself: refusals, and what an error that ends a request is to the client.

use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType, Result};
use tollgate_config::Route;
use tollgate_domain::limit::Standing;
use tollgate_domain::{MeterName, Reason, Refusal};
use tollgate_limiter::Limiter;

use super::{CLIENT_CLOSED, Context, Proxy};
use crate::answer::{Answer, ProblemFacts, X_REQUEST_ID, bad_request, invalid_token};
use crate::decision::{Denial, Denied};
use crate::guard::GuardedRequest;
use crate::limit_headers;

const BODY_TOO_LARGE: &str = "The request body is larger than this endpoint takes";

/// How a request that failed ends.
pub(super) struct Failure {
    pub(super) answer: Option<Answer>,
    pub(super) status: StatusCode,
    pub(super) charged: bool,
}

impl Failure {
    fn ours(answer: Answer, charged: bool) -> Self {
        Self { status: answer.status, answer: Some(answer), charged }
    }
}

impl<L: Limiter> Context<L> {
    pub(super) fn peer_address(&self) -> std::net::IpAddr {
        self.guarded.as_ref().map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |guarded| guarded.peer.ip())
    }

    pub(super) fn write_cors(&self, request: &RequestHeader, response: &mut ResponseHeader) -> Result<()> {
        let Some(cors) = &self.snapshot.cors else { return Ok(()) };
        let mut written = Ok(());
        cors.write(&request.headers, |name, value| {
            if let Err(error) = response.insert_header(name, value) {
                written = Err(error);
            }
        });
        let (name, value) = cors.vary();
        response.append_header(name, value)?;
        written
    }

    fn body_bytes_forwarded(&self) -> bool {
        self.body_bytes > 0
    }
}

impl<L: Limiter> Proxy<L> {
    pub(super) async fn refuse(&self, session: &mut Session, ctx: &mut Context<L>, denied: &Denied<L>) -> Result<()> {
        ctx.report.route = denied.route.as_ref().map(|route| route.name.clone());
        ctx.report.plan = denied.plan.as_ref().map(|plan| plan.name.clone());
        ctx.report.key = denied.caller.as_ref().map(|caller| caller.key.hashed.hash);
        ctx.refused = denied.caller.as_ref().map(|caller| (caller.key.account, caller.key.id));
        let mut answer = self.answer_to(ctx, denied);
        if let (Some(_), Some(route)) = (&denied.caller, &denied.route) {
            self.add_standing(denied.standing.as_ref(), route, &mut answer);
        }
        self.respond(session, ctx, answer).await
    }

    fn answer_to(&self, ctx: &mut Context<L>, denied: &Denied<L>) -> Answer {
        let id = ctx.request_id;
        match &denied.denial {
            Denial::Refusal(refusal, reason) => {
                ctx.report.outcome = refusal.code();
                ctx.report.reason = Some(*reason);
                let facts = ProblemFacts {
                    // A revoked key's answer tells no more than an unknown one's.
                    plan: denied
                        .plan
                        .as_ref()
                        .filter(|_| *refusal != Refusal::InvalidKey)
                        .map(|plan| plan.name.as_str()),
                    limit: denied.limit,
                    meter: denied.route.as_ref().and_then(|route| route.meter.as_ref()).map(MeterName::as_str),
                };
                self.parts.problems.refusal(*refusal, &facts, &id)
            }
            Denial::InvalidToken { detail, reason } => {
                ctx.report.outcome = Refusal::InvalidToken.code();
                ctx.report.reason = Some(*reason);
                invalid_token(detail, *reason, &id)
            }
            Denial::BadPath(detail) => {
                ctx.report.outcome = "bad_request";
                bad_request(StatusCode::BAD_REQUEST, "bad_request", detail, &id)
            }
            Denial::BodyTooLarge => {
                ctx.report.outcome = "body_too_large";
                bad_request(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", BODY_TOO_LARGE, &id)
            }
            Denial::MethodNotAllowed(allowed) => {
                ctx.report.outcome = "method_not_allowed";
                let detail = "Method not allowed for this endpoint";
                let mut answer = bad_request(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail, &id);
                let allowed = HeaderValue::from_str(&allowed.to_string()).expect("method names are visible ASCII");
                answer.headers.push((http::header::ALLOW, allowed));
                answer
            }
            Denial::NotFound => {
                ctx.report.outcome = "not_found";
                bad_request(StatusCode::NOT_FOUND, "not_found", "No such page here", &id)
            }
        }
    }

    /// Adds the limit headers to an answer of our own.
    pub(super) fn add_standing(&self, standing: Option<&Standing>, route: &Route, answer: &mut Answer) {
        let Some(standing) = standing else { return };
        let meter = route.meter.as_ref().map(MeterName::as_str);
        limit_headers::write(standing, meter, self.parts.limit_forms, |name, value| answer.headers.push((name, value)));
    }

    /// Writes the limit headers over those of an upstream's answer.
    pub(super) fn write_standing(&self, ctx: &Context<L>, response: &mut ResponseHeader) -> Result<()> {
        let Some(passage) = &ctx.passage else { return Ok(()) };
        let Some(standing) = &passage.standing else { return Ok(()) };
        let forms = self.parts.limit_forms;
        if forms.draft || forms.legacy {
            for name in limit_headers::NAMES {
                response.remove_header(&name);
            }
        }
        let meter = passage.route.meter.as_ref().map(MeterName::as_str);
        let mut written = Ok(());
        limit_headers::write(standing, meter, forms, |name, value| {
            if let Err(error) = response.insert_header(name, value) {
                written = Err(error);
            }
        });
        written
    }

    /// Writes an answer of our own, with the headers that every answer carries.
    pub(super) async fn respond(&self, session: &mut Session, ctx: &mut Context<L>, answer: Answer) -> Result<()> {
        let mut response = ResponseHeader::build(answer.status, Some(answer.headers.len() + 6))?;
        for (name, value) in answer.headers {
            response.append_header(name, value)?;
        }
        if answer.status != StatusCode::NO_CONTENT {
            response.insert_header(CONTENT_LENGTH, answer.body.len())?;
        }
        response.insert_header(X_REQUEST_ID, ctx.request_id.as_str())?;
        ctx.write_cors(session.req_header(), &mut response)?;
        if let Some(guarded) = &ctx.guarded {
            guarded.prepare_response(session, &mut response);
        }
        ctx.report.status = Some(answer.status);
        let bodiless = answer.body.is_empty() || session.req_header().method == Method::HEAD;
        session.write_response_header(Box::new(response), bodiless).await?;
        if !bodiless {
            session.write_response_body(Some(answer.body), true).await?;
        }
        Ok(())
    }

    /// What an error that ends a request is to the client: an answer, or nothing where nobody listens any more.
    pub(super) fn judge_error(&self, error: &Error, ctx: &mut Context<L>) -> Failure {
        if ctx.body_too_large {
            ctx.report.outcome = "body_too_large";
            let answer = bad_request(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", BODY_TOO_LARGE, &ctx.request_id);
            return Failure::ours(answer, ctx.body_bytes_forwarded());
        }
        if let Some(rejection) = ctx.guarded.as_ref().and_then(GuardedRequest::body_failure) {
            ctx.report.outcome = rejection.code;
            let status = StatusCode::from_u16(rejection.status).unwrap_or(StatusCode::BAD_REQUEST);
            self.parts.metrics.guard_rejections.with_label_values(&[rejection.code]).inc();
            let answer = bad_request(status, rejection.code, &rejection.detail, &ctx.request_id);
            return Failure::ours(answer, ctx.body_bytes_forwarded());
        }
        match (error.esource(), error.etype()) {
            (ErrorSource::Downstream, ErrorType::ReadTimedout) => {
                ctx.report.outcome = "request_timeout";
                let status = StatusCode::REQUEST_TIMEOUT;
                let answer = bad_request(status, "request_timeout", "The request body took too long", &ctx.request_id);
                Failure::ours(answer, ctx.body_bytes_forwarded())
            }
            (ErrorSource::Downstream, _) => {
                ctx.report.outcome = "client_closed";
                Failure { answer: None, status: CLIENT_CLOSED, charged: true }
            }
            (ErrorSource::Upstream, error) => {
                let timed_out = matches!(
                    error,
                    ErrorType::ConnectTimedout
                        | ErrorType::ReadTimedout
                        | ErrorType::WriteTimedout
                        | ErrorType::TLSHandshakeTimedout
                );
                let refusal = if timed_out { Refusal::UpstreamTimeout } else { Refusal::UpstreamUnavailable };
                ctx.report.outcome = refusal.code();
                ctx.report.reason = Some(Reason::Unavailable);
                let answer = self.parts.problems.refusal(refusal, &ProblemFacts::default(), &ctx.request_id);
                Failure::ours(answer, false)
            }
            (ErrorSource::Internal | ErrorSource::Unset, _) => {
                ctx.report.outcome = "internal_error";
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Failure::ours(bad_request(status, "internal_error", "Internal error", &ctx.request_id), false)
            }
        }
    }
}
