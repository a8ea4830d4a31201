//! Names a request in logs, answers and upstream.

use std::sync::atomic::{AtomicU64, Ordering};

/// 16 hexadecimal digits of our own, or up to 64 visible characters that a trusted proxy gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    bytes: [u8; Self::BYTES_MAX],
    length: u8,
}

impl RequestId {
    const BYTES_MAX: usize = 64;

    /// A text of 1 to 64 letters, digits, `-`, `_`, `.` or `:`.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if text.is_empty() || text.len() > Self::BYTES_MAX || !text.bytes().all(allowed) {
            return None;
        }
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self { bytes, length: u8::try_from(text.len()).expect("at most 64") })
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).expect("ids are ASCII")
    }
}

/// Makes ids: unlike each other in one run, and unlikely to meet those of another.
#[derive(Debug)]
pub struct RequestIds {
    secret: u64,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids of one run, scattered by a random number.
    pub fn new(random: u64) -> Self {
        Self { secret: random, next: AtomicU64::new(0) }
    }

    /// The next id.
    pub fn next(&self) -> RequestId {
        let number = scatter(self.secret.wrapping_add(self.next.fetch_add(1, Ordering::Relaxed).wrapping_mul(GOLDEN)));
        let mut bytes = [0; RequestId::BYTES_MAX];
        for (at, digit) in bytes.iter_mut().take(16).enumerate() {
            let nibble = (number >> (60 - 4 * at)) & 0xf;
            *digit = b"0123456789abcdef"[usize::try_from(nibble).expect("four bits")];
        }
        RequestId { bytes, length: 16 }
    }
}

/// 2^64 divided by the golden ratio, as `SplitMix64` steps by (Steele, Lea, Flood 2014).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of `SplitMix64`: every number to another one.
const fn scatter(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_foreign_ones_are_checked() {
        let ids = RequestIds::new(7);
        let (one, other) = (ids.next(), ids.next());
        assert_ne!(one.as_str(), other.as_str());
        assert_eq!(one.as_str().len(), 16);
        assert_eq!(RequestId::parse("a-b_c.d:1").expect("an id").as_str(), "a-b_c.d:1");
        for text in ["", "a b", "a\nb", "é", &"x".repeat(65)] {
            assert!(RequestId::parse(text).is_none(), "{text}");
        }
    }
}
