use tollgate_config::StripeConfig;
use tollgate_domain::DAY_US;
use tollgate_fake_stripe::{Action, CheckoutOutcome, Seed};
use tollgate_store::Billing as _;

use super::harness::{Desk, session, value};
use super::*;
use crate::testing::BASE;

#[tokio::test]
async fn a_plan_is_bought_on_a_page_that_names_the_account() {
    let desk = Desk::open().await;
    let account = desk.account().await;
    let url = desk.billing.checkout(&account, "pro", None).await.expect("it is sold");
    let form = desk.asked("/v1/checkout/sessions").pop().expect("a page was made");
    let customer = desk.again(&account).await.stripe_customer.expect("a customer was linked");
    let id = account.id.to_string();
    for (key, expected) in [
        ("mode", "subscription"),
        ("customer", &customer),
        ("client_reference_id", &id),
        ("subscription_data[metadata][tollgate_account]", &id),
        ("line_items[0][price]", "price_pro"),
        ("line_items[0][quantity]", "1"),
        ("subscription_data[billing_mode][type]", "flexible"),
        ("success_url", &format!("{BASE}/account/billing?session={{CHECKOUT_SESSION_ID}}")),
        ("cancel_url", &format!("{BASE}/pricing")),
    ] {
        assert_eq!(value(&form, key), Some(expected), "{key}");
    }
    assert_eq!(value(&form, "subscription_data[trial_period_days]"), None);
    assert_eq!(value(&form, "automatic_tax[enabled]"), None, "nobody has set up Stripe Tax");
    let made = desk.fake.object(&customer).expect("it is there");
    assert_eq!(made["email"], account.email);
    assert_eq!(made["metadata"]["tollgate_account"], id);

    desk.pay(&url);
    assert_eq!(desk.plan_of(&account).await, "free", "nobody told of the payment yet");
    desk.told(&account).await;
    assert_eq!(desk.plan_of(&account).await, "pro");
    assert!(desk.heard.of(account.id));
}

#[tokio::test]
async fn another_price_of_the_plan_is_bought_by_its_name_and_none_of_another_plan() {
    let desk = Desk::open().await;
    let account = desk.account().await;
    desk.billing.checkout(&account, "pro", Some("price_pro_year")).await.expect("it is one of its prices");
    let form = desk.asked("/v1/checkout/sessions").pop().expect("a page was made");
    assert_eq!(value(&form, "line_items[0][price]"), Some("price_pro_year"));
    let error = desk.billing.checkout(&account, "pro", Some("price_team")).await.expect_err("another plan's");
    assert!(matches!(&error, ActionError::OtherPrice { prices, .. } if prices.len() == 2), "{error}");
    assert!(error.to_string().contains("price_pro, price_pro_year"), "{error}");
}

#[tokio::test]
async fn plans_that_are_not_sold_are_refused_with_those_that_are() {
    let desk = Desk::open().await;
    let account = desk.account().await;
    for plan in ["enterprise", "free", "public", "nothing", ""] {
        match desk.billing.checkout(&account, plan, None).await {
            Err(ActionError::NotSold { plan: named, sold }) => {
                let sold: Vec<&str> = sold.iter().map(PlanName::as_str).collect();
                assert_eq!((named.as_str(), sold), (plan, vec!["by-use", "pro", "team"]));
            }
            other => panic!("{plan}: {other:?}"),
        }
    }
    assert_eq!(desk.fake.requests().len(), 0, "Stripe was not asked");
}

#[tokio::test]
async fn what_is_paid_by_use_alone_has_no_quantity() {
    let desk = Desk::open().await;
    let account = desk.subscriber("by-use", None).await;
    let form = desk.asked("/v1/checkout/sessions").pop().expect("a page was made");
    assert_eq!(value(&form, "line_items[0][quantity]"), None);
    assert_eq!(desk.plan_of(&account).await, "by-use");
}

#[tokio::test]
async fn a_trial_is_given_once() {
    let desk = Desk::with(|stripe: &mut StripeConfig| stripe.trial_days = 14).await;
    let account = desk.subscriber("pro", None).await;
    let form = desk.asked("/v1/checkout/sessions").pop().expect("a page was made");
    assert_eq!(value(&form, "subscription_data[trial_period_days]"), Some("14"));
    assert_eq!(desk.held(&account).await[0]["status"], "trialing");
    desk.billing.cancel(&account, None, When::Now).await.expect("it ends");
    let account = desk.again(&account).await;
    desk.billing.checkout(&account, "team", None).await.expect("another is sold");
    let form = desk.asked("/v1/checkout/sessions").pop().expect("a page was made");
    assert_eq!(value(&form, "subscription_data[trial_period_days]"), None);
}

