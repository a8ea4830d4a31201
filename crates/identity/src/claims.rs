//! What a token claims, checked against what is expected and the time, and who that makes its bearer.
//!
//! Whether the claims are signed is not known here: nothing of a result is used before the signature has been checked.

use serde_json::{Map, Value};
use tollgate_domain::{SECOND_US, Timestamp};

use crate::error::InvalidToken;
use crate::verifier::VerifierSettings;

/// Characters of a subject, at most.
const SUBJECT_CHARS_MAX: usize = 255;
/// Bytes of an e-mail address, at most.
const EMAIL_BYTES_MAX: usize = 254;
/// Characters that are kept of a name.
const NAME_CHARS_MAX: usize = 200;

/// Who a token says its bearer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whom the issuer means (`sub`): 1 to 255 characters, none of them a control character.
    pub subject: String,
    /// The e-mail address, where there is one that looks like one.
    pub email: Option<String>,
    /// Whether the issuer vouches for the address; never without one.
    pub email_verified: bool,
    /// What the bearer is called: trimmed, cut to 200 characters, never empty.
    pub name: Option<String>,
    /// When the token ends, without leeway.
    pub expires_at: Timestamp,
}

/// Claims that are as expected.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) identity: Identity,
    pub(crate) not_before: Option<Timestamp>,
}

impl Checked {
    /// Checks everything but the signature.
    pub(crate) fn check(
        claims: &Map<String, Value>,
        settings: &VerifierSettings,
        now: Timestamp,
    ) -> Result<Self, InvalidToken> {
        let expires_at = match claims.get("exp") {
            None => return Err(InvalidToken::NoExpiry),
            Some(value) => instant(value).ok_or(InvalidToken::Claim("exp"))?,
        };
        let not_before = match claims.get("nbf") {
            None => None,
            Some(value) => Some(instant(value).ok_or(InvalidToken::Claim("nbf"))?),
        };
        check_time(expires_at, not_before, settings, now)?;
        check_issuer(claims.get("iss"), settings)?;
        check_audience(claims.get("aud"), settings)?;
        let email = claims.get("email").and_then(Value::as_str).filter(|text| is_email(text)).map(str::to_owned);
        let identity = Identity {
            subject: subject(claims.get("sub")).ok_or(InvalidToken::Subject)?,
            email_verified: email.is_some() && claims.get("email_verified") == Some(&Value::Bool(true)),
            email,
            name: name(claims, &settings.name_claim),
            expires_at,
        };
        Ok(Self { identity, not_before })
    }

    /// Checks once more what may have changed since: the time.
    pub(crate) fn check_time(&self, settings: &VerifierSettings, now: Timestamp) -> Result<(), InvalidToken> {
        check_time(self.identity.expires_at, self.not_before, settings, now)
    }
}

/// A token is valid from `nbf` to before `exp`, each end moved outwards by the leeway.
fn check_time(
    expires_at: Timestamp,
    not_before: Option<Timestamp>,
    settings: &VerifierSettings,
    now: Timestamp,
) -> Result<(), InvalidToken> {
    let leeway_us = i64::try_from(settings.leeway.as_micros()).unwrap_or(i64::MAX);
    if now >= expires_at + leeway_us {
        return Err(InvalidToken::Expired);
    }
    if not_before.is_some_and(|not_before| now + leeway_us < not_before) {
        return Err(InvalidToken::NotYetValid);
    }
    Ok(())
}

/// Seconds since the epoch, perhaps with a fraction, which is cut to microseconds; saturating.
fn instant(value: &Value) -> Option<Timestamp> {
    let Value::Number(number) = value else { return None };
    if let Some(secs) = number.as_i64() {
        return Some(Timestamp::from_secs(secs));
    }
    #[expect(clippy::cast_precision_loss, reason = "a million is exact")]
    let micros = number.as_f64()? * SECOND_US as f64;
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, and the fraction is to be cut")]
    Some(Timestamp::from_micros(micros as i64))
}

fn check_issuer(claim: Option<&Value>, settings: &VerifierSettings) -> Result<(), InvalidToken> {
    let is_expected = settings.issuer.as_deref().is_none_or(|expected| claim.and_then(Value::as_str) == Some(expected));
    if is_expected { Ok(()) } else { Err(InvalidToken::Issuer) }
}

/// One of those that are expected must be named. Where none is expected, none may be: a token that its issuer made for
/// another service is not for this one.
fn check_audience(claim: Option<&Value>, settings: &VerifierSettings) -> Result<(), InvalidToken> {
    let named: Vec<&str> = match claim {
        None => Vec::new(),
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => {
            several.iter().map(Value::as_str).collect::<Option<_>>().ok_or(InvalidToken::Claim("aud"))?
        }
        Some(_) => return Err(InvalidToken::Claim("aud")),
    };
    let expected = &settings.audience;
    let is_for_us = if expected.is_empty() {
        named.is_empty()
    } else {
        named.iter().any(|name| expected.iter().any(|expected| expected == name))
    };
    if is_for_us { Ok(()) } else { Err(InvalidToken::Audience) }
}

fn subject(claim: Option<&Value>) -> Option<String> {
    let text = claim?.as_str()?;
    let fits = (1..=SUBJECT_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    fits.then(|| text.into())
}

fn is_email(text: &str) -> bool {
    let has_parts = text
        .split_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
    has_parts && text.len() <= EMAIL_BYTES_MAX && !text.chars().any(|char| char.is_control() || char.is_whitespace())
}

/// The claim of this very name, as those that are addresses have dots in them; else the dots lead into objects.
fn name(claims: &Map<String, Value>, path: &str) -> Option<String> {
    let value = claims.get(path).or_else(|| {
        let mut steps = path.split('.');
        let first = claims.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.get(step))
    });
    let text: String = value?.as_str()?.chars().filter(|char| !char.is_control()).collect();
    let kept: String = text.trim().chars().take(NAME_CHARS_MAX).collect();
    let kept = kept.trim_end();
    (!kept.is_empty()).then(|| kept.into())
}
