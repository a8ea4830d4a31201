//! The document at `/openapi.json`: that it names what the router serves and nothing else, that its examples work, and
//! that answers are what it says.

mod schema;

use std::collections::BTreeSet;

use axum::body::Body;
use http::{HeaderName, Request};
use serde_json::{Map, Value, json};
use tollgate_config::{KeysConfig, Settings};
use tollgate_fake_stripe::sign;

use self::schema::conforms;
use crate::harness::{Answer, NOON, Plane, SignIn, TOKEN};

/// Methods that a path may have.
const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

fn document() -> Value {
    serde_json::to_value(tollgate_admin_api::openapi()).expect("JSON")
}

/// Every operation: method, path, what is said of it.
fn operations(document: &Value) -> Vec<(String, String, &Map<String, Value>)> {
    let paths = document["paths"].as_object().expect("paths");
    let methods = paths.iter().flat_map(|(path, item)| {
        item.as_object().expect("methods").iter().map(move |(method, operation)| {
            (method.clone(), path.clone(), operation.as_object().expect("an operation"))
        })
    });
    methods.collect()
}

#[tokio::test]
async fn the_router_serves_exactly_the_methods_that_the_document_names() {
    let plane = Plane::start().await;
    let document = document();
    let table = operations(&document);
    let paths: BTreeSet<&String> = table.iter().map(|(_, path, _)| path).collect();
    for path in paths {
        let target = path.replace(['{', '}'], "");
        for method in METHODS {
            let is_named = table.iter().any(|(named, at, _)| named == method && at == path);
            let answer = plane.call(&method.to_uppercase(), &target, None, &[("authorization", &bearer())]).await;
            assert_eq!(answer.status != 405, is_named, "{method} {path}: {}", answer.status);
            if !is_named {
                let allowed = answer.header("allow").to_lowercase();
                let allowed: BTreeSet<&str> =
                    allowed.split(',').map(str::trim).filter(|method| *method != "head").collect();
                let named = table.iter().filter(|(_, at, _)| at == path).map(|(method, _, _)| method.as_str());
                assert_eq!(allowed, named.collect::<BTreeSet<_>>(), "{path}");
            }
            let is_nothing = answer.body["detail"] == "There is nothing at this path";
            assert!(!is_nothing, "{method} {path} is named and not there");
        }
    }
}

#[test]
fn every_route_is_made_by_the_table_that_the_document_is_made_of() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![folder];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("text");
            for beside in [".route(", ".nest(", ".route_service(", ".nest_service("] {
                assert!(!text.contains(beside), "{}: {beside} makes a route that no document names", path.display());
            }
            files += 1;
        }
    }
    assert!(files > 20);
}

#[test]
fn every_call_says_what_it_is_takes_and_answers() {
    let document = document();
    assert_eq!(document["openapi"].as_str().map(|version| &version[..3]), Some("3.1"));
    let schemes = document["components"]["securitySchemes"].as_object().expect("schemes");
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let name = format!("{method} {path}");
        assert!(ids.insert(operation["operationId"].as_str().expect("an id").to_owned()), "{name}: its id is taken");
        assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 5), "{name}: no summary");
        for way in operation.get("security").and_then(Value::as_array).into_iter().flatten() {
            for scheme in way.as_object().expect("schemes").keys() {
                assert!(schemes.contains_key(scheme), "{name}: {scheme}");
            }
        }
        let responses = operation["responses"].as_object().expect("responses");
        assert!(responses.keys().any(|status| status.starts_with('2')), "{name}");
        for (status, response) in responses {
            assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{name} {status}");
            let content = response.get("content").and_then(Value::as_object);
            let is_error = !status.starts_with('2');
            assert!(content.is_some() || status == "204", "{name} {status}: no body is described");
            for (kind, content) in content.into_iter().flatten() {
                assert!(content.get("schema").is_some(), "{name} {status} {kind}");
                if is_error && kind.ends_with("json") && path != "/admin/v1/health" {
                    assert_eq!(kind, "application/problem+json", "{name} {status}");
                }
            }
        }
        for parameter in operation.get("parameters").and_then(Value::as_array).into_iter().flatten() {
            assert!(parameter["description"].as_str().is_some_and(|text| !text.is_empty()), "{name}: {parameter}");
        }
    }
}

