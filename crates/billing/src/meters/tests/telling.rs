//! What arrives at Stripe's meters, against the stand-in.

use std::time::Duration;

use tollgate_domain::DAY_US;
use tollgate_fake_stripe::{FaultKind, When};
use tollgate_store::{Billing as _, SendState};

use super::harness::{Books, CALLS, METER_EVENTS, TOKENS, tokens};
use crate::BillingError;

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn use_is_told_once_by_meter_and_customer() {
    let books = Books::open().await;
    let (one, other) = (books.subscriber().await, books.subscriber().await);
    books.use_units(&one, None, 7).await;
    books.use_units(&one, Some(&tokens()), 1_000).await;
    books.use_units(&other, None, 3).await;
    let pass = books.pass().await;
    assert_eq!((pass.planned, pass.sent, pass.has_more), (3, 3, false));
    assert_eq!(books.pass().await.planned, 0, "nothing is new");
    books.use_units(&one, None, 5).await;
    books.pass().await;
    assert_eq!((books.told(&one, CALLS).await, books.told(&one, TOKENS).await), (12, 1_000));
    assert_eq!((books.told(&other, CALLS).await, books.told(&other, TOKENS).await), (3, 0));
}

#[tokio::test]
async fn whatever_goes_wrong_on_the_way_it_arrives_once() {
    let late = FaultKind::Late(Duration::from_millis(50));
    for kind in [FaultKind::Status(500), FaultKind::Status(429), FaultKind::Cut, FaultKind::CutAfter, late] {
        let books = Books::open().await;
        let account = books.subscriber().await;
        books.use_units(&account, None, 11).await;
        books.inject(METER_EVENTS, kind, When::Next(2));
        books.settle().await;
        assert_eq!(books.told(&account, CALLS).await, 11, "{kind:?}");
        assert_eq!(books.fake.meter_events().len(), 1, "{kind:?}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_none() {
    let books = Books::open().await;
    let account = books.subscriber().await;
    books.use_units(&account, None, 11).await;
    books.inject(METER_EVENTS, FaultKind::Late(Duration::from_secs(12)), When::Next(1));
    let pass = books.pass().await;
    assert_eq!((pass.sent, pass.retried), (0, 1), "nobody knows");
    books.settle().await;
    assert_eq!(books.fake.meter_events().len(), 1);
    assert_eq!(books.told(&account, CALLS).await, 11);
}

#[tokio::test]
async fn while_stripe_is_away_one_send_a_period_waits_and_nobody_is_asked_in_vain() {
    let books = Books::open().await;
    let mut accounts = Vec::new();
    for _ in 0..4 {
        accounts.push(books.subscriber().await);
    }
    books.inject(METER_EVENTS, FaultKind::Status(503), When::Rate(1.0));
    for _ in 0..20 {
        for account in &accounts {
            books.use_units(account, None, 1).await;
        }
        books.pass().await;
        books.fake.advance(Duration::from_mins(1));
    }
    assert!(books.asked() < 4 * 8, "it waits longer each time: {}", books.asked());
    books.fake.clear_faults();
    books.settle().await;
    for account in &accounts {
        assert_eq!(books.told(account, CALLS).await, 20);
    }
    assert_eq!(books.fake.meter_events().len(), 8, "what was used meanwhile came in one");
}

/// More than a day without an answer: the identifier protects no more, and the sums decide.
#[tokio::test]
async fn after_a_day_of_doubt_the_sums_decide() {
    for (kind, arrived) in [(FaultKind::CutAfter, true), (FaultKind::Cut, false)] {
        let books = Books::open().await;
        let account = books.subscriber().await;
        books.use_units(&account, None, 5).await;
        books.settle().await;
        books.use_units(&account, None, 11).await;
        books.inject(METER_EVENTS, kind, When::Next(1));
        books.pass().await;
        books.fake.advance(25 * HOUR);
        books.settle().await;
        assert_eq!(books.told(&account, CALLS).await, 16, "arrived at first: {arrived}");
        let tries = books.asked();
        assert_eq!(tries, if arrived { 2 } else { 3 }, "what has arrived is not told again");
    }
}

#[tokio::test]
async fn a_doubt_that_the_sums_do_not_end_is_left_to_a_person() {
    let books = Books::open().await;
    let account = books.subscriber().await;
    books.fake.advance(HOUR);
    books.use_units(&account, None, 11).await;
    books.inject(METER_EVENTS, FaultKind::Cut, When::Next(1));
    books.pass().await;
    let customer = account.stripe_customer.clone().expect("it has one");
    let foreign = [("event_name", CALLS), ("payload[stripe_customer_id]", &customer), ("payload[value]", "4")];
    books.fake.call("POST", METER_EVENTS, &foreign).expect("the meter takes it");
    books.fake.advance(25 * HOUR);
    let pass = books.pass().await;
    assert_eq!((pass.sent, pass.given_up), (0, 1));
    let period = books.period(&account).await;
    let sends = books.store.sends_of(account.id, None, period).await.expect("the store answers");
    let note = sends[0].note.as_deref().expect("it says why");
    assert!(note.contains("Stripe has 4 units") && note.contains("reconcile --fix"), "{note}");
    assert_eq!(books.told(&account, CALLS).await, 4, "it was not told blindly");
}

#[tokio::test]
async fn what_no_time_mends_is_given_up_and_the_rest_goes_on() {
    let books = Books::open().await;
    let account = books.subscriber().await;
    books.switch_meter(TOKENS, "deactivate");
    books.use_units(&account, None, 2).await;
    books.use_units(&account, Some(&tokens()), 50).await;
    let pass = books.pass().await;
    assert_eq!((pass.sent, pass.given_up), (1, 1));
    let given_up = books.billing.stats().meter_given_up.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(given_up, 1);
    books.use_units(&account, None, 2).await;
    books.settle().await;
    assert_eq!((books.told(&account, CALLS).await, books.told(&account, TOKENS).await), (4, 0));
}

#[tokio::test]
async fn a_key_that_is_refused_gives_nothing_up() {
    let books = Books::open().await;
    let account = books.subscriber().await;
    books.use_units(&account, None, 2).await;
    books.inject(METER_EVENTS, FaultKind::Status(401), When::Next(1));
    let pass = books.pass().await;
    assert_eq!((pass.retried, pass.given_up), (1, 0));
    books.settle().await;
    assert_eq!(books.told(&account, CALLS).await, 2);
}

#[tokio::test]
async fn use_is_told_in_its_own_period() {
    let books = Books::open().await;
    let account = books.subscriber().await;
    let first = books.period(&account).await;
    books.use_units(&account, None, 10).await;
    books.settle().await;
    // The last second of the period, of which the pass comes after its end.
    books.fake.advance_to(first.end.as_secs() - 1);
    books.use_units(&account, None, 20).await;
    books.fake.advance(Duration::from_secs(31));
    books.tell_periods().await;
    let second = books.period(&account).await;
    assert_eq!(second.start, first.end);
    books.use_units(&account, None, 40).await;
    books.settle().await;
    assert_eq!(books.told_in(&account, CALLS, first).await, 30);
    assert_eq!(books.told_in(&account, CALLS, second).await, 40);
    for told in books.fake.meter_events() {
        let period = if told.timestamp < second.start.as_secs() { first } else { second };
        let minutes = crate::meters::minutes(period);
        assert!(minutes.contains(tollgate_domain::Timestamp::from_secs(told.timestamp)), "{told:?} can be added up");
    }
}

#[tokio::test]
async fn late_batches_are_told_while_stripe_takes_them() {
    let books = Books::open().await;
    let account = books.subscriber().await;
    let first = books.period(&account).await;
    books.fake.advance_to(first.end.as_secs() + 34 * 86_400);
    books.tell_periods().await;
    books.use_in(&account, None, 6, first, first.end.plus_micros(-DAY_US)).await;
    books.settle().await;
    assert_eq!(books.told_in(&account, CALLS, first).await, 6);
    books.fake.advance(2 * 24 * HOUR);
    books.use_in(&account, None, 9, first, first.end.plus_micros(-DAY_US)).await;
    let pass = books.pass().await;
    assert_eq!((pass.planned, pass.given_up), (1, 1));
    assert_eq!(books.told(&account, CALLS).await, 6);
    let sends = books.store.sends_of(account.id, None, first).await.expect("the store answers");
    let last = sends.last().expect("it was planned");
    assert_eq!((last.state, last.units), (SendState::Failed, 9));
    assert!(last.note.as_deref().is_some_and(|note| note.contains("35 days")), "{last:?}");
}

#[tokio::test]
async fn what_is_given_back_lowers_the_next_send() {
    let books = Books::open().await;
    let account = books.subscriber().await;
    let period = books.period(&account).await;
    books.use_units(&account, None, 10).await;
    books.settle().await;
    books.credit(&account, None, 4, period).await;
    books.settle().await;
    assert_eq!(books.told(&account, CALLS).await, 10, "what was told stays told");
    books.use_units(&account, None, 3).await;
    books.settle().await;
    assert_eq!(books.told(&account, CALLS).await, 10, "nine are used");
    books.use_units(&account, None, 8).await;
    books.settle().await;
    assert_eq!(books.told(&account, CALLS).await, 17);
}

#[tokio::test]
async fn use_from_before_the_first_subscription_is_not_told() {
    let books = Books::open().await;
    let account = books.account().await;
    books.use_units(&account, None, 100).await;
    books.fake.advance(HOUR);
    let id = account.id.to_string();
    let metadata = [("tollgate_account", id.as_str())];
    let prices = &["price_pro", "price_calls"];
    let seed = tollgate_fake_stripe::Seed { email: &account.email, prices, metadata: &metadata, ..Default::default() };
    let seeded = books.fake.seed(seed).expect("it is sold");
    books.billing.refresh_customer(&seeded.customer).await.expect("Stripe answers");
    books.use_units(&account, None, 7).await;
    books.settle().await;
    assert_eq!(books.told(&account, CALLS).await, 7);
}

#[tokio::test]
async fn another_process_that_works_is_not_disturbed() {
    let books = Books::open().await;
    let account = books.subscriber().await;
    books.use_units(&account, None, 7).await;
    let fence = books.billing.fence().await.expect("the store answers").expect("nobody else works");
    books.hold_elsewhere().await;
    let lost = books.billing.meter_once(fence, books.now()).await;
    assert!(matches!(lost, Err(BillingError::Lost)), "{lost:?}");
    assert_eq!(books.told(&account, CALLS).await, 0);
}
