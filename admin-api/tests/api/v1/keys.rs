//! `/v1/keys`: a customer's own keys.

use serde_json::{Value, json};
use tollgate_domain::KeyHasher;
use tollgate_store::Change;

use crate::harness::{Answer, Plane, SignIn};

/// Somebody on `pro`, which allows two keys.
async fn ada(plane: &Plane) -> SignIn {
    plane.post("/accounts", json!({ "email": "ada@example.com", "plan": "pro" })).await.expect(201);
    plane.sign_in("ada@example.com").await
}

async fn make(plane: &Plane, who: &SignIn, body: Value) -> Answer {
    plane.call("POST", "/v1/keys", Some(&body), &who.headers()).await
}

fn id(key: &Value) -> &str {
    key["id"].as_str().expect("an id")
}

#[tokio::test]
async fn a_key_is_made_shown_once_and_listed_masked() {
    let plane = Plane::start().await;
    let ada = ada(&plane).await;
    plane.heard.take();
    let answer = make(
        &plane,
        &ada,
        json!({ "name": "CI", "scopes": ["events-*"], "read_only": true, "ip_allow": ["10.1.2.3/8"], "expires_at": "2026-04-01", "cap": 5 }),
    )
    .await;
    assert_eq!(answer.header("location"), format!("keys/{}", id(&answer.body)));
    let made = answer.expect(201);
    let raw = made["key"].as_str().expect("a raw key");
    assert_eq!(plane.heard.take(), [Change::Key(KeyHasher::new(None).hash(raw.as_bytes()))]);
    assert_eq!((&made["email"], &made["plan"]), (&json!("ada@example.com"), &json!("pro")));
    let me = plane.customer("/v1/me", &[("x-api-key", raw)]).await.expect(200);
    assert_eq!(me["key"]["id"], made["id"]);
    let list = plane.customer("/v1/keys", &[("cookie", &ada.cookie)]).await.expect(200);
    let (first, rest) = list["items"].as_array().expect("a list").split_first().expect("a key");
    assert!(rest.is_empty() && !list.to_string().contains(raw));
    assert_eq!((&first["ip_allow"], &first["cap"]), (&json!(["10.0.0.0/8"]), &json!(5)));
    assert_eq!(first["masked"], format!("tg_live_****{}", &raw[raw.len() - 4..]));
    let shown = plane.customer(&format!("/v1/keys/{}", id(&made)), &[("cookie", &ada.cookie)]).await.expect(200);
    assert_eq!(&shown, first);
    let trail = plane.get(&format!("/audit?account={}", ada.account)).await.expect(200);
    assert_eq!((&trail["items"][0]["actor"], &trail["items"][0]["action"]), (&json!("customer"), &json!("key.create")));
}

#[tokio::test]
async fn a_plan_s_number_of_keys_counts_active_ones_only() {
    let plane = Plane::start().await;
    let ada = ada(&plane).await;
    let first = make(&plane, &ada, json!({})).await.expect(201);
    make(&plane, &ada, json!({ "expires_at": "2026-03-11" })).await.expect(201);
    let refused = make(&plane, &ada, json!({})).await.problem(409, "key_limit_reached");
    assert_eq!((&refused["limit"], &refused["used"]), (&json!(2), &json!(2)));
    // A rotation adds none: its predecessor is in its grace.
    let path = format!("/v1/keys/{}/rotate", id(&first));
    let second = plane.call("POST", &path, Some(&json!({ "grace": "1h" })), &ada.headers()).await.expect(201);
    make(&plane, &ada, json!({})).await.problem(409, "key_limit_reached");
    let path = format!("/v1/keys/{}", id(&second));
    assert_eq!(plane.call("DELETE", &path, None, &ada.headers()).await.expect(200)["state"], "revoked");
    make(&plane, &ada, json!({})).await.expect(201);
    // What has expired counts no more. The session has ended as well by then.
    plane.clock.advance_secs(24 * 3_600);
    let ada = plane.sign_in("ada@example.com").await;
    make(&plane, &ada, json!({})).await.expect(201);
    make(&plane, &ada, json!({})).await.problem(409, "key_limit_reached");
    // After a downgrade none dies, but none is added.
    plane
        .operator("PUT", &format!("/accounts/{}/plan", ada.account), Some(json!({ "plan": "free" })))
        .await
        .expect(200);
    let refused = make(&plane, &ada, json!({})).await.problem(402, "upgrade_required");
    assert_eq!(refused["plan"], "free");
}

#[tokio::test]
async fn a_rotated_key_works_until_its_grace_ends() {
    let plane = Plane::start().await;
    let ada = ada(&plane).await;
    let old = make(&plane, &ada, json!({ "name": "CI", "cap": 7, "scopes": ["a"] })).await.expect(201);
    let path = format!("/v1/keys/{}/rotate", id(&old));
    plane.heard.take();
    let new = plane.call("POST", &path, Some(&json!({ "grace": "1h" })), &ada.headers()).await.expect(201);
    assert_eq!(plane.heard.take().len(), 2, "both keys are told of");
    for field in ["name", "cap", "scopes"] {
        assert_eq!(new[field], old[field], "{field}");
    }
    assert_eq!(new["replaces"], json!({ "id": old["id"], "grace_until": "2026-03-10T13:00:00Z" }));
    let works = async |key: &Value| {
        plane.customer("/v1/me", &[("x-api-key", key["key"].as_str().expect("a raw key"))]).await.status.as_u16()
    };
    assert_eq!((works(&old).await, works(&new).await), (200, 200));
    let refused = plane.call("POST", &format!("/v1/keys/{}/rotate", id(&new)), None, &ada.headers()).await;
    assert_eq!(refused.problem(409, "predecessor_in_grace")["grace_until"], "2026-03-10T13:00:00Z");
    plane.clock.advance_secs(3_599);
    assert_eq!((works(&old).await, works(&new).await), (200, 200));
    plane.clock.advance_secs(1);
    assert_eq!((works(&old).await, works(&new).await), (403, 200));
    plane.call("POST", &path, None, &ada.headers()).await.problem(409, "key_not_active");
    for (body, pointer) in [
        (json!({ "grace": "31d" }), "#/grace"),
        (json!({ "grace": "soon" }), "#/grace"),
        (json!({ "grace": 5 }), "#/grace"),
        (json!({ "delay": "1h" }), "#/delay"),
    ] {
        let path = format!("/v1/keys/{}/rotate", id(&new));
        assert_eq!(plane.call("POST", &path, Some(&body), &ada.headers()).await.pointers(), [pointer], "{body}");
    }
}

