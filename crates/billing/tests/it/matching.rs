//! Whose customer it is.

use std::sync::atomic::Ordering::Relaxed;

use tollgate_billing::Refreshed;
use tollgate_domain::AccountId;
use tollgate_fake_stripe::{CheckoutOutcome, Seed, Seeded};
use tollgate_store::{
    AuditQuery, Billing as _, Customers as _, EventState, Identified, NewAudit, Store as _, SubjectAccount,
};

use crate::world::World;

fn buy(world: &World, email: &str, prices: &[&str]) -> Seeded {
    world.fake.seed(Seed { email, prices, ..Seed::default() }).unwrap()
}

async fn dead_notes(world: &World) -> Vec<String> {
    let dead = world.events().await.into_iter().filter(|event| event.state == EventState::Dead);
    dead.filter_map(|event| event.note).collect()
}

#[tokio::test]
async fn a_checkout_names_its_account() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let session = world
        .fake
        .call(
            "POST",
            "/v1/checkout/sessions",
            &[
                ("mode", "subscription"),
                ("client_reference_id", &account.id.to_string()),
                ("line_items[0][price]", "price_pro"),
                ("line_items[0][quantity]", "1"),
                ("customer_email", "somebody.else@example.com"),
                ("success_url", "https://example.com/done"),
            ],
        )
        .unwrap();
    world.fake.checkout(session["id"].as_str().unwrap(), CheckoutOutcome::Pay).unwrap();
    // Only the checkout's own event names the account. What comes before it is of a stranger, who gets an account.
    let events = world.fake.take_events();
    let (named, others): (Vec<_>, Vec<_>) =
        events.into_iter().partition(|event| event.kind == "checkout.session.completed");
    assert_eq!(named.len(), 1);
    world.deliver(&named[0]).await;
    for event in &others {
        world.deliver(event).await;
    }
    world.billing.work_once().await.unwrap();
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
    assert!(world.store.account_by_email("somebody.else@example.com").await.unwrap().is_none());
}

#[tokio::test]
async fn an_account_without_a_customer_is_found_by_e_mail() {
    let world = World::new().await;
    let account = world.account("Owner@Example.com").await;
    let made = buy(&world, "owner@example.COM", &["price_pro"]);
    world.catch_up().await;
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
    let found = world.store.account_of_customer(&made.customer).await.unwrap().unwrap();
    assert_eq!(found.id, account.id);
}

#[tokio::test]
async fn an_address_that_a_token_only_claims_gets_nothing_that_somebody_else_pays_for() {
    let world = World::new().await;
    let now = world.account("clock@example.com").await.created_at;
    let claims = Identified {
        subject: "a-stranger".into(),
        email: "payer@example.com".into(),
        email_verified: false,
        name: None,
        account_id_if_new: AccountId::new(now, [7; 10]),
        at: now,
    };
    let audit = NewAudit { actor: "token".into(), action: "account.create", at: now, detail: serde_json::json!({}) };
    let SubjectAccount::Created(stranger) = world.store.identify(&claims, &audit).await.unwrap() else {
        panic!("it is new");
    };
    let made = buy(&world, "payer@example.com", &["price_pro"]);
    world.catch_up().await;
    assert_eq!(world.plan(stranger.id).await, None);
    assert!(world.store.account_of_customer(&made.customer).await.unwrap().is_none());
    let notes = dead_notes(&world).await;
    assert!(!notes.is_empty() && notes.iter().all(|note| note.contains(&stranger.id.to_string())), "{notes:?}");
}

#[tokio::test]
async fn an_account_is_made_for_who_pays_for_a_plan_and_no_key_with_it() {
    let world = World::new().await;
    buy(&world, "new@example.com", &["price_team"]);
    world.catch_up().await;
    let account = world.store.account_by_email("new@example.com").await.unwrap().unwrap();
    assert_eq!(world.plan(account.id).await.as_deref(), Some("team"));
    assert!(world.store.keys(Some(account.id), None, 10).await.unwrap().items.is_empty());
    let trail = world.store.audit(&AuditQuery { account: Some(account.id), before: None, limit: 10 }).await.unwrap();
    let made = trail.iter().find(|entry| entry.action == "account.create").unwrap();
    assert_eq!(made.actor, "stripe");
}

#[tokio::test]
async fn who_buys_something_else_is_left_alone() {
    let world = World::new().await;
    buy(&world, "stranger@example.com", &["price_else"]);
    let known = world.account("known@example.com").await;
    buy(&world, "known@example.com", &["price_else"]);
    world.catch_up().await;
    assert!(world.store.account_by_email("stranger@example.com").await.unwrap().is_none());
    assert_eq!(world.read(known.id).await.stripe_customer, None);
    let events = world.events().await;
    assert!(events.iter().all(|event| event.state == EventState::Done && event.note.is_some()));
    assert_eq!(world.billing.stats().alert_unknown_price.load(Relaxed), 0);
}

