//! Why a call to the admin API came to nothing, in words for whoever typed the command.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use crate::output::visible;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// No connection could be made.
    #[error("nothing answers at {url}: is `tollgate up` running with this config? ({cause})")]
    NothingAnswers {
        /// The admin API's address.
        url: String,
        /// What the system said.
        cause: String,
    },
    /// A connection was made, but no whole answer came.
    #[error(
        "{url} took the call but gave no whole answer within {seconds} s; what was asked may have been done or not"
    )]
    TimedOut {
        /// The admin API's address.
        url: String,
        /// How long was waited.
        seconds: u64,
    },
    /// There is a server, but it takes another token.
    #[error(
        "{url} refused the operator's token: it runs with another config or another store than the one this command \
         reads (`--config`, $TOLLGATE_CONFIG or ./tollgate.toml)"
    )]
    TokenRefused {
        /// The admin API's address.
        url: String,
    },
    /// There is a server, but no token to show it.
    #[error(
        "no operator's token: `[admin] token` is not set and {path} cannot be read ({cause}); `tollgate up` makes that \
         file at its first start, readable by its own user only"
    )]
    NoToken {
        /// The file that should hold it.
        path: PathBuf,
        /// Why it cannot be read.
        cause: String,
    },
    /// The API said no, and why.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// Something answers that is not the admin API.
    #[error("{url} answered {status}, but not as an admin API does ({cause}): does another program listen there?")]
    Foreign {
        /// The address.
        url: String,
        /// The answer's status.
        status: u16,
        /// What was wrong with the answer.
        cause: String,
    },
    /// The call failed on its way.
    #[error("the call to {url} failed: {cause}")]
    Unusable {
        /// The admin API's address.
        url: String,
        /// What happened.
        cause: String,
    },
}

/// Problem details (RFC 9457) as the admin API writes them.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Problem {
    /// The answer's status.
    pub(crate) status: u16,
    /// The kind of problem, for programs.
    pub(crate) code: String,
    /// What is wrong and what to do.
    pub(crate) detail: String,
    /// What the server's log knows the call by.
    #[serde(default)]
    pub(crate) request_id: Option<String>,
    /// Every field that is wrong.
    #[serde(default)]
    pub(crate) errors: Vec<FieldError>,
}

/// One field that is wrong.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct FieldError {
    /// Where in the body, as a JSON pointer in its fragment form.
    #[serde(default)]
    pub(crate) pointer: Option<String>,
    /// Which query parameter or header.
    #[serde(default)]
    pub(crate) parameter: Option<String>,
    /// The line of the file that was sent.
    #[serde(default)]
    pub(crate) line: Option<u64>,
    /// The column of that file.
    #[serde(default)]
    pub(crate) column: Option<String>,
    /// What is wrong and what to write instead.
    pub(crate) detail: String,
}

impl FieldError {
    /// The field as people know it: its column or parameter, else its pointer without the leading `#/`.
    pub(crate) fn field(&self) -> Option<&str> {
        let pointer = self.pointer.as_deref().map(|pointer| pointer.trim_start_matches('#').trim_start_matches('/'));
        self.column.as_deref().or(self.parameter.as_deref()).or(pointer).filter(|field| !field.is_empty())
    }
}

/// `email: it has no @`, or without a field what is wrong alone.
impl fmt::Display for FieldError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = self.field() {
            write!(formatter, "{}: ", visible(field))?;
        }
        formatter.write_str(&visible(&self.detail))
    }
}

impl Problem {
    /// The detail, unless the only field that is wrong says the same. Its pointer to `errors` is left out: whoever
    /// prints it prints them too.
    pub(crate) fn own_detail(&self) -> Option<String> {
        let repeated = matches!(self.errors.as_slice(), [only] if only.detail == self.detail);
        let without_pointer = || self.detail.replace("; see `errors`", "").replace(", see `errors`", "");
        (!repeated).then(|| visible(&without_pointer()))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(detail) = self.own_detail() {
            formatter.write_str(&detail)?;
            separator = "\n  ";
        }
        if let Some(id) = self.request_id.as_deref().filter(|_| self.status >= 500) {
            write!(formatter, " ({}; the server's log has the cause of request {})", visible(&self.code), visible(id))?;
        }
        for error in &self.errors {
            write!(formatter, "{separator}{error}")?;
            separator = "\n  ";
        }
        Ok(())
    }
}
