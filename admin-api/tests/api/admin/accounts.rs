//! `/admin/v1/accounts`.

use serde_json::{Value, json};
use tollgate_domain::{AccountId, KeyHash};
use tollgate_store::{Change, Store};

use crate::harness::{Plane, blotted};

fn id(body: &Value) -> AccountId {
    body["id"].as_str().and_then(|id| id.parse().ok()).expect("an account's id")
}

#[tokio::test]
async fn an_account_is_made_and_shown() {
    let plane = Plane::start().await;
    let answer = plane.post("/accounts", json!({ "email": " Ada@Example.com ", "name": "Ada", "plan": "pro" })).await;
    let location = answer.header("location").to_owned();
    let made = answer.expect(201);
    assert_eq!(location, format!("/admin/v1/accounts/{}", made["id"].as_str().expect("an id")));
    assert_eq!(plane.heard.take(), [Change::Account(id(&made))]);
    insta::assert_json_snapshot!(blotted(made.clone(), &["/id"]), @r#"
    {
      "ban": null,
      "created_at": "2026-03-10T12:00:00Z",
      "email": "Ada@Example.com",
      "id": "…",
      "keys": 0,
      "name": "Ada",
      "plan": {
        "assigned": "pro",
        "assigned_until": null,
        "effective": "pro",
        "why": "assigned"
      },
      "quota": {
        "allowed": true,
        "limit": 10000,
        "percentage": 0.0,
        "period": {
          "end": "2026-04-01T00:00:00Z",
          "start": "2026-03-01T00:00:00Z"
        },
        "remaining": 10000,
        "resets_at": "2026-04-01T00:00:00Z",
        "used": 0
      },
      "rolling_anchor": "2026-03-10T12:00:00Z",
      "state": "active",
      "stripe_customer_id": null,
      "subscription": null,
      "subscriptions": []
    }
    "#);
    for reference in [made["id"].as_str().expect("an id"), "ada@example.com", "ADA%40example.com"] {
        assert_eq!(plane.get(&format!("/accounts/{reference}")).await.expect(200), made, "{reference}");
    }
}

#[tokio::test]
async fn without_a_plan_an_account_is_on_the_default_one_which_may_have_no_access() {
    let plane = Plane::start().await;
    let made = plane.post("/accounts", json!({ "email": "a@b" })).await.expect(201);
    assert_eq!(
        made["plan"],
        json!({ "assigned": null, "assigned_until": null, "effective": "free", "why": "default" })
    );
    assert_eq!((&made["state"], &made["quota"]["limit"]), (&json!("no_access"), &json!("unlimited")));
    assert_eq!(made["quota"]["allowed"], false);
}

#[tokio::test]
async fn an_e_mail_has_one_account() {
    let plane = Plane::start().await;
    let made = plane.post("/accounts", json!({ "email": "a@b" })).await.expect(201);
    plane.heard.take();
    let problem =
        plane.post("/accounts", json!({ "email": "A@B", "plan": "pro" })).await.problem(409, "account_exists");
    assert_eq!(problem["account"], made["id"]);
    assert_eq!(plane.heard.take(), [], "nothing was changed");
    assert_eq!(plane.get("/accounts/a@b").await.expect(200)["plan"]["assigned"], Value::Null);
}

#[tokio::test]
async fn bad_fields_are_pointed_at_all_at_once() {
    let plane = Plane::start().await;
    for (body, pointers) in [
        (json!({}), vec!["#/email"]),
        (json!({ "email": null }), vec!["#/email"]),
        (json!({ "email": "a" }), vec!["#/email"]),
        (json!({ "email": "a b@c" }), vec!["#/email"]),
        (json!({ "email": ["a@b"] }), vec!["#/email"]),
        (json!({ "email": "a@b", "plan": "gold" }), vec!["#/plan"]),
        (json!({ "email": "a@b", "plan": "public" }), vec!["#/plan"]),
        (json!({ "email": "a@b", "name": "" }), vec!["#/name"]),
        (json!({ "email": "@", "name": "\u{7}", "plan": 1, "x": 1 }), vec!["#/email", "#/name", "#/plan", "#/x"]),
    ] {
        assert_eq!(plane.post("/accounts", body.clone()).await.pointers(), pointers, "{body}");
    }
    let problem =
        plane.post("/accounts", json!({ "email": "a@b", "plan": "gold" })).await.problem(422, "invalid_fields");
    assert_eq!(problem["detail"], "there is no plan `gold`; there are free, pro, team");
    assert_eq!(plane.get("/accounts").await.expect(200)["items"], json!([]), "nothing was made");
}

#[tokio::test]
async fn lists_are_paged_in_order_of_creation() {
    let plane = Plane::start().await;
    for number in 0..5 {
        plane.clock.advance_secs(1);
        plane.post("/accounts", json!({ "email": format!("a{number}@b") })).await.expect(201);
    }
    let mut seen = Vec::new();
    let mut path = "/accounts?limit=2".to_owned();
    loop {
        let page = plane.get(&path).await.expect(200);
        let items = page["items"].as_array().expect("items");
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|item| item["email"].as_str().expect("an e-mail").to_owned()));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/accounts?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, ["a0@b", "a1@b", "a2@b", "a3@b", "a4@b"]);
    let found = plane.get("/accounts?email=A3%40b").await.expect(200);
    assert_eq!(found["items"][0]["email"], "a3@b");
    assert_eq!(plane.get("/accounts?email=none%40b").await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn bad_queries_name_the_parameter() {
    let plane = Plane::start().await;
    for (query, parameters) in [
        ("limit=0", vec!["limit"]),
        ("limit=201", vec!["limit"]),
        ("limit=x&cursor=y", vec!["limit", "cursor"]),
        ("limit=1&limit=2", vec!["limit"]),
        ("cursor=key_0000000000000000000000", vec!["cursor"]),
        ("email=nobody", vec!["email"]),
        ("offset=1", vec!["offset"]),
    ] {
        assert_eq!(plane.get(&format!("/accounts?{query}")).await.pointers(), parameters, "{query}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_404_for_every_call() {
    let plane = Plane::start().await;
    for reference in ["acc_0000000000000000000000", "none@b", "nonsense", "key_0000000000000000000000", "%20"] {
        for (method, tail, body) in [
            ("GET", "", None),
            ("DELETE", "", None),
            ("PUT", "/plan", Some(json!({ "plan": "pro" }))),
            ("POST", "/ban", None),
            ("POST", "/unban", None),
        ] {
            let answer = plane.operator(method, &format!("/accounts/{reference}{tail}"), body).await;
            answer.problem(404, "not_found");
        }
    }
    plane.get("/accounts/%ff").await.problem(400, "bad_request");
    assert_eq!(plane.heard.take(), []);
}

#[tokio::test]
async fn the_operators_plan_holds_until_lifted() {
    let plane = Plane::start().await;
    let made = plane.post("/accounts", json!({ "email": "a@b" })).await.expect(201);
    plane.heard.take();
    let set = plane.operator("PUT", "/accounts/a@b/plan", Some(json!({ "plan": "pro" }))).await.expect(200);
    assert_eq!(
        set["plan"],
        json!({ "assigned": "pro", "assigned_until": null, "effective": "pro", "why": "assigned" })
    );
    assert_eq!(set["state"], "active");
    assert_eq!(plane.heard.take(), [Change::Account(id(&made))]);
    let lifted = plane.operator("PUT", "/accounts/a@b/plan", Some(json!({ "plan": null }))).await.expect(200);
    assert_eq!(
        lifted["plan"],
        json!({ "assigned": null, "assigned_until": null, "effective": "free", "why": "default" })
    );
    for (body, pointer) in [
        (json!({}), "#/plan"),
        (json!({ "plan": "gold" }), "#/plan"),
        (json!({ "plan": "public" }), "#/plan"),
        (json!({ "plan": 5 }), "#/plan"),
        (json!({ "plan": "pro", "force": true }), "#/force"),
    ] {
        let answer = plane.operator("PUT", "/accounts/a@b/plan", Some(body.clone())).await;
        assert_eq!(answer.pointers(), [pointer], "{body}");
    }
}

#[tokio::test]
async fn a_plan_that_vanished_from_the_file_says_so() {
    let plane = Plane::start().await;
    plane.post("/accounts", json!({ "email": "a@b", "plan": "pro" })).await.expect(201);
    let mut policy = crate::harness::policy();
    let kept = policy.plans.iter().filter(|plan| plan.name.as_str() != "pro").map(|plan| (**plan).clone());
    policy.plans = tollgate_domain::PlanTable::new(kept, tollgate_domain::PlanName::new("free"));
    plane.live.apply(policy, "other".into(), Vec::new(), crate::harness::NOON);
    let shown = plane.get("/accounts/a@b").await.expect(200);
    assert_eq!(
        shown["plan"],
        json!({ "assigned": "pro", "assigned_until": null, "effective": "free", "why": "assigned_plan_gone" })
    );
}

#[tokio::test]
async fn a_ban_is_set_and_lifted_with_its_reason() {
    let plane = Plane::start().await;
    let made = plane.post("/accounts", json!({ "email": "a@b", "plan": "pro" })).await.expect(201);
    plane.heard.take();
    let banned = plane.post("/accounts/a@b/ban", json!({ "reason": "chargeback" })).await.expect(200);
    assert_eq!(banned["state"], "banned");
    assert_eq!(banned["ban"], json!({ "at": "2026-03-10T12:00:00Z", "reason": "chargeback" }));
    assert_eq!(plane.heard.take(), [Change::Account(id(&made))]);
    let lifted = plane.operator("POST", "/accounts/a@b/unban", None).await.expect(200);
    assert_eq!((&lifted["state"], &lifted["ban"]), (&json!("active"), &Value::Null));
    assert_eq!(plane.operator("POST", "/accounts/a@b/ban", None).await.expect(200)["ban"]["reason"], Value::Null);
    assert_eq!(plane.post("/accounts/a@b/ban", json!({ "reason": 5 })).await.pointers(), ["#/reason"]);
    assert_eq!(plane.post("/accounts/a@b/ban", json!({ "why": "x" })).await.pointers(), ["#/why"]);
    assert_eq!(plane.post("/accounts/a@b/unban", json!({ "reason": "x" })).await.pointers(), ["#/reason"]);
}

#[tokio::test]
async fn a_deleted_account_is_gone_with_its_keys_and_its_e_mail_is_free_again() {
    let plane = Plane::start().await;
    let key = plane.key("a@b", "pro").await;
    let raw = key["key"].as_str().expect("a raw key");
    plane.heard.take();
    let deleted = plane.operator("DELETE", "/accounts/a@b", None).await.expect(200);
    assert_eq!((&deleted["id"], &deleted["keys"]), (&key["account"], &json!(1)));
    let hash: KeyHash = tollgate_domain::KeyHasher::new(None).hash(raw.as_bytes());
    assert_eq!(plane.heard.take(), [Change::Account(id(&deleted)), Change::Key(hash)]);
    for reference in ["a@b", deleted["id"].as_str().expect("an id")] {
        plane.get(&format!("/accounts/{reference}")).await.problem(404, "not_found");
        plane.operator("DELETE", &format!("/accounts/{reference}"), None).await.problem(404, "not_found");
    }
    plane.customer("/v1/me", &[("x-api-key", raw)]).await.problem(403, "invalid_key");
    assert_ne!(plane.key("a@b", "team").await["account"], deleted["id"]);
    assert!(
        plane
            .store
            .account(id(&deleted))
            .await
            .expect("it answers")
            .is_some_and(|account| account.email.is_empty() || !account.email.contains("a@b"))
    );
}

#[tokio::test]
async fn the_shown_quota_is_the_limiters_or_else_the_ledgers() {
    let plane = Plane::start().await;
    let key = plane.key("a@b", "pro").await;
    let (account, key) = (key["account"].as_str().expect("an id"), key["id"].as_str().expect("an id"));
    plane.record(account, key, 7, 3_600).await;
    assert_eq!(plane.get("/accounts/a@b").await.expect(200)["quota"]["used"], 7, "from the ledger");
    plane.spend(account, key, 5).await;
    let quota = plane.get("/accounts/a@b").await.expect(200)["quota"].clone();
    assert_eq!((&quota["used"], &quota["remaining"]), (&json!(12), &json!(9_988)), "from the limiter");
    assert_eq!(quota["resets_at"], "2026-04-01T00:00:00Z");
}

#[tokio::test]
async fn an_operators_plan_may_end_by_itself() {
    let plane = Plane::start().await;
    plane.post("/accounts", json!({ "email": "a@b" })).await.expect(201);
    let put = async |body: Value| plane.operator("PUT", "/accounts/a@b/plan", Some(body)).await;
    let set = put(json!({ "plan": "pro", "until": "2026-03-10T13:00:00Z" })).await.expect(200);
    assert_eq!(set["plan"]["assigned_until"], "2026-03-10T13:00:00Z");
    plane.clock.advance_secs(3_599);
    assert_eq!(plane.get("/accounts/a@b").await.expect(200)["plan"]["effective"], "pro");
    plane.clock.advance_secs(1);
    let over = plane.get("/accounts/a@b").await.expect(200);
    assert_eq!((&over["plan"]["effective"], &over["plan"]["why"]), (&json!("free"), &json!("default")));
    for body in [
        json!({ "plan": "pro", "until": "2026-03-10T13:00:00Z" }),
        json!({ "plan": "pro", "until": "soon" }),
        json!({ "plan": null, "until": "2027-01-01" }),
    ] {
        assert_eq!(put(body.clone()).await.pointers(), ["#/until"], "{body}");
    }
}
