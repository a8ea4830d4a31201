//! Meters: what they take, what they refuse, what they add up to, and what is billed.

use crate::support::{fake, fake_with, invoices, subscribed};
use tollgate_fake_stripe::{FakeConfig, FakeStripe};

fn report(
    fake: &FakeStripe,
    customer: &str,
    value: &str,
    identifier: &str,
    timestamp: i64,
) -> Result<serde_json::Value, String> {
    let timestamp = timestamp.to_string();
    fake.call(
        "POST",
        "/v1/billing/meter_events",
        &[
            ("event_name", "api_calls"),
            ("payload[stripe_customer_id]", customer),
            ("payload[value]", value),
            ("identifier", identifier),
            ("timestamp", &timestamp),
        ],
    )
    .map_err(|error| format!("{} {}", error.status, error.message))
}

#[test]
fn an_identifier_counts_once_and_is_refused_in_stripes_words() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro", "price_calls"]);
    let now = fake.now();
    report(&fake, &made.customer, "5", "use-1", now).expect("the first is taken");
    let refused = report(&fake, &made.customer, "5", "use-1", now).expect_err("the second is not");
    assert_eq!(refused, "400 An event already exists with identifier use-1.");
    assert_eq!(fake.meter_total(&made.customer, "api_calls", now, now + 1), 5);
    fake.advance(crate::support::days(1));
    report(&fake, &made.customer, "5", "use-1", now).expect("after a day it is forgotten: so nobody resends blindly");
}

#[test]
fn timestamps_far_back_or_ahead_are_refused() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro", "price_calls"]);
    let now = fake.now();
    for (offset, taken) in [(-35 * 86_400, true), (-35 * 86_400 - 1, false), (300, true), (301, false)] {
        let result = report(&fake, &made.customer, "1", &format!("use{offset}"), now + offset);
        assert_eq!(result.is_ok(), taken, "{offset}: {result:?}");
    }
}

#[test]
fn what_cannot_be_counted_is_refused() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro"]);
    let now = fake.now();
    for (customer, value) in [("cus_unknown", "1"), (made.customer.as_str(), "many")] {
        assert!(report(&fake, customer, value, value, now).is_err(), "{customer} {value}");
    }
    let unknown = fake.call("POST", "/v1/billing/meter_events", &[("event_name", "nothing"), ("payload[value]", "1")]);
    assert_eq!(unknown.expect_err("no such meter").status, 400);
}

#[test]
fn summaries_add_up_by_window_and_take_what_is_below_zero() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro", "price_calls"]);
    let now = fake.now();
    for (index, (value, offset)) in [("10", 0), ("-3", 60), ("4", 3_600)].into_iter().enumerate() {
        report(&fake, &made.customer, value, &index.to_string(), now - 7_200 + offset).expect("taken");
    }
    let meters = fake.call("GET", "/v1/billing/meters", &[]).expect("a list");
    let path = format!("/v1/billing/meters/{}/event_summaries", meters["data"][0]["id"].as_str().expect("an id"));
    let (from, to) = ((now - 7_200).to_string(), now.to_string());
    let whole = fake
        .call("GET", &path, &[("customer", &made.customer), ("start_time", &from), ("end_time", &to)])
        .expect("a summary");
    assert_eq!(whole["data"][0]["aggregated_value"].as_f64(), Some(11.0));
    let hours = fake
        .call(
            "GET",
            &path,
            &[
                ("customer", &made.customer),
                ("start_time", &from),
                ("end_time", &to),
                ("value_grouping_window", "hour"),
            ],
        )
        .expect("summaries");
    let values: Vec<f64> =
        hours["data"].as_array().expect("rows").iter().filter_map(|row| row["aggregated_value"].as_f64()).collect();
    assert_eq!(values, [4.0, 7.0], "the newest window first");
    let crooked = fake.call("GET", &path, &[("customer", &made.customer), ("start_time", "1"), ("end_time", &to)]);
    assert!(crooked.is_err(), "times are whole minutes");
}

#[test]
fn summaries_lag_where_they_are_told_to() {
    let fake = fake_with(FakeConfig { meter_summary_lag_secs: 60, ..FakeConfig::default() });
    let made = subscribed(&fake, &["price_pro", "price_calls"]);
    let now = fake.now();
    report(&fake, &made.customer, "1", "one", now).expect("taken");
    let meter = fake.call("GET", "/v1/billing/meters", &[]).expect("a list")["data"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let path = format!("/v1/billing/meters/{meter}/event_summaries");
    let seen = || {
        let (from, to) = (now.to_string(), (now + 60).to_string());
        let answer = fake.call("GET", &path, &[("customer", &made.customer), ("start_time", &from), ("end_time", &to)]);
        answer.expect("a summary")["data"].as_array().expect("rows").len()
    };
    assert_eq!(seen(), 0);
    fake.advance(std::time::Duration::from_mins(1));
    assert_eq!(seen(), 1);
}

#[test]
fn use_is_billed_when_its_period_is_over_beside_the_next_period() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro", "price_calls"]);
    report(&fake, &made.customer, "250", "use", fake.now()).expect("taken");
    fake.advance_months(1);
    let invoice = &invoices(&fake, &made)[0];
    assert_eq!(invoice["amount_paid"], 3_000 + 250 * 2);
    let line = invoice["lines"]["data"]
        .as_array()
        .expect("lines")
        .iter()
        .find(|line| line["quantity"] == 250)
        .expect("a line");
    assert_eq!(line["pricing"]["price_details"]["price"], "price_calls");
}
