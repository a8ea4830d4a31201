//! A subscription's life: renewals, failing cards, trials, ends, pauses.

use tollgate_fake_stripe::{Action, AfterRetries, Card, ClockStart, FakeConfig};

use crate::support::{DAY, act, at, days, fake, fake_with, in_trial, invoices, kinds, period, status, subscribed};

#[test]
fn a_month_renews_and_tells_of_every_step() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro"]);
    let first = period(&fake, &made);
    assert_eq!(
        kinds(&fake),
        [
            "customer.created",
            "payment_method.attached",
            "customer.updated",
            "invoice.created",
            "invoice.finalized",
            "charge.succeeded",
            "invoice.paid",
            "invoice.payment_succeeded",
            "customer.subscription.created",
        ]
    );
    fake.advance_months(1);
    let second = period(&fake, &made);
    assert_eq!(second, (first.1, at("2026-03-01T00:00:00Z")));
    assert_eq!(
        kinds(&fake),
        [
            "invoice.created",
            "customer.subscription.updated",
            "invoice.finalized",
            "charge.succeeded",
            "invoice.paid",
            "invoice.payment_succeeded",
        ]
    );
    let newest = &invoices(&fake, &made)[0];
    assert_eq!((newest["status"].as_str(), newest["amount_paid"].as_i64()), (Some("paid"), Some(3_000)));
    assert_eq!(newest["billing_reason"], "subscription_cycle");
    assert_eq!(newest["lines"]["data"][0]["period"]["start"], second.0);
}

#[test]
fn the_anchor_day_survives_short_months() {
    let fake = fake_with(FakeConfig { clock: ClockStart::Fixed(at("2026-01-31T10:00:00Z")), ..FakeConfig::default() });
    let made = subscribed(&fake, &["price_pro"]);
    let mut ends = Vec::new();
    for _ in 0..3 {
        ends.push(period(&fake, &made).1);
        act(&fake, &made, &Action::Renew);
    }
    assert_eq!(ends, ["2026-02-28T10:00:00Z", "2026-03-31T10:00:00Z", "2026-04-30T10:00:00Z"].map(at));
}

#[test]
fn a_failing_card_is_tried_again_after_3_5_and_7_days_and_then_the_subscription_ends() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro"]);
    act(&fake, &made, &Action::CardFails);
    fake.advance_months(1);
    kinds(&fake);
    let mut attempts = Vec::new();
    for (wait, expected) in [(0, "past_due"), (3, "past_due"), (5, "past_due"), (7, "canceled")] {
        fake.advance(days(wait));
        assert_eq!(status(&fake, &made), expected, "{wait} days on");
        attempts.push(invoices(&fake, &made)[0]["attempt_count"].as_i64().expect("a number"));
    }
    assert_eq!(attempts, [1, 2, 3, 4]);
    let invoice = &invoices(&fake, &made)[0];
    assert_eq!((invoice["status"].as_str(), invoice["next_payment_attempt"].as_i64()), (Some("open"), None));
    let subscription = fake.object(&made.subscription).expect("it was made");
    assert_eq!(subscription["cancellation_details"]["reason"], "payment_failed");
    assert_eq!(kinds(&fake).last().map(String::as_str), Some("customer.subscription.deleted"));
}

#[test]
fn what_follows_the_last_retry_is_as_configured() {
    for (after_retries, expected) in [(AfterRetries::Unpaid, "unpaid"), (AfterRetries::PastDue, "past_due")] {
        let fake = fake_with(FakeConfig { after_retries, ..FakeConfig::default() });
        let made = subscribed(&fake, &["price_pro"]);
        act(&fake, &made, &Action::CardFails);
        fake.advance_months(1);
        fake.advance(days(15));
        assert_eq!(status(&fake, &made), expected);
        fake.advance_months(1);
        let newest = invoices(&fake, &made).remove(0);
        let expected_invoice = if expected == "unpaid" { "draft" } else { "open" };
        assert_eq!(newest["status"], expected_invoice, "{expected}");
    }
}

