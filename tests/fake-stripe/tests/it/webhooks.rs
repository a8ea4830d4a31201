//! Webhooks as a receiver sees them: signatures, retries, duplicates, losses, order.

use std::time::Duration;

use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;
use tollgate_fake_stripe::{Action, Delivery, FakeConfig, FakeStripe, Mode, sign, signature_header};

use crate::http::{Received, Receiver};
use crate::support::{act, fake, fake_with, subscribed};

const SOON: Duration = Duration::from_secs(20);

fn on() -> Delivery {
    Delivery { mode: Mode::On, concurrency: 1, retry_after: vec![Duration::from_millis(10); 3], ..Delivery::default() }
}

/// The signatures of one scheme in a header, and its time.
fn parts<'a>(header: &'a str, scheme: &str) -> (&'a str, Vec<&'a str>) {
    let fields: Vec<(&str, &str)> = header.split(',').filter_map(|field| field.split_once('=')).collect();
    let t = fields.iter().find(|(name, _)| *name == "t").expect("a time").1;
    (t, fields.iter().filter(|(name, _)| *name == scheme).map(|(_, value)| *value).collect())
}

/// Checks a signature by the rules of the documentation, with nothing of the fake's.
fn is_signed_with(received: &Received, secret: &str) -> bool {
    let (t, signatures) = parts(&received.signature, "v1");
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key");
    mac.update(format!("{t}.{}", received.body).as_bytes());
    let expected = hex::encode(mac.finalize().into_bytes());
    signatures.contains(&expected.as_str())
}

fn kinds(received: &[Received]) -> Vec<String> {
    received
        .iter()
        .map(|one| serde_json::from_str::<Value>(&one.body).expect("JSON")["type"].as_str().expect("a type").to_owned())
        .collect()
}

fn undelivered(fake: &FakeStripe) -> usize {
    let page = fake.call("GET", "/v1/events", &[("delivery_success", "false"), ("limit", "100")]).expect("a list");
    page["data"].as_array().expect("rows").len()
}

#[test]
fn a_signature_is_the_hmac_of_time_and_body_and_each_secret_adds_one() {
    // Worked out with Python's `hmac` over "1700000000.{}".
    let expected = "35495024f4ef3f94e5a93e22221544c4b75e9a42300cd965ab81cb85cd994e91";
    assert_eq!(sign(b"{}", "whsec_test", 1_700_000_000), format!("t=1700000000,v1={expected}"));
    let two = signature_header(b"{}", &["another", "whsec_test"], 1_700_000_000, true);
    assert_eq!((parts(&two, "v1").1.len(), parts(&two, "v0").1.len()), (2, 1));
    assert_eq!(parts(&two, "v1").1[1], expected);
    let forged = Received { signature: two, body: "{ }".to_owned() };
    assert!(!is_signed_with(&forged, "whsec_test"));
}

#[test]
fn events_arrive_signed_in_order_and_only_those_that_were_asked_for() {
    let fake = fake();
    fake.set_delivery(on());
    let receiver = Receiver::start(|_| 200);
    let endpoint = fake.add_endpoint(&receiver.url, &["customer.subscription.*", "invoice.paid"]);
    let made = subscribed(&fake, &["price_pro"]);
    act(&fake, &made, &Action::CancelNow);
    assert!(fake.deliveries_settled(SOON));
    let received = receiver.received();
    assert_eq!(kinds(&received), ["invoice.paid", "customer.subscription.created", "customer.subscription.deleted"]);
    assert!(received.iter().all(|one| is_signed_with(one, &endpoint.secret)));
    assert_eq!(undelivered(&fake), 0);
}

#[test]
fn while_a_secret_is_rolled_both_sign_and_afterwards_only_the_new_one() {
    let fake = fake();
    fake.set_delivery(on());
    let receiver = Receiver::start(|_| 200);
    let endpoint = fake.add_endpoint(&receiver.url, &["customer.subscription.updated"]);
    let made = subscribed(&fake, &["price_pro"]);
    let new = fake.roll_secret(&endpoint.id, Duration::from_hours(1)).expect("it is there");
    act(&fake, &made, &Action::Touch);
    assert!(fake.deliveries_settled(SOON));
    fake.advance(Duration::from_hours(1));
    act(&fake, &made, &Action::Touch);
    assert!(fake.deliveries_settled(SOON));
    let received = receiver.received();
    let signed =
        |index: usize| (is_signed_with(&received[index], &endpoint.secret), is_signed_with(&received[index], &new));
    assert_eq!((signed(0), signed(1)), ((true, true), (false, true)));
}

