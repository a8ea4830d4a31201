//! Checkout and the portal: by the API, and by the pages that a person sees.

use serde_json::Value;
use tollgate_fake_stripe::{CheckoutOutcome, FakeStripe};

use crate::http::send;
use crate::support::{act, fake, kinds, subscribed};

fn session(fake: &FakeStripe, more: &[(&str, &str)]) -> Value {
    let mut params = vec![
        ("mode", "subscription"),
        ("line_items[0][price]", "price_pro"),
        ("line_items[0][quantity]", "1"),
        ("success_url", "http://shop.test/done?session={CHECKOUT_SESSION_ID}"),
        ("cancel_url", "http://shop.test/pricing"),
        ("client_reference_id", "acc_1"),
        ("subscription_data[metadata][tollgate_account]", "acc_1"),
    ];
    params.extend(more);
    fake.call("POST", "/v1/checkout/sessions", &params).expect("a session")
}

fn id(value: &Value) -> &str {
    value["id"].as_str().expect("an id")
}

/// The path of a page's address.
fn path<'a>(fake: &FakeStripe, value: &'a Value) -> &'a str {
    let url = value["url"].as_str().expect("an address");
    url.strip_prefix(fake.url().trim_end_matches('/')).expect("one of the fake's")
}

fn post(fake: &FakeStripe, path: &str, form: &str) -> crate::http::Answer {
    send(fake, "POST", path, &[("content-type", "application/x-www-form-urlencoded")], form).expect("an answer")
}

#[test]
fn paying_on_the_page_makes_customer_and_subscription_and_leads_back() {
    let fake = fake();
    let made = session(&fake, &[("customer_email", "ada@example.com")]);
    assert!(fake.events("customer.subscription").is_empty(), "there is no subscription before the payment");
    let page = send(&fake, "GET", path(&fake, &made), &[], "").expect("a page");
    for label in ["Pay", "Card declines", "Cancel", "30.00 USD a month"] {
        assert!(page.body.contains(label), "{label}");
    }
    let answer = post(&fake, path(&fake, &made), "outcome=pay");
    assert_eq!(answer.status, 303);
    assert_eq!(answer.header("location"), Some(format!("http://shop.test/done?session={}", id(&made)).as_str()));
    let paid = fake.object(id(&made)).expect("it is there");
    assert_eq!((paid["status"].as_str(), paid["payment_status"].as_str()), (Some("complete"), Some("paid")));
    let subscription = fake.object(paid["subscription"].as_str().expect("an id")).expect("it was made");
    assert_eq!(
        (subscription["status"].as_str(), subscription["metadata"]["tollgate_account"].as_str()),
        (Some("active"), Some("acc_1"))
    );
    let customer = fake.object(paid["customer"].as_str().expect("an id")).expect("it was made");
    assert_eq!(customer["email"], "ada@example.com");
    assert_eq!(kinds(&fake).last().map(String::as_str), Some("checkout.session.completed"));
}

#[test]
fn a_declined_card_and_leaving_keep_the_session_open() {
    let fake = fake();
    let made = session(&fake, &[("customer_email", "ada@example.com")]);
    let declined = post(&fake, path(&fake, &made), "outcome=decline");
    assert!(declined.body.contains("declined"), "the page says so");
    let left = post(&fake, path(&fake, &made), "outcome=cancel");
    assert_eq!((left.status, left.header("location")), (303, Some("http://shop.test/pricing")));
    let open = fake.object(id(&made)).expect("it is there");
    assert_eq!((open["status"].as_str(), open["subscription"].as_str()), (Some("open"), None));
    assert_eq!(post(&fake, path(&fake, &made), "outcome=pay").status, 303, "another card works");
}

#[test]
fn a_delayed_payment_decides_later() {
    for (succeeded, expected, kind) in [
        (true, "active", "checkout.session.async_payment_succeeded"),
        (false, "incomplete_expired", "checkout.session.async_payment_failed"),
    ] {
        let fake = fake();
        let made = session(&fake, &[]);
        fake.checkout(id(&made), CheckoutOutcome::PayLater).expect("it is open");
        let waiting = fake.object(id(&made)).expect("it is there");
        assert_eq!(
            (waiting["status"].as_str(), waiting["payment_status"].as_str()),
            (Some("complete"), Some("unpaid"))
        );
        kinds(&fake);
        fake.async_payment(id(&made), succeeded).expect("it waits");
        assert!(kinds(&fake).contains(&kind.to_owned()));
        let subscription = waiting["subscription"].as_str().expect("an id");
        assert_eq!(fake.object(subscription).expect("it was made")["status"], expected);
        fake.async_payment(id(&made), succeeded).expect_err("it waits no more");
    }
}

