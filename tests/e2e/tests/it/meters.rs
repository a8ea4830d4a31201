//! Quotas in other units than calls: taken by routes, reported by upstreams and after the fact, enforced and shown.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate_e2e::{
    Answer, Backend, Behaviour, Gate, Key, Request, Setup, Side, eventually, eventually_within, in_parallel,
};

const POLICY: &str = r#"
[plans.pro]
rate = "unlimited"
quota = "10_000/month"
meters = { tokens = "1_000/month", images = "unlimited", scans = "5/month" }
[plans.small]
rate = "unlimited"
quota = "10_000/month"
meters = { tokens = "100/month" }
[[routes]]
name = "complete"
path = "/complete/*"
meter = "tokens"
cost = 10
[[routes]]
name = "draw"
path = "/draw/*"
cost_max = 50
meter = "tokens"
"#;
const SERVICE_TOKEN: &str = "a-service-token-of-some-length-0123456789";
/// What `/v1/quota` may be behind.
const BEHIND_MAX: Duration = Duration::from_secs(2);

fn start(backend: &Backend) -> (Gate, Key) {
    let gate = Setup::new(backend)
        .set("usage", "client_reported = [\"scans\"]")
        .set("usage", &format!("service_token = \"{SERVICE_TOKEN}\""))
        .policy(POLICY)
        .start();
    let key = gate.key("ada@example.com", "pro");
    (gate, key)
}

/// A figure of a meter as its owner is told it.
fn told(gate: &Gate, key: &Key, meter: &str, field: &str) -> Value {
    gate.get("/tollgate/v1/quota", key).expect(200).json()["meters"][meter][field].clone()
}

/// Waits until so many units are told to be used, within what is promised.
#[track_caller]
fn await_used(gate: &Gate, key: &Key, meter: &str, units: u64) {
    let began = Instant::now();
    let found = eventually_within(BEHIND_MAX, || (told(gate, key, meter, "used") == units).then_some(()));
    let now = told(gate, key, meter, "used");
    assert!(found.is_some(), "{meter}: {units} expected, {now} told after {:?}", began.elapsed());
}

fn report(gate: &Gate, token: &str, body: &Value) -> Answer {
    Side::Direct.ask(gate, Request::json("POST", "/v1/usage", body).bearer(token))
}

