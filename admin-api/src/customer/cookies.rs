//! Cookies: which one carries a session, how it is set, read and taken away.

use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::proofs::SessionCookie;

/// The cookie of a session.
pub(crate) const SESSION_COOKIE: &str = "tollgate_session";
/// Where the gateway says under which path of its own we are served.
const MOUNT: HeaderName = HeaderName::from_static("x-tollgate-mount");
/// Longest such path, in bytes.
const MOUNT_BYTES_MAX: usize = 200;

/// The value of a cookie, the first of its name.
pub(crate) fn value_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"'))
}

/// `Set-Cookie` for a session that lasts so long from now.
pub(crate) fn set(cookie: &SessionCookie, headers: &HeaderMap, lasts: Duration) -> HeaderValue {
    line(cookie.reveal(), headers, lasts)
}

/// `Set-Cookie` that takes a session's cookie away.
pub(crate) fn remove(headers: &HeaderMap) -> HeaderValue {
    line("", headers, Duration::ZERO)
}

fn line(value: &str, headers: &HeaderMap, lasts: Duration) -> HeaderValue {
    let path = mounted_at(headers).unwrap_or("/");
    let lasts_secs = lasts.as_secs();
    let text = format!("{SESSION_COOKIE}={value}; Path={path}; Max-Age={lasts_secs}; HttpOnly; Secure; SameSite=Lax");
    let mut line = HeaderValue::from_str(&text).expect("hexadecimal digits and a checked path are visible ASCII");
    line.set_sensitive(true);
    line
}

/// The path we are served under, as the gateway before us says. Whoever reaches us without a gateway can only name the
/// path of its own cookie.
pub(crate) fn mounted_at(headers: &HeaderMap) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%".contains(&byte);
    headers
        .get(MOUNT)
        .and_then(|mount| mount.to_str().ok())
        .filter(|mount| mount.len() <= MOUNT_BYTES_MAX && mount.starts_with('/') && mount.bytes().all(is_plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1; xtollgate_session=no; tollgate_session=\"yes\""));
        headers.append(COOKIE, HeaderValue::from_static("b=2;tollgate_session=later"));
        assert_eq!(value_of(&headers, SESSION_COOKIE), Some("yes"));
        assert_eq!(value_of(&headers, "b"), Some("2"));
        assert_eq!(value_of(&headers, "c"), None);
    }

    #[test]
    fn only_a_plain_path_is_taken_for_the_mount() {
        for (given, expected) in [
            (None, "/"),
            (Some("/tollgate"), "/tollgate"),
            (Some("tollgate"), "/"),
            (Some("/a; Domain=evil"), "/"),
            (Some("/a b"), "/"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(given) = given {
                headers.insert(MOUNT, HeaderValue::from_static(given));
            }
            assert_eq!(mounted_at(&headers).unwrap_or("/"), expected, "{given:?}");
        }
    }
}
