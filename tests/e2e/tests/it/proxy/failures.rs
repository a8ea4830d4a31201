//! An upstream that fails halfway, or drops what it has read.

use tollgate_e2e::{Backend, Behaviour, Request, Setup, policy};

#[test]
fn a_call_that_the_upstream_may_have_done_is_not_sent_again() {
    let backend = Backend::start();
    backend.on("/order", Behaviour::hangs_up());
    let gate = Setup::new(&backend).policy(policy::one_plan("quota = \"100/month\"")).start();
    let raw = gate.key("ada@example.com", "pro").raw;
    for method in ["POST", "PATCH"] {
        // A connection to the upstream that was used before is where a proxy is tempted to try again.
        gate.send(&Request::get("/warm").key(&raw)).expect(200);
        backend.forget();
        let answer = gate.send(&Request::new(method, "/order").key(&raw).header("X-Order", "1"));
        answer.problem(502, "upstream_unavailable");
        assert_eq!(backend.count(), 1, "{method} was sent again");
    }
    assert_eq!(gate.used("ada@example.com"), 2, "the two that warmed the connection");
}

#[test]
fn a_connection_that_the_upstream_closed_while_idle_costs_no_call() {
    let backend = Backend::start();
    backend.on("/closing", Behaviour::status(200).header("Connection", "close"));
    let gate = Setup::new(&backend).policy(policy::one_plan("quota = \"100/month\"")).start();
    let raw = gate.key("ada@example.com", "pro").raw;
    for _ in 0..10 {
        gate.send(&Request::get("/closing").key(&raw)).expect(200);
        gate.send(&Request::post("/else", "body").key(&raw)).expect(200);
    }
    assert_eq!(backend.count(), 20);
}

#[test]
fn an_answer_that_breaks_off_breaks_off_at_the_client_and_is_not_made_whole() {
    let backend = Backend::start();
    backend.on("/broken", Behaviour::status(200).broken(100, 1_000));
    let gate = Setup::new(&backend).policy(policy::one_plan("quota = \"100/month\"")).start();
    let raw = gate.key("ada@example.com", "pro").raw;
    let answer = gate.send(&Request::get("/broken").key(&raw));
    assert_eq!((answer.status, answer.body.len(), answer.complete), (200, 100, false));
    let line = gate.request_line(&answer);
    assert_eq!((&line["outcome"], &line["status"]), (&"broken_off".into(), &200.into()));
    assert_eq!(backend.count(), 1);
}

#[test]
fn an_upstream_that_comes_back_is_used_again() {
    let backend = Backend::start();
    let address = backend.address();
    let gate = Setup::new(&backend).policy(policy::one_plan("quota = \"100/month\"")).start();
    let raw = gate.key("ada@example.com", "pro").raw;
    gate.send(&Request::get("/a").key(&raw)).expect(200);
    drop(backend);
    for _ in 0..3 {
        gate.send(&Request::post("/a", "x").key(&raw)).problem(502, "upstream_unavailable");
    }
    let back = Backend::start_at(address);
    gate.send(&Request::get("/a").key(&raw)).expect(200);
    assert!(back.count() >= 1);
}

#[test]
fn an_upstream_by_name_is_found_at_any_of_its_addresses() {
    let backend = Backend::start();
    let setup = Setup::new(&backend).upstream_host("localhost").policy(policy::one_plan("quota = \"100/month\""));
    let gate = setup.start();
    let raw = gate.key("ada@example.com", "pro").raw;
    // The backend listens on one of the addresses that the name may have; a body must reach it all the same.
    for number in 0..20 {
        let request = if number % 2 == 0 { Request::get("/a") } else { Request::post("/a", "body") };
        gate.send(&request.key(&raw)).expect(200);
    }
    assert_eq!((backend.count(), gate.used("ada@example.com")), (20, 20));
}

#[test]
fn an_upstream_whose_name_is_not_known_is_502() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).upstream_host("no-such-host.invalid").start();
    let raw = gate.key("ada@example.com", "pro").raw;
    gate.send(&Request::get("/events/1").key(&raw)).problem(502, "upstream_unavailable");
    assert_eq!(gate.used("ada@example.com"), 0);
    gate.await_log("why", |line| line.contains("no-such-host.invalid"));
}
