//! What the data plane answers by itself: the one place where a refusal becomes HTTP (RFC 9457).

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use tollgate_config::GatewayConfig;
use tollgate_domain::limit::LimitLabel;
use tollgate_domain::{Reason, Refusal};

use crate::decision::RefusingLimit;
use crate::limit_headers::seconds;
use crate::request_id::RequestId;

/// The header that names a request.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Problem types registered by draft-ietf-httpapi-ratelimit-headers.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const TEMPORARY_REDUCED_CAPACITY: &str = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";
/// What a caller is told to wait when a backend of ours is away, in seconds.
const UNAVAILABLE_RETRY_SECS: u64 = 1;

/// The codes beside the contract's table, with their status: what the guard refuses, and what no table foresees.
pub const OTHER_CODES: [(&str, u16); 7] = [
    ("bad_request", 400),
    ("not_found", 404),
    ("method_not_allowed", 405),
    ("request_timeout", 408),
    ("body_too_large", 413),
    ("headers_too_large", 431),
    ("internal_error", 500),
];

/// An answer of our own.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, without framing.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// 204, for preflights.
    pub fn no_content() -> Self {
        Self { status: StatusCode::NO_CONTENT, headers: Vec::with_capacity(8), body: Bytes::new() }
    }
}

/// What a problem says beside its code.
#[derive(Clone, Debug, Default)]
pub struct ProblemFacts<'a> {
    /// The plan the call ran under.
    pub plan: Option<&'a str>,
    /// The limit that refused.
    pub limit: Option<RefusingLimit>,
    /// The meter that the call debits; told where that is what refused.
    pub meter: Option<&'a str>,
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meter: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resets_at: Option<String>,
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    violated_policies: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signup_url: Option<&'a str>,
}

/// Writes problems the way this deployment is configured.
#[derive(Debug)]
pub struct Problems {
    invalid_key_status: StatusCode,
    missing_key_detail: String,
    challenge: HeaderValue,
    upgrade_url: Option<String>,
    signup_url: Option<String>,
}

impl Problems {
    /// For these settings.
    pub fn new(gateway: &GatewayConfig, key_header: &HeaderName) -> Self {
        let challenge = format!("ApiKey realm=\"api\", header=\"{key_header}\", Bearer realm=\"api\"");
        Self {
            invalid_key_status: gateway.invalid_key_status,
            missing_key_detail: format!("Missing {key_header}"),
            challenge: HeaderValue::from_str(&challenge).expect("a header's name is visible ASCII"),
            upgrade_url: gateway.upgrade_url.as_ref().map(ToString::to_string),
            signup_url: gateway.signup_url.as_ref().map(ToString::to_string),
        }
    }

    /// The status a refusal has here.
    pub fn status_of(&self, refusal: Refusal) -> StatusCode {
        match refusal {
            Refusal::InvalidKey => self.invalid_key_status,
            _ => StatusCode::from_u16(refusal.status()).expect("the contract's statuses are statuses"),
        }
    }

    /// The answer to a refused call.
    pub fn refusal(&self, refusal: Refusal, facts: &ProblemFacts<'_>, request_id: &RequestId) -> Answer {
        let status = self.status_of(refusal);
        let detail = match refusal {
            Refusal::MissingKey => &self.missing_key_detail,
            _ => refusal.detail(),
        };
        let problem_type = match refusal {
            Refusal::RateLimited | Refusal::QuotaExceeded => QUOTA_EXCEEDED,
            Refusal::LimiterUnavailable | Refusal::StoreUnavailable => TEMPORARY_REDUCED_CAPACITY,
            _ => "about:blank",
        };
        let by_meter = facts.limit.is_some_and(|limit| limit.standing.label == LimitLabel::Meter);
        let meter = facts.meter.filter(|_| by_meter);
        let violated = |limit: RefusingLimit| vec![meter.map_or_else(|| limit.standing.label.to_string(), Into::into)];
        let upgrade_helps = matches!(refusal, Refusal::UpgradeRequired | Refusal::QuotaExceeded | Refusal::RateLimited);
        let problem = Problem {
            r#type: problem_type,
            title: title(problem_type, status),
            status: status.as_u16(),
            detail,
            code: refusal.code(),
            request_id: request_id.as_str(),
            plan: facts.plan,
            meter,
            limit: facts.limit.map(|limit| limit.standing.limit),
            used: facts.limit.map(|limit| limit.standing.used),
            resets_at: facts.limit.map(|limit| limit.resets_at.to_string()),
            violated_policies: facts.limit.map(violated),
            upgrade_url: self.upgrade_url.as_deref().filter(|_| upgrade_helps),
            signup_url: self.signup_url.as_deref().filter(|_| refusal == Refusal::MissingKey),
        };
        let mut answer = render(status, &problem);
        if status == StatusCode::UNAUTHORIZED {
            answer.headers.push((WWW_AUTHENTICATE, self.challenge.clone()));
        }
        let retry_secs = match refusal {
            Refusal::RateLimited | Refusal::QuotaExceeded => facts.limit.map(|limit| seconds(limit.wait_us).max(1)),
            Refusal::LimiterUnavailable | Refusal::StoreUnavailable => Some(UNAVAILABLE_RETRY_SECS),
            _ => None,
        };
        answer.headers.extend(retry_secs.map(|secs| (RETRY_AFTER, HeaderValue::from(secs))));
        answer
    }
}

