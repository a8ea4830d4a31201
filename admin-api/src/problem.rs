//! Every error answer of the control plane: RFC 9457, in one place.
//!
//! A handler returns a [`Problem`]; it travels as an extension of an empty answer until the outermost layer
//! (`crate::envelope`), which alone knows the request's id, writes the body and logs the cause. What a caller
//! reads and what a log says are separate fields, so that no cause leaks.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};
use tollgate_store::StoreError;

/// Seconds after which a caller may try again when the store did not answer or a twin request is under way.
const RETRY_AFTER_SECS: u64 = 1;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:ident;)*) => {
        /// The machine-readable word of an error answer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProblemCode {
            $($(#[$doc])* $name,)*
        }

        impl ProblemCode {
            /// Every code, for tables and their tests.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word itself.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The status it usually comes with; an invalid key's may be configured to differ.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }
        }
    };
}

codes! {
    /// The request cannot be read: a path, a header or a query that is no text.
    BadRequest = "bad_request", BAD_REQUEST;
    /// The body is not JSON.
    MalformedJson = "malformed_json", BAD_REQUEST;
    /// No price buys this plan, or this price does not buy it; the members say what is sold.
    NotForSale = "not_for_sale", BAD_REQUEST;
    /// Nothing was ever bought, so that there is no portal to open.
    NoCustomer = "no_customer", BAD_REQUEST;
    /// A webhook that nobody knows to be Stripe's; the detail says why.
    InvalidSignature = "invalid_signature", BAD_REQUEST;
    /// A webhook whose body is no event.
    InvalidEvent = "invalid_event", BAD_REQUEST;
    /// A webhook of live mode where test mode is, or the other way round.
    OtherMode = "other_mode", BAD_REQUEST;
    /// The operator's token is missing or wrong.
    Unauthorized = "unauthorized", UNAUTHORIZED;
    /// Nobody has signed in.
    SignInNeeded = "sign_in_needed", UNAUTHORIZED;
    /// A token of the backend's own that is not believed; the detail says why.
    InvalidToken = "invalid_token", UNAUTHORIZED;
    /// No API key was sent.
    MissingKey = "missing_key", UNAUTHORIZED;
    /// The API key opens nothing.
    InvalidKey = "invalid_key", FORBIDDEN;
    /// The account is banned.
    AccountDisabled = "account_disabled", FORBIDDEN;
    /// The account's plan has no API access.
    UpgradeRequired = "upgrade_required", PAYMENT_REQUIRED;
    /// The payment was declined; the detail says why.
    PaymentDeclined = "payment_declined", PAYMENT_REQUIRED;
    /// The proof that was sent does not open this.
    NotAllowed = "not_allowed", FORBIDDEN;
    /// A write by cookie without the proof that it was meant.
    Csrf = "csrf", FORBIDDEN;
    /// The link is unknown, used or expired.
    InvalidLink = "invalid_link", FORBIDDEN;
    /// The token's e-mail is another account's, and the token does not prove that both are the same person's.
    EmailNotVerified = "email_not_verified", FORBIDDEN;
    /// There is no such thing.
    NotFound = "not_found", NOT_FOUND;
    /// The path exists, for other methods.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED;
    /// The body did not arrive in time.
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT;
    /// An account with this e-mail exists.
    AccountExists = "account_exists", CONFLICT;
    /// Another account has this e-mail.
    EmailTaken = "email_taken", CONFLICT;
    /// The account is on another plan than the one asked for.
    OtherPlan = "other_plan", CONFLICT;
    /// The account has as many active keys as its plan allows.
    KeyLimitReached = "key_limit_reached", CONFLICT;
    /// The key does not work any more, so it cannot be rotated.
    KeyNotActive = "key_not_active", CONFLICT;
    /// The key's predecessor is still in its grace.
    PredecessorInGrace = "predecessor_in_grace", CONFLICT;
    /// There is no subscription that goes on.
    NoSubscription = "no_subscription", CONFLICT;
    /// There is a subscription already.
    AlreadySubscribed = "already_subscribed", CONFLICT;
    /// There is a subscription whose payment is not settled.
    PaymentDue = "payment_due", CONFLICT;
    /// An operator set the account's plan, which a purchase would not change.
    PlanAssigned = "plan_assigned", CONFLICT;
    /// The moment that a preview was made for has passed.
    StalePreview = "stale_preview", CONFLICT;
    /// The repeated request was done before, and its answer held a secret that is not shown twice.
    AlreadyDone = "already_done", CONFLICT;
    /// A request with the same `Idempotency-Key` is under way.
    InProgress = "in_progress", CONFLICT;
    /// The body is larger than is taken.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE;
    /// The body is not declared to be JSON.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE;
    /// Fields or query parameters are unknown, missing or hold what they cannot.
    InvalidFields = "invalid_fields", UNPROCESSABLE_ENTITY;
    /// The `Idempotency-Key` was used for another request.
    IdempotencyMismatch = "idempotency_mismatch", UNPROCESSABLE_ENTITY;
    /// More links were asked for from one address than are mailed within an hour.
    TooManyLinks = "too_many_links", TOO_MANY_REQUESTS;
    /// The database does not answer.
    StoreUnavailable = "store_unavailable", SERVICE_UNAVAILABLE;
    /// Nothing can be mailed, so no link can be sent.
    MailUnavailable = "mail_unavailable", SERVICE_UNAVAILABLE;
    /// Stripe does not answer.
    StripeUnavailable = "stripe_unavailable", SERVICE_UNAVAILABLE;
    /// Stripe does not do what it was asked; the log has its reason under the request's id.
    StripeRefused = "stripe_refused", BAD_GATEWAY;
    /// A fault of ours; the log has the cause under the request's id.
    Internal = "internal_error", INTERNAL_SERVER_ERROR;
}