#[test]
fn a_card_that_recovers_is_charged_at_the_next_retry_and_the_old_invoice_is_paid() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro"]);
    fake.card(&made.customer, Card::DeclinesNext(2));
    fake.advance_months(1);
    assert_eq!(status(&fake, &made), "past_due");
    let finalized = invoices(&fake, &made)[0]["status_transitions"]["finalized_at"].clone();
    fake.advance(days(3));
    assert_eq!(status(&fake, &made), "past_due");
    kinds(&fake);
    fake.advance(days(5));
    assert_eq!(status(&fake, &made), "active");
    let invoice = &invoices(&fake, &made)[0];
    assert_eq!(invoice["status"], "paid");
    assert_eq!(invoice["status_transitions"]["finalized_at"], finalized, "finalised once");
    assert_eq!(
        kinds(&fake),
        ["charge.succeeded", "invoice.paid", "invoice.payment_succeeded", "customer.subscription.updated"]
    );
}

#[test]
fn an_open_invoice_can_be_paid_by_hand_voided_or_given_up() {
    for (action, expected) in
        [(Action::PayOpenInvoice, "paid"), (Action::VoidInvoice, "void"), (Action::MarkUncollectible, "uncollectible")]
    {
        let fake = fake();
        let made = subscribed(&fake, &["price_pro"]);
        fake.card(&made.customer, Card::DeclinesNext(1));
        fake.advance_months(1);
        assert_eq!(status(&fake, &made), "past_due");
        act(&fake, &made, &action);
        assert_eq!(status(&fake, &made), "active", "{expected}");
        assert_eq!(invoices(&fake, &made)[0]["status"], expected);
    }
}

#[test]
fn a_first_card_that_fails_leaves_an_incomplete_subscription_for_23_hours() {
    let fake = fake();
    let seed = tollgate_fake_stripe::Seed {
        email: "a@example.com",
        prices: &["price_pro"],
        card: Card::Declines,
        ..Default::default()
    };
    let made = fake.seed(seed).expect("it is made all the same");
    assert_eq!(status(&fake, &made), "incomplete");
    fake.advance(std::time::Duration::from_secs(23 * 3_600 - 1));
    assert_eq!(status(&fake, &made), "incomplete");
    fake.advance(std::time::Duration::from_secs(1));
    assert_eq!(status(&fake, &made), "incomplete_expired");
    assert_eq!(invoices(&fake, &made)[0]["status"], "void");
}

#[test]
fn a_trial_warns_three_days_before_its_end_and_is_then_charged() {
    let fake = fake();
    let made = in_trial(&fake, 14, Card::Good, false);
    assert_eq!(status(&fake, &made), "trialing");
    assert_eq!(invoices(&fake, &made)[0]["amount_paid"], 0);
    kinds(&fake);
    fake.advance(days(11));
    assert_eq!(kinds(&fake), ["customer.subscription.trial_will_end"]);
    fake.advance(days(3));
    assert_eq!(status(&fake, &made), "active");
    assert_eq!(invoices(&fake, &made)[0]["amount_paid"], 3_000);
    let (start, end) = period(&fake, &made);
    assert_eq!((start, end), (at("2026-01-15T00:00:00Z"), at("2026-02-15T00:00:00Z")), "the trial's end is the anchor");
}

#[test]
fn a_trial_without_a_card_pauses_or_fails_as_the_subscription_says() {
    let fake = fake();
    let paused = in_trial(&fake, 7, Card::None, true);
    let charged = in_trial(&fake, 7, Card::None, false);
    kinds(&fake);
    fake.advance(days(7));
    assert_eq!((status(&fake, &paused).as_str(), status(&fake, &charged).as_str()), ("paused", "past_due"));
    assert!(kinds(&fake).contains(&"customer.subscription.paused".to_owned()));
    act(&fake, &paused, &Action::CardRecovers);
    act(&fake, &paused, &Action::Resume);
    assert_eq!(status(&fake, &paused), "active");
    let told = kinds(&fake);
    assert!(told.contains(&"customer.subscription.resumed".to_owned()), "{told:?}");
    assert_eq!(invoices(&fake, &paused)[0]["amount_paid"], 3_000);
}

