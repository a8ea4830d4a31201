//! Faults on purpose, and what was done in spite of them.

use std::time::{Duration, Instant};

use tollgate_fake_stripe::{FakeStripe, Fault, FaultKind, When};

use crate::http::{api, control};
use crate::support::fake;

fn inject(fake: &FakeStripe, kind: FaultKind, when: When) {
    fake.inject(Fault { method: Some("POST".to_owned()), path_prefix: "/v1/customers".to_owned(), kind, when });
}

fn create(fake: &FakeStripe, key: &str) -> Result<u16, std::io::ErrorKind> {
    api(fake, "POST", "/v1/customers", "email=a%40b.c", &[("idempotency-key", key)])
        .map(|answer| answer.status)
        .map_err(|error| error.kind())
}

fn made(fake: &FakeStripe) -> usize {
    fake.call("GET", "/v1/customers", &[]).expect("a list")["data"].as_array().expect("rows").len()
}

#[test]
fn a_status_is_answered_so_often_and_nothing_is_done() {
    let fake = fake();
    inject(&fake, FaultKind::Status(500), When::Next(2));
    inject(&fake, FaultKind::Status(429), When::Next(1));
    let answers: Vec<_> = (0..4).map(|_| create(&fake, "one")).collect();
    assert_eq!(answers, [Ok(500), Ok(500), Ok(429), Ok(200)]);
    assert_eq!(made(&fake), 1);
    assert_eq!(api(&fake, "GET", "/v1/prices", "", &[]).expect("an answer").status, 200);
}

#[test]
fn a_late_answer_comes_after_the_thing_was_done() {
    let fake = fake();
    inject(&fake, FaultKind::Late(Duration::from_millis(150)), When::Next(1));
    let began = Instant::now();
    assert_eq!(create(&fake, "one"), Ok(200));
    assert!(began.elapsed() >= Duration::from_millis(150));
    assert_eq!(made(&fake), 1);
}

#[test]
fn a_cut_connection_gives_no_answer_before_or_after_the_thing_is_done() {
    let fake = fake();
    inject(&fake, FaultKind::Cut, When::Next(1));
    create(&fake, "one").expect_err("there is no answer");
    assert_eq!(made(&fake), 0);
    inject(&fake, FaultKind::CutAfter, When::Next(1));
    create(&fake, "one").expect_err("there is no answer");
    assert_eq!(made(&fake), 1);
    assert_eq!(create(&fake, "one"), Ok(200));
    assert_eq!(made(&fake), 1, "the key found the first answer");
    let replayed: Vec<(u16, bool)> = fake
        .requests()
        .iter()
        .filter(|request| request.method == "POST")
        .map(|request| (request.status, request.replayed))
        .collect();
    assert_eq!(replayed, [(0, false), (200, false), (200, true)]);
}

#[test]
fn a_meter_event_whose_answer_was_cut_meets_itself_when_it_is_sent_again() {
    let fake = fake();
    let made = crate::support::subscribed(&fake, &["price_pro", "price_calls"]);
    fake.inject(Fault {
        method: None,
        path_prefix: "/v1/billing/meter_events".to_owned(),
        kind: FaultKind::CutAfter,
        when: When::Next(1),
    });
    let form =
        format!("event_name=api_calls&identifier=u1&payload[stripe_customer_id]={}&payload[value]=3", made.customer);
    api(&fake, "POST", "/v1/billing/meter_events", &form, &[]).expect_err("there is no answer");
    let again = api(&fake, "POST", "/v1/billing/meter_events", &form, &[]).expect("an answer");
    assert_eq!(again.status, 400);
    assert_eq!(again.json()["error"]["message"], "An event already exists with identifier u1.");
    assert_eq!(fake.meter_total(&made.customer, "api_calls", 0, i64::MAX), 3);
}

#[test]
fn hanging_ends_with_a_cut_and_nothing_done() {
    let fake = fake();
    inject(&fake, FaultKind::Hang(Duration::from_millis(100)), When::Next(1));
    let began = Instant::now();
    create(&fake, "one").expect_err("there is no answer");
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert_eq!(made(&fake), 0);
}

#[test]
fn a_rate_goes_on_until_it_is_cleared_also_from_outside() {
    let fake = fake();
    let fault = serde_json::json!({ "path_prefix": "/v1/customers", "kind": "status", "status": 500, "rate": 0.5 });
    assert_eq!(control(&fake, "POST", "/_fake/faults", &fault).status, 200);
    let failed = (0..60).filter(|number| create(&fake, &number.to_string()) == Ok(500)).count();
    assert!((10..=50).contains(&failed), "about half of 60 fail, {failed} did");
    assert_eq!(control(&fake, "DELETE", "/_fake/faults", &serde_json::Value::Null).status, 200);
    assert!((60..90).all(|number| create(&fake, &number.to_string()) == Ok(200)));
}
