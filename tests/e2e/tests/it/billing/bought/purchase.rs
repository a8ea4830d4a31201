//! A plan is bought at Checkout, and what was bought is looked at in the portal.

use serde_json::{Value, json};
use tollgate_e2e::{Key, Side, eventually, now_secs};
use tollgate_fake_stripe::CheckoutOutcome;

use super::super::Scene;
use super::{ADA, calls, seconds, shown};
use crate::support::{at_checkout, session_of};

const DAY_SECS: f64 = 86_400.0;

#[test]
fn a_plan_is_paid_for_at_checkout_and_only_then_a_key_can_be_made_and_called_with() {
    let scene = Scene::delivering("1h");
    for (side, name) in [(Side::Mounted, "ada"), (Side::Direct, "bob")] {
        let owner = scene.sign_in(side, name);
        let before = owner.get("/v1/billing").expect(200).json();
        assert_eq!((&before["plan"], &before["has_access"]), (&Value::Null, &false.into()), "{before:#}");
        assert_eq!(before["for_sale"], json!(["pro", "team"]), "{before:#}");
        assert_eq!((&before["may_claim_key"], &before["has_customer"]), (&false.into(), &false.into()), "{before:#}");
        owner.write("POST", "/v1/keys", &json!({})).problem(402, "upgrade_required");

        let given = owner.write("POST", "/v1/billing/checkout", &json!({ "plan": "pro" })).expect(200);
        let session = session_of(&scene.stripe, &given);
        let session = scene.stripe.fake().object(&session).expect("the page");
        assert_eq!(
            (&session["mode"], &session["client_reference_id"]),
            (&"subscription".into(), &owner.account.clone().into())
        );
        assert!(
            session["success_url"].as_str().is_some_and(|url| url.contains("{CHECKOUT_SESSION_ID}")),
            "{session:#}"
        );
        // Whoever has been there and has not paid has nothing.
        owner.write("POST", "/v1/keys", &json!({})).problem(402, "upgrade_required");

        at_checkout(&scene.stripe, &given, CheckoutOutcome::Pay);
        scene.gate.await_plan(&owner.account, Some("pro"));
        assert_eq!(owner.get("/v1/keys").expect(200).json()["items"], json!([]), "no webhook makes a key");
        let after = owner.get("/v1/billing").expect(200).json();
        assert_eq!((&after["plan"], &after["source"]), (&"pro".into(), &"subscription".into()), "{after:#}");
        assert_eq!((&after["may_claim_key"], &after["has_customer"]), (&true.into(), &true.into()), "{after:#}");
        let subscription = &after["subscriptions"][0];
        assert_eq!((&subscription["status"], &subscription["plan"]), (&"active".into(), &"pro".into()), "{after:#}");
        assert_eq!(subscription["trouble"], Value::Null, "{after:#}");

        let key = Key::of(&owner.write("POST", "/v1/keys", &json!({})).expect(201).json());
        calls(&scene.gate, &key, 200);
        let at_stripe = scene.subscription(&format!("{name}@example.com"));
        assert_eq!(at_stripe["metadata"]["tollgate_account"], owner.account, "{at_stripe:#}");
        assert_eq!(subscription["id"], at_stripe["id"]);
    }
}

#[test]
fn a_card_that_is_declined_or_a_page_that_is_left_buys_nothing_and_a_delayed_payment_buys_once_it_succeeds() {
    let scene = Scene::delivering("1h");
    let ada = scene.sign_in(Side::Mounted, "ada");
    let checkout = || ada.write("POST", "/v1/billing/checkout", &json!({ "plan": "pro" })).expect(200);
    let first = checkout();
    at_checkout(&scene.stripe, &first, CheckoutOutcome::Decline);
    let again = checkout();
    assert_eq!(session_of(&scene.stripe, &again), session_of(&scene.stripe, &first), "the same page is still open");
    at_checkout(&scene.stripe, &again, CheckoutOutcome::Expire);
    let third = checkout();
    assert_ne!(session_of(&scene.stripe, &third), session_of(&scene.stripe, &first), "a page that was left is over");
    at_checkout(&scene.stripe, &third, CheckoutOutcome::PayLater);
    // The subscription's first payment is under way, which is no payment yet.
    eventually("the page is known to be done", || {
        scene.gate.events().iter().any(|event| event["kind"] == "checkout.session.completed").then_some(())
    });
    let all_heeded = || {
        let states = scene.gate.inbox();
        (!states.contains_key("pending") && !states.contains_key("dead")).then_some(())
    };
    eventually("everything is heeded", all_heeded);
    let session = session_of(&scene.stripe, &third);
    assert_eq!(scene.subscription(ADA)["status"], "incomplete");
    assert_eq!(scene.gate.plan_of(&ada.account), None, "an incomplete subscription gives nothing");
    scene.stripe.fake().async_payment(&session, true).expect("it succeeds");
    scene.gate.await_plan(&ada.account, Some("pro"));
}

#[test]
fn the_first_subscription_begins_with_the_trial_and_a_second_one_does_not() {
    let scene = Scene::with("1h", |setup| setup.set("billing.stripe", "trial_days = 14"));
    scene.stripe.deliver_to(&scene.gate);
    let ada = scene.owner(Side::Mounted, "ada", "pro");
    let first = shown(&ada);
    assert_eq!(first["status"], "trialing", "{first:#}");
    let lasts = seconds(&first["trial_end"]) - f64::from(u32::try_from(now_secs()).expect("a time of this century"));
    assert!((13.9 * DAY_SECS..=14.0 * DAY_SECS + 5.0).contains(&lasts), "{lasts} s of trial");
    let key = Key::of(&ada.write("POST", "/v1/keys", &json!({})).expect(201).json());
    calls(&scene.gate, &key, 200);
    ada.write("POST", "/v1/billing/cancel", &json!({ "at": "now" })).expect(200);
    calls(&scene.gate, &key, 402);
    // Stripe counts in seconds, and what was bought last is shown first.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    scene.buys(&ada, "pro");
    let second = shown(&ada);
    assert_eq!((&second["status"], &second["trial_end"]), (&"active".into(), &Value::Null), "{second:#}");
    calls(&scene.gate, &key, 200);
}

