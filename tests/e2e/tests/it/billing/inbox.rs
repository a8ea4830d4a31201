//! Events in any order and number, while the process that heeds them is killed again and again.

use std::time::Duration;

use tollgate_e2e::scenario::{Storm, storm};

use super::Scene;

#[test]
fn shuffled_and_doubled_events_and_a_worker_that_is_killed_end_in_what_stripe_says() {
    let outcome = storm(&Storm { subscriptions: 60, events: 600, kills: 4, seed: 7 });
    assert_eq!(outcome.wrong, Vec::<String>::new(), "{outcome:#?}");
    assert_eq!(outcome.dead, 0, "{outcome:#?}");
    assert_eq!(outcome.keys, 0, "a webhook makes no key");
    assert!(outcome.ledger_is_untouched, "{outcome:#?}");
}

#[test]
fn an_event_that_cannot_be_heeded_is_kept_shown_and_heeded_when_somebody_says_so() {
    let scene = Scene::delivering("1h");
    // A customer without an account, an address or anything else to know it by.
    let fake = scene.stripe.fake();
    let customer = fake.call("POST", "/v1/customers", &[]).expect("a customer");
    let customer = customer["id"].as_str().expect("an id").to_owned();
    fake.card(&customer, tollgate_fake_stripe::Card::Good);
    let parameters = [("customer", customer.as_str()), ("items[0][price]", "price_pro")];
    fake.call("POST", "/v1/subscriptions", &parameters).expect("a subscription");
    let dead = tollgate_e2e::eventually("it is given up", || {
        let events = scene.gate.events();
        events.into_iter().find(|event| event["state"] == "dead")
    });
    let note = dead["note"].as_str().expect("why, and what to do").to_owned();
    assert!(note.contains(&customer), "{note}");
    fake.call("POST", &format!("/v1/customers/{customer}"), &[("email", "late@example.com")]).expect("an address");
    for event in scene.gate.events().iter().filter(|event| event["state"] == "dead") {
        scene.gate.cli(&["webhooks", "replay", event["id"].as_str().expect("an id")]).done();
    }
    scene.gate.await_plan("late@example.com", Some("pro"));
    tollgate_e2e::eventually("nothing is given up any more", || {
        (!scene.gate.inbox().contains_key("dead")).then_some(())
    });
}

#[test]
fn what_was_never_delivered_is_found() {
    let scene = Scene::with("1h", |setup| setup.set("billing.stripe", "sweep = \"1s\""));
    let made = scene.gate.cli(&["accounts", "create", "--email", "ada@example.com", "--json"]).done().json();
    let account = made["id"].as_str().expect("an id").to_owned();
    // Nothing is delivered: the news is only to be had by asking.
    scene.stripe.payer("ada@example.com", "price_pro", Some(&account));
    let found = tollgate_e2e::eventually_within(Duration::from_secs(30), || {
        let fixed = scene.gate.cli(&["reconcile", "--fix", "--json"]);
        let plan = scene.gate.plan_of(&account);
        (plan.as_deref() == Some("pro")).then_some(fixed)
    });
    assert!(found.is_some(), "{:#?}", scene.gate.account(&account));
}
