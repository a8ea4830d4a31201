//! Walks the tree of a file's values with their places, and collects what is wrong.
//!
//! Owns how a value of each kind is read and what is said when it is of another. Deliberately
//! knows no section and no key: those stand in the module of each section.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostics::{Diagnostic, Severity};
use crate::environment::{self, Environment};
use crate::source::{Source, Syntax};
use crate::suggest::nearest;

/// What every table and value read from one file shares.
pub(crate) struct Reader<'c> {
    pub(crate) source: &'c Source<'c>,
    pub(crate) syntax: &'c Syntax<'c>,
    pub(crate) environment: &'c dyn Environment,
    /// Where relative paths begin.
    pub(crate) folder: &'c Path,
    /// Whether sections may be missing that the file was meant to have.
    lost_sections: Cell<bool>,
    found: RefCell<BTreeSet<Found>>,
    #[cfg(test)]
    known_keys: RefCell<BTreeSet<String>>,
}

/// A problem in the order of the file.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    offset: usize,
    severity: Severity,
    message: String,
}

impl<'c> Reader<'c> {
    pub(crate) fn new(
        source: &'c Source<'c>,
        syntax: &'c Syntax<'c>,
        environment: &'c dyn Environment,
        folder: &'c Path,
    ) -> Self {
        Self {
            source,
            syntax,
            environment,
            folder,
            lost_sections: Cell::new(syntax.lost_sections),
            found: RefCell::default(),
            #[cfg(test)]
            known_keys: RefCell::default(),
        }
    }

    /// Reports an error, unless it only follows from one in the syntax.
    pub(crate) fn error(&self, offset: usize, message: impl Into<String>) {
        self.report(offset, Severity::Error, message.into());
    }

    /// Reports something doubtful.
    pub(crate) fn warning(&self, offset: usize, message: impl Into<String>) {
        self.report(offset, Severity::Warning, message.into());
    }

    fn report(&self, offset: usize, severity: Severity, message: String) {
        if !self.syntax.hides(offset) {
            self.found.borrow_mut().insert(Found { offset, severity, message });
        }
    }

    /// Whether sections may be missing that the file was meant to have: then what names them is not wrong.
    pub(crate) fn lost_sections(&self) -> bool {
        self.lost_sections.get()
    }

    /// Remembers that a section may stand in the file under a wrong name.
    pub(crate) fn set_lost_sections(&self) {
        self.lost_sections.set(true);
    }

    /// The line of an offset, for naming the other end of a conflict.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.source.line(offset)
    }

    /// The table that is the whole file.
    pub(crate) fn root(&'c self) -> Table<'c> {
        Table::new(self, String::new(), self.syntax.root.get_ref(), 0)
    }

    /// Everything found, syntax errors among it, in the order of the file; and whether any of it is an error.
    pub(crate) fn into_diagnostics(self) -> (Vec<Diagnostic>, bool) {
        let mut found = self.found.into_inner();
        found.extend(self.syntax.errors.iter().map(|(offset, message)| Found {
            offset: *offset,
            severity: Severity::Error,
            message: message.clone(),
        }));
        let errors = found.iter().any(|found| found.severity == Severity::Error);
        let place = |found: Found| self.source.diagnostic(found.offset, found.severity, found.message);
        (found.into_iter().map(place).collect(), errors)
    }

    /// Every key that was asked for, as `gateway.listen`, `plans.*.rate` or `routes.*.path`.
    #[cfg(test)]
    pub(crate) fn known_keys(&self) -> BTreeSet<String> {
        self.known_keys.borrow().clone()
    }
}

/// A table whose keys are asked for one by one; what is left at [`Table::finish`] is unknown.
pub(crate) struct Table<'c> {
    pub(crate) reader: &'c Reader<'c>,
    /// How its keys are named: `gateway.`, `plans.*.`; empty for the file itself.
    pattern: String,
    entries: &'c DeTable<'c>,
    /// Where to point when something is missing.
    pub(crate) offset: usize,
    asked: RefCell<Vec<&'static str>>,
    /// Keys of later versions: known, so that they are no typing mistakes, but never suggested.
    later: RefCell<Vec<&'static str>>,
}

