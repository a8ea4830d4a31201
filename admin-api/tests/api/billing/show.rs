//! `GET /v1/billing`: what its owner reads through a subscription's life, and that a key may be claimed.

use serde_json::{Value, json};
use std::time::Duration;
use tollgate_fake_stripe::Action;

use crate::harness::Plane;

#[tokio::test]
async fn a_life_is_told_as_it_goes_and_the_first_key_is_claimed_by_its_owner() {
    let plane = Plane::selling().await;
    let ada = plane.sign_in("ada@example.com").await;
    let before = plane.billing_of(&ada).await;
    let expected = json!({
        "enabled": true, "plan": "free", "source": "default", "assigned_until": null, "has_access": false,
        "may_claim_key": false, "has_customer": false, "for_sale": ["pro", "team"], "subscriptions": [],
    });
    assert_eq!(before, expected);
    let claim = async || plane.call("POST", "/v1/keys", Some(&json!({})), &ada.headers()).await;
    claim().await.problem(402, "upgrade_required");

    let paid = plane.subscribe(&ada.account, "ada@example.com", "price_pro").await;
    let now = plane.billing_of(&ada).await;
    assert_eq!(
        (&now["plan"], &now["source"], &now["may_claim_key"]),
        (&json!("pro"), &json!("subscription"), &json!(true))
    );
    let subscription = &now["subscriptions"][0];
    let expected = json!({
        "id": paid.subscription, "status": "active", "plan": "pro", "gives_access": true,
        "created_at": "2026-03-10T12:00:00Z", "ends_at": null, "trial_end": null, "grace_until": null, "trouble": null,
        "period": { "start": "2026-03-10T12:00:00Z", "end": "2026-04-10T12:00:00Z" },
    });
    assert_eq!(*subscription, expected);
    // The webhooks have made no key: they granted the right to one.
    assert_eq!(plane.get("/keys").await.expect(200)["items"], json!([]));
    for may_claim_more in [true, false] {
        claim().await.expect(201);
        assert_eq!(
            plane.billing_of(&ada).await["may_claim_key"],
            json!(may_claim_more),
            "two keys are as many as pro has"
        );
    }

    let stripe = &plane.shop().stripe;
    stripe.act(&paid.subscription, &Action::CardFails).expect("it can");
    stripe.act(&paid.subscription, &Action::Renew).expect("it can");
    plane.clock.advance_secs(31 * 86_400);
    let ada = plane.sign_in("ada@example.com").await;
    plane.deliver().await;
    let failing = plane.billing_of(&ada).await;
    let subscription = &failing["subscriptions"][0];
    assert_eq!((&failing["plan"], &subscription["status"]), (&json!("pro"), &json!("past_due")));
    assert_eq!(subscription["grace_until"], "2026-04-17T12:00:00Z");
    let trouble = subscription["trouble"].as_str().expect("something is wrong");
    assert!(trouble.contains("Access lasts until 2026-04-17T12:00:00Z; update your card"), "{trouble}");

    plane.clock.advance_secs(7 * 86_400);
    let ada = plane.sign_in("ada@example.com").await;
    let over = plane.billing_of(&ada).await;
    assert_eq!((&over["plan"], &over["has_access"]), (&json!("free"), &json!(false)));
    assert_eq!(over["subscriptions"][0]["gives_access"], json!(false));
    let trouble = over["subscriptions"][0]["trouble"].as_str().expect("something is wrong");
    assert!(trouble.contains("pay it in the portal to have access again"), "{trouble}");

    stripe.advance(Duration::from_hours(7 * 24));
    stripe.act(&paid.subscription, &Action::CardRecovers).expect("it can");
    // Stripe may have charged it by itself meanwhile.
    drop(stripe.act(&paid.subscription, &Action::PayOpenInvoice));
    plane.deliver().await;
    let back = plane.billing_of(&ada).await;
    assert_eq!((&back["plan"], &back["subscriptions"][0]["trouble"]), (&json!("pro"), &Value::Null));
}

#[tokio::test]
async fn without_stripe_it_tells_the_plan_and_that_nothing_is_sold() {
    let plane = Plane::start().await;
    let account = plane.post("/accounts", json!({ "email": "ada@example.com", "plan": "pro" })).await.expect(201);
    let ada = plane.sign_in("ada@example.com").await;
    assert_eq!(account["id"], ada.account.as_str());
    let shown = plane.billing_of(&ada).await;
    assert_eq!((&shown["enabled"], &shown["for_sale"]), (&json!(false), &json!([])));
    assert_eq!((&shown["plan"], &shown["source"]), (&json!("pro"), &json!("operator")));
    for path in ["/checkout", "/portal", "/cancel", "/reactivate", "/change", "/preview"] {
        let body =
            if ["/checkout", "/change", "/preview"].contains(&path) { json!({ "plan": "pro" }) } else { json!({}) };
        let problem = plane.bill(&ada, path, &body).await.problem(404, "not_found");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("[billing.stripe]")), "{path}");
    }
}

#[tokio::test]
async fn the_pages_that_checkout_leads_back_to_show_what_holds_and_what_is_sold() {
    let plane = Plane::selling().await;
    let text = async |path: &str, headers: &[(&str, &str)]| {
        let page = plane.customer(path, headers).await;
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8", "{path}");
        assert!(page.header("content-security-policy").contains("default-src 'none'"), "{path}");
        page.expect(200).as_str().expect("a page").to_owned()
    };
    let unknown = text("/account/billing?session=cs_test_1", &[]).await;
    assert!(unknown.contains("Sign in") && unknown.contains("as soon as Stripe has confirmed"), "{unknown}");
    let ada = plane.sign_in("a'da&co@example.com").await;
    let before = text("/account/billing", &ada.headers()).await;
    assert!(before.contains("a&#39;da&amp;co@example.com") && before.contains("on <b>free</b>"), "{before}");
    assert!(before.contains("no access"), "{before}");
    plane.subscribe(&ada.account, "a'da&co@example.com", "price_pro").await;
    let after = text("/account/billing", &ada.headers()).await;
    assert!(after.contains("on <b>Pro</b>") && !after.contains("no access"), "{after}");

    let pricing = text("/pricing", &[]).await;
    assert!(pricing.contains("<b>Pro</b>, 29 USD/month") && pricing.contains("<b>team</b>"), "{pricing}");
    assert!(!pricing.contains("free") && pricing.contains("nothing was charged"), "{pricing}");
    let without = Plane::start().await;
    let nothing = without.customer("/pricing", &[]).await.expect(200);
    assert!(nothing.as_str().expect("a page").contains("Nothing is sold here"), "{nothing}");
}
