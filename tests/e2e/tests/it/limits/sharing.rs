//! Whose limits are whose, and what a call takes of them.

use tollgate_e2e::{Backend, Gate, Key, Request, Setup, in_parallel, policy};

const LIMITS: &str = "rate = \"1/hour\"\nburst = 10\nquota = \"1_000/month\"";

fn admitted(gate: &Gate, key: &Key, calls: usize) -> usize {
    (0..calls).filter(|_| gate.get("/events/1", key).status == 200).count()
}

#[test]
fn keys_of_one_account_share_its_limits() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).policy(policy::one_plan(LIMITS)).start();
    let keys = [gate.key("ada@example.com", "pro"), gate.key("ada@example.com", "pro")];
    let other = gate.key("bob@example.com", "pro");
    let admitted_at_once = in_parallel(8, |index| admitted(&gate, &keys[index % 2], 5));
    assert_eq!(admitted_at_once.iter().sum::<usize>(), 10);
    assert_eq!(admitted(&gate, &other, 12), 10, "another account has its own");
}

#[test]
fn with_rate_scope_key_each_has_its_own_rate_and_all_share_the_quota() {
    let backend = Backend::start();
    let limits = "rate = \"1/hour\"\nburst = 4\nwindows = [\"50/day\"]\nquota = \"6/month\"";
    let gate = Setup::new(&backend).set("limits", "rate_scope = \"key\"").policy(policy::one_plan(limits)).start();
    let keys = [gate.key("ada@example.com", "pro"), gate.key("ada@example.com", "pro")];
    assert_eq!(admitted(&gate, &keys[0], 6), 4);
    gate.get("/", &keys[0]).problem(429, "rate_limited");
    assert_eq!(admitted(&gate, &keys[1], 6), 2, "the quota is the account's");
    gate.get("/", &keys[1]).problem(429, "quota_exceeded");
    let policy = gate.get("/", &keys[1]).header("ratelimit-policy").expect("limits").to_owned();
    assert!(policy.contains("\"month\";q=6") && policy.contains("\"key-burst\";q=4"), "{policy}");
}

#[test]
fn a_routes_cost_is_taken_from_every_limit_whole_or_not_at_all() {
    let backend = Backend::start();
    let policy = "[plans.pro]\nrate = \"1/hour\"\nburst = 20\nwindows = [\"30/day\"]\nquota = \"12/month\"\n\
                  [[routes]]\npath = \"/dear\"\ncost = 5\n[[routes]]\npath = \"/free\"\ncost = 0\n";
    let gate = Setup::new(&backend).policy(policy).start();
    let key = gate.key("ada@example.com", "pro");
    let left = |target: &str| {
        let answer = gate.get(target, &key);
        let state = answer.header("ratelimit").expect("limits").to_owned();
        let of = |name: &str| {
            let (_, rest) = state.split_once(&format!("\"{name}\";r=")).expect("the limit is shown");
            rest.split(';').next().and_then(|left| left.parse::<u64>().ok()).expect("a number")
        };
        (answer.status, of("burst"), of("day"), of("month"))
    };
    assert_eq!(left("/dear"), (200, 15, 25, 7));
    assert_eq!(left("/free"), (200, 15, 25, 7));
    assert_eq!(left("/dear"), (200, 10, 20, 2));
    assert_eq!(left("/dear"), (429, 10, 20, 2), "more than is left is refused whole");
    assert_eq!(left("/else"), (200, 9, 19, 1), "what fits still passes");
    assert_eq!(gate.used("ada@example.com"), 11);
}

#[test]
fn requests_on_one_connection_are_each_decided_by_their_own_key() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).policy(policy::one_plan("quota = \"2/month\"")).start();
    let (ada, bob) = (gate.key("ada@example.com", "pro"), gate.key("bob@example.com", "pro"));
    let mut connection = gate.connect();
    let mut call = |key: Option<&Key>| {
        let request = Request::get("/events/1");
        let request = if let Some(key) = key { request.key(&key.raw) } else { request };
        connection.send(&request).expect("the connection stays open").status
    };
    let calls = [Some(&ada), None, Some(&bob), Some(&ada), Some(&ada), Some(&bob)];
    assert_eq!(calls.map(&mut call), [200, 401, 200, 200, 429, 200]);
}
