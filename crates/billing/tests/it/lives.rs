//! Lives of one subscription, as its customer feels them.

use tollgate_domain::{Access, DAY_US, Lapse, NoAccess, Source, SubscriptionStatus};
use tollgate_fake_stripe::{Action, AfterRetries, Card, EventShape, FakeConfig, Seed};
use tollgate_store::{Change, Store as _};

use crate::world::{GRACE_DAYS, Settings, World};

/// A world whose Stripe gives up in this way, and speaks in these shapes.
async fn world(after_retries: AfterRetries, event_shape: EventShape) -> World {
    let fake = FakeConfig { after_retries, event_shape, ..FakeConfig::default() };
    World::with(Settings { fake, ..Settings::default() }).await
}

fn lapsed(lapse: Lapse) -> Access {
    Access::None(NoAccess::Lapsed(lapse))
}

#[tokio::test]
async fn a_paid_subscription_gives_its_plan_and_the_gateways_hear_of_it_once() {
    for shape in [EventShape::New, EventShape::Old, EventShape::Mixed] {
        let world = world(AfterRetries::Cancel, shape).await;
        let account = world.account("owner@example.com").await;
        assert_eq!(world.plan(account.id).await, None);
        let made = world.subscribe(account.id, &["price_pro"]);
        world.catch_up().await;
        assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
        assert_eq!(world.heard.take(), [Change::Account(account.id)]);
        assert_eq!(world.read(account.id).await.stripe_customer.as_deref(), Some(made.customer.as_str()));
        assert_eq!(world.entitled(account.id).await.source, Source::Subscription);
        // What changes nothing is news to nobody.
        world.act(&made, &Action::Touch);
        world.catch_up().await;
        assert_eq!(world.heard.take(), []);
        assert!(world.events().await.iter().all(|event| event.settled_at.is_some() && event.note.is_none()));
    }
}

#[tokio::test]
async fn a_card_that_fails_and_recovers_within_grace_costs_no_access() {
    let world = world(AfterRetries::Cancel, EventShape::Mixed).await;
    let account = world.account("owner@example.com").await;
    let made = world.subscribe(account.id, &["price_pro"]);
    world.act(&made, &Action::CardFails);
    world.catch_up().await;
    world.act(&made, &Action::Renew);
    world.catch_up().await;
    let since = world.now();
    assert_eq!(world.read(account.id).await.subscriptions[0].status, SubscriptionStatus::PastDue);
    assert_eq!(world.entitled(account.id).await.until, since.plus_micros(GRACE_DAYS * DAY_US));
    // A second failed attempt, three days later, and an update that means nothing: grace does not move.
    world.advance_days(3);
    world.act(&made, &Action::Touch);
    world.catch_up().await;
    assert_eq!(world.entitled(account.id).await.until, since.plus_micros(GRACE_DAYS * DAY_US));
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
    world.act(&made, &Action::CardRecovers);
    world.act(&made, &Action::PayOpenInvoice);
    world.catch_up().await;
    let account = world.read(account.id).await;
    assert_eq!(
        (account.subscriptions[0].status, account.subscriptions[0].failing_since),
        (SubscriptionStatus::Active, None)
    );
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
}

#[tokio::test]
async fn a_card_that_never_recovers_suspends_at_the_end_of_grace_and_paying_brings_it_back() {
    let world = world(AfterRetries::PastDue, EventShape::Mixed).await;
    let account = world.account("owner@example.com").await;
    let made = world.subscribe(account.id, &["price_pro"]);
    world.act(&made, &Action::CardFails);
    world.act(&made, &Action::Renew);
    world.catch_up().await;
    world.advance_days(u64::try_from(GRACE_DAYS).unwrap() - 1);
    world.fake.advance(std::time::Duration::from_secs(86_399));
    world.catch_up().await;
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"), "one second is left");
    world.fake.advance(std::time::Duration::from_secs(1));
    assert_eq!(world.entitled(account.id).await.access, lapsed(Lapse::GraceOver));
    world.advance_days(10);
    world.catch_up().await;
    assert_eq!(world.entitled(account.id).await.access, lapsed(Lapse::GraceOver));
    world.act(&made, &Action::CardRecovers);
    world.act(&made, &Action::PayOpenInvoice);
    world.catch_up().await;
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
}

