use std::time::Duration;

use tollgate_config::ProrationBehavior;
use tollgate_domain::{DAY_US, HOUR_US, MINUTE_US};
use tollgate_fake_stripe::{Action, Card, Seed};

use super::harness::{Desk, value};
use super::*;

fn to(plan: &str) -> NewPlan<'_> {
    NewPlan { plan, price: None, proration_date: None }
}

async fn changed(desk: &Desk, account: &Account, to: NewPlan<'_>) -> Standing {
    match desk.billing.change(account, to).await.expect("it can be changed") {
        PlanChange::Changed(standing) => standing,
        PlanChange::Checkout(_) => panic!("there is a subscription"),
    }
}

/// What all of a customer's invoices came to.
fn paid(desk: &Desk, account: &Account) -> i64 {
    let customer = account.stripe_customer.as_deref().expect("a customer");
    let invoices = desk.fake.call("GET", "/v1/invoices", &[("customer", customer)]).expect("a list");
    let invoices = invoices["data"].as_array().expect("a list").iter();
    invoices.map(|invoice| invoice["amount_paid"].as_i64().expect("an amount")).sum()
}

#[tokio::test]
async fn a_larger_plan_is_charged_and_given_at_once() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", None).await;
    assert_eq!(paid(&desk, &account), 2_900);
    desk.fake.advance(Duration::from_hours(15 * 24 + 12));
    let standing = changed(&desk, &account, to("team")).await;
    assert_eq!((standing.status.as_str(), standing.plan.as_ref().map(PlanName::as_str)), ("active", Some("team")));
    assert_eq!(desk.plan_of(&account).await, "team", "no webhook was waited for");
    // Half of the month is left: half of the difference is due.
    assert_eq!(paid(&desk, &account), 2_900 + (9_900 - 2_900) / 2);
    assert_eq!(desk.held(&account).await.len(), 1, "it is the same subscription");
    assert!(desk.heard.of(account.id));
}

#[tokio::test]
async fn a_smaller_plan_is_taken_at_once_and_what_is_left_is_owed() {
    let desk = Desk::open().await;
    let account = desk.subscriber("team", None).await;
    desk.fake.advance(Duration::from_hours(15 * 24 + 12));
    changed(&desk, &account, to("pro")).await;
    assert_eq!(desk.plan_of(&account).await, "pro");
    let customer = desk.fake.object(account.stripe_customer.as_deref().expect("a customer")).expect("it is there");
    assert_eq!(customer["balance"], -(9_900 - 2_900) / 2, "a negative balance is owed to the customer");
}

#[tokio::test]
async fn a_card_that_declines_leaves_everything_as_it_was() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", None).await;
    desk.fake.advance(Duration::from_hours(24));
    let before = desk.held(&account).await;
    desk.fake.card(account.stripe_customer.as_deref().expect("a customer"), Card::Declines);
    let error = desk.billing.change(&account, to("team")).await.expect_err("the card declines");
    assert!(matches!(&error, ActionError::Declined { .. }) && error.to_string().contains("declined"), "{error}");
    assert_eq!(desk.held(&account).await[0]["items"], before[0]["items"]);
    assert_eq!(desk.told(&account).await.subscriptions, account.subscriptions);
    assert_eq!(desk.plan_of(&account).await, "pro");
    // The next click is another one: with a card that works it goes through within the same minute.
    desk.fake.card(account.stripe_customer.as_deref().expect("a customer"), Card::Good);
    changed(&desk, &account, to("team")).await;
    assert_eq!(desk.plan_of(&account).await, "team");
}

#[tokio::test]
async fn a_change_that_was_made_already_is_not_made_again() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", None).await;
    desk.fake.advance(Duration::from_hours(24));
    let first = changed(&desk, &account, to("team")).await;
    let path = format!("/v1/subscriptions/{}", first.subscription);
    assert_eq!(desk.asked(&path).len(), 1);
    assert_eq!(changed(&desk, &account, to("team")).await, first);
    assert_eq!(desk.asked(&path).len(), 1, "Stripe was not asked to");
}

