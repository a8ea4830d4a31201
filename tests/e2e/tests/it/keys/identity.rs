//! What the upstream is told of who calls, and what nobody else can tell it.

use tollgate_e2e::{Arrival, Backend, Request, Setup};

fn named<'a>(arrival: &'a Arrival, prefix: &str) -> Vec<(String, &'a str)> {
    let normal = |name: &str| name.to_ascii_lowercase().replace(['_', '.'], "-");
    let mut found: Vec<_> = arrival
        .headers
        .iter()
        .map(|(name, value)| (normal(name), value.as_str()))
        .filter(|(name, _)| name.starts_with(prefix))
        .collect();
    found.sort();
    found
}

#[test]
fn the_upstream_learns_account_plan_and_key_and_only_from_the_gate() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let key = gate.key("ada@example.com", "pro");
    let forged = |request: Request| {
        let names =
            ["X-Tollgate-Account", "x_tollgate_plan", "X.Tollgate.Key.Id", "x-tollgate_KEY-id", "X-TOLLGATE-Else"];
        names.into_iter().fold(request, |request, name| request.header(name, "forged"))
    };
    gate.send(&forged(Request::get("/events/1").key(&key.raw))).expect(200);
    let arrival = backend.last();
    let told = [("account", &*key.account), ("key-id", &key.id), ("plan", "pro")];
    let told = told.map(|(name, value)| (format!("x-tollgate-{name}"), value));
    assert_eq!(named(&arrival, "x-tollgate-"), told);
    for target in ["/events/public", "/auth/login"] {
        gate.send(&forged(Request::get(target).key(&key.raw))).expect(200);
        assert_eq!(named(&backend.last(), "x-tollgate-"), [], "{target}");
    }
}

#[test]
fn a_connection_header_cannot_take_our_headers_out() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let key = gate.key("ada@example.com", "pro");
    for nominated in ["x-tollgate-account, x-tollgate-plan", "close, X-Tollgate-Key-Id", "x-request-id, x-api-key"] {
        gate.send(&Request::get("/events/1").key(&key.raw).header("Connection", nominated)).expect(200);
        let arrival = backend.last();
        assert_eq!(named(&arrival, "x-tollgate-").len(), 3, "{nominated}: {arrival:?}");
        assert!(arrival.header("x-request-id").is_some() && arrival.header("x-api-key").is_none(), "{arrival:?}");
    }
    let arrived = backend.count();
    for nominated in ["x-forwarded-for", "host", "content-length"] {
        let request = Request::get("/events/1").key(&key.raw).header("Connection", nominated);
        gate.send(&request).problem(400, "bad_request");
    }
    assert_eq!(backend.count(), arrived);
}

#[test]
fn headers_that_a_backend_could_take_for_ours_are_taken_out_in_every_spelling() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).set("upstream", "add_headers = { x-gateway-secret = \"s3cret\" }").start();
    let key = gate.key("ada@example.com", "pro");
    let request = Request::get("/events/1")
        .key(&key.raw)
        .header("X_Api_Key", "forged")
        .header("X-Gateway-Secret", "forged")
        .header("x_gateway_secret", "forged")
        .header("X_Forwarded_For", "1.2.3.4")
        .header("X-Request-Id", "forged")
        .header("x.request.id", "forged");
    gate.send(&request).expect(200);
    let arrival = backend.last();
    assert_eq!(named(&arrival, "x-gateway-secret"), [("x-gateway-secret".to_owned(), "s3cret")]);
    assert_eq!(named(&arrival, "x-forwarded-for"), [("x-forwarded-for".to_owned(), "127.0.0.1")]);
    assert_eq!(named(&arrival, "x-api-key"), []);
    let ids = named(&arrival, "x-request-id");
    assert!(ids.len() == 1 && ids[0].1 != "forged", "{ids:?}");
}

#[test]
fn host_and_forwarded_headers_say_how_the_call_came() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let key = gate.key("ada@example.com", "pro");
    let request = Request::get("/events/1")
        .key(&key.raw)
        .header("Host", "api.example.com")
        .header("X-Forwarded-For", "203.0.113.7")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "evil.example")
        .header("Forwarded", "for=203.0.113.7")
        .header("X-Real-IP", "203.0.113.7");
    gate.send(&request).expect(200);
    let arrival = backend.last();
    for (name, value) in [
        ("host", Some("api.example.com")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("api.example.com")),
        ("forwarded", None),
        ("x-real-ip", None),
    ] {
        assert_eq!(arrival.header(name), value, "{name} of an untrusted client");
    }

    let behind = Setup::new(&backend)
        .set("gateway", "trusted_proxies = [\"127.0.0.0/8\"]")
        .set("upstream", "host = \"backend.internal\"")
        .start();
    let key = behind.key("ada@example.com", "pro");
    let request = Request::get("/events/1")
        .key(&key.raw)
        .header("Host", "api.example.com")
        .header("X-Forwarded-For", "198.51.100.1, 203.0.113.7")
        .header("X-Forwarded-Proto", "https");
    behind.send(&request).expect(200);
    let arrival = backend.last();
    for (name, value) in [
        ("host", "backend.internal"),
        ("x-forwarded-for", "198.51.100.1, 203.0.113.7, 127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "api.example.com"),
    ] {
        assert_eq!(arrival.header(name), Some(value), "{name} of a trusted proxy");
    }
}

#[test]
fn one_request_has_one_name_everywhere() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let key = gate.key("ada@example.com", "pro");
    let answer = gate.send(&Request::get("/events/1").key(&key.raw).header("X-Request-Id", "mine")).expect(200);
    let id = answer.header("x-request-id").expect("an id").to_owned();
    assert_ne!(id, "mine", "a client does not choose it");
    assert_eq!(backend.last().header("x-request-id"), Some(&*id));
    assert_eq!(gate.request_line(&answer)["request_id"], *id);
    let next = gate.get("/events/1", &key);
    assert_ne!(next.header("x-request-id"), Some(&*id));

    let behind = Setup::new(&backend).set("gateway", "trusted_proxies = [\"127.0.0.1\"]").start();
    let send = |id: &str| behind.send(&Request::get("/events/public").header("X-Request-Id", id)).expect(200);
    assert_eq!(send("edge-7f:1").header("x-request-id"), Some("edge-7f:1"), "a trusted proxy's is kept");
    assert_eq!(backend.last().header("x-request-id"), Some("edge-7f:1"));
    let odd = "a b\u{7f}".replace('\u{7f}', "\"");
    assert_ne!(send(&odd).header("x-request-id"), Some(&*odd), "unless it is no plain word");
}
