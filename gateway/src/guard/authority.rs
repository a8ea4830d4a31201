//! Judges what stands in `Host` and in the authority of an absolute-form target.
//!
//! Owns the grammar the gateway accepts: a name of letters, digits, `-`, `.`, `_` and `~`, or an
//! IP literal, and a port. Userinfo, paths, escapes and anything else that two readers could split
//! in two ways is refused. Deliberately does not resolve, lower-case or compare names.

use std::net::Ipv6Addr;

/// The longest name DNS knows.
const NAME_BYTES_MAX: usize = 253;

/// Whether `value` is a host with an optional port, and nothing else.
pub(super) fn is_host(value: &[u8]) -> bool {
    let Ok(value) = std::str::from_utf8(value) else {
        return false;
    };
    if let Some(literal) = value.strip_prefix('[') {
        let Some((address, port)) = literal.split_once(']') else {
            return false;
        };
        return address.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || is_port(port));
    }
    let (name, port) = match value.find(':') {
        Some(colon) => value.split_at(colon),
        None => (value, ""),
    };
    let allowed = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~".contains(&octet);
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(allowed) && (port.is_empty() || is_port(port))
}

/// Splits an absolute-form target into its authority and what follows. `None` where the scheme is
/// not http or https.
pub(super) fn split_absolute_form(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Some(rest.split_at(end))
}

/// `:` and a number that is a port.
fn is_port(port: &str) -> bool {
    port.strip_prefix(':')
        .is_some_and(|digits| digits.bytes().all(|octet| octet.is_ascii_digit()) && digits.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_a_port() {
        let hosts = [
            "a",
            "example.com",
            "EXAMPLE.com:8080",
            "my_service.local",
            "127.0.0.1:1",
            "[::1]",
            "[2001:db8::1]:443",
            "xn--bcher-kva.example.",
        ];
        for host in hosts {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        let long = "a".repeat(254);
        let others = [
            "",
            ":80",
            "a:",
            "a:b",
            "a:80:80",
            "a:65536",
            "a:+1",
            "user@a",
            "user:pw@a",
            "a/../b",
            "a/b",
            "a b",
            "a,b",
            "a%2fb",
            "a\\b",
            "a?b",
            "a#b",
            "[::1",
            "[::1]x",
            "[a]",
            "[]",
            "[fe80::1%25eth0]",
            "caf\u{e9}",
            "a\tb",
            "a;b",
            "http://a",
            long.as_str(),
        ];
        for host in others {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn an_absolute_form_splits_after_its_authority() {
        let cases = [
            ("http://a/b?c", Some(("a", "/b?c"))),
            ("HTTPS://a:1", Some(("a:1", ""))),
            ("http://a?b", Some(("a", "?b"))),
            ("http://", Some(("", ""))),
            ("ftp://a/b", None),
            ("a:1/events", None),
            ("http:/a", None),
        ];
        for (target, split) in cases {
            assert_eq!(split_absolute_form(target), split, "{target}");
        }
    }
}
