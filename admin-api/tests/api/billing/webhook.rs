//! `POST /stripe/webhook`: what is taken, what is refused and why, and that nothing of what is refused is stored.

use serde_json::json;
use tollgate_fake_stripe::{SignedEvent, sign, signature_header};
use tollgate_store::{Billing, EventQuery};

use crate::harness::{NOON, Plane};

async fn stored(plane: &Plane) -> Vec<String> {
    let page = plane.store.inbox(&EventQuery::default(), 200).await.expect("it answers");
    page.items.into_iter().map(|stored| stored.event.id).collect()
}

/// Something that happened at Stripe.
fn happened(plane: &Plane) -> SignedEvent {
    let stripe = &plane.shop().stripe;
    stripe
        .seed(tollgate_fake_stripe::Seed { email: "ada@example.com", prices: &["price_pro"], ..<_>::default() })
        .expect("good prices");
    let events = stripe.take_events();
    events.into_iter().find(|event| event.kind == "customer.subscription.created").expect("it was told")
}

#[tokio::test]
async fn a_signed_event_is_stored_once_whatever_proof_or_key_it_comes_with() {
    let plane = Plane::selling().await;
    let event = happened(&plane);
    assert_eq!(plane.webhook(&event).await.expect(200), json!({ "result": "stored" }));
    // Neither an idempotency key nor a session has anything to do with it.
    let more = [
        ("stripe-signature", event.signature.as_str()),
        ("idempotency-key", "a b"),
        ("cookie", "tollgate_session=forged"),
        ("authorization", "Bearer nonsense"),
        ("content-type", "text/plain"),
    ];
    let again = plane.webhook_with(event.body.as_bytes(), &more).await.expect(200);
    assert_eq!(again, json!({ "result": "known" }));
    assert_eq!(stored(&plane).await, [event.id.as_str()]);
    let secret = plane.shop().stripe.webhook_secret();
    let other = event.body.replace(&event.id, "evt_other").replace("customer.subscription.created", "product.created");
    let signature = sign(other.as_bytes(), &secret, NOON.as_secs());
    let ignored = plane.webhook_with(other.as_bytes(), &[("stripe-signature", &signature)]).await.expect(200);
    assert_eq!(ignored, json!({ "result": "ignored" }));
    assert_eq!(stored(&plane).await, [event.id.as_str()]);
}

#[tokio::test]
async fn what_is_not_stripes_is_refused_with_the_reason_and_leaves_no_row() {
    let plane = Plane::selling().await;
    let event = happened(&plane);
    let secret = plane.shop().stripe.webhook_secret();
    let (body, now) = (event.body.as_bytes(), NOON.as_secs());
    let good = sign(body, &secret, now);
    let live = event.body.replace("\"livemode\":false", "\"livemode\":true");
    let live_signature = sign(live.as_bytes(), &secret, now);
    let v0_only = good.replace("v1=", "v0=");
    let tampered = event.body.replace("\"active\"", "\"trialing\"");
    assert_ne!(tampered, *event.body);
    for (name, body, signature, code, part) in [
        ("nothing", body, None, "invalid_signature", "missing"),
        ("garbage", body, Some("garbage".to_owned()), "invalid_signature", "cannot be read"),
        ("v0 alone", body, Some(v0_only), "invalid_signature", "no v1"),
        ("another secret", body, Some(sign(body, "whsec_other", now)), "invalid_signature", "no signature matches"),
        ("too old", body, Some(sign(body, &secret, now - 301)), "invalid_signature", "more than 300 s"),
        ("in the future", body, Some(sign(body, &secret, now + 301)), "invalid_signature", "more than 300 s"),
        ("tampered", tampered.as_bytes(), Some(good.clone()), "invalid_signature", "no signature matches"),
        ("no event", b"[]", Some(sign(b"[]", &secret, now)), "invalid_event", "not an event"),
        ("no JSON", b"{\"id\":", Some(sign(b"{\"id\":", &secret, now)), "invalid_event", "not an event"),
        ("live mode", live.as_bytes(), Some(live_signature), "other_mode", "live mode"),
    ] {
        let headers: Vec<(&str, &str)> = signature.iter().map(|text| ("stripe-signature", text.as_str())).collect();
        let problem = plane.webhook_with(body, &headers).await.problem(400, code);
        let detail = problem["detail"].as_str().expect("a text");
        assert!(detail.contains(part), "{name}: {detail}");
        assert!(!problem.to_string().contains(&secret), "{name}");
    }
    let twice = [("stripe-signature", good.as_str()), ("stripe-signature", good.as_str())];
    plane.webhook_with(body, &twice).await.problem(400, "invalid_signature");
    assert_eq!(stored(&plane).await, [""; 0]);
    assert_eq!(plane.heard.take(), []);
    plane.webhook(&event).await.expect(200);
}

#[tokio::test]
async fn while_a_secret_is_rolled_either_will_do() {
    let plane = Plane::selling_with(|stripe| {
        stripe.webhook_secrets.insert(0, tollgate_config::Secret::new("whsec_of_the_next_day"));
    })
    .await;
    let event = happened(&plane);
    let now = NOON.as_secs();
    for secrets in [&["whsec_of_the_next_day"][..], &["whsec_unknown", "whsec_of_the_next_day"]] {
        let signature = signature_header(event.body.as_bytes(), secrets, now, true);
        plane.webhook_with(event.body.as_bytes(), &[("stripe-signature", &signature)]).await.expect(200);
    }
    assert_eq!(plane.webhook(&event).await.expect(200)["result"], "known");
}

#[tokio::test]
async fn a_body_beyond_a_mebibyte_is_not_taken() {
    let plane = Plane::selling().await;
    let secret = plane.shop().stripe.webhook_secret();
    for (bytes, status) in [(1 << 20, 400), ((1 << 20) + 1, 413)] {
        let body = vec![b' '; bytes];
        let signature = sign(&body, &secret, NOON.as_secs());
        let answer = plane.webhook_with(&body, &[("stripe-signature", &signature)]).await;
        assert_eq!(answer.status, status, "{bytes}");
    }
    assert_eq!(stored(&plane).await, [""; 0]);
}

#[tokio::test]
async fn without_stripe_there_is_advice() {
    let plane = Plane::start().await;
    let problem = plane.webhook_with(b"{}", &[("stripe-signature", "t=1,v1=00")]).await.problem(404, "not_found");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("[billing.stripe]")), "{problem}");
    for method in ["GET", "PUT", "DELETE"] {
        plane.call(method, "/stripe/webhook", None, &[]).await.problem(405, "method_not_allowed");
    }
}

#[tokio::test]
async fn what_cannot_be_stored_is_not_acknowledged() {
    let plane = Plane::selling().await;
    let event = happened(&plane);
    plane.store.close().await;
    let answer = plane.webhook(&event).await;
    assert_eq!(answer.header("retry-after"), "1");
    answer.problem(503, "store_unavailable");
}
