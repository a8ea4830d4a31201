//! `POST /v1/billing/*`: what an owner does about its plan, what it is told when that cannot be done, and that nobody
//! else's is touched.

use serde_json::{Value, json};
use tollgate_fake_stripe::{Action, Fault, FaultKind, When};

use crate::harness::{Plane, SignIn};

async fn ada(plane: &Plane) -> SignIn {
    plane.sign_in("ada@example.com").await
}

#[tokio::test]
async fn checkout_answers_with_an_address_once() {
    let plane = Plane::selling().await;
    let ada = ada(&plane).await;
    let [cookie, csrf] = ada.headers();
    let with_key = async |body: Value| {
        let headers = [cookie, csrf, ("idempotency-key", "click-1")];
        plane.call("POST", "/v1/billing/checkout", Some(&body), &headers).await
    };
    let bought = with_key(json!({ "plan": "pro" })).await.expect(200);
    let url = bought["checkout_url"].as_str().expect("an address").to_owned();
    assert!(url.starts_with(&plane.shop().stripe.url()), "{url}");
    assert_eq!(bought.as_object().expect("an object").len(), 1);
    let again = with_key(json!({ "plan": "pro" })).await.problem(409, "already_done");
    assert_eq!(again["plan"], "pro");
    assert!(!again.to_string().contains(&url), "an address is shown once");
    with_key(json!({ "plan": "team" })).await.problem(422, "idempotency_mismatch");
    // Nothing was bought by asking where.
    assert_eq!(plane.billing_of(&ada).await["plan"], "free");
    let session = url.rsplit('/').next().expect("an id");
    plane.shop().stripe.checkout(session, tollgate_fake_stripe::CheckoutOutcome::Pay).expect("it can be paid");
    plane.deliver().await;
    assert_eq!(plane.billing_of(&ada).await["plan"], "pro");
    let refused = plane.bill(&ada, "/checkout", &json!({ "plan": "team" })).await.problem(409, "already_subscribed");
    assert!(refused["subscription"].as_str().is_some_and(|id| id.starts_with("sub_")), "{refused}");
}

#[tokio::test]
async fn what_is_not_sold_is_refused_with_what_is() {
    let plane = Plane::selling().await;
    let ada = ada(&plane).await;
    for path in ["/checkout", "/change", "/preview"] {
        for plan in ["free", "public", "gold", ""] {
            let refused = plane.bill(&ada, path, &json!({ "plan": plan })).await.problem(400, "not_for_sale");
            assert_eq!(refused["for_sale"], json!(["pro", "team"]), "{path} {plan}");
            assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("pro, team")), "{refused}");
        }
        let refused = plane.bill(&ada, path, &json!({ "plan": "pro", "price": "price_team" })).await;
        assert_eq!(refused.problem(400, "not_for_sale")["prices"], json!(["price_pro"]), "{path}");
    }
    assert!(plane.shop().stripe.requests().iter().all(|request| request.method == "GET"), "nothing was made");
}

#[tokio::test]
async fn bad_input_is_told_with_pointers_and_reaches_nobody() {
    let plane = Plane::selling().await;
    let ada = ada(&plane).await;
    let long = "x".repeat(65);
    for (path, body, pointers) in [
        ("/checkout", json!({}), vec!["#/plan"]),
        ("/checkout", json!({ "plan": 7, "price": "" }), vec!["#/plan", "#/price"]),
        ("/checkout", json!({ "plan": long, "more": 1 }), vec!["#/plan", "#/more"]),
        ("/change", json!({ "plan": "pro", "proration_date": "soon" }), vec!["#/proration_date"]),
        ("/preview", json!({ "plan": null }), vec!["#/plan"]),
        ("/cancel", json!({ "at": "tomorrow" }), vec!["#/at"]),
        ("/cancel", json!({ "subscription": "a b" }), vec!["#/subscription"]),
        ("/reactivate", json!({ "subscription": 1 }), vec!["#/subscription"]),
        ("/portal", json!({ "plan": "pro" }), vec!["#/plan"]),
    ] {
        assert_eq!(plane.bill(&ada, path, &body).await.pointers(), pointers, "{path} {body}");
    }
    assert!(plane.shop().stripe.requests().is_empty());
}

