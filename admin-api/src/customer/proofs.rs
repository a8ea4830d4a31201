//! Secrets of signing in: sessions' ids and links' tokens, how they are made, signed and compared.
//!
//! Only SHA-256 of either is stored. A session's cookie is signed, so that a made-up one is refused without asking the
//! store; what a write by cookie must carry is worked out from the session and nothing of it is stored.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tollgate_store::SecretHash;

use crate::context::{Shared, random};
use crate::problem::Problem;

/// Bytes of a session's id and of a link's token.
const SECRET_BYTES: usize = 32;

/// 256 random bits that are handed out once.
#[derive(Clone)]
pub(crate) struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(crate) fn generate() -> Result<Self, Problem> {
        random().map(Self)
    }

    /// From what was sent: 64 hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; SECRET_BYTES];
        hex::decode_to_slice(text, &mut bytes).ok().map(|()| Self(bytes))
    }

    /// As it is handed out.
    pub(crate) fn reveal(&self) -> String {
        hex::encode(self.0)
    }

    /// What is stored of it.
    pub(crate) fn hash(&self) -> SecretHash {
        Sha256::digest(self.0).into()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(redacted)")
    }
}

/// The value of a session's cookie: id and signature.
pub(crate) struct SessionCookie(String);

impl SessionCookie {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

/// The cookie of a session.
pub(crate) async fn cookie_of_session(shared: &Shared, id: &Secret) -> Result<SessionCookie, Problem> {
    let key = shared.session_secret().await?;
    Ok(SessionCookie(format!("{}.{}", id.reveal(), mac(&key, "session", &id.0))))
}

/// The session that a cookie names, if we signed it.
pub(crate) async fn session_of_cookie(shared: &Shared, cookie: &str) -> Result<Option<Secret>, Problem> {
    let Some((id, signature)) = cookie.split_once('.') else { return Ok(None) };
    let Some(id) = Secret::parse(id) else { return Ok(None) };
    let key = shared.session_secret().await?;
    let expected = mac(&key, "session", &id.0);
    Ok(same(signature.as_bytes(), expected.as_bytes()).then_some(id))
}

/// What a write by this session must carry.
pub(crate) async fn csrf_of_session(shared: &Shared, id: &Secret) -> Result<String, Problem> {
    Ok(mac(&shared.csrf_secret().await?, "session", &id.0))
}

/// What a write by a cookie with this token must carry.
pub(crate) async fn csrf_of_token(shared: &Shared, token: &str) -> Result<String, Problem> {
    Ok(mac(&shared.csrf_secret().await?, "token", &Sha256::digest(token.as_bytes())))
}

/// Compares in a time that tells only whether they are of one length.
pub(crate) fn same(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// HMAC-SHA-256 in hexadecimal digits; `of` keeps what is signed for different ends apart.
fn mac(key: &[u8; 32], of: &str, message: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(of.as_bytes());
    mac.update(&[0]);
    mac.update(message);
    hex::encode(mac.finalize().into_bytes())
}
