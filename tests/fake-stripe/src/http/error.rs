//! Errors in Stripe's shape.

use serde_json::{Map, Value, json};

/// A refused call, as Stripe would put it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {message}")]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// `error.type`.
    pub kind: &'static str,
    /// `error.code`.
    pub code: Option<&'static str>,
    /// `error.message`.
    pub message: String,
    /// `error.param`.
    pub param: Option<String>,
    /// `error.decline_code`, for a card.
    pub decline_code: Option<&'static str>,
}

impl ApiError {
    /// A 400 about a parameter or what was asked.
    pub(crate) fn invalid(message: impl Into<String>, param: Option<&str>) -> Self {
        Self {
            status: 400,
            kind: "invalid_request_error",
            code: None,
            message: message.into(),
            param: param.map(str::to_owned),
            decline_code: None,
        }
    }

    /// The same with a code.
    pub(crate) fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// The same with another status.
    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// A required parameter is not there.
    pub(crate) fn missing(param: &str) -> Self {
        Self::invalid(format!("Missing required param: {param}."), Some(param)).with_code("parameter_missing")
    }

    /// An id that names nothing: 404 where it stood in the path, 400 where it was a parameter.
    pub(crate) fn no_such(what: &str, id: &str, param: &str) -> Self {
        let error = Self::invalid(format!("No such {what}: '{id}'"), Some(param)).with_code("resource_missing");
        if param == "id" { error.with_status(404) } else { error }
    }

    /// What a declined card gives.
    pub(crate) fn declined() -> Self {
        Self {
            status: 402,
            kind: "card_error",
            code: Some("card_declined"),
            message: "Your card was declined.".to_owned(),
            param: None,
            decline_code: Some("generic_decline"),
        }
    }

    /// A path that the fake does not play.
    pub(crate) fn unrecognized(method: &str, path: &str) -> Self {
        Self::invalid(format!("Unrecognized request URL ({method}: {path})."), None).with_status(404)
    }

    /// What Stripe has and the fake does not: said plainly, so that nobody takes silence for support.
    pub(crate) fn not_played(what: &str) -> Self {
        Self::invalid(format!("The fake Stripe does not play {what}."), None)
    }

    /// The body of the answer.
    pub fn body(&self) -> Value {
        let mut error = Map::new();
        error.insert("type".to_owned(), json!(self.kind));
        error.insert("message".to_owned(), json!(self.message));
        if let Some(code) = self.code {
            error.insert("code".to_owned(), json!(code));
            error.insert(
                "doc_url".to_owned(),
                json!(format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-"))),
            );
        }
        if let Some(param) = &self.param {
            error.insert("param".to_owned(), json!(param));
        }
        if let Some(decline_code) = self.decline_code {
            error.insert("decline_code".to_owned(), json!(decline_code));
        }
        json!({ "error": error })
    }
}
