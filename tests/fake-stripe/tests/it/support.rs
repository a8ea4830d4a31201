//! What the tests share: a fake with prices, a customer with a subscription, and short ways to ask.

use std::time::Duration;

use serde_json::Value;
use tollgate_fake_stripe::{Action, Card, FakeConfig, FakeStripe, Interval, NewPrice, Seed, Seeded};

pub(crate) const DAY: u64 = 86_400;

/// A fake with a monthly, a dearer monthly, an annual and a metered price.
pub(crate) fn fake_with(config: FakeConfig) -> FakeStripe {
    let fake = FakeStripe::start(config).expect("a port is free");
    for (id, product, unit_amount, interval) in [
        ("price_pro", "Pro", 3_000, Interval::Month),
        ("price_team", "Team", 9_000, Interval::Month),
        ("price_pro_year", "Pro", 30_000, Interval::Year),
    ] {
        fake.price(NewPrice { id, product, unit_amount, interval, ..NewPrice::default() });
    }
    fake.price(NewPrice {
        id: "price_calls",
        product: "Calls",
        unit_amount: 2,
        metered: Some("api_calls"),
        ..NewPrice::default()
    });
    fake
}

pub(crate) fn fake() -> FakeStripe {
    fake_with(FakeConfig::default())
}

/// A customer with a good card and a subscription to these prices.
pub(crate) fn subscribed(fake: &FakeStripe, prices: &[&str]) -> Seeded {
    fake.seed(Seed { email: "ada@example.com", prices, ..Seed::default() }).expect("the prices are there")
}

/// The same in a trial.
pub(crate) fn in_trial(fake: &FakeStripe, days: u32, card: Card, pause_without_card: bool) -> Seeded {
    let seed = Seed {
        email: "ada@example.com",
        prices: &["price_pro"],
        trial_days: days,
        card,
        pause_without_card,
        ..Seed::default()
    };
    fake.seed(seed).expect("the price is there")
}

pub(crate) fn days(days: u64) -> Duration {
    Duration::from_secs(days * DAY)
}

pub(crate) fn act(fake: &FakeStripe, made: &Seeded, action: &Action) {
    fake.act(&made.subscription, action).expect("the action is possible");
}

pub(crate) fn status(fake: &FakeStripe, made: &Seeded) -> String {
    fake.object(&made.subscription).expect("it was made")["status"].as_str().expect("a status").to_owned()
}

/// The types of the events that were collected since the last look.
pub(crate) fn kinds(fake: &FakeStripe) -> Vec<String> {
    fake.take_events().into_iter().map(|event| event.kind).collect()
}

/// The invoices of a customer, newest first.
pub(crate) fn invoices(fake: &FakeStripe, made: &Seeded) -> Vec<Value> {
    let list = fake.call("GET", "/v1/invoices", &[("customer", &made.customer), ("limit", "100")]).expect("a list");
    list["data"].as_array().expect("rows").clone()
}

/// The first item's period.
pub(crate) fn period(fake: &FakeStripe, made: &Seeded) -> (i64, i64) {
    let subscription = fake.object(&made.subscription).expect("it was made");
    let item = &subscription["items"]["data"][0];
    (item["current_period_start"].as_i64().expect("a time"), item["current_period_end"].as_i64().expect("a time"))
}

/// A moment as text, for comparisons that a person reads.
pub(crate) fn at(text: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(text).expect("a time").timestamp()
}
