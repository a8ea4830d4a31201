//! Brings the path of a request target to its one canonical form, or refuses it.
//!
//! Owns RFC 3986 6.2.2 as the gateway applies it: escapes of unreserved octets are decoded, the
//! other escapes are written in upper case, dot segments are removed. Octets that may not stand
//! in a path as they are (`{`, `|`, `[` and their kin) are escaped, so that both spellings of a
//! path are one. What could be read in two ways (`//`, `\`, `%5C`, `%00`, `..;`, a broken escape,
//! a climb above the root) is refused.
//!
//! Deliberately does not decide what a route may allow: `%2F` and `;` stay in the canonical path,
//! and [`has_encoded_slash`] and [`has_path_params`] tell the router about them. The query is
//! checked, never changed.

use std::borrow::Cow;

use super::Rejection;

/// What an octet of a path asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Octet {
    /// Stays as it is: unreserved, a sub-delimiter, `:` or `@`.
    Plain,
    /// `/`
    Slash,
    /// `%`
    Percent,
    /// Has no place in a path, and stands there without doubt about its meaning: is escaped.
    Escape,
    /// Refused.
    Refuse,
}

static OCTETS: [Octet; 256] = {
    let mut table = [Octet::Refuse; 256];
    let mut index = 0;
    while index < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "index stays below 256")]
        let octet = index as u8;
        table[index] = match octet {
            b'/' => Octet::Slash,
            b'%' => Octet::Percent,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' => Octet::Plain,
            b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => Octet::Escape,
            _ if is_unreserved(octet) => Octet::Plain,
            _ => Octet::Refuse,
        };
        index += 1;
    }
    table
};

const HEX_DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// Returns the canonical form of `path`, borrowed where it is canonical already.
///
/// # Errors
///
/// A 400 for a path that is empty or does not begin with `/`, that holds an octet outside visible
/// ASCII, `//`, a backslash, `#` or `?`, a broken escape, `%00`, `%5C`, a dot segment with
/// parameters, a dot segment that climbs above the root, or a `%2F` whose decoding would make an
/// empty or a dot segment.
///
/// # Panics
///
/// Never: what was decoded is ASCII.
pub fn canonical_path(path: &str) -> Result<Cow<'_, str>, Rejection> {
    let octets = path.as_bytes();
    if octets.first() != Some(&b'/') {
        return Err(Rejection::bad_request("The path does not begin with a slash"));
    }
    if is_canonical(octets) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(octets)?;
    let canonical = remove_dot_segments(&decoded)?;
    let canonical = String::from_utf8(canonical).expect("a decoded path holds ASCII only");
    Ok(Cow::Owned(canonical))
}

/// Checks that `query` (what follows the first `?`) can go upstream byte for byte.
///
/// # Errors
///
/// A 400 for an octet outside visible ASCII, and for `#`, `"`, `<` and `>`, which the URI type
/// behind the proxy does not carry.
pub fn check_query(query: &str) -> Result<(), Rejection> {
    let carried = |octet: &u8| matches!(octet, 0x21 | 0x24..=0x3B | 0x3D | 0x3F..=0x7E);
    if query.as_bytes().iter().all(carried) {
        Ok(())
    } else {
        Err(Rejection::bad_request("The query holds a character that must be percent-encoded"))
    }
}

/// Whether a canonical path holds an encoded slash, which only a route with
/// `encoded_slash = "keep"` lets pass.
pub fn has_encoded_slash(path: &str) -> bool {
    path.contains("%2F")
}

/// Whether a canonical path holds path parameters, which only a route with
/// `path_params = "keep"` lets pass.
pub fn has_path_params(path: &str) -> bool {
    path.contains(';')
}

/// One pass that finds most paths canonical without copying them.
fn is_canonical(octets: &[u8]) -> bool {
    let mut previous = 0;
    for &octet in octets {
        let kind = OCTETS[usize::from(octet)];
        let plain = kind == Octet::Plain || kind == Octet::Slash;
        if !plain || (previous == b'/' && (octet == b'/' || octet == b'.')) {
            return false;
        }
        previous = octet;
    }
    true
}