/// One thing that is wrong with a request's fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct FieldError {
    /// Where in the body, as a JSON pointer in its fragment form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pointer: Option<String>,
    /// Which query parameter or header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameter: Option<String>,
    /// The line of the file that was sent, where the row names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u64>,
    /// The column of that file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) column: Option<String>,
    /// What is wrong and what to write instead.
    pub(crate) detail: String,
}

/// An error answer.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    code: ProblemCode,
    status: StatusCode,
    detail: String,
    errors: Vec<FieldError>,
    members: Map<String, Value>,
    retry_after_secs: Option<u64>,
    challenge: Option<HeaderValue>,
    cause: Option<String>,
}

impl Problem {
    /// A problem of this code, in these words.
    pub(crate) fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            code,
            status: code.status(),
            detail: detail.into(),
            errors: Vec::new(),
            members: Map::new(),
            retry_after_secs: None,
            challenge: None,
            cause: None,
        }))
    }

    /// Something that is not there, or not the asker's.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(ProblemCode::NotFound, detail)
    }

    /// Fields that cannot be taken.
    pub(crate) fn invalid_fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => only.detail.clone(),
            several => format!("{} things are wrong with this request, see `errors`", several.len()),
        };
        let mut problem = Self::new(ProblemCode::InvalidFields, detail);
        problem.0.errors = errors;
        problem
    }

    /// A fault of ours: the caller learns the code and the request's id only.
    pub(crate) fn internal(cause: impl Into<String>) -> Self {
        let mut problem = Self::new(ProblemCode::Internal, "Internal error");
        problem.0.cause = Some(cause.into());
        problem
    }

    /// A twin of this request is under way.
    pub(crate) fn in_progress(detail: impl Into<String>) -> Self {
        Self::new(ProblemCode::InProgress, detail).retry_soon()
    }

    /// The same with another status.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    /// The same with a member beside the standard ones.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.into(), value.into());
        self
    }

    /// The same with many such members.
    pub(crate) fn with_all(mut self, members: Map<String, Value>) -> Self {
        self.0.members.extend(members);
        self
    }

    /// The same with these words.
    pub(crate) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// The same with a challenge, as every 401 must have one; it is left out of any other status.
    pub(crate) fn with_challenge(mut self, challenge: HeaderValue) -> Self {
        self.0.challenge = Some(challenge);
        self
    }

    /// The status.
    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What the caller reads.
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The same with word that it may be tried again shortly.
    pub(crate) fn retry_soon(self) -> Self {
        self.retry_after(RETRY_AFTER_SECS)
    }

    /// The same with word that it may be tried again after so many seconds.
    pub(crate) fn retry_after(mut self, secs: u64) -> Self {
        self.0.retry_after_secs = Some(secs);
        self
    }

    /// The same with what only the log may say.
    pub(crate) fn because(mut self, cause: impl Into<String>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// What only the log may say, if there is such a cause.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// The machine-readable word.
    pub(crate) fn code(&self) -> ProblemCode {
        self.0.code
    }

    /// Writes status, headers and body into an answer.
    pub(crate) fn write(&self, request_id: &str, response: &mut Response) {
        let problem = &*self.0;
        let mut body = problem.members.clone();
        let (kind, title) = kind_and_title(problem.code, problem.status);
        body.insert("type".into(), kind.into());
        body.insert("title".into(), title.into());
        body.insert("status".into(), problem.status.as_u16().into());
        body.insert("detail".into(), problem.detail.as_str().into());
        body.insert("code".into(), problem.code.as_str().into());
        body.insert("request_id".into(), request_id.into());
        if !problem.errors.is_empty() {
            let errors = serde_json::to_value(&problem.errors).expect("texts and numbers are JSON");
            body.insert("errors".into(), errors);
        }
        *response.status_mut() = problem.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(secs) = problem.retry_after_secs {
            headers.insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        if let Some(challenge) = problem.challenge.as_ref().filter(|_| problem.status == StatusCode::UNAUTHORIZED) {
            headers.insert(WWW_AUTHENTICATE, challenge.clone());
        }
        *response.body_mut() = Value::Object(body).to_string().into();
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let cause = error.to_string();
        match error {
            StoreError::Unavailable(_) => {
                let mut problem = Self::new(ProblemCode::StoreUnavailable, "Key store unavailable");
                problem.0.retry_after_secs = Some(RETRY_AFTER_SECS);
                problem.0.cause = Some(cause);
                problem
            }
            StoreError::Unusable(_) | StoreError::Corrupt { .. } => Self::internal(cause),
        }
    }
}

/// The registered type where there is one that fits; otherwise the code tells the problem, and the title the status.
fn kind_and_title(code: ProblemCode, status: StatusCode) -> (&'static str, &'static str) {
    match code {
        ProblemCode::StoreUnavailable => (
            "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
            "Request cannot be satisfied due to temporary server capacity constraints",
        ),
        _ => ("about:blank", status.canonical_reason().unwrap_or("Error")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_words() {
        let words: std::collections::BTreeSet<_> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), ProblemCode::ALL.len());
        assert!(words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
    }

    #[test]
    fn a_store_that_does_not_answer_may_be_asked_again_and_its_cause_stays_inside() {
        let problem = Problem::from(StoreError::Unavailable("disk I/O error".into()));
        let mut response = Response::new(axum::body::Body::empty());
        problem.write("r1", &mut response);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert!(problem.cause().is_some_and(|cause| cause.contains("disk I/O")));
        assert!(!problem.0.detail.contains("disk"));
    }
}