#[test]
fn a_paused_subscription_whose_card_fails_goes_on_only_when_its_invoice_is_paid() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro"]);
    act(&fake, &made, &Action::Pause);
    fake.advance_months(2);
    assert_eq!(
        (status(&fake, &made).as_str(), invoices(&fake, &made).len()),
        ("paused", 1),
        "nothing is billed meanwhile"
    );
    act(&fake, &made, &Action::CardFails);
    act(&fake, &made, &Action::Resume);
    assert_eq!(status(&fake, &made), "paused");
    act(&fake, &made, &Action::CardRecovers);
    kinds(&fake);
    act(&fake, &made, &Action::PayOpenInvoice);
    assert_eq!(status(&fake, &made), "active");
    assert!(kinds(&fake).contains(&"customer.subscription.resumed".to_owned()));
    assert_eq!(period(&fake, &made).0, at("2026-03-01T00:00:00Z"), "the new period began when it was resumed");
}

#[test]
fn cancelling_at_the_periods_end_keeps_it_until_then_and_can_be_taken_back() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro"]);
    let (_, end) = period(&fake, &made);
    act(&fake, &made, &Action::CancelAtPeriodEnd);
    act(&fake, &made, &Action::Reactivate);
    fake.advance_to(end);
    assert_eq!(status(&fake, &made), "active", "it was taken back");
    act(&fake, &made, &Action::CancelAtPeriodEnd);
    let (_, end) = period(&fake, &made);
    assert_eq!(fake.object(&made.subscription).expect("it is there")["cancel_at"], end);
    fake.advance_to(end - 1);
    assert_eq!(status(&fake, &made), "active");
    fake.advance_to(end);
    assert_eq!(status(&fake, &made), "canceled");
    assert_eq!(invoices(&fake, &made).len(), 2, "nothing is billed at the end");
}

#[test]
fn collection_that_is_paused_makes_void_invoices() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro"]);
    act(&fake, &made, &Action::PauseCollection);
    fake.advance_months(1);
    assert_eq!((status(&fake, &made).as_str(), invoices(&fake, &made)[0]["status"].as_str()), ("active", Some("void")));
    act(&fake, &made, &Action::ResumeCollection);
    fake.advance_months(1);
    assert_eq!(invoices(&fake, &made)[0]["status"], "paid");
}

#[test]
fn an_invoice_stays_a_draft_for_as_long_as_configured() {
    let fake = fake_with(FakeConfig { finalize_after_secs: 3_600, ..FakeConfig::default() });
    let made = subscribed(&fake, &["price_pro"]);
    let (_, end) = period(&fake, &made);
    fake.advance_to(end);
    assert_eq!(invoices(&fake, &made)[0]["status"], "draft");
    assert_eq!(period(&fake, &made).0, end, "the period is new already");
    fake.advance_to(end + 3_600);
    assert_eq!(invoices(&fake, &made)[0]["status"], "paid");
}

#[test]
fn a_long_jump_plays_everything_in_the_order_of_time() {
    let fake = fake();
    let made = subscribed(&fake, &["price_pro"]);
    fake.advance(days(365));
    let created: Vec<i64> = fake.take_events().iter().map(|event| event.created).collect();
    assert!(created.is_sorted(), "events are made in the order of time");
    assert_eq!(invoices(&fake, &made).len(), 13);
    let last = *created.last().expect("events were made");
    assert!(fake.now() - last <= i64::try_from(31 * DAY).expect("small"), "the last renewal is less than a month ago");
}
