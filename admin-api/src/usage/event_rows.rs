//! Reported events, read and judged field by field. Whose they are is asked elsewhere.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tollgate_domain::{DAY_US, KeyId, MINUTE_US, MeterName, Timestamp};

use super::meters::KnownMeters;
use crate::fields::{Fields, shown};
use crate::inputs;
use crate::problem::FieldError;

/// Events one request may bring.
pub(super) const EVENTS_MAX: usize = 1_000;
/// Errors that are listed of one request; what is beyond waits for the next try.
const ERRORS_MAX: usize = 1_000;
/// Longest id of an event, in characters.
const ID_CHARS_MAX: usize = 128;
/// Units of one meter that one event may bring: a thousand such events still add up to what limiters count exactly.
const UNITS_MAX: u64 = 1_000_000_000_000;
/// Meters one event may count.
const METERS_MAX: usize = 16;
/// Dimensions one event may have.
const DIMENSIONS_MAX: usize = 16;
/// Longest name of a dimension, in characters.
const DIMENSION_CHARS_MAX: usize = 32;
/// Longest value of a dimension, in characters.
const VALUE_CHARS_MAX: usize = 256;
/// Largest metadata of an event, in bytes of JSON.
const METADATA_BYTES_MAX: usize = 4_096;
/// How long ago an event may have happened: as Stripe takes them.
const AGE_US_MAX: i64 = 35 * DAY_US;
/// How far a reporter's clock may be ahead.
const AHEAD_US_MAX: i64 = 5 * MINUTE_US;
/// Every field of an event, for the advice on unknown ones.
const KNOWN: &[&str] = &["id", "account", "key", "type", "quantity", "meters", "at", "dimensions", "metadata"];

/// An event as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EventRow {
    /// Where it stood in the body, as a JSON pointer in its fragment form.
    pub(super) pointer: String,
    pub(super) id: String,
    /// An account's id or e-mail, as it was sent.
    pub(super) account: Option<String>,
    pub(super) key: Option<KeyId>,
    /// At least one.
    pub(super) meters: BTreeMap<MeterName, u64>,
    pub(super) at: Timestamp,
    pub(super) dimensions: BTreeMap<String, String>,
    pub(super) metadata: Value,
}

/// Reads `{"events": [...]}`, or one event.
///
/// # Errors
/// Everything that is wrong with any of them.
pub(super) fn read(mut body: Fields, known: &KnownMeters, now: Timestamp) -> Result<Vec<EventRow>, Vec<FieldError>> {
    if !body.contains("events") {
        return event(body, "#", known, now).map(|row| vec![row]);
    }
    let events = body.required_list("events").unwrap_or_default();
    if events.len() > EVENTS_MAX {
        body.refuse("events", format!("at most {EVENTS_MAX} events are taken at once; these are {}", events.len()));
        return Err(body.into_errors(&["events"]));
    }
    let mut errors = body.into_errors(&["events"]);
    let mut rows = Vec::with_capacity(events.len());
    for (at, sent) in events.into_iter().enumerate() {
        let pointer = format!("#/events/{at}");
        let read = Fields::at(sent, pointer.clone()).map_err(|error| vec![error]);
        match read.and_then(|fields| event(fields, &pointer, known, now)) {
            Ok(row) => rows.push(row),
            Err(wrong) => errors.extend(wrong),
        }
        if errors.len() >= ERRORS_MAX {
            break;
        }
    }
    if errors.is_empty() { Ok(rows) } else { Err(errors) }
}

/// Whether a text may name a dimension: so that it can stand in a query's parameter.
///
/// # Errors
/// It may not; says what may.
pub(super) fn dimension_name(text: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if (1..=DIMENSION_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_plain) {
        return Ok(());
    }
    Err(format!("`{}` cannot name a dimension: 1 to {DIMENSION_CHARS_MAX} letters, digits and `_-.`", shown(text)))
}

fn event(mut fields: Fields, pointer: &str, known: &KnownMeters, now: Timestamp) -> Result<EventRow, Vec<FieldError>> {
    let mut errors = Vec::new();
    let id = fields.required_text("id", id);
    let account = fields.text("account", |text| Ok(text.trim().to_owned()));
    // What was sent is not repeated: it may be a raw key in the wrong place.
    let key = fields.text("key", |text| text.parse::<KeyId>().map_err(|_| "this is not a key's id (key_…)".to_owned()));
    let meters = meters(&mut fields, pointer, known, &mut errors);
    let at = fields.text("at", |text| match inputs::instant(text)? {
        at if at > now + AHEAD_US_MAX => Err(format!("{at} lies more than 5 minutes ahead; it is {now} here")),
        at if at < now + -AGE_US_MAX => Err(format!("{at} is more than 35 days ago, which is too late to be counted")),
        at => Ok(at),
    });
    let dimensions = dimensions(&mut fields, pointer, &mut errors);
    let metadata = fields.take("metadata", |value| match value {
        Value::Object(_) if value.to_string().len() > METADATA_BYTES_MAX => {
            Err(format!("this is too large: at most {METADATA_BYTES_MAX} bytes of JSON"))
        }
        Value::Object(_) => Ok(value),
        _ => Err("send an object".into()),
    });
    errors.extend(fields.into_errors(KNOWN));
    match id {
        Some(id) if errors.is_empty() => Ok(EventRow {
            pointer: pointer.into(),
            id,
            account,
            key,
            meters,
            at: at.unwrap_or(now),
            dimensions,
            metadata: metadata.unwrap_or_else(|| Value::Object(Map::new())),
        }),
        _ => Err(errors),
    }
}

