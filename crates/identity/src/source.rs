//! Where an issuer's published keys come from. The program gives the way; nothing here speaks HTTP.

use std::error::Error;

use async_trait::async_trait;

/// Fetches an issuer's published keys.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// The key set as it is published: a JSON Web Key Set (RFC 7517). It is asked seldom, never twice at a time, and
    /// given up on after a few seconds.
    ///
    /// # Errors
    /// There is no answer, or it is not what it should be, or it is longer than [`crate::JWKS_BYTES_MAX`].
    async fn fetch(&self) -> Result<Vec<u8>, FetchError>;
}

/// Why keys could not be fetched; for the log.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct FetchError(Box<dyn Error + Send + Sync>);

impl FetchError {
    /// Wraps what the way there said, or a text.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}
