//! Who calls: the peer, or whom trusted proxies name. Forwarded headers of anybody else are not believed.

use std::net::IpAddr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// The header that names the chain of clients and proxies.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The header that names one client.
pub const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// Addresses looked at in a chain; longer ones are a mistake or an attack.
const CHAIN_MAX: usize = 64;

/// Whether the peer is one of ours.
pub fn is_trusted(peer: IpAddr, trusted_proxies: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    trusted_proxies.iter().any(|net| net.contains(&peer))
}

/// The client's address. From a trusted peer, `X-Forwarded-For` is read from right to left up to the first address
/// that is not a trusted proxy; without it `Forwarded` is, then `X-Real-IP`. What cannot be read ends the chain.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    if trusted_proxies.is_empty() || !is_trusted(peer, trusted_proxies) {
        return peer;
    }
    if headers.contains_key(&X_FORWARDED_FOR) {
        return last_untrusted(peer, list(headers, &X_FORWARDED_FOR).map(parse_address), trusted_proxies);
    }
    if headers.contains_key(FORWARDED) {
        return last_untrusted(peer, list(headers, &FORWARDED).map(forwarded_for), trusted_proxies);
    }
    let real = headers.get(&X_REAL_IP).and_then(|value| value.to_str().ok()).and_then(parse_address);
    real.unwrap_or(peer)
}

/// The items of a comma-separated header, the last first.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values: Vec<&str> = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("")).collect();
    values.into_iter().rev().flat_map(|value| value.rsplit(','))
}

fn last_untrusted(peer: IpAddr, chain: impl Iterator<Item = Option<IpAddr>>, trusted_proxies: &[IpNet]) -> IpAddr {
    let mut client = peer;
    for address in chain.take(CHAIN_MAX) {
        let Some(address) = address else { break };
        client = address;
        if !is_trusted(address, trusted_proxies) {
            break;
        }
    }
    client
}

/// An address, with or without a port, an IPv6 one with or without brackets.
fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let parsed = text
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    parsed.map(|address| address.to_canonical())
}

/// The `for` of one element of a `Forwarded` header (RFC 7239).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then(|| parse_address(value.trim_matches('"')))?
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client(peer: &str, pairs: &[(&'static str, &str)]) -> String {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].iter().map(|net| net.parse().expect("a net")).collect();
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a good value"));
        }
        client_address(peer.parse().expect("an address"), &headers, &trusted).to_string()
    }

    #[test]
    fn only_trusted_peers_are_believed_and_from_right_to_left() {
        for (peer, pairs, expected) in [
            ("192.0.2.1", vec![("x-forwarded-for", "203.0.113.9")], "192.0.2.1"),
            ("10.0.0.1", vec![("x-forwarded-for", "203.0.113.9")], "203.0.113.9"),
            ("10.0.0.1", vec![("x-forwarded-for", "1.1.1.1, 203.0.113.9, 10.2.3.4")], "203.0.113.9"),
            ("10.0.0.1", vec![("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.9")], "203.0.113.9"),
            ("10.0.0.1", vec![("x-forwarded-for", "203.0.113.9, junk")], "10.0.0.1"),
            ("10.0.0.1", vec![("x-forwarded-for", "203.0.113.9:4711")], "203.0.113.9"),
            ("10.0.0.1", vec![("forwarded", "for=\"[2001:db8::1]:80\";proto=https, for=10.0.0.9")], "2001:db8::1"),
            ("10.0.0.1", vec![("x-real-ip", "203.0.113.9")], "203.0.113.9"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("::ffff:10.0.0.1", vec![("x-forwarded-for", "203.0.113.9")], "203.0.113.9"),
        ] {
            assert_eq!(client(peer, &pairs), expected, "{peer} {pairs:?}");
        }
    }
}
