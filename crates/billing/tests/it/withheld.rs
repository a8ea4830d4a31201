//! Payments that were taken back.

use std::time::Duration;

use tollgate_config::{OnDispute, OnRefund};
use tollgate_domain::{Access, Lapse, NoAccess};
use tollgate_fake_stripe::{Action, EventShape, FakeConfig};

use crate::world::{Settings, World};

async fn world(on_dispute: OnDispute, on_refund: OnRefund, event_shape: EventShape) -> World {
    let fake = FakeConfig { event_shape, ..FakeConfig::default() };
    World::with(Settings { fake, on_dispute, on_refund, ..Settings::default() }).await
}

#[tokio::test]
async fn a_dispute_suspends_until_it_is_won_and_keeps_where_that_is_wished() {
    for shape in [EventShape::New, EventShape::Old] {
        for policy in [OnDispute::Suspend, OnDispute::Keep] {
            let world = world(policy, OnRefund::Keep, shape).await;
            let account = world.account("owner@example.com").await;
            let made = world.subscribe(account.id, &["price_pro"]);
            world.fake.advance(Duration::from_mins(1));
            world.act(&made, &Action::Dispute);
            world.catch_up().await;
            let access = world.entitled(account.id).await.access;
            match policy {
                OnDispute::Suspend => assert_eq!(access, Access::None(NoAccess::Lapsed(Lapse::Disputed))),
                OnDispute::Keep => assert!(matches!(access, Access::Plan(_))),
            }
            world.act(&made, &Action::DisputeUpdated);
            world.catch_up().await;
            assert_eq!(world.entitled(account.id).await.access, access, "evidence changes nothing");
            world.act(&made, &Action::DisputeWon);
            world.catch_up().await;
            assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
        }
    }
}

#[tokio::test]
async fn a_dispute_that_is_lost_suspends_until_the_next_period_is_paid() {
    let world = world(OnDispute::Suspend, OnRefund::Keep, EventShape::Mixed).await;
    let account = world.account("owner@example.com").await;
    let made = world.subscribe(account.id, &["price_pro"]);
    world.fake.advance(Duration::from_mins(1));
    world.act(&made, &Action::Dispute);
    world.act(&made, &Action::DisputeLost);
    world.catch_up().await;
    assert_eq!(world.plan(account.id).await, None);
    world.act(&made, &Action::CardFails);
    world.act(&made, &Action::Renew);
    world.catch_up().await;
    assert_eq!(world.plan(account.id).await, None, "the next period has begun, and nobody has paid it");
    world.act(&made, &Action::CardRecovers);
    world.act(&made, &Action::PayOpenInvoice);
    world.catch_up().await;
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
}

#[tokio::test]
async fn a_whole_refund_suspends_where_that_is_wished_and_part_of_one_never() {
    for policy in [OnRefund::Suspend, OnRefund::Keep] {
        let world = world(OnDispute::Suspend, policy, EventShape::Mixed).await;
        let account = world.account("owner@example.com").await;
        let made = world.subscribe(account.id, &["price_pro"]);
        world.fake.advance(Duration::from_mins(1));
        world.act(&made, &Action::Refund(Some(100)));
        world.catch_up().await;
        assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
        world.act(&made, &Action::Refund(None));
        world.catch_up().await;
        let expected = (policy == OnRefund::Keep).then_some("pro");
        assert_eq!(world.plan(account.id).await.as_deref(), expected);
        world.act(&made, &Action::Renew);
        world.catch_up().await;
        assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"), "the next period is paid");
    }
}

#[tokio::test]
async fn a_dispute_of_one_subscription_leaves_the_other() {
    let world = world(OnDispute::Suspend, OnRefund::Keep, EventShape::New).await;
    let account = world.account("owner@example.com").await;
    let pro = world.subscribe(account.id, &["price_pro"]);
    let seed =
        tollgate_fake_stripe::Seed { customer: Some(&pro.customer), prices: &["price_team"], ..Default::default() };
    let team = world.fake.seed(seed).unwrap();
    world.fake.advance(Duration::from_mins(1));
    world.act(&team, &Action::Dispute);
    world.catch_up().await;
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
}

#[tokio::test]
async fn charges_are_read_only_where_something_may_follow() {
    let world = world(OnDispute::Suspend, OnRefund::Keep, EventShape::New).await;
    let account = world.account("owner@example.com").await;
    let made = world.subscribe(account.id, &["price_pro"]);
    world.catch_up().await;
    world.fake.clear_requests();
    world.act(&made, &Action::Renew);
    world.catch_up().await;
    let asked: Vec<String> = world.fake.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(asked, ["/v1/subscriptions"], "one question a customer, most of the time");
}
