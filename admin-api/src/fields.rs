//! Reading a JSON object field by field, so that everything wrong with it is told at once, each with a pointer.
//!
//! It knows forms (texts, numbers, lists), not meanings: what an e-mail or a rate looks like stands in `inputs`.

use serde_json::{Map, Value};

use crate::problem::{FieldError, Problem};

/// Longest part of a refused value that an answer repeats, in characters.
const SHOWN_CHARS_MAX: usize = 60;

/// An object whose fields are taken one after another; what is left at the end is unknown.
pub(crate) struct Fields {
    object: Map<String, Value>,
    at: String,
    line: Option<u64>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// The fields of a request's body.
    ///
    /// # Errors
    /// The body is JSON, but no object.
    pub(crate) fn of(body: Value) -> Result<Self, Problem> {
        Self::at(body, "#".into()).map_err(|error| Problem::invalid_fields(vec![error]))
    }

    /// The fields of an object that stands at this pointer.
    ///
    /// # Errors
    /// There is something else than an object.
    pub(crate) fn at(value: Value, at: String) -> Result<Self, FieldError> {
        match value {
            Value::Object(object) => Ok(Self { object, at, line: None, errors: Vec::new() }),
            other => Err(FieldError {
                pointer: Some(at),
                detail: format!("this is {}; send a JSON object", kind(&other)),
                ..FieldError::default()
            }),
        }
    }

    /// The line of a file that the object came from, told with every error after this.
    pub(crate) fn set_line(&mut self, line: Option<u64>) {
        self.line = line;
    }

    /// Says what is wrong with a field.
    pub(crate) fn refuse(&mut self, name: &str, detail: impl Into<String>) {
        let escaped = name.replace('~', "~0").replace('/', "~1");
        self.errors.push(FieldError {
            pointer: Some(format!("{}/{escaped}", self.at)),
            line: self.line,
            column: self.line.map(|_| name.into()),
            detail: detail.into(),
            ..FieldError::default()
        });
    }

    /// Whether a field was sent, be it null.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.object.contains_key(name)
    }

    /// Whether a field was sent and is not null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.object.get(name).is_some_and(|value| !value.is_null())
    }

    /// Takes a field, read by `read`; absent and null are the same. A refused value is told and counts as absent.
    pub(crate) fn take<T>(&mut self, name: &str, read: impl FnOnce(Value) -> Result<T, String>) -> Option<T> {
        let value = self.object.remove(name).filter(|value| !value.is_null())?;
        match read(value) {
            Ok(value) => Some(value),
            Err(detail) => {
                self.refuse(name, detail);
                None
            }
        }
    }

    /// Takes a text, read by `read`.
    pub(crate) fn text<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        self.take(name, |value| read(&text(value)?))
    }

    /// Takes a text that must be there.
    pub(crate) fn required_text<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        if !self.has(name) {
            self.object.remove(name);
            self.refuse(name, format!("`{name}` is missing"));
            return None;
        }
        self.text(name, read)
    }

    /// Takes a cell of a row: a text or a number, as the file's reader sent it; an empty one is absent.
    pub(crate) fn cell<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let cell = self.object.remove(name)?;
        let text = match cell {
            Value::Null => return None,
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            other => {
                self.refuse(name, format!("this is {}; send a text or a number", kind(&other)));
                return None;
            }
        };
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return None;
        }
        match read(trimmed) {
            Ok(value) => Some(value),
            Err(detail) => {
                self.refuse(name, detail);
                None
            }
        }
    }

    /// Takes a cell that must be there.
    pub(crate) fn required_cell<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let errors_before = self.errors.len();
        let value = self.cell(name, read);
        if value.is_none() && self.errors.len() == errors_before {
            self.refuse(name, format!("`{name}` is missing"));
        }
        value
    }

    /// Takes a yes or no; absent is no.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        self.take(name, |value| value.as_bool().ok_or_else(|| wrong(&value, "true or false"))).unwrap_or(false)
    }

    /// Takes a whole number from zero.
    pub(crate) fn count(&mut self, name: &str) -> Option<u64> {
        self.take(name, |value| value.as_u64().ok_or_else(|| wrong(&value, "a whole number from 0")))
    }

    /// Takes a list of texts, each read by `read`; absent is empty.
    pub(crate) fn texts<T>(
        &mut self,
        name: &str,
        entries_max: usize,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let list = self.take(name, |value| match value {
            Value::Array(list) if list.len() > entries_max => {
                Err(format!("{} entries are too many: at most {entries_max}", list.len()))
            }
            Value::Array(list) => Ok(list),
            other => Err(wrong(&other, "a list of texts")),
        });
        let mut read_entries = Vec::new();
        for (index, entry) in list.unwrap_or_default().into_iter().enumerate() {
            match text(entry).and_then(|entry| read(&entry)) {
                Ok(entry) => read_entries.push(entry),
                Err(detail) => {
                    self.refuse(name, detail);
                    let pointer = format!("{}/{name}/{index}", self.at);
                    self.errors.last_mut().expect("it was just added").pointer = Some(pointer);
                }
            }
        }
        read_entries
    }

    /// Takes a list of anything.
    pub(crate) fn required_list(&mut self, name: &str) -> Option<Vec<Value>> {
        if !self.has(name) {
            self.object.remove(name);
            self.refuse(name, format!("`{name}` is missing"));
            return None;
        }
        self.take(name, |value| match value {
            Value::Array(list) => Ok(list),
            other => Err(wrong(&other, "a list")),
        })
    }

    /// Everything that was wrong, what is left over included.
    pub(crate) fn into_errors(mut self, known: &[&str]) -> Vec<FieldError> {
        let unknown: Vec<String> = self.object.keys().cloned().collect();
        for name in unknown {
            let detail = format!("`{}` is not known here; known are {}", shown(&name), known.join(", "));
            self.refuse(&name, detail);
        }
        self.errors
    }

    /// The request that was read, if nothing was wrong with it. `known` names every field, for the advice.
    ///
    /// # Errors
    /// Everything that was wrong.
    pub(crate) fn finish<T>(self, known: &[&str], request: Option<T>) -> Result<T, Problem> {
        let errors = self.into_errors(known);
        match request {
            Some(request) if errors.is_empty() => Ok(request),
            None if errors.is_empty() => Err(Problem::internal("a request was refused without a reason")),
            _ => Err(Problem::invalid_fields(errors)),
        }
    }
}

