//! The form of API keys: generation, checksum, hash, mask, and the shapes that are accepted.
//!
//! Records of keys (who owns one, whether it still works) are in `account`.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::digits;

/// 256 random bits in base 62.
const SECRET_DIGITS: usize = 43;
/// CRC-32 of what stands before it, in base 62.
const CHECKSUM_DIGITS: usize = 6;
/// What follows `<prefix>_`.
const TAIL_DIGITS: usize = SECRET_DIGITS + CHECKSUM_DIGITS;
/// The longest text that is looked at as a key at all; anything longer is malformed.
const KEY_BYTES_MAX: usize = 512;

/// What the keys of a deployment begin with, without the last underscore.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyPrefix(Box<str>);

impl KeyPrefix {
    /// 1 to 32 of `a-z A-Z 0-9 _`, beginning and ending with a letter or digit.
    pub fn new(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let fits = (1..=32).contains(&bytes.len())
            && bytes.iter().all(|byte| digits::is_digit(*byte) || *byte == b'_')
            && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric);
        fits.then(|| Self(text.into()))
    }

    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A raw key, shown once by the call that made it. It prints masked; ask `reveal` for the secret.
#[derive(Clone)]
pub struct PlainKey(Box<str>);

impl PlainKey {
    /// A new key from 256 random bits.
    pub fn generate(prefix: &KeyPrefix, random: [u8; 32]) -> Self {
        let mut text = Vec::with_capacity(prefix.0.len() + 1 + TAIL_DIGITS);
        text.extend_from_slice(prefix.0.as_bytes());
        text.push(b'_');
        let secret_at = text.len();
        text.resize(secret_at + SECRET_DIGITS, b'0');
        digits::encode(&random, &mut text[secret_at..]);
        let checksum = checksum_digits(&text);
        text.extend_from_slice(&checksum);
        Self(String::from_utf8(text).expect("prefix and digits are ASCII").into())
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What may be stored and shown of it.
    pub fn hashed(&self, hasher: &KeyHasher) -> HashedKey {
        HashedKey { hash: hasher.hash(self.0.as_bytes()), masked: MaskedKey::of(&self.0) }
    }
}

impl fmt::Debug for PlainKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PlainKey({})", MaskedKey::of(&self.0))
    }
}

/// What is stored of a key: its hash and what may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedKey {
    /// Finds the key.
    pub hash: KeyHash,
    /// Lets its owner tell it from others.
    pub masked: MaskedKey,
}

/// SHA-256 of a raw key, or HMAC-SHA-256 under the deployment's pepper.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// From the 32 bytes of a hash.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 hexadecimal digits of either case.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 64 {
            return None;
        }
        let mut bytes = [0_u8; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = u8::try_from(high << 4 | low).ok()?;
        }
        Some(Self(bytes))
    }

    /// The first eight hexadecimal digits: how logs name a key.
    pub fn short(&self) -> ShortHash {
        ShortHash([self.0[0], self.0[1], self.0[2], self.0[3]])
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeyHash({}…)", self.short())
    }
}

/// The first four bytes of a hash, printed as eight hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortHash([u8; 4]);

impl fmt::Display for ShortHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// Hashes raw keys the way this deployment stores them.
#[derive(Clone)]
pub struct KeyHasher {
    pepper: Option<Hmac<Sha256>>,
}

impl KeyHasher {
    /// Plain SHA-256 without a pepper, HMAC-SHA-256 with one.
    pub fn new(pepper: Option<&[u8]>) -> Self {
        let pepper = pepper.map(|pepper| Hmac::new_from_slice(pepper).expect("HMAC takes a key of any length"));
        Self { pepper }
    }

    /// The hash of a raw key.
    pub fn hash(&self, raw: &[u8]) -> KeyHash {
        match &self.pepper {
            None => KeyHash(Sha256::digest(raw).into()),
            Some(keyed) => {
                let mut keyed = keyed.clone();
                keyed.update(raw);
                KeyHash(keyed.finalize().into_bytes().into())
            }
        }
    }

    /// The hash that finds a key of this shape; `None` for a malformed one.
    ///
    /// Keys of another shape were imported by their plain SHA-256: a pepper cannot be added to a hash
    /// after the fact, so they are found by the plain one.
    pub fn hash_of_shape(&self, shape: KeyShape, raw: &[u8]) -> Option<KeyHash> {
        match shape {
            KeyShape::Ours => Some(self.hash(raw)),
            KeyShape::AlsoAccepted => Some(KeyHash(Sha256::digest(raw).into())),
            KeyShape::Malformed => None,
        }
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeyHasher(peppered: {})", self.pepper.is_some())
    }
}

/// A key as it may be shown: `tg_live_****abcd`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MaskedKey {
    /// What stands before the secret, the underscore left out; empty for imported keys of unknown form.
    pub prefix: Box<str>,
    /// The last four characters; empty when the raw key was never seen.
    pub last_four: Box<str>,
}

impl MaskedKey {
    /// Masks a raw key.
    pub fn of(raw: &str) -> Self {
        let prefix = raw.rfind('_').map_or("", |at| &raw[..at]);
        let last_four = raw.char_indices().rev().nth(3).map_or("", |(at, _)| &raw[at..]);
        Self { prefix: prefix.into(), last_four: last_four.into() }
    }
}

impl fmt::Display for MaskedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.prefix.is_empty() { "" } else { "_" };
        write!(formatter, "{}{separator}****{}", self.prefix, self.last_four)
    }
}

