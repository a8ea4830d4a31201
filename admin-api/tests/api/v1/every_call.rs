//! What holds for every call of the customer's side, asked of each that the document names.

use serde_json::{Value, json};
use tollgate_store::{AuditQuery, Store};

use crate::harness::{Answer, Plane};

/// A call as the document describes it.
struct Call {
    method: String,
    path: String,
    takes_key: bool,
    takes_body: bool,
}

impl Call {
    fn is_write(&self) -> bool {
        self.method != "GET"
    }

    /// Its path, about this key.
    fn about(&self, key: &str) -> String {
        self.path.replace("{key}", key)
    }
}

/// Every call under `/v1` that asks for a proof, but the report of use, which has proofs of its own.
fn calls() -> Vec<Call> {
    let document = serde_json::to_value(tollgate_admin_api::openapi()).expect("JSON");
    let mut calls = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let Some(security) = operation.get("security").and_then(Value::as_array) else { continue };
            let is_report = path == "/v1/usage" && method == "post";
            if !path.starts_with("/v1/") || is_report {
                continue;
            }
            calls.push(Call {
                method: method.to_uppercase(),
                path: path.clone(),
                takes_key: security.iter().any(|way| way.get("api_key").is_some()),
                takes_body: operation.get("requestBody").is_some(),
            });
        }
    }
    assert!(calls.len() >= 19, "the document names them all");
    calls
}

/// Everything that a call could have changed.
async fn state(plane: &Plane) -> String {
    let accounts = plane.store.accounts(None, 200).await.expect("it answers");
    let keys = plane.store.keys(None, None, 200).await.expect("it answers");
    let audit = plane.store.audit(&AuditQuery { limit: 200, ..AuditQuery::default() }).await.expect("it answers");
    format!("{accounts:?}{keys:?}{}", audit.len())
}

#[tokio::test]
async fn refused_calls_say_why_and_change_nothing() {
    let plane = Plane::start().await;
    plane.post("/accounts", json!({ "email": "ada@example.com", "plan": "team" })).await.expect(201);
    let ada = plane.sign_in("ada@example.com").await;
    let own = plane.key("ada@example.com", "team").await;
    let other = plane.key("bob@example.com", "pro").await;
    let (own_id, other_id) = (own["id"].as_str().expect("an id"), other["id"].as_str().expect("an id"));
    let raw = own["key"].as_str().expect("a raw key");
    plane.heard.take();
    let before = state(&plane).await;
    for call in calls() {
        let name = format!("{} {}", call.method, call.path);
        let body = call.takes_body.then(|| json!({}));
        let send = async |path: &str, body: Option<&Value>, headers: &[(&str, &str)]| -> Answer {
            plane.call(&call.method, path, body, headers).await
        };
        let path = call.about(own_id);
        let unproven = send(&path, body.as_ref(), &[]).await;
        assert!(!unproven.header("www-authenticate").is_empty(), "{name}");
        assert_eq!(unproven.status, 401, "{name}");
        if !call.takes_key {
            let by_key = send(&path, body.as_ref(), &[("x-api-key", raw)]).await;
            assert!(by_key.problem(403, "not_allowed")["detail"].as_str().is_some_and(|text| text.contains("sign in")));
        }
        if call.is_write() {
            for csrf in [None, Some(""), Some(&ada.csrf[1..]), Some(other_id)] {
                let mut headers = vec![("cookie", ada.cookie.as_str())];
                headers.extend(csrf.map(|csrf| ("x-csrf-token", csrf)));
                send(&path, body.as_ref(), &headers).await.problem(403, "csrf");
            }
        }
        if path != call.path {
            for id in [other_id, "key_0000000000000000000000", "nonsense", raw] {
                let answer = send(&call.about(id), body.as_ref(), &ada.headers()).await;
                let problem = answer.problem(404, "not_found");
                assert!(!problem.to_string().contains(raw), "{name}: a key in the wrong place is not repeated");
            }
        }
        if call.takes_body {
            assert_malformed_is_refused(&plane, &call, &path, &ada.headers()).await;
        }
    }
    assert_eq!(state(&plane).await, before);
    assert_eq!(plane.heard.take(), []);
    assert!(plane.post.is_quiet().await);
    plane.customer("/v1/session", &[("cookie", &ada.cookie)]).await.expect(200);
}

async fn assert_malformed_is_refused(plane: &Plane, call: &Call, path: &str, headers: &[(&str, &str)]) {
    let refused = plane.call(&call.method, path, Some(&json!({ "no_such_field": 1 })), headers).await;
    // Beside fields that are missing.
    assert!(refused.pointers().iter().any(|pointer| pointer == "#/no_such_field"), "{} {path}", call.method);
    let refused = plane.call(&call.method, path, Some(&json!([1])), headers).await;
    assert_eq!(refused.pointers(), ["#"], "{} {path}", call.method);
    for (content_type, body, status, code) in [
        ("application/json", "{\"name\": ", 400, "malformed_json"),
        ("application/json", "{\"name\": \"a\", \"name\": \"b\"}", 400, "malformed_json"),
        ("text/plain", "{}", 415, "unsupported_media_type"),
        ("application/json", &" ".repeat(64 * 1024 + 1), 413, "body_too_large"),
    ] {
        let mut request = http::Request::builder().method(call.method.as_str()).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header("content-type", content_type).body(body.to_owned().into());
        plane.send(request.expect("a good request")).await.problem(status, code);
    }
}
