//! The signature of a webhook: who sent these bytes, and when. Pure; what the bytes say is others'.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};
use tollgate_config::Secret;
use tollgate_domain::Timestamp;

/// How far the time of a signature may lie from now, in seconds, before or after.
pub const TOLERANCE_SECS: i64 = 300;

/// How many signatures of a header are looked at: Stripe sends one a secret that is in force.
const SIGNATURES_MAX: usize = 16;

/// Why a signature is not believed. A caller is told no more than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum InvalidSignature {
    /// There is none.
    #[error("the Stripe-Signature header is missing")]
    Missing,
    /// It is not of the form `t=…,v1=…`.
    #[error("the Stripe-Signature header cannot be read")]
    Malformed,
    /// No signature of the scheme `v1` is in it.
    #[error("the Stripe-Signature header holds no v1 signature")]
    NoScheme,
    /// None of them was made with one of our secrets over these bytes.
    #[error("no signature matches the body and a webhook secret")]
    Mismatch,
    /// It is too old, or of a time to come.
    #[error("the signature's time lies more than 300 s from now")]
    Stale,
}

/// Checks that the body was signed with one of the secrets, at about this time.
///
/// # Errors
/// Why it is not believed.
pub fn verify(header: Option<&str>, body: &[u8], secrets: &[Secret], now: Timestamp) -> Result<(), InvalidSignature> {
    let header = header.ok_or(InvalidSignature::Missing)?;
    let signed = Signed::read(header)?;
    let mut is_ours = Choice::from(0);
    for secret in secrets {
        let expected = signed.expected(body, secret);
        for signature in &signed.signatures {
            is_ours |= expected.as_slice().ct_eq(signature);
        }
    }
    // The time is asked for after the signature: until then it is anybody's word.
    if !bool::from(is_ours) {
        return Err(InvalidSignature::Mismatch);
    }
    let distance = now.as_secs().abs_diff(signed.at);
    if distance > TOLERANCE_SECS.unsigned_abs() { Err(InvalidSignature::Stale) } else { Ok(()) }
}

/// What a header says.
struct Signed<'h> {
    at: i64,
    /// The time as written, which is what was signed.
    at_text: &'h str,
    signatures: Vec<[u8; 32]>,
}

impl<'h> Signed<'h> {
    fn read(header: &'h str) -> Result<Self, InvalidSignature> {
        let mut at_text = None;
        let mut signatures = Vec::new();
        let mut has_scheme = false;
        for part in header.split(',') {
            let (key, value) = part.trim().split_once('=').ok_or(InvalidSignature::Malformed)?;
            match key {
                "t" if at_text.replace(value).is_some() => return Err(InvalidSignature::Malformed),
                "v1" => {
                    has_scheme = true;
                    let mut signature = [0; 32];
                    // One that cannot be a signature matches nothing; another beside it still may.
                    if hex::decode_to_slice(value, &mut signature).is_ok() && signatures.len() < SIGNATURES_MAX {
                        signatures.push(signature);
                    }
                }
                // The time, and other schemes, such as `v0` of test mode, which proves nothing.
                _ => {}
            }
        }
        let at_text = at_text.ok_or(InvalidSignature::Malformed)?;
        let is_number = (1..=18).contains(&at_text.len()) && at_text.bytes().all(|byte| byte.is_ascii_digit());
        let at = at_text.parse().ok().filter(|_| is_number).ok_or(InvalidSignature::Malformed)?;
        if !has_scheme {
            return Err(InvalidSignature::NoScheme);
        }
        Ok(Self { at, at_text, signatures })
    }

    fn expected(&self, body: &[u8], secret: &Secret) -> [u8; 32] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()).expect("HMAC takes a key of any length");
        mac.update(self.at_text.as_bytes());
        mac.update(b".");
        mac.update(body);
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests;
