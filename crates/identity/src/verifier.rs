//! Verifies tokens: takes one apart, checks what it claims, then who signed it.
//!
//! Claims are checked before the signature, so that a token that is of no use anyway costs neither an expensive check
//! nor a fetch of keys; what they say is used after it only.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tollgate_domain::Timestamp;

use crate::claims::{Checked, Identity};
use crate::error::InvalidToken;
use crate::key_set::{Key, KeySet};
use crate::published::Published;
use crate::source::KeySource;
use crate::token::{TOKEN_BYTES_MAX, Token};
use crate::verified::{Entry, Verified, digest};

/// The least that RFC 7518 allows for HS256: a shorter secret could be guessed from one token.
const SECRET_BYTES_MIN: usize = 32;

/// Which tokens are believed.
#[derive(Clone)]
pub struct VerifierSettings {
    /// The secret of HS256 signatures, at least 32 bytes of it, else nothing is believed; `None` where keys come from a
    /// source.
    pub secret: Option<Vec<u8>>,
    /// Who must have issued a token; `None` believes any issuer that has the key.
    pub issuer: Option<String>,
    /// Whom a token must be for, one of these; empty takes any, but none that names an audience.
    pub audience: Vec<String>,
    /// How far the issuer's clock may be off.
    pub leeway: Duration,
    /// The claim that holds the user's name; dots lead into objects.
    pub name_claim: Box<str>,
}

impl fmt::Debug for VerifierSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secret, issuer, audience, leeway, name_claim } = self;
        formatter
            .debug_struct("VerifierSettings")
            .field("secret", &secret.as_ref().map(|_| "redacted"))
            .field("issuer", issuer)
            .field("audience", audience)
            .field("leeway", leeway)
            .field("name_claim", name_claim)
            .finish()
    }
}

/// Verifies tokens. It is shared by all who do.
pub struct Verifier {
    settings: VerifierSettings,
    keys: Keys,
}

enum Keys {
    Secret(Box<Key>),
    Published { keys: Arc<Published>, verified: Verified },
    None,
}

impl Verifier {
    /// Believes HS256 signatures by the secret of the settings or, where there is none, RS256 and ES256 signatures by
    /// the keys of the source. Without either it believes nothing.
    pub fn new(settings: VerifierSettings, source: Option<Arc<dyn KeySource>>) -> Self {
        let keys = match (&settings.secret, source) {
            (Some(secret), _) if secret.len() >= SECRET_BYTES_MIN => Keys::Secret(Box::new(Key::secret(secret))),
            (None, Some(source)) => Keys::Published { keys: Published::new(source), verified: Verified::new() },
            (Some(_), _) | (None, None) => Keys::None,
        };
        Self { settings, keys }
    }

    /// Who a token says its bearer is, if it can be believed at this time. It runs on tokio, and waits where keys have
    /// to be fetched first, for some seconds at most; nobody else does meanwhile who can do without.
    ///
    /// # Errors
    /// The token is not to be believed; or, as [`InvalidToken::is_temporary`] tells, nobody knows.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Identity, InvalidToken> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(InvalidToken::TooLong);
        }
        match &self.keys {
            Keys::Secret(key) => self.verify_with_secret(token, key, now),
            Keys::Published { keys, verified } => self.verify_with_published(token, keys, verified, now).await,
            Keys::None => Err(InvalidToken::Unavailable),
        }
    }

    fn verify_with_secret(&self, token: &str, key: &Key, now: Timestamp) -> Result<Identity, InvalidToken> {
        let token = Token::parse(token)?;
        if !key.is_for(&token.algorithm) {
            return Err(InvalidToken::Algorithm);
        }
        let checked = Checked::check(&token.claims, &self.settings, now)?;
        if key.has_signed(token.message, &token.signature) {
            Ok(checked.identity)
        } else {
            Err(InvalidToken::Signature)
        }
    }

    async fn verify_with_published(
        &self,
        text: &str,
        published: &Arc<Published>,
        verified: &Verified,
        now: Timestamp,
    ) -> Result<Identity, InvalidToken> {
        let digest = digest(text);
        if let Some(entry) = verified.find(&digest) {
            entry.checked.check_time(&self.settings, now)?;
            let keys = published.current(now).await?;
            if Arc::ptr_eq(&keys, &entry.keys) {
                return Ok(entry.checked.identity.clone());
            }
        }
        let token = Token::parse(text)?;
        if !["RS256", "ES256"].contains(&token.algorithm.as_str()) {
            return Err(InvalidToken::Algorithm);
        }
        let checked = Checked::check(&token.claims, &self.settings, now)?;
        let mut keys = published.current(now).await?;
        let mut judged = judge(&token, &keys);
        if judged == Err(InvalidToken::UnknownKey)
            && let Some(newer) = published.newer(&keys, now).await?
        {
            judged = judge(&token, &newer);
            keys = newer;
        }
        judged?;
        let identity = checked.identity.clone();
        verified.remember(digest, Entry { checked, keys });
        Ok(identity)
    }
}

/// Whether one of these keys has signed a token.
fn judge(token: &Token<'_>, keys: &KeySet) -> Result<(), InvalidToken> {
    let (id, algorithm) = (token.key_id.as_deref(), token.algorithm.as_str());
    if keys.candidates(id, algorithm).any(|key| key.has_signed(token.message, &token.signature)) {
        return Ok(());
    }
    Err(match id {
        Some(id) if !keys.has(id) => InvalidToken::UnknownKey,
        Some(id) if keys.candidates(Some(id), algorithm).next().is_none() => InvalidToken::Algorithm,
        Some(_) => InvalidToken::Signature,
        // The key that has signed it may be one that is new.
        None => InvalidToken::UnknownKey,
    })
}