#[tokio::test]
async fn an_open_invoice_that_is_declared_void_ends_what_fails() {
    let world = world(AfterRetries::PastDue, EventShape::New).await;
    let account = world.account("owner@example.com").await;
    let made = world.subscribe(account.id, &["price_pro"]);
    world.act(&made, &Action::CardFails);
    world.act(&made, &Action::Renew);
    world.catch_up().await;
    assert!(world.read(account.id).await.subscriptions[0].failing_since.is_some());
    world.act(&made, &Action::VoidInvoice);
    world.advance_days(8);
    world.catch_up().await;
    assert_eq!(world.read(account.id).await.subscriptions[0].failing_since, None);
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
}

#[tokio::test]
async fn what_stripe_gives_up_gives_nothing() {
    for (after_retries, lapse) in [(AfterRetries::Cancel, Lapse::Ended), (AfterRetries::Unpaid, Lapse::Unpaid)] {
        let world = world(after_retries, EventShape::Mixed).await;
        let account = world.account("owner@example.com").await;
        let made = world.subscribe(account.id, &["price_pro"]);
        world.act(&made, &Action::CardFails);
        world.act(&made, &Action::Renew);
        world.advance_days(20);
        world.catch_up().await;
        assert_eq!(world.entitled(account.id).await.access, lapsed(lapse));
    }
}

#[tokio::test]
async fn a_trial_gives_its_plan_and_pauses_without_a_card() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let id = account.id.to_string();
    let made = world
        .fake
        .seed(Seed {
            email: "payer@example.com",
            prices: &["price_pro"],
            trial_days: 14,
            pause_without_card: true,
            metadata: &[("tollgate_account", &id)],
            card: Card::None,
            ..Seed::default()
        })
        .unwrap();
    world.catch_up().await;
    let facts = world.read(account.id).await.subscriptions[0].clone();
    assert_eq!(facts.status, SubscriptionStatus::Trialing);
    assert_eq!(facts.trial_end, Some(world.now().plus_micros(14 * DAY_US)));
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
    world.advance_days(14);
    world.catch_up().await;
    assert_eq!(world.entitled(account.id).await.access, lapsed(Lapse::Paused));
    world.fake.card(&made.customer, Card::Good);
    world.act(&made, &Action::Resume);
    world.catch_up().await;
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
}

#[tokio::test]
async fn an_end_with_the_period_keeps_access_until_then_and_one_now_does_not() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let made = world.subscribe(account.id, &["price_pro"]);
    world.act(&made, &Action::CancelAtPeriodEnd);
    world.catch_up().await;
    let facts = world.read(account.id).await.subscriptions[0].clone();
    assert_eq!(facts.cancel_at, Some(facts.items[0].period.end));
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
    world.act(&made, &Action::Reactivate);
    world.catch_up().await;
    assert_eq!(world.read(account.id).await.subscriptions[0].cancel_at, None);
    world.act(&made, &Action::CancelAtPeriodEnd);
    world.act(&made, &Action::Renew);
    world.catch_up().await;
    assert_eq!(world.entitled(account.id).await.access, lapsed(Lapse::Ended));
    let another =
        world.fake.seed(Seed { customer: Some(&made.customer), prices: &["price_team"], ..Seed::default() }).unwrap();
    world.catch_up().await;
    assert_eq!(world.plan(account.id).await.as_deref(), Some("team"));
    world.act(&another, &Action::CancelNow);
    world.catch_up().await;
    assert_eq!(world.entitled(account.id).await.access, lapsed(Lapse::Ended));
}

