//! What the webhook's door lets in.

use serde_json::json;
use tollgate_e2e::{Gate, Request, Side, now_secs};
use tollgate_fake_stripe::{sign, signature_header};

use super::Scene;

fn now() -> i64 {
    i64::try_from(now_secs()).expect("a time of this age")
}

fn post(side: Side, gate: &Gate, signature: Option<&str>, body: &str) -> tollgate_e2e::Answer {
    let request = Request::post("/stripe/webhook", body).header("content-type", "application/json");
    let request = match signature {
        Some(signature) => request.header("stripe-signature", signature),
        None => request,
    };
    side.ask(gate, request)
}

/// An event as Stripe writes it, pretty-printed, so that whoever signs it after parsing signs something else.
fn event(livemode: bool) -> String {
    let object = json!({ "id": "sub_1", "object": "subscription", "customer": "cus_1", "status": "active" });
    let event = json!({
        "id": "evt_1",
        "object": "event",
        "type": "customer.subscription.updated",
        "created": now(),
        "livemode": livemode,
        "data": { "object": object },
    });
    serde_json::to_string_pretty(&event).expect("JSON")
}

#[test]
fn forged_tampered_old_future_and_outdated_signatures_leave_no_row() {
    let scene = Scene::new("1h");
    let secret = scene.stripe.fake().webhook_secret();
    let body = event(false);
    let good = sign(body.as_bytes(), &secret, now());
    let v0_only = signature_header(body.as_bytes(), &[secret.as_str()], now(), true);
    let v0_only: Vec<&str> = v0_only.split(',').filter(|part| !part.starts_with("v1=")).collect();
    let bad = [
        ("none", None, body.clone()),
        ("forged", Some(sign(body.as_bytes(), "whsec_of_somebody_else", now())), body.clone()),
        ("tampered", Some(good.clone()), body.replace("active", "paused")),
        ("reformatted", Some(good.clone()), body.replace('\n', "")),
        ("old", Some(sign(body.as_bytes(), &secret, now() - 400)), body.clone()),
        ("future", Some(sign(body.as_bytes(), &secret, now() + 400)), body.clone()),
        ("v0 only", Some(v0_only.join(",")), body.clone()),
        ("time moved", Some(good.replace(&format!("t={}", now()), &format!("t={}", now() - 1))), body.clone()),
        ("no time", Some(good.split_once(',').expect("two parts").1.to_owned()), body.clone()),
        ("empty", Some(String::new()), body.clone()),
        ("no event", Some(sign(b"{}", &secret, now())), "{}".to_owned()),
        ("no JSON", Some(sign(b"hello", &secret, now())), "hello".to_owned()),
        ("of the other mode", Some(sign(event(true).as_bytes(), &secret, now())), event(true)),
    ];
    for side in Side::ALL {
        for (what, signature, body) in &bad {
            let answer = post(side, &scene.gate, signature.as_deref(), body);
            assert_eq!(answer.status, 400, "{what}, {side:?}: {}", answer.text());
            assert!(!answer.text().contains(&secret), "{what}");
        }
    }
    assert_eq!(scene.gate.events(), Vec::<serde_json::Value>::new());
}

#[test]
fn a_signed_event_is_stored_once_over_either_door_and_with_either_secret_while_one_is_rolled() {
    let scene = Scene::with("1h", |setup| setup);
    let secret = scene.stripe.fake().webhook_secret();
    let body = event(false);
    for (signature, side) in [
        (sign(body.as_bytes(), &secret, now()), Side::Mounted),
        (signature_header(body.as_bytes(), &["whsec_the_new_one", secret.as_str()], now(), true), Side::Direct),
        (sign(body.as_bytes(), &secret, now() - 200), Side::Mounted),
    ] {
        let answer = post(side, &scene.gate, Some(&signature), &body);
        assert!((200..300).contains(&answer.status), "{}", answer.text());
    }
    assert_eq!(scene.gate.events().len(), 1);
    let shown = scene.gate.cli(&["webhooks", "show", "evt_1", "--json"]).done().json();
    assert_eq!(shown["id"], "evt_1", "{shown:#}");
}

#[test]
fn a_body_too_long_is_refused_and_without_the_section_there_is_no_door() {
    let scene = Scene::new("1h");
    let secret = scene.stripe.fake().webhook_secret();
    let long = format!("{{\"pad\":\"{}\"}}", "x".repeat(2 << 20));
    let answer = post(Side::Direct, &scene.gate, Some(&sign(long.as_bytes(), &secret, now())), &long);
    assert_eq!(answer.status, 413, "{}", answer.text());
    let backend = tollgate_e2e::Backend::start();
    let without = tollgate_e2e::Setup::new(&backend).start();
    let body = event(false);
    let answer = post(Side::Direct, &without, Some(&sign(body.as_bytes(), &secret, now())), &body);
    assert_eq!(answer.status, 404, "{}", answer.text());
}
