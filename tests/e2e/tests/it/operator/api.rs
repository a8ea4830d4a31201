//! The operator API over its own socket: who may speak to it, and what it tells.

use tollgate_e2e::{Backend, Connection, Profile, Request, Setup};

#[test]
fn nobody_is_told_anything_without_the_operators_token() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let key = gate.key("ada@example.com", "pro");
    let token = gate.token();
    for target in ["/admin/v1/accounts", "/admin/v1/keys", "/admin/v1/config", "/admin/v1/nothing", "/admin/"] {
        for authorization in
            [None, Some("Bearer wrong".to_owned()), Some(format!("Bearer {}", key.raw)), Some(token.clone())]
        {
            let request = Request::get(target);
            let request = match &authorization {
                Some(value) => request.header("Authorization", value),
                None => request,
            };
            let answer = Connection::open(gate.admin_address()).send(&request).expect("an answer");
            answer.problem(401, "unauthorized");
            assert!(answer.header("www-authenticate").is_some());
            assert!(!answer.text().contains(&token));
        }
    }
    gate.operator("/admin/v1/nothing").problem(404, "not_found");
    gate.operator("/admin/v1/accounts").expect(200);
}

#[test]
fn the_token_file_is_its_owners_alone_and_is_kept() {
    use std::os::unix::fs::PermissionsExt;
    let backend = Backend::start();
    if Profile::current().has_database_file() {
        let mut gate = Setup::new(&backend).start();
        for name in ["admin-token", "tollgate.db"] {
            let mode = gate.folder().join(name).metadata().expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let token = gate.token();
        gate.restart();
        assert_eq!(gate.token(), token);
    }

    let chosen = "0123456789abcdef0123456789abcdef";
    let given = Setup::new(&backend).set("admin", &format!("token = \"{chosen}\"")).start();
    assert!(!given.folder().join("admin-token").exists());
    given.cli(&["keys", "list"]).done();
    let config = given.operator_with("/admin/v1/config", chosen).expect(200);
    assert!(!config.text().contains(chosen), "{}", config.text());
}

#[test]
fn the_config_in_force_and_the_audit_trail_are_shown() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).set("keys", "pepper = \"a-very-secret-pepper-of-32-bytes!\"").start();
    let key = gate.key("ada@example.com", "pro");
    gate.get("/events/1", &key).expect(200);
    gate.cli(&["accounts", "ban", "ada@example.com", "--reason", "abuse"]).done();
    gate.cli(&["keys", "revoke", &key.id]).done();
    let config = gate.operator("/admin/v1/config").expect(200);
    assert!(!config.text().contains("a-very-secret-pepper"), "{}", config.text());
    let config = config.json();
    assert!(config["hash"].as_str().is_some_and(|hash| hash.len() == 64), "{config:#}");
    let names: Vec<_> = config["routes"].as_array().expect("routes").iter().map(|route| &route["name"]).collect();
    assert_eq!(names, ["public-feed", "auth", "reports", "llm", "events"]);
    let audit = gate.operator("/admin/v1/audit").expect(200);
    let text = audit.text();
    for action in ["account.create", "key.create", "account.ban", "key.revoke"] {
        assert!(text.contains(&format!("\"{action}\"")), "no {action} in {text}");
    }
    assert!(!text.contains(&key.raw) && !text.contains("ada@example.com"), "{text}");
}

#[test]
fn a_repeated_idempotency_key_makes_one_key_and_shows_no_secret_twice() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let token = format!("Bearer {}", gate.token());
    let post = |body: &str| {
        let request = Request::post("/admin/v1/keys", body)
            .header("Authorization", &token)
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", "order-1");
        Connection::open(gate.admin_address()).send(&request).expect("an answer")
    };
    let body = r#"{"email":"ada@example.com","plan":"pro"}"#;
    let first = post(body).expect(201).json();
    let again = post(body);
    let problem = again.problem(409, "already_done");
    assert_eq!((&problem["id"], &problem["masked"]), (&first["id"], &first["masked"]));
    assert!(!again.text().contains(first["key"].as_str().expect("the raw key")));
    post(r#"{"email":"bob@example.com","plan":"pro"}"#).problem(422, "idempotency_mismatch");
    assert_eq!(gate.cli(&["keys", "list", "--json"]).done().json().as_array().map(Vec::len), Some(1));
}
