//! Idempotency keys: the first answer again, or a refusal where the parameters differ.

use serde_json::Value;

use super::error::ApiError;
use crate::state::State;
use crate::state::clock::DAY;

/// How many answers are kept before old ones are looked for.
const KEPT_AT_MOST: usize = 200_000;

/// An answer that is kept for a repetition.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    fingerprint: String,
    status: u16,
    body: Value,
    at: i64,
}

impl State {
    /// The answer that this key already got, if the same was asked.
    pub(crate) fn replay(&self, key: &str, fingerprint: &str) -> Result<Option<(u16, Value)>, ApiError> {
        match self.kept.get(key).filter(|kept| self.now - kept.at < DAY) {
            None => Ok(None),
            Some(kept) if kept.fingerprint == fingerprint => Ok(Some((kept.status, kept.body.clone()))),
            Some(_) => Err(ApiError {
                kind: "idempotency_error",
                ..ApiError::invalid(
                    format!(
                        "Keys for idempotent requests can only be used with the same parameters they were first used with. \
                         Try using a key other than '{key}' if you meant to execute a different request."
                    ),
                    None,
                )
            }),
        }
    }

    /// Keeps an answer. A refusal of the parameters is not kept: nothing was begun.
    pub(crate) fn keep(&mut self, key: &str, fingerprint: String, status: u16, body: &Value) {
        if !matches!(status, 200 | 402 | 500..) {
            return;
        }
        if self.kept.len() >= KEPT_AT_MOST {
            let now = self.now;
            self.kept.retain(|_, kept| now - kept.at < DAY);
        }
        self.kept.insert(key.to_owned(), Kept { fingerprint, status, body: body.clone(), at: self.now });
    }
}
