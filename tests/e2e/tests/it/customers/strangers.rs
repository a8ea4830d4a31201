//! Who has proven nothing, or something else, gets nothing: every call, directly and under the mount.

use serde_json::{Value, json};
use tollgate_e2e::{Answer, Key, Request, Side};

use super::Scene;

/// Every call that needs a proof, with a body that would be done. `{key}` stands for the id of a key.
const CALLS: [(&str, &str, &str); 13] = [
    ("GET", "/v1/session", ""),
    ("DELETE", "/v1/session", ""),
    ("GET", "/v1/me", ""),
    ("PATCH", "/v1/me", r#"{"name":"Eve"}"#),
    ("GET", "/v1/quota", ""),
    ("GET", "/v1/usage", ""),
    ("POST", "/v1/usage", r#"{"id":"e1","type":"scans"}"#),
    ("GET", "/v1/keys", ""),
    ("POST", "/v1/keys", r#"{"name":"mine"}"#),
    ("GET", "/v1/keys/{key}", ""),
    ("PATCH", "/v1/keys/{key}", r#"{"name":"Eve's"}"#),
    ("DELETE", "/v1/keys/{key}", ""),
    ("POST", "/v1/keys/{key}/rotate", r#"{"grace":"1h"}"#),
];

/// What an API key opens.
const OPEN_BY_KEY: [(&str, &str); 4] =
    [("GET", "/v1/me"), ("GET", "/v1/quota"), ("GET", "/v1/usage"), ("POST", "/v1/usage")];

fn request(method: &str, target: &str, body: &str, key: &Key) -> Request {
    let target = target.replace("{key}", &key.id);
    match body {
        "" => Request::new(method, &target),
        body => Request::json(method, &target, &serde_json::from_str::<Value>(body).expect("JSON")),
    }
}

#[test]
fn without_a_proof_every_call_is_401_and_changes_nothing() {
    let scene = Scene::new();
    let key = scene.key("ada");
    let before = scene.records();
    for side in Side::ALL {
        for (method, target, body) in CALLS {
            for cookie in [None, Some("tollgate_session=junk"), Some("tollgate_session="), Some("other=1")] {
                let request = request(method, target, body, &key);
                let request = if let Some(cookie) = cookie { request.header("cookie", cookie) } else { request };
                let answer = side.ask(&scene.gate, request);
                assert_eq!(answer.status, 401, "{side:?} {method} {target} {cookie:?}: {}", answer.text());
                assert!(answer.header("www-authenticate").is_some(), "{side:?} {method} {target}");
                assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            }
        }
    }
    assert_eq!(scene.records(), before);
}

#[test]
fn an_api_key_opens_account_quota_and_usage_and_nothing_else() {
    let scene = Scene::new();
    let key = scene.key("ada");
    for side in Side::ALL {
        let before = scene.records();
        for (method, target, body) in CALLS {
            let answer = side.ask(&scene.gate, request(method, target, body, &key).key(&key.raw));
            if OPEN_BY_KEY.contains(&(method, target)) {
                assert_eq!(answer.status, 200, "{side:?} {method} {target}: {}", answer.text());
            } else {
                assert_eq!(answer.problem(403, "not_allowed")["status"], 403, "{side:?} {method} {target}");
            }
        }
        assert_eq!(scene.records(), before, "{side:?}");
    }
}

#[test]
fn another_accounts_key_is_not_there_and_stays_as_it_is() {
    let scene = Scene::new();
    let key = scene.key("ada");
    for side in Side::ALL {
        let eve = scene.sign_in(side, "eve");
        let before = scene.records();
        for (method, target, body) in CALLS.into_iter().filter(|(_, target, _)| target.contains("{key}")) {
            let theirs = request(method, target, body, &key).header("x-csrf-token", &eve.csrf);
            let nobodys = Key { id: "key_0000000000000000000000".into(), ..key.clone() };
            let nobodys = request(method, target, body, &nobodys).header("x-csrf-token", &eve.csrf);
            let (theirs, nobodys) = (eve.send(theirs), eve.send(nobodys));
            let (mut told, mut other) = (theirs.problem(404, "not_found"), nobodys.problem(404, "not_found"));
            told["request_id"].take();
            other["request_id"].take();
            assert_eq!(told, other, "{side:?} {method} {target}: as one that does not exist");
        }
        let history = |key: &str| eve.get(&format!("/v1/usage?key={key}"));
        history(&key.id).problem(404, "not_found");
        assert_eq!(scene.records(), before, "{side:?}");
        assert_eq!(eve.get("/v1/keys").expect(200).json()["items"], json!([]));
    }
    scene.gate.get("/events/1", &key).expect(200);
}

#[test]
fn a_customer_reports_for_its_own_account_and_meters_only() {
    let scene = Scene::new();
    let (ada, eve) = (scene.key("ada"), scene.key("eve"));
    let report = |side: Side, event: Value| {
        side.ask(&scene.gate, Request::json("POST", "/v1/usage", &json!({ "events": [event] })).key(&eve.raw))
    };
    for side in Side::ALL {
        let stranger = report(side, json!({ "id": "1", "type": "scans", "account": ada.account }));
        assert_eq!(stranger.wrong_at(422, "invalid_fields"), ["#/events/0/account"]);
        let nobody = report(side, json!({ "id": "1", "type": "scans", "account": "acc_0000000000000000000000" }));
        assert_eq!(stranger.json()["detail"], nobody.json()["detail"], "whether there is one is not told");
        let key = report(side, json!({ "id": "1", "type": "scans", "key": ada.id }));
        assert_eq!(key.wrong_at(422, "invalid_fields"), ["#/events/0/key"]);
        report(side, json!({ "id": "1", "type": "tokens" })).problem(403, "not_allowed");
        report(side, json!({ "id": "1", "type": "scans", "meters": { "tokens": 5 } })).problem(403, "not_allowed");
    }
    for (key, user) in [(&ada, "ada"), (&eve, "eve")] {
        let quota = scene.gate.get("/tollgate/v1/quota", key).expect(200).json();
        assert_eq!(
            (&quota["meters"]["scans"]["used"], &quota["meters"]["tokens"]["used"]),
            (&json!(0), &json!(0)),
            "{user}"
        );
    }
}

#[test]
fn two_proofs_of_different_accounts_are_refused() {
    let scene = Scene::new();
    let key = scene.key("ada");
    for side in Side::ALL {
        let (ada, eve) = (scene.sign_in(side, "ada"), scene.sign_in(side, "eve"));
        eve.send(Request::get("/v1/me").key(&key.raw)).problem(400, "bad_request");
        ada.send(Request::get("/v1/me").key(&key.raw)).expect(200);
        let before = scene.records();
        let write = Request::json("PATCH", "/v1/me", &json!({ "name": "Eve" })).header("x-csrf-token", &eve.csrf);
        eve.send(write.key(&key.raw)).problem(400, "bad_request");
        assert_eq!(scene.records(), before);
    }
}

#[test]
fn a_write_by_cookie_needs_its_own_sessions_proof_that_it_was_meant() {
    let scene = Scene::new();
    let key = scene.key("ada");
    for side in Side::ALL {
        let (ada, again) = (scene.sign_in(side, "ada"), scene.sign_in(side, "ada"));
        let before = scene.records();
        for (method, target, body) in
            CALLS.into_iter().filter(|(method, target, _)| *method != "GET" && *target != "/v1/usage")
        {
            for proof in [None, Some(""), Some("junk"), Some(again.csrf.as_str()), Some(&ada.csrf[1..])] {
                let request = request(method, target, body, &key);
                let request = if let Some(proof) = proof { request.header("x-csrf-token", proof) } else { request };
                let answer = ada.send(request);
                assert_eq!(code(&answer), (403, "csrf".into()), "{side:?} {method} {target} {proof:?}");
            }
            let twice = request(method, target, body, &key);
            let twice = ada.send(twice.header("x-csrf-token", &ada.csrf).header("x-csrf-token", "junk"));
            assert_eq!(code(&twice), (403, "csrf".into()), "{side:?} {method} {target}");
        }
        assert_eq!(scene.records(), before, "{side:?}");
        ada.get("/v1/session").expect(200);
    }
    scene.gate.get("/events/1", &key).expect(200);
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}