/// Brings every octet and escape to its canonical spelling; dot segments remain.
fn decode(octets: &[u8]) -> Result<Vec<u8>, Rejection> {
    let mut decoded = Vec::with_capacity(octets.len() + 16);
    let mut rest = octets;
    while let Some((&octet, tail)) = rest.split_first() {
        rest = tail;
        match OCTETS[usize::from(octet)] {
            Octet::Slash if decoded.last() == Some(&b'/') => {
                return Err(Rejection::bad_request("The path holds an empty segment"));
            }
            Octet::Plain | Octet::Slash => decoded.push(octet),
            Octet::Escape => push_escape(&mut decoded, octet),
            Octet::Percent => {
                let (value, tail) = escape_value(rest)?;
                rest = tail;
                match value {
                    0 => return Err(Rejection::bad_request("The path holds an encoded NUL")),
                    b'\\' => {
                        return Err(Rejection::bad_request("The path holds an encoded backslash"));
                    }
                    _ if is_unreserved(value) => decoded.push(value),
                    _ => push_escape(&mut decoded, value),
                }
            }
            Octet::Refuse => {
                return Err(Rejection::bad_request("The path holds a character that is not allowed there"));
            }
        }
    }
    Ok(decoded)
}

fn escape_value(after_percent: &[u8]) -> Result<(u8, &[u8]), Rejection> {
    let digit = |index: usize| {
        after_percent
            .get(index)
            .and_then(|octet| char::from(*octet).to_digit(16))
            .and_then(|digit| u8::try_from(digit).ok())
    };
    match (digit(0), digit(1)) {
        (Some(high), Some(low)) => Ok((high << 4 | low, &after_percent[2..])),
        _ => Err(Rejection::bad_request("The path holds a broken escape")),
    }
}

fn push_escape(decoded: &mut Vec<u8>, octet: u8) {
    decoded.push(b'%');
    decoded.push(HEX_DIGITS[usize::from(octet >> 4)]);
    decoded.push(HEX_DIGITS[usize::from(octet & 15)]);
}

/// RFC 3986 5.2.4 on a path whose escapes are canonical, with a climb above the root refused.
fn remove_dot_segments(decoded: &[u8]) -> Result<Vec<u8>, Rejection> {
    let mut path: Vec<u8> = Vec::with_capacity(decoded.len());
    let mut segments = decoded[1..].split(|octet| *octet == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." => {}
            b".." => {
                let Some(parent) = path.iter().rposition(|octet| *octet == b'/') else {
                    return Err(Rejection::bad_request("The path climbs above its root"));
                };
                path.truncate(parent);
            }
            _ => {
                check_segment(segment, last)?;
                path.push(b'/');
                path.extend_from_slice(segment);
                continue;
            }
        }
        if last {
            path.push(b'/');
        }
    }
    Ok(path)
}

/// Refuses a segment that another reader could take for a dot segment or for several segments
/// of which one is empty or a dot segment.
fn check_segment(segment: &[u8], last: bool) -> Result<(), Rejection> {
    if segment.is_empty() && last {
        return Ok(());
    }
    let mut rest = segment;
    loop {
        let slash = rest.windows(3).position(|window| window == b"%2F");
        let part = slash.map_or(rest, |position| &rest[..position]);
        let several = slash.is_some() || rest.len() < segment.len();
        if several && (part.is_empty() || part == b"." || part == b"..") {
            return Err(Rejection::bad_request("The path holds an encoded slash beside an empty or dot segment"));
        }
        if is_dot_with_params(part) {
            return Err(Rejection::bad_request("The path holds a dot segment with parameters"));
        }
        match slash {
            Some(position) => rest = &rest[position + 3..],
            None => return Ok(()),
        }
    }
}

/// `.;x`, `..;x`, and the same with the semicolon escaped, for readers that decode first.
fn is_dot_with_params(part: &[u8]) -> bool {
    let after_dots = part.strip_prefix(b"..").or_else(|| part.strip_prefix(b".")).unwrap_or_default();
    after_dots.starts_with(b";") || after_dots.starts_with(b"%3B")
}

