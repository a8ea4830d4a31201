//! Where a key may stand, and that it goes no further.

use tollgate_e2e::{Arrival, Backend, Gate, Request, Setup};

fn start(backend: &Backend) -> Gate {
    Setup::new(backend).set("keys", "query = \"api_key\"").start()
}

#[track_caller]
fn holds_no_key(arrival: &Arrival, raw: &str) {
    let text = format!("{arrival:?}");
    assert!(!text.contains(raw), "{text}");
}

#[test]
fn a_key_is_taken_from_the_header_a_bearer_token_or_the_query_and_taken_out_there() {
    let backend = Backend::start();
    let gate = start(&backend);
    let raw = gate.key("ada@example.com", "pro").raw;
    let bearer = format!("Bearer {raw}");
    let search = "/events/search";
    for (what, request, target) in [
        ("header", Request::get("/events/search?b=2&a=1").key(&raw), "/events/search?b=2&a=1"),
        ("bearer", Request::get(search).header("Authorization", &bearer), search),
        ("bearer in another case", Request::get(search).header("authorization", &format!("bEaReR {raw}")), search),
        ("query", Request::get(&format!("{search}?z=1&api_key={raw}&a=%20x&b")), "/events/search?z=1&a=%20x&b"),
        ("query alone", Request::get(&format!("{search}?api_key={raw}")), search),
        ("escaped query", Request::get(&format!("{search}?q=1&api%5fkey={raw}")), "/events/search?q=1"),
        ("header and bearer", Request::get(search).key(&raw).header("Authorization", &bearer), search),
        ("twice in the header", Request::get(search).key(&raw).key(&raw), search),
    ] {
        backend.forget();
        assert_eq!(gate.send(&request).status, 200, "{what}");
        let arrival = backend.only();
        assert_eq!(arrival.target, target, "{what}");
        assert_eq!(arrival.header("authorization"), None, "{what}");
        holds_no_key(&arrival, &raw);
    }
}

#[test]
fn a_key_in_the_query_stands_in_no_referer_and_no_log() {
    let backend = Backend::start();
    let gate = start(&backend);
    let raw = gate.key("ada@example.com", "pro").raw;
    let referer = format!("https://app.example/page?x=1&api_key={raw}&y=2#top");
    let request = Request::get(&format!("/events/search?api_key={raw}&q=1")).header("Referer", &referer);
    let answer = gate.send(&request).expect(200);
    assert_eq!(backend.only().header("referer"), Some("https://app.example/page?x=1&y=2#top"));
    let line = gate.request_line(&answer);
    assert_eq!(line["path"], "/events/search", "no query in the log");
    for target in [format!("/events/%zz?api_key={raw}"), format!("/events//?api_key={raw}")] {
        gate.send(&Request::get(&target)).problem(400, "bad_request");
    }
    gate.await_log("the refusals", |line| line.contains("bad_request"));
    assert!(!gate.log().contains(&raw));
}

#[test]
fn without_the_setting_a_query_parameter_is_no_key() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let raw = gate.key("ada@example.com", "pro").raw;
    gate.send(&Request::get(&format!("/events/search?api_key={raw}"))).problem(401, "missing_key");
}

#[test]
fn an_authorization_that_is_no_key_goes_on_to_the_upstream() {
    let backend = Backend::start();
    let gate = start(&backend);
    let raw = gate.key("ada@example.com", "pro").raw;
    for value in ["Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln", "Basic dXNlcjpwYXNz", "Digest x=\"y\""] {
        gate.send(&Request::get("/events/1").key(&raw).header("Authorization", value)).expect(200);
        let arrival = backend.last();
        assert_eq!(arrival.header("authorization"), Some(value));
        holds_no_key(&arrival, &raw);
    }
    gate.send(&Request::get("/events/1").header("Authorization", "Bearer eyJ.e30.x")).problem(401, "missing_key");
}

#[test]
fn two_different_keys_are_refused_wherever_they_stand() {
    let backend = Backend::start();
    let gate = start(&backend);
    let (one, other) = (gate.key("ada@example.com", "pro").raw, gate.key("bob@example.com", "pro").raw);
    let get = || Request::get("/events/1").key(&one);
    for request in [
        get().key(&other),
        get().key(""),
        get().header("Authorization", &format!("Bearer {other}")),
        Request::get(&format!("/events/1?api_key={other}")).key(&one),
        Request::get(&format!("/events/1?api_key={one}&api_key={other}")),
    ] {
        assert_eq!(gate.send(&request).problem(403, "invalid_key")["detail"], "Invalid or revoked API key");
    }
    assert_eq!(backend.count(), 0);
    assert_eq!(gate.used("ada@example.com"), 0);
}

#[test]
fn a_key_in_an_odd_form_has_one_answer_and_no_lookup() {
    let backend = Backend::start();
    let gate = start(&backend);
    let raw = gate.key("ada@example.com", "pro").raw;
    let reads = gate.metrics().count("tollgate_store_reads_total", &[]);
    for (target, header, status) in [
        ("/events/1".to_owned(), Some(String::new()), 403),
        ("/events/1?api_key=".to_owned(), None, 403),
        ("/events/1?api_key".to_owned(), None, 403),
        (format!("/events/1?api_key[]={raw}"), None, 401),
        ("/events/1".to_owned(), Some(format!("{raw},{raw}")), 403),
        ("/events/1".to_owned(), Some(format!("\"{raw}\"")), 403),
        ("/events/1".to_owned(), Some(raw.to_uppercase()), 403),
        ("/events/1".to_owned(), Some("k".repeat(50_000)), 403),
    ] {
        let request = Request::get(&target);
        let request = if let Some(value) = &header { request.key(value) } else { request };
        assert_eq!(gate.send(&request).status, status, "{target} {header:?}");
    }
    gate.send(&Request::get("/events/1").key(&"k".repeat(1 << 20))).problem(431, "headers_too_large");
    assert_eq!(gate.metrics().count("tollgate_store_reads_total", &[]), reads);
    assert_eq!(backend.count(), 0);
}

#[test]
fn a_public_route_ignores_a_key_and_a_pass_route_does_not_look() {
    let backend = Backend::start();
    let gate = start(&backend);
    let raw = gate.key("ada@example.com", "pro").raw;
    gate.send(&Request::get("/events/public").key("junk")).expect(200);
    gate.send(&Request::get(&format!("/events/public?api_key={raw}&x=1")).key(&raw)).expect(200);
    let arrival = backend.last();
    holds_no_key(&arrival, &raw);
    assert_eq!((arrival.target.as_str(), arrival.header("x-tollgate-account")), ("/events/public?x=1", None));

    let bearer = format!("Bearer {raw}");
    let request = Request::get(&format!("/auth/login?api_key={raw}")).key(&raw).header("Authorization", &bearer);
    gate.send(&request).expect(200);
    let arrival = backend.last();
    assert_eq!(arrival.target, format!("/auth/login?api_key={raw}"), "straight through");
    assert_eq!((arrival.header("x-api-key"), arrival.header("authorization")), (Some(raw.as_str()), Some(&*bearer)));
    assert_eq!(gate.used("ada@example.com"), 0);
}
