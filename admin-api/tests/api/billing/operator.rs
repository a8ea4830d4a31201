//! `/admin/v1/webhooks` and `/admin/v1/reconcile`.

use serde_json::{Value, json};
use tollgate_store::{AuditQuery, Store};

use crate::harness::Plane;

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().expect("items").iter().map(|item| item["id"].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn events_are_listed_newest_first_filtered_and_paged() {
    let plane = Plane::selling().await;
    let ada = plane.sign_in("ada@example.com").await;
    plane.subscribe(&ada.account, "ada@example.com", "price_pro").await;
    plane.clock.advance_secs(60);
    let eve = plane.sign_in("eve@example.com").await;
    plane.subscribe(&eve.account, "eve@example.com", "price_team").await;
    let all = plane.get("/webhooks").await.expect(200);
    let received: Vec<&str> =
        all["items"].as_array().expect("items").iter().filter_map(|item| item["received_at"].as_str()).collect();
    assert!(received.len() >= 4 && received.is_sorted_by(|one, other| one >= other), "{received:?}");
    let mut paged = Vec::new();
    let mut path = "/webhooks?limit=1".to_owned();
    loop {
        let page = plane.get(&path).await.expect(200);
        paged.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/webhooks?limit=1&cursor={cursor}");
    }
    assert_eq!(paged, ids(&all));
    for (query, filter) in [
        ("kind=invoice.paid", ("kind", "invoice.paid")),
        ("state=done", ("state", "done")),
        ("account=eve@example.com", ("account", eve.account.as_str())),
    ] {
        let page = plane.get(&format!("/webhooks?{query}")).await.expect(200);
        let items = page["items"].as_array().expect("items");
        assert!(!items.is_empty() && items.iter().all(|item| item[filter.0] == filter.1), "{query}: {page:#}");
    }
    assert_eq!(plane.get("/webhooks?state=dead").await.expect(200)["items"], json!([]));
    for (query, parameter) in [
        ("state=lost", "state"),
        ("kind=Invoice%20paid", "kind"),
        ("cursor=5", "cursor"),
        ("limit=0", "limit"),
        ("since=1", "since"),
    ] {
        assert_eq!(plane.get(&format!("/webhooks?{query}")).await.pointers(), [parameter]);
    }
    plane.get("/webhooks?account=nobody@example.com").await.problem(404, "not_found");
}

#[tokio::test]
async fn an_event_is_shown_as_stripe_sent_it_and_heeded_once_more() {
    let plane = Plane::selling().await;
    let ada = plane.sign_in("ada@example.com").await;
    let paid = plane.subscribe(&ada.account, "ada@example.com", "price_pro").await;
    let listed = plane.get("/webhooks?kind=customer.subscription.created").await.expect(200);
    let event = listed["items"][0].clone();
    let id = event["id"].as_str().expect("an id");
    assert!(event.get("payload").is_none(), "a list is short");
    let shown = plane.get(&format!("/webhooks/{id}")).await.expect(200);
    assert_eq!(shown["payload"]["data"]["object"]["id"], paid.subscription.as_str());
    assert_eq!((&shown["state"], &shown["account"]), (&json!("done"), &json!(ada.account)));
    let lines = async || plane.store.audit(&AuditQuery { limit: 200, ..<_>::default() }).await.expect("it answers");
    let before = lines().await.len();
    let replayed = plane.operator("POST", &format!("/webhooks/{id}/replay"), Some(json!({}))).await.expect(202);
    assert_eq!(replayed["state"], "pending");
    let after = lines().await;
    assert_eq!(after.len(), before + 1);
    assert_eq!((after[0].action.as_str(), after[0].actor.as_str()), ("webhook.replay", "operator"));
    plane.shop().billing.work_once().await.expect("it works");
    assert_eq!(plane.get(&format!("/webhooks/{id}")).await.expect(200)["state"], "done");
    assert_eq!(plane.billing_of(&ada).await["plan"], "pro");
    for (method, path) in [("GET", "/webhooks/evt_none"), ("POST", "/webhooks/evt_none/replay")] {
        plane.operator(method, path, None).await.problem(404, "not_found");
    }
    let audit = lines().await.len();
    assert_eq!(audit, after.len(), "what is not there leaves no line");
    let extra = plane.operator("POST", &format!("/webhooks/{id}/replay"), Some(json!({ "now": true }))).await;
    assert_eq!(extra.pointers(), ["#/now"]);
}

#[tokio::test]
async fn only_an_operator_reads_events_or_compares_books() {
    let plane = Plane::selling().await;
    let ada = plane.sign_in("ada@example.com").await;
    for (method, path) in [
        ("GET", "/admin/v1/webhooks"),
        ("GET", "/admin/v1/webhooks/evt_1"),
        ("POST", "/admin/v1/webhooks/evt_1/replay"),
        ("POST", "/admin/v1/reconcile"),
    ] {
        plane.call(method, path, None, &ada.headers()).await.problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn books_that_agree_are_clean_and_a_missed_change_is_found_and_mended() {
    let plane = Plane::selling().await;
    let ada = plane.sign_in("ada@example.com").await;
    let paid = plane.subscribe(&ada.account, "ada@example.com", "price_pro").await;
    let compare = async |fix: bool| plane.post("/reconcile", json!({ "fix": fix })).await.expect(200);
    let clean = compare(false).await;
    assert_eq!((&clean["clean"], &clean["differences"]), (&json!(true), &json!([])), "{clean:#}");
    plane.shop().stripe.act(&paid.subscription, &tollgate_fake_stripe::Action::CancelNow).expect("it can");
    // Its webhooks never come.
    plane.shop().stripe.take_events();
    let found = compare(false).await;
    assert_eq!(found["clean"], json!(false), "{found:#}");
    assert!(found["left"].as_u64().is_some_and(|left| left > 0));
    let differences = found["differences"].as_array().expect("a list");
    let of_facts = differences.iter().find(|difference| difference["kind"] == "subscription_facts");
    let of_facts = of_facts.unwrap_or_else(|| panic!("{found:#}"));
    assert_eq!((&of_facts["account"], &of_facts["mending"]), (&json!(ada.account), &json!("left")));
    assert_eq!(plane.billing_of(&ada).await["plan"], "pro", "it was only looked for");
    let trail = async || {
        let trail = plane.get("/audit").await.expect(200)["items"].as_array().expect("a list").clone();
        trail.iter().filter(|line| line["action"] == "billing.reconcile").count()
    };
    assert_eq!(trail().await, 0, "looking is no change");
    let mended = compare(true).await;
    assert_eq!(trail().await, 1);
    assert!(mended["mended"].as_u64().is_some_and(|mended| mended > 0), "{mended:#}");
    plane.shop().billing.work_once().await.expect("it works");
    assert_eq!(plane.billing_of(&ada).await["plan"], "free");
}

#[tokio::test]
async fn a_comparison_that_is_asked_for_wrongly_or_has_no_stripe_is_refused() {
    let plane = Plane::selling().await;
    assert_eq!(plane.post("/reconcile", json!({ "fix": "yes" })).await.pointers(), ["#/fix"]);
    assert_eq!(plane.post("/reconcile", json!({ "mend": true })).await.pointers(), ["#/mend"]);
    let without = Plane::start().await;
    without.post("/reconcile", json!({})).await.problem(404, "not_found");
    without.operator("POST", "/webhooks/evt_1/replay", None).await.problem(404, "not_found");
    assert_eq!(without.get("/webhooks").await.expect(200)["items"], json!([]));
}
