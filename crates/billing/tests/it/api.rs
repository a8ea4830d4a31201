//! How Stripe is asked.

use std::time::Duration;

use serde_json::Value;
use tollgate_billing::ApiError;
use tollgate_fake_stripe::{Fault, FaultKind, Seed, When};

use crate::world::World;

fn fault(kind: FaultKind, when: When) -> Fault {
    Fault { method: None, path_prefix: "/v1/".into(), kind, when }
}

#[tokio::test]
async fn a_list_is_read_to_its_end() {
    let world = World::new().await;
    for at in 0..230 {
        let email = format!("owner{at}@example.com");
        world.fake.seed(Seed { email: &email, ..Seed::default() }).unwrap();
    }
    let listed: Vec<Value> = world.billing.api().list("/customers", &[]).await.unwrap();
    assert_eq!(listed.len(), 230);
    let ids: std::collections::HashSet<&str> = listed.iter().map(|customer| customer["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 230);
}

#[tokio::test]
async fn requests_name_the_version_that_is_spoken() {
    let world = World::new().await;
    world.billing.api().get::<Value>("/account", &[]).await.unwrap();
    let requests = world.fake.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].path.as_str(), requests[0].status), ("/v1/account", 200));
    assert_eq!(requests[0].version.as_deref(), Some(tollgate_fake_stripe::API_VERSION));
}

#[tokio::test]
async fn a_write_with_a_key_is_done_once_though_its_answer_was_lost() {
    let world = World::new().await;
    for kind in [FaultKind::CutAfter, FaultKind::Status(500), FaultKind::Cut] {
        world.fake.clear_requests();
        let key = format!("key-{kind:?}");
        world.fake.inject(fault(kind, When::Next(1)));
        let form = [("email", "once@example.com".to_owned())];
        let made: Value = world.billing.api().post("/customers", &form, Some(&key)).await.unwrap();
        assert_eq!(made["email"], "once@example.com");
        let keys: Vec<_> = world.fake.requests().into_iter().filter_map(|request| request.idempotency_key).collect();
        assert!(!keys.is_empty() && keys.iter().all(|asked| *asked == key), "{keys:?}");
    }
    let listed: Vec<Value> = world.billing.api().list("/customers", &[]).await.unwrap();
    assert_eq!(listed.len(), 3, "one a key");
}

#[tokio::test]
async fn a_write_without_a_key_is_tried_once() {
    let world = World::new().await;
    world.fake.inject(fault(FaultKind::Status(500), When::Next(1)));
    let form = [("email", "once@example.com".to_owned())];
    let failed = world.billing.api().post::<Value>("/customers", &form, None).await.expect_err("it failed");
    assert!(matches!(failed, ApiError::Unavailable(_)), "{failed}");
    assert_eq!(world.fake.requests().len(), 1);
}

#[tokio::test]
async fn what_stripe_refuses_is_told_apart_from_its_being_away_and_names_no_secret() {
    let world = World::new().await;
    let api = world.billing.api();
    let missing = api.get::<Value>("/customers/cus_none", &[]).await.expect_err("there is none");
    assert!(missing.is_missing() && !missing.is_about_stripe(), "{missing}");
    assert_eq!(world.fake.requests().len(), 1, "a refusal is not asked for again");
    let form = [("items[0][price]", "price_none".to_owned()), ("customer", "cus_none".to_owned())];
    let refused = api.post::<Value>("/subscriptions", &form, Some("k")).await.expect_err("no such price");
    assert!(matches!(refused, ApiError::Refused { status: 400 | 404, .. }), "{refused}");
    for status in [401, 429, 500, 503] {
        world.fake.clear_faults();
        world.fake.inject(fault(FaultKind::Status(status), When::Rate(1.0)));
        let away = api.get::<Value>("/customers/cus_none", &[]).await.expect_err("it is away");
        assert!(away.is_about_stripe() && !away.is_missing(), "{status}: {away}");
        assert!(!away.to_string().contains(world.fake.api_key()), "{away}");
    }
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_stripe_being_away() {
    let world = World::new().await;
    let mut config = tollgate_config::StripeConfig::new(tollgate_config::Secret::new("sk_test_hidden"), Vec::new());
    config.api_base = "http://127.0.0.1:9/".parse().unwrap();
    let api = tollgate_billing::Api::new(&config).unwrap();
    let began = std::time::Instant::now();
    let away = api.get::<Value>("/account", &[]).await.expect_err("nobody is there");
    assert!(matches!(away, ApiError::Unavailable(_)) && !away.to_string().contains("sk_test_hidden"), "{away}");
    assert!(began.elapsed() < Duration::from_secs(5));
    drop(world);
}
