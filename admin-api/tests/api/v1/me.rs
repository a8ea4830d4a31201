//! `GET /v1/me`, and whose key opens the customer's side at all.

use http::StatusCode;
use serde_json::{Value, json};
use tollgate_config::{GatewayConfig, KeysConfig, Secret, Settings};

use crate::harness::{Plane, blotted};

const CHALLENGE: &str = "ApiKey realm=\"api\", header=\"x-api-key\", Bearer realm=\"api\"";

#[tokio::test]
async fn a_key_shows_its_account_plan_and_quota() {
    let plane = Plane::start().await;
    plane.post("/accounts", json!({ "email": "ada@example.com", "name": "Ada", "plan": "pro" })).await.expect(201);
    let key = plane.key("ada@example.com", "pro").await;
    let raw = key["key"].as_str().expect("a raw key");
    plane.record(key["account"].as_str().expect("an id"), key["id"].as_str().expect("an id"), 250, 60).await;
    let answer = plane.customer("/v1/me", &[("x-api-key", raw)]).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    insta::assert_json_snapshot!(blotted(answer.expect(200), &["/account", "/key/id", "/key/masked"]), @r#"
    {
      "account": "…",
      "email": "ada@example.com",
      "key": {
        "expires_at": null,
        "id": "…",
        "masked": "…",
        "name": null,
        "state": "active"
      },
      "name": "Ada",
      "plan": {
        "api": true,
        "display_name": "Pro",
        "name": "pro"
      },
      "quota": {
        "allowed": true,
        "limit": 10000,
        "percentage": 2.5,
        "period": {
          "end": "2026-04-01T00:00:00Z",
          "start": "2026-03-01T00:00:00Z"
        },
        "remaining": 9750,
        "resets_at": "2026-04-01T00:00:00Z",
        "used": 250
      }
    }
    "#);
}

#[tokio::test]
async fn the_key_is_read_where_the_gateway_reads_it() {
    let keys = KeysConfig {
        header: http::HeaderName::from_static("x-token"),
        query: Some("api_key".into()),
        pepper: Some(Secret::new("salt")),
        ..KeysConfig::default()
    };
    let plane = Plane::with(Settings { keys, ..Settings::default() }).await;
    let (one, other) = (plane.key("a@b", "pro").await, plane.key("c@d", "pro").await);
    let (one, other) = (one["key"].as_str().expect("a raw key"), other["key"].as_str().expect("a raw key"));
    let bearer = format!("bearer {one}");
    let query = format!("/v1/me?x=1&api_key={one}");
    for (path, headers) in [
        ("/v1/me", vec![("x-token", one)]),
        ("/v1/me", vec![("authorization", bearer.as_str())]),
        ("/v1/me", vec![("authorization", bearer.as_str()), ("x-token", one)]),
        ("/v1/me", vec![("authorization", "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x"), ("x-token", one)]),
        (query.as_str(), vec![]),
    ] {
        assert_eq!(plane.customer(path, &headers).await.expect(200)["email"], "a@b", "{path} {headers:?}");
    }
    for headers in [
        vec![("x-token", one), ("x-token", other)],
        vec![("authorization", bearer.as_str()), ("x-token", other)],
        vec![("x-token", one), ("x-token", "")],
    ] {
        plane.customer("/v1/me", &headers).await.problem(403, "invalid_key");
    }
    let problem = plane.customer("/v1/me", &[("x-api-key", one)]).await.problem(401, "missing_key");
    assert_eq!(problem["detail"], "Missing x-token");
}

#[tokio::test]
async fn without_a_key_401_and_with_a_bad_one_403_in_the_gateways_words() {
    let plane = Plane::start().await;
    let key = plane.key("a@b", "pro").await;
    let raw = key["key"].as_str().expect("a raw key");
    for path in ["/v1/me", "/v1/quota"] {
        let answer = plane.customer(path, &[]).await;
        assert_eq!(answer.header("www-authenticate"), CHALLENGE);
        assert_eq!(answer.problem(401, "missing_key")["detail"], "Missing x-api-key");
        let unknown = tollgate_domain::PlainKey::generate(
            &tollgate_domain::KeyPrefix::new("tg_live").expect("a good prefix"),
            [7; 32],
        );
        let long = "k".repeat(10_000);
        for bad in ["", "nonsense", &raw[..raw.len() - 1], &format!("{raw}x"), unknown.reveal(), &long] {
            let problem = plane.customer(path, &[("x-api-key", bad)]).await.problem(403, "invalid_key");
            assert_eq!(problem["detail"], "Invalid or revoked API key");
        }
    }
    let forged = [("x-tollgate-account", key["account"].as_str().expect("an id")), ("x-tollgate-plan", "pro")];
    plane.customer("/v1/me", &forged).await.problem(401, "missing_key");
}

#[tokio::test]
async fn the_status_of_a_bad_key_and_the_address_to_get_one_are_configured() {
    let gateway = GatewayConfig {
        invalid_key_status: StatusCode::UNAUTHORIZED,
        signup_url: Some("https://example.com/signup".parse().expect("a URL")),
        ..GatewayConfig::default()
    };
    let plane = Plane::with(Settings { gateway, ..Settings::default() }).await;
    let answer = plane.customer("/v1/me", &[("x-api-key", "nonsense")]).await;
    assert_eq!(answer.header("www-authenticate"), CHALLENGE);
    answer.problem(401, "invalid_key");
    let problem = plane.customer("/v1/me", &[]).await.problem(401, "missing_key");
    assert_eq!(problem["signup_url"], "https://example.com/signup");
}

#[tokio::test]
async fn keys_that_ended_open_nothing_and_those_in_grace_still_do() {
    let plane = Plane::start().await;
    let body = json!({ "email": "a@b", "plan": "team", "expires_at": "2026-03-10T12:10:00Z" });
    let expiring = plane.post("/keys", body).await.expect(201);
    let revoked = plane.key("a@b", "team").await;
    let rotated = plane.key("a@b", "team").await;
    let id = |key: &Value| key["id"].as_str().expect("an id").to_owned();
    plane.operator("DELETE", &format!("/keys/{}", id(&revoked)), None).await.expect(200);
    plane.post(&format!("/keys/{}/rotate", id(&rotated)), json!({ "grace": "5m" })).await.expect(201);
    let state_of = async |key: &Value| {
        let answer = plane.customer("/v1/me", &[("x-api-key", key["key"].as_str().expect("a raw key"))]).await;
        (answer.status.as_u16(), answer.body["key"]["state"].clone())
    };
    assert_eq!(state_of(&expiring).await, (200, json!("active")));
    assert_eq!(state_of(&revoked).await, (403, Value::Null));
    assert_eq!(state_of(&rotated).await, (200, json!("in_grace")));
    plane.clock.advance_secs(600);
    assert_eq!(state_of(&expiring).await.0, 403);
    assert_eq!(state_of(&rotated).await.0, 403);
}

#[tokio::test]
async fn a_banned_account_is_refused_and_one_without_access_may_look_at_itself() {
    let plane = Plane::start().await;
    let key = plane.key("a@b", "free").await;
    let raw = key["key"].as_str().expect("a raw key");
    let me = plane.customer("/v1/me", &[("x-api-key", raw)]).await.expect(200);
    assert_eq!(me["plan"], json!({ "name": "free", "display_name": "free", "api": false }));
    plane.operator("POST", "/accounts/a@b/ban", None).await.expect(200);
    let problem = plane.customer("/v1/me", &[("x-api-key", raw)]).await.problem(403, "account_disabled");
    assert_eq!(problem["detail"], "Account disabled");
    plane.operator("POST", "/accounts/a@b/unban", None).await.expect(200);

    let mut policy = crate::harness::policy();
    policy.plans = tollgate_domain::PlanTable::default();
    plane.live.apply(policy, "none".into(), Vec::new(), crate::harness::NOON);
    let me = plane.customer("/v1/me", &[("x-api-key", raw)]).await.expect(200);
    assert_eq!((&me["plan"], &me["quota"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_key_shows_its_own_account_only() {
    let plane = Plane::start().await;
    let (one, other) = (plane.key("a@b", "pro").await, plane.key("c@d", "team").await);
    let raw = one["key"].as_str().expect("a raw key");
    for path in [
        "/v1/me".to_owned(),
        format!("/v1/me?account={}", other["account"].as_str().expect("an id")),
        "/v1/me?email=c@d".to_owned(),
    ] {
        let me = plane.customer(&path, &[("x-api-key", raw)]).await.expect(200);
        assert_eq!((&me["account"], &me["email"]), (&one["account"], &json!("a@b")), "{path}");
    }
    plane.customer("/admin/v1/accounts", &[("x-api-key", raw)]).await.problem(401, "unauthorized");
    let bearer = format!("Bearer {raw}");
    plane.customer("/admin/v1/accounts", &[("authorization", &bearer)]).await.problem(401, "unauthorized");
}
