//! Browsers: preflights, and what every other answer carries.

use tollgate_e2e::{Answer, Backend, Behaviour, Gate, Key, Request, Setup};

const SITE: &str = "https://site.example";
const CORS: &str = r#"
[[routes]]
path = "/posts"
methods = ["POST"]
[cors]
origins = ["https://site.example"]
methods = ["GET", "POST", "OPTIONS"]
headers = ["content-type", "x-api-key"]
credentials = false
"#;

fn start(backend: &Backend) -> (Gate, Key) {
    let own = Behaviour::status(200)
        .header("Access-Control-Allow-Origin", "*")
        .header("Access-Control-Allow-Credentials", "true")
        .header("Access-Control-Expose-Headers", "x-secret");
    for path in ["/events/1", "/auth/login"] {
        backend.on(path, own.clone());
    }
    let gate = Setup::new(backend).more_policy(CORS).start();
    let key = gate.key("ada@example.com", "pro");
    (gate, key)
}

fn preflight(target: &str, method: &str) -> Request {
    Request::new("OPTIONS", target).header("Origin", SITE).header("Access-Control-Request-Method", method)
}

#[track_caller]
fn is_ours(answer: &Answer) {
    assert_eq!(answer.all("access-control-allow-origin"), [SITE], "{answer:?}");
    assert_eq!(answer.header("access-control-allow-credentials"), None, "{answer:?}");
    let exposed = answer.header("access-control-expose-headers").unwrap_or_default().to_ascii_lowercase();
    for name in ["ratelimit", "ratelimit-policy", "x-ratelimit-remaining", "retry-after", "x-request-id"] {
        assert!(exposed.contains(name), "{name} is not exposed: {exposed}");
    }
    assert!(answer.all("vary").iter().any(|vary| vary.eq_ignore_ascii_case("origin")), "{answer:?}");
}

#[test]
fn a_preflight_is_answered_here_without_key_and_charge() {
    let backend = Backend::start();
    let (gate, _) = start(&backend);
    for (target, method) in [
        ("/events/1", "GET"),
        ("/events/public", "GET"),
        ("/reports/1", "DELETE"),
        ("/posts", "POST"),
        ("/posts", "GET"),
        ("/unknown", "PUT"),
    ] {
        let answer =
            gate.send(&preflight(target, method).header("Access-Control-Request-Headers", "x-api-key")).expect(204);
        assert_eq!(answer.header("access-control-allow-origin"), Some(SITE), "{target}");
        assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST, OPTIONS"));
        assert_eq!(answer.header("access-control-allow-headers"), Some("content-type, x-api-key"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        assert!(answer.body.is_empty());
    }
    let foreign = Request::new("OPTIONS", "/events/1")
        .header("Origin", "https://evil.example")
        .header("Access-Control-Request-Method", "GET");
    let answer = gate.send(&foreign).expect(204);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(backend.count(), 0);
    gate.send(&Request::new("OPTIONS", "/events/1")).problem(401, "missing_key");
}

#[test]
fn every_answer_carries_our_headers_in_place_of_the_upstreams() {
    let backend = Backend::start();
    let (gate, key) = start(&backend);
    let from_site = |request: Request| gate.send(&request.header("Origin", SITE));
    is_ours(&from_site(Request::get("/events/1").key(&key.raw)).expect(200));
    for (request, status) in [
        (Request::get("/events/1"), 401),
        (Request::get("/reports/1").key(&key.raw), 402),
        (Request::get("/events/1").key("junk"), 403),
        (Request::get("/posts").key(&key.raw), 405),
        (Request::get("/a//b"), 400),
        (Request::get("/a%2Fb").key(&key.raw), 400),
        (Request::get("/tollgate/v1/plans"), 200),
        (Request::get("/tollgate/admin"), 404),
    ] {
        let answer = from_site(request.clone());
        assert_eq!(answer.status, status, "{request:?}");
        is_ours(&answer);
    }
    let foreign =
        gate.send(&Request::get("/events/1").key(&key.raw).header("Origin", "https://evil.example")).expect(200);
    for name in ["access-control-allow-origin", "access-control-allow-credentials", "access-control-expose-headers"] {
        assert_eq!(foreign.header(name), None, "the upstream's own do not come through");
    }
    assert!(foreign.header("vary").is_some(), "a cache must not give this answer to the site");
}

#[test]
fn a_refusal_by_a_limit_carries_them_too() {
    let backend = Backend::start();
    let (gate, _) = start(&backend);
    let statuses: Vec<_> = (0..31)
        .map(|_| gate.send(&Request::get("/events/public").header("Origin", SITE)))
        .inspect(is_ours)
        .map(|answer| answer.status)
        .collect();
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
}

#[test]
fn a_pass_route_is_left_alone() {
    let backend = Backend::start();
    backend.on("/auth/options", Behaviour::status(207));
    let (gate, _) = start(&backend);
    let answer = gate.send(&Request::get("/auth/login").header("Origin", SITE)).expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(answer.header("vary"), None);
    gate.send(&preflight("/auth/options", "GET")).expect(207);
}

#[test]
fn without_a_cors_section_the_upstreams_headers_pass() {
    let backend = Backend::start();
    backend.on("/events/1", Behaviour::status(200).header("Access-Control-Allow-Origin", "*"));
    let gate = Setup::new(&backend).start();
    let key = gate.key("ada@example.com", "pro");
    let answer = gate.send(&Request::get("/events/1").key(&key.raw).header("Origin", SITE)).expect(200);
    assert_eq!(answer.all("access-control-allow-origin"), ["*"]);
    gate.send(&preflight("/events/1", "GET")).problem(401, "missing_key");
}

#[test]
fn any_origin_and_any_header_can_be_allowed() {
    let backend = Backend::start();
    let gate =
        Setup::new(&backend).more_policy("[cors]\norigins = [\"*\"]\nmethods = [\"*\"]\nheaders = [\"*\"]\n").start();
    let answer = gate
        .send(&preflight("/events/1", "DELETE").header("Access-Control-Request-Headers", "x-api-key, x-b"))
        .expect(204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert!(answer.header("access-control-allow-methods").is_some_and(|methods| methods.contains("DELETE")));
    assert_eq!(answer.header("access-control-allow-headers"), Some("x-api-key, x-b"));
}