#[tokio::test]
async fn a_second_customer_of_an_account_is_nobodys_until_a_person_says_whose() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let first = world.subscribe(account.id, &["price_pro"]);
    world.catch_up().await;
    let second = world.subscribe(account.id, &["price_team"]);
    world.catch_up().await;
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
    let notes = dead_notes(&world).await;
    assert!(!notes.is_empty());
    assert!(notes.iter().all(|note| note.contains(&first.customer) && note.contains(&second.customer)), "{notes:?}");
    assert!(world.billing.stats().alert_other_customer.load(Relaxed) > 0);
    // The same by e-mail.
    buy(&world, "owner@example.com", &["price_team"]);
    world.catch_up().await;
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
    assert_eq!(world.read(account.id).await.stripe_customer.as_deref(), Some(first.customer.as_str()));
    assert!(dead_notes(&world).await.len() > notes.len());
    // And when it is read without an event.
    let refreshed = world.billing.refresh_customer(&second.customer).await.unwrap();
    assert!(matches!(refreshed, Refreshed::Refused(_)), "{refreshed:?}");
}

#[tokio::test]
async fn an_account_that_is_gone_is_not_made_again_and_a_replay_after_mending_heeds_it() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let audit = |action: &'static str| NewAudit {
        actor: "operator".into(),
        action,
        at: world.now(),
        detail: serde_json::json!({}),
    };
    world.store.delete_account(account.id, world.now(), &audit("account.delete")).await.unwrap();
    let made = world.subscribe(account.id, &["price_pro"]);
    world.catch_up().await;
    let notes = dead_notes(&world).await;
    assert!(!notes.is_empty() && notes.iter().all(|note| note.contains(&account.id.to_string())), "{notes:?}");
    assert!(world.store.account_by_email("payer@example.com").await.unwrap().is_none());
    assert!(world.billing.stats().alert_unmatched.load(Relaxed) > 0);

    let another = world.account("another@example.com").await;
    let path = format!("/v1/subscriptions/{}", made.subscription);
    world.fake.call("POST", &path, &[("metadata[tollgate_account]", &another.id.to_string())]).unwrap();
    world.fake.take_events();
    let dead = world.events().await.into_iter().find(|event| event.state == EventState::Dead).unwrap();
    world.store.replay_event(&dead.event.id, &audit("webhook.replay")).await.unwrap();
    world.billing.work_once().await.unwrap();
    assert_eq!(world.plan(another.id).await.as_deref(), Some("pro"));
}

#[tokio::test]
async fn who_pays_without_an_address_or_a_name_is_given_up_with_advice() {
    let world = World::new().await;
    buy(&world, "", &["price_pro"]);
    world.catch_up().await;
    let notes = dead_notes(&world).await;
    assert!(!notes.is_empty() && notes.iter().all(|note| note.contains("tollgate_account")), "{notes:?}");
}

#[tokio::test]
async fn a_customer_stays_with_the_account_it_is_linked_with() {
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let made = world.subscribe(account.id, &["price_pro"]);
    world.catch_up().await;
    let another = world.account("another@example.com").await;
    let path = format!("/v1/subscriptions/{}", made.subscription);
    world.fake.call("POST", &path, &[("metadata[tollgate_account]", &another.id.to_string())]).unwrap();
    world.catch_up().await;
    assert_eq!(world.plan(account.id).await.as_deref(), Some("pro"));
    assert_eq!(world.plan(another.id).await, None);
    let noted = world.events().await.into_iter().filter_map(|event| event.note);
    assert!(noted.into_iter().any(|note| note.contains(&another.id.to_string())));
}

#[tokio::test]
async fn a_dispute_that_names_no_customer_finds_it() {
    use tollgate_fake_stripe::Action;
    let world = World::new().await;
    let account = world.account("owner@example.com").await;
    let made = world.subscribe(account.id, &["price_pro"]);
    world.catch_up().await;
    world.fake.advance(std::time::Duration::from_mins(1));
    world.act(&made, &Action::Dispute);
    let disputes: Vec<_> =
        world.fake.take_events().into_iter().filter(|event| event.kind == "charge.dispute.created").collect();
    assert_eq!(disputes.len(), 1);
    let mut event: serde_json::Value = serde_json::from_str(&disputes[0].body).unwrap();
    event["data"]["object"].as_object_mut().unwrap().remove("customer");
    world.hand_in(&event.to_string()).await.unwrap();
    world.billing.work_once().await.unwrap();
    assert_eq!(world.plan(account.id).await, None);
    assert!(world.events().await.iter().all(|event| event.state == EventState::Done && event.note.is_none()));
}
