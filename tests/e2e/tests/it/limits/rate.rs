//! Buckets and windows.

use std::thread;
use std::time::{Duration, Instant};

use tollgate_e2e::{Backend, Gate, Key, Request, Setup, policy};

fn admitted(gate: &Gate, key: &Key, calls: usize) -> usize {
    (0..calls).filter(|_| gate.get("/events/1", key).status == 200).count()
}

#[test]
fn a_hundred_rapid_calls_pass_up_to_the_burst_and_what_refilled() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).policy(policy::one_plan("rate = \"600/minute\"\nburst = 60")).start();
    let key = gate.key("ada@example.com", "pro");
    let mut connection = gate.connect();
    let request = Request::get("/events/1").key(&key.raw);
    let mut began = Instant::now();
    let mut answers = Vec::new();
    for number in 0..100 {
        answers.push(connection.send(&request).expect("an answer"));
        // What is refilled before the first call is not counted: the bucket is full then.
        began = if number == 0 { Instant::now() } else { began };
    }
    let refilled = began.elapsed().as_millis() / 100;
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    let most = 60 + usize::try_from(refilled).expect("few") + 1;
    assert!((60..=most).contains(&passed), "{passed} passed, between 60 and {most} should have");
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    for answer in &refused {
        answer.problem(429, "rate_limited");
        assert_eq!(answer.number("retry-after"), 1, "the next token is a tenth of a second away, rounded up");
    }
    let wait = refused.last().expect("some were refused").number("retry-after");
    thread::sleep(Duration::from_secs(wait));
    assert_eq!(connection.send(&request).expect("an answer").status, 200, "a lone caller that obeys succeeds");
}

#[test]
fn whoever_obeys_retry_after_succeeds_and_whoever_does_not_is_refused_again() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).policy(policy::one_plan("rate = \"30/minute\"\nburst = 1")).start();
    let key = gate.key("ada@example.com", "pro");
    gate.get("/", &key).expect(200);
    let refused = gate.get("/", &key).expect(429);
    assert_eq!(refused.number("retry-after"), 2);
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_millis(1_200) {
        gate.get("/", &key).expect(429);
        thread::sleep(Duration::from_millis(100));
    }
    thread::sleep(Duration::from_secs(2).saturating_sub(asked.elapsed()));
    gate.get("/", &key).expect(200);
}

#[test]
fn a_window_holds_its_limit_and_frees_it_only_when_it_has_passed() {
    let backend = Backend::start();
    let limits = "windows = [\"5/minute\", \"8/hour\"]";
    let mut gate = Setup::new(&backend).policy(policy::one_plan(limits)).start();
    let key = gate.key("ada@example.com", "pro");
    assert_eq!(admitted(&gate, &key, 8), 5);
    let refused = gate.get("/", &key);
    refused.problem(429, "rate_limited");
    assert!((50..=61).contains(&refused.number("retry-after")), "{refused:?}");
    gate.restart();
    assert_eq!(admitted(&gate, &key, 3), 0, "a stop does not empty it");
    gate.kill();
    gate.start_again();
    assert_eq!(admitted(&gate, &key, 3), 0, "nor does a crash");
}

#[test]
fn neither_a_stop_nor_a_crash_refills_a_bucket() {
    let backend = Backend::start();
    let mut gate = Setup::new(&backend).policy(policy::one_plan("rate = \"1/hour\"\nburst = 20")).start();
    let key = gate.key("ada@example.com", "pro");
    assert_eq!(admitted(&gate, &key, 15), 15);
    gate.restart();
    assert_eq!(admitted(&gate, &key, 10), 5);
    gate.await_ledger();
    gate.kill();
    gate.start_again();
    assert_eq!(admitted(&gate, &key, 10), 0);
}

#[test]
fn a_refused_call_debits_no_limit() {
    let backend = Backend::start();
    let limits = "rate = \"1/hour\"\nburst = 30\nwindows = [\"20/day\"]\nquota = \"2/month\"";
    let gate = Setup::new(&backend).policy(policy::one_plan(limits)).start();
    let key = gate.key("ada@example.com", "pro");
    assert_eq!(admitted(&gate, &key, 12), 2);
    let state = gate.get("/", &key).expect(429).header("ratelimit").expect("limits").to_owned();
    for (name, left) in [("burst", 28), ("day", 18), ("month", 0)] {
        assert!(state.contains(&format!("\"{name}\";r={left};")), "{state}");
    }
}

#[test]
fn anonymous_callers_are_limited_by_address() {
    let backend = Backend::start();
    let policy = policy::STANDARD.replace("rate = \"30/minute\"", "rate = \"1/hour\"\nburst = 2");
    let gate = Setup::new(&backend).policy(policy).set("gateway", "trusted_proxies = [\"127.0.0.1\"]").start();
    let from = |client: &str| gate.send(&Request::get("/events/public").header("X-Forwarded-For", client)).status;
    let thrice = |clients: [&str; 3]| clients.map(from);
    assert_eq!(thrice(["203.0.113.1"; 3]), [200, 200, 429]);
    assert_eq!(thrice(["203.0.113.2"; 3]), [200, 200, 429], "another address has its own");
    assert_eq!(thrice(["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3"]), [200, 200, 429], "a /64 is one client");
    assert_eq!(from("2001:db8:0:1::1"), 200, "the next /64 is another");
    let refused = gate.send(&Request::get("/events/public").header("X-Forwarded-For", "203.0.113.1"));
    let problem = refused.problem(429, "rate_limited");
    assert_eq!((problem["detail"].as_str(), problem["plan"].as_str()), (Some("Rate limit exceeded"), Some("public")));
    assert!(refused.number("retry-after") > 60);
    assert_eq!(refused.header("ratelimit"), None);
}

#[test]
fn an_optional_route_serves_both_kinds_of_caller_under_their_own_limits() {
    let backend = Backend::start();
    let policy = "[plans.public]\nrate = \"1/hour\"\nburst = 1\n[plans.pro]\nrank = 1\nrate = \"1/hour\"\nburst = 3\n\
                  [[routes]]\npath = \"/open\"\naccess = \"optional\"\n\
                  [[routes]]\npath = \"/better\"\naccess = \"optional\"\nmin_plan = \"pro\"\n";
    let gate = Setup::new(&backend).policy(policy).start();
    let key = gate.key("ada@example.com", "pro");
    let anonymous = |target: &str| gate.send(&Request::get(target));
    assert_eq!(anonymous("/open").status, 200);
    anonymous("/open").problem(429, "rate_limited");
    let keyed = gate.get("/open", &key).expect(200);
    assert_eq!(keyed.number("x-ratelimit-remaining"), 2);
    assert_eq!(backend.last().header("x-tollgate-plan"), Some("pro"));
    gate.send(&Request::get("/open").key("junk")).problem(403, "invalid_key");
    anonymous("/better").problem(401, "missing_key");
    gate.get("/better", &key).expect(200);
}
