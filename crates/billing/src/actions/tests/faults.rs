//! Answers that are lost, and services that fail: whatever is asked again is done once.

use tollgate_fake_stripe::FaultKind;

use super::harness::Desk;
use super::*;

/// What may go wrong with a write: not done, or done and not answered.
const WRONG: [FaultKind; 3] = [FaultKind::Status(500), FaultKind::Cut, FaultKind::CutAfter];

#[tokio::test]
async fn a_lost_answer_makes_no_second_customer_and_no_second_page() {
    for wrong in WRONG {
        for path in ["/v1/customers", "/v1/checkout/sessions"] {
            let desk = Desk::open().await;
            let account = desk.account().await;
            // Once is overcome within the click.
            desk.inject("POST", path, wrong, 1);
            desk.billing.checkout(&account, "pro", None).await.expect("it was asked again");
            let account = desk.again(&account).await;
            assert_eq!((desk.count("/v1/customers"), desk.count("/v1/checkout/sessions")), (1, 1), "{wrong:?} {path}");
            desk.billing.checkout(&account, "pro", None).await.expect("it is sold");
            assert_eq!(desk.count("/v1/checkout/sessions"), 1, "{wrong:?} {path}");
        }
    }
}

#[tokio::test]
async fn a_click_that_failed_is_repeated_by_the_next_and_done_once() {
    for wrong in WRONG {
        for path in ["/v1/customers", "/v1/checkout/sessions"] {
            let desk = Desk::open().await;
            let account = desk.account().await;
            desk.inject("POST", path, wrong, 2);
            let error = desk.billing.checkout(&account, "pro", None).await.expect_err("both attempts failed");
            assert!(matches!(error, ActionError::Unavailable { .. }), "{wrong:?} {path}: {error}");
            let account = desk.again(&account).await;
            let url = desk.billing.checkout(&account, "pro", None).await.expect("it is sold");
            assert_eq!((desk.count("/v1/customers"), desk.count("/v1/checkout/sessions")), (1, 1), "{wrong:?} {path}");
            desk.pay(&url);
            assert_eq!(desk.held(&account).await.len(), 1);
        }
    }
}

#[tokio::test]
async fn a_change_whose_answers_were_lost_is_charged_once() {
    for wrong in WRONG {
        for times in [1, 2] {
            let desk = Desk::open().await;
            let account = desk.subscriber("pro", None).await;
            desk.fake.advance(std::time::Duration::from_hours(24));
            let before = desk.count("/v1/invoices");
            desk.inject("POST", "/v1/subscriptions/", wrong, times);
            let new = NewPlan { plan: "team", price: None, proration_date: None };
            let first = desk.billing.change(&account, new).await;
            assert_eq!(first.is_err(), times == 2, "{wrong:?} {times}: {first:?}");
            desk.billing.change(&account, new).await.expect("Stripe is back");
            assert_eq!(desk.count("/v1/invoices"), before + 1, "{wrong:?} {times}");
            assert_eq!(desk.plan_of(&account).await, "team");
        }
    }
}

#[tokio::test]
async fn an_end_whose_answer_was_lost_is_an_end() {
    for wrong in WRONG {
        let desk = Desk::open().await;
        let account = desk.subscriber("pro", None).await;
        desk.inject("DELETE", "/v1/subscriptions/", wrong, 1);
        let ended = desk.billing.cancel(&account, None, When::Now).await.expect("it was asked again");
        assert_eq!(ended.status, "canceled", "{wrong:?}");
        assert_eq!(desk.plan_of(&account).await, "free");
    }
}

#[tokio::test]
async fn what_cannot_be_read_back_is_done_all_the_same() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", None).await;
    let told = desk.billing.cancel(&account, None, When::PeriodEnd).await.expect("it is there");
    let told = desk.fake.object(&told.subscription).expect("it is there");
    desk.inject("GET", "/v1/", FaultKind::Status(500), 50);
    let policy = desk.billing.deps.live.policy();
    let standing = desk.billing.acted(&account, &told, &policy.plans).await.expect("it is done");
    assert!(standing.ends_at.is_some());
}

#[tokio::test]
async fn a_stripe_that_is_away_changes_nothing_and_says_so() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", None).await;
    desk.inject("GET", "/v1/subscriptions", FaultKind::Status(503), 50);
    for error in [
        desk.billing.cancel(&account, None, When::Now).await.expect_err("it is away"),
        desk.billing.reactivate(&account, None).await.expect_err("it is away"),
        desk.billing.preview(&account, "team", None).await.expect_err("it is away"),
        desk.billing.checkout(&account, "team", None).await.expect_err("it is away"),
    ] {
        assert!(matches!(error, ActionError::Unavailable { .. }), "{error}");
    }
    assert_eq!(desk.plan_of(&account).await, "pro");
}

#[tokio::test]
async fn a_key_that_may_not_is_the_operators_to_mend() {
    let desk = Desk::open().await;
    let account = desk.account().await;
    desk.inject("GET", "/v1/prices", FaultKind::Status(403), 2);
    let error = desk.billing.checkout(&account, "pro", None).await.expect_err("it may not");
    assert!(matches!(error, ActionError::Misconfigured { .. }), "{error}");
}