/// What a text sent as a key looks like, before any lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyShape {
    /// One of ours: prefix, digits, and the checksum holds.
    Ours,
    /// Another shape that `also_accept` lists.
    AlsoAccepted,
    /// Neither; it is refused without a lookup.
    Malformed,
}

impl KeyShape {
    /// Judges a text. What has exactly our form is judged by its checksum alone, whatever `also_accept` lists.
    pub fn of(text: &[u8], prefix: &KeyPrefix, also_accept: &[ShapePattern]) -> Self {
        if text.is_empty() || text.len() > KEY_BYTES_MAX {
            return Self::Malformed;
        }
        if has_our_form(text, prefix) {
            let (body, checksum) = text.split_at(text.len() - CHECKSUM_DIGITS);
            return if checksum == checksum_digits(body) { Self::Ours } else { Self::Malformed };
        }
        if also_accept.iter().any(|pattern| pattern.matches(text)) { Self::AlsoAccepted } else { Self::Malformed }
    }
}

fn has_our_form(text: &[u8], prefix: &KeyPrefix) -> bool {
    text.len() == prefix.0.len() + 1 + TAIL_DIGITS
        && text.starts_with(prefix.0.as_bytes())
        && text[prefix.0.len()] == b'_'
        && text[prefix.0.len() + 1..].iter().all(|byte| digits::is_digit(*byte))
}

fn checksum_digits(body: &[u8]) -> [u8; CHECKSUM_DIGITS] {
    let mut out = [0_u8; CHECKSUM_DIGITS];
    digits::encode_u32(crc32fast::hash(body), &mut out);
    out
}

/// A shape that existing keys may have: a text in which `*` stands for any visible characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapePattern(Box<[u8]>);

impl ShapePattern {
    /// `None` when the pattern is empty or holds anything but visible ASCII.
    pub fn new(pattern: &str) -> Option<Self> {
        let fits = !pattern.is_empty() && pattern.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(pattern.as_bytes().into()))
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a pattern is visible ASCII")
    }

    /// Whether a text has this shape, in time linear in both for a pattern of one star.
    pub fn matches(&self, text: &[u8]) -> bool {
        text.iter().all(u8::is_ascii_graphic) && crate::route::glob_matches(&self.0, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix() -> KeyPrefix {
        KeyPrefix::new("tg_live").expect("a good prefix")
    }

    #[test]
    fn a_generated_key_has_the_documented_form() {
        let key = PlainKey::generate(&prefix(), [0xff; 32]);
        let tail = key.reveal().strip_prefix("tg_live_").expect("the prefix stands first");
        assert_eq!(tail.len(), 49);
        assert_eq!(KeyShape::of(key.reveal().as_bytes(), &prefix(), &[]), KeyShape::Ours);
        let zero = PlainKey::generate(&prefix(), [0; 32]);
        assert!(zero.reveal().starts_with(&format!("tg_live_{}", "0".repeat(43))), "zero padded: {}", zero.reveal());
    }

    #[test]
    fn every_single_typo_fails_the_checksum() {
        let key = PlainKey::generate(&prefix(), [42; 32]);
        let text = key.reveal().as_bytes();
        for at in "tg_live_".len()..text.len() {
            let mut typo = text.to_vec();
            typo[at] = if typo[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(KeyShape::of(&typo, &prefix(), &[]), KeyShape::Malformed, "position {at}");
        }
    }

    #[test]
    fn our_form_with_a_wrong_checksum_is_refused_even_where_a_pattern_would_take_it() {
        let everything = ShapePattern::new("*").expect("a good pattern");
        let wrong = format!("tg_live_{}", "0".repeat(49));
        assert_eq!(KeyShape::of(wrong.as_bytes(), &prefix(), std::slice::from_ref(&everything)), KeyShape::Malformed);
        assert_eq!(KeyShape::of(b"rk_old", &prefix(), &[everything]), KeyShape::AlsoAccepted);
    }

    #[test]
    fn hashes_are_plain_sha256_or_hmac() {
        let plain = KeyHasher::new(None).hash(b"abc");
        assert_eq!(plain.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(plain.short().to_string(), "ba7816bf");
        // RFC 4231, test case 2.
        let keyed = KeyHasher::new(Some(b"Jefe")).hash(b"what do ya want for nothing?");
        assert_eq!(keyed.to_string(), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(KeyHash::parse(&keyed.to_string().to_uppercase()), Some(keyed));
        for text in ["", "abc", &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(KeyHash::parse(text), None, "{text}");
        }
    }

    #[test]
    fn nothing_printed_holds_the_secret() {
        let key = PlainKey::generate(&prefix(), [9; 32]);
        let masked = key.hashed(&KeyHasher::new(None)).masked;
        assert_eq!(masked.to_string(), format!("tg_live_****{}", &key.reveal()[key.reveal().len() - 4..]));
        assert!(!format!("{key:?}").contains(&key.reveal()[8..40]));
        assert_eq!(MaskedKey::default().to_string(), "****");
    }

    #[test]
    fn prefixes_are_words_of_letters_digits_and_underscores() {
        for good in ["tg_live", "pyr_live", "a", "X9"] {
            assert!(KeyPrefix::new(good).is_some(), "{good}");
        }
        for bad in ["", "_a", "a_", "a-b", "é", &"x".repeat(33)] {
            assert!(KeyPrefix::new(bad).is_none(), "{bad}");
        }
    }
}
