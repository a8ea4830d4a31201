//! The pattern of a route's path.

use std::fmt;

use crate::normal::{NoNormalForm, normal_segment};

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// This text, in the gateway's normal form. Empty for what follows a trailing slash.
    Literal(Box<str>),
    /// `{name}`: any one segment that is not empty.
    Parameter(Box<str>),
}

/// The pattern of a path: literal segments, `{name}` for one segment, a trailing `/*` for what lies below.
///
/// It is matched against the normalised path. `/a/*` matches every path that begins with `/a/`, `/a/` among them,
/// and not `/a`; `/*` matches every path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern {
    segments: Vec<Segment>,
    below: bool,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// It is no path of a request, or could be read in two ways.
    #[error("`{0}` is no path: {1}")]
    NoPath(String, String),
    /// It is a path, but requests arrive in another form of it.
    #[error("`{0}` would never match: requests arrive in the form `{1}`; write that")]
    NotNormal(String, String),
    /// Braces are used for less or more than a segment.
    #[error("`{0}`: write `{{name}}` as a whole segment, its name of letters, digits and underscores")]
    Parameter(String),
    /// Two parameters share a name.
    #[error("`{0}` names the parameter `{1}` twice")]
    ParameterTwice(String, String),
    /// A star stands elsewhere than behind the last slash.
    #[error("`{0}`: `*` may only stand alone behind the last slash")]
    Star(String),
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Says what is wrong, and shows the normal form where the text is in another.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        let no_path = |why: NoNormalForm| InvalidPath::NoPath(text.escape_debug().to_string(), why.to_string());
        let rest = text.strip_prefix('/').ok_or_else(|| no_path(NoNormalForm::NoSlash))?;
        let mut pattern = Self { segments: Vec::new(), below: false };
        let mut given = rest.split('/').peekable();
        while let Some(segment) = given.next() {
            let last = given.peek().is_none();
            match segment {
                "*" if last => {
                    pattern.below = true;
                    break;
                }
                "" if !last => return Err(no_path(NoNormalForm::EmptySegment)),
                _ if segment.contains('*') => return Err(InvalidPath::Star(text.escape_debug().to_string())),
                _ if segment.contains(['{', '}']) => pattern.push_parameter(text, segment)?,
                _ => {
                    let literal = normal_segment(segment).map_err(no_path)?;
                    pattern.segments.push(Segment::Literal(literal.into()));
                }
            }
        }
        let normal = pattern.to_string();
        if normal != text {
            return Err(InvalidPath::NotNormal(text.escape_debug().to_string(), normal));
        }
        Ok(pattern)
    }

    fn push_parameter(&mut self, text: &str, segment: &str) -> Result<(), InvalidPath> {
        let shown = || text.escape_debug().to_string();
        let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let name = name
            .filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
            .ok_or_else(|| InvalidPath::Parameter(shown()))?;
        let parameter = Segment::Parameter(name.into());
        if self.segments.contains(&parameter) {
            return Err(InvalidPath::ParameterTwice(shown(), name.into()));
        }
        self.segments.push(parameter);
        Ok(())
    }

    /// The pattern that matches every path.
    pub(crate) const fn everything() -> Self {
        Self { segments: Vec::new(), below: true }
    }

    /// What the segments must be, in order: `/a/b` has two, `/` one that is empty, `/*` none.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether the pattern ends in `/*`, so that a slash and anything may follow the segments.
    pub const fn matches_below(&self) -> bool {
        self.below
    }

    /// Whether a normalised path has this form.
    pub fn matches(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix('/') else { return false };
        let mut given = rest.split('/');
        let fits = self.segments.iter().all(|segment| match (segment, given.next()) {
            (_, None) => false,
            (Segment::Literal(text), Some(given)) => **text == *given,
            (Segment::Parameter(_), Some(given)) => !given.is_empty(),
        });
        fits && given.next().is_some() == self.below
    }

    /// The literal text of the pattern contains this.
    pub(crate) fn has_literal_with(&self, needle: &str) -> bool {
        self.segments.iter().any(|segment| matches!(segment, Segment::Literal(text) if text.contains(needle)))
    }
}

/// As the file writes it.
impl fmt::Display for PathPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(formatter, "/{text}")?,
                Segment::Parameter(name) => write!(formatter, "/{{{name}}}")?,
            }
        }
        if self.below { formatter.write_str("/*") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, matching, other) in [
            ("/", vec!["/"], vec!["", "/a", "//"]),
            ("/events", vec!["/events"], vec!["/events/", "/event", "/events/x", "/Events"]),
            ("/events/", vec!["/events/"], vec!["/events", "/events/x"]),
            (
                "/events/{id}",
                vec!["/events/1", "/events/a%2Fb"],
                vec!["/events", "/events/", "/events/1/2", "/events/1/"],
            ),
            ("/{a}/x/{b}", vec!["/1/x/2"], vec!["/1/y/2", "/x/2"]),
            ("/events/*", vec!["/events/", "/events/1", "/events/1/2"], vec!["/events", "/eventsx", "/"]),
            ("/*", vec!["/", "/a", "/a/b/"], vec!["", "a"]),
            ("/events/{id}/*", vec!["/events/1/", "/events/1/x"], vec!["/events/1", "/events//x"]),
        ] {
            let parsed = PathPattern::parse(pattern).expect(pattern);
            assert_eq!(parsed.to_string(), pattern);
            for path in matching {
                assert!(parsed.matches(path), "{pattern} {path}");
            }
            for path in other {
                assert!(!parsed.matches(path), "{pattern} {path}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_explained() {
        for (text, expected) in [
            ("events", "`events` is no path: it must begin with `/`"),
            ("", "`` is no path: it must begin with `/`"),
            ("/a//b", "`/a//b` is no path: it holds an empty segment; requests with `//` are refused"),
            (
                "/a/../b",
                "`/a/../b` is no path: it holds a `.` or `..` segment, which is never left in a request's path",
            ),
            ("/a?b=1", "`/a?b=1` is no path: it holds `?`, which has no place in a path"),
            ("/%65vents", "`/%65vents` would never match: requests arrive in the form `/events`; write that"),
            (
                "/caf%c3%a9/{id}",
                "`/caf%c3%a9/{id}` would never match: requests arrive in the form `/caf%C3%A9/{id}`; write that",
            ),
            ("/café", "`/café` would never match: requests arrive in the form `/caf%C3%A9`; write that"),
            ("/a/*/b", "`/a/*/b`: `*` may only stand alone behind the last slash"),
            ("/a*", "`/a*`: `*` may only stand alone behind the last slash"),
            (
                "/{id}.json",
                "`/{id}.json`: write `{name}` as a whole segment, its name of letters, digits and underscores",
            ),
            ("/{}", "`/{}`: write `{name}` as a whole segment, its name of letters, digits and underscores"),
            ("/{id}/{id}", "`/{id}/{id}` names the parameter `id` twice"),
        ] {
            let problem = PathPattern::parse(text).expect_err(text).to_string();
            assert_eq!(problem, expected, "{text}");
        }
    }
}
