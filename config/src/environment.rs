//! `${NAME}` in a text, and where its value comes from.
//!
//! Replaced after the file is parsed, in values only, never twice: a variable's value cannot add
//! keys, and `${…}` in it stays as it is. `$${` writes a literal `${`; any other `$` is itself.

/// The variables a file may name. Closures from a name to a value are environments too.
pub trait Environment {
    /// The value of a variable; `None` when it is not set.
    fn variable(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Environment for F {
    fn variable(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// The environment of this process. A variable that is no Unicode counts as not set.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the environment is read")]
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// A text whose variables are replaced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Substituted {
    pub(crate) text: String,
    /// Whether there was any.
    pub(crate) substituted: bool,
}

/// A `${…}` that cannot be replaced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreplaced<'t> {
    /// From `${` on, as it stands in the text.
    pub(crate) written: &'t str,
    pub(crate) message: String,
}

/// Replaces every `${NAME}` by its variable's value as it is.
#[cfg(test)]
fn substitute<'t>(text: &'t str, environment: &dyn Environment) -> Result<Substituted, Vec<Unreplaced<'t>>> {
    substitute_by(text, environment, |_, value| value)
}

/// Replaces every `${NAME}` by what `written_as` makes of its variable's value. It is told where in `text` the `$` stands.
pub(crate) fn substitute_by<'t>(
    text: &'t str,
    environment: &dyn Environment,
    written_as: impl Fn(usize, String) -> String,
) -> Result<Substituted, Vec<Unreplaced<'t>>> {
    let mut out = Substituted { text: String::with_capacity(text.len()), substituted: false };
    let mut problems = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from_dollar) = rest.split_at(at);
        out.text.push_str(before);
        if let Some(after) = from_dollar.strip_prefix("$${") {
            out.text.push_str("${");
            rest = after;
        } else if let Some(after) = from_dollar.strip_prefix("${") {
            let Some((name, after)) = after.split_once('}') else {
                let message = "`${` is not closed by `}`; write `$${` where a literal `${` is meant".into();
                problems.push(Unreplaced { written: from_dollar, message });
                rest = "";
                break;
            };
            let written = &from_dollar[..name.len() + 3];
            match value_of(name, environment) {
                Ok(value) => out.text.push_str(&written_as(text.len() - from_dollar.len(), value)),
                Err(message) => problems.push(Unreplaced { written, message }),
            }
            out.substituted = true;
            rest = after;
        } else {
            out.text.push('$');
            rest = &from_dollar[1..];
        }
    }
    out.text.push_str(rest);
    if problems.is_empty() { Ok(out) } else { Err(problems) }
}

fn value_of(name: &str, environment: &dyn Environment) -> Result<String, String> {
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    if !is_name {
        let name = name.escape_debug();
        return Err(format!("`{name}` is no name of a variable; write `$${{` where a literal `${{` is meant"));
    }
    match environment.variable(name) {
        None => Err(format!("the environment variable `{name}` is not set")),
        Some(value) if value.is_empty() => Err(format!("the environment variable `{name}` is empty")),
        Some(value) => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("8080".into()),
            "NESTED" => Some("${PORT}".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced_once() {
        for (text, expected, substituted) in [
            ("", "", false),
            ("plain $5 $", "plain $5 $", false),
            ("0.0.0.0:${PORT}", "0.0.0.0:8080", true),
            ("${PORT}${PORT}", "80808080", true),
            ("${NESTED}", "${PORT}", true),
            ("$${PORT}", "${PORT}", false),
            ("$$${PORT}", "$${PORT}", false),
        ] {
            let expected = Substituted { text: expected.into(), substituted };
            assert_eq!(substitute(text, &environment), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_named() {
        for (text, expected) in [
            ("a ${NOPE} b", vec![("${NOPE}", "the environment variable `NOPE` is not set")]),
            ("${EMPTY}", vec![("${EMPTY}", "the environment variable `EMPTY` is empty")]),
            ("${", vec![("${", "`${` is not closed by `}`; write `$${` where a literal `${` is meant")]),
            ("${A B}", vec![("${A B}", "`A B` is no name of a variable; write `$${` where a literal `${` is meant")]),
            (
                "${X}${PORT}${Y}",
                vec![
                    ("${X}", "the environment variable `X` is not set"),
                    ("${Y}", "the environment variable `Y` is not set"),
                ],
            ),
        ] {
            let problems = substitute(text, &environment).expect_err(text);
            let problems: Vec<_> = problems.iter().map(|problem| (problem.written, problem.message.as_str())).collect();
            assert_eq!(problems, expected, "{text}");
        }
    }
}
