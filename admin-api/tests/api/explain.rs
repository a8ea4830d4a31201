//! `/admin/v1/explain`.

use std::num::NonZeroU32;

use serde_json::{Value, json};
use tollgate_config::{RequestLog, UsageConfig};
use tollgate_domain::{NodeId, Period, RequestRow, RouteName, SECOND_US, UsageBatch};
use tollgate_store::Store;

use crate::harness::{NOON, Plane, TOKEN};
use crate::usage_support::{Counted, count, id, plane, plane_with, report};

async fn explain(plane: &Plane, key: &Value) -> Value {
    plane.get(&format!("/explain/{}", id::<String>(key, "id"))).await.expect(200)
}

fn told(explanation: &Value) -> (Value, Value, Value) {
    let reason = &explanation["reasons"][0]["reason"];
    (explanation["verdict"].clone(), explanation["code"].clone(), reason.clone())
}

#[tokio::test]
async fn a_key_that_works_is_explained_with_all_it_follows_from() {
    let plane = plane().await;
    let key = plane.key("a@b", "pro").await;
    report(&plane, TOKEN, &json!({ "id": "1", "account": "a@b", "type": "migrations", "quantity": 100 }))
        .await
        .expect(200);
    let shown = explain(&plane, &key).await;
    assert_eq!(told(&shown), (json!("allowed"), Value::Null, json!("admitted")));
    assert_eq!(shown["subject"], json!({ "kind": "key", "id": key["id"] }));
    assert_eq!((&shown["account"]["id"], &shown["key"]["state"]), (&key["account"], &json!("active")));
    assert_eq!((&shown["plan"]["name"], &shown["entitlement"]), (&json!("pro"), &json!("plan")));
    let names: Vec<_> =
        shown["limits"].as_array().expect("limits").iter().map(|limit| limit["name"].as_str()).collect();
    assert_eq!(names, ["burst", "day", "month", "migrations", "tokens"].map(Some));
    assert_eq!(shown["meters"]["migrations"]["allowed"], false);
    assert_eq!(shown["conditions"], json!(["the route does not debit the meter `migrations`, which is used up"]));
    assert_eq!(shown["routes"], json!([{ "route": "unmatched", "allowed": true, "code": null, "reason": null }]));
    assert_eq!(shown["request"], Value::Null);
}

#[tokio::test]
async fn each_cause_is_told() {
    let plane = plane().await;
    let pro = plane.key("a@b", "pro").await;
    let revoked = plane.key("a@b", "pro").await;
    plane.operator("DELETE", &format!("/keys/{}", id::<String>(&revoked, "id")), None).await.expect(200);
    assert_eq!(told(&explain(&plane, &revoked).await), (json!("refused"), json!("invalid_key"), json!("revoked")));
    count(&plane, &[Counted::of(&pro, NOON, 10_000)]).await;
    let shown = explain(&plane, &pro).await;
    assert_eq!(told(&shown), (json!("refused"), json!("quota_exceeded"), json!("quota")));
    assert_eq!(shown["status"], 429);
    let detail = shown["reasons"][0]["detail"].as_str().expect("a sentence");
    assert!(detail.contains("`month`") && detail.contains("2026-04-01T00:00:00Z"), "{detail}");
    let free = plane.key("f@b", "free").await;
    assert_eq!(
        told(&explain(&plane, &free).await),
        (json!("refused"), json!("upgrade_required"), json!("plan_without_api"))
    );
    let expiring = plane
        .post("/keys", json!({ "email": "e@b", "plan": "pro", "expires_at": "2026-03-10T13:00:00Z" }))
        .await
        .expect(201);
    plane.clock.advance_secs(3_600);
    assert_eq!(told(&explain(&plane, &expiring).await), (json!("refused"), json!("invalid_key"), json!("expired")));
    plane.operator("POST", "/accounts/a@b/ban", Some(json!({ "reason": "abuse" }))).await.expect(200);
    let shown = explain(&plane, &pro).await;
    assert_eq!(told(&shown), (json!("refused"), json!("account_disabled"), json!("account_banned")));
    plane.operator("DELETE", "/accounts/f@b", None).await.expect(200);
    assert_eq!(told(&explain(&plane, &free).await).0, "refused");
}

