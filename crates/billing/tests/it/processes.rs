//! Several processes, and processes that are killed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tollgate_billing::{Billing, Refreshed};
use tollgate_fake_stripe::{Action, Seed};
use tollgate_store::{Billing as _, EventState};

use crate::world::World;

#[tokio::test]
async fn one_process_works_and_another_takes_over_when_it_lets_go_or_dies() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let made = world.subscribe(account.id, &["price_pro"]);
    world.catch_up().await;
    let two = world.another("two");
    assert!(two.work_once().await.unwrap().is_elsewhere);
    // The first dies: nobody renews its lease.
    world.fake.advance(Duration::from_secs(11));
    world.act(&made, &Action::CancelNow);
    for event in world.fake.take_events() {
        world.deliver(&event).await;
    }
    let worked = two.work_once().await.unwrap();
    assert!(!worked.is_elsewhere && worked.settled > 0);
    assert_eq!(world.plan(account.id).await, None);
    // It comes back from the dead, and finds that it lost the lease.
    assert!(world.billing.work_once().await.unwrap().is_elsewhere);
    let three = world.another("three");
    let (told, stop) = watch::channel(true);
    two.run(stop).await;
    drop(told);
    assert!(!three.work_once().await.unwrap().is_elsewhere, "one that stops lets go");
}

#[tokio::test]
async fn what_a_former_holder_still_writes_is_refused() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    world.subscribe(account.id, &["price_pro"]);
    for event in world.fake.take_events() {
        world.deliver(&event).await;
    }
    // It holds the lease and is asked to write within its time, but another has taken it behind its back.
    assert_eq!(world.billing.work_once().await.unwrap().failed, 0);
    let now = world.now();
    world.store.release_lease(tollgate_store::BILLING_LEASE, "one").await.unwrap();
    let until = now.plus_micros(60_000_000);
    world.store.hold_lease(tollgate_store::BILLING_LEASE, "other", now, until).await.unwrap().unwrap();
    let made = world.fake.seed(Seed { email: "new@example.com", prices: &["price_pro"], ..Seed::default() }).unwrap();
    for event in world.fake.take_events() {
        world.deliver(&event).await;
    }
    assert!(world.billing.work_once().await.is_err(), "its word counts no more");
    assert!(world.store.account_of_customer(&made.customer).await.unwrap().is_none());
    assert!(world.events().await.iter().any(|event| event.state == EventState::Pending));
    assert!(world.billing.work_once().await.unwrap().is_elsewhere, "and it knows");
}

#[tokio::test]
async fn who_may_not_write_has_the_one_who_may_read_a_customer() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let made = world.subscribe(account.id, &["price_pro"]);
    world.catch_up().await;
    world.act(&made, &Action::CancelNow);
    world.fake.take_events();
    let two = world.another("two");
    assert_eq!(two.refresh_customer(&made.customer).await.unwrap(), Refreshed::Queued);
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
    world.billing.work_once().await.unwrap();
    assert_eq!(world.plan(account.id).await, None);
    let refreshed = world.billing.refresh_customer(&made.customer).await.unwrap();
    let expected = Refreshed::Applied { account: account.id, is_changed: false, notes: Vec::new() };
    assert_eq!(refreshed, expected);
}

/// Lets a worker run for so long, then drops whatever it was at, as a kill does.
async fn run_and_kill(billing: &Arc<Billing>, after: Duration) {
    drop(tokio::time::timeout(after, billing.work_once()).await);
}

#[tokio::test]
async fn a_worker_that_is_killed_again_and_again_gets_there() {
    let world = World::new().await;
    let mut owners = Vec::new();
    for at in 0..60 {
        let account = world.account(&format!("o{at:02}@example.com")).await;
        let made = world.subscribe(account.id, &["price_pro"]);
        owners.push((account.id, made));
    }
    for (at, (_, made)) in owners.iter().enumerate() {
        match at % 3 {
            0 => world.act(made, &Action::CancelNow),
            1 => world.act(made, &Action::ChangePrice("price_team".into())),
            _ => world.act(made, &Action::Touch),
        }
    }
    for event in world.fake.take_events() {
        world.deliver(&event).await;
    }
    for life in 0..12_u64 {
        let worker = world.another(&format!("life-{life}"));
        run_and_kill(&worker, Duration::from_millis(7 + 31 * (life % 5))).await;
        world.fake.advance(Duration::from_secs(11));
    }
    world.another("last").work_once().await.unwrap();
    for (at, (account, _)) in owners.iter().enumerate() {
        let expected = [None, Some("team"), Some("pro")][at % 3];
        assert_eq!(world.plan(*account).await.as_deref(), expected, "owner {at}");
    }
    assert_eq!(world.store.inbox_state().await.unwrap().pending, 0);
}

#[tokio::test]
async fn a_running_worker_heeds_what_comes_in_within_a_second_and_stops_when_told() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let made = world.subscribe(account.id, &["price_pro"]);
    let (tell, stop) = watch::channel(false);
    let running = tokio::spawn({
        let billing = Arc::clone(&world.billing);
        async move { billing.run(stop).await }
    });
    for (action, expected) in [(Action::Touch, Some("pro")), (Action::CancelNow, None)] {
        world.act(&made, &action);
        let began = std::time::Instant::now();
        for event in world.fake.take_events() {
            world.deliver(&event).await;
        }
        while world.plan(account.id).await.as_deref() != expected {
            assert!(began.elapsed() < Duration::from_secs(1), "{action:?} takes too long");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    tell.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(5), running).await.unwrap().unwrap();
}