impl<'c> Table<'c> {
    fn new(reader: &'c Reader<'c>, pattern: String, entries: &'c DeTable<'c>, offset: usize) -> Self {
        Self { reader, pattern, entries, offset, asked: RefCell::default(), later: RefCell::default() }
    }

    /// The value of a key, if it is there.
    pub(crate) fn take(&self, key: &'static str) -> Option<Item<'c>> {
        self.asked.borrow_mut().push(key);
        #[cfg(test)]
        self.reader.known_keys.borrow_mut().insert(format!("{}{key}", self.pattern));
        self.get(key)
    }

    fn get(&self, key: &str) -> Option<Item<'c>> {
        self.entries.get_key_value(key).map(|(key, value)| self.item(key, value))
    }

    fn item(&self, key: &'c Spanned<std::borrow::Cow<'c, str>>, value: &'c Spanned<DeValue<'c>>) -> Item<'c> {
        let pattern = format!("{}{}", self.pattern, key.get_ref());
        Item { reader: self.reader, name: pattern, key_offset: key.span().start, value }
    }

    /// The table under a key; an empty one when it is absent or no table, so that its keys are known all the same.
    pub(crate) fn section(&self, key: &'static str) -> Self {
        static EMPTY: LazyLock<DeTable<'static>> = LazyLock::new(DeTable::new);
        self.take(key)
            .and_then(|item| item.table(key))
            .unwrap_or_else(|| Self::new(self.reader, format!("{key}."), &EMPTY, self.offset))
    }

    /// Reads a key into its place; what is absent or wrong leaves the place as it is.
    pub(crate) fn read<T>(&self, key: &'static str, place: &mut T, read: impl FnOnce(&Item<'c>) -> Option<T>) {
        if let Some(value) = self.take(key).and_then(|item| read(&item)) {
            *place = value;
        }
    }

    /// As [`Table::read`], into a place that may stay empty.
    pub(crate) fn read_optional<T>(
        &self,
        key: &'static str,
        place: &mut Option<T>,
        read: impl FnOnce(&Item<'c>) -> Option<T>,
    ) {
        if let Some(value) = self.take(key).and_then(|item| read(&item)) {
            *place = Some(value);
        }
    }

    /// A key that only a later version knows. Where it says the same as its absence it is let pass.
    pub(crate) fn later(&self, key: &'static str, what: &str) {
        self.later.borrow_mut().push(key);
        if let Some(item) = self.get(key).filter(|item| !item.is_vacant()) {
            item.later(what);
        }
    }

    /// A section that only a later version knows.
    pub(crate) fn later_section(&self, key: &'static str, what: &str) {
        self.later.borrow_mut().push(key);
        if let Some(item) = self.get(key) {
            self.reader.error(item.key_offset, format!("[{key}] ({what}) comes with a later version; remove it"));
        }
    }

    /// Every key that was not asked for, with its value: for tables whose keys are the file's own names.
    pub(crate) fn own_keys(&self) -> impl Iterator<Item = (&'c str, Item<'c>)> {
        self.entries.iter().map(|(key, value)| (key.get_ref().as_ref(), self.item(key, value)))
    }

    /// Reports the keys that were not asked for. True when there are none: otherwise a key that seems to be missing
    /// may be there under a wrong name, and its absence is not worth a report.
    pub(crate) fn finish(&self) -> bool {
        let mut all_known = true;
        let asked = self.asked.borrow();
        let later = self.later.borrow();
        for (key, _) in self.entries {
            let name = key.get_ref().as_ref();
            if name.is_empty() || asked.contains(&name) || later.contains(&name) {
                continue;
            }
            all_known = false;
            let place = match self.pattern.strip_suffix('.') {
                None => String::new(),
                Some(section) => format!(" in [{section}]"),
            };
            let advice = match nearest(name, asked.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known are {}", asked.join(", ")),
            };
            self.reader.error(key.span().start, format!("unknown key `{}`{place}; {advice}", name.escape_debug()));
        }
        all_known
    }
}

