//! Why a token is not believed, in words fit for whoever sent it: no expected value and no key is named.

use crate::token::TOKEN_BYTES_MAX;

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// It has more than [`TOKEN_BYTES_MAX`] bytes.
    #[error("Token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// It is not a JWT, or not one that is signed.
    #[error("Token is not a signed JWT")]
    Malformed,
    /// It is a token for another purpose, such as a sign-out.
    #[error("Token is of another type")]
    Type,
    /// It names an extension that has to be understood; none is.
    #[error("Token requires an extension that is not supported")]
    Critical,
    /// It is signed with an algorithm that the keys are not for, or not at all.
    #[error("Token is not signed with an accepted algorithm")]
    Algorithm,
    /// The issuer publishes no key that it could have been signed with.
    #[error("Token is signed with an unknown key")]
    UnknownKey,
    /// Its signature is not the key's.
    #[error("Token has a wrong signature")]
    Signature,
    /// Its time is over.
    #[error("Token has expired")]
    Expired,
    /// Its time has not come.
    #[error("Token is not valid yet")]
    NotYetValid,
    /// Somebody else issued it.
    #[error("Token has another issuer")]
    Issuer,
    /// It is for somebody else.
    #[error("Token is for another audience")]
    Audience,
    /// It does not say until when it is valid.
    #[error("Token has no expiry (exp)")]
    NoExpiry,
    /// It does not say whose it is in 1 to 255 characters, none of them a control character.
    #[error("Token has no usable subject (sub)")]
    Subject,
    /// A claim is of another type than it must be.
    #[error("Token has a malformed claim ({0})")]
    Claim(&'static str),
    /// The keys cannot be had at the moment: the same token may be believed later.
    #[error("Keys to verify tokens are unavailable")]
    Unavailable,
}

impl InvalidToken {
    /// Whether the token may be good, and only we cannot tell.
    pub fn is_temporary(self) -> bool {
        self == Self::Unavailable
    }
}