#[test]
fn a_session_expires_after_a_day_or_when_told_to() {
    let fake = fake();
    let (left, told) = (session(&fake, &[]), session(&fake, &[]));
    fake.call("POST", &format!("/v1/checkout/sessions/{}/expire", id(&told)), &[]).expect("it is open");
    kinds(&fake);
    fake.advance(crate::support::days(1));
    assert_eq!(kinds(&fake), ["checkout.session.expired"]);
    assert_eq!(fake.object(id(&left)).expect("it is there")["url"], Value::Null);
    fake.checkout(id(&left), CheckoutOutcome::Pay).expect_err("nobody can pay any more");
}

#[test]
fn a_trial_in_checkout_is_charged_nothing_and_needs_no_card_where_none_is_asked_for() {
    let fake = fake();
    let made = session(
        &fake,
        &[
            ("subscription_data[trial_period_days]", "14"),
            ("subscription_data[trial_settings][end_behavior][missing_payment_method]", "pause"),
            ("payment_method_collection", "if_required"),
        ],
    );
    fake.checkout(id(&made), CheckoutOutcome::Pay).expect("it is open");
    let done = fake.object(id(&made)).expect("it is there");
    assert_eq!(done["payment_status"], "no_payment_required");
    let subscription = done["subscription"].as_str().expect("an id").to_owned();
    assert_eq!(fake.object(&subscription).expect("it was made")["status"], "trialing");
    fake.advance(crate::support::days(14));
    assert_eq!(fake.object(&subscription).expect("it was made")["status"], "paused");
}

#[test]
fn line_items_and_a_customers_subscriptions_are_shown_only_where_asked_for() {
    let fake = fake();
    let made = session(&fake, &[("expand[]", "line_items")]);
    assert_eq!(made["line_items"]["data"][0]["price"]["id"], "price_pro");
    assert!(session(&fake, &[]).get("line_items").is_none());
    let error = fake
        .call("GET", &format!("/v1/checkout/sessions/{}", id(&made)), &[("expand[]", "nonsense")])
        .expect_err("no such part");
    assert_eq!(error.message, "This property cannot be expanded (nonsense).");
}

#[test]
fn the_portal_shows_and_changes_only_its_own_customers_subscriptions() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro"]);
    let other = fake
        .seed(tollgate_fake_stripe::Seed { email: "b@example.com", prices: &["price_team"], ..Default::default() })
        .expect("made");
    let portal = fake
        .call(
            "POST",
            "/v1/billing_portal/sessions",
            &[("customer", &made.customer), ("return_url", "http://shop.test/account")],
        )
        .expect("a session");
    let page_path = path(&fake, &portal);
    let page = send(&fake, "GET", page_path, &[], "").expect("a page");
    for part in ["price_pro", "Change to Team", "href=\"http://shop.test/account\"", "New card"] {
        assert!(page.body.contains(part), "{part}");
    }
    assert!(!page.body.contains(&other.subscription));
    let status = |subscription: &str, field: &str| fake.object(subscription).expect("it is there")[field].clone();
    for (action, field, expected) in [
        ("cancel", "cancel_at_period_end", Value::Bool(true)),
        ("reactivate", "cancel_at_period_end", Value::Bool(false)),
        ("cancel_now", "status", Value::from("canceled")),
    ] {
        let form = format!("action={action}&subscription={}", made.subscription);
        assert_eq!(post(&fake, page_path, &form).status, 303, "{action}");
        assert_eq!(status(&made.subscription, field), expected, "{action}");
    }
    let form = format!("action=cancel_now&subscription={}", other.subscription);
    assert!(post(&fake, page_path, &form).body.contains("No such subscription"));
    assert_eq!(status(&other.subscription, "status"), "active");
    act(&fake, &other, &tollgate_fake_stripe::Action::Touch);
}

#[test]
fn the_dashboard_moves_the_clock_and_names_what_people_typed_without_running_it() {
    let fake = fake();
    fake.seed(tollgate_fake_stripe::Seed {
        email: "<script>x@example.com",
        prices: &["price_pro"],
        ..Default::default()
    })
    .expect("made");
    let page = send(&fake, "GET", "/_fake/", &[], "").expect("a page");
    assert!(page.body.contains("&lt;script&gt;x@example.com"));
    let before = fake.now();
    assert_eq!(post(&fake, "/_fake/", "advance=day").status, 303);
    assert_eq!(fake.now() - before, 86_400);
}
