//! `POST /v1/usage`.

use serde_json::{Value, json};
use tollgate_domain::{Charged, Period};
use tollgate_store::Change;

use crate::harness::{NOON, Plane, TOKEN};
use crate::usage_support::{SERVICE_TOKEN, id, meter, plane, report, report_with, used};

fn statuses(answer: &Value) -> Vec<&str> {
    let results = answer["results"].as_array().expect("results");
    results.iter().map(|result| result["status"].as_str().expect("a status")).collect()
}

async fn quota(plane: &Plane, key: &Value) -> Value {
    plane.customer("/v1/quota", &[("x-api-key", key["key"].as_str().expect("a raw key"))]).await.expect(200)
}

#[tokio::test]
async fn an_event_is_counted_once_told_to_the_gateways_and_seen_in_the_quota() {
    let plane = plane().await;
    let key = plane.key("ada@example.com", "pro").await;
    plane.heard.take();
    let body = json!({ "events": [
        { "id": "e1", "account": "ada@example.com", "type": "migrations" },
        { "id": "e2", "account": id::<String>(&key, "account"), "type": "migrations", "quantity": 4, "meters": { "tokens": 900 } },
        { "id": "e3", "key": id::<String>(&key, "id"), "meters": { "tokens": 100 } },
    ] });
    let answer = report(&plane, SERVICE_TOKEN, &body).await.expect(200);
    assert_eq!(answer["results"][0], json!({ "id": "e1", "status": "recorded" }));
    assert_eq!(statuses(&answer), ["recorded"; 3]);
    assert_eq!(used(&plane, &key, Some("migrations")).await, 5);
    assert_eq!(used(&plane, &key, Some("tokens")).await, 1_000);
    assert_eq!(used(&plane, &key, None).await, 0, "events are no calls");
    let month = Period::calendar_month(NOON);
    let told: i64 = plane
        .heard
        .take()
        .into_iter()
        .map(|change| match change {
            Change::Usage { account, of: Charged::Meter(of), period, units, .. } => {
                assert_eq!((account, period), (id(&key, "account"), month));
                if of == meter("migrations").id() { units } else { 0 }
            }
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(told, 5);
    let shown = quota(&plane, &key).await;
    let expected = json!({
        "used": 5, "limit": 100, "remaining": 95, "percentage": 5.0, "allowed": true,
        "resets_at": "2026-04-01T00:00:00Z",
    });
    assert_eq!(shown["meters"]["migrations"], expected);
    assert_eq!(shown["meters"]["tokens"]["remaining"], "unlimited");

    let again = report(&plane, SERVICE_TOKEN, &body).await.expect(200);
    assert_eq!(statuses(&again), ["known"; 3]);
    let other = json!({ "id": "e1", "account": "ada@example.com", "type": "migrations", "quantity": 2 });
    assert_eq!(statuses(&report(&plane, TOKEN, &other).await.expect(200)), ["conflict"]);
    let twice = json!({ "id": "e9", "account": "ada@example.com", "type": "migrations" });
    let twice = json!({ "events": [twice, twice] });
    assert_eq!(statuses(&report(&plane, TOKEN, &twice).await.expect(200)), ["recorded", "known"]);
    assert_eq!(used(&plane, &key, Some("migrations")).await, 6);
    assert_eq!(plane.heard.take().len(), 1, "what is known is not told again");
}

#[tokio::test]
async fn a_spent_meter_is_shown_as_such_and_still_counts_what_happened() {
    let plane = plane().await;
    let key = plane.key("a@b", "pro").await;
    let event = json!({ "id": "1", "account": "a@b", "type": "migrations", "quantity": 130 });
    assert_eq!(statuses(&report(&plane, TOKEN, &event).await.expect(200)), ["recorded"]);
    let shown = quota(&plane, &key).await;
    let migrations = &shown["meters"]["migrations"];
    assert_eq!((&migrations["used"], &migrations["remaining"]), (&json!(130), &json!(0)));
    assert_eq!((&migrations["allowed"], &migrations["percentage"]), (&json!(false), &json!(130.0)));
    assert_eq!(shown["allowed"], true, "calls that do not take migrations pass");
    let limits = shown["limits"].as_array().expect("limits");
    let limit = limits.iter().find(|limit| limit["name"] == "migrations").expect("it is a limit");
    assert_eq!(
        (&limit["kind"], &limit["scope"], &limit["allowed"]),
        (&json!("meter"), &json!("account"), &json!(false))
    );
}

#[tokio::test]
async fn an_event_stands_in_the_history_when_it_happened_and_is_charged_now() {
    let plane = plane().await;
    let key = plane.key("a@b", "pro").await;
    let body = json!({ "events": [
        { "id": "1", "account": "a@b", "type": "tokens", "quantity": 10, "at": "2026-02-20T10:00:00Z",
          "dimensions": { "library": "numpy", "tier": 1 } },
        { "id": "2", "account": "a@b", "type": "tokens", "quantity": 5, "dimensions": { "library": "scipy", "tier": true } },
        { "id": "3", "account": "a@b", "type": "tokens", "quantity": 2, "metadata": { "note": [1, 2] } },
    ] });
    report(&plane, TOKEN, &body).await.expect(200);
    assert_eq!(used(&plane, &key, Some("tokens")).await, 17, "all in the period that is open");
    let raw = key["key"].as_str().expect("a raw key");
    let get =
        async |query: &str| plane.customer(&format!("/v1/usage?{query}"), &[("x-api-key", raw)]).await.expect(200);
    let rows = get("group_by=dimension:library&step=month").await["rows"].clone();
    let told: Vec<_> = rows
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| (row["at"].as_str().unwrap_or(""), row["group"].as_str().unwrap_or("-"), row["units"].as_i64()))
        .collect();
    let (february, march) = ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z");
    assert_eq!(told, [(february, "numpy", Some(10)), (march, "", Some(2)), (march, "scipy", Some(5))]);
    let filtered = get("dimension.library=numpy&dimension.tier=1").await;
    assert_eq!(filtered["totals"], json!({ "tokens": { "calls": 1, "units": 10, "units_refunded": 0 } }));
    assert_eq!(get("dimension.tier=true").await["totals"]["tokens"]["units"], 5);
}

#[tokio::test]
async fn everything_wrong_is_pointed_at_and_then_nothing_is_counted() {
    let plane = plane().await;
    let key = plane.key("a@b", "pro").await;
    let other = plane.key("c@d", "pro").await;
    let good = json!({ "id": "good", "account": "a@b", "type": "tokens" });
    let with = |field: &str, value: Value| {
        let mut event = good.clone();
        event["id"] = json!("bad");
        event[field] = value;
        event
    };
    let without = |field: &str| {
        let mut event = good.clone();
        event.as_object_mut().expect("an object").remove(field);
        event
    };
    let many: serde_json::Map<String, Value> = (0..17).map(|number| (format!("d{number}"), json!(1))).collect();
    for (event, expected) in [
        (json!(7), "#/events/1"),
        (without("id"), "#/events/1/id"),
        (with("id", json!("")), "#/events/1/id"),
        (with("id", json!("x".repeat(129))), "#/events/1/id"),
        (with("id", json!("a\nb")), "#/events/1/id"),
        (without("account"), "#/events/1/account"),
        (with("account", json!("x@y")), "#/events/1/account"),
        (with("account", json!("acc_1")), "#/events/1/account"),
        (with("key", json!("tg_live_x")), "#/events/1/key"),
        (with("key", other["id"].clone()), "#/events/1/key"),
        (with("key", json!(tollgate_domain::KeyId::new(NOON, [5; 10]).to_string())), "#/events/1/key"),
        (without("type"), "#/events/1/type"),
        (with("type", json!("scans")), "#/events/1/type"),
        (with("quantity", json!(-1)), "#/events/1/quantity"),
        (with("quantity", json!(1.5)), "#/events/1/quantity"),
        (with("quantity", json!(1_000_000_000_001_u64)), "#/events/1/quantity"),
        (with("meters", json!([])), "#/events/1/meters"),
        (with("meters", json!({ "scans": 1 })), "#/events/1/meters/scans"),
        (with("meters", json!({ "tokens": 1 })), "#/events/1/meters/tokens"),
        (with("meters", json!({ "migrations": "1" })), "#/events/1/meters/migrations"),
        (with("meters", json!({ "migrations": null })), "#/events/1/meters/migrations"),
        (with("meters", json!({ "a/b": 1 })), "#/events/1/meters/a~1b"),
        (with("at", json!("2026-02-03T11:59:59Z")), "#/events/1/at"),
        (with("at", json!("2026-03-10T12:05:01Z")), "#/events/1/at"),
        (with("at", json!("soon")), "#/events/1/at"),
        (with("dimensions", json!("x")), "#/events/1/dimensions"),
        (with("dimensions", json!({ "a b": "x" })), "#/events/1/dimensions/a b"),
        (with("dimensions", json!({ "a": {} })), "#/events/1/dimensions/a"),
        (with("dimensions", json!({ "a": "x".repeat(257) })), "#/events/1/dimensions/a"),
        (with("dimensions", Value::Object(many)), "#/events/1/dimensions"),
        (with("metadata", json!("x")), "#/events/1/metadata"),
        (with("metadata", json!({ "x": "y".repeat(4_096) })), "#/events/1/metadata"),
        (with("colour", json!("red")), "#/events/1/colour"),
    ] {
        let answer = report(&plane, TOKEN, &json!({ "events": [good, event] })).await;
        assert_eq!(answer.pointers(), [expected], "{event}");
    }
    let single = json!({ "id": "1", "account": "a@b", "quantity": 1 });
    assert_eq!(report(&plane, TOKEN, &single).await.pointers(), ["#/quantity", "#/type"]);
    let several = json!({ "events": [{ "id": 7, "type": "scans" }, { "colour": 1 }] });
    let several = report(&plane, TOKEN, &several).await.pointers();
    assert_eq!(several, ["#/events/0/id", "#/events/0/type", "#/events/1/id", "#/events/1/type", "#/events/1/colour"]);
    let unknown = report(&plane, TOKEN, &with("type", json!("scans"))).await.problem(422, "invalid_fields");
    assert!(unknown["detail"].as_str().is_some_and(|detail| detail.contains("migrations, tokens")), "{unknown}");
    let many: Vec<Value> = (0..1_001).map(|number| json!({ "id": number.to_string(), "type": "tokens" })).collect();
    assert_eq!(report(&plane, TOKEN, &json!({ "events": many })).await.pointers(), ["#/events"]);
    let beside = json!({ "events": [good], "account": "a@b" });
    assert_eq!(report(&plane, TOKEN, &beside).await.pointers(), ["#/account"]);
    for name in ["tokens", "migrations"] {
        assert_eq!(used(&plane, &key, Some(name)).await, 0);
    }
}

#[tokio::test]
async fn a_key_reports_for_its_own_account_and_only_what_customers_report() {
    let plane = plane().await;
    let (key, other) = (plane.key("a@b", "pro").await, plane.key("c@d", "pro").await);
    let raw = key["key"].as_str().expect("a raw key");
    let sent = async |event: Value| report_with(&plane, &[("x-api-key", raw)], &event).await;
    assert_eq!(statuses(&sent(json!({ "id": "1", "type": "migrations" })).await.expect(200)), ["recorded"]);
    let own = json!({ "id": "2", "type": "migrations", "account": "A@B", "key": key["id"] });
    assert_eq!(statuses(&sent(own).await.expect(200)), ["recorded"]);
    for (field, value) in [
        ("account", json!("c@d")),
        ("account", other["account"].clone()),
        ("account", json!("nobody@nowhere")),
        ("key", other["id"].clone()),
    ] {
        let mut event = json!({ "id": "3", "type": "migrations" });
        event[field] = value;
        assert_eq!(sent(event).await.pointers(), [format!("#/{field}")]);
    }
    for event in
        [json!({ "id": "4", "type": "tokens" }), json!({ "id": "4", "type": "migrations", "meters": { "tokens": 0 } })]
    {
        let problem = sent(event).await.problem(403, "not_allowed");
        assert!(
            problem["detail"].as_str().is_some_and(|detail| detail.contains("migrations may be reported")),
            "{problem}"
        );
    }
    assert_eq!(used(&plane, &key, Some("migrations")).await, 2);
    assert_eq!(used(&plane, &other, Some("migrations")).await, 0);
    let shown = plane.customer("/v1/usage?group_by=key", &[("x-api-key", raw)]).await.expect(200);
    assert_eq!(shown["rows"][0]["group"], key["id"]);
    // Ids are an account's own: the same one of another account is another event.
    let raw = other["key"].as_str().expect("a raw key");
    let answer = report_with(&plane, &[("x-api-key", raw)], &json!({ "id": "1", "type": "migrations" })).await;
    assert_eq!(statuses(&answer.expect(200)), ["recorded"]);
}

#[tokio::test]
async fn without_a_good_proof_nothing_is_counted() {
    let plane = plane().await;
    let key = plane.key("a@b", "pro").await;
    let event = json!({ "id": "1", "account": "a@b", "type": "migrations" });
    report_with(&plane, &[], &event).await.problem(401, "missing_key");
    for token in ["wrong", "", &SERVICE_TOKEN[1..], &format!("{SERVICE_TOKEN}x")] {
        report(&plane, token, &event).await.problem(401, "missing_key");
    }
    let two = [("authorization", "Bearer nonsense"), ("authorization", &*format!("Bearer {SERVICE_TOKEN}"))];
    report_with(&plane, &two, &event).await.problem(401, "missing_key");
    report_with(&plane, &[("x-api-key", "nonsense")], &event).await.problem(403, "invalid_key");
    plane.operator("POST", "/accounts/a@b/ban", None).await.expect(200);
    let raw = key["key"].as_str().expect("a raw key");
    report_with(&plane, &[("x-api-key", raw)], &event).await.problem(403, "account_disabled");
    assert_eq!(used(&plane, &key, Some("migrations")).await, 0);
    plane
        .customer("/admin/v1/accounts", &[("authorization", &format!("Bearer {SERVICE_TOKEN}"))])
        .await
        .problem(401, "unauthorized");
}

#[tokio::test]
async fn a_repeated_idempotency_key_is_answered_as_the_first_time() {
    let plane = plane().await;
    let key = plane.key("a@b", "pro").await;
    let raw = key["key"].as_str().expect("a raw key");
    let event = json!({ "id": "1", "type": "migrations" });
    let headers = [("x-api-key", raw), ("idempotency-key", "one")];
    let first = report_with(&plane, &headers, &event).await.expect(200);
    let again = report_with(&plane, &headers, &event).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.expect(200), first);
    let other = json!({ "id": "2", "type": "migrations" });
    report_with(&plane, &headers, &other).await.problem(422, "idempotency_mismatch");
    let bearer = format!("Bearer {SERVICE_TOKEN}");
    let backend = [("authorization", bearer.as_str()), ("idempotency-key", "one")];
    let event = json!({ "id": "3", "account": "a@b", "type": "migrations" });
    assert_eq!(statuses(&report_with(&plane, &backend, &event).await.expect(200)), ["recorded"]);
    assert_eq!(used(&plane, &key, Some("migrations")).await, 2);
}