#[test]
fn what_is_not_answered_with_2xx_is_sent_again_and_in_the_end_stays_undelivered() {
    let fake = fake();
    fake.set_delivery(on());
    // The first event succeeds at its third attempt, the second never.
    let receiver = Receiver::start(|number| if number == 2 { 200 } else { 500 });
    fake.add_endpoint(&receiver.url, &["customer.subscription.updated"]);
    let made = subscribed(&fake, &["price_pro"]);
    act(&fake, &made, &Action::Touch);
    assert!(fake.deliveries_settled(SOON));
    assert_eq!((receiver.received().len(), undelivered(&fake)), (3, 0));
    act(&fake, &made, &Action::Touch);
    assert!(fake.deliveries_settled(SOON));
    assert_eq!((receiver.received().len(), undelivered(&fake)), (3 + 4, 1));
    let bodies: std::collections::BTreeSet<String> = receiver.received().into_iter().map(|one| one.body).collect();
    assert_eq!(bodies.len(), 2, "an event is the same text at every attempt");
}

#[test]
fn events_are_doubled_lost_and_shuffled_as_told() {
    let fake = fake();
    let receiver = Receiver::start(|_| 200);
    fake.add_endpoint(&receiver.url, &["customer.subscription.updated"]);
    fake.set_delivery(on());
    let made = subscribed(&fake, &["price_pro"]);
    fake.set_delivery(Delivery { duplicates: 2, ..on() });
    act(&fake, &made, &Action::Touch);
    assert!(fake.deliveries_settled(SOON));
    assert_eq!(receiver.received().len(), 3);
    fake.set_delivery(Delivery { drop: 1.0, ..on() });
    act(&fake, &made, &Action::Touch);
    assert!(fake.deliveries_settled(SOON));
    assert_eq!((receiver.received().len(), undelivered(&fake)), (3, 1));
    let lost = fake.call("GET", "/v1/events", &[("delivery_success", "false")]).expect("a list")["data"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert!(fake.redeliver(&lost));
    assert!(fake.deliveries_settled(SOON));
    assert_eq!((receiver.received().len(), undelivered(&fake)), (4, 0));
}

#[test]
fn shuffled_events_all_arrive_and_in_another_order() {
    let fake = fake();
    fake.set_delivery(Delivery { shuffle: true, ..on() });
    // The first answer waits until a heap of events has gathered behind it.
    let (go, gathered) = std::sync::mpsc::channel::<()>();
    let receiver = Receiver::start(move |number| {
        if number == 0 {
            gathered.recv_timeout(SOON).expect("the test says when");
        }
        200
    });
    fake.add_endpoint(&receiver.url, &["customer.subscription.updated"]);
    let made = subscribed(&fake, &["price_pro"]);
    for _ in 0..31 {
        act(&fake, &made, &Action::Touch);
    }
    go.send(()).expect("the receiver waits");
    assert!(fake.deliveries_settled(SOON));
    let touched = |one: &Received| -> u32 {
        let event: Value = serde_json::from_str(&one.body).expect("JSON");
        event["data"]["object"]["metadata"]["touched"].as_str().expect("a count").parse().expect("a number")
    };
    let mut order: Vec<u32> = receiver.received().iter().map(touched).collect();
    assert!(!order.is_sorted(), "{order:?}");
    order.sort_unstable();
    assert_eq!(order, (1..=31).collect::<Vec<u32>>());
}

#[test]
fn collected_events_are_signed_with_the_configured_secret_and_time() {
    let fake =
        fake_with(FakeConfig { sign_v0: true, webhook_secret: "whsec_mine".to_owned(), ..FakeConfig::default() });
    subscribed(&fake, &["price_pro"]);
    let events = fake.take_events();
    assert!(!events.is_empty());
    for event in &events {
        let received = Received { signature: event.signature.clone(), body: event.body.to_string() };
        assert!(is_signed_with(&received, "whsec_mine"));
        assert_eq!(parts(&event.signature, "v1").0, fake.now().to_string());
        assert_eq!(parts(&event.signature, "v0").1.len(), 1);
    }
    assert_eq!(undelivered(&fake), events.len());
    fake.mark_delivered(&events[0].id);
    assert_eq!(undelivered(&fake), events.len() - 1);
    assert!(fake.take_events().is_empty(), "taken is taken");
}

#[test]
fn an_event_of_another_api_can_be_made() {
    let fake = fake();
    let id = fake.emit("v9.unheard.of", serde_json::json!({ "id": "x_1", "object": "unheard" }));
    let event = fake.call("GET", &format!("/v1/events/{id}"), &[]).expect("it is there");
    assert_eq!(
        (event["type"].as_str(), event["data"]["object"]["object"].as_str()),
        (Some("v9.unheard.of"), Some("unheard"))
    );
}
