//! Tokens whose signature has been checked already: most callers send the same token many times, and checking an RSA or
//! elliptic-curve signature costs a hundred times more than finding it here.

use std::sync::Arc;

use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use crate::claims::Checked;
use crate::key_set::KeySet;

/// Tokens remembered, about.
const TOKENS_MAX: usize = 4_096;

/// Tokens by the SHA-256 of all of their text, the signature included. What is kept of a token is no secret.
pub(crate) struct Verified {
    tokens: Cache<[u8; 32], Arc<Entry>>,
}

/// A token that was verified.
pub(crate) struct Entry {
    pub(crate) checked: Checked,
    /// What it was verified with. With other keys it is to be verified anew.
    pub(crate) keys: Arc<KeySet>,
}

impl Verified {
    pub(crate) fn new() -> Self {
        Self { tokens: Cache::new(TOKENS_MAX) }
    }

    /// What is remembered of a token. Whether its time is over, and its keys are still those in use, is for the caller to
    /// see.
    pub(crate) fn find(&self, digest: &[u8; 32]) -> Option<Arc<Entry>> {
        self.tokens.get(digest)
    }

    pub(crate) fn remember(&self, digest: [u8; 32], entry: Entry) {
        self.tokens.insert(digest, Arc::new(entry));
    }
}

/// By what a token is found.
pub(crate) fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
