//! What is billed by use, beside a plan's own price.

use std::time::Duration;

use tollgate_config::{BilledMeter, StripeConfig};
use tollgate_domain::MeterName;

use super::harness::{Desk, value};
use super::*;

fn meters(stripe: &mut StripeConfig) {
    let tokens = BilledMeter::Named(MeterName::new("tokens").expect("a good name"));
    stripe.meters = [(BilledMeter::Calls, "api_calls".into()), (tokens, "tokens".into())].into();
}

/// A metered price that is found by this key.
fn price(desk: &Desk, lookup_key: &str, event_name: &str, interval: &str) -> String {
    let meters = desk.fake.call("GET", "/v1/billing/meters", &[]).expect("a list");
    let of_name = |meter: &&serde_json::Value| meter["event_name"] == event_name;
    let known = meters["data"].as_array().expect("a list").iter().find(of_name).map(|meter| meter["id"].clone());
    let meter = known.unwrap_or_else(|| {
        let fields =
            [("display_name", event_name), ("event_name", event_name), ("default_aggregation[formula]", "sum")];
        desk.fake.call("POST", "/v1/billing/meters", &fields).expect("made")["id"].clone()
    });
    let fields = [
        ("product_data[name]", "Use"),
        ("currency", "usd"),
        ("unit_amount", "1"),
        ("recurring[interval]", interval),
        ("recurring[usage_type]", "metered"),
        ("recurring[meter]", meter.as_str().expect("an id")),
        ("lookup_key", lookup_key),
    ];
    let made = desk.fake.call("POST", "/v1/prices", &fields).expect("made");
    made["id"].as_str().expect("an id").to_owned()
}

/// The prices on the account's only subscription, in any order.
async fn prices(desk: &Desk, account: &Account) -> Vec<String> {
    let held = desk.held(account).await;
    assert_eq!(held.len(), 1);
    let items = held[0]["items"]["data"].as_array().expect("items").iter();
    let mut prices: Vec<String> = items.map(|item| item["price"]["id"].as_str().expect("an id").to_owned()).collect();
    prices.sort();
    prices
}

fn sorted<const N: usize>(prices: [&str; N]) -> Vec<String> {
    let mut prices = prices.map(str::to_owned).to_vec();
    prices.sort();
    prices
}

#[tokio::test]
async fn use_is_bought_beside_the_plan_where_a_price_bills_it() {
    let desk = Desk::with(meters).await;
    let calls = price(&desk, "tollgate_meter_pro_calls_month", "api_calls", "month");
    price(&desk, "tollgate_meter_pro_calls_year", "api_calls", "year");
    price(&desk, "tollgate_meter_team_tokens_month", "tokens", "month");
    let account = desk.subscriber("pro", None).await;
    let form = desk.asked("/v1/checkout/sessions").pop().expect("a page was made");
    assert_eq!(value(&form, "line_items[1][price]"), Some(calls.as_str()));
    assert_eq!(value(&form, "line_items[1][quantity]"), None);
    assert_eq!(value(&form, "line_items[2][price]"), None);
    assert_eq!(prices(&desk, &account).await, sorted(["price_pro", &calls]));
}

#[tokio::test]
async fn metered_prices_go_along_with_a_change() {
    let desk = Desk::with(meters).await;
    let pro_calls = price(&desk, "tollgate_meter_pro_calls_month", "api_calls", "month");
    let pro_tokens = price(&desk, "tollgate_meter_pro_tokens_month", "tokens", "month");
    let team_calls = price(&desk, "tollgate_meter_team_calls_month", "api_calls", "month");
    let year_calls = price(&desk, "tollgate_meter_team_calls_year", "api_calls", "year");
    let account = desk.subscriber("pro", None).await;
    assert_eq!(prices(&desk, &account).await, sorted(["price_pro", &pro_calls, &pro_tokens]));
    let items = |held: &[serde_json::Value]| held[0]["items"]["data"].as_array().expect("items").clone();
    let before = items(&desk.held(&account).await);

    desk.fake.advance(Duration::from_hours(24));
    let to = |plan, price| NewPlan { plan, price, proration_date: None };
    desk.billing.change(&account, to("team", None)).await.expect("it is sold");
    assert_eq!(prices(&desk, &account).await, sorted(["price_team", &team_calls]));
    // The line that bills calls is the same as before, under another price.
    let line = |items: &[serde_json::Value], price: &str| {
        items.iter().find(|item| item["price"]["id"] == price).map(|item| item["id"].clone())
    };
    let after = items(&desk.held(&account).await);
    assert_eq!(line(&before, &pro_calls), line(&after, &team_calls));

    desk.billing.change(&account, to("team", Some("price_team_year"))).await.expect("it is sold");
    assert_eq!(prices(&desk, &account).await, sorted(["price_team_year", &year_calls]));
    desk.billing.change(&account, to("pro", Some("price_pro"))).await.expect("it is sold");
    assert_eq!(prices(&desk, &account).await, sorted(["price_pro", &pro_calls, &pro_tokens]));
}

#[tokio::test]
async fn a_plan_by_use_alone_can_be_left_and_taken() {
    let desk = Desk::open().await;
    let account = desk.subscriber("by-use", None).await;
    let to = |plan| NewPlan { plan, price: None, proration_date: None };
    desk.billing.change(&account, to("pro")).await.expect("it is sold");
    assert_eq!(prices(&desk, &account).await, sorted(["price_pro"]));
    assert_eq!(desk.plan_of(&account).await, "pro");
    desk.billing.change(&account, to("by-use")).await.expect("it is sold");
    assert_eq!(prices(&desk, &account).await, sorted(["price_by_use"]));
    assert_eq!(desk.plan_of(&account).await, "by-use");
}

#[tokio::test]
async fn use_is_billed_when_a_subscription_ends_now() {
    let desk = Desk::with(meters).await;
    price(&desk, "tollgate_meter_pro_calls_month", "api_calls", "month");
    let account = desk.subscriber("pro", None).await;
    let customer = account.stripe_customer.clone().expect("a customer");
    let fields = [
        ("event_name", "api_calls"),
        ("payload[stripe_customer_id]", customer.as_str()),
        ("payload[value]", "500"),
        ("identifier", "once"),
    ];
    desk.fake.call("POST", "/v1/billing/meter_events", &fields).expect("taken");
    desk.fake.advance(Duration::from_hours(1));
    desk.billing.cancel(&account, None, When::Now).await.expect("it is there");
    let invoices = desk.fake.call("GET", "/v1/invoices", &[("customer", &customer)]).expect("a list");
    assert_eq!(invoices["data"][0]["total"], 500, "{:#}", invoices["data"][0]);
}

#[tokio::test]
async fn a_metered_price_of_another_currency_is_the_operators_to_mend() {
    let desk = Desk::with(meters).await;
    price(&desk, "tollgate_meter_pro_calls_month", "api_calls", "year");
    let error = desk.billing.checkout(&desk.account().await, "pro", None).await.expect_err("it does not fit");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains("rhythm"), "{cause}");
}
