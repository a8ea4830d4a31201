//! Identifiers: opaque strings outside, 128-bit numbers inside, in order of creation.

use std::fmt;
use std::str::FromStr;

use crate::digits;
use crate::time::Timestamp;

/// 62^22 exceeds 2^128, so 22 digits hold every id.
const ID_DIGITS: usize = 22;

/// A text that is not an id of the kind asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {article} id; one looks like {prefix}{example}", example = "0".repeat(ID_DIGITS))]
pub struct InvalidId {
    text: String,
    article: &'static str,
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $article:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// What every such id begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id: 48 bits of the creation time in milliseconds, then 80 random bits,
            /// so that ids sort by creation.
            pub fn new(created_at: Timestamp, random: [u8; 10]) -> Self {
                let millis = u128::from(created_at.as_micros().max(0).unsigned_abs() / 1_000) & ((1 << 48) - 1);
                let low = random.iter().fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
                Self(millis << 80 | low)
            }

            /// The id as a number.
            pub const fn as_u128(self) -> u128 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0_u8; ID_DIGITS];
                digits::encode(&self.0.to_be_bytes(), &mut text);
                formatter.write_str($prefix)?;
                formatter.write_str(std::str::from_utf8(&text).expect("digits are ASCII"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix($prefix)
                    .filter(|rest| rest.len() == ID_DIGITS)
                    .and_then(|rest| digits::decode_u128(rest.as_bytes()))
                    .map(Self)
                    .ok_or_else(|| InvalidId { text: text.into(), article: $article, prefix: $prefix })
            }
        }
    };
}

id!(
    /// Names an account: who pays, and owns keys, usage and the subscription.
    AccountId, "acc_", "an account"
);
id!(
    /// Names a key for good; the raw key itself is known to its owner only.
    KeyId, "key_", "a key"
);
id!(
    /// Names one run of one gateway process: its batches are numbered from one.
    NodeId, "node_", "a node"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_sort_by_creation() {
        let early = AccountId::new(Timestamp::from_secs(1_700_000_000), [255; 10]);
        let late = AccountId::new(Timestamp::from_secs(1_700_000_001), [0; 10]);
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse::<AccountId>(), Ok(early));
    }

    #[test]
    fn an_id_of_another_kind_is_refused_by_name() {
        let account = AccountId::new(Timestamp::EPOCH, [7; 10]).to_string();
        let error = account.parse::<KeyId>().expect_err("an account's id is not a key's");
        assert!(error.to_string().contains("is not a key id"), "{error}");
        for text in ["", "acc_", "acc_zzzzzzzzzzzzzzzzzzzzzz", "acc_000000000000000000000é"] {
            assert!(text.parse::<AccountId>().is_err(), "{text}");
        }
    }
}
