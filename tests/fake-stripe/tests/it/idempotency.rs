//! Idempotency keys.

use crate::http::api;
use crate::support::{fake, subscribed};

const KEY: &[(&str, &str)] = &[("idempotency-key", "order-1")];

#[test]
fn the_same_key_gives_the_first_answer_and_does_nothing_again() {
    let fake = fake();
    let first = api(&fake, "POST", "/v1/customers", "email=a%40b.c", KEY).expect("an answer");
    let second = api(&fake, "POST", "/v1/customers", "email=a%40b.c", KEY).expect("an answer");
    assert_eq!(first.json()["id"], second.json()["id"]);
    assert_eq!((first.header("idempotent-replayed"), second.header("idempotent-replayed")), (None, Some("true")));
    let customers = fake.call("GET", "/v1/customers", &[("email", "a@b.c")]).expect("a list");
    assert_eq!(customers["data"].as_array().map(Vec::len), Some(1));
    let event: serde_json::Value = serde_json::from_str(&fake.take_events()[0].body).expect("JSON");
    assert_eq!(event["request"]["idempotency_key"], "order-1");
}

#[test]
fn the_same_key_with_other_parameters_is_refused() {
    let fake = fake();
    api(&fake, "POST", "/v1/customers", "email=a%40b.c", KEY).expect("an answer");
    let other = api(&fake, "POST", "/v1/customers", "email=x%40y.z", KEY).expect("an answer");
    assert_eq!((other.status, other.json()["error"]["type"].as_str()), (400, Some("idempotency_error")));
}

#[test]
fn a_refusal_of_parameters_is_not_kept_and_a_declined_card_is() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro"]);
    let refused = api(&fake, "POST", "/v1/customers", "nonsense=1", KEY).expect("an answer");
    assert_eq!(refused.status, 400);
    assert_eq!(api(&fake, "POST", "/v1/customers", "email=a%40b.c", KEY).expect("an answer").status, 200);
    fake.card(&made.customer, tollgate_fake_stripe::Card::Declines);
    let form = format!("customer={}&items[0][price]=price_team&payment_behavior=error_if_incomplete", made.customer);
    let key = &[("idempotency-key", "order-2")];
    assert_eq!(api(&fake, "POST", "/v1/subscriptions", &form, key).expect("an answer").status, 402);
    fake.card(&made.customer, tollgate_fake_stripe::Card::Good);
    let again = api(&fake, "POST", "/v1/subscriptions", &form, key).expect("an answer");
    assert_eq!((again.status, again.header("idempotent-replayed")), (402, Some("true")));
}

#[test]
fn a_key_is_forgotten_after_a_day() {
    let fake = fake();
    let first = api(&fake, "POST", "/v1/customers", "email=a%40b.c", KEY).expect("an answer").json();
    fake.advance(crate::support::days(1));
    let second = api(&fake, "POST", "/v1/customers", "email=a%40b.c", KEY).expect("an answer").json();
    assert_ne!(first["id"], second["id"]);
}
