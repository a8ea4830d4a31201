//! `/admin/v1/import/*`.

use serde_json::{Value, json};
use tollgate_config::{KeysConfig, Settings};
use tollgate_domain::{KeyHasher, ShapePattern};
use tollgate_store::Change;

use crate::harness::Plane;

fn hash(raw: &str) -> String {
    KeyHasher::new(None).hash(raw.as_bytes()).to_string()
}

/// `(line, column)` of every error.
fn places(problem: &Value) -> Vec<(u64, &str)> {
    let errors = problem["errors"].as_array().expect("errors");
    errors
        .iter()
        .map(|error| (error["line"].as_u64().expect("a line"), error["column"].as_str().expect("a column")))
        .collect()
}

#[tokio::test]
async fn keys_are_taken_over_with_what_they_have_used_and_work_at_once() {
    let also_accept = vec![ShapePattern::new("rk_*").expect("a good pattern")];
    let settings = Settings { keys: KeysConfig { also_accept, ..KeysConfig::default() }, ..Settings::default() };
    let plane = Plane::with(settings).await;
    let rows = json!({ "rows": [
        { "line": 2, "key_hash": hash("rk_one"), "email": "a@b", "plan": "pro", "status": "active", "name": "first",
          "limit": "500", "used": "120", "cycle_start": "2026-03-01", "expires_at": "" },
        { "line": 3, "key_hash": hash("rk_two").to_uppercase(), "email": "A@B", "used": 30, "cycle_start": "2026-03-02T10:00:00Z" },
        { "line": 4, "key_hash": hash("rk_three"), "email": "c@d", "plan": "team", "status": "Revoked", "limit": "unlimited" },
    ]});
    let report = plane.post("/import/keys", rows.clone()).await.expect(200);
    let expected =
        json!({ "rows": 3, "accounts_created": 2, "accounts_updated": 0, "keys_created": 3, "keys_known": 0 });
    assert_eq!(report, expected);
    let heard = plane.heard.take();
    let keys = heard.iter().filter(|change| matches!(change, Change::Key(_))).count();
    let charges = heard.iter().filter(|change| matches!(change, Change::Usage { .. })).count();
    assert_eq!((keys, charges), (3, 2), "{heard:?}");

    let me = plane.customer("/v1/me", &[("x-api-key", "rk_one")]).await.expect(200);
    assert_eq!((&me["plan"]["name"], &me["quota"]["used"]), (&json!("pro"), &json!(150)));
    let quota = plane.customer("/v1/quota", &[("x-api-key", "rk_one")]).await.expect(200);
    let cap = quota["limits"].as_array().expect("limits").iter().find(|limit| limit["name"] == "key-month");
    assert_eq!(cap.map(|cap| (&cap["used"], &cap["limit"])), Some((&json!(120), &json!(500))));
    plane.customer("/v1/me", &[("x-api-key", "rk_three")]).await.problem(403, "invalid_key");

    let again = plane.post("/import/keys", rows).await.expect(200);
    assert_eq!((&again["keys_known"], &again["keys_created"]), (&json!(3), &json!(0)));
    let me = plane.customer("/v1/me", &[("x-api-key", "rk_one")]).await.expect(200);
    assert_eq!(me["quota"]["used"], 150, "nothing is charged twice");
}

#[tokio::test]
async fn every_bad_row_is_told_at_once_and_none_is_taken_over() {
    let plane = Plane::start().await;
    let good = hash("rk_good");
    let rows = json!({ "rows": [
        { "line": 2, "key_hash": good, "email": "good@b", "plan": "pro" },
        { "line": 3, "key_hash": "rk_raw_secret", "email": "a@b" },
        { "line": 4, "email": "a@b" },
        { "line": 5, "key_hash": hash("5"), "email": "nobody" },
        { "line": 6, "key_hash": hash("6"), "email": "a@b", "plan": "gold" },
        { "line": 7, "key_hash": hash("7"), "email": "a@b", "status": "lost", "used": "-1", "limit": "many" },
        { "line": 8, "key_hash": hash("8"), "email": "a@b", "cycle_start": "2027-01-01", "expires_at": "soon" },
        { "line": 9, "key_hash": good.to_uppercase(), "email": "a@b" },
        { "line": 10, "key_hash": hash("10"), "email": "GOOD@b", "plan": "team" },
        { "line": 11, "key_hash": hash("11"), "email": "a@b", "colour": "red" },
        { "line": 12, "key_hash": hash("12"), "email": "a@b", "used": [1] },
    ]});
    let problem = plane.post("/import/keys", rows).await.problem(422, "invalid_fields");
    assert_eq!(
        places(&problem),
        [
            (3, "key_hash"),
            (4, "key_hash"),
            (5, "email"),
            (6, "plan"),
            (7, "status"),
            (7, "limit"),
            (7, "used"),
            (8, "cycle_start"),
            (8, "expires_at"),
            (9, "key_hash"),
            (10, "plan"),
            (11, "colour"),
            (12, "used"),
        ]
    );
    assert_eq!(problem["errors"][0]["pointer"], "#/rows/1/key_hash");
    assert!(!problem.to_string().contains("rk_raw_secret"), "a raw key in the wrong place is not repeated");
    assert!(problem["errors"][9]["detail"].as_str().is_some_and(|detail| detail.contains("line 2")), "{problem:#}");
    assert_eq!(plane.get("/accounts").await.expect(200)["items"], json!([]));
    assert_eq!(plane.heard.take(), []);
}