const fn is_unreserved(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_reach_their_one_canonical_form() {
        let cases = [
            ("/", "/"),
            ("/events/search", "/events/search"),
            ("/events/", "/events/"),
            ("/%65vents/%7Euser", "/events/~user"),
            ("/a%2fb", "/a%2Fb"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/./a", "/a"),
            ("/a/b/../../c", "/c"),
            ("/...", "/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/a..b/.c", "/a..b/.c"),
            ("/%252e%252e/x", "/%252e%252e/x"),
            ("/a;v=1/b", "/a;v=1/b"),
            ("/a%3bv", "/a%3Bv"),
            ("/a;x/../b", "/b"),
            ("/a%2Fb/../c", "/c"),
            ("/{id}|[x]\"<>^`", "/%7Bid%7D%7C%5Bx%5D%22%3C%3E%5E%60"),
            ("/a:b@c!$&'()*+,=", "/a:b@c!$&'()*+,="),
            ("/a%20b", "/a%20b"),
        ];
        for (path, canonical) in cases {
            assert_eq!(canonical_path(path).as_deref(), Ok(canonical), "{path}");
        }
    }

    #[test]
    fn paths_with_two_readings_are_refused() {
        let paths = [
            "",
            "events",
            "a:1/events",
            "*",
            "//",
            "//x",
            "/a//b",
            "/a//",
            "/a/..//b",
            "/a\\b",
            "/a%5cb",
            "/a%5C",
            "/%00",
            "/a%00.png",
            "/..",
            "/../x",
            "/a/../..",
            "/%2e%2e/x",
            "/a/..;/b",
            "/a/.;x",
            "/..;x",
            "/%2e%2e;/b",
            "/a/..%3b/b",
            "/.%3B",
            "/%zz",
            "/%2",
            "/%",
            "/a%2",
            "/a b",
            "/a#b",
            "/a?b",
            "/a\u{7f}",
            "/caf\u{e9}",
            "/a%2F",
            "/%2Fa",
            "/a%2F/b",
            "/a/%2F",
            "/a%2F%2Fb",
            "/a%2F..",
            "/a%2f..%2fb",
            "/..%2Fa",
            "/.%2Fa",
            "/a%2F.",
            "/a%2F%2e%2e",
            "/a%2F..;x",
            "/a\tb",
            "/a\r\n",
        ];
        for path in paths {
            let refused = canonical_path(path).expect_err(path);
            assert_eq!((refused.status, refused.code), (400, "bad_request"), "{path}");
        }
    }

    #[test]
    fn routes_learn_of_encoded_slashes_and_parameters() {
        let cases = [("/a%2fb", true, false), ("/a;b", false, true), ("/a", false, false)];
        for (path, slash, params) in cases {
            let path = canonical_path(path).expect(path);
            assert_eq!(has_encoded_slash(&path), slash, "{path}");
            assert_eq!(has_path_params(&path), params, "{path}");
        }
    }

    #[test]
    fn a_query_is_carried_unchanged_or_refused() {
        for query in ["", "a=b&c", "a[]=1&b={x|y}^`~\\", "%zz", "a=?/:@", "a=%00"] {
            assert_eq!(check_query(query), Ok(()), "{query}");
        }
        for query in ["a#b", "a\"b", "a<b", "a>b", "a b", "a\u{7f}", "\u{e9}", "a\nb"] {
            assert!(check_query(query).is_err(), "{query}");
        }
    }

    /// Paths made of the pieces that matter, so that random ones reach the interesting corners.
    fn any_path() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("/"),
            Just("."),
            Just(".."),
            Just("%2e"),
            Just("%2E"),
            Just("%2f"),
            Just("%2F"),
            Just("%5c"),
            Just("%00"),
            Just("%41"),
            Just("%7e"),
            Just("%c3"),
            Just("%25"),
            Just("%3b"),
            Just("%"),
            Just("a"),
            Just("B"),
            Just(";"),
            Just("~"),
            Just("{"),
            Just("\\"),
            Just(" "),
            Just("?"),
            Just("%7B"),
            Just("2e"),
        ];
        proptest::collection::vec(piece, 0..14).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_500))]

        #[test]
        fn a_canonical_path_is_its_own_canonical_form(path in any_path()) {
            if let Ok(canonical) = canonical_path(&path) {
                let again = canonical_path(&canonical);
                prop_assert_eq!(again.as_deref(), Ok(canonical.as_ref()));
            }
        }

        #[test]
        fn a_canonical_path_has_one_reading(path in any_path()) {
            if let Ok(canonical) = canonical_path(&path) {
                prop_assert!(!canonical.contains("//") && !canonical.contains('\\'));
                for segment in canonical.replace("%2F", "/").split('/') {
                    prop_assert!(segment != "." && segment != "..");
                    prop_assert!(!segment.starts_with(".;") && !segment.starts_with("..;"));
                }
                for escape in canonical.split('%').skip(1) {
                    let digits = &escape[..2];
                    let octet = u8::from_str_radix(digits, 16).expect("two hex digits");
                    prop_assert!(!is_unreserved(octet));
                    prop_assert_eq!(digits.to_ascii_uppercase(), digits);
                }
            }
        }

        #[test]
        fn escaping_what_needs_no_escape_changes_nothing(path in any_path()) {
            let mut spelt = String::new();
            for (index, piece) in path.split('%').enumerate() {
                let escape = piece.get(..2).filter(|digits| {
                    index > 0 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
                });
                let (kept, rest) = escape.map_or(("", piece), |kept| (kept, &piece[2..]));
                spelt.push_str(if index > 0 { "%" } else { "" });
                spelt.push_str(kept);
                spelt.push_str(&rest.replace('a', "%61").replace('.', "%2e"));
            }
            if path.split('%').skip(1).all(|piece| {
                piece.len() >= 2 && piece.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit)
            }) {
                prop_assert_eq!(canonical_path(&spelt).ok(), canonical_path(&path).ok());
            }
        }
    }
}
