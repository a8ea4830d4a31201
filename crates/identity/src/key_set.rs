//! The keys that signatures are checked with, and how they are read from what an issuer publishes.
//!
//! Each key is for one algorithm, told by the key itself: what a token says only chooses among them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// The longest set of keys that is read.
pub const JWKS_BYTES_MAX: usize = 256 * 1024;

/// Keys of a set, at most.
const KEYS_MAX: usize = 100;
/// Keys that a token is tried against that names none.
const UNNAMED_MAX: usize = 4;
/// Bits of an RSA modulus: the least that RFC 7518 allows, and the most that is worth a request's time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// Bytes of each coordinate of a point on P-256.
const COORDINATE_BYTES: usize = 32;

/// A key, and the one algorithm that it is for.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// What the issuer calls it.
    id: Option<String>,
    algorithm: Algorithm,
    material: DecodingKey,
    /// The public parts, to tell whether it is the same key.
    parts: [Vec<u8>; 2],
}

impl Key {
    /// A shared secret.
    pub(crate) fn secret(secret: &[u8]) -> Self {
        Self {
            id: None,
            algorithm: Algorithm::HS256,
            material: DecodingKey::from_secret(secret),
            parts: [Vec::new(), Vec::new()],
        }
    }

    /// Whether it is for the algorithm of this name.
    pub(crate) fn is_for(&self, algorithm: &str) -> bool {
        algorithm
            == match self.algorithm {
                Algorithm::HS256 => "HS256",
                Algorithm::RS256 => "RS256",
                Algorithm::ES256 => "ES256",
                _ => return false,
            }
    }

    /// Whether the signature is this key's.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &Vec<u8>) -> bool {
        (DEFAULT_PROVIDER.verifier_factory)(&self.algorithm, &self.material)
            .is_ok_and(|verifier| verifier.verify(message, signature).is_ok())
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (&self.id, self.algorithm, &self.parts) == (&other.id, other.algorithm, &other.parts)
    }
}

/// What is published, as far as it is of use here. A key is read by itself, so that one of a new kind spoils no other.
#[derive(Deserialize)]
struct SetForm {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct KeyForm {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Why a set cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnreadableSet {
    #[error("the key set has more than {JWKS_BYTES_MAX} bytes")]
    TooLong,
    #[error("the key set has more than {KEYS_MAX} keys")]
    TooMany,
    #[error("it is not a JSON Web Key Set")]
    Form,
}

/// The keys of one issuer, as published at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
}

impl KeySet {
    /// Reads a JSON Web Key Set. Keys that are not for RS256 or ES256 signatures, or unsafe, are left out: a symmetric one
    /// in particular, as whoever can read the set could sign with it.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, UnreadableSet> {
        if text.len() > JWKS_BYTES_MAX {
            return Err(UnreadableSet::TooLong);
        }
        let form: SetForm = serde_json::from_slice(text).map_err(|_| UnreadableSet::Form)?;
        if form.keys.len() > KEYS_MAX {
            return Err(UnreadableSet::TooMany);
        }
        Ok(Self { keys: form.keys.into_iter().filter_map(read_key).collect() })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether a key of this name is in it, whatever it is for.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(id))
    }

    /// The keys that a token may have been signed with: the one it names or, where it names none, a few.
    pub(crate) fn candidates<'a>(&'a self, id: Option<&'a str>, algorithm: &'a str) -> impl Iterator<Item = &'a Key> {
        let fitting = move |key: &&Key| key.is_for(algorithm) && (id.is_none() || key.id.as_deref() == id);
        self.keys.iter().filter(fitting).take(UNNAMED_MAX)
    }
}

fn read_key(value: Value) -> Option<Key> {
    if !value.is_object() {
        return None;
    }
    let form: KeyForm = serde_json::from_value(value).ok()?;
    let is_for_signatures = form.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
        && form.key_ops.as_ref().is_none_or(|uses| uses.iter().any(|one| one == "verify"));
    if !is_for_signatures {
        return None;
    }
    let (algorithm, name, material, parts) = match form.kty.as_str() {
        "RSA" => {
            let (modulus, exponent) = (number(&form.n?)?, number(&form.e?)?);
            if !RSA_BITS.contains(&bits(&modulus)) {
                return None;
            }
            let material = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
            (Algorithm::RS256, "RS256", material, [modulus, exponent])
        }
        "EC" if form.crv.as_deref() == Some("P-256") => {
            let point = [coordinate(&form.x?)?, coordinate(&form.y?)?];
            let uncompressed: Vec<u8> = [&[4][..], &point[0], &point[1]].concat();
            let material = DecodingKey::from_ec_der(&uncompressed);
            (Algorithm::ES256, "ES256", material, point)
        }
        _ => return None,
    };
    // A point that is not on the curve is found out here, not at the first token.
    let is_usable = form.alg.is_none_or(|named| named == name)
        && (DEFAULT_PROVIDER.verifier_factory)(&algorithm, &material).is_ok();
    is_usable.then_some(Key { id: form.kid, algorithm, material, parts })
}

/// A number without leading zero bytes, which some issuers write.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let first = bytes.iter().position(|byte| *byte != 0)?;
    Some(bytes[first..].to_vec())
}

fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

fn coordinate(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == COORDINATE_BYTES)
}
