//! Every refusal by its status, code and words.

use serde_json::Value;
use tollgate_e2e::{Answer, Backend, Gate, Key, Request, Setup, policy};

const SEARCH: &str = "/events/search?q=earnings";

fn start(backend: &Backend) -> Gate {
    Setup::new(backend)
        .set("gateway", "signup_url = \"https://shop.example/signup\"")
        .set("gateway", "upgrade_url = \"https://shop.example/pricing\"")
        .start()
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str, detail: &str) -> Value {
    let problem = answer.problem(status, code);
    assert_eq!(problem["detail"], detail, "{problem:#}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "a refusal is never cached");
    problem
}

#[test]
fn a_call_without_a_key_is_told_which_header_is_missing() {
    let backend = Backend::start();
    let gate = start(&backend);
    for target in [SEARCH, "/", "/unheard/of", "/reports/1"] {
        let answer = gate.send(&Request::get(target));
        let problem = refused(&answer, 401, "missing_key", "Missing x-api-key");
        let challenge = answer.header("www-authenticate").expect("a 401 carries a challenge");
        assert!(challenge.contains("x-api-key"), "{challenge}");
        assert_eq!(problem["signup_url"], "https://shop.example/signup");
        assert_eq!(answer.header("ratelimit"), None, "nobody's limits are shown to nobody");
    }
    assert_eq!(backend.count(), 0);

    let renamed = Setup::new(&backend).set("keys", "header = \"x-rr-key\"").start();
    let answer = renamed.send(&Request::get(SEARCH));
    refused(&answer, 401, "missing_key", "Missing x-rr-key");
    let key = renamed.key("ada@example.com", "pro");
    renamed.send(&Request::get(SEARCH).header("x-rr-key", &key.raw)).expect(200);
    renamed.send(&Request::get(SEARCH).key(&key.raw)).expect(401);
}

#[test]
fn every_key_that_opens_nothing_gets_the_same_answer() {
    let backend = Backend::start();
    let gate = start(&backend);
    let revoked = gate.key("revoked@example.com", "pro");
    gate.cli(&["keys", "revoke", &revoked.id]).done();
    let rotated = gate.key("rotated@example.com", "pro");
    gate.cli(&["keys", "rotate", &rotated.id]).done();
    let deleted = gate.key("deleted@example.com", "pro");
    gate.cli(&["accounts", "delete", "deleted@example.com", "--yes"]).done();
    let expired = gate.key_with("expired@example.com", "pro", &["--expires", "1s"]);
    let mut typo = expired.raw.clone();
    typo.replace_range(10..11, if &typo[10..11] == "a" { "b" } else { "a" });
    let other = Setup::new(&backend).start().key("elsewhere@example.com", "pro");
    let long = "k".repeat(40_000);

    tollgate_e2e::eventually("the key expires", || (gate.get(SEARCH, &expired).status == 403).then_some(()));
    let arrived = backend.count();
    let mut bodies = Vec::new();
    for (what, text) in [
        ("a revoked one", revoked.raw.as_str()),
        ("one that was rotated out", &rotated.raw),
        ("a deleted account's", &deleted.raw),
        ("an expired one", &expired.raw),
        ("a typo", &typo),
        ("another deployment's", &other.raw),
        ("another prefix", &other.raw.replace("tg_live", "tg_test")),
        ("an empty one", ""),
        ("a word", "secret"),
        ("a very long one", &long),
    ] {
        let answer = gate.send(&Request::get(SEARCH).key(text));
        let mut problem = refused(&answer, 403, "invalid_key", "Invalid or revoked API key");
        problem["request_id"].take();
        assert_eq!(answer.header("www-authenticate"), None, "{what}");
        assert_eq!(answer.header("ratelimit"), None, "{what}");
        bodies.push((what, problem));
    }
    for (what, body) in &bodies {
        assert_eq!(body, &bodies[0].1, "{what} is told apart from {}", bodies[0].0);
    }
    assert_eq!(backend.count(), arrived);
}

#[test]
fn the_status_of_an_invalid_key_can_be_401() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).set("gateway", "invalid_key_status = 401").start();
    let answer = gate.send(&Request::get(SEARCH).key("secret"));
    refused(&answer, 401, "invalid_key", "Invalid or revoked API key");
    assert!(answer.header("www-authenticate").is_some(), "a 401 carries a challenge");
    let key = gate.key("ada@example.com", "pro");
    gate.cli(&["accounts", "ban", "ada@example.com"]).done();
    refused(&gate.get(SEARCH, &key), 403, "account_disabled", "Account disabled");
    let mount = gate.send(&Request::get("/tollgate/v1/me").key("secret"));
    assert_eq!(mount.problem(401, "invalid_key")["detail"], "Invalid or revoked API key");
}

