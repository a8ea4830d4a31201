//! Base 62 (`0-9A-Za-z`), fixed width, zero padded: how keys and ids are written.

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Whether the byte is one of the 62 digits.
pub(crate) const fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// Writes a big-endian number as exactly `out.len()` digits. Digits that do not fit are lost,
/// so the caller chooses a width that holds every value.
pub(crate) fn encode(number: &[u8], out: &mut [u8]) {
    let mut rest = [0_u8; 32];
    let rest = &mut rest[..number.len()];
    rest.copy_from_slice(number);
    for digit in out.iter_mut().rev() {
        let mut remainder = 0_u32;
        for byte in rest.iter_mut() {
            let value = remainder << 8 | u32::from(*byte);
            *byte = u8::try_from(value / 62).expect("a remainder below 62 keeps the quotient below 256");
            remainder = value % 62;
        }
        *digit = ALPHABET[remainder as usize];
    }
}

/// Writes a number as exactly `out.len()` digits.
pub(crate) fn encode_u32(mut number: u32, out: &mut [u8]) {
    for digit in out.iter_mut().rev() {
        *digit = ALPHABET[(number % 62) as usize];
        number /= 62;
    }
}

/// Reads digits as a number; `None` for a foreign byte or a value beyond 128 bits.
pub(crate) fn decode_u128(text: &[u8]) -> Option<u128> {
    text.iter().try_fold(0_u128, |value, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A' + 10,
            b'a'..=b'z' => byte - b'a' + 36,
            _ => return None,
        };
        value.checked_mul(62)?.checked_add(u128::from(digit))
    })
}
