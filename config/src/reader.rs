//! Walks the tables of a file with their places, and collects what is wrong.
//!
//! Owns which keys are known and what is said of those that are not. Deliberately knows no section
//! and no key: those stand in the module of each section. How a value is read stands in `item`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostics::{Diagnostic, Severity};
use crate::environment::Environment;
use crate::item::Item;
use crate::source::{Source, Syntax};
use crate::suggest::nearest;

/// What every table and value read from one file shares.
pub(crate) struct Reader<'c> {
    pub(crate) source: &'c Source<'c>,
    pub(crate) syntax: &'c Syntax<'c>,
    pub(crate) environment: &'c dyn Environment,
    /// Where relative paths begin.
    pub(crate) folder: &'c Path,
    /// Whether plans may be missing that the file was meant to have.
    lost_plans: Cell<bool>,
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
            lost_plans: Cell::new(syntax.lost_plans),
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

    /// Whether plans may be missing that the file was meant to have: then what names one is not wrong.
    pub(crate) fn lost_plans(&self) -> bool {
        self.lost_plans.get()
    }

    /// Remembers that plans may stand in the file under a wrong name.
    pub(crate) fn set_lost_plans(&self) {
        self.lost_plans.set(true);
    }

    /// The line of an offset, for naming the other end of a conflict.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.source.line(offset)
    }

    /// The table that is the whole file.
    pub(crate) fn root(&'c self) -> Table<'c> {
        Table::new(self, "", String::new(), self.syntax.root.get_ref(), 0)
    }

    /// Everything that was found, in the order of the file, and whether any of it is an error.
    pub(crate) fn into_diagnostics(self) -> (Vec<Diagnostic>, bool) {
        self.found.borrow_mut().extend(self.syntax.errors.iter().map(|(offset, message)| Found {
            offset: *offset,
            severity: Severity::Error,
            message: message.clone(),
        }));
        self.into_section_diagnostics()
    }

    /// The same without the file's syntax errors: what was found in the sections that were read.
    pub(crate) fn into_section_diagnostics(self) -> (Vec<Diagnostic>, bool) {
        let found = self.found.into_inner();
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
    /// How diagnostics name it: `[plans.pro]`; empty for the file itself.
    header: String,
    entries: &'c DeTable<'c>,
    /// Where to point when something is missing.
    pub(crate) offset: usize,
    asked: RefCell<Vec<&'static str>>,
    /// Keys of later versions: known, so that they are no typing mistakes, but never suggested.
    later: RefCell<Vec<&'static str>>,
}

impl<'c> Table<'c> {
    pub(crate) fn new(
        reader: &'c Reader<'c>,
        section: &str,
        header: String,
        entries: &'c DeTable<'c>,
        offset: usize,
    ) -> Self {
        let pattern = if section.is_empty() { String::new() } else { format!("{section}.") };
        Self { reader, pattern, header, entries, offset, asked: RefCell::default(), later: RefCell::default() }
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
            .unwrap_or_else(|| Self::new(self.reader, key, String::new(), &EMPTY, self.offset))
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

    /// Every key that was not asked for, with its value: for tables whose keys are the file's own names.
    pub(crate) fn own_keys(&self) -> impl Iterator<Item = (&'c str, Item<'c>)> {
        self.entries.iter().map(|(key, value)| (key.get_ref().as_ref(), self.item(key, value)))
    }

    /// Reports the keys that were not asked for, and returns them.
    pub(crate) fn finish(&self) -> UnknownKeys {
        let asked = self.asked.borrow();
        let later = self.later.borrow();
        let mut unknown = UnknownKeys::default();
        for (key, _) in self.entries {
            let name = key.get_ref().as_ref();
            if name.is_empty() || asked.contains(&name) || later.contains(&name) {
                continue;
            }
            let place = if self.header.is_empty() { String::new() } else { format!(" in {}", self.header) };
            let near = nearest(name, asked.iter().copied());
            let advice = match near {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known are {}", asked.join(", ")),
            };
            self.reader.error(key.span().start, format!("unknown key `{}`{place}; {advice}", name.escape_debug()));
            unknown.keys.push((name.to_owned(), near));
        }
        unknown
    }
}

/// Keys that nobody asked for, with the known key each was probably meant to be.
#[derive(Default)]
pub(crate) struct UnknownKeys {
    keys: Vec<(String, Option<&'static str>)>,
}

impl UnknownKeys {
    /// Whether one of them may be this key under a wrong name, so that its absence is no mistake of its own.
    pub(crate) fn may_hold(&self, key: &str) -> bool {
        self.keys.iter().any(|(name, near)| *near == Some(key) || name.contains(key))
    }
}
