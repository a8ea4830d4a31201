//! Who somebody is to the backend's own sign-in: verifies the tokens (JWTs) that it gives its users.
//!
//! A [`Verifier`] has either a secret (HS256) or the issuer's published keys (RS256, ES256), which it fetches through a
//! [`KeySource`], keeps, and refreshes. Which algorithms a token may be signed with follows from the keys alone.
//! Not here: where a token stands in a request, which account a subject has, how keys travel (no HTTP client), and the
//! time, which the caller tells.

mod claims;
mod error;
mod key_set;
mod published;
mod source;
mod token;
mod verified;
mod verifier;

pub use claims::Identity;
pub use error::InvalidToken;
pub use key_set::JWKS_BYTES_MAX;
pub use source::{FetchError, KeySource};
pub use token::TOKEN_BYTES_MAX;
pub use verifier::{Verifier, VerifierSettings};
