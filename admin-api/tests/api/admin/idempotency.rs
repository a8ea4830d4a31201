//! `Idempotency-Key` on POST.

use serde_json::{Value, json};
use tollgate_store::Store;

use crate::harness::{Answer, NOON, Plane};

async fn post(plane: &Plane, path: &str, body: Value, key: &str) -> Answer {
    plane.operator_with("POST", path, Some(body), &[("idempotency-key", key)]).await
}

#[tokio::test]
async fn a_repeated_request_is_done_once_and_answered_alike() {
    let plane = Plane::start().await;
    let body = json!({ "email": "a@b", "plan": "pro" });
    let first = post(&plane, "/accounts", body.clone(), "one").await.expect(201);
    let repeated = post(&plane, "/accounts", body, "one").await;
    assert_eq!(repeated.header("idempotency-replayed"), "true");
    assert_eq!(repeated.expect(201), first);
    assert_eq!(plane.get("/accounts").await.expect(200)["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn an_answer_with_a_secret_is_not_repeated() {
    let plane = Plane::start().await;
    let body = json!({ "email": "a@b", "plan": "pro" });
    let first = post(&plane, "/keys", body.clone(), "one").await.expect(201);
    let repeated = post(&plane, "/keys", body, "one").await.problem(409, "already_done");
    assert_eq!((&repeated["id"], &repeated["masked"]), (&first["id"], &first["masked"]));
    assert!(!repeated.to_string().contains(first["key"].as_str().expect("a raw key")));
    assert_eq!(plane.get("/keys").await.expect(200)["items"].as_array().map(Vec::len), Some(1));

    let path = format!("/keys/{}/rotate", first["id"].as_str().expect("an id"));
    let rotated = post(&plane, &path, json!({}), "two").await.expect(201);
    let repeated = post(&plane, &path, json!({}), "two").await.problem(409, "already_done");
    assert_eq!(repeated["id"], rotated["id"]);
}

#[tokio::test]
async fn a_key_belongs_to_one_request() {
    let plane = Plane::start().await;
    post(&plane, "/accounts", json!({ "email": "a@b" }), "one").await.expect(201);
    post(&plane, "/accounts", json!({ "email": "c@d" }), "one").await.problem(422, "idempotency_mismatch");
    post(&plane, "/keys", json!({ "email": "a@b" }), "one").await.problem(422, "idempotency_mismatch");
    post(&plane, "/accounts", json!({ "email": "c@d" }), "two").await.expect(201);
}

#[tokio::test]
async fn a_request_that_failed_gives_its_key_up() {
    let plane = Plane::start().await;
    post(&plane, "/accounts", json!({ "email": "bad" }), "one").await.problem(422, "invalid_fields");
    post(&plane, "/accounts", json!({ "email": "a@b" }), "one").await.expect(201);
    post(&plane, "/accounts", json!({ "email": "A@b" }), "two").await.problem(409, "account_exists");
    plane.operator("DELETE", "/accounts/a@b", None).await.expect(200);
    post(&plane, "/accounts", json!({ "email": "A@b" }), "two").await.expect(201);
}

#[tokio::test]
async fn a_twin_under_way_is_told_to_wait() {
    let plane = Plane::start().await;
    let body = json!({ "email": "a@b" });
    let twins = (0..8).map(|_| post(&plane, "/accounts", body.clone(), "one"));
    let answers = futures::future::join_all(twins).await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    let waiting: Vec<_> = answers.into_iter().filter(|answer| answer.status != 201).collect();
    assert!(made >= 1);
    for answer in waiting {
        assert_eq!(answer.header("retry-after"), "1");
        answer.problem(409, "in_progress");
    }
    assert_eq!(plane.get("/accounts").await.expect(200)["items"].as_array().map(Vec::len), Some(1));
    // One that was reserved and never finished.
    let hash = "another";
    plane.store.reserve_idempotency("operator", "stuck", hash, NOON).await.expect("it answers");
    post(&plane, "/accounts", body, "stuck").await.problem(422, "idempotency_mismatch");
}

#[tokio::test]
async fn malformed_keys_are_refused_and_other_methods_need_none() {
    let plane = Plane::start().await;
    let long = "k".repeat(256);
    for key in ["", "two words", long.as_str()] {
        post(&plane, "/accounts", json!({ "email": "a@b" }), key).await.problem(400, "bad_request");
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "a")];
    let answer = plane.operator_with("POST", "/accounts", Some(json!({ "email": "a@b" })), &twice).await;
    answer.problem(400, "bad_request");
    plane.operator_with("GET", "/accounts", None, &[("idempotency-key", "a")]).await.expect(200);
    plane.operator_with("GET", "/accounts?limit=1", None, &[("idempotency-key", "a")]).await.expect(200);
}

#[tokio::test]
async fn imports_are_done_once_too() {
    let plane = Plane::start().await;
    let body = json!({ "rows": [{ "email": "a@b", "plan": "pro" }] });
    let first = post(&plane, "/import/accounts", body.clone(), "one").await.expect(200);
    assert_eq!(post(&plane, "/import/accounts", body, "one").await.expect(200), first);
    assert_eq!(first["accounts_created"], 1);
}