#[tokio::test]
async fn without_a_subscription_a_change_is_a_purchase() {
    let desk = Desk::open().await;
    let account = desk.account().await;
    match desk.billing.change(&account, to("team")).await.expect("it is sold") {
        PlanChange::Checkout(url) => desk.pay(&url),
        PlanChange::Changed(standing) => panic!("there was none: {standing:?}"),
    }
    desk.told(&account).await;
    assert_eq!(desk.plan_of(&account).await, "team");
}

#[tokio::test]
async fn whoever_pays_by_the_year_goes_on_so() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", Some("price_pro_year")).await;
    changed(&desk, &account, to("team")).await;
    let price = |held: &[serde_json::Value]| held[0]["items"]["data"][0]["price"]["id"].clone();
    assert_eq!(price(&desk.held(&account).await), "price_team_year");
    // Unless told otherwise.
    changed(&desk, &account, NewPlan { price: Some("price_team"), ..to("team") }).await;
    assert_eq!(price(&desk.held(&account).await), "price_team");
    // And one of the plan's own prices is kept.
    assert_eq!(desk.held(&account).await.len(), 1);
    changed(&desk, &account, to("team")).await;
    assert_eq!(price(&desk.held(&account).await), "price_team");
}

#[tokio::test]
async fn the_difference_is_charged_as_the_settings_say() {
    for (behavior, at_once) in [
        (ProrationBehavior::AlwaysInvoice, 3_500),
        (ProrationBehavior::CreateProrations, 0),
        (ProrationBehavior::None, 0),
    ] {
        let desk = Desk::with(Desk::proration(behavior)).await;
        let account = desk.subscriber("pro", None).await;
        desk.fake.advance(Duration::from_hours(15 * 24 + 12));
        let standing = changed(&desk, &account, to("team")).await;
        assert_eq!(paid(&desk, &account), 2_900 + at_once, "{behavior:?}");
        let form = desk.asked(&format!("/v1/subscriptions/{}", standing.subscription)).pop().expect("it was asked");
        assert_eq!(value(&form, "proration_behavior"), Some(behavior.as_str()));
        assert_eq!(value(&form, "payment_behavior"), Some("error_if_incomplete"));
        desk.fake.advance_months(1);
        let renewed = match behavior {
            ProrationBehavior::None => 2_900 + 9_900,
            ProrationBehavior::AlwaysInvoice | ProrationBehavior::CreateProrations => 2_900 + 3_500 + 9_900,
        };
        assert_eq!(paid(&desk, &account), renewed, "{behavior:?}");
    }
}

#[tokio::test]
async fn what_was_previewed_is_what_is_charged() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", None).await;
    desk.fake.advance(Duration::from_hours(10 * 24));
    let preview = desk.billing.preview(&account, "team", None).await.expect("it is sold");
    desk.fake.advance(Duration::from_mins(50));
    let before = paid(&desk, &account);
    changed(&desk, &account, NewPlan { proration_date: preview.proration_date, ..to("team") }).await;
    assert_eq!(paid(&desk, &account) - before, preview.amount_due_now);
}

#[tokio::test]
async fn nobody_chooses_the_moment_that_is_cheapest() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", None).await;
    desk.fake.advance(Duration::from_hours(10 * 24));
    let (now, period) = (desk.now(), account.subscriptions[0].items[0].period);
    for date in [
        period.end.plus_micros(-MINUTE_US),
        period.end.plus_micros(DAY_US),
        now.plus_micros(2 * MINUTE_US),
        now.plus_micros(-2 * HOUR_US),
        period.start,
    ] {
        let error = desk.billing.change(&account, NewPlan { proration_date: Some(date), ..to("team") }).await;
        assert!(matches!(error, Err(ActionError::StalePreview)), "{date}: {error:?}");
    }
    assert_eq!(desk.plan_of(&account).await, "pro");
}

