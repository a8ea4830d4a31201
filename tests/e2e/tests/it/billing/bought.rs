//! What a signed-in owner buys, looks at, changes and ends; and what nobody else can do for it.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate_e2e::{Answer, Customer, Gate, Key, Request, Side, epoch_secs, eventually, in_parallel, now_secs};
use tollgate_fake_stripe::{Action, Card, CheckoutOutcome, Fault, FaultKind, When};

use super::Scene;
use crate::support::{act, at_checkout, session_of};

const ADA: &str = "ada@example.com";
const DAY_SECS: f64 = 86_400.0;

/// What an owner does, with a body that would do it.
const CALLS: [(&str, &str); 6] = [
    ("/v1/billing/checkout", r#"{"plan":"pro"}"#),
    ("/v1/billing/portal", "{}"),
    ("/v1/billing/cancel", "{}"),
    ("/v1/billing/reactivate", "{}"),
    ("/v1/billing/change", r#"{"plan":"team"}"#),
    ("/v1/billing/preview", r#"{"plan":"team"}"#),
];

fn body(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

impl Scene {
    fn sign_in(&self, side: Side, name: &str) -> Customer {
        side.sign_in(&self.gate, &self.mailbox, &format!("{name}@example.com"))
    }

    /// What customers this address has at Stripe.
    fn customers(&self, email: &str) -> Vec<Value> {
        listed(self, "/v1/customers", &[("email", email)])
    }

    /// The one subscription of the one customer with this address, as Stripe has it now.
    #[track_caller]
    fn subscription(&self, email: &str) -> Value {
        let customers = self.customers(email);
        let [customer] = customers.as_slice() else { panic!("{email} is {} customers", customers.len()) };
        let all = self.stripe.fake().subscriptions_of(customer["id"].as_str().expect("an id"));
        let [only] = all.as_slice() else { panic!("{} subscriptions: {all:#?}", all.len()) };
        only.clone()
    }

    /// Somebody who has signed in and paid for this plan.
    #[track_caller]
    fn owner(&self, side: Side, name: &str, plan: &str) -> Customer {
        let owner = self.sign_in(side, name);
        self.buys(&owner, plan);
        owner
    }

    #[track_caller]
    fn buys(&self, owner: &Customer, plan: &str) {
        let given = owner.write("POST", "/v1/billing/checkout", &json!({ "plan": plan })).expect(200);
        at_checkout(&self.stripe, &given, CheckoutOutcome::Pay);
        self.gate.await_plan(&owner.account, Some(plan));
    }
}

fn listed(scene: &Scene, path: &str, parameters: &[(&str, &str)]) -> Vec<Value> {
    let parameters: Vec<_> = parameters.iter().copied().chain([("limit", "100")]).collect();
    let list = scene.stripe.fake().call("GET", path, &parameters).expect("a list");
    list["data"].as_array().expect("data").clone()
}

/// Its first subscription in the owner's own words.
#[track_caller]
fn shown(owner: &Customer) -> Value {
    owner.get("/v1/billing").expect(200).json()["subscriptions"][0].clone()
}

#[track_caller]
fn seconds(instant: &Value) -> f64 {
    instant.as_str().and_then(epoch_secs).unwrap_or_else(|| panic!("no instant: {instant}"))
}

#[track_caller]
fn calls(gate: &Gate, key: &Key, status: u16) {
    eventually(&format!("a call is answered {status}"), || (gate.get("/events/1", key).status == status).then_some(()));
}

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
    let status = scene.subscription(ADA)["status"].clone();
    if status == "incomplete" {
        assert_eq!(scene.gate.plan_of(&ada.account), None, "an incomplete subscription gives nothing");
    }
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
fn only_the_owner_who_has_signed_in_and_meant_it_does_any_of_it() {
    let scene = Scene::delivering("1h");
    let ada = scene.owner(Side::Mounted, "ada", "pro");
    let key = Key::of(&ada.write("POST", "/v1/keys", &json!({})).expect(201).json());
    let before = scene.subscription(ADA);
    for side in Side::ALL {
        let again = scene.sign_in(side, "ada");
        let eve = scene.sign_in(side, "eve");
        side.ask(&scene.gate, Request::get("/v1/billing")).problem(401, "sign_in_needed");
        side.ask(&scene.gate, Request::get("/v1/billing").key(&key.raw)).problem(403, "not_allowed");
        for (target, text) in CALLS {
            let request = || Request::json("POST", target, &body(text));
            side.ask(&scene.gate, request()).problem(401, "sign_in_needed");
            side.ask(&scene.gate, request().key(&key.raw)).problem(403, "not_allowed");
            for proof in ["", "junk", &eve.csrf] {
                again.send(request().header("x-csrf-token", proof)).problem(403, "csrf");
            }
            again.send(request()).problem(403, "csrf");
        }
        // Whoever else has signed in sees nothing of it and moves nothing of it.
        let seen = eve.get("/v1/billing").expect(200).text();
        assert!(!seen.contains("sub_") && !seen.contains("cus_"), "{seen}");
        for (target, text) in &CALLS[1..4] {
            let status = eve.write("POST", target, &body(text)).status;
            assert!(matches!(status, 400 | 409), "{target}: {status}");
        }
    }
    assert_eq!(scene.subscription(ADA), before, "nothing changed");
    scene.gate.get("/events/1", &key).expect(200);
}

#[test]
fn a_repeated_click_is_done_once_and_its_address_is_not_shown_twice() {
    let scene = Scene::delivering("1h");
    let ada = scene.sign_in(Side::Mounted, "ada");
    let send = |target: &str, with: &Value, key: &str| {
        let request = Request::json("POST", target, with).header("x-csrf-token", &ada.csrf);
        ada.send(request.header("idempotency-key", key))
    };
    let (pro, team) = (json!({ "plan": "pro" }), json!({ "plan": "team" }));
    let given = send("/v1/billing/checkout", &pro, "click-1").expect(200);
    let session = session_of(&scene.stripe, &given);
    let again = send("/v1/billing/checkout", &pro, "click-1");
    again.problem(409, "already_done");
    assert!(!again.text().contains(&session) && !scene.gate.stores_hold(session.as_bytes()), "{}", again.text());
    send("/v1/billing/checkout", &team, "click-1").problem(422, "idempotency_mismatch");
    assert_eq!(listed(&scene, "/v1/checkout/sessions", &[]).len(), 1);
    at_checkout(&scene.stripe, &given, CheckoutOutcome::Pay);
    scene.gate.await_plan(&ada.account, Some("pro"));

    send("/v1/billing/portal", &json!({}), "click-2").expect(200);
    send("/v1/billing/portal", &json!({}), "click-2").problem(409, "already_done");
    let changed = send("/v1/billing/change", &team, "click-3").expect(200);
    let repeated = send("/v1/billing/change", &team, "click-3").expect(200);
    assert_eq!(repeated.json(), changed.json(), "what holds no secret is answered as it was");
    assert_eq!(repeated.header("idempotency-replayed"), Some("true"));
    let ended = send("/v1/billing/cancel", &json!({ "at": "now" }), "click-4").expect(200);
    assert_eq!(send("/v1/billing/cancel", &json!({ "at": "now" }), "click-4").expect(200).json(), ended.json());
}

#[test]
fn a_double_click_makes_one_customer_and_one_page() {
    let scene = Scene::new("1h");
    let ada = scene.sign_in(Side::Mounted, "ada");
    let answers = in_parallel(6, |_| ada.write("POST", "/v1/billing/checkout", &json!({ "plan": "pro" })));
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let customers = scene.customers(ADA);
    assert_eq!(customers.len(), 1, "{customers:#?}");
    assert_eq!(customers[0]["metadata"]["tollgate_account"], ada.account);
    let pages = listed(&scene, "/v1/checkout/sessions", &[]);
    let open = pages.iter().filter(|page| page["status"] == "open").count();
    assert_eq!(open, 1, "two open pages could both be paid: {pages:#?}");
    // Another plan closes the page of the first.
    ada.write("POST", "/v1/billing/checkout", &json!({ "plan": "team" })).expect(200);
    let pages = listed(&scene, "/v1/checkout/sessions", &[]);
    let open: Vec<&Value> = pages.iter().filter(|page| page["status"] == "open").collect();
    assert_eq!(open.len(), 1, "{open:#?}");
    assert_eq!(scene.customers(ADA).len(), 1);
}

#[test]
fn while_stripe_is_down_nothing_is_half_done_and_afterwards_the_same_click_works() {
    let scene = Scene::delivering("1h");
    let ada = scene.sign_in(Side::Mounted, "ada");
    let fake = scene.stripe.fake();
    let send = |target: &str, with: &Value| {
        let request = Request::json("POST", target, with).header("x-csrf-token", &ada.csrf);
        ada.send(request.header("idempotency-key", &format!("click-on-{target}")))
    };
    let fails = |target: &str, with: &Value, path: &str, kind: FaultKind| {
        fake.inject(Fault { method: None, path_prefix: path.into(), kind: kind.clone(), when: When::Rate(1.0) });
        let answer = send(target, with);
        fake.clear_faults();
        assert_eq!(answer.status, 503, "{target} {path} {kind:?}: {}", answer.text());
        assert!(answer.number("retry-after") >= 1);
        let body = answer.problem(503, "stripe_unavailable");
        assert!(!body.to_string().contains("127.0.0.1"), "causes are for the log: {body:#}");
    };
    let pro = json!({ "plan": "pro" });
    // The answer of what was done is lost too.
    for (path, kind) in [
        ("/v1/", FaultKind::Status(500)),
        ("/v1/", FaultKind::Status(429)),
        ("/v1/", FaultKind::Cut),
        ("/v1/customers", FaultKind::CutAfter),
        ("/v1/checkout/sessions", FaultKind::CutAfter),
    ] {
        fails("/v1/billing/checkout", &pro, path, kind);
    }
    assert!(scene.customers(ADA).len() <= 1, "{:#?}", scene.customers(ADA));
    let given = send("/v1/billing/checkout", &pro).expect(200);
    assert_eq!(scene.customers(ADA).len(), 1);
    let open = listed(&scene, "/v1/checkout/sessions", &[]);
    assert_eq!(open.iter().filter(|page| page["status"] == "open").count(), 1, "{open:#?}");
    at_checkout(&scene.stripe, &given, CheckoutOutcome::Pay);
    scene.gate.await_plan(&ada.account, Some("pro"));
    let key = Key::of(&ada.write("POST", "/v1/keys", &json!({})).expect(201).json());

    for (target, with) in [
        ("/v1/billing/portal", json!({})),
        ("/v1/billing/preview", json!({ "plan": "team" })),
        ("/v1/billing/change", json!({ "plan": "team" })),
        ("/v1/billing/cancel", json!({ "at": "now" })),
    ] {
        fails(target, &with, "/v1/", FaultKind::Status(500));
        // Calls and what is known do not need Stripe.
        scene.gate.get("/events/1", &key).expect(200);
        assert_eq!(shown(&ada)["status"], "active");
    }
    send("/v1/billing/change", &json!({ "plan": "team" })).expect(200);
    assert_eq!(scene.gate.plan_of(&ada.account).as_deref(), Some("team"));
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
