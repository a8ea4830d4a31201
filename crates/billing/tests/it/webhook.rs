//! The door: what is taken, and what leaves no trace.

use serde_json::json;
use tollgate_billing::{BODY_BYTES_MAX, InvalidSignature, Received, Rejected};
use tollgate_fake_stripe::{Action, FakeConfig, sign, signature_header};
use tollgate_store::Billing as _;

use crate::world::{Settings, World};

async fn pending(world: &World) -> u64 {
    world.store.inbox_state().await.unwrap().pending
}

fn event(id: &str, kind: &str, livemode: bool) -> String {
    json!({ "id": id, "object": "event", "type": kind, "created": 1_767_225_600, "livemode": livemode,
        "data": { "object": { "id": "sub_1", "object": "subscription", "customer": "cus_1" } } })
    .to_string()
}

#[tokio::test]
async fn what_was_not_signed_by_stripe_just_now_leaves_no_row() {
    use InvalidSignature::{Malformed, Mismatch, Missing, NoScheme, Stale};
    let world = World::new().await;
    let body = event("evt_1", "invoice.paid", false);
    let (now, secret) = (world.fake.now(), world.fake.webhook_secret());
    let signed = |at: i64| sign(body.as_bytes(), &secret, at);
    let only_v0 = signature_header(body.as_bytes(), &[], now, true);
    let table = [
        (None, Missing),
        (Some(String::new()), Malformed),
        (Some("t=now,v1=00".into()), Malformed),
        (Some(sign(body.as_bytes(), "whsec_guessed", now)), Mismatch),
        (Some(sign(b"{}", &secret, now)), Mismatch),
        (Some(signed(now - 301)), Stale),
        (Some(signed(now + 301)), Stale),
        (Some(only_v0), NoScheme),
        (Some(signed(now).replace("v1", "v0")), NoScheme),
    ];
    for (header, expected) in table {
        let refused = world.billing.receive(header.as_deref(), body.as_bytes()).await.expect_err("refused");
        assert!(matches!(refused, Rejected::Signature(why) if why == expected), "{header:?}: {refused}");
    }
    assert_eq!(pending(&world).await, 0);
    for at in [now - 300, now + 300] {
        world.billing.receive(Some(&signed(at)), body.as_bytes()).await.unwrap();
    }
    assert_eq!(pending(&world).await, 1);
}

#[tokio::test]
async fn a_body_that_is_no_event_of_this_mode_leaves_no_row() {
    let world = World::new().await;
    for body in ["", "{}", "[]", "{\"id\":\"evt_1\"}", "no JSON"] {
        let refused = world.hand_in(body).await.expect_err("refused");
        assert!(matches!(refused, Rejected::Payload(_)), "{body}: {refused}");
    }
    let large = format!("{{\"id\":\"evt_1\",\"pad\":\"{}\"}}", "x".repeat(BODY_BYTES_MAX));
    assert!(matches!(world.hand_in(&large).await, Err(Rejected::Payload(_))));
    assert!(matches!(world.hand_in(&event("evt_1", "invoice.paid", true)).await, Err(Rejected::Livemode(_))));
    assert_eq!(pending(&world).await, 0);
    let live = World::with(Settings { livemode: true, ..Settings::default() }).await;
    assert!(matches!(live.hand_in(&event("evt_1", "invoice.paid", false)).await, Err(Rejected::Livemode(_))));
    assert_eq!(live.hand_in(&event("evt_1", "invoice.paid", true)).await.unwrap(), Received::Stored);
}

#[tokio::test]
async fn an_event_is_stored_once_and_one_of_no_use_not_at_all() {
    let world = World::new().await;
    let body = event("evt_1", "invoice.paid", false);
    assert_eq!(world.hand_in(&body).await.unwrap(), Received::Stored);
    for _ in 0..3 {
        assert_eq!(world.hand_in(&body).await.unwrap(), Received::Known);
    }
    assert_eq!(world.hand_in(&event("evt_2", "customer.created", false)).await.unwrap(), Received::Ignored);
    assert_eq!(world.events().await.len(), 1);
    let stats = world.billing.stats();
    let counts = [&stats.received, &stats.duplicates, &stats.ignored];
    assert_eq!(counts.map(|count| count.load(std::sync::atomic::Ordering::Relaxed)), [1, 3, 1]);
}

#[tokio::test]
async fn an_old_secret_is_believed_beside_the_new_one() {
    let fake = FakeConfig { sign_v0: true, ..FakeConfig::default() };
    let world = World::with(Settings { fake, ..Settings::default() }).await;
    let body = event("evt_1", "invoice.paid", false);
    let secrets = ["whsec_of_tomorrow", &world.fake.webhook_secret()];
    let header = signature_header(body.as_bytes(), &secrets, world.fake.now(), true);
    assert_eq!(world.billing.receive(Some(&header), body.as_bytes()).await.unwrap(), Received::Stored);
}

#[tokio::test]
async fn what_the_fake_sends_is_taken_as_it_was_signed() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let made = world.subscribe(account.id, &["price_pro"]);
    world.act(&made, &Action::Touch);
    let mut taken = 0;
    for event in world.fake.take_events() {
        let received = world.billing.receive(Some(&event.signature), event.body.as_bytes()).await.unwrap();
        taken += u32::from(received == Received::Stored);
    }
    assert!(taken >= 3, "a subscription made, changed, and its invoice paid: {taken}");
}
