use super::harness::{Desk, value};
use super::*;
use crate::testing::BASE;

#[tokio::test]
async fn the_portal_opens_for_whoever_has_bought_something() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", None).await;
    let one = desk.billing.portal(&account).await.expect("it opens");
    let form = desk.asked("/v1/billing_portal/sessions").pop().expect("it was asked for");
    assert_eq!(value(&form, "customer"), account.stripe_customer.as_deref());
    assert_eq!(value(&form, "return_url"), Some(format!("{BASE}/account/billing").as_str()));
    let other = desk.billing.portal(&account).await.expect("it opens");
    assert_ne!(one, other, "each click has an address of its own");
}

#[tokio::test]
async fn without_a_customer_there_is_no_portal() {
    let desk = Desk::open().await;
    let error = desk.billing.portal(&desk.account().await).await.expect_err("nothing was bought");
    assert!(matches!(error, ActionError::NoCustomer) && error.to_string().contains("checkout"), "{error}");
    assert_eq!(desk.fake.requests().len(), 0, "Stripe was not asked");
}

#[tokio::test]
async fn a_banned_owner_may_still_end_what_is_paid_for() {
    let desk = Desk::open().await;
    let account = desk.ban(&desk.subscriber("pro", None).await).await;
    desk.billing.portal(&account).await.expect("it opens");
    let standing = desk.billing.cancel(&account, None, When::PeriodEnd).await.expect("it may be ended");
    assert!(standing.ends_at.is_some());
    let error = desk.billing.reactivate(&account, None).await.expect_err("but not gone on with");
    assert!(matches!(error, ActionError::Banned), "{error}");
}

#[tokio::test]
async fn the_portal_leads_back_to_a_page_of_ones_own_where_there_is_one() {
    let mine = url::Url::parse("https://example.com/pricing").expect("a good address");
    let desk = Desk::with(|stripe| stripe.cancel_url = Some(mine.clone())).await;
    let account = desk.subscriber("pro", None).await;
    desk.billing.portal(&account).await.expect("it opens");
    let form = desk.asked("/v1/billing_portal/sessions").pop().expect("it was asked for");
    assert_eq!(value(&form, "return_url"), Some(mine.as_str()));
    let form = desk.asked("/v1/checkout/sessions").pop().expect("a page was made");
    assert_eq!(value(&form, "cancel_url"), Some(mine.as_str()));
}

#[tokio::test]
async fn a_portal_that_nobody_has_set_up_is_the_operators_to_mend() {
    let desk = Desk::open().await;
    let account = desk.subscriber("pro", None).await;
    desk.inject("POST", "/v1/billing_portal/sessions", tollgate_fake_stripe::FaultKind::Status(400), 1);
    let error = desk.billing.portal(&account).await.expect_err("Stripe has no settings of it");
    assert!(matches!(error, ActionError::Misconfigured { .. }), "{error}");
}
