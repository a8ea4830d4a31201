//! What is answered while something that the gate needs is away.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use tollgate_e2e::{Backend, Behaviour, Connection, Profile, Request, Setup, closed_port, eventually, policy};

use crate::support::{foreign_key, import_keys, sha256};

#[test]
fn an_upstream_that_is_not_there_is_502_and_costs_nothing() {
    let gate = Setup::in_front_of(closed_port()).start();
    let key = gate.key("ada@example.com", "pro");
    for request in [Request::get("/events/1"), Request::post("/events/1", "body")] {
        let answer = gate.send(&request.key(&key.raw));
        assert_eq!(answer.problem(502, "upstream_unavailable")["detail"], "Upstream unavailable");
    }
    let public = gate.send(&Request::get("/events/public"));
    assert_eq!(public.problem(502, "upstream_unavailable")["detail"], "Upstream unavailable");
    assert_eq!(gate.used("ada@example.com"), 0);
    assert_eq!(gate.metrics().count("tollgate_requests_total", &[("outcome", "upstream_unavailable")]), 3);
    assert_eq!(gate.observe("/readyz").status, 200, "the gate itself is fine");
}

#[test]
fn an_upstream_that_is_too_slow_is_504_and_costs_nothing() {
    let backend = Backend::start();
    backend.on("/events/slow", Behaviour::status(200).held());
    let gate = Setup::new(&backend).set("upstream", "read_timeout = \"300ms\"").start();
    let key = gate.key("ada@example.com", "pro");
    let began = Instant::now();
    let answer = gate.get("/events/slow", &key);
    assert_eq!(answer.problem(504, "upstream_timeout")["detail"], "Upstream timed out");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(backend.count(), 1, "a slow request is not sent again");
    assert_eq!(gate.used("ada@example.com"), 0);
    gate.get("/events/1", &key).expect(200);
    assert_eq!(gate.used("ada@example.com"), 1);
}

#[test]
fn a_key_that_is_not_cached_is_503_while_the_store_does_not_answer() {
    // Elsewhere the fleet's tests take the servers away.
    if Profile::current() != Profile::EMBEDDED {
        return;
    }
    let backend = Backend::start();
    let mut gate = Setup::new(&backend)
        .set("keys", "also_accept = [\"rk_*\"]")
        .policy(policy::one_plan("quota = \"9/month\""))
        .start();
    // So many that they fill many pages, of which one lookup reads few.
    let rows = (0..3_000).map(|number| format!("{},ada@example.com,pro", sha256(&foreign_key(number))));
    import_keys(&gate, "key_hash,email,plan", rows);
    gate.restart();
    let call = |number: usize| gate.send(&Request::get("/").key(&foreign_key(number)));
    call(0).expect(200);
    for name in ["tollgate.db", "tollgate.db-wal"] {
        let path = gate.folder().join(name);
        let length = fs::metadata(&path).map_or(0, |data| data.len());
        let mut file = fs::File::options().write(true).open(&path).expect("the file is there");
        file.write_all(&vec![0x5a_u8; usize::try_from(length).expect("a small file")]).expect("it can be spoilt");
    }
    let answer = eventually("a key whose page is not in memory", || {
        (1..50).map(call).find(|answer| answer.status != 200 && answer.status != 429)
    });
    assert_eq!(answer.problem(503, "store_unavailable")["detail"], "Key store unavailable");
    assert!(answer.number("retry-after") >= 1);
    assert!(matches!(call(0).status, 200 | 429), "a key that is cached is still decided on");
    assert!(gate.metrics().count("tollgate_store_errors_total", &[]) >= 1);
    // There is nothing to save to any more, so the gate is not asked to leave in order.
    gate.kill();
}

#[test]
fn a_client_that_hangs_up_stands_in_the_log() {
    let backend = Backend::start();
    backend.on("/events/held", Behaviour::status(200).held());
    let gate = Setup::new(&backend).set("log", "format = \"line\"").start();
    let key = gate.key("ada@example.com", "pro");
    let mut connection = Connection::open(gate.address());
    let request = Request::get("/events/held").key(&key.raw);
    connection.write(&request.bytes(gate.address())).expect("written");
    backend.await_count(1);
    drop(connection);
    gate.await_log("499", |line| line.starts_with("GET /events/held 499 "));
    backend.release();
    assert_eq!(gate.used("ada@example.com"), 1, "the call was made and is charged");
}
