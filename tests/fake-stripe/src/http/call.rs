//! One call: what was asked, and in which shape the answer is wanted.

use serde_json::Value;

use super::error::ApiError;
use super::params::Params;
use crate::state::{Shape, State};

/// One call of the API.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    /// The path without the query.
    pub(crate) path: String,
    pub(crate) params: Params,
    pub(crate) shape: Shape,
}

impl Call {
    /// Refuses parameters that the real API does not know here either, so that a misspelt one does not pass unseen.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        match self.params.names().find(|name| !known.contains(name)) {
            None => Ok(()),
            Some(unknown) => Err(ApiError::invalid(format!("Received unknown parameter: {unknown}"), Some(unknown))
                .with_code("parameter_unknown")),
        }
    }

    /// The object of this id, in the shape that was asked for.
    pub(crate) fn show(&self, state: &State, id: &str) -> Result<Value, ApiError> {
        state.render(id, self.shape).ok_or_else(|| ApiError::no_such("object", id, "id"))
    }
}
