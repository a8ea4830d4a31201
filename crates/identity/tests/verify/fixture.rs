//! An issuer with keys made for these tests, its tokens, and a place where it publishes. Nothing here asserts anything
//! about the verifier.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tollgate_domain::{SECOND_US, Timestamp};
use tollgate_identity::{FetchError, KeySource, Verifier, VerifierSettings};

/// Noon on 1 March 2026, UTC.
pub(crate) const NOON_SECS: i64 = 1_772_366_400;

pub(crate) const SECRET: &[u8] = b"a secret of more than thirty-two bytes";

/// So many seconds after noon.
pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_micros((NOON_SECS + secs) * SECOND_US)
}

/// What an issuer signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signer {
    Secret(&'static [u8]),
    Rsa1,
    Rsa2,
    RsaWeak,
    Ec1,
    Ec2,
}

impl Signer {
    fn pem(self) -> &'static [u8] {
        match self {
            Self::Secret(secret) => secret,
            Self::Rsa1 => include_bytes!("keys/rsa_1.pem"),
            Self::Rsa2 => include_bytes!("keys/rsa_2.pem"),
            Self::RsaWeak => include_bytes!("keys/rsa_weak.pem"),
            Self::Ec1 => include_bytes!("keys/ec_1.pem"),
            Self::Ec2 => include_bytes!("keys/ec_2.pem"),
        }
    }

    fn key(self) -> EncodingKey {
        match self {
            Self::Secret(secret) => EncodingKey::from_secret(secret),
            Self::Rsa1 | Self::Rsa2 | Self::RsaWeak => EncodingKey::from_rsa_pem(self.pem()).expect("a good key"),
            Self::Ec1 | Self::Ec2 => EncodingKey::from_ec_pem(self.pem()).expect("a good key"),
        }
    }

    pub(crate) fn algorithm(self) -> Algorithm {
        match self {
            Self::Secret(_) => Algorithm::HS256,
            Self::Rsa1 | Self::Rsa2 | Self::RsaWeak => Algorithm::RS256,
            Self::Ec1 | Self::Ec2 => Algorithm::ES256,
        }
    }

    /// The name of its key.
    pub(crate) fn key_id(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// The header of a usual token.
    pub(crate) fn header(self) -> Value {
        json!({ "alg": format!("{:?}", self.algorithm()), "typ": "JWT", "kid": self.key_id() })
    }

    /// Signs any two texts, whatever they say.
    pub(crate) fn sign_text(self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.key(), self.algorithm()).expect("a good key");
        format!("{message}.{signature}")
    }

    /// A token with the usual header.
    pub(crate) fn token(self, claims: &Value) -> String {
        self.sign_text(&self.header().to_string(), &claims.to_string())
    }

    /// The usual header and claims.
    pub(crate) fn usual(self) -> String {
        self.token(&claims(json!({})))
    }

    /// Its public key as it is published.
    pub(crate) fn published(self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key(), self.algorithm()).expect("a good key");
        with(serde_json::to_value(jwk).expect("a key is JSON"), json!({ "kid": self.key_id(), "use": "sig" }))
    }
}

/// Some members of an object put in place of others; null takes one out.
pub(crate) fn with(mut object: Value, changes: Value) -> Value {
    let members = object.as_object_mut().expect("an object");
    let Value::Object(changes) = changes else { panic!("an object") };
    for (name, value) in changes {
        if value.is_null() {
            members.remove(&name);
        } else {
            members.insert(name, value);
        }
    }
    object
}

/// Claims that are believed for ten minutes after noon, but for what is changed.
pub(crate) fn claims(changes: Value) -> Value {
    let usual = json!({ "sub": "user-1", "exp": NOON_SECS + 600, "iss": "https://issuer.example", "aud": "tollgate" });
    with(usual, changes)
}

/// Settings that take the usual claims.
pub(crate) fn settings() -> VerifierSettings {
    VerifierSettings {
        secret: None,
        issuer: Some("https://issuer.example".into()),
        audience: vec!["tollgate".into(), "tollgate-2".into()],
        leeway: Duration::from_mins(1),
        name_claim: "name".into(),
    }
}

/// A verifier with the secret.
pub(crate) fn by_secret() -> Verifier {
    Verifier::new(VerifierSettings { secret: Some(SECRET.to_vec()), ..settings() }, None)
}

/// A verifier with what is published somewhere.
pub(crate) fn by_published(source: &Arc<Publisher>) -> Arc<Verifier> {
    Arc::new(Verifier::new(settings(), Some(Arc::clone(source) as _)))
}

/// What the place where keys are published does when it is asked.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Text(Vec<u8>),
    Failure,
    /// It never answers.
    Silence,
    Panic,
}

/// The place where keys are published.
pub(crate) struct Publisher {
    answer: Mutex<Answer>,
    fetches: AtomicU64,
}

impl Publisher {
    /// A place with these keys.
    pub(crate) fn of(signers: &[Signer]) -> Arc<Self> {
        Arc::new(Self { answer: Mutex::new(set_of(signers)), fetches: AtomicU64::new(0) })
    }

    pub(crate) fn publish(&self, signers: &[Signer]) {
        self.answers(set_of(signers));
    }

    /// Publishes keys as they are given.
    pub(crate) fn publish_keys(&self, keys: &[Value]) {
        self.answers(Answer::Text(json!({ "keys": keys }).to_string().into_bytes()));
    }

    pub(crate) fn answers(&self, answer: Answer) {
        *self.answer.lock() = answer;
    }

    /// How often it was asked.
    pub(crate) fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::SeqCst)
    }
}

fn set_of(signers: &[Signer]) -> Answer {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.published()).collect();
    Answer::Text(json!({ "keys": keys }).to_string().into_bytes())
}

#[async_trait]
impl KeySource for Publisher {
    async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        // What is published when the answer is sent, not when it arrives.
        let answer = self.answer.lock().clone();
        tokio::time::sleep(Duration::from_millis(20)).await;
        match answer {
            Answer::Text(text) => Ok(text),
            Answer::Failure => Err(FetchError::new("no such host")),
            Answer::Silence => std::future::pending().await,
            Answer::Panic => panic!("a source that is broken"),
        }
    }
}

/// Lets what runs in the background come to its end.
pub(crate) async fn rest() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}
