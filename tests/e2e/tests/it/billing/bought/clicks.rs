//! Whose clicks are heeded, and how often each is: by nobody but the owner, and once, also while Stripe is away.

use serde_json::{Value, json};
use tollgate_e2e::{Key, Request, Side, in_parallel};
use tollgate_fake_stripe::{CheckoutOutcome, Fault, FaultKind, When};

use super::super::Scene;
use super::{ADA, listed, shown};
use crate::support::{at_checkout, session_of};

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
        fake.inject(Fault { method: None, path_prefix: path.into(), kind, when: When::Rate(1.0) });
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
