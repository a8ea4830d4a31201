//! `GET /v1/usage`, and what operators see of the same.

use axum::body::{Body, to_bytes};
use http::Request;
use serde_json::{Value, json};
use tollgate_domain::{DAY_US, HOUR_US, StatusClass};
use tower::ServiceExt;

use crate::harness::{NOON, Plane, TOKEN};
use crate::usage_support::{Counted, count, id, plane, report, used};

async fn history(plane: &Plane, key: &Value, query: &str) -> Value {
    let raw = key["key"].as_str().expect("a raw key");
    plane.customer(&format!("/v1/usage?{query}"), &[("x-api-key", raw)]).await.expect(200)
}

fn sum(history: &Value, meter: &str, field: &str) -> i64 {
    let rows = history["rows"].as_array().expect("rows").iter().filter(|row| row["meter"] == meter);
    rows.map(|row| row[field].as_i64().expect("a number")).sum()
}

/// Two keys' calls over some days, of two routes, some of them failed and given back, and tokens beside them.
async fn two_keys(plane: &Plane) -> (Value, Value) {
    let (one, two) = (plane.key("a@b", "pro").await, plane.key("a@b", "pro").await);
    let calls = [
        Counted::of(&one, NOON, 30),
        Counted::of(&one, NOON + -HOUR_US, 5),
        Counted { route: "reports", charged: 50, ..Counted::of(&two, NOON + -DAY_US, 10) },
        Counted { status: StatusClass::ServerError, refunded: 4, ..Counted::of(&two, NOON + -2 * DAY_US, 4) },
        Counted { meter: Some("tokens"), charged: 1_200, ..Counted::of(&one, NOON, 3) },
    ];
    count(plane, &calls).await;
    (one, two)
}

#[tokio::test]
async fn the_sums_of_every_grouping_are_the_ledgers() {
    let plane = plane().await;
    let (one, _) = two_keys(&plane).await;
    let (calls, tokens) = (used(&plane, &one, None).await, used(&plane, &one, Some("tokens")).await);
    assert_eq!((calls, tokens), (85, 1_200));
    for step in ["hour", "day", "month"] {
        for group in ["", "&group_by=route", "&group_by=key", "&group_by=status", "&group_by=meter"] {
            let shown = history(&plane, &one, &format!("step={step}{group}&from=2026-03-08T00:00:00Z")).await;
            assert_eq!((sum(&shown, "calls", "units"), sum(&shown, "calls", "calls")), (85, 49), "{step} {group}");
            assert_eq!(sum(&shown, "tokens", "units"), 1_200, "{step} {group}");
            let totals = json!({
                "calls": { "calls": 49, "units": 85, "units_refunded": 4 },
                "tokens": { "calls": 3, "units": 1_200, "units_refunded": 0 },
            });
            assert_eq!(shown["totals"], totals, "{step} {group}");
        }
    }
}

