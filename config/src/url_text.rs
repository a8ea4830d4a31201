//! Variables in the text of a URL.
//!
//! A password is put into a URL as it is: `p@ss/w:rd#` must neither end the host nor begin a path. So a variable's value
//! is percent-encoded where it stands in a part of a URL. Deliberately knows no scheme: what the parts mean is the
//! business of whoever reads the URL.

use std::fmt::Write as _;

/// What a variable's value is written as at `at` in the written text of a URL.
///
/// Before a `://` that the text itself has, and in a text without one, the value is a URL or its beginning, and stays as it
/// is. A host keeps what ports and IPv6 addresses are written with. Everywhere else the value is one user, password, name or
/// parameter.
pub(crate) fn value_in(written: &str, at: usize, value: String) -> String {
    let Some(authority) = written.find("://").map(|at| at + 3).filter(|authority| at >= *authority) else {
        return value;
    };
    let end = written[authority..].find(['/', '?', '#']).map_or(written.len(), |length| authority + length);
    let host = written[authority..end].rfind('@').map_or(authority, |user| authority + user + 1);
    if (host..end).contains(&at) { encoded(&value, b":[]") } else { encoded(&value, b"") }
}

/// Percent-encodes every byte but the unreserved ones of RFC 3986 and those in `kept`.
fn encoded(value: &str, kept: &[u8]) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes any text");
        }
    }
    out
}

/// The bytes that a part of a URL stands for; a `%` without two hexadecimal digits stands for itself.
pub(crate) fn decoded(part: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escape = tail.get(..2).filter(|_| byte == b'%');
        let mut value = [0];
        if let Some(Ok(())) = escape.map(|digits| hex::decode_to_slice(digits, &mut value)) {
            out.push(value[0]);
            rest = &tail[2..];
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded_where_they_stand_in_a_part() {
        for (written, value, expected) in [
            ("${V}", "postgres://me:p@h/d", "postgres://me:p@h/d"),
            ("${V}?sslmode=require", "postgres://me:p@h/d", "postgres://me:p@h/d"),
            ("${V}://host/d", "postgres", "postgres"),
            ("postgres://me:${V}@host/d", "p@ss/w:rd#?%41 é", "p%40ss%2Fw%3Ard%23%3F%2541%20%C3%A9"),
            ("postgres://${V}:pw@host/d", "a@b", "a%40b"),
            ("postgres://me:@x${V}@host/d", ":@", "%3A%40"),
            ("postgres://me:pw@${V}/d", "db.internal:5432", "db.internal:5432"),
            ("postgres://${V}", "[::1]:5432", "[::1]:5432"),
            ("postgres://me@${V}/d", "evil@host/x?y#z", "evil%40host%2Fx%3Fy%23z"),
            ("postgres://host/${V}", "a/b?c", "a%2Fb%3Fc"),
            ("postgres://host/d?sslrootcert=${V}", "/etc/a&b.pem", "%2Fetc%2Fa%26b.pem"),
            ("postgres://host/d?x=@${V}", ":", "%3A"),
        ] {
            let at = written.find("${V}").expect("a variable");
            assert_eq!(value_in(written, at, value.into()), expected, "{written}");
        }
    }

    #[test]
    fn what_was_encoded_decodes_to_itself() {
        for value in ["", "p@ss/w:rd#", "100%", "%41%", "é\u{1F600}\n\0", "a+b c"] {
            assert_eq!(decoded(&encoded(value, b"")), value.as_bytes(), "{value}");
        }
        assert_eq!(decoded("%4g%4"), b"%4g%4");
    }
}