#[test]
fn a_known_key_is_refused_by_account_plan_and_its_own_rules_in_this_order() {
    let backend = Backend::start();
    let gate = start(&backend);
    let free = gate.key("free@example.com", "free");
    let pro = gate.key("pro@example.com", "pro");
    let upgrade = "Upgrade required for this endpoint";
    let not_allowed = "Key not allowed for this endpoint";
    for (key, target, plan) in [
        (&free, SEARCH, "free"),
        (&pro, "/reports/1", "pro"),
        (&pro, "/llm/chat", "pro"),
        (&free, "/reports/1", "free"),
    ] {
        let problem = refused(&gate.get(target, key), 402, "upgrade_required", upgrade);
        assert_eq!(problem["plan"], plan, "{target}");
        assert_eq!(problem["upgrade_url"], "https://shop.example/pricing");
    }

    let make = |options: &[&str]| gate.key_with("pro@example.com", "pro", options);
    let (scoped, read_only) = (make(&["--scope", "rep*"]), make(&["--read-only"]));
    let (elsewhere, denied) = (make(&["--ip-allow", "10.0.0.0/8"]), make(&["--ip-deny", "127.0.0.0/8"]));
    for (key, request) in [
        (&scoped, Request::get(SEARCH)),
        (&read_only, Request::post(SEARCH, "x")),
        (&elsewhere, Request::get(SEARCH)),
        (&denied, Request::get(SEARCH)),
    ] {
        refused(&gate.send(&request.key(&key.raw)), 403, "not_allowed", not_allowed);
    }
    assert_eq!(backend.count(), 0);
    gate.get(SEARCH, &read_only).expect(200);
    // The plan is judged before the key's own rules, the account before the plan.
    refused(&gate.get("/reports/1", &elsewhere), 402, "upgrade_required", upgrade);
    gate.cli(&["accounts", "ban", "pro@example.com", "--reason", "abuse"]).done();
    for (key, target) in [(&pro, SEARCH), (&pro, "/reports/1"), (&scoped, SEARCH)] {
        refused(&gate.get(target, key), 403, "account_disabled", "Account disabled");
    }
    gate.cli(&["accounts", "unban", "pro@example.com"]).done();
    gate.get(SEARCH, &pro).expect(200);
}

#[test]
fn an_account_without_any_plan_has_no_access() {
    let backend = Backend::start();
    let policy = policy::STANDARD.replace("default_plan = \"free\"", "");
    let gate = Setup::new(&backend).policy(policy).start();
    let account = gate.cli(&["accounts", "create", "--email", "ada@example.com", "--json"]).done().json();
    let key = gate.cli(&["keys", "create", "--account", "ada@example.com", "--json"]).done().json();
    assert_eq!(account["state"], "no_access");
    refused(&gate.get(SEARCH, &Key::of(&key)), 402, "upgrade_required", "Upgrade required for this endpoint");
    gate.cli(&["accounts", "set-plan", "ada@example.com", "pro"]).done();
    gate.get(SEARCH, &Key::of(&key)).expect(200);
}

