//! `/admin/v1/audit`.

use serde_json::{Value, json};

use crate::harness::Plane;

fn actions(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().expect("items");
    items.iter().map(|item| item["action"].as_str().expect("an action")).collect()
}

#[tokio::test]
async fn every_change_leaves_a_line_newest_first() {
    let plane = Plane::start().await;
    let key = plane.key("a@b", "pro").await;
    let key_id = key["id"].as_str().expect("an id");
    plane.post("/accounts/a@b/ban", json!({ "reason": "spam" })).await.expect(200);
    plane.operator("POST", "/accounts/a@b/unban", None).await.expect(200);
    plane.operator("PUT", "/accounts/a@b/plan", Some(json!({ "plan": "team" }))).await.expect(200);
    let new = plane.operator("POST", &format!("/keys/{key_id}/rotate"), None).await.expect(201);
    plane.operator("DELETE", &format!("/keys/{}", new["id"].as_str().expect("an id")), None).await.expect(200);
    plane.key("other@b", "pro").await;
    plane.operator("DELETE", "/accounts/a@b", None).await.expect(200);
    plane.post("/accounts", json!({ "email": "bad" })).await.problem(422, "invalid_fields");

    let path = format!("/audit?account={}", key["account"].as_str().expect("an id"));
    let trail = plane.get(&path).await.expect(200);
    let expected = [
        "account.delete",
        "key.revoke",
        "key.rotate",
        "account.set_plan",
        "account.unban",
        "account.ban",
        "key.create",
        "account.create",
    ];
    assert_eq!(actions(&trail), expected);
    assert_eq!(trail["items"][3]["detail"], json!({ "from": "pro", "to": "team", "until": null }));
    assert_eq!(trail["items"][5]["detail"], json!({ "reason": "spam" }));
    assert!(trail["items"].as_array().expect("items").iter().all(|item| item["actor"] == "operator"));
    assert_eq!(actions(&plane.get("/audit").await.expect(200)).len(), expected.len() + 2);
    for secret in [&key["key"], &new["key"], &json!("a@b")] {
        assert!(!trail.to_string().contains(secret.as_str().expect("a text")), "{secret}");
    }
}

#[tokio::test]
async fn the_trail_is_paged() {
    let plane = Plane::start().await;
    for number in 0..5 {
        plane.post("/accounts", json!({ "email": format!("a{number}@b") })).await.expect(201);
    }
    let first = plane.get("/audit?limit=3").await.expect(200);
    let cursor = first["next_cursor"].as_str().expect("more follow");
    let second = plane.get(&format!("/audit?limit=3&cursor={cursor}")).await.expect(200);
    assert_eq!((actions(&first).len(), actions(&second).len()), (3, 2));
    assert_eq!(second["next_cursor"], Value::Null);
    let sequence = |page: &Value, at: usize| page["items"][at]["sequence"].as_i64().expect("a number");
    assert!(sequence(&first, 2) > sequence(&second, 0));
}

#[tokio::test]
async fn bad_queries_are_refused() {
    let plane = Plane::start().await;
    assert_eq!(plane.get("/audit?cursor=x&limit=999&actor=me").await.pointers(), ["limit", "cursor", "actor"]);
    plane.get("/audit?account=none@b").await.problem(404, "not_found");
}
