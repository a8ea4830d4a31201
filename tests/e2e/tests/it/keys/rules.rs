//! Rules of a single key: expiry, scopes, reading only, addresses, and how many an account may have.

use tollgate_e2e::{Backend, Request, Setup, eventually, policy};

#[test]
fn an_expired_key_is_refused_from_its_instant_on() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let key = gate.key_with("ada@example.com", "pro", &["--expires", "2s"]);
    gate.get("/events/1", &key).expect(200);
    eventually("the key expires", || (gate.get("/events/1", &key).status == 403).then_some(()));
    let listed = gate.cli(&["keys", "list", "--json"]).done().json();
    assert_eq!(listed[0]["state"], "expired");
    gate.cli(&["keys", "create", "--email", "ada@example.com", "--plan", "pro", "--expires", "2020-01-01"])
        .exits(1)
        .says("expires");
}

#[test]
fn scopes_name_routes_by_name_or_glob_and_cover_nothing_else() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    for (scopes, open, closed) in [
        (vec!["--scope", "events"], vec!["/events/1"], vec!["/reports/1", "/llm/x", "/elsewhere"]),
        (vec!["--scope", "ev*", "--scope", "llm"], vec!["/events/1", "/llm/x"], vec!["/reports/1"]),
        (vec!["--scope", "*"], vec!["/events/1", "/reports/1", "/elsewhere"], vec![]),
        (vec![], vec!["/events/1", "/elsewhere"], vec![]),
    ] {
        let key = gate.key_with("ada@example.com", "team", &scopes);
        for target in open {
            assert_eq!(gate.get(target, &key).status, 200, "{scopes:?} {target}");
        }
        for target in closed {
            gate.get(target, &key).problem(403, "not_allowed");
        }
    }
}

#[test]
fn a_read_only_key_reads() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let key = gate.key_with("ada@example.com", "pro", &["--read-only"]);
    for (method, status) in
        [("GET", 200), ("HEAD", 200), ("OPTIONS", 200), ("POST", 403), ("PUT", 403), ("PATCH", 403), ("DELETE", 403)]
    {
        assert_eq!(gate.send(&Request::new(method, "/events/1").key(&key.raw)).status, status, "{method}");
    }
    let request = Request::new("GET", "/events/1").key(&key.raw).header("X-HTTP-Method-Override", "DELETE");
    assert_eq!(gate.send(&request).status, 200, "the override changes no rule");
}

#[test]
fn addresses_are_those_that_trusted_proxies_name_from_right_to_left() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).set("gateway", "trusted_proxies = [\"127.0.0.1\", \"10.9.0.0/16\"]").start();
    let office =
        gate.key_with("ada@example.com", "pro", &["--ip-allow", "203.0.113.0/24", "--ip-deny", "203.0.113.66"]);
    let six = gate.key_with("ada@example.com", "pro", &["--ip-allow", "2001:db8::/32"]);
    for (key, chain, status) in [
        (&office, Some("203.0.113.7"), 200),
        (&office, Some("198.51.100.1, 203.0.113.7"), 200),
        (&office, Some("203.0.113.7, 198.51.100.1"), 403),
        (&office, Some("203.0.113.7, 10.9.1.1"), 200),
        (&office, Some("203.0.113.66"), 403),
        (&office, Some("203.0.113.7, nonsense"), 403),
        (&office, None, 403),
        (&six, Some("2001:db8::7"), 200),
        (&six, Some("2001:db9::7"), 403),
    ] {
        let request = Request::get("/events/1").key(&key.raw);
        let request = if let Some(chain) = chain { request.header("X-Forwarded-For", chain) } else { request };
        assert_eq!(gate.send(&request).status, status, "{chain:?}");
    }

    let open = Setup::new(&backend).start();
    let office = open.key_with("ada@example.com", "pro", &["--ip-allow", "203.0.113.0/24"]);
    for (name, value) in
        [("X-Forwarded-For", "203.0.113.7"), ("Forwarded", "for=203.0.113.7"), ("X-Real-IP", "203.0.113.7")]
    {
        let request = Request::get("/events/1").key(&office.raw).header(name, value);
        open.send(&request).problem(403, "not_allowed");
    }
}

#[test]
fn max_keys_counts_active_keys_and_a_downgrade_kills_none() {
    let backend = Backend::start();
    let policy = "[plans.two]\nmax_keys = 2\n[plans.one]\nmax_keys = 1\n";
    let gate = Setup::new(&backend).policy(policy).start();
    let first = gate.key("ada@example.com", "two");
    let second = gate.key("ada@example.com", "two");
    let create = ["keys", "create", "--account", "ada@example.com"];
    gate.cli(&create).exits(1).says("plan `two` allows 2");
    gate.cli(&["keys", "revoke", &second.id]).done();
    let third = gate.key("ada@example.com", "two");
    gate.cli(&["accounts", "set-plan", "ada@example.com", "one"]).done();
    for key in [&first, &third] {
        gate.get("/", key).expect(200);
    }
    gate.cli(&create).exits(1).says("plan `one` allows 1");
    // A predecessor in its grace does not count, and rotation adds none.
    gate.cli(&["keys", "revoke", &third.id]).done();
    gate.cli(&["keys", "rotate", &first.id, "--grace", "1h"]).done();
    gate.cli(&create).exits(1).says("1 active");
}

#[test]
fn a_keys_own_rate_and_cap_hold_below_the_plans() {
    let backend = Backend::start();
    let limits = "rate = \"1/hour\"\nburst = 50\nquota = \"1_000/month\"";
    let gate = Setup::new(&backend).policy(policy::one_plan(limits)).start();
    let slow = gate.key_with("ada@example.com", "pro", &["--rate", "2/hour", "--burst", "2"]);
    let capped = gate.key_with("ada@example.com", "pro", &["--cap", "3"]);
    let other = gate.key("ada@example.com", "pro");
    let statuses = |key| (0..5).map(|_| gate.get("/", key).status).collect::<Vec<_>>();
    assert_eq!(statuses(&slow), [200, 200, 429, 429, 429]);
    assert_eq!(statuses(&capped), [200, 200, 200, 429, 429]);
    assert_eq!(statuses(&other), [200; 5]);
    gate.get("/", &slow).problem(429, "rate_limited");
    let refused = gate.get("/", &capped);
    refused.problem(429, "quota_exceeded");
    assert!(
        refused.header("ratelimit-policy").is_some_and(|policy| policy.contains("\"key-month\";q=3")),
        "{refused:?}"
    );
    assert_eq!(gate.used("ada@example.com"), 10, "refused calls cost nothing");
}
