use std::time::Duration;

use tollgate_fake_stripe::{Action, Seed};

use super::harness::Desk;
use super::*;

#[tokio::test]
async fn a_subscription_ends_with_what_is_paid_for_and_goes_on_when_asked_to() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", None).await;
    let period_end = account.subscriptions[0].items[0].period.end;
    let ending = desk.billing.cancel(&account, None, When::PeriodEnd).await.expect("it is there");
    assert_eq!((ending.status.as_str(), ending.ends_at), ("active", Some(period_end)));
    assert_eq!(ending.plan.as_ref().map(PlanName::as_str), Some("pro"));
    assert_eq!(desk.again(&account).await.subscriptions[0].cancel_at, Some(period_end), "known at once");
    assert_eq!(desk.plan_of(&account).await, "pro", "it is paid for");
    let again = desk.billing.cancel(&account, None, When::PeriodEnd).await.expect("it is ending");
    assert_eq!(again, ending);

    let going_on = desk.billing.reactivate(&account, None).await.expect("it is ending");
    assert_eq!((going_on.status.as_str(), going_on.ends_at), ("active", None));
    assert_eq!(desk.again(&account).await.subscriptions[0].cancel_at, None);
    assert_eq!(desk.billing.reactivate(&account, None).await.expect("nothing to do"), going_on);

    desk.billing.cancel(&account, None, When::PeriodEnd).await.expect("it is there");
    desk.fake.advance_months(1);
    let account = desk.told(&account).await;
    assert_eq!(desk.plan_of(&account).await, "free");
    let error = desk.billing.reactivate(&account, None).await.expect_err("it is over");
    assert!(matches!(error, ActionError::NoSubscription), "{error}");
}

#[tokio::test]
async fn an_end_set_to_a_date_of_its_own_is_lifted_too() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", None).await;
    let id = account.subscriptions[0].id.to_string();
    let at = (desk.fake.now() + 40 * 86_400).to_string();
    desk.fake.call("POST", &format!("/v1/subscriptions/{id}"), &[("cancel_at", &at)]).expect("set");
    let going_on = desk.billing.reactivate(&account, None).await.expect("it is ending");
    assert_eq!(going_on.ends_at, None);
}

#[tokio::test]
async fn a_subscription_that_ends_now_takes_its_plan_along_at_once() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", None).await;
    let ended = desk.billing.cancel(&account, None, When::Now).await.expect("it is there");
    assert_eq!((ended.status.as_str(), ended.ends_at), ("canceled", Some(desk.now())));
    assert_eq!(desk.plan_of(&account).await, "free", "no webhook was waited for");
    assert!(desk.heard.of(account.id));
    let account = desk.again(&account).await;
    let error = desk.billing.cancel(&account, None, When::Now).await.expect_err("there is none any more");
    assert!(matches!(error, ActionError::NoSubscription), "{error}");
    // Asked for by its name it says how it stands.
    let named = desk.billing.cancel(&account, Some(&ended.subscription), When::Now).await.expect("it is known");
    assert_eq!(named, ended);
}

#[tokio::test]
async fn without_a_subscription_there_is_nothing_to_end() {
    let desk = Desk::open().await;
    let account = desk.account().await;
    for result in [
        desk.billing.cancel(&account, None, When::Now).await,
        desk.billing.cancel(&account, None, When::PeriodEnd).await,
        desk.billing.reactivate(&account, None).await,
    ] {
        assert!(matches!(result, Err(ActionError::NoSubscription)), "{result:?}");
    }
}

#[tokio::test]
async fn of_several_the_one_that_gives_the_plan_is_meant_unless_another_is_named() {
    let desk = Desk::open().await;
    let account = desk.subscriber("team", None).await;
    let customer = account.stripe_customer.as_deref();
    // A younger and lower one beside it, as somebody makes it in the dashboard.
    desk.fake.advance(Duration::from_hours(1));
    let lower = desk.fake.seed(Seed { customer, prices: &["price_pro"], ..Seed::default() }).expect("made");
    let account = desk.told(&account).await;
    let ending = desk.billing.cancel(&account, None, When::PeriodEnd).await.expect("it is there");
    assert_eq!(ending.plan.as_ref().map(PlanName::as_str), Some("team"));
    let named = desk.billing.cancel(&account, Some(&lower.subscription), When::Now).await.expect("it is there");
    assert_eq!((named.subscription.as_str(), named.status.as_str()), (lower.subscription.as_str(), "canceled"));
    assert_eq!(desk.plan_of(&account).await, "team");
}

#[tokio::test]
async fn nobody_ends_anothers_subscription() {
    let desk = Desk::open().await;
    let (account, other) = (desk.subscriber("pro", None).await, desk.subscriber("pro", None).await);
    let others = other.subscriptions[0].id.to_string();
    for result in [
        desk.billing.cancel(&account, Some(&others), When::Now).await,
        desk.billing.reactivate(&account, Some(&others)).await,
    ] {
        assert!(matches!(result, Err(ActionError::NoSubscription)), "{result:?}");
    }
    assert_eq!(desk.held(&other).await[0]["status"], "active");
}

#[tokio::test]
async fn what_nobody_pays_can_be_ended() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", None).await;
    let id = account.subscriptions[0].id.to_string();
    desk.fake.act(&id, &Action::CardFails).expect("it can fail");
    desk.fake.advance_months(1);
    desk.fake.advance(Duration::from_hours(8 * 24));
    let account = desk.told(&account).await;
    assert_eq!(desk.plan_of(&account).await, "free", "the grace is over");
    let ended = desk.billing.cancel(&account, None, When::Now).await.expect("it is there");
    assert_eq!(ended.status, "canceled");
    let account = desk.again(&account).await;
    desk.billing.checkout(&account, "pro", None).await.expect("and another may be bought");
}
