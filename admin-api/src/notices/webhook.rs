//! How a notice reaches the operator's webhook: signed, by whoever the composition root gives.

use async_trait::async_trait;
use hmac::{Hmac, Mac};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use sha2::Sha256;
use tollgate_domain::Timestamp;

/// Carries when a body was signed, and the signature.
const SIGNATURE: HeaderName = HeaderName::from_static("tollgate-signature");

/// A post that got no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WebhookFailed(pub String);

/// What posts to a webhook. It follows no redirects, and gives up after some seconds.
#[async_trait]
pub trait WebhookPost: Send + Sync {
    /// Posts a body; the status of the answer, whatever it is.
    async fn post(&self, url: &str, headers: &[(HeaderName, HeaderValue)], body: Vec<u8>)
    -> Result<u16, WebhookFailed>;
}

/// The headers of a body that is signed now.
pub(super) fn headers(secret: &[u8], body: &[u8], now: Timestamp) -> [(HeaderName, HeaderValue); 2] {
    let signature = HeaderValue::from_str(&signature(secret, body, now)).expect("digits and letters are a header");
    [(CONTENT_TYPE, HeaderValue::from_static("application/json")), (SIGNATURE, signature)]
}

/// `t=<seconds>,v1=<HMAC-SHA-256 of "<seconds>.<body>" in hexadecimal digits>`: as Stripe signs.
fn signature(secret: &[u8], body: &[u8], now: Timestamp) -> String {
    let at = now.as_secs();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(at.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("t={at},v1={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_that_any_other_program_computes() {
        // printf '1773144000.{"a":1}' | openssl dgst -sha256 -hmac secret
        let expected = "0ed299db7dd7fa2735f38970b556f719a3eb8f14b27256dac5568caf55b2e754";
        let now = Timestamp::from_secs(1_773_144_000);
        assert_eq!(signature(b"secret", br#"{"a":1}"#, now), format!("t=1773144000,v1={expected}"));
        assert_ne!(signature(b"secret", br#"{"a":2}"#, now), format!("t=1773144000,v1={expected}"));
    }
}
