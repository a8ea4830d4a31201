//! What can go wrong between nodes, told apart by what a caller can do about it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use deadpool_redis::redis::RedisError;

/// Something that the fleet did not do. None of these stops a background loop: it tries again.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// Redis does not answer, or refuses. The same call may succeed later.
    #[error("Redis does not answer: {0}")]
    Away(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Redis answered nothing within the bound of the call. It may still do what it was asked.
    #[error("Redis did not answer within {} ms", .0.as_millis())]
    Slow(Duration),
    /// The settings name no server that could ever answer; a person must act.
    #[error("{0}")]
    Settings(String),
    /// The spool's folder cannot be used.
    #[error("the usage spool {}: {source}", folder.display())]
    Spool {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl FleetError {
    /// Wraps what a pool or a server said.
    pub(crate) fn away(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Away(error.into())
    }

    pub(crate) fn spool(folder: &Path, source: std::io::Error) -> Self {
        Self::Spool { folder: folder.to_path_buf(), source }
    }

    /// The code of the server's own refusal (`NOGROUP`, `OOM`, …), where it answered with one.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Away(error) => error.downcast_ref::<RedisError>().and_then(RedisError::code),
            Self::Slow(_) | Self::Settings(_) | Self::Spool { .. } => None,
        }
    }
}

impl From<RedisError> for FleetError {
    fn from(error: RedisError) -> Self {
        Self::away(error)
    }
}
