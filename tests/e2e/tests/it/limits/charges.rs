//! What is charged, and what is given back.

use std::io::ErrorKind;
use std::time::Duration;

use tollgate_e2e::{Answer, Backend, Behaviour, Connection, Gate, Key, Request, Setup, eventually, policy};

const LIMITS: &str = "rate = \"1/hour\"\nburst = 1_000\nquota = \"1_000/month\"";

fn start(backend: &Backend, routes: &str) -> (Gate, Key) {
    let gate = Setup::new(backend)
        .set("upstream", "read_timeout = \"1s\"")
        .set("gateway", "body_timeout = \"300ms\"")
        .policy(policy::one_plan(LIMITS) + routes)
        .start();
    let key = gate.key("ada@example.com", "pro");
    (gate, key)
}

/// Of the bucket, which no refund fills.
#[track_caller]
fn left_in_bucket(answer: &Answer) -> u64 {
    let state = answer.header("ratelimit").expect("limits");
    let (_, rest) = state.split_once("\"burst\";r=").expect("the bucket is shown");
    rest.split(';').next().and_then(|left| left.parse().ok()).expect("a number")
}

#[test]
fn what_the_upstream_failed_at_is_given_back_to_the_quota_alone() {
    let backend = Backend::start();
    backend.on("/gone", Behaviour::hangs_up());
    backend.on("/slow", Behaviour::status(200).held());
    for status in [204, 302, 404, 429, 500, 503, 599] {
        backend.on(&format!("/{status}"), Behaviour::status(status));
    }
    let (gate, key) = start(&backend, "");
    let mut used = 0;
    for (target, status, charged) in [
        ("/200", 200, 1),
        ("/204", 204, 1),
        ("/302", 302, 1),
        ("/404", 404, 1),
        ("/429", 429, 1),
        ("/500", 500, 0),
        ("/503", 503, 0),
        ("/599", 599, 0),
        ("/gone", 502, 0),
        ("/slow", 504, 0),
    ] {
        assert_eq!(gate.get(target, &key).status, status, "{target}");
        used += charged;
        assert_eq!(gate.used("ada@example.com"), used, "{target}");
    }
    assert_eq!(left_in_bucket(&gate.get("/", &key)), 989, "every forwarded call took its token");
}

#[test]
fn a_reported_cost_settles_what_was_taken_at_first() {
    let backend = Backend::start();
    for (path, cost) in [("/7", "7"), ("/0", "0"), ("/20", "20"), ("/21", "21"), ("/junk", "junk"), ("/plain", "9")] {
        backend.on(path, Behaviour::status(200).header("Tollgate-Cost", cost));
    }
    backend.on("/failed", Behaviour::status(500).header("Tollgate-Cost", "3"));
    let paths = ["/7", "/0", "/20", "/21", "/junk", "/silent", "/failed"];
    let routes: String = paths.map(|path| format!("[[routes]]\npath = \"{path}\"\ncost_max = 20\n")).concat();
    let (gate, key) = start(&backend, &routes);
    let (mut used, mut bucket) = (0, 1_000);
    for (target, charged, taken) in [
        ("/7", 7, 20),
        ("/0", 0, 20),
        ("/20", 20, 20),
        ("/21", 20, 20),
        ("/junk", 20, 20),
        ("/silent", 20, 20),
        ("/failed", 0, 20),
        ("/plain", 1, 1),
    ] {
        let answer = gate.get(target, &key);
        assert_eq!(answer.header("tollgate-cost"), None, "{target}: the report does not reach the client");
        used += charged;
        bucket -= taken;
        assert_eq!(gate.used("ada@example.com"), used, "{target}");
        assert_eq!(left_in_bucket(&answer), bucket, "{target}: bucket and windows keep what was taken");
    }
    assert_eq!(gate.metrics().count("tollgate_cost_clamped_total", &[]), 2);
    gate.await_ledger();
    assert_eq!(gate.used("ada@example.com"), used);
}

#[test]
fn a_restart_finds_refunds_and_settlements_in_the_ledger() {
    let backend = Backend::start();
    backend.on("/7", Behaviour::status(200).header("Tollgate-Cost", "7"));
    backend.on("/failed", Behaviour::status(500));
    let (mut gate, key) = start(&backend, "[[routes]]\npath = \"/7\"\ncost_max = 20\n");
    for target in ["/7", "/failed", "/"] {
        gate.get(target, &key);
    }
    gate.restart();
    assert_eq!(gate.used("ada@example.com"), 8);
    assert_eq!(left_in_bucket(&gate.get("/", &key).expect(200)), 1_000 - 20 - 1 - 1 - 1);
}