/// `type` with its `quantity`, which is 1 if left out, and `meters`: one of them or both, no meter twice.
fn meters(
    fields: &mut Fields,
    pointer: &str,
    known: &KnownMeters,
    errors: &mut Vec<FieldError>,
) -> BTreeMap<MeterName, u64> {
    let (has_type, has_meters) = (fields.has("type"), fields.has("meters"));
    let has_quantity = fields.has("quantity");
    let kind = fields.text("type", |text| known.named(text));
    let quantity = fields.take("quantity", |value| units(&value));
    let mut counted = BTreeMap::new();
    if has_quantity && !has_type {
        fields.refuse("quantity", "a quantity needs a `type`, the name of the meter it counts");
    }
    if !has_type && !has_meters {
        fields.refuse("type", "send `type`, the name of a meter, or `meters`, such as {\"tokens\": 1200}");
    }
    for (name, value) in object(fields, "meters", METERS_MAX, "meter") {
        let mut cell = Fields::at(Value::Object(Map::from_iter([(name.clone(), value)])), format!("{pointer}/meters"))
            .expect("an object was just made");
        match known.named(&name) {
            Err(detail) => cell.refuse(&name, detail),
            Ok(meter) if kind.as_ref() == Some(&meter) => {
                cell.refuse(&name, "this meter is the event's `type` already; count it in one place");
            }
            Ok(meter) => {
                if !cell.has(&name) {
                    cell.refuse(&name, "this is null; send a whole number from 0");
                } else if let Some(units) = cell.take(&name, |value| units(&value)) {
                    counted.insert(meter, units);
                }
            }
        }
        errors.extend(cell.into_errors(&[]).into_iter().take(1));
    }
    if has_meters && !has_type && counted.is_empty() && errors.is_empty() {
        fields.refuse("meters", "this names no meter; an event counts at least one");
    }
    counted.extend(kind.map(|kind| (kind, quantity.unwrap_or(1))));
    counted
}

fn units(value: &Value) -> Result<u64, String> {
    match value.as_u64() {
        Some(units) if units <= UNITS_MAX => Ok(units),
        Some(units) => Err(format!("{units} is more than one event may bring: at most {UNITS_MAX}")),
        None => Err("send a whole number from 0".into()),
    }
}

fn dimensions(fields: &mut Fields, pointer: &str, errors: &mut Vec<FieldError>) -> BTreeMap<String, String> {
    let mut dimensions = BTreeMap::new();
    for (name, value) in object(fields, "dimensions", DIMENSIONS_MAX, "dimension") {
        match dimension_name(&name).and_then(|()| dimension_value(value)) {
            Ok(value) => {
                dimensions.insert(name, value);
            }
            Err(detail) => {
                let name = name.replace('~', "~0").replace('/', "~1");
                let pointer = Some(format!("{pointer}/dimensions/{name}"));
                errors.push(FieldError { pointer, detail, ..FieldError::default() });
            }
        }
    }
    dimensions
}

/// Texts as they are; numbers and yes or no as they are written.
fn dimension_value(value: Value) -> Result<String, String> {
    let text = match value {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => return Err("send a text, a number, or true or false".into()),
    };
    if text.chars().count() > VALUE_CHARS_MAX {
        return Err(format!("this is too long: at most {VALUE_CHARS_MAX} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err("this holds a control character".into());
    }
    Ok(text)
}

/// The entries of a field that is an object; absent and null are empty.
fn object(fields: &mut Fields, name: &str, entries_max: usize, entry: &str) -> Map<String, Value> {
    let read = |value| match value {
        Value::Object(object) if object.len() > entries_max => {
            Err(format!("this is too much: at most {entries_max} {entry}s an event"))
        }
        Value::Object(object) => Ok(object),
        _ => Err(format!("send an object of {entry}s")),
    };
    fields.take(name, read).unwrap_or_default()
}

fn id(text: &str) -> Result<String, String> {
    let fits = (1..=ID_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
        .ok_or_else(|| format!("an event's id is 1 to {ID_CHARS_MAX} characters, none of them a control character"))
}
