//! What of an `OpenAPI` document matters to a gate: paths, methods, who may call, and where the backend is.
//!
//! It reads versions 2.0, 3.0 and 3.1 without judging the rest: documents in the field are rarely valid as a whole.

use std::borrow::Cow;

use serde_json::Value;
use url::Url;

use super::tree;

/// The methods that operations are written under, in the order that routes list them.
const METHODS: [&str; 8] = ["get", "head", "post", "put", "patch", "delete", "options", "trace"];
/// How many references in a row are followed.
const REFERENCES_MAX: usize = 8;

/// A document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Document {
    /// What it calls the API.
    pub(super) title: Option<String>,
    /// The version of its form.
    pub(super) form: String,
    /// Where it says the backend is: a URL, or a path on the host that the document came from.
    pub(super) server: Option<String>,
    /// Its paths.
    pub(super) paths: Vec<PathItem>,
}

/// A path and what can be asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathItem {
    pub(super) path: String,
    pub(super) operations: Vec<Operation>,
}

/// One method of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    /// In capitals.
    pub(super) method: String,
    pub(super) access: Access,
    /// What it is called, for a comment.
    pub(super) summary: Option<String>,
}

/// Who may call an operation, by its own `security`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    /// `security: []`: anyone.
    Public,
    /// Nothing (`{}`) is one of several ways to prove oneself: anyone, but who proves more may be told more.
    Optional,
    /// Everything else, also what says nothing: a gate stays shut unless it is told otherwise.
    Keyed,
}

impl Document {
    /// Reads a document. `source` is where it was fetched from, if it was.
    ///
    /// # Errors
    /// It is no `OpenAPI` document; what it is instead, as far as that shows.
    pub(super) fn read(text: &str, source: Option<&Url>) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim_start().starts_with('<') {
            return Err("it is a page, not a document; give the address of the document itself, such as \
                        `/openapi.json`"
                .to_owned());
        }
        let root = tree::read(text)?;
        let form = ["openapi", "swagger"].into_iter().find_map(|key| root.get(key)).map(|form| match form {
            Value::String(form) => form.clone(),
            other => other.to_string(),
        });
        let form = form.ok_or("it is no OpenAPI document: it has neither `openapi` nor `swagger`")?;
        let is_second = form == "2.0" || form == "2";
        if !is_second && !form.starts_with("3.") && form != "3" {
            return Err(format!("OpenAPI {} is not known here; 2.0, 3.0 and 3.1 are", form.escape_debug()));
        }
        let server = if is_second { second_server(&root, source) } else { third_server(&root) };
        let title = root.pointer("/info/title").and_then(Value::as_str).map(ToOwned::to_owned);
        let paths = match root.get("paths") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Object(paths)) => paths
                .iter()
                .filter(|(path, _)| !path.starts_with("x-"))
                .map(|(path, item)| PathItem { path: path.clone(), operations: operations(&root, item) })
                .collect(),
            Some(_) => return Err("its `paths` is no table".to_owned()),
        };
        Ok(Self { title, form, server, paths })
    }
}

fn operations(root: &Value, item: &Value) -> Vec<Operation> {
    let item = resolve(root, item);
    METHODS
        .into_iter()
        .filter_map(|method| {
            let operation = resolve(root, item.get(method)?);
            let text = |key: &str| operation.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
            Some(Operation {
                method: method.to_uppercase(),
                access: access(operation),
                summary: text("summary").or_else(|| text("operationId")).map(ToOwned::to_owned),
            })
        })
        .collect()
}

fn access(operation: &Value) -> Access {
    let Some(ways) = operation.get("security").and_then(Value::as_array) else { return Access::Keyed };
    let is_nothing = |way: &Value| way.as_object().is_some_and(serde_json::Map::is_empty);
    if ways.iter().all(is_nothing) {
        Access::Public
    } else if ways.iter().any(is_nothing) {
        Access::Optional
    } else {
        Access::Keyed
    }
}

/// What a value refers to within the document; itself where it refers to nothing, or to another document.
fn resolve<'v>(root: &'v Value, value: &'v Value) -> &'v Value {
    let mut value = value;
    for _ in 0..REFERENCES_MAX {
        let pointer = value.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
        match pointer.and_then(|pointer| root.pointer(pointer)) {
            Some(referred) => value = referred,
            None => break,
        }
    }
    value
}

