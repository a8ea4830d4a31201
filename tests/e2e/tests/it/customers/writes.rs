//! Input that cannot be taken is refused with the place of what is wrong, and changes nothing.

use serde_json::{Value, json};
use tollgate_e2e::{Customer, Key, Request, Side};

use super::Scene;

/// A call, a body that is wrong, and where.
type Wrong = (&'static str, &'static str, Value, &'static str);

fn wrong_bodies() -> Vec<Wrong> {
    let key = "/v1/keys/{key}";
    let mut wrong = vec![
        ("PATCH", "/v1/me", json!({ "name": 7 }), "#/name"),
        ("PATCH", "/v1/me", json!({ "name": "" }), "#/name"),
        ("PATCH", "/v1/me", json!({ "name": "x".repeat(101) }), "#/name"),
        ("PATCH", "/v1/me", json!({ "name": "two\nlines" }), "#/name"),
        ("PATCH", "/v1/me", json!({ "email": null }), "#/email"),
        ("PATCH", "/v1/me", json!({ "email": "nobody" }), "#/email"),
        ("PATCH", "/v1/me", json!({ "name": "Ada", "email": "a b@example.com" }), "#/email"),
        ("PATCH", "/v1/me", json!({ "nmae": "Ada" }), "#/nmae"),
        ("PATCH", "/v1/me", json!({ "plan": "enterprise" }), "#/plan"),
        ("PATCH", "/v1/me", json!(["name"]), "#"),
        ("POST", "/v1/keys", json!({ "rate": "9/day" }), "#/rate"),
        ("POST", "/v1/keys", json!({ "account": "acc_0000000000000000000000" }), "#/account"),
        ("POST", "/v1/keys/{key}/rotate", json!({ "grace": "31d" }), "#/grace"),
        ("POST", "/v1/keys/{key}/rotate", json!({ "grace": "-1s" }), "#/grace"),
        ("POST", "/v1/keys/{key}/rotate", json!({ "grace": 60 }), "#/grace"),
        ("POST", "/v1/keys/{key}/rotate", json!({ "name": "x" }), "#/name"),
    ];
    for (body, place) in [
        (json!({ "name": 7 }), "#/name"),
        (json!({ "scopes": "events" }), "#/scopes"),
        (json!({ "scopes": ["events", 7] }), "#/scopes/1"),
        (json!({ "scopes": vec!["x"; 65] }), "#/scopes"),
        (json!({ "read_only": "yes" }), "#/read_only"),
        (json!({ "ip_allow": ["127.0.0.1", "localhost"] }), "#/ip_allow/1"),
        (json!({ "ip_deny": ["300.0.0.0/8"] }), "#/ip_deny/0"),
        (json!({ "expires_at": "tomorrow" }), "#/expires_at"),
        (json!({ "expires_at": "2020-01-01T00:00:00Z" }), "#/expires_at"),
        (json!({ "cap": -1 }), "#/cap"),
        (json!({ "cap": 1.5 }), "#/cap"),
        (json!({ "cap": 9_007_199_254_740_993_u64 }), "#/cap"),
        (json!({ "a/b~c": 1 }), "#/a~1b~0c"),
        (json!(null), "#"),
    ] {
        wrong.push(("POST", "/v1/keys", body.clone(), place));
        wrong.push(("PATCH", key, body, place));
    }
    wrong
}

fn call(customer: &Customer, method: &str, target: &str, body: &Value, key: &Key) -> Vec<String> {
    let answer = customer.write(method, &target.replace("{key}", &key.id), body);
    assert_eq!(answer.status, 422, "{method} {target} {body}: {}", answer.text());
    answer.wrong_at(422, "invalid_fields")
}

#[test]
fn fields_that_cannot_be_taken_are_pointed_at() {
    let scene = Scene::new();
    let key = scene.key("ada");
    for side in Side::ALL {
        let ada = scene.sign_in(side, "ada");
        let before = scene.records();
        for (method, target, body, place) in wrong_bodies() {
            assert_eq!(call(&ada, method, target, &body, &key), [place], "{method} {target} {body}");
        }
        let all = json!({ "name": 7, "cap": -1, "ip_allow": ["x", "y"], "colour": "red" });
        let mut places = call(&ada, "POST", "/v1/keys", &all, &key);
        places.sort_unstable();
        assert_eq!(places, ["#/cap", "#/colour", "#/ip_allow/0", "#/ip_allow/1", "#/name"], "all at once");
        for (target, body, place) in [
            ("/v1/session/link", json!({}), "#/email"),
            ("/v1/session/link", json!({ "email": 7 }), "#/email"),
            ("/v1/session/link", json!({ "email": "nobody" }), "#/email"),
            ("/v1/session/link", json!({ "email": "a@b.example", "to": "c@d.example" }), "#/to"),
            ("/v1/session", json!({}), "#/token"),
            ("/v1/session", json!({ "token": 7 }), "#/token"),
        ] {
            let answer = side.ask(&scene.gate, Request::json("POST", target, &body));
            assert_eq!(answer.wrong_at(422, "invalid_fields"), [place], "{target} {body}");
        }
        assert_eq!(scene.records(), before, "{side:?}");
    }
    scene.gate.get("/events/1", &key).expect(200);
}

#[test]
fn events_that_cannot_be_counted_are_pointed_at_and_none_of_a_report_is() {
    let scene = Scene::new();
    let key = scene.key("ada");
    let good = json!({ "id": "good", "type": "scans" });
    for side in Side::ALL {
        for (event, place) in [
            (json!({ "type": "scans" }), "#/events/1/id"),
            (json!({ "id": "", "type": "scans" }), "#/events/1/id"),
            (json!({ "id": "x".repeat(129), "type": "scans" }), "#/events/1/id"),
            (json!({ "id": "1" }), "#/events/1/type"),
            (json!({ "id": "1", "type": "scnas" }), "#/events/1/type"),
            (json!({ "id": "1", "type": "scans", "quantity": -1 }), "#/events/1/quantity"),
            (json!({ "id": "1", "type": "scans", "quantity": 1.5 }), "#/events/1/quantity"),
            (json!({ "id": "1", "type": "scans", "quantity": 1e300 }), "#/events/1/quantity"),
            (json!({ "id": "1", "meters": { "scans": "two" } }), "#/events/1/meters/scans"),
            (json!({ "id": "1", "type": "scans", "meters": { "scans": 1 } }), "#/events/1/meters/scans"),
            (json!({ "id": "1", "type": "scans", "at": "2020-01-01T00:00:00Z" }), "#/events/1/at"),
            (json!({ "id": "1", "type": "scans", "at": "2099-01-01T00:00:00Z" }), "#/events/1/at"),
            (json!({ "id": "1", "type": "scans", "dimensions": { "tier": [1] } }), "#/events/1/dimensions/tier"),
            (json!({ "id": "1", "type": "scans", "dimensions": { "a b": "c" } }), "#/events/1/dimensions/a b"),
            (json!({ "id": "1", "type": "scans", "metadata": "text" }), "#/events/1/metadata"),
            (json!({ "id": "1", "type": "scans", "metadata": { "x": "y".repeat(5_000) } }), "#/events/1/metadata"),
            (json!({ "id": "1", "type": "scans", "color": "red" }), "#/events/1/color"),
            (json!(7), "#/events/1"),
        ] {
            let body = json!({ "events": [good, event] });
            let answer = side.ask(&scene.gate, Request::json("POST", "/v1/usage", &body).key(&key.raw));
            assert_eq!(answer.status, 422, "{event}: {}", answer.text());
            assert_eq!(answer.wrong_at(422, "invalid_fields"), [place], "{event}");
        }
        let many: Vec<Value> = (0..=1_000).map(|number| json!({ "id": number.to_string(), "type": "scans" })).collect();
        for body in [json!({ "events": many }), json!({ "events": {} }), json!({ "events": null })] {
            let answer = side.ask(&scene.gate, Request::json("POST", "/v1/usage", &body).key(&key.raw));
            assert_eq!(answer.wrong_at(422, "invalid_fields"), ["#/events"]);
        }
    }
    let quota = scene.gate.get("/tollgate/v1/quota", &key).expect(200).json();
    assert_eq!(quota["meters"]["scans"]["used"], 0, "{quota:#}");
}

#[test]
fn parameters_that_cannot_be_taken_are_named() {
    let scene = Scene::new();
    let ada = scene.sign_in(Side::Mounted, "ada");
    for (target, parameter) in [
        ("/v1/keys?limit=0", "limit"),
        ("/v1/keys?limit=201", "limit"),
        ("/v1/keys?cursor=x", "cursor"),
        ("/v1/keys?page=2", "page"),
        ("/v1/usage?step=year", "step"),
        ("/v1/usage?step=day&step=hour", "step"),
        ("/v1/usage?from=yesterday", "from"),
        ("/v1/usage?from=2020-01-01&to=2026-01-01", "from"),
        ("/v1/usage?to=2020-01-01&from=2020-01-02", "to"),
        ("/v1/usage?group_by=colour", "group_by"),
        ("/v1/usage?group_by=dimension:a%20b", "group_by"),
        ("/v1/usage?meter=A", "meter"),
        ("/v1/usage?key=x", "key"),
        ("/v1/usage?format=xml", "format"),
        ("/v1/usage?account=acc_0000000000000000000000", "account"),
    ] {
        let answer = ada.get(target);
        assert_eq!(answer.wrong_at(422, "invalid_fields"), [parameter], "{target}");
    }
}

#[test]
fn bodies_that_are_no_json_and_paths_and_methods_that_are_not_there_are_told_apart() {
    let scene = Scene::new();
    let key = scene.key("ada");
    for side in Side::ALL {
        let ada = scene.sign_in(side, "ada");
        let before = scene.records();
        let raw = |method: &str, target: &str, body: &str, kind: &str| {
            let request = Request::new(method, target).body(body).header("content-type", kind);
            ada.send(request.header("x-csrf-token", &ada.csrf))
        };
        let key_path = format!("/v1/keys/{}", key.id);
        for (method, target) in
            [("PATCH", "/v1/me"), ("POST", "/v1/keys"), ("PATCH", &key_path), ("POST", &format!("{key_path}/rotate"))]
        {
            for body in ["{", "{\"name\":\"a\",\"name\":\"b\"}", "{}{}", "\u{0}", "{\"name\":\"\\ud800\"}"] {
                raw(method, target, body, "application/json").problem(400, "malformed_json");
            }
            raw(method, target, "{\"name\":\"x\"}", "text/plain").problem(415, "unsupported_media_type");
            raw(method, target, &" ".repeat(2 * 1024 * 1024), "application/json").problem(413, "body_too_large");
        }
        for (method, target, allowed) in [
            ("PUT", "/v1/me", "PATCH"),
            ("DELETE", "/v1/keys", "POST"),
            ("POST", key_path.as_str(), "PATCH"),
            ("GET", "/v1/session/link", "POST"),
        ] {
            let answer = ada.write(method, target, &json!({}));
            answer.problem(405, "method_not_allowed");
            assert!(answer.header("allow").is_some_and(|allow| allow.contains(allowed)), "{answer:?}");
        }
        for target in ["/v1/nothing", "/v1/keys/x/y", "/v1", "/v2/me"] {
            ada.get(target).problem(404, "not_found");
        }
        for id in ["x", "key_", &key.raw, "acc_0000000000000000000000", "%00", "..%2Fme"] {
            let answer = ada.get(&format!("/v1/keys/{id}"));
            assert!(matches!(answer.status, 400 | 404), "{id}: {}", answer.text());
            assert!(!answer.text().contains(&key.raw), "a raw key is not repeated");
        }
        assert_eq!(scene.records(), before, "{side:?}");
    }
}
