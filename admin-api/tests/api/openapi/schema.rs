//! Whether a value is what a schema of the document says: as much of JSON Schema as the document uses, and stricter in
//! one thing: an object has no member that is not described, unless its schema is open.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Says where and why a value is not what its schema says.
pub(super) fn conforms(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let mut known = BTreeSet::new();
    let is_open = check(document, schema, value, "#", &mut known)?;
    let members = value.as_object().map(Map::keys).into_iter().flatten();
    let unknown: Vec<_> = members.filter(|name| !is_open && !known.contains(*name)).collect();
    if unknown.is_empty() { Ok(()) } else { Err(format!("{unknown:?} is not described")) }
}

/// Checks one schema; gathers the members it knows, and tells whether it is open for others.
fn check(
    document: &Value,
    schema: &Value,
    value: &Value,
    at: &str,
    known: &mut BTreeSet<String>,
) -> Result<bool, String> {
    let Some(schema) = schema.as_object() else { return Ok(true) };
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        let target = target.ok_or_else(|| format!("{reference} is nowhere"))?;
        return check(document, target, value, at, known);
    }
    if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
        let mut is_open = false;
        for part in parts {
            is_open |= check(document, part, value, at, known)?;
        }
        return Ok(is_open);
    }
    if let Some(parts) = schema.get("oneOf").or(schema.get("anyOf")).and_then(Value::as_array) {
        let fitting = parts.iter().filter_map(|part| {
            let mut members = BTreeSet::new();
            check(document, part, value, at, &mut members).ok().map(|is_open| (is_open, members))
        });
        let fitting: Vec<_> = fitting.collect();
        let is_exclusive = schema.contains_key("oneOf");
        return match fitting.as_slice() {
            [] => Err(format!("{at}: {value} is none of {parts:?}")),
            [_, _, ..] if is_exclusive => Err(format!("{at}: {value} is several of {parts:?}")),
            [(is_open, members), ..] => {
                known.extend(members.iter().cloned());
                Ok(*is_open)
            }
        };
    }
    check_type(schema, value, at)?;
    check_bounds(schema, value, at)?;
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        for (index, item) in list.iter().enumerate() {
            conforms(document, items, item).map_err(|error| format!("{at}/{index}: {error}"))?;
        }
    }
    let Some(object) = value.as_object() else { return Ok(true) };
    check_members(document, schema, object, at, known)
}

fn check_members(
    document: &Value,
    schema: &Map<String, Value>,
    object: &Map<String, Value>,
    at: &str,
    known: &mut BTreeSet<String>,
) -> Result<bool, String> {
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        let name = name.as_str().unwrap_or_default();
        if !object.contains_key(name) {
            return Err(format!("{at}/{name} is missing"));
        }
    }
    let members = schema.get("properties").and_then(Value::as_object);
    for (name, member) in members.into_iter().flatten() {
        known.insert(name.clone());
        if let Some(value) = object.get(name) {
            conforms(document, member, value).map_err(|error| format!("{at}/{name}: {error}"))?;
        }
    }
    match schema.get("additionalProperties") {
        Some(Value::Object(_)) => {
            let others = &schema["additionalProperties"];
            for (name, value) in object {
                if !members.is_some_and(|members| members.contains_key(name)) {
                    conforms(document, others, value).map_err(|error| format!("{at}/{name}: {error}"))?;
                }
            }
            Ok(true)
        }
        Some(is_open) => Ok(is_open == &Value::Bool(true)),
        // Problems have members of their kind; anything that describes no member at all is whatever it is.
        None => Ok(members.is_none_or(|members| members.contains_key("request_id"))),
    }
}

fn check_type(schema: &Map<String, Value>, value: &Value, at: &str) -> Result<(), String> {
    let fits = |wanted: &str| match wanted {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    let fits = match schema.get("type") {
        None => true,
        Some(Value::String(wanted)) => fits(wanted),
        Some(Value::Array(any)) => any.iter().filter_map(Value::as_str).any(fits),
        Some(_) => false,
    };
    if !fits {
        return Err(format!("{at}: {value} is not of type {}", schema["type"]));
    }
    match schema.get("enum").and_then(Value::as_array) {
        Some(words) if !words.contains(value) => Err(format!("{at}: {value} is none of {words:?}")),
        _ => Ok(()),
    }
}

fn check_bounds(schema: &Map<String, Value>, value: &Value, at: &str) -> Result<(), String> {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let length = match value {
        Value::String(text) => u32::try_from(text.chars().count()).ok().map(f64::from),
        Value::Array(list) => u32::try_from(list.len()).ok().map(f64::from),
        _ => None,
    };
    let measures = [
        (value.as_f64(), bound("minimum"), bound("maximum")),
        (length.filter(|_| value.is_string()), bound("minLength"), bound("maxLength")),
        (length.filter(|_| value.is_array()), bound("minItems"), bound("maxItems")),
    ];
    for (measure, least, most) in measures {
        let Some(measure) = measure else { continue };
        if least.is_some_and(|least| measure < least) || most.is_some_and(|most| measure > most) {
            return Err(format!("{at}: {value} is out of bounds"));
        }
    }
    Ok(())
}

#[test]
fn what_does_not_conform_is_found() {
    let document = serde_json::json!({ "defs": { "word": { "type": "string", "enum": ["a", "b"] } } });
    let schema = serde_json::json!({
        "type": "object",
        "required": ["word"],
        "properties": {
            "word": { "$ref": "#/defs/word" },
            "count": { "oneOf": [{ "type": "integer", "minimum": 0 }, { "type": "null" }] },
            "list": { "type": "array", "items": { "type": ["string", "null"], "maxLength": 2 } },
        },
    });
    for (value, fits) in [
        (serde_json::json!({ "word": "a" }), true),
        (serde_json::json!({ "word": "b", "count": null, "list": [null, "xy"] }), true),
        (serde_json::json!({ "word": "c" }), false),
        (serde_json::json!({ "count": 1 }), false),
        (serde_json::json!({ "word": "a", "count": -1 }), false),
        (serde_json::json!({ "word": "a", "list": ["xyz"] }), false),
        (serde_json::json!({ "word": "a", "other": 1 }), false),
        (serde_json::json!("a"), false),
    ] {
        assert_eq!(conforms(&document, &schema, &value).is_ok(), fits, "{value}");
    }
}
