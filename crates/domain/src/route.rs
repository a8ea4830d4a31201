//! Names of routes, and the globs by which a key's scopes name several.

use std::fmt;

/// What a route is called in metrics, scopes and logs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteName(std::sync::Arc<str>);

impl RouteName {
    /// 1 to 64 of `a-z A-Z 0-9 - _ . /`, so that a name is safe as a label, in a log line and in a glob.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
        fits.then(|| Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RouteName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A route's name in which `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Box<str>);

impl Glob {
    /// `None` unless the text is 1 to 64 characters that a route's name may hold, or `*`.
    pub fn new(text: &str) -> Option<Self> {
        let without_stars = text.replace('*', "");
        let fits = text.len() <= 64
            && !text.is_empty()
            && (without_stars.is_empty() || RouteName::new(&without_stars).is_some());
        fits.then(|| Self(text.into()))
    }

    /// The glob as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names this route.
    pub fn matches(&self, route: &RouteName) -> bool {
        glob_matches(self.0.as_bytes(), route.0.as_bytes())
    }
}

/// Whether `*` in the pattern, read as any bytes, makes it the text. Backtracks to the last star only,
/// so the time is at most the product of both lengths.
pub(crate) fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while at_text < text.len() {
        if pattern.get(at_pattern) == Some(&b'*') {
            last_star = Some((at_pattern, at_text));
            at_pattern += 1;
        } else if pattern.get(at_pattern) == Some(&text[at_text]) {
            at_pattern += 1;
            at_text += 1;
        } else if let Some((star, taken)) = last_star {
            last_star = Some((star, taken + 1));
            at_pattern = star + 1;
            at_text = taken + 1;
        } else {
            return false;
        }
    }
    pattern[at_pattern..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, text, expected) in [
            ("events", "events", true),
            ("events", "events-public", false),
            ("events*", "events-public", true),
            ("*public", "events-public", true),
            ("e*-*c", "events-public", true),
            ("*", "anything", true),
            ("**", "", true),
            ("a*b*c", "a-b-b-c-c", true),
            ("a*b*c", "a-b-b", false),
            ("", "", true),
        ] {
            assert_eq!(glob_matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn names_are_safe_as_labels() {
        assert!(RouteName::new("events/{id}").is_none(), "braces would break a label");
        assert!(RouteName::new("events-id").is_some());
        assert!(Glob::new("events-*").is_some() && Glob::new("*").is_some());
        assert!(Glob::new("").is_none() && Glob::new("a b").is_none());
    }
}
