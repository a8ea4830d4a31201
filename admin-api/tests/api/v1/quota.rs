//! `GET /v1/quota`.

use serde_json::{Value, json};
use tollgate_config::{LimitsConfig, RateScope, Settings};

use crate::harness::Plane;

async fn quota(plane: &Plane, key: &Value) -> Value {
    plane.customer("/v1/quota", &[("x-api-key", key["key"].as_str().expect("a raw key"))]).await.expect(200)
}

fn limit(quota: &Value, name: &str) -> Value {
    let limits = quota["limits"].as_array().expect("limits");
    limits.iter().find(|limit| limit["name"] == name).cloned().unwrap_or_else(|| panic!("no {name} in {quota:#}"))
}

fn names(quota: &Value) -> Vec<&str> {
    let limits = quota["limits"].as_array().expect("limits");
    limits.iter().map(|limit| limit["name"].as_str().expect("a name")).collect()
}

fn ids(key: &Value) -> (&str, &str) {
    (key["account"].as_str().expect("an id"), key["id"].as_str().expect("an id"))
}

#[tokio::test]
async fn a_fresh_account_has_all_of_every_limit() {
    let plane = Plane::start().await;
    let key = plane.key("a@b", "pro").await;
    let mut shown = quota(&plane, &key).await;
    assert_eq!(shown["plan"].take(), json!({ "name": "pro", "display_name": "Pro", "api": true }));
    insta::assert_json_snapshot!(shown, @r#"
    {
      "allowed": true,
      "features": [
        "llm"
      ],
      "limits": [
        {
          "allowed": true,
          "kind": "bucket",
          "limit": 60,
          "name": "burst",
          "percentage": 0.0,
          "remaining": 60,
          "resets_at": null,
          "scope": "account",
          "used": 0
        },
        {
          "allowed": true,
          "kind": "window",
          "limit": 1000,
          "name": "day",
          "percentage": 0.0,
          "remaining": 1000,
          "resets_at": null,
          "scope": "account",
          "used": 0
        },
        {
          "allowed": true,
          "kind": "quota",
          "limit": 10000,
          "name": "month",
          "percentage": 0.0,
          "remaining": 10000,
          "resets_at": "2026-04-01T00:00:00Z",
          "scope": "account",
          "used": 0
        },
        {
          "allowed": true,
          "kind": "meter",
          "limit": 1000000,
          "name": "tokens",
          "percentage": 0.0,
          "remaining": 1000000,
          "resets_at": "2026-04-01T00:00:00Z",
          "scope": "account",
          "used": 0
        }
      ],
      "meters": {
        "tokens": {
          "allowed": true,
          "limit": 1000000,
          "percentage": 0.0,
          "remaining": 1000000,
          "resets_at": "2026-04-01T00:00:00Z",
          "used": 0
        }
      },
      "plan": null
    }
    "#);
}

#[tokio::test]
async fn calls_show_in_every_limit_at_once() {
    let plane = Plane::start().await;
    let key = plane.key("a@b", "pro").await;
    let (account, id) = ids(&key);
    plane.spend(account, id, 45).await;
    let shown = quota(&plane, &key).await;
    assert_eq!(limit(&shown, "burst")["remaining"], 15);
    assert_eq!(limit(&shown, "burst")["percentage"], 75.0);
    assert_eq!(limit(&shown, "burst")["resets_at"], "2026-03-10T12:00:00.100Z", "one token refills in 100 ms");
    assert_eq!((&limit(&shown, "day")["used"], &limit(&shown, "month")["used"]), (&json!(45), &json!(45)));
    plane.spend(account, id, 15).await;
    let shown = quota(&plane, &key).await;
    assert_eq!(limit(&shown, "burst")["allowed"], false);
    assert_eq!(shown["allowed"], false);
    plane.clock.advance_secs(6);
    let shown = quota(&plane, &key).await;
    assert_eq!((&limit(&shown, "burst")["remaining"], &shown["allowed"]), (&json!(60), &json!(true)));
    assert_eq!(limit(&shown, "burst")["resets_at"], Value::Null, "it is full");
}

#[tokio::test]
async fn without_state_in_the_limiter_the_ledger_tells() {
    let plane = Plane::start().await;
    let key = plane.key("a@b", "pro").await;
    let (account, id) = ids(&key);
    plane.record(account, id, 100, 3 * 86_400).await;
    plane.record(account, id, 70, 3_600).await;
    plane.record(account, id, 20, 1).await;
    let shown = quota(&plane, &key).await;
    assert_eq!(limit(&shown, "month")["used"], 190);
    assert_eq!(limit(&shown, "day")["used"], 90);
    let remaining = limit(&shown, "burst")["remaining"].as_u64().expect("a number");
    assert!((40..=60).contains(&remaining), "20 were taken a second ago: {remaining}");
    assert_eq!(shown, quota(&plane, &key).await, "looking takes nothing");
}

#[tokio::test]
async fn an_unlimited_quota_is_counted_all_the_same() {
    let plane = Plane::start().await;
    let key = plane.key("a@b", "team").await;
    let (account, id) = ids(&key);
    plane.record(account, id, 123, 60).await;
    let shown = quota(&plane, &key).await;
    assert_eq!(names(&shown), ["month"]);
    let month = limit(&shown, "month");
    assert_eq!((&month["used"], &month["limit"]), (&json!(123), &json!("unlimited")));
    assert_eq!((&month["remaining"], &month["percentage"]), (&json!("unlimited"), &Value::Null));
    assert_eq!((&month["allowed"], &shown["features"]), (&json!(true), &json!(["llm"])));
    plane.spend(account, id, 7).await;
    assert_eq!(limit(&quota(&plane, &key).await, "month")["used"], 130);
}

#[tokio::test]
async fn a_keys_own_limits_are_shown_to_that_key_only() {
    let plane = Plane::start().await;
    let body = json!({ "email": "a@b", "plan": "pro", "rate": "10/minute", "burst": 3, "cap": 50 });
    let own = plane.post("/keys", body).await.expect(201);
    let plain = plane.key("a@b", "pro").await;
    let (account, id) = ids(&own);
    plane.spend(account, id, 2).await;
    let shown = quota(&plane, &own).await;
    assert_eq!(names(&shown), ["burst", "day", "month", "key-burst", "key-month", "tokens"]);
    let burst = limit(&shown, "key-burst");
    assert_eq!((&burst["limit"], &burst["remaining"], &burst["scope"]), (&json!(3), &json!(1), &json!("key")));
    assert_eq!(limit(&shown, "key-month")["remaining"], 48);
    let shown = quota(&plane, &plain).await;
    assert_eq!(names(&shown), ["burst", "day", "month", "tokens"]);
    assert_eq!(limit(&shown, "month")["used"], 2, "the quota is the account's");
}

#[tokio::test]
async fn with_rates_per_key_bucket_and_windows_are_the_keys() {
    let limits = LimitsConfig { rate_scope: RateScope::Key, ..LimitsConfig::default() };
    let plane = Plane::with(Settings { limits, ..Settings::default() }).await;
    let (one, other) = (plane.key("a@b", "pro").await, plane.key("a@b", "pro").await);
    let (account, id) = ids(&one);
    plane.record(account, id, 30, 3_600).await;
    let shown = quota(&plane, &one).await;
    assert_eq!(names(&shown), ["month", "key-burst", "key-day", "tokens"]);
    assert_eq!((&limit(&shown, "key-day")["used"], &limit(&shown, "month")["used"]), (&json!(30), &json!(30)));
    let shown = quota(&plane, &other).await;
    assert_eq!((&limit(&shown, "key-day")["used"], &limit(&shown, "month")["used"]), (&json!(0), &json!(30)));
}

#[tokio::test]
async fn after_a_downgrade_more_may_be_used_than_allowed() {
    let plane = Plane::start().await;
    let key = plane.key("a@b", "team").await;
    let (account, id) = ids(&key);
    plane.record(account, id, 15_000, 3 * 86_400).await;
    plane.operator("PUT", "/accounts/a@b/plan", Some(json!({ "plan": "pro" }))).await.expect(200);
    let shown = quota(&plane, &key).await;
    let month = limit(&shown, "month");
    assert_eq!((&month["used"], &month["remaining"], &month["percentage"]), (&json!(15_000), &json!(0), &json!(150.0)));
    assert_eq!((&month["allowed"], &shown["allowed"]), (&json!(false), &json!(false)));
}

#[tokio::test]
async fn a_plan_without_api_allows_nothing() {
    let plane = Plane::start().await;
    let key = plane.key("a@b", "free").await;
    let shown = quota(&plane, &key).await;
    assert_eq!(shown["plan"], json!({ "name": "free", "display_name": "free", "api": false }));
    assert_eq!((&shown["allowed"], &limit(&shown, "month")["allowed"]), (&json!(false), &json!(false)));
}