#[test]
fn a_rate_and_a_quota_that_are_used_up_say_when_they_come_back() {
    let backend = Backend::start();
    let policy = "[plans.slow]\nrate = \"60/hour\"\nburst = 1\n[plans.small]\nquota = \"1/month\"\n\
                  [plans.window]\nwindows = [\"1/day\"]\n";
    let gate = Setup::new(&backend).set("gateway", "upgrade_url = \"https://shop.example/\"").policy(policy).start();
    for (plan, code, detail, limit, wait_secs) in [
        ("slow", "rate_limited", "Rate limit exceeded", "burst", 50..=60),
        ("window", "rate_limited", "Rate limit exceeded", "day", 86_000..=86_400 + 338),
        ("small", "quota_exceeded", "Monthly API quota exceeded", "month", 1..=31 * 86_400),
    ] {
        let key = gate.key(&format!("{plan}@example.com"), plan);
        gate.get("/", &key).expect(200);
        let answer = gate.get("/", &key);
        let problem = refused(&answer, 429, code, detail);
        let retry_after = answer.number("retry-after");
        assert!(wait_secs.contains(&retry_after), "{plan}: Retry-After is {retry_after}");
        assert_eq!(problem["plan"], plan);
        assert_eq!((&problem["limit"], &problem["used"]), (&1.into(), &1.into()), "{problem:#}");
        assert_eq!(problem["violated-policies"], serde_json::json!([limit]));
        assert_eq!(problem["upgrade_url"], "https://shop.example/");
        assert!(problem["resets_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{problem:#}");
        assert!(problem["type"].as_str().is_some_and(|kind| kind.ends_with("#quota-exceeded")), "{problem:#}");
        assert_eq!(answer.header("x-ratelimit-remaining"), Some("0"));
    }
}

#[test]
fn the_limit_that_resets_last_gives_code_and_wait() {
    let backend = Backend::start();
    let limits = "rate = \"60/hour\"\nburst = 1\nquota = \"1/month\"\nquota_period = \"rolling-30d\"";
    let gate = Setup::new(&backend).policy(policy::one_plan(limits)).start();
    let key = gate.key("ada@example.com", "pro");
    gate.get("/", &key).expect(200);
    let answer = gate.get("/", &key);
    refused(&answer, 429, "quota_exceeded", "Monthly API quota exceeded");
    let (wait, period) = (answer.number("retry-after"), 30 * 86_400);
    assert!((period - 120..=period).contains(&wait), "the quota's end, not the bucket's: {wait}");
}

#[test]
fn a_refusal_of_a_head_request_has_no_body() {
    let backend = Backend::start();
    let gate = start(&backend);
    let mut connection = gate.connect();
    for (request, status) in [
        (Request::new("HEAD", SEARCH), 401),
        (Request::new("HEAD", SEARCH).key("secret"), 403),
        (Request::new("HEAD", "/events/public"), 200),
        (Request::new("HEAD", SEARCH), 401),
    ] {
        // On one connection: a body that should not be there would be taken for the next answer.
        let answer = connection.send(&request).expect("an answer");
        assert_eq!(answer.status, status);
        assert!(answer.number("content-length") > 0, "the length a GET would have");
    }
    assert_eq!(backend.only().method, "HEAD");
}

#[test]
fn a_good_key_that_may_not_call_sees_its_limits_and_is_charged_nothing() {
    let backend = Backend::start();
    let gate = start(&backend);
    let key = gate.key_with("ada@example.com", "pro", &["--scope", "nothing-of-this-name"]);
    for _ in 0..2 {
        let answer = gate.get(SEARCH, &key);
        refused(&answer, 403, "not_allowed", "Key not allowed for this endpoint");
        let (limit, remaining) = (answer.number("x-ratelimit-limit"), answer.number("x-ratelimit-remaining"));
        assert_eq!(limit, remaining, "a refusal debits nothing");
        assert!(answer.header("ratelimit").is_some() && answer.header("ratelimit-policy").is_some());
    }
    gate.cli(&["keys", "revoke", &key.id]).done();
    let revoked = gate.get(SEARCH, &key);
    refused(&revoked, 403, "invalid_key", "Invalid or revoked API key");
    assert_eq!(revoked.header("ratelimit"), None, "a revoked key is shown no more than an unknown one");
}
