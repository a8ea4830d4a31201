//! Meters: named units other than calls, such as tokens, that a plan limits a period.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// A meter's name, such as `tokens`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeterName(Arc<str>);

impl MeterName {
    /// 1 to 32 of `a-z 0-9 _`, beginning with a letter, so that a name is safe in a header, a label and a query.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=32).contains(&text.len())
            && text.as_bytes()[0].is_ascii_lowercase()
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        fits.then(|| Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What its counters are found by. The highest bit is set, which no key's id has that was made before the year 6429:
    /// a store may name both alike.
    pub fn id(&self) -> MeterId {
        let digest = Sha256::digest(self.0.as_bytes());
        let (id, _) = digest.split_first_chunk::<16>().expect("a digest has 32 bytes");
        MeterId(u128::from_be_bytes(*id) | 1 << 127)
    }
}

impl fmt::Display for MeterName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Lets a table of meters be asked by plain text.
impl Borrow<str> for MeterName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A meter as limiters know it: the first half of its name's SHA-256 (but for a bit), of one size whatever
/// the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeterId(u128);

impl MeterId {
    /// The meter of this number, as [`Self::as_u128`] gave it.
    pub fn from_u128(number: u128) -> Self {
        Self(number)
    }

    /// The number itself.
    pub fn as_u128(self) -> u128 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::KeyId;
    use crate::time::Timestamp;

    #[test]
    fn a_name_is_a_short_lower_case_word() {
        for good in ["tokens", "a", "input_tokens_2", "abcdefghijklmnopqrstuvwxyz012345"] {
            assert_eq!(MeterName::new(good).map(|name| name.to_string()).as_deref(), Some(good));
        }
        for bad in ["", "Tokens", "1st", "_x", "in-put", "a b", "tökens", "abcdefghijklmnopqrstuvwxyz0123456"] {
            assert_eq!(MeterName::new(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_id_goes_by_the_name_alone_and_is_no_keys() {
        let id = |name| MeterName::new(name).expect("a good name").id();
        assert_eq!(id("tokens"), id("tokens"));
        assert_ne!(id("tokens"), id("images"));
        let late = KeyId::new(Timestamp::from_secs(140_000_000_000), [255; 10]);
        for name in ["tokens", "images", "migrations"] {
            assert!(id(name).as_u128() > late.as_u128(), "{name}");
        }
    }
}
