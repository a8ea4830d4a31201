//! Tokens of a backend's own sign-in, good and bad, and the keys that an issuer publishes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

/// What an issuer signs with. The keys are those of the verifier's own tests, and of no use elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// HS256 with this secret.
    Secret(&'static str),
    /// RS256.
    Rsa,
    /// ES256.
    Elliptic,
}

impl Signer {
    fn key(self) -> EncodingKey {
        let rsa = include_bytes!("../../../crates/identity/tests/verify/keys/rsa_1.pem");
        let elliptic = include_bytes!("../../../crates/identity/tests/verify/keys/ec_1.pem");
        match self {
            Self::Secret(secret) => EncodingKey::from_secret(secret.as_bytes()),
            Self::Rsa => EncodingKey::from_rsa_pem(rsa).expect("a good key"),
            Self::Elliptic => EncodingKey::from_ec_pem(elliptic).expect("a good key"),
        }
    }

    fn algorithm(self) -> Algorithm {
        match self {
            Self::Secret(_) => Algorithm::HS256,
            Self::Rsa => Algorithm::RS256,
            Self::Elliptic => Algorithm::ES256,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Secret(_) => "HS256",
            Self::Rsa => "RS256",
            Self::Elliptic => "ES256",
        }
    }

    /// A token that claims this.
    ///
    /// # Panics
    /// Never: the keys are good.
    pub fn token(self, claims: &Value) -> String {
        let message = message(self.name(), claims);
        let signed = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key(), self.algorithm());
        format!("{message}.{}", signed.expect("a good key"))
    }

    /// The public key, as an issuer publishes it.
    ///
    /// # Panics
    /// When it is a secret, which nobody publishes.
    pub fn published(self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key(), self.algorithm()).expect("a key pair");
        let mut jwk = serde_json::to_value(jwk).expect("a key is JSON");
        jwk["kid"] = self.name().into();
        jwk["use"] = "sig".into();
        jwk
    }
}

/// A token that claims this and is not signed, as it says itself.
pub fn unsigned(claims: &Value) -> String {
    format!("{}.", message("none", claims))
}

/// The same signature under other claims.
///
/// # Panics
/// When the token is none.
pub fn tampered(token: &str, claims: &Value) -> String {
    let mut parts = token.split('.');
    let (header, signature) = (parts.next(), parts.nth(1));
    format!("{}.{}.{}", header.expect("a header"), encoded(claims), signature.expect("a signature"))
}

/// The key's name is its algorithm's: every signer has one.
fn message(algorithm: &str, claims: &Value) -> String {
    format!("{}.{}", encoded(&json!({ "alg": algorithm, "typ": "JWT", "kid": algorithm })), encoded(claims))
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}