#[tokio::test]
async fn an_imported_subscriber_has_had_the_trial() {
    let desk = Desk::with(|stripe: &mut StripeConfig| stripe.trial_days = 14).await;
    let account = Account { stripe_subscription: Some("sub_before".into()), ..desk.account().await };
    desk.billing.checkout(&account, "pro", None).await.expect("it is sold");
    let form = desk.asked("/v1/checkout/sessions").pop().expect("a page was made");
    assert_eq!(value(&form, "subscription_data[trial_period_days]"), None);
}

#[tokio::test]
async fn who_was_imported_with_a_subscription_alone_buys_no_second() {
    let desk = Desk::open().await;
    let made = desk.fake.seed(Seed { email: "before@example.com", prices: &["price_pro"], ..Seed::default() });
    let made = made.expect("made");
    let account = Account { stripe_subscription: Some(made.subscription), ..desk.account().await };
    let error = desk.billing.checkout(&account, "team", None).await.expect_err("there is one");
    assert!(matches!(error, ActionError::AlreadySubscribed { .. }), "{error}");
    assert_eq!(desk.again(&account).await.stripe_customer, Some(made.customer));
    assert_eq!(desk.count("/v1/customers"), 1);
}

#[tokio::test]
async fn nobody_buys_a_second_subscription() {
    let desk = Desk::open().await;
    let account = desk.account().await;
    let url = desk.billing.checkout(&account, "pro", None).await.expect("it is sold");
    desk.pay(&url);
    // No webhook has come: the store knows of no subscription yet, and Stripe does.
    let account = desk.again(&account).await;
    assert!(account.subscriptions.is_empty());
    let error = desk.billing.checkout(&account, "team", None).await.expect_err("there is one");
    assert!(matches!(error, ActionError::AlreadySubscribed { .. }), "{error}");
    // Nor with what is unpaid.
    let id = desk.held(&account).await[0]["id"].as_str().expect("an id").to_owned();
    desk.fake.act(&id, &Action::CardFails).expect("it can fail");
    desk.fake.advance_months(1);
    desk.told(&account).await;
    desk.fake.advance(std::time::Duration::from_hours(8 * 24));
    let account = desk.told(&account).await;
    match desk.billing.checkout(&account, "team", None).await {
        Err(ActionError::PaymentDue { subscription, status }) => {
            assert_eq!((subscription.as_str(), status.as_str()), (id.as_str(), "past_due"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_page_is_open_at_a_time() {
    let desk = Desk::open().await;
    let account = desk.account().await;
    let first = desk.billing.checkout(&account, "pro", None).await.expect("it is sold");
    let account = desk.again(&account).await;
    let again = desk.billing.checkout(&account, "pro", None).await.expect("it is sold");
    assert_eq!(first, again, "the same order has the same page");
    let other = desk.billing.checkout(&account, "team", None).await.expect("it is sold");
    assert_ne!(first, other);
    let closed = desk.fake.checkout(session(&first), CheckoutOutcome::Pay);
    assert!(closed.is_err(), "the page of the other order is closed");
    desk.fake.checkout(session(&other), CheckoutOutcome::Expire).expect("it is open");
    let fresh = desk.billing.checkout(&account, "team", None).await.expect("it is sold");
    assert_ne!(fresh, other, "a page that was left is not given again");
    desk.pay(&fresh);
    assert_eq!(desk.held(&account).await.len(), 1);
}

#[tokio::test]
async fn two_clicks_at_once_make_one_customer_and_one_page() {
    let desk = Desk::open().await;
    let account = desk.account().await;
    let clicks = (0..6).map(|_| desk.billing.checkout(&account, "pro", None));
    let urls: Vec<_> = futures::future::join_all(clicks).await;
    let urls: std::collections::BTreeSet<_> = urls.into_iter().map(|url| url.expect("it is sold")).collect();
    assert_eq!(urls.len(), 1, "{urls:?}");
    assert_eq!((desk.count("/v1/customers"), desk.count("/v1/checkout/sessions")), (1, 1));
}

#[tokio::test]
async fn a_customer_that_another_process_linked_meanwhile_is_used() {
    let desk = Desk::open().await;
    let account = desk.account().await;
    let winner = desk.fake.call("POST", "/v1/customers", &[("email", "elsewhere@example.com")]).expect("made");
    let winner = winner["id"].as_str().expect("an id");
    desk.store.link_customer(account.id, winner, &desk.audit()).await.expect("the store answers");
    // This click began before that and knows of no customer.
    desk.billing.checkout(&account, "pro", None).await.expect("it is sold");
    let form = desk.asked("/v1/checkout/sessions").pop().expect("a page was made");
    assert_eq!(value(&form, "customer"), Some(winner));
}

#[tokio::test]
async fn a_customer_that_was_made_and_never_linked_is_found_again() {
    let desk = Desk::open().await;
    let account = desk.account().await;
    let id = account.id.to_string();
    let fields = [("email", account.email.as_str()), ("metadata[tollgate_account]", &id)];
    let made = desk.fake.call("POST", "/v1/customers", &fields).expect("made");
    desk.fake.advance(std::time::Duration::from_hours(72));
    desk.billing.checkout(&account, "pro", None).await.expect("it is sold");
    assert_eq!(desk.again(&account).await.stripe_customer.as_deref(), made["id"].as_str());
    assert_eq!(desk.count("/v1/customers"), 1);
}

#[tokio::test]
async fn somebody_elses_customer_of_the_same_address_is_not_taken() {
    let desk = Desk::open().await;
    let account = desk.account().await;
    let stranger = desk.fake.call("POST", "/v1/customers", &[("email", &account.email)]).expect("made");
    desk.billing.checkout(&account, "pro", None).await.expect("it is sold");
    assert_ne!(desk.again(&account).await.stripe_customer.as_deref(), stranger["id"].as_str());
}

#[tokio::test]
async fn who_is_banned_or_has_an_operators_plan_buys_nothing() {
    let desk = Desk::open().await;
    let banned = desk.ban(&desk.account().await).await;
    let error = desk.billing.checkout(&banned, "pro", None).await.expect_err("it is banned");
    assert!(matches!(error, ActionError::Banned), "{error}");
    let ends = desk.now().plus_micros(30 * DAY_US);
    let account = desk.assign(&desk.account().await, "pro", Some(ends)).await;
    let error = desk.billing.checkout(&account, "team", None).await.expect_err("an operator's plan is in force");
    assert!(matches!(&error, ActionError::OperatorPlan { until: Some(until), .. } if *until == ends), "{error}");
    assert!(error.to_string().contains("`pro` until 2026-01-31"), "{error}");
    assert_eq!(desk.fake.requests().len(), 0, "Stripe was not asked");
    // Once it has ended, it is in nobody's way.
    desk.fake.advance(std::time::Duration::from_hours(30 * 24));
    desk.billing.checkout(&account, "team", None).await.expect("it is sold");
}

#[tokio::test]
async fn a_price_that_is_gone_or_archived_is_the_operators_to_mend() {
    let desk = Desk::open().await;
    let account = desk.account().await;
    desk.fake.call("POST", "/v1/prices/price_pro", &[("active", "false")]).expect("archived");
    let error = desk.billing.checkout(&account, "pro", None).await.expect_err("it cannot be bought");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(matches!(error, ActionError::Misconfigured { .. }) && cause.contains("archived"), "{cause}");
    assert_eq!(desk.count("/v1/customers"), 0, "nothing was made");
}

#[tokio::test]
async fn what_is_of_the_other_mode_is_refused() {
    let desk = Desk::with(|stripe: &mut StripeConfig| stripe.livemode = true).await;
    let account = desk.account().await;
    let error = desk.billing.checkout(&account, "pro", None).await.expect_err("the price is of test mode");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains("mode"), "{cause}");
}

#[tokio::test]
async fn what_is_still_being_paid_is_not_bought_twice() {
    let desk = Desk::open().await;
    let account = desk.account().await;
    let url = desk.billing.checkout(&account, "pro", None).await.expect("it is sold");
    desk.fake.checkout(session(&url), CheckoutOutcome::PayLater).expect("the page is open");
    let account = desk.told(&account).await;
    let error = desk.billing.checkout(&account, "pro", None).await.expect_err("its bank has not answered");
    assert!(matches!(&error, ActionError::PaymentDue { status, .. } if status == "incomplete"), "{error}");
    assert_eq!(desk.plan_of(&account).await, "free");
    desk.fake.async_payment(session(&url), true).expect("it pays");
    desk.told(&account).await;
    assert_eq!(desk.plan_of(&account).await, "pro");
}

#[tokio::test]
async fn taxes_are_worked_out_where_stripe_tax_is_set_up() {
    use super::super::checkout::Tax;
    let desk = Desk::open().await;
    let account = desk.account().await;
    let policy = desk.billing.deps.live.policy();
    let plan = policy.plans.get("pro").expect("it is there");
    let order = desk.billing.order(plan, None, None).await.expect("it is sold");
    let holdings = desk.billing.holdings(&account).await.expect("Stripe answers");
    let form = desk.billing.form(&account, "cus_1", &order, &holdings, Tax::Automatic);
    for (key, expected) in [
        ("automatic_tax[enabled]", "true"),
        // Checkout may write what it asks for on the customer, or it refuses one that is there already.
        ("customer_update[address]", "auto"),
        ("customer_update[name]", "auto"),
        ("tax_id_collection[enabled]", "true"),
    ] {
        assert_eq!(value(&form, key), Some(expected), "{key}");
    }
}
