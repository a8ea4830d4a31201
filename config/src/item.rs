//! One value of the file: read as what it should be, or reported as what it is.

use toml::Spanned;
use toml::de::DeValue;

use crate::environment;
use crate::reader::{Reader, Table};
use crate::suggest::nearest;
use crate::url_text;

/// A value with its key and place.
pub(crate) struct Item<'c> {
    pub(crate) reader: &'c Reader<'c>,
    /// How diagnostics name it: `gateway.listen`.
    pub(crate) name: String,
    pub(crate) key_offset: usize,
    pub(crate) value: &'c Spanned<DeValue<'c>>,
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
    pub(crate) fn is_vacant(&self) -> bool {
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
        self.text_by(|_, _, value| value)
    }

    /// A URL with its variables replaced, their values percent-encoded as their places ask, so that none can change what
    /// the rest of the URL means.
    pub(crate) fn url_text(&self) -> Option<Text<'c>> {
        self.text_by(url_text::value_in)
    }

    /// A text with its variables replaced by what `written_as` makes of the text, a variable's place in it and its value.
    fn text_by(&self, written_as: impl Fn(&str, usize, String) -> String) -> Option<Text<'c>> {
        let DeValue::String(written) = self.value.get_ref() else { return self.expected("a text in quotes") };
        match environment::substitute_by(written, self.reader.environment, |at, value| written_as(written, at, value)) {
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
        self.count_or_say(least, most, "")
    }

    /// As [`Item::count`], with advice for a number out of bounds.
    pub(crate) fn count_or_say(&self, least: u64, most: u64, advice: &str) -> Option<u64> {
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
            self.error(format!("`{}` must be a whole number from {least} to {most}{advice}", self.key()));
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

    /// Whether it is exactly this word.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.value.get_ref().as_str() == Some(word)
    }

    /// Whether it is the word for no limit.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.is_word("unlimited")
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
                let header = if section == "routes.*" { "[[routes]]".into() } else { format!("[{}]", self.name) };
                Some(Table::new(self.reader, section, header, entries, self.value.span().start))
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