#[tokio::test]
async fn without_customer_or_subscription_there_is_advice() {
    let plane = Plane::selling().await;
    let ada = ada(&plane).await;
    let advice = |problem: &Value| problem["detail"].as_str().is_some_and(|detail| detail.contains("checkout"));
    assert!(advice(&plane.bill(&ada, "/portal", &json!({})).await.problem(400, "no_customer")));
    for path in ["/cancel", "/reactivate"] {
        assert!(advice(&plane.bill(&ada, path, &json!({})).await.problem(409, "no_subscription")), "{path}");
    }
    let changed = plane.bill(&ada, "/change", &json!({ "plan": "pro" })).await.expect(200);
    assert_eq!(changed["changed"], json!(false));
    assert!(
        changed["checkout_url"].as_str().is_some_and(|url| url.starts_with(&plane.shop().stripe.url())),
        "{changed}"
    );
}

#[tokio::test]
async fn a_subscription_is_ended_resumed_and_ended_at_once() {
    let plane = Plane::selling().await;
    let ada = ada(&plane).await;
    let paid = plane.subscribe(&ada.account, "ada@example.com", "price_pro").await;
    let portal = plane.bill(&ada, "/portal", &json!({})).await.expect(200);
    assert!(portal["portal_url"].as_str().is_some_and(|url| url.starts_with(&plane.shop().stripe.url())), "{portal}");
    let ending = plane.bill(&ada, "/cancel", &json!({})).await.expect(200);
    let expected = json!({
        "subscription": paid.subscription, "status": "active", "plan": "pro", "ends_at": "2026-04-10T12:00:00Z"
    });
    assert_eq!(ending, expected);
    // Known at once, before its webhook.
    assert_eq!(plane.billing_of(&ada).await["subscriptions"][0]["ends_at"], "2026-04-10T12:00:00Z");
    assert_eq!(plane.billing_of(&ada).await["has_access"], json!(true));
    let going_on = plane.bill(&ada, "/reactivate", &json!({ "subscription": paid.subscription })).await.expect(200);
    assert_eq!(going_on["ends_at"], Value::Null);
    plane.heard.take();
    let ended = plane.bill(&ada, "/cancel", &json!({ "at": "now" })).await.expect(200);
    assert_eq!(ended["status"], "canceled");
    assert_eq!(plane.billing_of(&ada).await["plan"], "free");
    assert!(!plane.heard.take().is_empty(), "the gateways were told");
    plane.deliver().await;
    assert_eq!(plane.billing_of(&ada).await["plan"], "free");
    plane.bill(&ada, "/reactivate", &json!({})).await.problem(409, "no_subscription");
}

#[tokio::test]
async fn who_is_banned_sees_and_ends_what_it_pays_for_and_nothing_else() {
    let plane = Plane::selling().await;
    let ada = ada(&plane).await;
    let paid = plane.subscribe(&ada.account, "ada@example.com", "price_pro").await;
    plane.operator("POST", "/accounts/ada@example.com/ban", None).await.expect(200);
    // A new session too: the one from before may have ended.
    for who in [&ada, &plane.sign_in("ada@example.com").await] {
        plane.customer("/v1/me", &who.headers()).await.problem(403, "account_disabled");
        plane.customer("/v1/keys", &who.headers()).await.problem(403, "account_disabled");
        for path in ["/checkout", "/change", "/reactivate"] {
            let body = if path == "/reactivate" { json!({}) } else { json!({ "plan": "team" }) };
            plane.bill(who, path, &body).await.problem(403, "account_disabled");
        }
        let shown = plane.billing_of(who).await;
        assert_eq!((&shown["has_access"], &shown["may_claim_key"]), (&json!(false), &json!(false)), "{shown}");
        assert_eq!(shown["subscriptions"][0]["id"], paid.subscription, "{shown}");
        plane.bill(who, "/portal", &json!({})).await.expect(200);
    }
    let [cookie, csrf] = ada.headers();
    let headers = [cookie, csrf, ("idempotency-key", "end-it")];
    let body = json!({ "at": "now" });
    for _ in 0..2 {
        let ended = plane.call("POST", "/v1/billing/cancel", Some(&body), &headers).await.expect(200);
        assert_eq!(ended["status"], "canceled", "{ended}");
    }
}

