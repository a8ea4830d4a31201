//! An effective value, and how it is written as TOML.

use std::fmt::Write as _;
use std::time::Duration;

use crate::scalars::{ByteLimit, show_duration, show_size};
use crate::secret::Secret;

/// An effective value. Two secrets are compared by what they are and shown as `[redacted]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Number(u64),
    Integer(i64),
    Flag(bool),
    List(Vec<Self>),
    Table(Vec<(String, Self)>),
    Secret(Secret),
}

impl Value {
    pub(crate) fn text(text: &(impl ToString + ?Sized)) -> Self {
        Self::Text(text.to_string())
    }

    pub(crate) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> Self {
        Self::List(items.into_iter().map(|item| Self::Text(item.to_string())).collect())
    }

    pub(crate) fn duration(duration: Duration) -> Self {
        Self::Text(show_duration(duration))
    }

    pub(crate) fn byte_limit(limit: ByteLimit) -> Self {
        match limit {
            ByteLimit::Unlimited => Self::text("unlimited"),
            ByteLimit::Bytes(bytes) => Self::Text(show_size(bytes)),
        }
    }

    /// Writes the value as TOML.
    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => write_text(out, text),
            Self::Number(number) => out.push_str(&number.to_string()),
            Self::Integer(number) => out.push_str(&number.to_string()),
            Self::Flag(flag) => out.push_str(&flag.to_string()),
            Self::Secret(secret) => write_text(out, &secret.to_string()),
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { ", " });
                    item.write(out);
                }
                out.push(']');
            }
            Self::Table(entries) => {
                out.push_str("{ ");
                for (index, (key, value)) in entries.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { ", " });
                    write_text(out, key);
                    out.push_str(" = ");
                    value.write(out);
                }
                out.push_str(" }");
            }
        }
    }
}

/// Writes a basic string of TOML, in which nothing is taken for a variable.
fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.replace("${", "$${").chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\u{20}'..='\u{7e}' => out.push(letter),
            _ => {
                write!(out, "\\U{:08X}", u32::from(letter)).expect("a String takes any text");
            }
        }
    }
    out.push('"');
}