#[test]
fn a_client_that_hangs_up_and_a_body_that_breaks_off_are_charged() {
    let backend = Backend::start();
    backend.on("/broken", Behaviour::status(200).broken(10, 1_000));
    backend.on("/pieces", Behaviour::status(200).slow(100, Duration::from_millis(50)));
    let (gate, key) = start(&backend, "");
    let answer = gate.get("/broken", &key);
    assert_eq!((answer.status, answer.complete), (200, false), "the caller sees that it broke off");
    assert_eq!(gate.used("ada@example.com"), 1);

    let mut connection = gate.connect();
    connection.write(&Request::get("/pieces").key(&key.raw).bytes(gate.address())).expect("written");
    assert_eq!(connection.read_head().expect("a header").status, 200);
    drop(connection);
    eventually("the gate notices", || (gate.metrics().count("tollgate_requests_in_flight", &[]) == 0).then_some(()));
    gate.await_ledger();
    assert_eq!(gate.used("ada@example.com"), 2);
}

#[test]
fn a_body_that_is_declared_too_large_is_413_and_costs_nothing() {
    let backend = Backend::start();
    let routes = "[[routes]]\npath = \"/small\"\nmax_body = \"1KiB\"\n";
    let (gate, key) = start(&backend, routes);
    let send = |target: &str, length: usize| gate.send(&Request::post(target, vec![b'x'; length]).key(&key.raw));
    send("/small", 1_024).expect(200);
    let refused = send("/small", 1_025);
    refused.problem(413, "body_too_large");
    send("/else", 5_000).expect(200);
    assert_eq!(gate.used("ada@example.com"), 2);
    assert_eq!(backend.count(), 2);
}

#[test]
fn a_body_that_grows_too_large_or_stalls_is_charged_once_a_byte_of_it_went_on() {
    let backend = Backend::start();
    let routes = "[[routes]]\npath = \"/small\"\nmax_body = \"1KiB\"\n";
    let (gate, key) = start(&backend, routes);
    let open = |headers: &str| {
        let mut connection = Connection::open(gate.address());
        let head = format!("POST /small HTTP/1.1\r\nHost: a\r\nx-api-key: {}\r\n{headers}\r\n", key.raw);
        connection.write(head.as_bytes()).expect("written");
        connection
    };
    let chunk = |length: usize| format!("{length:x}\r\n{}\r\n", "x".repeat(length));
    let arrived = |bytes: usize| {
        eventually("the first bytes at the backend", || {
            backend.arrivals().last().is_some_and(|arrival| arrival.body.len() >= bytes).then_some(())
        });
    };

    let mut connection = open("Transfer-Encoding: chunked\r\n");
    connection.write(chunk(600).as_bytes()).expect("written");
    arrived(600);
    connection.write(chunk(600).as_bytes()).expect("written");
    connection.read_answer(false).expect("an answer").problem(413, "body_too_large");
    assert_eq!(gate.used("ada@example.com"), 1);

    backend.forget();
    let mut connection = open("Content-Length: 1000\r\n");
    connection.write(&[b'x'; 10]).expect("written");
    arrived(10);
    connection.read_answer(false).expect("an answer").problem(408, "request_timeout");
    assert_eq!(gate.used("ada@example.com"), 2);

    let mut connection = open("Content-Length: 1000\r\n");
    let answer = connection.read_answer(false).expect("an answer");
    answer.problem(408, "request_timeout");
    assert_eq!(gate.used("ada@example.com"), 2, "no byte of it went on");
    let ended = connection.read_answer(false).expect_err("the connection is closed");
    assert!(matches!(ended.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{ended}");
    assert!(backend.arrivals().iter().all(|arrival| !arrival.complete), "none is taken for a whole request");
}

#[test]
fn our_own_refusals_and_preflights_cost_nothing() {
    let backend = Backend::start();
    let routes = "[[routes]]\npath = \"/posts\"\nmethods = [\"POST\"]\n[cors]\norigins = [\"https://a.example\"]\n";
    let (gate, key) = start(&backend, routes);
    let preflight = Request::new("OPTIONS", "/x").key(&key.raw).header("Origin", "https://a.example");
    gate.send(&preflight.header("Access-Control-Request-Method", "GET")).expect(204);
    gate.get("/posts", &key).problem(405, "method_not_allowed");
    gate.get("/a//b", &key).problem(400, "bad_request");
    gate.get("/a%2Fb", &key).problem(400, "bad_request");
    gate.get("/tollgate/admin/v1/accounts", &key).problem(404, "not_found");
    gate.get("/tollgate/v1/me", &key).expect(200);
    assert_eq!((gate.used("ada@example.com"), backend.count()), (0, 0));
}
