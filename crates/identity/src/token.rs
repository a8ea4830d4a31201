//! A token taken apart: what is signed, with what it says it is signed, and its claims, none of it believed yet.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::InvalidToken;

/// The longest token that is looked at.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// What types (`typ`) of token say who somebody is; those without one do, too.
const TYPES: [&str; 2] = ["JWT", "at+jwt"];

/// A token's parts.
pub(crate) struct Token<'a> {
    /// The algorithm it names.
    pub(crate) algorithm: String,
    /// The key it names.
    pub(crate) key_id: Option<String>,
    /// Its claims, unverified.
    pub(crate) claims: Map<String, Value>,
    /// What the signature is of.
    pub(crate) message: &'a [u8],
    pub(crate) signature: Vec<u8>,
}

/// A field that is named twice is refused: readers would differ in which one they believe. Keys and addresses of keys
/// that a header may carry are not read at all.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

impl<'a> Token<'a> {
    /// Takes a token apart.
    pub(crate) fn parse(text: &'a str) -> Result<Self, InvalidToken> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(InvalidToken::TooLong);
        }
        let (message, signature) = text.rsplit_once('.').ok_or(InvalidToken::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(InvalidToken::Malformed)?;
        // A dot more ends up in the claims, where it is no base64url.
        let header = decode(header)?;
        // A list would be taken for the fields in their order.
        if !header.trim_ascii_start().starts_with(b"{") {
            return Err(InvalidToken::Malformed);
        }
        let header: Header = serde_json::from_slice(&header).map_err(|_| InvalidToken::Malformed)?;
        if header.crit.is_some() {
            return Err(InvalidToken::Critical);
        }
        if !header.typ.as_deref().is_none_or(is_accepted_type) {
            return Err(InvalidToken::Type);
        }
        Ok(Self {
            algorithm: header.alg,
            key_id: header.kid,
            claims: serde_json::from_slice(&decode(claims)?).map_err(|_| InvalidToken::Malformed)?,
            message: message.as_bytes(),
            signature: decode(signature)?,
        })
    }
}

fn decode(part: &str) -> Result<Vec<u8>, InvalidToken> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| InvalidToken::Malformed)
}

fn is_accepted_type(named: &str) -> bool {
    let prefix = "application/";
    let named = match named.get(..prefix.len()) {
        Some(start) if start.eq_ignore_ascii_case(prefix) => &named[prefix.len()..],
        _ => named,
    };
    TYPES.iter().any(|accepted| named.eq_ignore_ascii_case(accepted))
}