#[tokio::test]
async fn bcrypt_hashes_are_refused_with_a_count_and_advice() {
    let plane = Plane::start().await;
    let bcrypt = |version: &str| format!("$2{version}$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy");
    let mut rows: Vec<_> = ["a", "b", "y"]
        .iter()
        .zip(2..)
        .map(|(version, line)| json!({ "line": line, "key_hash": bcrypt(version), "email": "a@b" }))
        .collect();
    rows.push(json!({ "line": 5, "key_hash": hash("5"), "email": "a@b" }));
    let mut problem = plane.post("/import/keys", json!({ "rows": rows })).await.problem(422, "invalid_fields");
    assert_eq!((&problem["bcrypt"], &problem["rows"]), (&json!(3), &json!(4)));
    let whole = problem["errors"].as_array_mut().and_then(Vec::pop).expect("what holds for the whole file comes last");
    assert_eq!(places(&problem), [(2, "key_hash"), (3, "key_hash"), (4, "key_hash")]);
    assert_eq!((&whole["pointer"], whole.get("line")), (&json!("#/rows"), None));
    for text in [&whole["detail"], &problem["detail"]] {
        let text = text.as_str().expect("a text");
        assert!(text.contains("3 of 4 rows hold bcrypt hashes") && text.contains("make new keys"), "{text}");
    }
}

#[tokio::test]
async fn bodies_that_hold_no_rows_are_refused() {
    let plane = Plane::start().await;
    for path in ["/import/keys", "/import/accounts"] {
        for (body, pointers) in [
            (json!({}), vec!["#/rows"]),
            (json!({ "rows": [] }), vec!["#/rows"]),
            (json!({ "rows": "a,b" }), vec!["#/rows"]),
            (json!({ "rows": [7, null] }), vec!["#/rows/0", "#/rows/1"]),
            (json!({ "rows": [{ "email": "a@b", "key_hash": hash("x"), "line": "2" }] }), vec![]),
            (json!({ "rows": [], "dry_run": true }), vec!["#/dry_run"]),
        ] {
            let answer = plane.post(path, body.clone()).await;
            if pointers.is_empty() {
                let found = answer.pointers();
                assert!(found.contains(&"#/rows/0/line".to_owned()), "{found:?}");
            } else {
                assert_eq!(answer.pointers(), pointers, "{path} {body}");
            }
        }
    }
}

#[tokio::test]
async fn accounts_are_taken_over_with_their_stripe_ids() {
    let plane = Plane::start().await;
    plane.post("/accounts", json!({ "email": "known@b" })).await.expect(201);
    plane.heard.take();
    let rows = json!({ "rows": [
        { "line": 2, "email": "a@b", "name": "Ada", "plan": "pro", "stripe_customer_id": "cus_1", "subscription": "sub_1" },
        { "line": 3, "email": "known@b", "plan": "team" },
        { "line": 4, "email": "plain@b" },
    ]});
    let report = plane.post("/import/accounts", rows).await.expect(200);
    assert_eq!((&report["accounts_created"], &report["accounts_updated"]), (&json!(2), &json!(1)));
    assert!(plane.heard.take().iter().any(|change| matches!(change, Change::Account(_))));
    let shown = plane.get("/accounts/a@b").await.expect(200);
    assert_eq!((&shown["name"], &shown["plan"]["assigned"]), (&json!("Ada"), &json!("pro")));
    assert_eq!((&shown["stripe_customer_id"], &shown["subscription"]), (&json!("cus_1"), &json!("sub_1")));
    assert_eq!(plane.get("/accounts/known@b").await.expect(200)["plan"]["assigned"], "team");
}

#[tokio::test]
async fn bad_rows_with_accounts_are_told_at_once() {
    let plane = Plane::start().await;
    let rows = json!({ "rows": [
        { "line": 2, "email": "a@b", "stripe_customer_id": "cus_1" },
        { "line": 3, "email": "A@B" },
        { "line": 4, "email": "c@d", "stripe_customer_id": "cus_1" },
        { "line": 5, "email": "e@f", "stripe_customer_id": "cus 1", "subscription": "sub\n1", "plan": "public" },
        { "line": 6, "name": "nobody" },
    ]});
    let problem = plane.post("/import/accounts", rows).await.problem(422, "invalid_fields");
    let mut found = places(&problem);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            (3, "email"),
            (4, "stripe_customer_id"),
            (5, "plan"),
            (5, "stripe_customer_id"),
            (5, "subscription"),
            (6, "email")
        ]
    );
    assert_eq!(plane.get("/accounts").await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn an_import_may_be_larger_than_other_calls() {
    let plane = Plane::start().await;
    let rows: Vec<_> = (0..12_000)
        .map(|number| json!({ "line": number + 2, "key_hash": hash(&number.to_string()), "email": format!("{}@b", number % 50) }))
        .collect();
    let body = json!({ "rows": rows });
    assert!(body.to_string().len() > 1 << 20);
    assert_eq!(plane.post("/import/keys", body).await.expect(200)["keys_created"], 12_000);
}
