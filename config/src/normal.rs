//! The normal form of a path, so that the file writes paths as the gateway matches them.
//!
//! The same rules that the gateway applies to a request's path (RFC 3986, 6.2.2): unreserved
//! characters are never escaped, other escapes are upper case, what has no place in a path is
//! escaped. What could be read in two ways has no normal form. Deliberately knows no patterns.

/// Why a path has no normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoNormalForm {
    #[error("it must begin with `/`")]
    NoSlash,
    #[error("it holds `{0}`, which has no place in a path")]
    Character(&'static str),
    #[error("it holds an escape that is not `%` and two hexadecimal digits")]
    BrokenEscape,
    #[error("it holds an empty segment; requests with `//` are refused")]
    EmptySegment,
    #[error("it holds a `.` or `..` segment, which is never left in a request's path")]
    DotSegment,
    #[error("it holds `%2F` beside an empty or dot segment; such requests are refused")]
    EncodedSlash,
}

/// The normal form of a path's text, without patterns in it.
pub(crate) fn normal_path(path: &str) -> Result<String, NoNormalForm> {
    let rest = path.strip_prefix('/').ok_or(NoNormalForm::NoSlash)?;
    let mut normal = String::with_capacity(path.len());
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return Err(NoNormalForm::EmptySegment);
        }
        normal.push('/');
        normal.push_str(&normal_segment(segment)?);
    }
    Ok(normal)
}

/// The normal form of one segment; an empty one is its own.
pub(crate) fn normal_segment(segment: &str) -> Result<String, NoNormalForm> {
    let mut normal = String::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                let digits = tail.get(..2).ok_or(NoNormalForm::BrokenEscape)?;
                let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(NoNormalForm::BrokenEscape);
                let value = u8::try_from(digit(digits[0])? << 4 | digit(digits[1])?).unwrap_or_default();
                rest = &tail[2..];
                match value {
                    0 => return Err(NoNormalForm::Character("%00")),
                    b'\\' => return Err(NoNormalForm::Character("%5C")),
                    _ => push(&mut normal, value, is_unreserved(value)),
                }
            }
            b'\\' => return Err(NoNormalForm::Character("\\")),
            b'?' => return Err(NoNormalForm::Character("?")),
            b'#' => return Err(NoNormalForm::Character("#")),
            b' ' => return Err(NoNormalForm::Character(" ")),
            0..=0x1f | 0x7f => return Err(NoNormalForm::Character("a control character")),
            _ => push(&mut normal, byte, is_unreserved(byte) || b"!$&'()*+,;=:@".contains(&byte)),
        }
    }
    check_dots(&normal)?;
    Ok(normal)
}

fn push(normal: &mut String, byte: u8, plain: bool) {
    if plain {
        normal.push(char::from(byte));
    } else {
        normal.push('%');
        for digit in [byte >> 4, byte & 15] {
            let digit = char::from_digit(u32::from(digit), 16).expect("four bits make a hexadecimal digit");
            normal.push(digit.to_ascii_uppercase());
        }
    }
}

/// Refuses what another reader could take for a dot segment, or for several segments of which one is empty.
fn check_dots(normal: &str) -> Result<(), NoNormalForm> {
    let several = normal.contains("%2F");
    for part in normal.split("%2F") {
        let dots = part.strip_prefix("..").or_else(|| part.strip_prefix('.'));
        match dots {
            Some("") if several => return Err(NoNormalForm::EncodedSlash),
            Some(rest) if rest.is_empty() || rest.starts_with(';') || rest.starts_with("%3B") => {
                return Err(NoNormalForm::DotSegment);
            }
            None if several && part.is_empty() => return Err(NoNormalForm::EncodedSlash),
            _ => {}
        }
    }
    Ok(())
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_the_form_that_requests_are_brought_to() {
        for (path, normal) in [
            ("/", "/"),
            ("/events/", "/events/"),
            ("/%65vents/%7Euser", "/events/~user"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/café", "/caf%C3%A9"),
            ("/a%2fb", "/a%2Fb"),
            ("/a;v=1/b", "/a;v=1/b"),
            ("/{id}|", "/%7Bid%7D%7C"),
            ("/...", "/..."),
            ("/.well-known", "/.well-known"),
            ("/%252e", "/%252e"),
        ] {
            assert_eq!(normal_path(path).as_deref(), Ok(normal), "{path}");
            assert_eq!(normal_path(normal).as_deref(), Ok(normal), "{path} twice");
        }
    }

    #[test]
    fn what_requests_are_refused_for_has_no_normal_form() {
        for (path, why) in [
            ("", NoNormalForm::NoSlash),
            ("events", NoNormalForm::NoSlash),
            ("//x", NoNormalForm::EmptySegment),
            ("/a//b", NoNormalForm::EmptySegment),
            ("/a/../b", NoNormalForm::DotSegment),
            ("/%2e", NoNormalForm::DotSegment),
            ("/..;x", NoNormalForm::DotSegment),
            ("/..%3bx", NoNormalForm::DotSegment),
            ("/a\\b", NoNormalForm::Character("\\")),
            ("/a%5cb", NoNormalForm::Character("%5C")),
            ("/%00", NoNormalForm::Character("%00")),
            ("/a?b", NoNormalForm::Character("?")),
            ("/a b", NoNormalForm::Character(" ")),
            ("/%zz", NoNormalForm::BrokenEscape),
            ("/%2", NoNormalForm::BrokenEscape),
            ("/%é", NoNormalForm::BrokenEscape),
            ("/a%2F", NoNormalForm::EncodedSlash),
            ("/a%2F..", NoNormalForm::EncodedSlash),
        ] {
            assert_eq!(normal_path(path), Err(why), "{path}");
        }
    }
}
