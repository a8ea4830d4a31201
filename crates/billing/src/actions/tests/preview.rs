use std::time::Duration;

use tollgate_config::ProrationBehavior;
use tollgate_domain::DAY_US;

use super::harness::Desk;
use super::*;

#[tokio::test]
async fn a_larger_plan_shows_what_is_due_at_once_and_what_comes() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", None).await;
    let end = account.subscriptions[0].items[0].period.end;
    desk.fake.advance(Duration::from_hours(15 * 24 + 12));
    let preview = desk.billing.preview(&account, "team", None).await.expect("it is sold");
    assert_eq!(
        (preview.plan.as_str(), preview.price.as_str(), preview.currency.as_str()),
        ("team", "price_team", "usd")
    );
    assert_eq!((preview.amount_due_now, preview.next_amount, preview.next_at), (3_500, 9_900, Some(end)));
    assert_eq!(preview.proration_date, Some(desk.now()));
    let amounts: Vec<i64> = preview.lines.iter().map(|line| line.amount).collect();
    assert_eq!(amounts, [-1_450, 4_950]);
    assert!(preview.lines.iter().all(|line| line.description.is_some()));
    let periods = preview.lines.iter().filter_map(|line| line.period);
    assert!(periods.clone().count() == 2 && periods.clone().all(|period| period.end == end));
    assert_eq!(desk.plan_of(&account).await, "pro", "nothing was changed");
    assert_eq!(desk.held(&account).await[0]["items"]["data"][0]["price"]["id"], "price_pro");
}

#[tokio::test]
async fn a_smaller_plan_shows_what_is_given_back() {
    let desk = Desk::open().await;
    let account = desk.subscriber("team", None).await;
    desk.fake.advance(Duration::from_hours(15 * 24 + 12));
    let preview = desk.billing.preview(&account, "pro", None).await.expect("it is sold");
    assert_eq!((preview.amount_due_now, preview.next_amount), (0, 2_900));
    assert_eq!(preview.lines.iter().map(|line| line.amount).sum::<i64>(), -3_500);
}

#[tokio::test]
async fn another_rhythm_is_due_at_once() {
    for behavior in [ProrationBehavior::AlwaysInvoice, ProrationBehavior::CreateProrations, ProrationBehavior::None] {
        let desk = Desk::with(Desk::proration(behavior)).await;
        let account = desk.subscriber("pro", None).await;
        desk.fake.advance(Duration::from_hours(15 * 24 + 12));
        let preview = desk.billing.preview(&account, "pro", Some("price_pro_year")).await.expect("it is sold");
        let left = if behavior == ProrationBehavior::None { 0 } else { 1_450 };
        assert_eq!(preview.amount_due_now, 29_000 - left, "{behavior:?}");
        assert_eq!(preview.next_amount, 29_000, "{behavior:?}");
        let year = desk.now().plus_micros(365 * DAY_US);
        assert_eq!(preview.next_at, Some(year), "{behavior:?}");
    }
}

#[tokio::test]
async fn what_is_charged_with_the_next_period_is_not_due_now() {
    for (behavior, next) in [(ProrationBehavior::CreateProrations, 9_900 + 3_500), (ProrationBehavior::None, 9_900)] {
        let desk = Desk::with(Desk::proration(behavior)).await;
        let account = desk.subscriber("pro", None).await;
        desk.fake.advance(Duration::from_hours(15 * 24 + 12));
        let preview = desk.billing.preview(&account, "team", None).await.expect("it is sold");
        assert_eq!((preview.amount_due_now, preview.next_amount), (0, next), "{behavior:?}");
        assert_eq!(preview.next_at, Some(account.subscriptions[0].items[0].period.end), "{behavior:?}");
    }
}

#[tokio::test]
async fn nothing_is_due_within_a_trial() {
    let desk = Desk::with(|stripe| stripe.trial_days = 14).await;
    let account = desk.subscriber("pro", None).await;
    let preview = desk.billing.preview(&account, "team", None).await.expect("it is sold");
    assert_eq!((preview.amount_due_now, preview.next_amount), (0, 9_900));
    assert_eq!(preview.next_at, Some(desk.now().plus_micros(14 * DAY_US)));
}

#[tokio::test]
async fn the_plan_that_there_is_costs_nothing_more() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", None).await;
    desk.fake.advance(Duration::from_hours(24));
    let preview = desk.billing.preview(&account, "pro", None).await.expect("it is sold");
    assert_eq!((preview.amount_due_now, preview.next_amount, preview.proration_date), (0, 2_900, None));
}

#[tokio::test]
async fn a_first_purchase_costs_its_price_and_a_trial_nothing_yet() {
    for (trial_days, due) in [(0, 2_900), (14, 0)] {
        let desk = Desk::with(|stripe| stripe.trial_days = trial_days).await;
        let account = desk.account().await;
        let preview = desk.billing.preview(&account, "pro", None).await.expect("it is sold");
        assert_eq!((preview.amount_due_now, preview.next_amount), (due, 2_900), "{trial_days}");
        assert_eq!(preview.lines[0].description.as_deref(), Some("pro"));
        assert_eq!(preview.next_at, (trial_days > 0).then(|| desk.now().plus_micros(14 * DAY_US)));
        assert_eq!(desk.count("/v1/customers"), 0, "looking makes no customer");
    }
}

#[tokio::test]
async fn what_is_not_sold_has_no_preview() {
    let desk = Desk::open().await;
    let error = desk.billing.preview(&desk.account().await, "enterprise", None).await.expect_err("not sold");
    assert!(matches!(error, ActionError::NotSold { .. }), "{error}");
}
