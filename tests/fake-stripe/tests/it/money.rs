//! Changes of price, previews, balances, refunds, disputes.

use tollgate_fake_stripe::Action;

use crate::support::{act, at, days, fake, invoices, kinds, period, status, subscribed};

fn first_item(fake: &tollgate_fake_stripe::FakeStripe, subscription: &str) -> String {
    fake.object(subscription).expect("it is there")["items"]["data"][0]["id"].as_str().expect("an id").to_owned()
}

#[test]
fn an_upgrade_is_prorated_to_the_second_and_charged_at_once_as_the_preview_said() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro"]);
    let (start, end) = period(&fake, &made);
    fake.advance_to(start + (end - start) / 2);
    let item = first_item(&fake, &made.subscription);
    let preview = fake
        .call(
            "POST",
            "/v1/invoices/create_preview",
            &[
                ("customer", &made.customer),
                ("subscription", &made.subscription),
                ("subscription_details[items][0][id]", &item),
                ("subscription_details[items][0][price]", "price_team"),
                ("subscription_details[proration_behavior]", "always_invoice"),
            ],
        )
        .expect("a preview");
    // Half of 90.00 less half of 30.00.
    assert_eq!(preview["amount_due"], 3_000);
    assert_eq!(invoices(&fake, &made).len(), 1, "a preview makes nothing");
    act(&fake, &made, &Action::ChangePrice("price_team".to_owned()));
    let invoice = &invoices(&fake, &made)[0];
    assert_eq!(
        (invoice["amount_paid"].as_i64(), invoice["billing_reason"].as_str()),
        (Some(3_000), Some("subscription_update"))
    );
    let amounts: Vec<i64> =
        invoice["lines"]["data"].as_array().expect("lines").iter().filter_map(|line| line["amount"].as_i64()).collect();
    assert_eq!(amounts, [-1_500, 4_500]);
    assert_eq!(period(&fake, &made), (start, end), "the period stays");
}

#[test]
fn a_downgrade_becomes_credit_that_the_next_invoice_uses() {
    let fake = fake();
    let made = subscribed(&fake, &["price_team"]);
    let (start, end) = period(&fake, &made);
    fake.advance_to(start + (end - start) / 2);
    act(&fake, &made, &Action::ChangePrice("price_pro".to_owned()));
    assert_eq!(fake.object(&made.customer).expect("it is there")["balance"], -3_000);
    fake.advance_to(end);
    let invoice = &invoices(&fake, &made)[0];
    assert_eq!(
        (invoice["total"].as_i64(), invoice["amount_due"].as_i64(), invoice["status"].as_str()),
        (Some(3_000), Some(0), Some("paid"))
    );
    assert_eq!(fake.object(&made.customer).expect("it is there")["balance"], 0);
}

#[test]
fn prorations_wait_for_the_next_invoice_unless_asked_otherwise() {
    for (behavior, next_total) in [("create_prorations", 12_000), ("none", 9_000)] {
        let fake = fake();
        let made = subscribed(&fake, &["price_pro"]);
        let (start, end) = period(&fake, &made);
        fake.advance_to(start + (end - start) / 2);
        let item = first_item(&fake, &made.subscription);
        let path = format!("/v1/subscriptions/{}", made.subscription);
        fake.call(
            "POST",
            &path,
            &[("items[0][id]", &item), ("items[0][price]", "price_team"), ("proration_behavior", behavior)],
        )
        .expect("the change is taken");
        assert_eq!(invoices(&fake, &made).len(), 1, "{behavior}: nothing is billed now");
        let upcoming = fake
            .call("POST", "/v1/invoices/create_preview", &[("subscription", &made.subscription)])
            .expect("a preview");
        assert_eq!(upcoming["total"], next_total, "{behavior}");
        fake.advance_to(end);
        assert_eq!(invoices(&fake, &made)[0]["total"], next_total, "{behavior}");
    }
}

#[test]
fn another_interval_begins_a_new_period_and_is_paid_at_once() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro"]);
    fake.advance(days(10));
    let now = fake.now();
    act(&fake, &made, &Action::ChangePrice("price_pro_year".to_owned()));
    assert_eq!(period(&fake, &made), (now, at("2027-01-11T00:00:00Z")));
    let invoice = &invoices(&fake, &made)[0];
    // A year less the 21 unused days of 31.
    assert_eq!(invoice["amount_paid"], 30_000 - 3_000 * 21 / 31);
    assert_eq!(fake.object(&made.subscription).expect("it is there")["billing_cycle_anchor"], now);
}

#[test]
fn refunds_add_up_and_stop_at_the_charge() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro"]);
    kinds(&fake);
    act(&fake, &made, &Action::Refund(Some(1_000)));
    let told = fake.take_events();
    assert_eq!(told.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["refund.created", "charge.refunded"]);
    let event: serde_json::Value = serde_json::from_str(&told[1].body).expect("JSON");
    assert_eq!(event["data"]["previous_attributes"]["amount_refunded"], 0);
    assert_eq!(
        (event["data"]["object"]["amount_refunded"].as_i64(), event["data"]["object"]["refunded"].as_bool()),
        (Some(1_000), Some(false))
    );
    act(&fake, &made, &Action::Refund(None));
    let charges = fake.call("GET", "/v1/charges", &[("customer", &made.customer)]).expect("a list");
    assert_eq!(charges["data"][0]["refunded"], true);
    let error = fake.act(&made.subscription, &Action::Refund(None)).expect_err("nothing is left");
    assert_eq!(error.code, Some("charge_already_refunded"));
}

#[test]
fn a_dispute_is_opened_answered_and_won_or_lost() {
    for (end, expected) in [(Action::DisputeWon, "won"), (Action::DisputeLost, "lost")] {
        let fake = fake();
        let made = subscribed(&fake, &["price_pro"]);
        kinds(&fake);
        act(&fake, &made, &Action::Dispute);
        act(&fake, &made, &Action::DisputeUpdated);
        act(&fake, &made, &end);
        let told = kinds(&fake);
        let mut expected_kinds = vec![
            "charge.dispute.created",
            "charge.dispute.funds_withdrawn",
            "charge.dispute.updated",
            "charge.dispute.closed",
        ];
        if expected == "won" {
            expected_kinds.push("charge.dispute.funds_reinstated");
        }
        assert_eq!(told, expected_kinds);
        let charge =
            fake.call("GET", "/v1/charges", &[("customer", &made.customer)]).expect("a list")["data"][0].clone();
        assert_eq!(charge["disputed"], true);
        let id = charge["id"].as_str().expect("an id");
        let disputes = fake.call("GET", "/v1/disputes", &[("charge", id)]).expect("a list");
        assert_eq!(disputes["data"][0]["status"], expected);
        assert_eq!(status(&fake, &made), "active", "a dispute alone ends nothing");
    }
}

#[test]
fn a_charge_leads_to_its_invoice_through_the_payment() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro"]);
    let charge = fake.call("GET", "/v1/charges", &[("customer", &made.customer)]).expect("a list")["data"][0].clone();
    assert!(charge.get("invoice").is_none(), "today's charge names no invoice");
    let intent = charge["payment_intent"].as_str().expect("an id");
    let payments = fake
        .call(
            "GET",
            "/v1/invoice_payments",
            &[("payment[type]", "payment_intent"), ("payment[payment_intent]", intent)],
        )
        .expect("a list");
    assert_eq!(payments["data"][0]["invoice"], invoices(&fake, &made)[0]["id"]);
}
