//! `POST /admin/v1/accounts/{account}/credit`.

use serde_json::{Value, json};
use tollgate_domain::{Charged, Period};
use tollgate_store::Change;

use crate::harness::{NOON, TOKEN};
use crate::usage_support::{Counted, count, id, meter, plane, report, used};

#[tokio::test]
async fn what_is_given_back_is_used_no_more_and_the_gateways_hear_of_it() {
    let plane = plane().await;
    let key = plane.key("a@b", "pro").await;
    count(&plane, &[Counted::of(&key, NOON, 300)]).await;
    report(&plane, TOKEN, &json!({ "id": "1", "account": "a@b", "type": "migrations", "quantity": 40 }))
        .await
        .expect(200);
    plane.heard.take();
    let month = Period::calendar_month(NOON);
    for (body, answer, of, units, left) in [
        (
            json!({ "units": 100, "reason": "outage" }),
            (Value::Null, 100, 300, 200),
            Charged::Calls { key: None },
            -100,
            200,
        ),
        (json!({ "units": "all" }), (Value::Null, 200, 200, 0), Charged::Calls { key: None }, -200, 0),
        (
            json!({ "units": 15, "meter": "migrations" }),
            (json!("migrations"), 15, 40, 25),
            Charged::Meter(meter("migrations").id()),
            -15,
            25,
        ),
        (
            json!({ "units": "all", "meter": "migrations" }),
            (json!("migrations"), 25, 25, 0),
            Charged::Meter(meter("migrations").id()),
            -25,
            0,
        ),
    ] {
        let shown = plane.post("/accounts/a@b/credit", body.clone()).await.expect(200);
        let (name, credited, before, after) = answer;
        assert_eq!((&shown["meter"], &shown["account"]), (&name, &key["account"]), "{body}");
        assert_eq!(
            (&shown["credited"], &shown["used_before"], &shown["used"]),
            (&json!(credited), &json!(before), &json!(after)),
            "{body}"
        );
        assert_eq!(shown["period"], json!({ "start": "2026-03-01T00:00:00Z", "end": "2026-04-01T00:00:00Z" }));
        match plane.heard.take()[..] {
            [Change::Usage { account, of: told, period, units: told_units, .. }] => {
                assert_eq!((account, told, period, told_units), (id(&key, "account"), of, month, units));
            }
            ref other => panic!("{other:?}"),
        }
        assert_eq!(used(&plane, &key, name.as_str()).await, left, "{body}");
    }
    let audit = plane.get("/audit?account=a@b").await.expect(200);
    let lines: Vec<_> =
        audit["items"].as_array().expect("items").iter().filter(|line| line["action"] == "account.credit").collect();
    assert_eq!(lines.len(), 4);
    assert_eq!((&lines[3]["actor"], &lines[3]["detail"]["reason"]), (&json!("operator"), &json!("outage")));
    let raw = key["key"].as_str().expect("a raw key");
    let quota = plane.customer("/v1/quota", &[("x-api-key", raw)]).await.expect(200);
    assert_eq!(
        (&quota["meters"]["migrations"]["used"], &quota["meters"]["migrations"]["allowed"]),
        (&json!(0), &json!(true))
    );
}

#[tokio::test]
async fn nothing_used_is_nothing_given_back() {
    let plane = plane().await;
    let key = plane.key("a@b", "pro").await;
    plane.heard.take();
    let shown = plane.post("/accounts/a@b/credit", json!({ "units": "all" })).await.expect(200);
    assert_eq!((&shown["credited"], &shown["used"]), (&json!(0), &json!(0)));
    assert_eq!(plane.heard.take(), []);
    assert_eq!(used(&plane, &key, None).await, 0);
}

#[tokio::test]
async fn more_than_is_used_and_what_is_no_number_are_refused() {
    let plane = plane().await;
    let key = plane.key("a@b", "pro").await;
    count(&plane, &[Counted::of(&key, NOON, 30)]).await;
    for (body, expected) in [
        (json!({}), "#/units"),
        (json!({ "units": null }), "#/units"),
        (json!({ "units": 0 }), "#/units"),
        (json!({ "units": -5 }), "#/units"),
        (json!({ "units": "some" }), "#/units"),
        (json!({ "units": 1.5 }), "#/units"),
        (json!({ "units": 31 }), "#/units"),
        (json!({ "units": u64::MAX }), "#/units"),
        (json!({ "units": 1, "meter": "migrations" }), "#/units"),
        (json!({ "units": 1, "meter": "scans" }), "#/meter"),
        (json!({ "units": 1, "reason": "a\nb" }), "#/reason"),
        (json!({ "units": 1, "colour": 1 }), "#/colour"),
    ] {
        assert_eq!(plane.post("/accounts/a@b/credit", body.clone()).await.pointers(), [expected], "{body}");
    }
    let problem = plane.post("/accounts/a@b/credit", json!({ "units": 31 })).await.problem(422, "invalid_fields");
    assert_eq!(problem["used"], 30);
    plane.post("/accounts/x@y/credit", json!({ "units": 1 })).await.problem(404, "not_found");
    assert_eq!(used(&plane, &key, None).await, 30);
}

#[tokio::test]
async fn a_repeated_request_gives_back_once() {
    let plane = plane().await;
    let key = plane.key("a@b", "pro").await;
    count(&plane, &[Counted::of(&key, NOON, 30)]).await;
    for _ in 0..2 {
        let headers = [("idempotency-key", "credit-1")];
        let body = Some(json!({ "units": 10 }));
        let answer = plane.operator_with("POST", "/accounts/a@b/credit", body, &headers).await.expect(200);
        assert_eq!(answer["used"], 20);
    }
    assert_eq!(used(&plane, &key, None).await, 20);
}
