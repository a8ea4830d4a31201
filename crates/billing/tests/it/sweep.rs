//! What webhooks did not tell.

use std::time::Duration;

use tollgate_domain::AccountId;
use tollgate_fake_stripe::{Action, Seed};
use tollgate_store::{Billing as _, ImportedAccount, NewAudit, Store as _};

use crate::world::World;

async fn import(world: &World, email: &str, customer: Option<&str>, subscription: Option<&str>) -> AccountId {
    let random = email.bytes().chain([7; 10]).take(10).collect::<Vec<u8>>().try_into().unwrap();
    let line = ImportedAccount {
        id: AccountId::new(world.now(), random),
        email: email.into(),
        name: None,
        plan: None,
        stripe_customer: customer.map(Into::into),
        stripe_subscription: subscription.map(Into::into),
    };
    let audit =
        NewAudit { actor: "import".into(), action: "account.import", at: world.now(), detail: serde_json::json!({}) };
    let id = line.id;
    world.store.import_accounts(&[line], world.now(), &audit).await.unwrap();
    id
}

#[tokio::test]
async fn events_that_never_came_are_found_and_heeded() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let made = world.subscribe(account.id, &["price_pro"]);
    let lost = world.fake.take_events();
    let swept = world.billing.sweep_once().await.unwrap();
    assert!(swept.events >= 2, "{swept:?}");
    world.billing.work_once().await.unwrap();
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
    for event in &lost {
        world.fake.mark_delivered(&event.id);
    }
    let again = world.billing.sweep_once().await.unwrap();
    assert_eq!((again.events, again.mended), (0, 0));
    // One that was never even listed is made up for by reading the account.
    world.fake.advance(Duration::from_mins(1));
    world.act(&made, &Action::CancelNow);
    for event in world.fake.take_events() {
        world.fake.mark_delivered(&event.id);
    }
    let swept = world.billing.sweep_once().await.unwrap();
    assert_eq!((swept.events, swept.read, swept.mended), (0, 1, 1));
    assert_eq!(world.plan(account.id).await, None);
}

#[tokio::test]
async fn imported_accounts_are_read_without_any_event() {
    let world = World::new().await;
    let made = world.fake.seed(Seed { email: "a@example.com", prices: &["price_pro"], ..Seed::default() }).unwrap();
    let other = world.fake.seed(Seed { email: "b@example.com", prices: &["price_team"], ..Seed::default() }).unwrap();
    world.fake.take_events();
    let by_customer = import(&world, "a@corp.example", Some(&made.customer), None).await;
    let by_subscription = import(&world, "b@corp.example", None, Some(&other.subscription)).await;
    let unknown = import(&world, "c@corp.example", Some("cus_unknown"), None).await;
    let swept = world.billing.tidy_once().await.unwrap();
    assert_eq!((swept.read, swept.failed), (2, 1), "{swept:?}");
    assert_eq!(world.plan(by_customer).await.as_deref(), Some("pro"));
    assert_eq!(world.plan(by_subscription).await.as_deref(), Some("team"));
    assert_eq!(world.plan(unknown).await, None);
    let again = world.billing.tidy_once().await.unwrap();
    assert_eq!((again.read, again.failed), (0, 1), "the others have been read");
}

#[tokio::test]
async fn a_subscription_that_should_have_changed_is_asked_about() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let made = world.subscribe(account.id, &["price_pro"]);
    world.catch_up().await;
    assert_eq!(world.billing.tidy_once().await.unwrap().read, 0);
    world.act(&made, &Action::CancelAtPeriodEnd);
    world.catch_up().await;
    world.act(&made, &Action::Renew);
    world.fake.take_events();
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"), "nobody has told that it ended");
    world.fake.advance(Duration::from_mins(10));
    let swept = world.billing.tidy_once().await.unwrap();
    assert_eq!((swept.read, swept.mended), (1, 1));
    assert_eq!(world.plan(account.id).await, None);
}

#[tokio::test]
async fn what_was_heeded_long_ago_is_thrown_away() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    world.subscribe(account.id, &["price_pro"]);
    let worked = world.catch_up().await;
    for event in world.events().await {
        world.fake.mark_delivered(&event.event.id);
    }
    world.advance_days(89);
    assert_eq!(world.billing.sweep_once().await.unwrap().pruned, 0);
    world.advance_days(2);
    let swept = world.billing.sweep_once().await.unwrap();
    assert_eq!(usize::try_from(swept.pruned).unwrap(), worked.settled);
}

#[tokio::test]
async fn a_sweep_is_the_lease_holders() {
    let world = World::new().await;
    world.billing.work_once().await.unwrap();
    assert!(world.another("two").sweep_once().await.unwrap().is_elsewhere);
    assert!(!world.billing.sweep_once().await.unwrap().is_elsewhere);
    world.store.release_lease(tollgate_store::BILLING_LEASE, "one").await.unwrap();
}

#[tokio::test]
async fn of_two_accounts_imported_with_one_customer_one_has_it() {
    let world = World::new().await;
    let made = world.fake.seed(Seed { email: "a@example.com", prices: &["price_pro"], ..Seed::default() }).unwrap();
    world.fake.take_events();
    let one = import(&world, "a@corp.example", Some(&made.customer), None).await;
    let other = import(&world, "b@corp.example", Some(&made.customer), None).await;
    let swept = world.billing.tidy_once().await.unwrap();
    assert_eq!((swept.read, swept.failed), (1, 1));
    let plans = [world.plan(one).await, world.plan(other).await];
    assert_eq!(plans.iter().flatten().count(), 1, "{plans:?}");
}