/// The answer to a call on a `jwt` route without a good token (RFC 6750, section 3). A call without any is not told of
/// an error in it.
pub fn invalid_token(detail: &str, reason: Reason, request_id: &RequestId) -> Answer {
    let mut answer = bad_request(StatusCode::UNAUTHORIZED, Refusal::InvalidToken.code(), detail, request_id);
    let challenge = if reason == Reason::NoToken {
        "Bearer realm=\"api\"".to_owned()
    } else {
        // What may stand in a description; our own words hold nothing else.
        let fits = |letter: &char| matches!(letter, ' '..='~') && !matches!(letter, '"' | '\\');
        let description: String = detail.chars().filter(fits).collect();
        format!("Bearer realm=\"api\", error=\"invalid_token\", error_description=\"{description}\"")
    };
    let challenge = HeaderValue::from_str(&challenge).expect("visible ASCII and spaces");
    answer.headers.push((WWW_AUTHENTICATE, challenge));
    answer
}

/// The answer to a request that cannot be served as it is, for reasons that are no refusal of the contract's table.
pub fn bad_request(status: StatusCode, code: &str, detail: &str, request_id: &RequestId) -> Answer {
    let problem = Problem {
        r#type: "about:blank",
        title: title("about:blank", status),
        status: status.as_u16(),
        detail,
        code,
        request_id: request_id.as_str(),
        plan: None,
        meter: None,
        limit: None,
        used: None,
        resets_at: None,
        violated_policies: None,
        upgrade_url: None,
        signup_url: None,
    };
    render(status, &problem)
}

fn title(problem_type: &str, status: StatusCode) -> &'static str {
    match problem_type {
        QUOTA_EXCEEDED => "Request cannot be satisfied as assigned quota has been exceeded",
        TEMPORARY_REDUCED_CAPACITY => "Request cannot be satisfied due to temporary server capacity constraints",
        _ => status.canonical_reason().unwrap_or("Error"),
    }
}

fn render(status: StatusCode, problem: &Problem<'_>) -> Answer {
    let mut body = serde_json::to_vec(problem).expect("text and numbers always make JSON");
    body.push(b'\n');
    let headers = vec![
        (CONTENT_TYPE, HeaderValue::from_static("application/problem+json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Answer { status, headers, body: body.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_code_with_its_status() {
        let text = include_str!("../../docs/ERRORS.md");
        let table = text.split("## From the operator API").next().expect("the gate's table comes first");
        let mut documented: Vec<(&str, u16)> = table
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| `")?.split(" | ");
                let code = cells.next()?.trim_end_matches('`');
                Some((code, cells.next()?.parse().expect("a status stands behind each code")))
            })
            .collect();
        let mut ours: Vec<(&str, u16)> =
            Refusal::ALL.iter().map(|refusal| (refusal.code(), refusal.status())).chain(OTHER_CODES).collect();
        documented.sort_unstable();
        ours.sort_unstable();
        assert_eq!(documented, ours);
    }

    #[test]
    fn a_refusal_says_what_the_contract_says_and_where_to_go() {
        let gateway = GatewayConfig {
            invalid_key_status: StatusCode::UNAUTHORIZED,
            upgrade_url: Some("https://example.com/pricing".parse().expect("a URL")),
            signup_url: Some("https://example.com/signup".parse().expect("a URL")),
            ..GatewayConfig::default()
        };
        let problems = Problems::new(&gateway, &HeaderName::from_static("x-key"));
        let id = RequestId::parse("r-1").expect("an id");
        let body = |refusal| -> serde_json::Value {
            let answer = problems.refusal(refusal, &ProblemFacts::default(), &id);
            serde_json::from_slice(&answer.body).expect("JSON")
        };
        let missing = body(Refusal::MissingKey);
        assert_eq!((missing["detail"].as_str(), missing["status"].as_u64()), (Some("Missing x-key"), Some(401)));
        assert_eq!(missing["signup_url"], "https://example.com/signup");
        assert_eq!(missing["request_id"], "r-1");
        let upgrade = body(Refusal::UpgradeRequired);
        assert_eq!(upgrade["upgrade_url"], "https://example.com/pricing");
        assert!(upgrade.get("signup_url").is_none());
        let invalid = problems.refusal(Refusal::InvalidKey, &ProblemFacts::default(), &id);
        assert_eq!(invalid.status, StatusCode::UNAUTHORIZED);
        assert!(invalid.headers.iter().any(|(name, _)| name == WWW_AUTHENTICATE), "a 401 carries a challenge");
    }
}