/// A value with its key and place.
pub(crate) struct Item<'c> {
    pub(crate) reader: &'c Reader<'c>,
    /// How diagnostics name it: `gateway.listen`.
    pub(crate) name: String,
    pub(crate) key_offset: usize,
    value: &'c Spanned<DeValue<'c>>,
}

/// A text, its variables replaced.
pub(crate) struct Text<'c> {
    pub(crate) value: String,
    /// As it stands in the file, variables by name. What a diagnostic may show.
    pub(crate) written: &'c str,
    /// Whether a variable was replaced, so that the value may be a secret.
    pub(crate) substituted: bool,
}

impl<'c> Item<'c> {
    /// Where the value begins.
    pub(crate) fn offset(&self) -> usize {
        self.value.span().start
    }

    /// The last part of its name: the key itself.
    pub(crate) fn key(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    /// Reports an error at the value.
    pub(crate) fn error(&self, message: impl Into<String>) {
        self.reader.error(self.offset(), message);
    }

    /// Reports that only a later version knows it.
    pub(crate) fn later(&self, what: &str) {
        let key = self.key();
        self.reader.error(self.key_offset, format!("`{key}` ({what}) comes with a later version; remove it"));
    }

    /// Whether it is `false`, `[]` or `{}`: as good as absent.
    fn is_vacant(&self) -> bool {
        match self.value.get_ref() {
            DeValue::Boolean(flag) => !flag,
            DeValue::Array(items) => items.is_empty(),
            DeValue::Table(entries) => entries.is_empty(),
            _ => false,
        }
    }

    pub(crate) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    pub(crate) fn is_list(&self) -> bool {
        self.value.get_ref().is_array()
    }

    pub(crate) fn is_text(&self) -> bool {
        self.value.get_ref().is_str()
    }

    /// Reports that the value is of another kind.
    pub(crate) fn expected<T>(&self, what: &str) -> Option<T> {
        let kind = self.value.get_ref().type_str();
        self.error(format!("`{}` must be {what}, not {} {kind}", self.key(), article(kind)));
        None
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self) -> Option<bool> {
        match self.value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            _ => self.expected("true or false"),
        }
    }

