//! A plan is changed for another, ended, and taken back.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate_e2e::{Answer, Key, Side, eventually};
use tollgate_fake_stripe::{Action, Card, CheckoutOutcome};

use super::super::Scene;
use super::{ADA, listed, seconds, shown};
use crate::support::{act, at_checkout};

#[test]
fn a_subscription_is_ended_at_its_periods_end_taken_back_and_ended_at_once() {
    let scene = Scene::delivering("1h");
    for (side, name) in [(Side::Mounted, "ada"), (Side::Direct, "bob")] {
        let owner = scene.owner(side, name, "pro");
        let key = Key::of(&owner.write("POST", "/v1/keys", &json!({})).expect(201).json());
        let period_end = seconds(&shown(&owner)["period"]["end"]);

        let ended = owner.write("POST", "/v1/billing/cancel", &json!({})).expect(200).json();
        assert_eq!((&ended["status"], &ended["subscription"]), (&"active".into(), &shown(&owner)["id"]), "{ended:#}");
        assert!((seconds(&ended["ends_at"]) - period_end).abs() < 1.0, "{ended:#}");
        assert_eq!(shown(&owner)["ends_at"], ended["ends_at"]);
        scene.gate.get("/events/1", &key).expect(200);
        let twice = owner.write("POST", "/v1/billing/cancel", &json!({ "at": "period_end" })).expect(200).json();
        assert_eq!(twice["ends_at"], ended["ends_at"], "done already");

        let back = owner.write("POST", "/v1/billing/reactivate", &json!({})).expect(200).json();
        assert_eq!((&back["status"], &back["ends_at"]), (&"active".into(), &Value::Null), "{back:#}");
        assert_eq!(shown(&owner)["ends_at"], Value::Null);
        assert_eq!(scene.subscription(&format!("{name}@example.com"))["cancel_at_period_end"], false);
        scene.gate.get("/events/1", &key).expect(200);

        let gone = owner.write("POST", "/v1/billing/cancel", &json!({ "at": "now" })).expect(200).json();
        assert_eq!(gone["status"], "canceled", "{gone:#}");
        // What was done by the owner is known to the gate without a webhook.
        scene.gate.get("/events/1", &key).problem(402, "upgrade_required");
        assert_eq!(shown(&owner)["status"], "canceled");
        for (call, with) in [("cancel", json!({})), ("reactivate", json!({}))] {
            advises_checkout(&owner.write("POST", &format!("/v1/billing/{call}"), &with));
        }
        owner.write("POST", "/v1/billing/portal", &json!({})).expect(200);
    }
}

#[track_caller]
fn advises_checkout(answer: &Answer) {
    assert_eq!(answer.status, 409, "{}", answer.text());
    let detail = answer.json()["detail"].as_str().expect("a detail").to_owned();
    assert!(detail.contains("checkout"), "what to do instead: {detail}");
}

#[test]
fn who_has_no_subscription_is_told_how_one_begins() {
    let scene = Scene::new("1h");
    let ada = scene.sign_in(Side::Mounted, "ada");
    for (call, with) in [("cancel", json!({})), ("cancel", json!({ "at": "now" })), ("reactivate", json!({}))] {
        advises_checkout(&ada.write("POST", &format!("/v1/billing/{call}"), &with));
    }
    let wrong = ada.write("POST", "/v1/billing/cancel", &json!({ "at": "soon" }));
    assert_eq!(wrong.wrong_at(422, "invalid_fields"), ["#/at"]);
    assert_eq!(scene.customers(ADA), Vec::<Value>::new());
}

#[test]
fn a_change_costs_what_its_preview_said_keeps_what_was_used_and_holds_at_once() {
    let scene = Scene::delivering("1h");
    let ada = scene.owner(Side::Mounted, "ada", "pro");
    let key = Key::of(&ada.write("POST", "/v1/keys", &json!({})).expect(201).json());
    for _ in 0..5 {
        scene.gate.get("/events/1", &key).expect(200);
    }
    let customer = scene.subscription(ADA)["customer"].as_str().expect("a customer").to_owned();
    let invoices = || listed(&scene, "/v1/invoices", &[("customer", &customer)]);
    let paid_before: i64 = invoices().iter().filter_map(|invoice| invoice["amount_paid"].as_i64()).sum();
    let preview = ada.write("POST", "/v1/billing/preview", &json!({ "plan": "team" })).expect(200).json();
    assert_eq!(invoices().len(), 1, "looking costs nothing");
    let due = preview["amount_due_now"].as_i64().unwrap_or_else(|| panic!("{preview:#}"));
    // At the very beginning of the period the difference is nearly whole.
    assert!((6_900..=7_000).contains(&due), "{preview:#}");
    let changed = ada
        .write("POST", "/v1/billing/change", &json!({ "plan": "team", "proration_date": preview["proration_date"] }))
        .expect(200)
        .json();
    assert_eq!(changed["subscription"]["plan"], "team", "{changed:#}");
    assert_eq!(scene.gate.plan_of(&ada.account).as_deref(), Some("team"), "known without a webhook");
    let paid: i64 = invoices().iter().filter_map(|invoice| invoice["amount_paid"].as_i64()).sum();
    assert_eq!(paid - paid_before, due, "{:#?}", invoices());
    scene.gate.get("/events/1", &key).expect(200);
    let quota = scene.gate.account(&ada.account)["quota"].clone();
    assert_eq!((&quota["used"], &quota["limit"]), (&6.into(), &10_000_000.into()), "{quota:#}");

    // The same once more is done already and costs nothing.
    ada.write("POST", "/v1/billing/change", &json!({ "plan": "team" })).expect(200);
    let again: i64 = invoices().iter().filter_map(|invoice| invoice["amount_paid"].as_i64()).sum();
    assert_eq!(again, paid);
    // Back down: nothing is due now, and what was used stays.
    let down = ada.write("POST", "/v1/billing/preview", &json!({ "plan": "pro" })).expect(200).json();
    assert!(down["amount_due_now"].as_i64().is_some_and(|due| due <= 0), "{down:#}");
    ada.write("POST", "/v1/billing/change", &json!({ "plan": "pro" })).expect(200);
    assert_eq!(scene.gate.plan_of(&ada.account).as_deref(), Some("pro"));
    assert_eq!(scene.gate.used(&ada.account), 6);
    let at_stripe = scene.subscription(ADA);
    assert_eq!(at_stripe["items"]["data"].as_array().map(Vec::len), Some(1), "{at_stripe:#}");
}

