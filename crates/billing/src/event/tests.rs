use serde_json::json;

use super::*;

const ACCOUNT: &str = "acc_0000000000000000000007";

fn told(kind: &str, object: &Value) -> NewEvent {
    let body = json!({
        "id": "evt_1", "object": "event", "api_version": "2026-09-30.endive", "created": 1_773_144_000,
        "livemode": false, "type": kind, "data": { "object": object }, "pending_webhooks": 1,
    });
    let body = body.to_string();
    let event = parse(body.as_bytes(), false).expect("an event");
    stored(&event, body, Timestamp::from_secs(1_773_144_005))
}

#[test]
fn the_customer_the_object_and_the_account_are_found_in_every_shape() {
    let named = json!({ ACCOUNT_KEY: ACCOUNT });
    // Kind, object, whose facts it changes, whether the customer must be looked up, whether it names the account.
    let table = [
        (
            "checkout.session.completed",
            json!({ "id": "cs_1", "object": "checkout.session", "customer": "cus_1", "client_reference_id": ACCOUNT }),
            "cus_1",
            false,
            true,
        ),
        (
            "checkout.session.completed",
            json!({ "id": "cs_1", "object": "checkout.session", "customer": null, "client_reference_id": "elsewhere" }),
            "cs_1",
            true,
            false,
        ),
        (
            "customer.subscription.updated",
            json!({ "id": "sub_1", "object": "subscription", "customer": "cus_1", "metadata": named }),
            "cus_1",
            false,
            true,
        ),
        (
            "customer.subscription.updated",
            json!({ "id": "sub_1", "object": "subscription", "customer": { "id": "cus_1", "object": "customer" } }),
            "cus_1",
            false,
            false,
        ),
        (
            "invoice.paid",
            json!({ "id": "in_1", "object": "invoice", "customer": "cus_1", "subscription": "sub_1",
                "subscription_details": { "metadata": named } }),
            "cus_1",
            false,
            true,
        ),
        (
            "invoice.payment_failed",
            json!({ "id": "in_1", "object": "invoice", "customer": "cus_1",
                "parent": { "subscription_details": { "subscription": "sub_1", "metadata": named } } }),
            "cus_1",
            false,
            true,
        ),
        ("customer.deleted", json!({ "id": "cus_1", "object": "customer" }), "cus_1", false, false),
        ("charge.refunded", json!({ "id": "ch_1", "object": "charge", "customer": "cus_1" }), "cus_1", false, false),
        ("charge.dispute.created", json!({ "id": "du_1", "object": "dispute", "charge": "ch_1" }), "du_1", true, false),
        (
            "charge.dispute.created",
            json!({ "id": "du_1", "object": "dispute", "customer": "../x" }),
            "du_1",
            true,
            false,
        ),
        ("charge.dispute.created", json!([]), "evt_1", true, false),
    ];
    for (kind, object, subject, is_looked_up, is_named) in table {
        let event = told(kind, &object);
        assert_eq!(event.subject, subject, "{object}");
        assert_eq!(is_unresolved(&event), is_looked_up, "{object}");
        let expected = is_named.then(|| ACCOUNT.parse().expect("an id"));
        assert_eq!(event.account, expected, "{object}");
        assert_eq!(event.created_at, Timestamp::from_secs(1_773_144_000));
    }
}

#[test]
fn what_is_no_event_of_this_mode_is_refused() {
    let unreadable = [
        &b""[..],
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        br#"{"id":"evt_1","type":"invoice.paid","livemode":false}"#,
        br#"{"id":"evt_1","type":"invoice.paid","data":{"object":{}}}"#,
        br#"{"id":"../evt","type":"invoice.paid","livemode":false,"data":{"object":{}}}"#,
        br#"{"id":7,"type":"invoice.paid","livemode":false,"data":{"object":{}}}"#,
    ];
    for body in unreadable {
        let refused = parse(body, false).expect_err("not an event");
        assert!(matches!(refused, InvalidEvent::Unreadable(_)), "{}", String::from_utf8_lossy(body));
    }
    let body = br#"{"id":"evt_1","type":"invoice.paid","livemode":true,"data":{"object":{}}}"#;
    assert_eq!(parse(body, false), Err(InvalidEvent::OtherMode(true)));
    assert!(parse(body, true).is_ok());
}

#[test]
fn fields_of_another_type_lose_no_event() {
    let event = told("invoice.paid", &json!({ "id": "in_1", "customer": "cus_1", "metadata": [], "parent": "new" }));
    assert_eq!((event.subject.as_str(), event.account), ("cus_1", None));
    let body = json!({ "id": "evt_1", "type": "invoice.paid", "livemode": false, "created": "soon",
        "data": { "object": { "customer": "cus_1" }, "previous_attributes": 7 } });
    assert!(parse(body.to_string().as_bytes(), false).is_ok());
}

#[test]
fn kinds_that_are_used_are_sorted_and_found() {
    assert!(EVENT_KINDS.is_sorted());
    assert!(EVENT_KINDS.iter().all(|kind| is_used(kind)));
    assert!(is_used("charge.dispute.of_tomorrow"));
    for kind in ["invoice.created", "customer.created", "customer.updated", "payout.paid", "", REFRESH_KIND] {
        assert!(!is_used(kind), "{kind}");
    }
}

#[test]
fn the_charge_of_a_dispute_and_of_a_refund_is_found() {
    let charge = |object: Value| {
        charge_of(&json!({ "id": "evt_1", "type": "charge.refunded", "data": { "object": object } }).to_string())
    };
    assert_eq!(charge(json!({ "id": "du_1", "object": "dispute", "charge": "ch_1" })).as_deref(), Some("ch_1"));
    assert_eq!(
        charge(json!({ "id": "re_1", "object": "refund", "charge": { "id": "ch_1" } })).as_deref(),
        Some("ch_1")
    );
    assert_eq!(charge(json!({ "id": "ch_1", "object": "charge" })).as_deref(), Some("ch_1"));
    assert_eq!(charge(json!({ "id": "re_1", "object": "refund" })), None);
    assert_eq!(charge_of("{}"), None);
}