    /// A text with its variables replaced.
    pub(crate) fn text(&self) -> Option<Text<'c>> {
        let DeValue::String(written) = self.value.get_ref() else { return self.expected("a text in quotes") };
        match environment::substitute(written, self.reader.environment) {
            Ok(value) => {
                let substituted = value.substituted;
                Some(Text { value: value.text, written: written.as_ref(), substituted })
            }
            Err(problems) => {
                let span = self.value.span();
                let raw = self.reader.source.text.get(span.clone()).unwrap_or_default();
                for problem in problems {
                    let within = raw.find(problem.written).unwrap_or(0);
                    self.reader.error(span.start + within, problem.message);
                }
                None
            }
        }
    }

    /// A text that `parse` understands; `expected` says what that is, such as "a path".
    pub(crate) fn parse<T>(&self, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.text()?;
        let parsed = parse(&text.value);
        if parsed.is_none() {
            self.refuse(&text, expected);
        }
        parsed
    }

    /// As [`Item::parse`], where `parse` can say what is wrong. Its words may repeat the text, so they are kept back
    /// when that came from a variable.
    pub(crate) fn parse_or_say<T>(&self, expected: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text()?;
        match parse(&text.value) {
            Ok(parsed) => return Some(parsed),
            Err(_) if text.substituted => self.refuse(&text, expected),
            Err(message) => self.error(message),
        }
        None
    }

    /// Reports that a text is not what was expected.
    pub(crate) fn refuse(&self, text: &Text<'_>, expected: &str) {
        let variables = if text.substituted { " with its variables replaced" } else { "" };
        self.error(format!("`{}`{variables} is not {expected}", text.written.escape_debug()));
    }

    /// One of these words.
    pub(crate) fn word<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text()?;
        let meaning = words.iter().find(|(word, _)| *word == text.value).map(|(_, meaning)| *meaning);
        if meaning.is_none() {
            let all: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            let hint = match nearest(text.written, words.iter().map(|(word, _)| *word)) {
                Some(word) => format!("; did you mean \"{word}\"?"),
                None => String::new(),
            };
            self.refuse(&text, &format!("one of {}{hint}", all.join(", ")));
        }
        meaning
    }

    /// A whole number in these bounds, as an integer or as a text, underscores between digits allowed.
    pub(crate) fn count(&self, least: u64, most: u64) -> Option<u64> {
        let count = match self.value.get_ref() {
            DeValue::Integer(integer) => match i128::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(number) => u64::try_from(number).ok(),
                Err(_) => None,
            },
            DeValue::String(_) => {
                self.parse("a whole number from 0, such as 10_000", tollgate_domain::parse_count).map(Some)?
            }
            _ => return self.expected("a whole number"),
        };
        let count = count.filter(|count| (least..=most).contains(count));
        if count.is_none() {
            self.error(format!("`{}` must be a whole number from {least} to {most}", self.key()));
        }
        count
    }

    /// A whole number that may be negative.
    pub(crate) fn integer(&self) -> Option<i64> {
        let DeValue::Integer(integer) = self.value.get_ref() else { return self.expected("a whole number") };
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        if number.is_none() {
            self.error(format!("`{}` is too large", self.key()));
        }
        number
    }

    /// Whether it is the word for no limit.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.value.get_ref().as_str() == Some("unlimited")
    }

    /// Whether it is the star for everything.
    pub(crate) fn is_star(&self) -> bool {
        self.value.get_ref().as_str() == Some("*")
    }

    /// A list.
    pub(crate) fn list(&self) -> Option<Vec<Self>> {
        match self.value.get_ref() {
            DeValue::Array(items) => Some(items.iter().map(|value| self.element(value)).collect()),
            _ => self.expected("a list in brackets"),
        }
    }

    /// A list, or one value in its place.
    pub(crate) fn one_or_list(&self) -> Vec<Self> {
        match self.value.get_ref() {
            DeValue::Array(items) => items.iter().map(|value| self.element(value)).collect(),
            _ => vec![self.element(self.value)],
        }
    }

    fn element(&self, value: &'c Spanned<DeValue<'c>>) -> Self {
        Self { reader: self.reader, name: self.name.clone(), key_offset: value.span().start, value }
    }

    /// A list of which each item is read by `read`, none twice. `None` when any item is wrong.
    pub(crate) fn list_of<T: PartialEq>(&self, read: impl FnMut(&Self) -> Option<T>) -> Option<Vec<T>> {
        distinct(&self.list()?, read)
    }

    /// As [`Item::list_of`], or one value in its place.
    pub(crate) fn one_or_list_of<T: PartialEq>(&self, read: impl FnMut(&Self) -> Option<T>) -> Option<Vec<T>> {
        distinct(&self.one_or_list(), read)
    }

    /// A table; `section` is how its keys are named, such as `plans.*`.
    pub(crate) fn table(&self, section: &str) -> Option<Table<'c>> {
        match self.value.get_ref() {
            DeValue::Table(entries) => {
                Some(Table::new(self.reader, format!("{section}."), entries, self.value.span().start))
            }
            DeValue::Array(_) => {
                self.reader.error(self.key_offset, format!("write [{section}] once, without double brackets"));
                None
            }
            _ => self.expected("a table"),
        }
    }
}

fn distinct<'c, T: PartialEq>(items: &[Item<'c>], mut read: impl FnMut(&Item<'c>) -> Option<T>) -> Option<Vec<T>> {
    let mut values: Vec<T> = Vec::with_capacity(items.len());
    let mut all_good = true;
    for item in items {
        match read(item) {
            Some(value) if values.contains(&value) => {
                item.error("this stands in the list already; remove it");
                all_good = false;
            }
            Some(value) => values.push(value),
            None => all_good = false,
        }
    }
    all_good.then_some(values)
}

fn article(kind: &str) -> &'static str {
    if kind.starts_with(['a', 'i']) { "an" } else { "a" }
}
