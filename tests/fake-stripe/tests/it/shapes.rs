//! The two shapes: which version gives which, and where each keeps what.

use serde_json::Value;
use tollgate_fake_stripe::{Action, EventShape};

use crate::http::api;
use crate::support::{act, fake, subscribed};

#[test]
fn the_version_of_a_call_decides_the_shape_of_its_answer() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro"]);
    for (version, old) in [
        (Some("2024-06-20"), true),
        (Some("2025-02-24.acacia"), true),
        (Some("2025-03-31.basil"), false),
        (Some("2026-09-30.endive"), false),
        (None, false),
    ] {
        let headers: Vec<(&str, &str)> = version.map(|version| ("stripe-version", version)).into_iter().collect();
        let get = |path: &str| api(&fake, "GET", path, "", &headers).expect("an answer");
        let answer = get(&format!("/v1/subscriptions/{}", made.subscription));
        let subscription = answer.json();
        let item = &subscription["items"]["data"][0];
        assert_eq!(subscription.get("current_period_end").is_some(), old, "{version:?}");
        assert_eq!(item.get("current_period_end").is_some(), !old, "{version:?}");
        assert_eq!(answer.header("stripe-version"), Some(version.unwrap_or("2026-09-30.endive")));
        let invoice = get(&format!("/v1/invoices/{}", subscription["latest_invoice"].as_str().expect("an id"))).json();
        let path = if old { "/subscription" } else { "/parent/subscription_details/subscription" };
        assert_eq!(invoice.pointer(path).and_then(Value::as_str), Some(made.subscription.as_str()), "{version:?}");
        assert_eq!(invoice.get("charge").is_some(), old, "{version:?}");
    }
}

#[test]
fn events_have_the_shape_and_version_that_are_set() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro"]);
    for (shape, version) in [(EventShape::Old, "2024-06-20"), (EventShape::New, "2026-09-30.endive")] {
        fake.set_event_shape(shape);
        fake.take_events();
        act(&fake, &made, &Action::Touch);
        let event: Value = serde_json::from_str(&fake.take_events()[0].body).expect("JSON");
        assert_eq!(event["api_version"], version);
        assert_eq!(event["data"]["object"].get("current_period_end").is_some(), shape == EventShape::Old);
        assert_eq!(event["data"]["previous_attributes"]["metadata"].as_object().map(serde_json::Map::len), Some(1));
    }
    fake.set_event_shape(EventShape::Mixed);
    for _ in 0..40 {
        act(&fake, &made, &Action::Touch);
    }
    let versions: std::collections::BTreeSet<String> = fake
        .take_events()
        .iter()
        .map(|event| serde_json::from_str::<Value>(&event.body).expect("JSON")["api_version"].to_string())
        .collect();
    assert_eq!(versions.len(), 2, "both shapes turn up");
}

#[test]
fn expanding_puts_objects_in_place_of_ids() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro"]);
    let subscription = fake
        .call(
            "GET",
            "/v1/subscriptions",
            &[
                ("customer", &made.customer),
                ("expand[]", "data.latest_invoice"),
                ("expand[]", "data.customer"),
                ("expand[]", "data.latest_invoice.payments"),
            ],
        )
        .expect("a list")["data"][0]
        .clone();
    assert_eq!(subscription["customer"]["email"], "ada@example.com");
    assert_eq!(subscription["latest_invoice"]["status"], "paid");
    assert_eq!(subscription["latest_invoice"]["payments"]["data"][0]["status"], "paid");
    let product =
        fake.call("GET", "/v1/prices/price_pro", &[("expand[]", "product")]).expect("a price")["product"].clone();
    assert_eq!(product["name"], "Pro");
}

#[test]
fn errors_have_stripes_shape() {
    let fake = fake();
    let get = |path: &str| api(&fake, "GET", path, "", &[]).expect("an answer");
    let missing = get("/v1/subscriptions/sub_none");
    assert_eq!(missing.status, 404);
    assert_eq!(missing.json()["error"]["code"], "resource_missing");
    assert_eq!(missing.json()["error"]["message"], "No such subscription: 'sub_none'");
    assert_eq!(get("/v1/nothing").status, 404);
    let unknown = api(&fake, "POST", "/v1/customers", "emial=x", &[]).expect("an answer");
    assert_eq!((unknown.status, unknown.json()["error"]["code"].as_str()), (400, Some("parameter_unknown")));
    let unauthorized =
        crate::http::send(&fake, "GET", "/v1/customers", &[("authorization", "Bearer sk_test_wrong")], "")
            .expect("an answer");
    assert_eq!(unauthorized.status, 401);
    assert!(!unauthorized.body.contains("sk_test_wrong"), "a key is not repeated");
    assert_eq!(crate::http::send(&fake, "GET", "/v1/customers", &[], "").expect("an answer").status, 401);
}
