//! The controls over HTTP, as a script in another language uses them.

use serde_json::{Value, json};

use crate::http::{api, control};
use crate::support::fake;

#[test]
fn a_script_can_make_move_change_and_take_everything() {
    let fake = fake();
    let post = |path: &str, body: Value| {
        let answer = control(&fake, "POST", path, &body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    };
    post("/_fake/prices", json!({ "id": "price_x", "product": "X", "unit_amount": 700, "interval": "year" }));
    let many = post(
        "/_fake/seed",
        json!({ "email": "a@example.com", "prices": ["price_x"], "count": 3, "metadata": { "k": "v" } }),
    );
    assert_eq!(many.as_array().map(Vec::len), Some(3));
    let subscription = many[0]["subscription"].as_str().expect("an id");
    let shown = control(&fake, "GET", &format!("/_fake/objects/{subscription}"), &Value::Null).json();
    assert_eq!((shown["status"].as_str(), shown["metadata"]["k"].as_str()), (Some("active"), Some("v")));
    let customer = many[0]["customer"].as_str().expect("an id");
    post(&format!("/_fake/customers/{customer}/card"), json!({ "card": { "declines_next": 2 } }));
    let before = control(&fake, "GET", "/_fake/clock", &Value::Null).json()["now"].as_i64().expect("a time");
    let after = post("/_fake/clock", json!({ "months": 12, "days": 1, "seconds": 5 }))["now"].as_i64().expect("a time");
    assert_eq!(after - before, 366 * 86_400 + 5);
    assert_eq!(fake.object(subscription).expect("it is there")["status"], "past_due");
    post(
        &format!("/_fake/subscriptions/{subscription}/act"),
        json!({ "action": "change_price", "price": "price_team" }),
    );
    post("/_fake/shape", json!({ "shape": "old" }));
    post(&format!("/_fake/subscriptions/{subscription}/act"), json!({ "action": "touch" }));
    let events = post("/_fake/events/take", Value::Null);
    let last = events.as_array().and_then(|events| events.last()).expect("events were made");
    let body: Value = serde_json::from_str(last["body"].as_str().expect("text")).expect("JSON");
    assert_eq!(
        (last["type"].as_str(), body["api_version"].as_str()),
        (Some("customer.subscription.updated"), Some("2024-06-20"))
    );
    assert!(last["signature"].as_str().is_some_and(|signature| signature.starts_with("t=")));
    post("/_fake/delivery", json!({ "mode": "on", "duplicates": 1, "retry_after_ms": [5] }));
    assert_eq!(post("/_fake/endpoints", json!({ "url": "http://127.0.0.1:9/" }))["secret"], fake.webhook_secret());
}

#[test]
fn what_a_script_misspells_is_refused() {
    let fake = fake();
    for (path, body) in [
        ("/_fake/clock", json!({ "minutes": 5 })),
        ("/_fake/faults", json!({ "path_prefix": "/", "kind": "sulk" })),
        ("/_fake/shape", json!({ "shape": "round" })),
        ("/_fake/seed", json!({ "email": "a@b.c", "prices": ["price_none"] })),
        ("/_fake/subscriptions/sub_none/act", json!({ "action": "renew" })),
    ] {
        let answer = control(&fake, "POST", path, &body);
        assert!((400..500).contains(&answer.status), "{path} {body}: {}", answer.status);
    }
}

#[test]
fn what_was_asked_of_the_api_is_listed_until_it_is_forgotten() {
    let fake = fake();
    api(&fake, "POST", "/v1/customers?expand[]=x", "email=a%40b.c", &[("idempotency-key", "k")]).expect("an answer");
    let asked = control(&fake, "GET", "/_fake/requests", &Value::Null).json();
    assert_eq!(
        (asked[0]["path"].as_str(), asked[0]["body"].as_str(), asked[0]["idempotency_key"].as_str()),
        (Some("/v1/customers"), Some("email=a%40b.c"), Some("k"))
    );
    control(&fake, "DELETE", "/_fake/requests", &Value::Null);
    assert_eq!(control(&fake, "GET", "/_fake/requests", &Value::Null).json(), json!([]));
}