#[track_caller]
fn statuses(answer: Answer) -> Vec<String> {
    let body = answer.expect(200).json();
    let results = body["results"].as_array().unwrap_or_else(|| panic!("{body:#}"));
    results.iter().filter_map(|result| result["status"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_route_takes_its_cost_from_its_meter_and_a_spent_one_refuses() {
    let backend = Backend::start();
    let (gate, key) = start(&backend);
    let answer = gate.get("/complete/1", &key).expect(200);
    let policy = answer.header("ratelimit-policy").expect("limits").to_owned();
    assert!(policy.contains("\"tokens\";q=1000;qu=\"tokens\""), "{policy}");
    assert!(answer.header("ratelimit").is_some_and(|state| state.contains("\"tokens\";r=990;t=")), "{answer:?}");
    assert_eq!((answer.number("x-ratelimit-limit"), answer.number("x-ratelimit-remaining")), (1_000, 990));
    let plain = gate.get("/plain", &key).expect(200);
    assert!(!plain.header("ratelimit").is_some_and(|state| state.contains("tokens")), "only where it is taken");

    let admitted = in_parallel(8, |_| (0..20).filter(|_| gate.get("/complete/1", &key).status == 200).count());
    assert_eq!(admitted.iter().sum::<usize>(), 99, "not one over it");
    let refused = gate.get("/complete/1", &key);
    let problem = refused.problem(429, "quota_exceeded");
    assert_eq!((&problem["detail"], &problem["meter"]), (&json!("Monthly API quota exceeded"), &json!("tokens")));
    assert_eq!((&problem["limit"], &problem["used"]), (&json!(1_000), &json!(1_000)), "{problem:#}");
    assert!(refused.number("retry-after") >= 1);
    assert_eq!(backend.count(), 101, "100 calls, and one without the meter");
    gate.get("/plain", &key).expect(200);
    await_used(&gate, &key, "tokens", 1_000);
    assert_eq!(
        (told(&gate, &key, "tokens", "remaining"), told(&gate, &key, "tokens", "allowed")),
        (json!(0), json!(false))
    );
    gate.await_ledger();
    assert_eq!(gate.used("ada@example.com"), 100 * 10 + 2, "the calls' own quota takes the cost as well");
}

#[test]
fn what_an_upstream_reports_replaces_the_routes_own_meter_and_adds_to_others() {
    let backend = Backend::start();
    let (gate, key) = start(&backend);
    let (mut tokens, mut images, mut calls) = (0_u64, 0_u64, 0_u64);
    for (number, (path, status, usage, cost, charged)) in [
        ("complete", 200, Some("tokens=42"), None, (42, 0, 10)),
        ("complete", 200, Some("tokens=0"), None, (0, 0, 10)),
        ("complete", 404, Some("tokens=3, images=2"), None, (3, 2, 10)),
        ("complete", 200, Some("images=7"), None, (10, 7, 10)),
        ("complete", 200, Some("tokens=1,tokens=2"), None, (3, 0, 10)),
        ("complete", 200, None, None, (10, 0, 10)),
        ("complete", 200, Some("tokens=many"), None, (10, 0, 10)),
        ("complete", 200, Some("tokens=-5"), None, (10, 0, 10)),
        ("complete", 200, Some("TOKENS 5"), None, (10, 0, 10)),
        ("complete", 200, Some("nothing_known=5"), None, (10, 0, 10)),
        ("complete", 500, Some("tokens=90, images=9"), None, (0, 0, 0)),
        ("complete", 503, None, None, (0, 0, 0)),
        ("draw", 200, None, Some("7"), (7, 0, 7)),
        ("draw", 200, Some("tokens=20"), Some("7"), (20, 0, 7)),
        ("draw", 200, Some("images=1"), Some("7"), (7, 1, 7)),
        ("draw", 200, None, None, (50, 0, 50)),
        ("plain", 200, Some("tokens=4, images=1"), None, (4, 1, 1)),
    ]
    .into_iter()
    .enumerate()
    {
        let target = format!("/{path}/{number}");
        let behaviour = Behaviour::status(status);
        let behaviour = if let Some(usage) = usage { behaviour.header("Tollgate-Usage", usage) } else { behaviour };
        backend.on(&target, if let Some(cost) = cost { behaviour.header("Tollgate-Cost", cost) } else { behaviour });
        let answer = gate.get(&target, &key);
        assert_eq!(answer.status, status, "{target}");
        assert_eq!(answer.header("tollgate-usage"), None, "{target}: the report does not reach the client");
        tokens += charged.0;
        images += charged.1;
        calls += charged.2;
        await_used(&gate, &key, "tokens", tokens);
        await_used(&gate, &key, "images", images);
    }
    gate.await_ledger();
    assert_eq!(gate.used("ada@example.com"), calls);
    assert_eq!(gate.metrics().count("tollgate_usage_reports_rejected_total", &[("reason", "malformed")]), 3);
    assert_eq!(gate.metrics().count("tollgate_usage_reports_rejected_total", &[("reason", "unknown_meter")]), 1);
    let history = gate.get("/tollgate/v1/usage?step=month", &key).expect(200).json();
    let units = ["tokens", "images", "calls"].map(|meter| history["totals"][meter]["units"].clone());
    assert_eq!(units, [tokens, images, calls].map(Value::from), "{history:#}");
}

#[test]
fn nobody_but_the_upstream_reports_in_a_header() {
    let backend = Backend::start();
    let (gate, key) = start(&backend);
    gate.send(&Request::get("/complete/1").key(&key.raw).header("Tollgate-Usage", "tokens=0")).expect(200);
    await_used(&gate, &key, "tokens", 10);
}

#[test]
fn a_report_may_pass_the_limit_and_the_next_gated_call_is_refused() {
    let backend = Backend::start();
    backend.on("/complete/large", Behaviour::status(200).header("Tollgate-Usage", "tokens=5000"));
    let (gate, key) = start(&backend);
    gate.get("/complete/large", &key).expect(200);
    gate.get("/complete/1", &key).problem(429, "quota_exceeded");
    await_used(&gate, &key, "tokens", 5_000);
    assert_eq!(told(&gate, &key, "tokens", "remaining"), 0);
    let small = gate.key("eve@example.com", "pro");
    let event = json!({ "id": "1", "account": small.account, "type": "tokens", "quantity": 995 });
    assert_eq!(statuses(report(&gate, SERVICE_TOKEN, &event)), ["recorded"]);
    eventually("the report is heard", || (gate.get("/complete/1", &small).status == 429).then_some(()));
    let next = json!({ "id": "2", "account": small.account, "type": "tokens", "quantity": 100 });
    assert_eq!(statuses(report(&gate, SERVICE_TOKEN, &next)), ["recorded"], "it happened, so it is counted");
    await_used(&gate, &small, "tokens", 1_095);
    gate.get("/plain", &small).expect(200);
}

#[test]
fn an_event_is_counted_once_however_often_it_is_sent() {
    let backend = Backend::start();
    let (gate, key) = start(&backend);
    let events = |number: u64| {
        let event = |id: u64| json!({ "id": format!("e{id}"), "account": "ada@example.com", "meters": { "tokens": 2, "images": 1 } });
        json!({ "events": [event(number), event(number + 1)] })
    };
    assert_eq!(statuses(report(&gate, SERVICE_TOKEN, &events(0))), ["recorded", "recorded"]);
    assert_eq!(statuses(report(&gate, SERVICE_TOKEN, &events(0))), ["known", "known"]);
    assert_eq!(statuses(report(&gate, SERVICE_TOKEN, &events(1))), ["known", "recorded"]);
    let other = json!({ "id": "e0", "account": key.account, "meters": { "tokens": 3, "images": 1 } });
    assert_eq!(statuses(report(&gate, SERVICE_TOKEN, &other)), ["conflict"]);
    let all = in_parallel(6, |_| statuses(report(&gate, SERVICE_TOKEN, &events(10))));
    let recorded = all.iter().flatten().filter(|status| *status == "recorded").count();
    assert_eq!(recorded, 2, "one of many at once: {all:?}");
    await_used(&gate, &key, "tokens", 10);
    await_used(&gate, &key, "images", 5);
    let twice = json!({ "events": [
        { "id": "t", "account": key.account, "type": "images" }, { "id": "t", "account": key.account, "type": "images" },
    ] });
    assert_eq!(statuses(report(&gate, SERVICE_TOKEN, &twice)), ["recorded", "known"], "also within one report");
    let whole = json!({ "events": [
        { "id": "w1", "account": key.account, "type": "images" }, { "id": "w2", "account": "nobody@example.com", "type": "images" },
    ] });
    assert_eq!(report(&gate, SERVICE_TOKEN, &whole).wrong_at(422, "invalid_fields"), ["#/events/1/account"]);
    await_used(&gate, &key, "images", 6);
}

#[test]
fn a_backend_reports_with_a_token_and_a_customer_what_is_marked() {
    let backend = Backend::start();
    let (gate, key) = start(&backend);
    let by_key = json!({ "id": "k", "key": key.id, "type": "tokens" });
    for token in [SERVICE_TOKEN, &gate.token()] {
        let answer = report(&gate, token, &by_key).expect(200);
        assert!(matches!(answer.json()["results"][0]["status"].as_str(), Some("recorded" | "known")));
    }
    for token in ["wrong", &SERVICE_TOKEN[1..]] {
        report(&gate, token, &by_key).expect(401);
    }
    Side::Direct.ask(&gate, Request::get("/admin/v1/accounts").bearer(SERVICE_TOKEN)).problem(401, "unauthorized");
    report(&gate, &key.raw, &json!({ "id": "1", "type": "tokens" })).problem(403, "not_allowed");
    assert_eq!(statuses(report(&gate, &key.raw, &json!({ "id": "1", "type": "scans", "quantity": 3 }))), ["recorded"]);
    await_used(&gate, &key, "scans", 3);
    await_used(&gate, &key, "tokens", 1);
}

#[test]
fn credits_give_units_of_a_meter_back_and_a_restart_forgets_none() {
    let backend = Backend::start();
    let (mut gate, key) = start(&backend);
    for _ in 0..100 {
        gate.get("/complete/1", &key).expect(200);
    }
    gate.get("/complete/1", &key).problem(429, "quota_exceeded");
    gate.await_ledger();
    let credit = ["accounts", "credit", "ada@example.com"];
    gate.cli(&[&credit[..], &["5000", "--meter", "tokens"]].concat()).exits(1).says("1000 are used");
    gate.cli(&[&credit[..], &["25", "--meter", "tokens", "--reason", "goodwill"]].concat())
        .done()
        .says("25 of tokens given back");
    assert_eq!([gate.get("/complete/1", &key).status, gate.get("/complete/1", &key).status], [200; 2]);
    gate.get("/complete/1", &key).problem(429, "quota_exceeded");
    await_used(&gate, &key, "tokens", 995);
    gate.restart();
    await_used(&gate, &key, "tokens", 995);
    gate.get("/complete/1", &key).problem(429, "quota_exceeded");
    gate.await_ledger();
    gate.kill();
    gate.start_again();
    await_used(&gate, &key, "tokens", 995);
    gate.cli(&[&credit[..], &["all", "--meter", "tokens"]].concat()).done();
    gate.get("/complete/1", &key).expect(200);
    let audit = gate.operator("/admin/v1/audit").expect(200).text();
    assert!(audit.contains("\"account.credit\"") && audit.contains("goodwill"), "{audit}");
}

#[test]
fn a_change_of_plan_or_of_the_plans_limits_keeps_what_was_used() {
    let backend = Backend::start();
    let (gate, key) = start(&backend);
    for _ in 0..20 {
        gate.get("/complete/1", &key).expect(200);
    }
    gate.cli(&["accounts", "set-plan", "ada@example.com", "small"]).done();
    let problem = gate.get("/complete/1", &key).problem(429, "quota_exceeded");
    assert_eq!((&problem["used"], &problem["limit"]), (&json!(200), &json!(100)), "{problem:#}");
    gate.reload(|text| text.replace("tokens = \"100/month\"", "tokens = \"210/month\""));
    gate.get("/complete/1", &key).expect(200);
    gate.get("/complete/1", &key).problem(429, "quota_exceeded");
}
