//! `enforce = false`: what would be refused goes on, and log, metrics and ledger say so.

use tollgate_e2e::{Answer, Backend, Gate, Request, Setup};

const POLICY: &str = r#"
[accounts]
default_plan = "free"
[plans.public]
rate = "1/hour"
burst = 1
[plans.free]
api = false
[plans.pro]
rank = 1
quota = "1/month"
[plans.slow]
rank = 1
rate = "1/hour"
burst = 1
[plans.team]
rank = 2
[[routes]]
name = "public-feed"
path = "/events/public"
access = "public"
[[routes]]
name = "reports"
path = "/reports/*"
min_plan = "team"
[[routes]]
name = "events"
path = "/events/*"
"#;

fn start(backend: &Backend) -> Gate {
    Setup::new(backend).set("limits", "enforce = false").policy(POLICY).start()
}

#[track_caller]
fn would_have_been(gate: &Gate, answer: &Answer, code: &str, reason: &str) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let line = gate.request_line(answer);
    assert_eq!(line["would_refuse"], code, "{line:#}");
    assert_eq!(line["would_refuse_reason"], reason, "{line:#}");
    assert_eq!(line["status"], 200);
    assert!(gate.metrics().count("tollgate_would_refuse_total", &[("code", code), ("reason", reason)]) >= 1);
}

#[test]
fn calls_that_would_be_refused_pass_and_are_told_of() {
    let backend = Backend::start();
    let gate = start(&backend);
    let free = gate.key("free@example.com", "free");
    let pro = gate.key("pro@example.com", "pro");
    let slow = gate.key("slow@example.com", "slow");
    let elsewhere = Setup::new(&backend).start().key("x@example.com", "pro");

    would_have_been(&gate, &gate.send(&Request::get("/events/1")), "missing_key", "no_key");
    would_have_been(&gate, &gate.get("/events/1", &elsewhere), "invalid_key", "unknown");
    would_have_been(&gate, &gate.send(&Request::get("/events/1").key("junk")), "invalid_key", "malformed");
    for arrival in backend.arrivals() {
        for (name, _) in &arrival.headers {
            assert!(!name.to_ascii_lowercase().starts_with("x-tollgate-"), "{name} without a valid key");
            assert_ne!(name.to_ascii_lowercase(), "x-api-key");
        }
    }
    would_have_been(&gate, &gate.get("/events/1", &free), "upgrade_required", "plan_without_api");
    would_have_been(&gate, &gate.get("/reports/1", &pro), "upgrade_required", "plan_too_low");
    gate.get("/events/1", &pro).expect(200);
    would_have_been(&gate, &gate.get("/events/1", &pro), "quota_exceeded", "quota");
    gate.get("/events/1", &slow).expect(200);
    would_have_been(&gate, &gate.get("/events/1", &slow), "rate_limited", "burst");
    assert_eq!(backend.last().header("x-tollgate-plan"), Some("slow"), "a valid key keeps its identity");
    gate.send(&Request::get("/events/public")).expect(200);
    would_have_been(&gate, &gate.send(&Request::get("/events/public")), "rate_limited", "burst");
}

#[test]
fn what_passed_beyond_a_limit_debits_nothing_and_stands_in_the_ledger_as_unenforced() {
    let backend = Backend::start();
    let mut gate = start(&backend);
    let pro = gate.key("pro@example.com", "pro");
    for _ in 0..5 {
        gate.get("/events/1", &pro).expect(200);
    }
    assert_eq!(gate.used("pro@example.com"), 1);
    gate.restart();
    assert_eq!(gate.used("pro@example.com"), 1, "the ledger says the same");
    let line = gate.request_line(&gate.get("/events/1", &pro));
    assert_eq!(line["would_refuse"], "quota_exceeded");
}

#[test]
fn everything_else_still_refuses() {
    let backend = Backend::start();
    let gate = start(&backend);
    let revoked = gate.key("revoked@example.com", "pro");
    gate.cli(&["keys", "revoke", &revoked.id]).done();
    let banned = gate.key("banned@example.com", "pro");
    gate.cli(&["accounts", "ban", "banned@example.com"]).done();
    let read_only = gate.key_with("pro@example.com", "pro", &["--read-only"]);
    let other = gate.key("pro@example.com", "pro");
    // A key's own rule holds also where the plan would have refused and does not.
    let scoped = gate.key_with("free@example.com", "free", &["--scope", "nothing"]);
    gate.get("/events/1", &revoked).problem(403, "invalid_key");
    gate.get("/events/1", &banned).problem(403, "account_disabled");
    gate.send(&Request::post("/events/1", "x").key(&read_only.raw)).problem(403, "not_allowed");
    gate.get("/events/1", &scoped).problem(403, "not_allowed");
    gate.send(&Request::get("/events/1").key(&read_only.raw).key(&other.raw)).problem(403, "invalid_key");
    gate.send(&Request::get("/events/%2Fx").key(&other.raw)).problem(400, "bad_request");
    assert_eq!(backend.count(), 0);
}