#[tokio::test]
async fn a_raw_key_is_looked_up_and_never_repeated() {
    let plane = plane().await;
    let key = plane.key("a@b", "pro").await;
    let raw = key["key"].as_str().expect("a raw key");
    let shown = plane.post("/explain", json!({ "key": format!(" {raw}\n") })).await.expect(200);
    assert_eq!((&shown["subject"], &shown["key"]["id"]), (&json!({ "kind": "raw_key", "id": null }), &key["id"]));
    assert!(!shown.to_string().contains(raw));
    let prefix = tollgate_domain::KeyPrefix::new("tg_live").expect("a good prefix");
    let unknown = tollgate_domain::PlainKey::generate(&prefix, [7; 32]);
    for (text, reason) in [(unknown.reveal(), "unknown"), (&raw[..raw.len() - 1], "malformed"), ("hello", "malformed")]
    {
        let shown = plane.post("/explain", json!({ "key": text })).await.expect(200);
        assert_eq!(told(&shown), (json!("refused"), json!("invalid_key"), json!(reason)), "{text}");
        assert_eq!((&shown["account"], &shown["status"]), (&Value::Null, &json!(403)));
        assert!(!shown.to_string().contains(text), "{shown}");
    }
    for (body, expected) in
        [(json!({}), "#/key"), (json!({ "key": 5 }), "#/key"), (json!({ "key": "x", "id": 1 }), "#/id")]
    {
        assert_eq!(plane.post("/explain", body).await.pointers(), [expected]);
    }
    let problem = plane.get(&format!("/explain/{raw}")).await.problem(404, "not_found");
    assert!(!problem.to_string().contains(raw), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("body of POST")), "{problem}");
}

#[tokio::test]
async fn a_kept_request_is_told_and_what_would_become_of_it_now() {
    let plane = plane_with(UsageConfig { request_log: RequestLog::All, ..UsageConfig::default() }).await;
    let key = plane.key("a@b", "pro").await;
    let row = |request: &str, status, reason: Option<&str>| RequestRow {
        request: request.into(),
        at: NOON,
        account: id(&key, "account"),
        key: id(&key, "id"),
        route: RouteName::new("events").expect("a good name"),
        method: "POST".into(),
        path: "/events".into(),
        status,
        duration_us: 12_500,
        units: u64::from(status == 200),
        period: (status == 200).then(|| Period::calendar_month(NOON)),
        reason: reason.map(Into::into),
    };
    let requests = vec![row("req-1", 200, None), row("req-2", 429, Some("burst"))];
    let node = NodeId::new(NOON, [4; 10]);
    let batch = UsageBatch { node, sequence: 1, start: NOON + -SECOND_US, end: NOON, lines: Vec::new(), requests };
    assert!(plane.store.store_batch(&batch).await.expect("it answers"));
    let shown = plane.get("/explain/req-1").await.expect(200);
    assert_eq!(shown["subject"], json!({ "kind": "request", "id": "req-1" }));
    let kept = &shown["request"];
    assert_eq!((&kept["status"], &kept["duration_ms"], &kept["units"]), (&json!(200), &json!(12.5), &json!(1)));
    assert_eq!(
        (&kept["node"], &kept["reason"], &kept["code_now"]),
        (&json!(node.to_string()), &Value::Null, &Value::Null)
    );
    assert_eq!(shown["key"]["id"], key["id"]);
    plane.operator("DELETE", &format!("/keys/{}", id::<String>(&key, "id")), None).await.expect(200);
    let kept = plane.get("/explain/req-2").await.expect(200)["request"].clone();
    assert_eq!((&kept["reason"], &kept["code_now"]), (&json!("burst"), &json!("invalid_key")));
    assert!(kept["detail"].as_str().is_some_and(|detail| detail.contains("burst")), "{kept}");
}

#[tokio::test]
async fn an_unknown_request_says_what_to_switch_on() {
    for (request_log, part) in [
        (RequestLog::Off, "set `request_log = \"all\"`"),
        (RequestLog::Sampled(NonZeroU32::new(100).expect("not zero")), "one in 100 and every refused one"),
        (RequestLog::All, "for 30 days"),
    ] {
        let plane = plane_with(UsageConfig { request_log, ..UsageConfig::default() }).await;
        for id in ["req-9", &"x".repeat(500)] {
            let problem = plane.get(&format!("/explain/{id}")).await.problem(404, "not_found");
            assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(part)), "{problem}");
        }
        let unknown = tollgate_domain::KeyId::new(NOON, [8; 10]);
        let problem = plane.get(&format!("/explain/{unknown}")).await.problem(404, "not_found");
        assert_eq!(problem["detail"], "There is no such key");
    }
}
