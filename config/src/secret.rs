//! Text that must not be printed.

use std::fmt;
use std::fs::File;
use std::io::Read;

use crate::item::Item;
use crate::reader::Table;

/// The largest file a secret is read from, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A secret from the file, the environment or a file of its own. `Debug` and `Display` redact it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// Where a secret is given.
pub(crate) enum Given<'c> {
    /// In place.
    InPlace(Item<'c>),
    /// In the file that this names.
    InFile(Item<'c>),
}

/// Finds a secret that may be given in place or by the path of a file; both are a contradiction.
pub(crate) fn given<'c>(table: &Table<'c>, key: &'static str, file_key: &'static str) -> Option<Given<'c>> {
    match (table.take(key), table.take(file_key)) {
        (Some(given), Some(file)) => {
            let line = table.reader.line(given.key_offset);
            let message = format!("`{key}` is given on line {line} already; keep one of both");
            table.reader.error(file.key_offset, message);
            None
        }
        (Some(item), None) => Some(Given::InPlace(item)),
        (None, Some(item)) => Some(Given::InFile(item)),
        (None, None) => None,
    }
}

/// Reads a secret that is given in place or by the path of a file, and where it was given.
pub(crate) fn read<'c>(table: &Table<'c>, key: &'static str, file_key: &'static str) -> Option<(Secret, Item<'c>)> {
    match given(table, key, file_key)? {
        Given::InPlace(item) => read_text(&item).map(|secret| (secret, item)),
        Given::InFile(item) => read_file(&item).map(|secret| (secret, item)),
    }
}

/// Reads a secret that is given in place.
pub(crate) fn read_text(item: &Item<'_>) -> Option<Secret> {
    not_empty(item, item.text()?.value)
}

/// Reads a URL that is given in place and may hold a secret.
pub(crate) fn read_url(item: &Item<'_>) -> Option<Secret> {
    not_empty(item, item.url_text()?.value)
}

fn not_empty(item: &Item<'_>, text: String) -> Option<Secret> {
    if text.is_empty() {
        item.error(format!("`{}` is empty", item.key()));
        return None;
    }
    Some(Secret::new(text))
}

/// Reads a secret from the file that a value names, relative to the configuration's folder. The line's end after
/// it is no part of it.
pub(crate) fn read_file(item: &Item<'_>) -> Option<Secret> {
    let text = item.text()?;
    let path = item.reader.folder.join(&text.value);
    let mut content = String::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut content));
    let shown = text.written.escape_debug();
    match read {
        Err(error) => item.error(format!("the file `{shown}` cannot be read: {error}")),
        Ok(bytes) if bytes as u64 > FILE_BYTES_MAX => {
            item.error(format!("the file `{shown}` is too large for a secret"));
        }
        Ok(_) => {
            let secret = content.trim_end_matches(['\r', '\n']);
            if !secret.trim().is_empty() {
                return Some(Secret::new(secret));
            }
            item.error(format!("the file `{shown}` is empty"));
        }
    }
    None
}