#[tokio::test]
async fn a_preview_of_a_period_that_is_over_is_stale() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", None).await;
    let end = account.subscriptions[0].items[0].period.end;
    desk.fake.advance_to(end.as_secs() - 60);
    let preview = desk.billing.preview(&account, "team", None).await.expect("it is sold");
    desk.fake.advance(Duration::from_mins(2));
    let error = desk.billing.change(&account, NewPlan { proration_date: preview.proration_date, ..to("team") }).await;
    assert!(matches!(error, Err(ActionError::StalePreview)), "{error:?}");
}

#[tokio::test]
async fn an_end_that_was_decided_stays() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", None).await;
    desk.billing.cancel(&account, None, When::PeriodEnd).await.expect("it is there");
    let standing = changed(&desk, &account, to("team")).await;
    assert_eq!(standing.ends_at, Some(account.subscriptions[0].items[0].period.end));
}

#[tokio::test]
async fn what_is_not_paid_is_not_changed() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", None).await;
    desk.fake.act(&account.subscriptions[0].id, &Action::CardFails).expect("it can fail");
    desk.fake.advance_months(1);
    desk.fake.advance(Duration::from_hours(8 * 24));
    let account = desk.told(&account).await;
    for result in [
        desk.billing.change(&account, to("team")).await.map(|_| ()),
        desk.billing.preview(&account, "team", None).await.map(|_| ()),
    ] {
        assert!(matches!(result, Err(ActionError::PaymentDue { .. })), "{result:?}");
    }
}

#[tokio::test]
async fn an_operators_plan_and_a_ban_are_in_the_way() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", None).await;
    let given = desk.assign(&account, "team", None).await;
    let error = desk.billing.change(&given, to("team")).await.expect_err("an operator's plan is in force");
    assert!(matches!(error, ActionError::OperatorPlan { until: None, .. }), "{error}");
    let banned = desk.ban(&account).await;
    let error = desk.billing.change(&banned, to("team")).await.expect_err("it is banned");
    assert!(matches!(error, ActionError::Banned), "{error}");
}

#[tokio::test]
async fn other_lines_of_a_subscription_stay_as_they_are() {
    let desk = Desk::open().await;
    desk.fake.price(tollgate_fake_stripe::NewPrice {
        id: "price_support",
        product: "Support",
        unit_amount: 5_000,
        ..tollgate_fake_stripe::NewPrice::default()
    });
    let account = desk.account().await;
    let prices = &["price_support", "price_pro"];
    let made = desk.fake.seed(Seed { email: &account.email, prices, ..Seed::default() }).expect("made");
    let link = tollgate_store::Billing::link_customer(&*desk.store, account.id, &made.customer, &desk.audit()).await;
    link.expect("the store answers");
    let account = desk.told(&account).await;
    changed(&desk, &account, to("team")).await;
    let held = desk.held(&account).await;
    let items = held[0]["items"]["data"].as_array().expect("items").iter();
    let prices: Vec<_> = items.filter_map(|item| item["price"]["id"].as_str()).collect();
    assert_eq!(prices, ["price_support", "price_team"]);
}

#[tokio::test]
async fn a_price_that_is_not_sold_any_more_is_kept_by_those_who_pay_it() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", Some("price_pro_year")).await;
    desk.fake.call("POST", "/v1/prices/price_pro_year", &[("active", "false")]).expect("archived");
    for price in [None, Some("price_pro_year")] {
        let standing = changed(&desk, &account, NewPlan { price, ..to("pro") }).await;
        assert_eq!(standing.plan.as_ref().map(PlanName::as_str), Some("pro"));
        assert_eq!(desk.billing.preview(&account, "pro", price).await.expect("it is paid").next_amount, 29_000);
    }
    changed(&desk, &account, to("team")).await;
    assert_eq!(desk.held(&account).await[0]["items"]["data"][0]["price"]["id"], "price_team_year");
    let error = desk.billing.change(&account, NewPlan { price: Some("price_pro_year"), ..to("pro") }).await;
    assert!(matches!(error, Err(ActionError::Misconfigured { .. })), "it is not sold again: {error:?}");
}
