//! `/admin/v1/config` and `/admin/v1/health`.

use serde_json::{Value, json};
use tollgate_admin_api::NodeRecord;
use tollgate_config::{KeysConfig, Secret, Settings};
use tollgate_store::SqliteStore;

use crate::harness::{NOON, Plane};

#[tokio::test]
async fn the_configuration_in_force_is_shown_without_secrets() {
    let keys = KeysConfig { pepper: Some(Secret::new("pepper-of-the-tests")), ..KeysConfig::default() };
    let plane = Plane::with(Settings { keys, ..Settings::default() }).await;
    let shown = plane.get("/config").await.expect(200);
    assert_eq!((&shown["hash"], &shown["last_error"]), (&json!("hash-of-the-tests"), &Value::Null));
    assert_eq!((&shown["loaded_at"], &shown["restart_needed"]), (&json!("2026-03-10T12:00:00Z"), &json!([])));
    assert_eq!((&shown["default_plan"], &shown["cors"]), (&json!("free"), &Value::Null));
    assert_eq!(shown["settings"]["keys"]["peppered"], true);
    let names: Vec<_> = shown["plans"].as_array().expect("plans").iter().map(|plan| &plan["name"]).collect();
    assert_eq!(names, ["free", "pro", "public", "team"]);
    assert_eq!(shown["plans"][1]["stripe_prices"], json!(["price_pro"]));
    assert!(shown["effective_toml"].as_str().is_some_and(|text| text.contains("[plans.pro]")), "{shown:#}");
    assert!(!shown.to_string().contains("pepper-of-the-tests"));
    assert!(!shown.to_string().contains(crate::harness::TOKEN));
}

#[tokio::test]
async fn a_failed_reload_and_settings_that_wait_for_a_restart_are_told() {
    let plane = Plane::start().await;
    plane.live.apply(crate::harness::policy(), "next".into(), vec!["gateway.listen".into()], NOON);
    plane.live.reject("tollgate.toml:3:1: unknown key `rat`".into());
    let shown = plane.get("/config").await.expect(200);
    assert_eq!(shown["hash"], "next");
    assert_eq!(shown["restart_needed"], json!(["gateway.listen"]));
    assert_eq!(shown["last_error"], "tollgate.toml:3:1: unknown key `rat`");
    assert_eq!(shown["failed_reloads"], 1);
}

#[tokio::test]
async fn routes_and_cors_are_shown_as_the_file_has_them() {
    let text = r#"
        [plans.pro]
        rank = 1
        [[routes]]
        name = "search"
        path = "/events/{id}/*"
        methods = ["GET", "POST"]
        headers = { x-tier = "2", x-beta = true }
        min_plan = "pro"
        cost = 5
        [cors]
        origins = ["https://example.com"]
        methods = ["GET"]
        headers = ["*"]
        credentials = true
    "#;
    let loaded =
        tollgate_config::parse(text, std::path::Path::new("tollgate.toml"), &tollgate_config::ProcessEnvironment)
            .expect("a good file");
    let plane = Plane::start().await;
    plane.live.apply(loaded.config.policy, "next".into(), Vec::new(), NOON);
    let shown = plane.get("/config").await.expect(200);
    insta::assert_json_snapshot!(json!([shown["routes"], shown["cors"]]), @r#"
    [
      [
        {
          "access": "key",
          "cost": 5,
          "cost_is_settled": false,
          "feature": null,
          "headers": [
            {
              "name": "x-beta",
              "value": true
            },
            {
              "name": "x-tier",
              "value": "2"
            }
          ],
          "meter": null,
          "methods": [
            "GET",
            "HEAD",
            "POST"
          ],
          "min_plan": "pro",
          "name": "search",
          "path": "/events/{id}/*",
          "query": []
        }
      ],
      {
        "credentials": true,
        "headers": [
          "*"
        ],
        "methods": [
          "GET"
        ],
        "origins": [
          "https://example.com"
        ]
      }
    ]
    "#);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_503_with_retry_after_and_its_cause_stays_inside() {
    let plane = Plane::start().await;
    let health = plane.get("/health").await.expect(200);
    assert_eq!((&health["store"], &health["version"]), (&json!("ok"), &json!("0.0.0-test")));
    SqliteStore::close(&plane.store).await;
    assert_eq!(plane.get("/health").await.expect(503)["store"], "unavailable");
    let any = "acc_0000000000000000000000";
    for (method, path, body) in [
        ("GET", "/accounts".to_owned(), None),
        ("GET", format!("/accounts/{any}"), None),
        ("POST", "/accounts".to_owned(), Some(json!({ "email": "a@b" }))),
        ("POST", "/keys".to_owned(), Some(json!({ "email": "a@b" }))),
        ("GET", "/audit".to_owned(), None),
        ("POST", "/import/accounts".to_owned(), Some(json!({ "rows": [{ "email": "a@b" }] }))),
    ] {
        let answer = plane.operator(method, &path, body).await;
        assert_eq!(answer.header("retry-after"), "1", "{method} {path}");
        let problem = answer.problem(503, "store_unavailable");
        assert_eq!(problem["detail"], "Key store unavailable");
    }
    plane.get("/config").await.expect(200);
}

#[tokio::test]
async fn nodes_are_listed_with_what_they_have_in_force_and_whether_they_agree() {
    let plane = Plane::start().await;
    let node = |id: &str, config_hash: &str| NodeRecord {
        id: id.into(),
        role: "gateway".into(),
        version: "0.0.0-test".into(),
        config_hash: config_hash.into(),
        started_at: NOON,
        seen_at: NOON,
    };
    let list = |nodes| *plane.nodes.0.lock().expect("no test panics while it holds this") = nodes;
    list(Some(vec![node("a", "one"), node("b", "one")]));
    let agreed = plane.get("/nodes").await.expect(200);
    assert_eq!(agreed["same_config"], true);
    assert_eq!(
        agreed["items"][1],
        json!({
            "id": "b", "role": "gateway", "version": "0.0.0-test", "config_hash": "one",
            "started_at": NOON.to_string(), "seen_at": NOON.to_string(),
        })
    );
    list(Some(vec![node("a", "one"), node("b", "two")]));
    assert_eq!(plane.get("/nodes").await.expect(200)["same_config"], false);
    list(None);
    plane.get("/nodes").await.problem(503, "store_unavailable");
}
