//! The text of a file: where an offset lies in it, and what of it is no TOML.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostics::{Diagnostic, Severity};

/// How many syntax errors are told. What has more of them is no configuration, and nobody reads on.
const SYNTAX_ERRORS_MAX: usize = 100;

/// A file's text, and its name for diagnostics.
pub(crate) struct Source<'c> {
    pub(crate) text: &'c str,
    pub(crate) path: &'c Path,
    /// Offsets at which lines begin.
    lines: Vec<usize>,
}

impl<'c> Source<'c> {
    pub(crate) fn new(text: &'c str, path: &'c Path) -> Self {
        // A byte order mark stands before the first line and is no character of it.
        let first = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let lines = std::iter::once(first).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, path, lines }
    }

    /// The line an offset lies in, from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset).max(1)
    }

    /// A diagnostic at an offset.
    pub(crate) fn diagnostic(&self, offset: usize, severity: Severity, message: String) -> Diagnostic {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.line(offset);
        let before = self.text.get(self.lines[line - 1]..offset).unwrap_or_default();
        Diagnostic { file: self.path.into(), line, column: before.chars().count() + 1, severity, message }
    }

    /// From where to where a line extends, its end included.
    fn extent(&self, line: usize) -> Range<usize> {
        self.lines[line - 1]..self.lines.get(line).copied().unwrap_or(self.text.len())
    }

    /// The line of the header that a line stands under, itself if it is one; 0 before the first.
    fn section(&self, line: usize) -> usize {
        (1..=line).rev().find(|line| header_of(self.line_text(*line)).is_some()).unwrap_or(0)
    }

    /// The next line after this one that begins with a bracket, which a header that was not closed has swallowed.
    fn next_header(&self, line: usize) -> usize {
        (line + 1..=self.lines.len()).find(|line| self.line_text(*line).starts_with('[')).unwrap_or(self.lines.len())
    }

    fn line_text(&self, line: usize) -> &'c str {
        self.text.get(self.extent(line)).unwrap_or_default().trim()
    }
}

/// What a text holds as far as it can be read.
pub(crate) struct Syntax<'c> {
    pub(crate) root: Spanned<DeTable<'c>>,
    /// What is not TOML: offset and message, at most one a line.
    pub(crate) errors: Vec<(usize, String)>,
    /// Stretches in which nothing that was read means anything.
    pub(crate) unreadable: Vec<Range<usize>>,
    /// Whether plans may have been lost with what cannot be read, so that what names one is not wrong.
    pub(crate) lost_plans: bool,
}

impl Syntax<'_> {
    /// Whether a diagnostic at this offset would only repeat a syntax error.
    pub(crate) fn hides(&self, offset: usize) -> bool {
        self.unreadable.iter().any(|stretch| stretch.contains(&offset))
    }
}

/// The text with the lines blanked on which the parser would lose the rest of its section: a key without a value.
/// Every offset stays what it was.
pub(crate) struct Readable<'c> {
    text: Cow<'c, str>,
    errors: Vec<(usize, String)>,
}

impl<'c> Readable<'c> {
    /// How often a text is read anew. Each time finds at least one line more.
    const ROUNDS_MAX: usize = 20;

    pub(crate) fn of(source: &Source<'c>) -> Self {
        let mut readable = Self { text: Cow::Borrowed(source.text), errors: Vec::new() };
        for _ in 0..Self::ROUNDS_MAX {
            let (_, found) = DeTable::parse_recoverable(&readable.text);
            let lost = found.into_iter().filter(|error| error.message().starts_with("key with no value"));
            let lost: Vec<_> = lost.map(|error| (error.span().map_or(0, |span| span.start), error)).collect();
            let before = readable.errors.len();
            for (offset, error) in lost {
                if readable.errors.len() == SYNTAX_ERRORS_MAX {
                    return readable;
                }
                let line = source.line(offset);
                if !readable.errors.iter().any(|(other, _)| source.line(*other) == line) {
                    readable.errors.push((offset, explained(error.message())));
                    readable.blank(source.extent(line));
                }
            }
            if readable.errors.len() == before {
                break;
            }
        }
        readable
    }

    fn blank(&mut self, line: Range<usize>) {
        let blanks: String =
            self.text[line.clone()].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
        self.text.to_mut().replace_range(line, &blanks);
    }
}

