//! `Cookie` headers: reading one cookie, and taking one out while the others keep their order and their bytes. Of
//! `Set-Cookie`, which cookie it sets.
//!
//! A cookie is found also where white space stands around its name, which some backends overlook. Values are not
//! unquoted: what a backend might read in two ways is left as it came, for whoever judges it.

/// The cookie that the control plane keeps a session by. It is ours, and no backend is shown it.
pub(crate) const SESSION: &str = "tollgate_session";

/// The values of the cookies of this name in one header, in order.
pub(crate) fn values<'a>(header: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    header
        .split(|byte| *byte == b';')
        .map(split)
        .filter(move |(found, _)| *found == name.as_bytes())
        .map(|(_, value)| value)
}

/// Whether one header holds a cookie of this name.
pub(crate) fn holds(header: &[u8], name: &str) -> bool {
    memchr::memmem::find(header, name.as_bytes()).is_some() && values(header, name).next().is_some()
}

/// One header without the cookies of this name; `None` when no other is left.
pub(crate) fn without(header: &[u8], name: &str) -> Option<Vec<u8>> {
    let others = header.split(|byte| *byte == b';').filter(|pair| split(pair).0 != name.as_bytes());
    let kept = others.collect::<Vec<_>>().join(&b';');
    let kept = kept.trim_ascii_start();
    (!kept.is_empty()).then(|| kept.to_vec())
}

/// Whether a `Set-Cookie` makes a browser send a cookie of this name: also one without a name, which a browser sends as
/// its value alone.
pub(crate) fn sets(header: &[u8], name: &str) -> bool {
    let mut pair = header.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    while let Some(value) = pair.strip_prefix(b"=") {
        pair = value.trim_ascii();
    }
    split(pair).0 == name.as_bytes()
}

/// Name and value of one pair, without white space around them. A pair without `=` is a name alone.
fn split(pair: &[u8]) -> (&[u8], &[u8]) {
    let at = memchr::memchr(b'=', pair).unwrap_or(pair.len());
    let (name, value) = pair.split_at(at);
    (name.trim_ascii(), value.strip_prefix(b"=").unwrap_or_default().trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cookie_is_taken_out_and_the_others_keep_their_order_and_bytes() {
        for (header, expected) in [
            ("tollgate_session=x", None),
            ("a=1; tollgate_session=x; b=2", Some("a=1; b=2")),
            ("tollgate_session=x; a=\"1 ; 2\";b = 3 ", Some("a=\"1 ; 2\";b = 3 ")),
            ("a=1;tollgate_session=x", Some("a=1")),
            ("a=1; tollgate_session =x;\ttollgate_session=y;  b=2", Some("a=1;  b=2")),
            ("a=1; tollgate_session", Some("a=1")),
            ("a=tollgate_session; tollgate_session_2=x", Some("a=tollgate_session; tollgate_session_2=x")),
            ("a=1; Tollgate_Session=x", Some("a=1; Tollgate_Session=x")),
        ] {
            let holds = holds(header.as_bytes(), SESSION);
            let kept = if holds { without(header.as_bytes(), SESSION) } else { Some(header.into()) };
            let kept = kept.map(|kept| String::from_utf8(kept).expect("text"));
            assert_eq!(kept.as_deref(), expected, "{header}");
        }
        assert_eq!(without(b"a=\xff; tollgate_session=\xfe", SESSION).as_deref(), Some(&b"a=\xff"[..]));
    }

    #[test]
    fn a_cookie_is_set_by_its_whole_name_or_by_none() {
        for (header, expected) in [
            ("tollgate_session=x; Path=/", true),
            ("  tollgate_session = x", true),
            ("\ttollgate_session", true),
            ("=tollgate_session=x; Secure", true),
            (" = = tollgate_session=x", true),
            ("a=tollgate_session=x", false),
            ("a=1; tollgate_session=x", false),
            ("tollgate_session2=x", false),
            ("Tollgate_Session=x", false),
            ("", false),
        ] {
            assert_eq!(sets(header.as_bytes(), SESSION), expected, "{header}");
        }
    }

    #[test]
    fn values_are_found_by_their_whole_name_and_not_unquoted() {
        let found = |header: &'static str| values(header.as_bytes(), "token").map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(found("a=1; token=x; token2=y"), [b"x".to_vec()]);
        assert_eq!(found("token=x;token = y ; token"), [b"x".to_vec(), b"y".to_vec(), b"".to_vec()]);
        assert_eq!(found("token=\"x\"; my-token=z"), [b"\"x\"".to_vec()]);
        assert!(found("Token=x; tok=en=x").is_empty());
    }
}
