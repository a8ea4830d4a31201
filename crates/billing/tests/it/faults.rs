//! A Stripe that is away, slow, or wrong.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tollgate_fake_stripe::{Action, Fault, FaultKind, Seed, When};
use tollgate_store::{Billing as _, EventState, Store as _};

use crate::world::World;

fn fault(path_prefix: &str, kind: FaultKind, when: When) -> Fault {
    Fault { method: None, path_prefix: path_prefix.into(), kind, when }
}

#[tokio::test]
async fn while_stripe_is_away_events_wait_without_being_given_up_and_are_heeded_when_it_is_back() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    world.subscribe(account.id, &["price_pro"]);
    for kind in [FaultKind::Status(500), FaultKind::Status(429), FaultKind::Status(401), FaultKind::Cut] {
        world.fake.clear_faults();
        world.fake.inject(fault("/v1/", kind, When::Rate(1.0)));
        for _ in 0..4 {
            let worked = world.catch_up().await;
            assert_eq!(worked.settled, 0);
            world.advance_days(2);
        }
    }
    let waiting = world.events().await;
    assert!(waiting.iter().all(|event| event.state == EventState::Pending && event.attempts == 0), "{waiting:?}");
    assert!(waiting.iter().all(|event| event.note.is_some()), "and it is known why");
    world.fake.clear_faults();
    world.fake.advance(Duration::from_mins(2));
    world.catch_up().await;
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
    assert_eq!(world.store.inbox_state().await.unwrap().pending, 0);
}

#[tokio::test]
async fn one_failure_is_got_over_within_the_same_attempt() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    world.subscribe(account.id, &["price_pro"]);
    world.fake.inject(fault("/v1/subscriptions", FaultKind::Status(500), When::Next(1)));
    let worked = world.catch_up().await;
    assert_eq!(worked.failed, 0);
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
}

#[tokio::test]
async fn a_stripe_that_is_away_for_all_is_left_alone_for_a_while() {
    let world = World::new().await;
    for at in 0..40 {
        let email = format!("owner{at}@example.com");
        world.fake.seed(Seed { email: &email, prices: &["price_pro"], ..Seed::default() }).unwrap();
    }
    world.fake.inject(fault("/v1/", FaultKind::Status(503), When::Rate(1.0)));
    world.fake.clear_requests();
    let worked = world.catch_up().await;
    assert!(worked.is_stripe_away);
    assert!(world.fake.requests().len() <= 32, "{} requests", world.fake.requests().len());
    world.fake.clear_faults();
    world.fake.advance(Duration::from_mins(2));
    let worked = world.catch_up().await;
    assert_eq!((worked.customers, worked.failed), (40, 0));
    assert_eq!(world.store.accounts(None, 100).await.unwrap().items.len(), 40);
}

#[tokio::test]
async fn one_customer_that_cannot_be_read_holds_up_nobody() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let broken = world.fake.seed(Seed { email: "b@example.com", prices: &["price_pro"], ..Seed::default() }).unwrap();
    world.catch_up().await;
    // Its subscription's invoices are asked for once it is past due.
    world.act(&broken, &Action::CardFails);
    world.act(&broken, &Action::Renew);
    world.subscribe(account.id, &["price_team"]);
    world.fake.inject(fault("/v1/invoices", FaultKind::Status(404), When::Rate(1.0)));
    let worked = world.catch_up().await;
    assert_eq!((worked.failed, worked.is_stripe_away), (1, false));
    assert_eq!(world.plan(account.id).await.as_deref(), Some("team"));
    assert!(world.billing.stats().failed.load(Relaxed) > 0);
    let waiting: Vec<_> = world.events().await.into_iter().filter(|event| event.state == EventState::Pending).collect();
    assert!(!waiting.is_empty() && waiting.iter().all(|event| event.attempts == 1));
    // It is tried less and less often, then given up.
    for _ in 0..60 {
        world.fake.advance(Duration::from_mins(75));
        world.billing.work_once().await.unwrap();
    }
    let dead = world.events().await.into_iter().filter(|event| event.state == EventState::Dead).count();
    assert!(dead >= waiting.len());
    world.fake.clear_faults();
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_asked_for_again() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    world.subscribe(account.id, &["price_pro"]);
    world.fake.inject(fault("/v1/subscriptions", FaultKind::Hang(Duration::from_secs(12)), When::Next(1)));
    let began = std::time::Instant::now();
    let worked = world.catch_up().await;
    assert_eq!(worked.failed, 0);
    assert!(began.elapsed() >= Duration::from_secs(10));
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
}

#[tokio::test]
async fn a_key_of_another_account_at_stripe_takes_nothing_from_anybody() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let made = world.subscribe(account.id, &["price_pro"]);
    world.catch_up().await;
    let facts = world.read(account.id).await;
    // From now on Stripe knows neither the customer nor any subscription of it.
    for path in ["/v1/customers", "/v1/subscriptions"] {
        world.fake.inject(fault(path, FaultKind::Status(404), When::Rate(1.0)));
    }
    world.act(&made, &Action::Touch);
    let worked = world.catch_up().await;
    assert_eq!(worked.failed, 1);
    assert!(world.billing.refresh_customer(&made.customer).await.is_err());
    world.fake.advance(Duration::from_mins(1));
    assert_eq!(world.billing.sweep_once().await.unwrap().failed, 1);
    assert_eq!(world.read(account.id).await, facts);
}