#[tokio::test]
async fn a_first_charge_that_fails_gives_nothing_until_it_is_paid() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let id = account.id.to_string();
    let made = world
        .fake
        .seed(Seed {
            email: "payer@example.com",
            prices: &["price_pro"],
            metadata: &[("tollgate_account", &id)],
            card: Card::Declines,
            ..Seed::default()
        })
        .unwrap();
    world.catch_up().await;
    assert_eq!(world.entitled(account.id).await.access, lapsed(Lapse::Incomplete));
    world.act(&made, &Action::CardRecovers);
    world.act(&made, &Action::PayOpenInvoice);
    world.catch_up().await;
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
}

#[tokio::test]
async fn of_several_subscriptions_the_highest_counts_and_ending_one_leaves_the_other() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let pro = world.subscribe(account.id, &["price_pro"]);
    let seed = Seed { customer: Some(&pro.customer), prices: &["price_team"], ..Seed::default() };
    let team = world.fake.seed(seed).unwrap();
    world.catch_up().await;
    assert_eq!(world.plan(account.id).await.as_deref(), Some("team"));
    world.act(&team, &Action::CancelNow);
    world.catch_up().await;
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
    assert_eq!(world.read(account.id).await.subscriptions.len(), 2, "what ended is still a fact");
}

#[tokio::test]
async fn a_price_that_no_plan_has_keeps_the_plan_and_is_noted() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let made = world.subscribe(account.id, &["price_pro"]);
    world.catch_up().await;
    world.act(&made, &Action::ChangePrice("price_else".into()));
    world.catch_up().await;
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
    let noted: Vec<String> = world.events().await.into_iter().filter_map(|event| event.note).collect();
    assert!(!noted.is_empty() && noted.iter().all(|note| note.contains("price_else")), "{noted:?}");
    assert!(world.billing.stats().alert_unknown_price.load(std::sync::atomic::Ordering::Relaxed) > 0);
    world.act(&made, &Action::ChangePrice("price_team".into()));
    world.catch_up().await;
    assert_eq!(world.plan(account.id).await.as_deref(), Some("team"));
}

#[tokio::test]
async fn pausing_the_collection_of_invoices_takes_nothing() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let made = world.subscribe(account.id, &["price_pro"]);
    world.act(&made, &Action::PauseCollection);
    world.catch_up().await;
    world.act(&made, &Action::Renew);
    world.catch_up().await;
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
}

#[tokio::test]
async fn a_ban_and_an_operators_plan_outlive_any_event() {
    use tollgate_domain::{Ban, PlanName};
    use tollgate_store::NewAudit;
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let audit = |action: &'static str| NewAudit {
        actor: "operator".into(),
        action,
        at: world.now(),
        detail: serde_json::json!({}),
    };
    let made = world.subscribe(account.id, &["price_pro"]);
    world.catch_up().await;
    let ban = Ban { at: world.now(), reason: None };
    world.store.set_ban(account.id, Some(&ban), &audit("account.ban")).await.unwrap();
    let team = PlanName::new("team").unwrap();
    world.store.assign_plan(account.id, Some(&team), None, &audit("account.plan")).await.unwrap();
    world.act(&made, &Action::Renew);
    world.act(&made, &Action::CancelNow);
    world.catch_up().await;
    let after = world.read(account.id).await;
    assert!(after.ban.is_some());
    assert_eq!(world.plan(account.id).await.as_deref(), Some("team"));
    assert_eq!(world.entitled(account.id).await.source, Source::Operator);
}

#[tokio::test]
async fn a_customer_who_was_deleted_has_no_subscription_any_more() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let made = world.subscribe(account.id, &["price_pro"]);
    world.catch_up().await;
    world.fake.call("DELETE", &format!("/v1/customers/{}", made.customer), &[]).unwrap();
    world.catch_up().await;
    assert_eq!(world.entitled(account.id).await.access, lapsed(Lapse::Ended));
}