#[tokio::test]
async fn a_change_charges_first_and_a_declined_card_changes_nothing() {
    let plane = Plane::selling().await;
    let ada = ada(&plane).await;
    let paid = plane.subscribe(&ada.account, "ada@example.com", "price_pro").await;
    let preview = plane.bill(&ada, "/preview", &json!({ "plan": "team" })).await.expect(200);
    assert_eq!((&preview["plan"], &preview["currency"]), (&json!("team"), &json!("usd")));
    assert!(preview["amount_due_now"].as_i64().is_some_and(|amount| amount > 0), "{preview}");
    assert!(preview["lines"].as_array().is_some_and(|lines| !lines.is_empty()), "{preview}");
    let stripe = &plane.shop().stripe;
    stripe.act(&paid.subscription, &Action::CardFails).expect("it can");
    let declined = plane.bill(&ada, "/change", &json!({ "plan": "team" })).await.problem(402, "payment_declined");
    assert!(declined["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{declined}");
    plane.deliver().await;
    assert_eq!(plane.billing_of(&ada).await["plan"], "pro");
    stripe.act(&paid.subscription, &Action::CardRecovers).expect("it can");
    let change = json!({ "plan": "team", "proration_date": preview["proration_date"] });
    let changed = plane.bill(&ada, "/change", &change).await.expect(200);
    assert_eq!((&changed["changed"], &changed["subscription"]["plan"]), (&json!(true), &json!("team")));
    assert!(changed.get("checkout_url").is_none());
    assert_eq!(plane.billing_of(&ada).await["plan"], "team");
    plane.clock.advance_secs(2 * 3600);
    let stale = json!({ "plan": "pro", "proration_date": preview["proration_date"] });
    plane.bill(&ada, "/change", &stale).await.problem(409, "stale_preview");
}

#[tokio::test]
async fn nobody_acts_for_another_account() {
    let plane = Plane::selling().await;
    let (ada, eve) = (ada(&plane).await, plane.sign_in("eve@example.com").await);
    let paid = plane.subscribe(&ada.account, "ada@example.com", "price_pro").await;
    plane.subscribe(&eve.account, "eve@example.com", "price_pro").await;
    let before = plane.billing_of(&ada).await;
    for path in ["/cancel", "/reactivate"] {
        let body = json!({ "subscription": paid.subscription });
        let refused = plane.bill(&eve, path, &body).await.problem(409, "no_subscription");
        assert!(!refused.to_string().contains("ada@"), "{refused}");
    }
    assert_eq!(plane.billing_of(&ada).await, before);
    assert_eq!(
        plane.shop().stripe.object(&paid.subscription).expect("it is there")["cancel_at_period_end"],
        json!(false)
    );
}

#[tokio::test]
async fn an_operators_plan_is_not_bought_over() {
    let plane = Plane::selling().await;
    plane.post("/accounts", json!({ "email": "ada@example.com", "plan": "pro" })).await.expect(201);
    let ada = ada(&plane).await;
    let refused = plane.bill(&ada, "/checkout", &json!({ "plan": "team" })).await.problem(409, "plan_assigned");
    assert_eq!(refused["plan"], "pro");
}

#[tokio::test]
async fn a_stripe_that_fails_is_told_apart_from_one_that_refuses() {
    let plane = Plane::selling().await;
    let ada = ada(&plane).await;
    plane.subscribe(&ada.account, "ada@example.com", "price_pro").await;
    let stripe = &plane.shop().stripe;
    let always = |kind| Fault { method: None, path_prefix: "/v1/".into(), kind, when: When::Rate(1.0) };
    stripe.inject(always(FaultKind::Status(500)));
    let away = plane.bill(&ada, "/portal", &json!({})).await;
    assert_eq!(away.header("retry-after"), "1");
    away.problem(503, "stripe_unavailable");
    stripe.clear_faults();
    stripe.inject(always(FaultKind::Status(401)));
    let refused = plane.bill(&ada, "/cancel", &json!({})).await.problem(502, "stripe_refused");
    assert!(!refused.to_string().contains(stripe.api_key()), "{refused}");
    stripe.clear_faults();
    assert_eq!(plane.billing_of(&ada).await["plan"], "pro");
    plane.bill(&ada, "/portal", &json!({})).await.expect(200);
}

#[tokio::test]
async fn an_operator_is_told_which_subscription_ended() {
    let plane = Plane::selling().await;
    let ada = ada(&plane).await;
    let paid = plane.subscribe(&ada.account, "ada@example.com", "price_pro").await;
    let key = plane.key("ada@example.com", "pro").await;
    plane.bill(&ada, "/cancel", &json!({ "at": "now" })).await.expect(200);
    let key = key["id"].as_str().expect("an id");
    let told = plane.get(&format!("/explain/{key}")).await.expect(200);
    assert_eq!((&told["verdict"], &told["reasons"][0]["reason"]), (&json!("refused"), &json!("plan_without_api")));
    let detail = told["reasons"][0]["detail"].as_str().expect("a text");
    let expected =
        format!("`free` does not include the API; the subscription {} is canceled: it has ended", paid.subscription);
    assert!(detail.ends_with(&expected), "{detail}");
}
