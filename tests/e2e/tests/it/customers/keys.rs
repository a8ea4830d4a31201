//! Customers make, change, rotate and revoke their own keys, with the same effect as if an operator had.

use serde_json::{Value, json};
use tollgate_e2e::{Customer, Gate, Key, Request, Side};

use super::Scene;

fn make(customer: &Customer, fields: &Value) -> Key {
    Key::of(&customer.write("POST", "/v1/keys", fields).expect(201).json())
}

fn call(gate: &Gate, key: &Key) -> u16 {
    gate.get("/events/1", key).status
}

#[test]
fn a_key_that_is_made_changed_rotated_or_revoked_is_so_at_once() {
    let scene = Scene::new();
    for side in Side::ALL {
        let ada = scene.sign_in(side, &format!("{side:?}").to_lowercase());
        let answer = ada.write("POST", "/v1/keys", &json!({ "name": "CI" })).expect(201);
        let key = Key::of(&answer.json());
        assert!(answer.header("location").is_some_and(|at| at.ends_with(&key.id)), "{answer:?}");
        assert_eq!((key.account.clone(), call(&scene.gate, &key)), (ada.account.clone(), 200));
        let path = format!("/v1/keys/{}", key.id);
        let shown = ada.get(&path).expect(200);
        assert_eq!((&shown.json()["name"], &shown.json()["state"]), (&json!("CI"), &json!("active")));
        assert!(!shown.text().contains(&key.raw) && !ada.get("/v1/keys").text().contains(&key.raw));

        ada.write("PATCH", &path, &json!({ "scopes": ["other"] })).expect(200);
        scene.gate.get("/events/1", &key).problem(403, "not_allowed");
        let changed = ada.write("PATCH", &path, &json!({ "scopes": null, "name": null, "cap": 50 })).expect(200).json();
        assert_eq!((&changed["scopes"], &changed["name"], &changed["cap"]), (&json!([]), &Value::Null, &json!(50)));
        assert_eq!(call(&scene.gate, &key), 200);

        let rotated = ada.write("POST", &format!("{path}/rotate"), &json!({})).expect(201).json();
        let new = Key::of(&rotated);
        assert_eq!((&rotated["replaces"]["id"], &rotated["cap"]), (&json!(key.id), &json!(50)), "{rotated:#}");
        assert_eq!([call(&scene.gate, &key), call(&scene.gate, &new)], [403, 200]);
        ada.write("POST", &format!("{path}/rotate"), &json!({})).problem(409, "key_not_active");
        ada.write("PATCH", &path, &json!({ "name": "old" })).problem(409, "key_not_active");

        let new_path = format!("/v1/keys/{}", new.id);
        for _ in 0..2 {
            assert_eq!(ada.delete(&new_path).expect(200).json()["state"], "revoked");
        }
        assert_eq!(call(&scene.gate, &new), 403);
        assert_eq!(ada.working_keys(), [""; 0]);
    }
}

#[test]
fn a_plans_keys_are_counted_without_those_that_do_not_work_or_are_in_grace() {
    let scene = Scene::new();
    let ada = scene.sign_in(Side::Mounted, "ada");
    let keys = [(); 3].map(|()| make(&ada, &json!({})));
    let refused = ada.write("POST", "/v1/keys", &json!({}));
    let problem = refused.problem(409, "key_limit_reached");
    assert_eq!((&problem["limit"], &problem["used"]), (&json!(3), &json!(3)), "{problem:#}");
    ada.write("POST", &format!("/v1/keys/{}/rotate", keys[0].id), &json!({ "grace": "1h" })).expect(201);
    ada.write("POST", "/v1/keys", &json!({})).problem(409, "key_limit_reached");
    assert_eq!(ada.working_keys().len(), 4, "three, and one in its grace");
    ada.delete(&format!("/v1/keys/{}", keys[1].id)).expect(200);
    make(&ada, &json!({}));
    scene.gate.cli(&["accounts", "set-plan", "ada@example.com", "none"]).done();
    ada.write("POST", "/v1/keys", &json!({})).problem(402, "upgrade_required");
    assert_eq!(ada.get("/v1/keys").expect(200).json()["items"].as_array().map(Vec::len), Some(5));
    ada.delete(&format!("/v1/keys/{}", keys[2].id)).expect(200);
}

#[test]
fn a_repeated_request_makes_one_key_and_shows_no_secret_twice() {
    let scene = Scene::new();
    let (ada, eve) = (scene.sign_in(Side::Mounted, "ada"), scene.sign_in(Side::Mounted, "eve"));
    let post = |customer: &Customer, name: &str| {
        let request = Request::json("POST", "/v1/keys", &json!({ "name": name })).header("idempotency-key", "one");
        customer.send(request.header("x-csrf-token", &customer.csrf))
    };
    let first = post(&ada, "CI").expect(201).json();
    let again = post(&ada, "CI");
    let problem = again.problem(409, "already_done");
    assert_eq!((&problem["id"], &problem["masked"]), (&first["id"], &first["masked"]));
    assert!(!again.text().contains(first["key"].as_str().expect("the raw key")));
    post(&ada, "other").problem(422, "idempotency_mismatch");
    post(&eve, "CI").expect(201);
    assert_eq!((ada.working_keys().len(), eve.working_keys().len()), (1, 1), "keys of repetition are the account's");
}

#[test]
fn keys_are_listed_page_by_page_in_order_of_creation() {
    let scene = Scene::new();
    let ada = scene.sign_in(Side::Direct, "ada");
    let made: Vec<String> = (0..5)
        .map(|_| {
            let key = make(&ada, &json!({}));
            ada.delete(&format!("/v1/keys/{}", key.id)).expect(200);
            key.id
        })
        .collect();
    let (mut listed, mut target) = (Vec::new(), "/v1/keys?limit=2".to_owned());
    loop {
        let page = ada.get(&target).expect(200).json();
        let items = page["items"].as_array().unwrap_or_else(|| panic!("{page:#}"));
        listed.extend(items.iter().filter_map(|key| key["id"].as_str().map(str::to_owned)));
        match page["next_cursor"].as_str() {
            Some(cursor) => target = format!("/v1/keys?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(listed, made);
}
