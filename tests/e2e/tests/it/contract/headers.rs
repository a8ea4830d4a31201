//! Limit headers: which answers carry them, and what they say.

use tollgate_e2e::{Answer, Backend, Behaviour, Request, Setup, policy};

const NAMES: [&str; 5] =
    ["ratelimit-policy", "ratelimit", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

#[track_caller]
fn has_none(answer: &Answer) {
    for name in NAMES {
        assert_eq!(answer.header(name), None, "{answer:?}");
    }
}

/// `"burst";r=59;t=1` as the parameters of each item.
fn items(header: &str) -> Vec<(String, Vec<(String, u64)>)> {
    header
        .split(", ")
        .map(|item| {
            let mut parts = item.split(';');
            let name = parts.next().expect("a name").trim_matches('"').to_owned();
            let parameters = parts.map(|part| {
                let (name, value) = part.split_once('=').expect("a parameter has a value");
                (name.to_owned(), value.parse().expect("a number"))
            });
            (name, parameters.collect())
        })
        .collect()
}

#[test]
fn a_keyed_answer_says_how_the_account_stands() {
    let backend = Backend::start();
    backend
        .on("/events/upstreams-own", Behaviour::status(200).header("X-RateLimit-Limit", "7").header("RateLimit", "x"));
    let limits = "rate = \"60/hour\"\nburst = 10\nwindows = [\"1_000/day\"]\nquota = \"10_000/month\"";
    let gate = Setup::new(&backend).policy(policy::one_plan(limits)).start();
    let key = gate.key("ada@example.com", "pro");
    let answer = gate.get("/events/upstreams-own", &key).expect(200);
    assert_eq!(answer.all("ratelimit-policy"), [r#""burst";q=10;w=600, "day";q=1000;w=86400, "month";q=10000"#]);
    let [state] = answer.all("ratelimit")[..] else { panic!("one RateLimit, ours: {answer:?}") };
    let read = items(state);
    let left: Vec<_> = read.iter().map(|(name, parameters)| (name.as_str(), parameters[0].1)).collect();
    assert_eq!(left, [("burst", 9), ("day", 999), ("month", 9_999)]);
    assert!(read.iter().all(|(_, parameters)| parameters[0].0 == "r" && parameters[1].0 == "t"), "{state}");
    assert!((55..=60).contains(&read[0].1[1].1), "a token a minute: {state}");
    // The bucket has the smallest share left.
    assert_eq!((answer.number("x-ratelimit-limit"), answer.number("x-ratelimit-remaining")), (10, 9));
    assert_eq!(answer.number("x-ratelimit-reset"), read[0].1[1].1);
    assert_eq!(answer.all("x-ratelimit-limit").len(), 1, "the upstream's own are replaced");
}

#[test]
fn refusals_of_a_known_key_by_a_limit_carry_them_too() {
    let backend = Backend::start();
    backend.on("/failing", Behaviour::status(500));
    let gate = Setup::new(&backend).policy(policy::one_plan("quota = \"2/month\"")).start();
    let key = gate.key("ada@example.com", "pro");
    assert_eq!(gate.get("/failing", &key).expect(500).number("x-ratelimit-remaining"), 1);
    assert_eq!(gate.get("/", &key).expect(200).number("x-ratelimit-remaining"), 1, "the 500 was given back");
    assert_eq!(gate.get("/", &key).expect(200).number("x-ratelimit-remaining"), 0);
    let refused = gate.get("/", &key).expect(429);
    assert_eq!(refused.header("ratelimit-policy"), Some("\"month\";q=2"));
    assert_eq!(refused.number("x-ratelimit-remaining"), 0);
    assert_eq!(refused.number("x-ratelimit-reset"), refused.number("retry-after"));
}

#[test]
fn failures_of_the_upstream_carry_them_too() {
    let backend = Backend::start();
    backend.on("/gone", Behaviour::hangs_up());
    let gate =
        Setup::new(&backend).policy(policy::one_plan("rate = \"60/hour\"\nburst = 5\nquota = \"9/month\"")).start();
    let key = gate.key("ada@example.com", "pro");
    let answer = gate.get("/gone", &key).expect(502);
    assert_eq!(answer.header("ratelimit-policy"), Some("\"burst\";q=5;w=300, \"month\";q=9"));
}

#[test]
fn answers_that_no_account_pays_for_carry_none() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let key = gate.key("ada@example.com", "pro");
    has_none(&gate.send(&Request::get("/events/public")).expect(200));
    has_none(&gate.get("/events/public", &key).expect(200));
    has_none(&gate.get("/auth/login", &key).expect(200));
    has_none(&gate.send(&Request::get("/events/search")).expect(401));
}

#[test]
fn an_unlimited_plan_has_none_to_show_and_an_unlimited_part_is_left_out() {
    let backend = Backend::start();
    let policy = "[plans.all]\nrate = \"unlimited\"\nquota = \"unlimited\"\n[plans.some]\nrate = \"unlimited\"\nquota = \"5/month\"\n";
    let gate = Setup::new(&backend).policy(policy).start();
    has_none(&gate.get("/", &gate.key("all@example.com", "all")).expect(200));
    let some = gate.get("/", &gate.key("some@example.com", "some")).expect(200);
    assert_eq!(some.header("ratelimit-policy"), Some("\"month\";q=5"));
}

#[test]
fn the_form_is_chosen_by_the_file() {
    let backend = Backend::start();
    for (headers, draft, legacy) in
        [("both", true, true), ("draft", true, false), ("legacy", false, true), ("off", false, false)]
    {
        let gate = Setup::new(&backend).set("limits", &format!("headers = \"{headers}\"")).start();
        let answer = gate.get("/events/1", &gate.key("ada@example.com", "pro")).expect(200);
        let has = |names: &[&str]| names.iter().map(|name| answer.header(name).is_some()).collect::<Vec<_>>();
        assert_eq!(has(&NAMES[..2]), [draft; 2], "{headers}");
        assert_eq!(has(&NAMES[2..]), [legacy; 3], "{headers}");
    }
}
