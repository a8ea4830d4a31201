//! Lists: newest first, in pages, without a gap or a repetition.

use serde_json::Value;
use tollgate_fake_stripe::{FakeStripe, Seed};

use crate::support::{fake, subscribed};

fn ids(page: &Value) -> Vec<String> {
    page["data"].as_array().expect("rows").iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
}

fn customers(fake: &FakeStripe, count: usize) -> Vec<String> {
    let mut made: Vec<String> = (0..count)
        .map(|number| {
            fake.seed(Seed { email: &format!("c{number}@example.com"), ..Seed::default() }).expect("made").customer
        })
        .collect();
    made.reverse();
    made
}

#[test]
fn pages_follow_each_other_forwards_and_backwards() {
    let fake = fake();
    let newest_first = customers(&fake, 25);
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let mut params = vec![("limit", "10")];
        if !after.is_empty() {
            params.push(("starting_after", &after));
        }
        let page = fake.call("GET", "/v1/customers", &params).expect("a page");
        seen.extend(ids(&page));
        if page["has_more"] == false {
            break;
        }
        after = seen.last().expect("a page is not empty").clone();
    }
    assert_eq!(seen, newest_first);
    let before =
        fake.call("GET", "/v1/customers", &[("limit", "3"), ("ending_before", &newest_first[5])]).expect("a page");
    assert_eq!(ids(&before), newest_first[2..5]);
    assert_eq!(before["has_more"], true);
}

#[test]
fn a_cursor_or_a_limit_that_makes_no_sense_is_refused() {
    let fake = fake();
    for params in [[("limit", "0")], [("limit", "101")], [("starting_after", "cus_none")]] {
        assert_eq!(fake.call("GET", "/v1/customers", &params).expect_err("refused").status, 400, "{params:?}");
    }
}

#[test]
fn lists_are_narrowed_by_what_they_are_asked_for() {
    let fake = fake();
    customers(&fake, 3);
    let made = subscribed(&fake, &["price_pro"]);
    fake.act(&made.subscription, &tollgate_fake_stripe::Action::CancelNow).expect("possible");
    let count = |path: &str, params: &[(&str, &str)]| ids(&fake.call("GET", path, params).expect("a page")).len();
    let customer = ("customer", made.customer.as_str());
    assert_eq!(count("/v1/customers", &[("email", "c1@example.com")]), 1);
    assert_eq!(count("/v1/customers", &[("email", "C1@example.com")]), 0, "Stripe compares with case");
    assert_eq!(count("/v1/subscriptions", &[customer]), 0, "what is cancelled is left out");
    assert_eq!(count("/v1/subscriptions", &[customer, ("status", "all")]), 1);
    assert_eq!(count("/v1/subscriptions", &[customer, ("status", "canceled")]), 1);
    assert_eq!(count("/v1/invoices", &[("subscription", &made.subscription), ("status", "paid")]), 1);
    assert_eq!(count("/v1/invoices", &[("subscription", &made.subscription), ("status", "open")]), 0);
    assert_eq!(count("/v1/events", &[("types[]", "customer.subscription.deleted")]), 1);
    assert_eq!(count("/v1/events", &[("type", "customer.subscription.*"), ("created[lt]", "5")]), 0);
}

#[test]
fn prices_are_found_by_lookup_key_which_only_one_has() {
    let fake = fake();
    let price = |key: &str, transfer: &str| {
        fake.call(
            "POST",
            "/v1/prices",
            &[
                ("currency", "eur"),
                ("unit_amount", "500"),
                ("recurring[interval]", "month"),
                ("product_data[name]", "Basic"),
                ("lookup_key", key),
                ("transfer_lookup_key", transfer),
            ],
        )
    };
    let first = price("tollgate_basic", "false").expect("made");
    price("tollgate_basic", "false").expect_err("the key is taken");
    let second = price("tollgate_basic", "true").expect("it takes the key over");
    let found = fake.call("GET", "/v1/prices", &[("lookup_keys[]", "tollgate_basic")]).expect("a list");
    assert_eq!(ids(&found), [second["id"].as_str().expect("an id")]);
    assert_ne!(first["id"], second["id"]);
}
