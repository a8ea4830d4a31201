//! Query strings: reading parameters, and taking one out while the rest keeps its order and its bytes.

use std::borrow::Cow;

/// The parameters of a query, names and values percent-decoded, `+` read as a space.
pub(crate) fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

/// The query without the parameters of this name (however they are escaped); `None` when none is left.
pub(crate) fn without(query: &str, name: &str) -> Option<String> {
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| *decode(pair.split_once('=').map_or(*pair, |(key, _)| key)) != *name.as_bytes())
        .collect();
    (!kept.is_empty()).then(|| kept.join("&"))
}

fn decode(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(text.as_bytes());
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digit = |offset: usize| bytes.get(at + offset).and_then(|byte| char::from(*byte).to_digit(16));
        match (bytes[at], digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high << 4 | low).expect("two hexadecimal digits make a byte"));
                at += 3;
            }
            (b'+', ..) => {
                out.push(b' ');
                at += 1;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_taken_out_and_the_rest_keeps_its_order_and_bytes() {
        for (query, expected) in [
            ("api_key=secret", None),
            ("a=1&api_key=secret&b=%20x", Some("a=1&b=%20x")),
            ("b=2&api%5Fkey=secret&a=1", Some("b=2&a=1")),
            ("api_key&x", Some("x")),
            ("x=api_key", Some("x=api_key")),
            ("a=1&&b=2", Some("a=1&&b=2")),
        ] {
            assert_eq!(without(query, "api_key").as_deref(), expected, "{query}");
        }
    }

    #[test]
    fn names_and_values_are_decoded() {
        let read: Vec<_> =
            parameters("a=1&b%63=x%2Fy+z&flag&bad=%zz").map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        let expected: [(&[u8], &[u8]); 4] = [(b"a", b"1"), (b"bc", b"x/y z"), (b"flag", b""), (b"bad", b"%zz")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_vec(), value.to_vec())));
    }
}