#[test]
fn what_is_not_sold_is_refused_naming_what_is() {
    let scene = Scene::new("1h");
    let ada = scene.sign_in(Side::Mounted, "ada");
    for plan in ["comped", "gold", "public", "Pro", ""] {
        for call in ["checkout", "change", "preview"] {
            let target = format!("/v1/billing/{call}");
            let answer = ada.write("POST", &target, &json!({ "plan": plan }));
            assert_eq!(answer.status, 400, "{call} {plan}: {}", answer.text());
            let detail = answer.json()["detail"].as_str().expect("a detail").to_owned();
            assert!(detail.contains("pro") && detail.contains("team"), "{call} {plan}: {detail}");
        }
    }
    let other = ada.write("POST", "/v1/billing/checkout", &json!({ "plan": "pro", "price": "price_team" }));
    assert_eq!(other.status, 400, "{}", other.text());
    assert!(other.text().contains("price_pro_year"), "{}", other.text());
    for (wrong, place) in [
        (json!({}), "#/plan"),
        (json!({ "plan": 7 }), "#/plan"),
        (json!({ "plan": "pro", "price": 7 }), "#/price"),
        (json!({ "plan": "pro", "prize": "price_pro" }), "#/prize"),
        (json!(["pro"]), "#"),
    ] {
        let answer = ada.write("POST", "/v1/billing/checkout", &wrong);
        assert_eq!(answer.wrong_at(422, "invalid_fields"), [place], "{wrong}");
    }
    assert_eq!(scene.customers(ADA), Vec::<Value>::new(), "nothing was made at Stripe");
}

#[test]
fn a_year_can_be_bought_and_is_still_counted_by_the_month() {
    let scene = Scene::delivering("1h");
    let ada = scene.sign_in(Side::Mounted, "ada");
    let yearly = json!({ "plan": "pro", "price": "price_pro_year" });
    let given = ada.write("POST", "/v1/billing/checkout", &yearly).expect(200);
    at_checkout(&scene.stripe, &given, CheckoutOutcome::Pay);
    scene.gate.await_plan(&ada.account, Some("pro"));
    let period = shown(&ada)["period"].clone();
    let days = (seconds(&period["end"]) - seconds(&period["start"])) / DAY_SECS;
    assert!((364.0..=367.0).contains(&days), "a year: {period:#}");
    // What is paid by the year is still counted by the month.
    let key = Key::of(&ada.write("POST", "/v1/keys", &json!({})).expect(201).json());
    calls(&scene.gate, &key, 200);
    let quota = scene.gate.account(&ada.account)["quota"]["period"].clone();
    let days = (seconds(&quota["end"]) - seconds(&quota["start"])) / DAY_SECS;
    assert!((27.0..=32.0).contains(&days), "a month: {quota:#}");
}

#[test]
fn a_banned_account_and_one_with_a_given_plan_buy_nothing() {
    let scene = Scene::delivering("1h");
    let ada = scene.owner(Side::Mounted, "ada", "pro");
    scene.gate.cli(&["accounts", "ban", ADA]).done();
    let refused = ada.write("POST", "/v1/billing/change", &json!({ "plan": "team" }));
    assert!(matches!(refused.status, 401 | 403), "{}", refused.text());
    scene.gate.cli(&["accounts", "unban", ADA]).done();
    let eve = scene.sign_in(Side::Mounted, "eve");
    scene.gate.cli(&["accounts", "set-plan", "eve@example.com", "comped"]).done();
    let refused = eve.write("POST", "/v1/billing/checkout", &json!({ "plan": "team" }));
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(refused.text().contains("comped"), "{}", refused.text());
    scene.gate.cli(&["accounts", "set-plan", "eve@example.com", "--auto"]).done();
    eve.write("POST", "/v1/billing/checkout", &json!({ "plan": "team" })).expect(200);
    assert_eq!(scene.subscription(ADA)["items"]["data"][0]["price"]["id"], "price_pro");
}

#[test]
fn the_portal_is_advised_against_before_anything_was_bought_and_opened_afterwards_leaving_no_trace() {
    let scene = Scene::delivering("1h");
    let ada = scene.sign_in(Side::Mounted, "ada");
    let refused = ada.write("POST", "/v1/billing/portal", &json!({}));
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.json()["detail"].as_str().is_some_and(|detail| detail.contains("checkout")), "{}", refused.text());
    assert_eq!(scene.customers(ADA), Vec::<Value>::new());
    scene.buys(&ada, "pro");
    let url = |side: Side| {
        let owner = scene.sign_in(side, "ada");
        let opened = owner.write("POST", "/v1/billing/portal", &json!({})).expect(200).json();
        opened["portal_url"].as_str().unwrap_or_else(|| panic!("{opened:#}")).to_owned()
    };
    let page = format!("{}p/session/", scene.stripe.fake().url());
    for side in Side::ALL {
        let (one, other) = (url(side), url(side));
        assert_ne!(one, other, "each click has a portal of its own");
        for url in [one, other] {
            let token = url.strip_prefix(&page).unwrap_or_else(|| panic!("{url} is no page of {page}"));
            assert!(!scene.gate.stores_hold(token.as_bytes()), "whoever has the address is let in: it is kept nowhere");
            assert!(!scene.gate.log().contains(token));
        }
    }
}