/// Reads TOML, going on after what is wrong.
pub(crate) fn read<'c>(source: &Source<'_>, readable: &'c Readable<'_>) -> Syntax<'c> {
    let (root, found) = DeTable::parse_recoverable(&readable.text);
    let found: Vec<(Range<usize>, String)> =
        found.iter().map(|error| (error.span().unwrap_or(0..0), error.message().to_owned())).collect();
    let mut syntax = Syntax { root, errors: readable.errors.clone(), unreadable: Vec::new(), lost_plans: false };
    for (span, message) in &found {
        let never_closed = message.starts_with("unclosed") || message.starts_with("invalid multi-line");
        if let Some(start) = never_closed.then(|| opened_at(syntax.root.get_ref(), span.start)).flatten() {
            syntax.errors.push((start, format!("not TOML: {message}; it begins here")));
            syntax.unreadable.push(start..source.text.len().max(start + 1));
            syntax.lost_plans = true;
        }
    }
    let mut repeated_section = None;
    for (span, message) in found {
        if syntax.errors.len() >= SYNTAX_ERRORS_MAX {
            syntax.lost_plans = true;
            break;
        }
        if syntax.hides(span.start) || syntax.hides(span.start.saturating_sub(1)) {
            continue;
        }
        let line = source.line(span.start);
        if message == "duplicate key" {
            // What is written twice is readable; the first of both stays in force for the other checks. The keys of
            // a section that stands there twice are no mistakes of their own.
            let section = source.section(line);
            if repeated_section != Some(section) {
                syntax.errors.push((span.start, duplicate_message(source, &span)));
            }
            if section == line {
                repeated_section = Some(section);
            }
            continue;
        }
        let last = if message.starts_with("unclosed table") { source.next_header(line) } else { line };
        let stretch = source.extent(line).start..source.extent(last).end;
        syntax.errors.push((span.start, explained(&message)));
        syntax.lost_plans |= header_starts_plan(source.line_text(line));
        syntax.unreadable.push(stretch.start..stretch.end.max(stretch.start + 1));
    }
    syntax
}

/// Where the outermost value began that was still open at `end`, if it spans more than what ends there.
fn opened_at(table: &DeTable<'_>, end: usize) -> Option<usize> {
    table.iter().find_map(|(_, value)| match value.get_ref() {
        DeValue::Table(inner) if value.span().end != end => opened_at(inner, end),
        DeValue::Array(items) if value.span().end != end => items.iter().find_map(|item| match item.get_ref() {
            DeValue::Table(inner) => opened_at(inner, end),
            _ => None,
        }),
        _ => (value.span().end == end && value.span().start < end).then(|| value.span().start),
    })
}

/// Adds what helps most people: nearly always the quotes are missing.
fn explained(message: &str) -> String {
    let unquoted = ["invalid", "string values must be quoted", "unexpected key or value"];
    let advice = if unquoted.iter().any(|start| message.starts_with(start)) { "; texts stand in quotes" } else { "" };
    format!("not TOML: {message}{advice}")
}

/// Names the other end: the line that has the same key, or the same header, before this one.
fn duplicate_message(source: &Source<'_>, span: &Range<usize>) -> String {
    let key = source.text.get(span.clone()).unwrap_or_default();
    let shown = key.escape_debug();
    let line = source.line(span.start);
    let this = source.line_text(line);
    let same = |text: &str| match header_of(this) {
        Some(header) => header_of(text) == Some(header),
        None => text.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(['=', '.'])),
    };
    let first = (1..line)
        .rev()
        // A key belongs to the section it stands in, so the search ends at the section's header.
        .take_while(|earlier| header_of(this).is_some() || header_of(source.line_text(*earlier)).is_none())
        .find(|earlier| same(source.line_text(*earlier)));
    match first {
        Some(first) => format!("duplicate key `{shown}`: line {first} has it already; keep one of them"),
        None => format!("duplicate key `{shown}`: keep one of them"),
    }
}

/// Whether a line, readable or not, was meant as the header of a plan.
fn header_starts_plan(line: &str) -> bool {
    line.strip_prefix('[').is_some_and(|rest| rest.trim_start().starts_with("plan"))
}

/// The header on a line: what stands in `[…]` or `[[…]]`.
fn header_of(line: &str) -> Option<&str> {
    let inner = line.strip_prefix('[')?.trim_start_matches('[');
    inner.split_once(']').map(|(name, _)| name.trim())
}