#[tokio::test]
async fn a_change_touches_what_is_sent_and_null_takes_away() {
    let plane = Plane::start().await;
    let ada = ada(&plane).await;
    let made = make(&plane, &ada, json!({ "name": "CI", "ip_allow": ["10.0.0.0/8"], "cap": 5, "read_only": true }))
        .await
        .expect(201);
    let path = format!("/v1/keys/{}", id(&made));
    let change = async |body: Value| plane.call("PATCH", &path, Some(&body), &ada.headers()).await;
    plane.heard.take();
    let changed = change(json!({ "ip_deny": ["10.0.0.1"], "cap": null, "expires_at": "2026-05-01" })).await.expect(200);
    assert_eq!(plane.heard.take().len(), 1);
    for (field, expected) in [
        ("name", json!("CI")),
        ("ip_allow", json!(["10.0.0.0/8"])),
        ("ip_deny", json!(["10.0.0.1/32"])),
        ("cap", Value::Null),
        ("read_only", json!(true)),
        ("expires_at", json!("2026-05-01T00:00:00Z")),
    ] {
        assert_eq!(changed[field], expected, "{field}");
    }
    let changed =
        change(json!({ "name": null, "expires_at": null, "read_only": false, "scopes": ["a", "b-*"], "cap": 0 }))
            .await
            .expect(200);
    assert_eq!((&changed["name"], &changed["expires_at"], &changed["cap"]), (&Value::Null, &Value::Null, &json!(0)));
    assert_eq!((&changed["scopes"], &changed["read_only"]), (&json!(["a", "b-*"]), &json!(false)));
    for (body, pointers) in [
        (json!({ "cap": -1 }), vec!["#/cap"]),
        (json!({ "expires_at": "2020-01-01", "rate": "1/s" }), vec!["#/expires_at", "#/rate"]),
        (json!({ "scopes": ["ok", 7], "ip_allow": ["x"] }), vec!["#/scopes/1", "#/ip_allow/0"]),
    ] {
        assert_eq!(change(body.clone()).await.pointers(), pointers, "{body}");
    }
    plane.call("DELETE", &path, None, &ada.headers()).await.expect(200);
    assert_eq!(change(json!({ "name": "x" })).await.problem(409, "key_not_active")["state"], "revoked");
    assert_eq!(plane.call("DELETE", &path, None, &ada.headers()).await.expect(200)["state"], "revoked", "once more");
}

#[tokio::test]
async fn operators_change_keys_alike() {
    let plane = Plane::start().await;
    let key = plane.key("ada@example.com", "pro").await;
    let path = format!("/keys/{}", id(&key));
    let changed = plane.operator("PATCH", &path, Some(json!({ "name": "CI" }))).await.expect(200);
    assert_eq!(changed["name"], "CI");
    let trail = plane.get("/audit").await.expect(200);
    assert_eq!((&trail["items"][0]["actor"], &trail["items"][0]["action"]), (&json!("operator"), &json!("key.update")));
    plane.operator("PATCH", "/keys/key_0000000000000000000000", Some(json!({}))).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_repeated_idempotency_key_makes_one_key_and_belongs_to_its_account() {
    let plane = Plane::start().await;
    let ada = ada(&plane).await;
    plane.post("/accounts", json!({ "email": "bob@example.com", "plan": "pro" })).await.expect(201);
    let bob = plane.sign_in("bob@example.com").await;
    let make = async |who: &SignIn, body: Value| {
        let mut headers = who.headers().to_vec();
        headers.push(("idempotency-key", "one"));
        plane.call("POST", "/v1/keys", Some(&body), &headers).await
    };
    let made = make(&ada, json!({ "name": "CI" })).await.expect(201);
    let again = make(&ada, json!({ "name": "CI" })).await.problem(409, "already_done");
    assert_eq!((&again["id"], &again["masked"]), (&made["id"], &made["masked"]));
    assert!(again.get("key").is_none());
    make(&ada, json!({ "name": "other" })).await.problem(422, "idempotency_mismatch");
    let of_bob = make(&bob, json!({ "name": "CI" })).await.expect(201);
    assert_eq!(of_bob["account"], bob.account.as_str());
    // Who has not proven who it is learns nothing of keys that were used.
    let headers = [("cookie", ada.cookie.as_str()), ("idempotency-key", "one")];
    plane.call("POST", "/v1/keys", Some(&json!({ "name": "CI" })), &headers).await.problem(403, "csrf");
    let headers = [("idempotency-key", "one")];
    plane.call("POST", "/v1/keys", Some(&json!({ "name": "CI" })), &headers).await.problem(401, "sign_in_needed");
}