/// A value as an answer may repeat it: short, and without control characters.
pub(crate) fn shown(text: &str) -> String {
    let clean = |character: char| if character.is_control() { '\u{fffd}' } else { character };
    let mut short: String = text.chars().take(SHOWN_CHARS_MAX).map(clean).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}

fn text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(wrong(&other, "a text")),
    }
}

fn wrong(value: &Value, wanted: &str) -> String {
    format!("this is {}; send {wanted}", kind(value))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_u64() => "a number",
        Value::Number(_) => "a number that is negative or not whole",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_wrong_is_told_at_once_with_pointers() {
        let body = json!({"name": 7, "list": ["a", 1], "cap": -1, "a/b~c": true});
        let mut fields = Fields::of(body).expect("an object");
        assert_eq!(fields.required_text("email", |text| Ok(text.to_owned())), None);
        assert_eq!(fields.text("name", |text| Ok(text.to_owned())), None);
        assert_eq!(fields.texts("list", 9, |text| Ok(text.to_owned())), ["a"]);
        assert_eq!(fields.count("cap"), None);
        let pointers: Vec<_> = fields.into_errors(&["email"]).into_iter().filter_map(|error| error.pointer).collect();
        assert_eq!(pointers, ["#/email", "#/name", "#/list/1", "#/cap", "#/a~1b~0c"]);
    }

    #[test]
    fn cells_may_be_texts_or_numbers_and_empty_ones_are_absent() {
        let mut row =
            Fields::at(json!({"a": " 5 ", "b": 5, "c": "", "d": null, "e": []}), "#/rows/0".into()).expect("an object");
        row.set_line(Some(2));
        let read = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
        assert_eq!(["a", "b", "c", "d", "e"].map(|name| row.cell(name, read)), [Some(5), Some(5), None, None, None]);
        let errors = row.into_errors(&[]);
        assert_eq!(errors.len(), 1);
        assert_eq!((errors[0].line, errors[0].column.as_deref()), (Some(2), Some("e")));
    }

    #[test]
    fn a_repeated_value_is_short_and_clean() {
        assert_eq!(shown("a\u{1b}[31m\nb"), "a\u{fffd}[31m\u{fffd}b");
        assert_eq!(shown(&"é".repeat(100)).chars().count(), SHOWN_CHARS_MAX + 1);
    }
}
