//! A document's text as a tree of values: JSON or YAML, with every key as text and a bound on its size.
//!
//! YAML lets a few lines stand for billions of values; what a text may unfold to is bounded, too.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The most values a document may unfold to.
const VALUES_MAX: usize = 2_000_000;
/// YAML's key whose mappings fill in what is missing beside it.
const MERGE: &str = "<<";

/// Reads a document.
///
/// # Errors
/// It is neither JSON nor YAML, or too large; in the parser's words.
pub(super) fn read(text: &str) -> Result<Value, String> {
    let count = Cell::new(0);
    let is_json = text.trim_start().starts_with('{');
    let seed = Node { count: &count, merges: !is_json };
    // JSON is YAML as well, but its own parser is faster and says better what is wrong.
    if is_json {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let value = seed.deserialize(&mut deserializer).map_err(|error| format!("it is no JSON: {error}"))?;
        deserializer.end().map_err(|error| format!("it is no JSON: {error}"))?;
        return Ok(value);
    }
    let deserializer = serde_yaml_ng::Deserializer::from_str(text);
    seed.deserialize(deserializer).map_err(|error| format!("it is no YAML: {error}"))
}

/// Builds one value, counting.
#[derive(Clone, Copy)]
struct Node<'c> {
    count: &'c Cell<usize>,
    /// Whether mappings may be merged in, which JSON knows nothing of.
    merges: bool,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let count = self.count.get() + 1;
        self.count.set(count);
        if count > VALUES_MAX {
            return Err(D::Error::custom(format!("it unfolds to more than {VALUES_MAX} values")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let mut merged = Vec::new();
        while let Some(key) = entries.next_key_seed(self)? {
            let value = entries.next_value_seed(self)?;
            // A status is a number in most YAML; other kinds of keys say nothing to us.
            match key {
                Value::String(key) if self.merges && key == MERGE => merged.push(value),
                Value::String(key) => drop(map.insert(key, value)),
                Value::Number(_) | Value::Bool(_) => drop(map.insert(key.to_string(), value)),
                Value::Null | Value::Array(_) | Value::Object(_) => {}
            }
        }
        for value in merged {
            let sources = match value {
                Value::Array(sources) => sources,
                source => vec![source],
            };
            for source in sources {
                let Value::Object(source) = source else { continue };
                for (key, value) in source {
                    map.entry(key).or_insert(value);
                }
            }
        }
        Ok(map.into())
    }

    fn visit_enum<A: serde::de::EnumAccess<'de>>(self, tagged: A) -> Result<Value, A::Error> {
        // A YAML tag says how a value is meant; the value is what matters here.
        use serde::de::VariantAccess;
        let (_, value) = tagged.variant_seed(self)?;
        value.newtype_variant_seed(self)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use serde_json::json;

    use super::*;

    #[test]
    fn json_and_yaml_make_the_same_tree() {
        let expected =
            json!({ "paths": { "/a": { "get": { "responses": { "200": { "x": [1, 2.5, true, null] } } } } } });
        for text in [
            r#"{"paths":{"/a":{"get":{"responses":{"200":{"x":[1,2.5,true,null]}}}}}}"#,
            "paths:\n  /a:\n    get:\n      responses:\n        200: {x: [1, 2.5, true, ~]}\n",
            "common: &c\n  x: [1, 2.5, true, null]\npaths:\n  /a:\n    get:\n      responses:\n        200: {<<: *c}\n",
            "paths: !Tag\n  /a: {get: {responses: {'200': {x: [1, 2.5, true, null]}}}}\n",
        ] {
            let mut read = read(text).expect(text);
            read.as_object_mut().expect("an object").remove("common");
            assert_eq!(read, expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_document_is_said() {
        for (text, part) in [
            ("{\"a\":", "no JSON"),
            ("{} x", "no JSON"),
            ("a: [", "no YAML"),
            ("a: &a [*a]", "no YAML"),
            (&format!("{}1{}", "[".repeat(500), "]".repeat(500)), "no YAML"),
            (&format!("{}1{}", "{\"a\":".repeat(500), "}".repeat(500)), "no JSON"),
        ] {
            let error = read(text).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_few_lines_that_stand_for_billions_of_values_are_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let inner = format!("*a{}, ", level - 1).repeat(10);
            writeln!(text, "a{level}: &a{level} [{inner}]").expect("writing to a string cannot fail");
        }
        let error = read(&text).expect_err("a bomb");
        assert!(error.contains("no YAML"), "{error}");
    }
}