#[tokio::test]
async fn under_a_mount_it_tells_of_what_is_reached_there() {
    let plane = Plane::start().await;
    let all = plane.customer("/openapi.json", &[]).await.expect(200);
    assert!(all["paths"].get("/admin/v1/keys").is_some());
    assert_eq!(all["servers"], json!([{ "url": "/" }]));
    let mounted = plane.customer("/openapi.json", &[("x-tollgate-mount", "/tollgate")]).await.expect(200);
    assert!(mounted["paths"].get("/admin/v1/keys").is_none() && mounted["paths"].get("/v1/keys").is_some());
    assert_eq!(mounted["servers"], json!([{ "url": "/tollgate" }]));
}

#[tokio::test]
async fn a_key_stands_in_the_header_that_is_configured() {
    for header in ["x-api-key", "x-acme-token"] {
        let keys = KeysConfig { header: HeaderName::from_static(header), ..Settings::default().keys };
        let plane = Plane::with(Settings { keys, ..Settings::default() }).await;
        let told = plane.customer("/openapi.json", &[]).await.expect(200);
        let scheme = &told["components"]["securitySchemes"]["api_key"];
        assert_eq!((&scheme["in"], &scheme["name"]), (&json!("header"), &json!(header)), "{scheme}");
        let key = plane.key("ada@example.com", "pro").await;
        plane.customer("/v1/me", &[(header, key["key"].as_str().expect("a key"))]).await.expect(200);
    }
}

/// What examples are about: an account with a key, which has signed in, and the operator.
struct World {
    plane: Plane,
    ada: SignIn,
    key: String,
    /// An event in the inbox.
    event: String,
}

impl World {
    async fn new() -> Self {
        let plane = Plane::selling().await;
        let ada = plane.sign_in("ada@example.com").await;
        plane.subscribe(&ada.account, "ada@example.com", "price_pro").await;
        let events = plane.get("/webhooks").await.expect(200);
        let event = events["items"][0]["id"].as_str().expect("an id").to_owned();
        let made = plane.key("ada@example.com", "pro").await;
        let (account, key) = (made["account"].as_str().expect("an id"), made["id"].as_str().expect("an id"));
        plane.record(account, key, 50, 60).await;
        Self { ada, key: key.to_owned(), event, plane }
    }

    /// Makes a call as the document describes it, by the best proof it takes.
    async fn call(&self, method: &str, path: &str, operation: &Map<String, Value>, body: Option<Value>) -> Answer {
        let target = path.replace("{account}", &self.ada.account).replace("{event}", &self.event);
        let target = target.replace("{key}", &self.key).replace("{id}", &self.key);
        assert!(!target.contains('{'), "{path}: what stands in its place?");
        let ways: Vec<&str> = operation
            .get("security")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|way| way.as_object().and_then(|way| way.keys().next()).map(String::as_str))
            .collect();
        let operator = bearer();
        let headers: Vec<(&str, &str)> = match () {
            () if ways.contains(&"operator") => vec![("authorization", &operator)],
            () if ways.is_empty() => Vec::new(),
            () => self.ada.headers().to_vec(),
        };
        let kind = operation.get("requestBody").and_then(|body| body["content"].as_object());
        let kind = kind.and_then(|content| content.keys().next()).map_or("application/json", String::as_str);
        let mut request = Request::builder().method(method.to_uppercase().as_str()).uri(target);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if path == "/stripe/webhook" {
            let text = body.as_ref().map(Value::to_string).unwrap_or_default();
            let secret = self.plane.shop().stripe.webhook_secret();
            request = request.header("stripe-signature", sign(text.as_bytes(), &secret, NOON.as_secs()));
        }
        let body = match body {
            Some(body) if kind == "application/x-www-form-urlencoded" => {
                let pairs = body.as_object().expect("a form").iter();
                let pairs = pairs.map(|(name, value)| format!("{name}={}", value.as_str().expect("a text")));
                Some(pairs.collect::<Vec<_>>().join("&"))
            }
            body => body.map(|body| body.to_string()),
        };
        let request = match body {
            Some(body) => request.header("content-type", kind).body(Body::from(body)),
            None => request.body(Body::empty()),
        };
        self.plane.send(request.expect("a good request")).await
    }

    /// The body of the call's example, with the token of a real link where it needs one.
    async fn example(&self, document: &Value, operation: &Map<String, Value>) -> Option<Value> {
        let (_, content) = operation.get("requestBody")?["content"].as_object()?.iter().next()?;
        let mut example = example_of(document, content).unwrap_or_else(|| panic!("no example of {operation:?}"));
        if example.get("token").is_some() {
            let ask = json!({ "email": "ada@example.com" });
            self.plane.call("POST", "/v1/session/link", Some(&ask), &[]).await.expect(202);
            example["token"] = self.plane.post.next().await.token().into();
        }
        Some(example)
    }
}

fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

/// The example at a content, or at the schema it refers to, through whatever stands between.
fn example_of(document: &Value, content: &Value) -> Option<Value> {
    if let Some(example) = content.get("example") {
        return Some(example.clone());
    }
    let schema = content.get("schema").unwrap_or(content);
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return example_of(document, document.pointer(reference.strip_prefix('#')?)?);
    }
    let parts = schema.get("oneOf").or(schema.get("anyOf")).and_then(Value::as_array);
    parts.into_iter().flatten().find_map(|part| example_of(document, part))
}

#[tokio::test]
async fn examples_are_valid_work_and_are_answered_as_described() {
    let document = document();
    for (method, path, operation) in operations(&document) {
        let name = format!("{method} {path}");
        let world = World::new().await;
        let body = world.example(&document, operation).await;
        if let Some(body) = &body {
            let (_, content) =
                operation["requestBody"]["content"].as_object().and_then(|all| all.iter().next()).expect("a content");
            conforms(&document, &content["schema"], body)
                .unwrap_or_else(|error| panic!("{name}: its example: {error}"));
        }
        let answer = world.call(&method, &path, operation, body).await;
        assert!(
            expected_statuses(&name).contains(&answer.status.as_u16()),
            "{name}: {} {:#}",
            answer.status,
            answer.body
        );
        assert_described(&document, &name, operation, &answer);
    }
}

/// What an example ends in: success, but for nodes that nobody lists and somebody who has a subscription already.
fn expected_statuses(name: &str) -> &'static [u16] {
    match name {
        "get /admin/v1/nodes" => &[503],
        "post /v1/billing/checkout" => &[409],
        _ => &[200, 201, 202, 204],
    }
}

#[tokio::test]
async fn refusals_are_answered_as_described() {
    let document = document();
    let world = World::new().await;
    for (method, path, operation) in operations(&document) {
        let name = format!("{method} {path}");
        for body in [None, Some(json!({ "no_such_field": "x" })), Some(json!([]))] {
            let body = body.filter(|body| body.is_object() || path != "/login");
            let answer = world.call(&method, &path, operation, body).await;
            assert_described(&document, &name, operation, &answer);
        }
        let unproven = world.plane.call(&method.to_uppercase(), &path.replace(['{', '}'], ""), None, &[]).await;
        assert_described(&document, &name, operation, &unproven);
    }
}

/// An answer's status, kind and body stand in the document.
#[track_caller]
fn assert_described(document: &Value, name: &str, operation: &Map<String, Value>, answer: &Answer) {
    let status = answer.status.as_u16();
    let response = operation["responses"].get(status.to_string());
    let response = response.unwrap_or_else(|| panic!("{name}: {status} is not described: {:#}", answer.body));
    let Some(content) = response.get("content").and_then(Value::as_object) else {
        assert_eq!(answer.body, Value::Null, "{name} {status}");
        return;
    };
    let kind = answer.header("content-type");
    let content = content.get(kind).unwrap_or_else(|| panic!("{name} {status}: {kind} is not described"));
    conforms(document, &content["schema"], &answer.body)
        .unwrap_or_else(|error| panic!("{name} {status}: {error} in {:#}", answer.body));
}