/// The first of `servers`, its variables at their defaults.
fn third_server(root: &Value) -> Option<String> {
    let server = root.pointer("/servers/0")?;
    let mut url = server.get("url").and_then(Value::as_str)?.to_owned();
    for (name, variable) in server.get("variables").and_then(Value::as_object).into_iter().flatten() {
        let default = match variable.get("default") {
            Some(Value::String(text)) => Cow::Borrowed(text.as_str()),
            Some(other @ Value::Number(_)) => Cow::Owned(other.to_string()),
            _ => continue,
        };
        url = url.replace(&format!("{{{name}}}"), &default);
    }
    Some(url)
}

/// `schemes`, `host` and `basePath`; without a host a path on the host that the document came from.
fn second_server(root: &Value, source: Option<&Url>) -> Option<String> {
    let text = |key: &str| root.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let base_path = text("basePath").unwrap_or("/");
    let Some(host) = text("host") else { return text("basePath").map(ToOwned::to_owned) };
    let schemes = root.get("schemes").and_then(Value::as_array).into_iter().flatten();
    let schemes: Vec<&str> = schemes.filter_map(Value::as_str).collect();
    let scheme = match (schemes.as_slice(), source) {
        (schemes, _) if schemes.contains(&"https") => "https",
        (schemes, _) if schemes.contains(&"http") => "http",
        (_, Some(source)) => source.scheme(),
        (_, None) => "https",
    };
    Some(format!("{scheme}://{host}{base_path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> Option<String> {
        let source = Url::parse("http://docs.example/openapi.json").expect("a URL");
        Document::read(text, Some(&source)).expect(text).server
    }

    #[test]
    fn the_server_is_read_in_every_form() {
        for (text, expected) in [
            ("openapi: 3.1.0\nservers: [{url: https://a.example/v2}]", Some("https://a.example/v2")),
            (
                "openapi: 3.0.3\nservers: [{url: 'https://{e}.example:{p}', variables: {e: {default: prod}, p: {default: 8443}}}]",
                Some("https://prod.example:8443"),
            ),
            ("openapi: 3.0.3\nservers: [{url: /api}]", Some("/api")),
            ("openapi: 3.0.3", None),
            ("swagger: '2.0'\nhost: a.example\nbasePath: /v1\nschemes: [http, https]", Some("https://a.example/v1")),
            ("swagger: 2.0\nhost: a.example", Some("http://a.example/")),
            ("swagger: '2.0'\nbasePath: /v1", Some("/v1")),
        ] {
            assert_eq!(server(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn who_may_call_is_the_operations_own_to_say() {
        let text = r##"{"openapi":"3.0.0","security":[],"paths":{"/a":{
            "get":{"security":[]},"head":{"security":[{}]},"post":{"security":[{},{"key":[]}]},
            "put":{"security":[{"key":[]}]},"delete":{},"patch":{"security":"odd"},"parameters":[]},
            "x-note":{},"/b":{"$ref":"#/components/pathItems/b"}},
            "components":{"pathItems":{"b":{"get":{"summary":"Bees","security":[]}}}}}"##;
        let document = Document::read(text, None).expect("a document");
        let accesses: Vec<_> = document.paths[0]
            .operations
            .iter()
            .map(|operation| (operation.method.as_str(), operation.access))
            .collect();
        let expected = [
            ("GET", Access::Public),
            ("HEAD", Access::Public),
            ("POST", Access::Optional),
            ("PUT", Access::Keyed),
            ("PATCH", Access::Keyed),
            ("DELETE", Access::Keyed),
        ];
        assert_eq!(accesses, expected);
        let (path, summary) = (&document.paths[1].path, &document.paths[1].operations[0].summary);
        assert_eq!((path.as_str(), summary.as_deref()), ("/b", Some("Bees")));
        assert_eq!(document.paths.len(), 2);
    }

    #[test]
    fn what_is_no_document_is_named() {
        for (text, part) in [
            ("<!doctype html>", "it is a page"),
            ("title: x", "neither `openapi` nor `swagger`"),
            ("[1]", "neither `openapi` nor `swagger`"),
            ("", "neither `openapi` nor `swagger`"),
            ("openapi: 4.0.0", "OpenAPI 4.0.0 is not known"),
            ("openapi: 3.0.0\npaths: []", "`paths` is no table"),
        ] {
            let error = Document::read(text, None).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