#[tokio::test]
async fn rows_are_whole_steps_told_apart_and_steps_without_use_are_left_out() {
    let plane = plane().await;
    let (one, two) = two_keys(&plane).await;
    let shown = history(&plane, &one, "group_by=route&meter=calls").await;
    insta::assert_json_snapshot!(shown, @r#"
    {
      "from": "2026-02-09T00:00:00Z",
      "group_by": "route",
      "rows": [
        {
          "at": "2026-03-08T00:00:00Z",
          "calls": 4,
          "group": "events",
          "meter": "calls",
          "units": 0,
          "units_refunded": 4
        },
        {
          "at": "2026-03-09T00:00:00Z",
          "calls": 10,
          "group": "reports",
          "meter": "calls",
          "units": 50,
          "units_refunded": 0
        },
        {
          "at": "2026-03-10T00:00:00Z",
          "calls": 35,
          "group": "events",
          "meter": "calls",
          "units": 35,
          "units_refunded": 0
        }
      ],
      "step": "day",
      "to": "2026-03-11T00:00:00Z",
      "totals": {
        "calls": {
          "calls": 49,
          "units": 85,
          "units_refunded": 4
        }
      }
    }
    "#);
    let shown = history(&plane, &one, &format!("key={}", id::<String>(&two, "id"))).await;
    assert_eq!(shown["totals"]["calls"]["calls"], 14);
    let shown = history(&plane, &one, "route=reports&group_by=status").await;
    assert_eq!((&shown["rows"][0]["group"], sum(&shown, "calls", "units")), (&json!("2xx"), 50));
    let shown = history(&plane, &one, "meter=tokens&from=2026-03-10&to=2026-03-11").await;
    assert_eq!(shown["totals"], json!({ "tokens": { "calls": 3, "units": 1_200, "units_refunded": 0 } }));
    let shown = history(&plane, &one, "from=2026-02-01&to=2026-02-02").await;
    assert_eq!(shown["rows"], json!([]));
    assert_eq!(shown["totals"], json!({ "calls": { "calls": 0, "units": 0, "units_refunded": 0 } }));
}

#[tokio::test]
async fn each_bad_parameter_is_named() {
    let plane = plane().await;
    let key = plane.key("a@b", "pro").await;
    let raw = key["key"].as_str().expect("a raw key");
    for (query, expected) in [
        ("step=week", "step"),
        ("from=soon", "from"),
        ("to=2026-13-01", "to"),
        ("from=2026-03-10&to=2026-03-09", "to"),
        ("from=2027-01-01", "from"),
        ("from=2020-01-01", "from"),
        ("step=hour&from=2026-01-01", "from"),
        ("step=month&from=1900-01-01", "from"),
        ("group_by=colour", "group_by"),
        ("group_by=dimension:", "group_by"),
        ("group_by=dimension:a%20b", "group_by"),
        ("meter=Tokens", "meter"),
        ("key=tg_live_x", "key"),
        ("route=a%20b", "route"),
        ("format=xml", "format"),
        ("dimension.=x", "dimension."),
        ("dimension.a=1&dimension.a=2", "dimension.a"),
        ("step=day&step=hour", "step"),
        ("colour=red", "colour"),
        ("account=acc_1", "account"),
    ] {
        let answer = plane.customer(&format!("/v1/usage?{query}"), &[("x-api-key", raw)]).await;
        assert_eq!(answer.pointers(), [expected], "{query}");
    }
    plane.customer("/v1/usage", &[]).await.problem(401, "missing_key");
}

#[tokio::test]
async fn nobody_sees_anothers_use() {
    let plane = plane().await;
    let (one, two) = two_keys(&plane).await;
    let other = plane.key("c@d", "pro").await;
    assert_eq!(history(&plane, &other, "").await["rows"], json!([]));
    let raw = other["key"].as_str().expect("a raw key");
    for id in [id::<String>(&two, "id"), tollgate_domain::KeyId::new(NOON, [3; 10]).to_string()] {
        plane.customer(&format!("/v1/usage?key={id}"), &[("x-api-key", raw)]).await.problem(404, "not_found");
    }
    let account = id::<String>(&one, "account");
    for path in [format!("/accounts/{account}/usage"), format!("/accounts/{account}/lines"), "/usage/export".into()] {
        plane.customer(&format!("/admin/v1{path}"), &[("x-api-key", raw)]).await.problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn too_many_rows_are_refused_rather_than_cut_off() {
    let plane = plane().await;
    let key = plane.key("a@b", "pro").await;
    let names: Vec<String> = (0..10_001).map(|number| format!("route-{number}")).collect();
    let calls: Vec<_> = names.iter().map(|route| Counted { route, ..Counted::of(&key, NOON, 1) }).collect();
    count(&plane, &calls).await;
    let raw = key["key"].as_str().expect("a raw key");
    let answer = plane.customer("/v1/usage?group_by=route", &[("x-api-key", raw)]).await;
    assert_eq!(answer.pointers(), ["from"]);
    assert_eq!(history(&plane, &key, "").await["totals"]["calls"]["calls"], 10_001);
}

#[tokio::test]
async fn csv_has_a_header_row_and_no_formulas() {
    let plane = plane().await;
    let key = plane.key("a@b", "pro").await;
    let event = json!({
        "id": "1", "account": "a@b", "type": "tokens", "quantity": 7, "dimensions": { "library": "=cmd|' /C calc'!A0" },
    });
    report(&plane, TOKEN, &event).await.expect(200);
    let raw = key["key"].as_str().expect("a raw key");
    for (query, accept) in [("format=csv", "*/*"), ("", "text/csv")] {
        let uri = format!("/v1/usage?group_by=dimension:library&{query}");
        let request = Request::get(uri).header("x-api-key", raw).header("accept", accept);
        let request = request.body(Body::empty()).expect("a good request");
        let response = plane.router.clone().oneshot(request).await.expect("the router answers everything");
        assert_eq!(response.headers()["content-type"], "text/csv; charset=utf-8; header=present");
        let text = to_bytes(response.into_body(), 1 << 20).await.expect("whole");
        let expected = "at,meter,group,calls,units,units_refunded\r\n\
                        2026-03-10T00:00:00Z,tokens,\"'=cmd|' /C calc'!A0\",1,7,0\r\n";
        assert_eq!(std::str::from_utf8(&text).expect("text"), expected);
    }
}

#[tokio::test]
async fn operators_see_every_accounts_history_also_once_it_was_deleted() {
    let plane = plane().await;
    let (one, _) = two_keys(&plane).await;
    let account = id::<String>(&one, "account");
    let own = history(&plane, &one, "").await;
    assert_eq!(plane.get("/accounts/a@b/usage").await.expect(200), own);
    plane.operator("DELETE", "/accounts/a@b", None).await.expect(200);
    assert_eq!(plane.get(&format!("/accounts/{account}/usage")).await.expect(200)["totals"], own["totals"]);
    plane.get("/accounts/a@b/usage").await.problem(404, "not_found");
}

#[tokio::test]
async fn an_export_and_the_ledgers_lines_come_page_by_page_and_whole() {
    let plane = plane().await;
    let (one, two) = two_keys(&plane).await;
    let other = plane.key("c@d", "pro").await;
    count(&plane, &[Counted::of(&other, NOON, 9)]).await;
    let account = id::<String>(&one, "account");
    for (path, field, expected) in [
        ("/usage/export?account=a@b&limit=2".to_owned(), "units_charged", 89),
        ("/usage/export?limit=2".to_owned(), "units_charged", 98),
        (format!("/accounts/{account}/lines?limit=1"), "units", 85),
    ] {
        let (mut cursor, mut units, mut pages) = (String::new(), 0, 0);
        loop {
            let page = plane.get(&format!("{path}{cursor}")).await.expect(200);
            let items = page["items"].as_array().expect("items");
            let calls = items.iter().filter(|item| item["meter"] == "calls");
            units += calls.map(|item| item[field].as_i64().expect("a number")).sum::<i64>();
            pages += 1;
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(units, expected, "{path}");
        assert!(pages > 2, "{path}");
    }
    let lines = plane.get(&format!("/accounts/{account}/lines?from=2026-03-08&to=2026-03-09")).await.expect(200);
    assert_eq!(lines["items"].as_array().map(Vec::len), Some(1));
    assert_eq!((&lines["items"][0]["units"], &lines["items"][0]["key"]), (&json!(0), &two["id"]));
    for (path, expected) in [
        ("/usage/export?cursor=nonsense", "cursor"),
        ("/usage/export?limit=0", "limit"),
        ("/usage/export?from=2026-03-10&to=2026-03-10", "from"),
        ("/accounts/a@b/lines?cursor=x", "cursor"),
        ("/accounts/a@b/lines?limit=10001", "limit"),
    ] {
        assert_eq!(plane.get(path).await.pointers(), [expected], "{path}");
    }
    plane.get("/usage/export?account=x@y").await.problem(404, "not_found");
}