#[test]
fn a_change_that_the_card_does_not_pay_for_changes_nothing() {
    let scene = Scene::delivering("1h");
    let ada = scene.owner(Side::Mounted, "ada", "pro");
    let customer = scene.subscription(ADA)["customer"].as_str().expect("a customer").to_owned();
    scene.stripe.fake().card(&customer, Card::Declines);
    let answer = ada.write("POST", "/v1/billing/change", &json!({ "plan": "team" }));
    assert_eq!(answer.status, 402, "{}", answer.text());
    assert_eq!(scene.gate.plan_of(&ada.account).as_deref(), Some("pro"));
    let at_stripe = scene.subscription(ADA);
    assert_eq!(
        (&at_stripe["status"], &at_stripe["items"]["data"][0]["price"]["id"]),
        (&"active".into(), &"price_pro".into())
    );
    scene.stripe.fake().card(&customer, Card::Good);
    ada.write("POST", "/v1/billing/change", &json!({ "plan": "team" })).expect(200);
    assert_eq!(scene.gate.plan_of(&ada.account).as_deref(), Some("team"));
}

#[test]
fn a_change_without_a_subscription_leads_to_checkout_and_a_second_purchase_to_a_change() {
    let scene = Scene::delivering("1h");
    let ada = scene.sign_in(Side::Mounted, "ada");
    let given = ada.write("POST", "/v1/billing/change", &json!({ "plan": "team" })).expect(200);
    at_checkout(&scene.stripe, &given, CheckoutOutcome::Pay);
    scene.gate.await_plan(&ada.account, Some("team"));
    for plan in ["team", "pro"] {
        let refused = ada.write("POST", "/v1/billing/checkout", &json!({ "plan": plan }));
        assert_eq!(refused.status, 409, "{}", refused.text());
        assert!(
            refused.json()["detail"].as_str().is_some_and(|detail| detail.contains("change")),
            "{}",
            refused.text()
        );
    }
    // Somebody whose payment failed is led to the portal, not to a second subscription.
    let subscription = scene.subscription(ADA)["id"].as_str().expect("an id").to_owned();
    act(&scene.stripe, &subscription, &Action::CardFails);
    act(&scene.stripe, &subscription, &Action::RenewNow);
    eventually("the failure is known", || (shown(&ada)["status"] == "past_due").then_some(()));
    assert!(shown(&ada)["trouble"].as_str().is_some_and(|text| text.contains("portal")), "{:#}", shown(&ada));
    assert_eq!(ada.write("POST", "/v1/billing/checkout", &json!({ "plan": "team" })).status, 409);
    assert_eq!(scene.subscription(ADA)["id"], subscription, "there is still one");
}

#[test]
fn what_is_done_in_the_portal_is_known_without_the_owner_coming_back() {
    let scene = Scene::delivering("1h");
    let ada = scene.owner(Side::Mounted, "ada", "pro");
    let subscription = scene.subscription(ADA)["id"].as_str().expect("an id").to_owned();
    for (action, told) in [
        (Action::CancelAtPeriodEnd, (|seen| seen["ends_at"].is_string()) as fn(&Value) -> bool),
        (Action::Reactivate, |seen| seen["ends_at"].is_null()),
        (Action::ChangePrice("price_team".into()), |seen| seen["plan"] == "team"),
        (Action::CancelNow, |seen| seen["status"] == "canceled"),
    ] {
        let name = format!("{action:?}");
        act(&scene.stripe, &subscription, &action);
        eventually(&name, || told(&shown(&ada)).then_some(()));
    }
    assert!(scene.stripe.fake().deliveries_settled(Duration::from_secs(15)), "every event was taken");
}
