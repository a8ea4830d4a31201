//! `plan diff` against a server that shows a small deployment: what is fetched, and who is named.

use axum::extract::{Path as PathSegments, Query};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::*;
use crate::client::Token;
use crate::client::tests::{install_crypto_provider, serve};

const IN_FORCE: &str = r#"
[plans.pro]
price = "29 USD/month"
quota = "100/month"
features = ["llm"]
[plans.old]
[[routes]]
name = "llm"
path = "/llm"
feature = "llm"
"#;

const NEW: &str = r#"
[store]
database = "${NOT_SET_HERE}"
[accounts]
default_plan = "pro"
[plans.pro]
price = "39 USD/month"
quota = "50/month"
[[routes]]
name = "llm"
path = "/llm"
feature = "llm"
"#;

fn account(number: u8, plan: &str) -> Value {
    json!({ "id": id(number), "email": format!("{number}@example.com"), "rolling_anchor": "2026-01-01T00:00:00Z", "plan": { "assigned": plan } })
}

fn id(number: u8) -> String {
    tollgate_domain::AccountId::new(Timestamp::EPOCH, [number; 10]).to_string()
}

fn line(place: i64, calls: u64) -> Value {
    let key = KeyId::new(Timestamp::EPOCH, [1; 10]).to_string();
    json!({
        "line": place, "at": now().plus_micros(-1_000_000 + place).to_string(), "meter": "calls", "key": key, "calls": calls,
        "units_debited": calls, "units": calls,
        "period": { "start": now().plus_micros(-9_000_000).to_string(), "end": now().plus_micros(90_000_000_000).to_string() },
    })
}

async fn deployment() -> AdminClient {
    install_crypto_provider();
    let lines = |PathSegments(account): PathSegments<String>, Query(query): Query<HashMap<String, String>>| async move {
        assert!(query.contains_key("from") && query.contains_key("to"), "{query:?}");
        // The first account used 40 units in two pages, the second 60, the third none.
        let items = match (account, query.get("cursor").map(String::as_str)) {
            (account, None) if account == id(1) => json!({ "items": [line(1, 20)], "next_cursor": "1" }),
            (account, Some("1")) if account == id(1) => json!({ "items": [line(2, 20)], "next_cursor": null }),
            (account, None) if account == id(2) => json!({ "items": [line(3, 60)], "next_cursor": null }),
            _ => json!({ "items": [], "next_cursor": null }),
        };
        Json(items)
    };
    let export = |Query(query): Query<HashMap<String, String>>| async move {
        let row = |meter: &str, calls: u64| {
            json!({ "account": query["account"], "hour": "2026-01-01T00:00:00Z", "meter": meter, "key": "key_1", "route": "llm",
                "status": "2xx", "calls": calls, "units_charged": calls, "units_refunded": 0 })
        };
        let rows = if query["account"] == id(1) {
            vec![row("calls", 7), row("tokens", 9), row("calls", 1)]
        } else {
            Vec::new()
        };
        Json(json!({ "items": rows, "next_cursor": null }))
    };
    let accounts = json!({ "items": [account(1, "pro"), account(2, "pro"), account(3, "old")], "next_cursor": null });
    let router = Router::new()
        .route("/admin/v1/config", get(|| async { Json(json!({ "effective_toml": IN_FORCE })) }))
        .route("/admin/v1/accounts", get(move || async move { Json(accounts) }))
        .route("/admin/v1/accounts/{account}/lines", get(lines))
        .route("/admin/v1/usage/export", get(export));
    AdminClient::new(serve(router).await, Token::Known("right".to_owned())).expect("a client")
}

async fn compared(replay: bool) -> Value {
    let client = deployment().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("new.toml");
    std::fs::write(&file, NEW).expect("written");
    let (old, new) = (side_in_force(&client).await.expect("in force"), new_side(&file).expect("new"));
    let stretch = (now().plus_micros(-60_000_000), now());
    let report = report(&client, &old, &new, replay.then_some(stretch)).await.expect("compared");
    report.to_json()
}

#[tokio::test]
async fn who_would_be_refused_more_is_named_with_limit_and_route() {
    let report = compared(true).await;
    let more = report["refused_more"].as_array().expect("a list");
    let named: Vec<_> =
        more.iter().map(|one| (text(one, "/account"), text(one, "/by/0/limit"), text(one, "/calls"))).collect();
    let expected = [(id(1), "route llm", "8"), (id(2), "month", "10")];
    assert_eq!(named, expected.map(|(id, limit, calls)| (id, limit.to_owned(), calls.to_owned())));
    assert_eq!(report["refused_less"], json!([]));
    assert_eq!(report["accounts"], 3);
}

#[tokio::test]
async fn prices_moves_and_removed_plans_are_told_without_a_replay() {
    let report = compared(false).await;
    assert_eq!((&report["refused_more"], &report["replayed"]), (&json!([]), &Value::Null));
    let moves: Vec<_> = report["moves"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| ["/plan/from", "/plan/to", "/accounts", "/price/from", "/price/to"].map(|field| text(one, field)))
        .collect();
    let expected = [["old", "pro", "1", "", "39 USD/month"], ["pro", "pro", "2", "29 USD/month", "39 USD/month"]];
    assert_eq!(moves, expected.map(|one| one.map(ToOwned::to_owned)));
    let changes: Vec<_> = report["plans"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (text(one, "/plan"), text(one, "/change")))
        .collect();
    assert_eq!(changes, [("old".to_owned(), "removed".to_owned()), ("pro".to_owned(), "changed".to_owned())]);
}
