//! Where text leaves the program: data to standard output, everything said beside it to standard error.
//!
//! It does not know what is printed. A reader that went away is no failure, except for a secret that
//! could be shown only once.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};

use anyhow::Context;
use serde_json::Value;

/// Writes data. A reader that has seen enough (`| head`) ends the output, not the command.
pub(crate) fn data(text: &str) -> anyhow::Result<()> {
    forgive_broken_pipe(write_whole(&mut io::stdout().lock(), text)).context("cannot write to standard output")
}

/// Writes a value as JSON, indented, with a line end.
pub(crate) fn json(value: &Value) -> anyhow::Result<()> {
    data(&json_text(value))
}

/// Writes what can be shown only once: that nobody read it is a failure.
pub(crate) fn secret(text: &str) -> io::Result<()> {
    write_whole(&mut io::stdout().lock(), text)
}

/// The text that `json` writes.
pub(crate) fn json_text(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Says something beside the data. Where standard error is closed nobody listens, and nothing is lost.
pub(crate) fn note(text: &str) {
    let mut stderr = io::stderr().lock();
    drop(write_whole(&mut stderr, &format!("{text}\n")));
}

/// Asks something: what is said beside the data, without a line end.
pub(crate) fn ask(text: &str) {
    let mut stderr = io::stderr().lock();
    drop(write_whole(&mut stderr, text));
}

/// Writes a part of data that comes in parts. False when the reader has seen enough and no more is to be written.
pub(crate) fn part(text: &[u8]) -> anyhow::Result<bool> {
    match io::stdout().lock().write_all(text) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// A table for people: columns as wide as their widest cell, two spaces between them. The last column ends the line.
pub(crate) fn table<const COLUMNS: usize>(headings: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let rows: Vec<[String; COLUMNS]> = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| if cell.is_empty() { "-".to_owned() } else { visible(cell) }))
        .collect();
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut push_line = |cells: [&str; COLUMNS]| {
        let mut line = String::new();
        for (cell, width) in cells.into_iter().zip(widths) {
            write!(line, "{cell:<width$}  ").expect("writing to a string cannot fail");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    push_line(headings);
    for row in &rows {
        push_line(row.each_ref().map(String::as_str));
    }
    text
}

/// A text whose control and formatting characters are spelt out, so that no stored name can drive the
/// reader's terminal or break a line in two.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        let steers = character.is_control()
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if steers { out.extend(character.escape_unicode()) } else { out.push(character) }
    }
    out
}

fn write_whole(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn forgive_broken_pipe(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["key_1".to_owned(), "a long name".to_owned(), "active".to_owned()],
            ["key_22".to_owned(), String::new(), String::new()],
        ];
        let expected = "ID      NAME         STATE\nkey_1   a long name  active\nkey_22  -            -\n";
        assert_eq!(table(["ID", "NAME", "STATE"], &rows), expected);
        assert_eq!(table(["ID", "NAME"], &[]), "ID  NAME\n");
    }

    #[test]
    fn a_stored_name_cannot_drive_the_terminal() {
        for (text, expected) in [
            ("Zoë & Søn", "Zoë & Søn"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("one\ntwo", "one\\u{a}two"),
            ("abc\u{202e}fdp", "abc\\u{202e}fdp"),
        ] {
            assert_eq!(visible(text), expected);
        }
        let text = table(["NAME"], &[["one\ntwo".to_owned()]]);
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn only_a_broken_pipe_is_forgiven() {
        assert!(forgive_broken_pipe(Err(io::Error::from(ErrorKind::BrokenPipe))).is_ok());
        assert!(forgive_broken_pipe(Err(io::Error::from(ErrorKind::StorageFull))).is_err());
    }
}
