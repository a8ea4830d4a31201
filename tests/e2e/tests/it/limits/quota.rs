//! Quota: to the unit under many clients, and across stops and crashes.

use std::time::{Duration, Instant};

use tollgate_e2e::{Backend, Gate, Key, Request, Setup, in_parallel, policy};

/// Clients at once, and calls of each: a few more than the quota lets through.
const CLIENTS: usize = 200;
const CALLS_EACH: usize = 6;
const QUOTA: usize = 1_000;

/// What every client was answered, and when.
fn storm(gate: &Gate, key: &Key) -> Vec<(u16, String, Instant)> {
    let answers = in_parallel(CLIENTS, |_| {
        let mut connection = gate.connect();
        let request = Request::get("/events/1").key(&key.raw);
        let mut call = || {
            let answer = connection.send(&request).expect("every call is answered");
            let code = if answer.status == 200 { String::new() } else { answer.json()["code"].to_string() };
            (answer.status, code, Instant::now())
        };
        (0..CALLS_EACH).map(|_| call()).collect::<Vec<_>>()
    });
    answers.into_iter().flatten().collect()
}

fn admitted(gate: &Gate, key: &Key, calls: usize) -> usize {
    (0..calls).filter(|_| gate.get("/events/1", key).status == 200).count()
}

#[test]
fn two_hundred_clients_get_exactly_the_quota_and_a_crash_gives_back_at_most_a_second() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).policy(policy::one_plan(&format!("quota = \"{QUOTA}/month\"")));
    let mut gate = gate.start();
    let key = gate.key("ada@example.com", "pro");
    let answers = storm(&gate, &key);
    let killed = Instant::now();
    gate.kill();
    let served: Vec<Instant> = answers.iter().filter(|(status, ..)| *status == 200).map(|(.., at)| *at).collect();
    assert_eq!(served.len(), QUOTA, "{}", gate.story());
    assert!(answers.iter().all(|(status, code, _)| *status == 200 || (*status == 429 && code == "\"quota_exceeded\"")));
    assert_eq!(backend.count(), QUOTA);
    let last_second = served.iter().filter(|at| killed - **at <= Duration::from_secs(1)).count();

    gate.start_again();
    let back = admitted(&gate, &key, QUOTA);
    assert!(back <= last_second, "{back} came back; {last_second} calls fell in the last second before the crash");
}

#[test]
fn the_ledger_says_what_the_clients_were_given_and_neither_stop_nor_crash_changes_it() {
    let backend = Backend::start();
    let mut gate = Setup::new(&backend).policy(policy::one_plan("quota = \"300/month\"")).start();
    let key = gate.key("ada@example.com", "pro");
    let answers = in_parallel(40, |_| admitted(&gate, &key, 10));
    assert_eq!(answers.iter().sum::<usize>(), 300);
    let account = gate.account("ada@example.com");
    assert_eq!(account["quota"]["used"], 300, "{account:#}");
    assert_eq!(account["quota"]["remaining"], 0);

    gate.restart();
    assert_eq!(gate.used("ada@example.com"), 300, "after a stop, from the ledger");
    assert_eq!(admitted(&gate, &key, 10), 0);
    gate.kill();
    gate.start_again();
    assert_eq!(gate.used("ada@example.com"), 300, "after a crash, from the ledger");
    assert_eq!(admitted(&gate, &key, 10), 0);
}

#[test]
fn an_upgrade_takes_effect_at_once_and_keeps_what_was_used() {
    let backend = Backend::start();
    let policy = "[plans.small]\nquota = \"3/month\"\n[plans.large]\nquota = \"5/month\"\n";
    let gate = Setup::new(&backend).policy(policy).start();
    let key = gate.key("ada@example.com", "small");
    assert_eq!(admitted(&gate, &key, 5), 3);
    gate.cli(&["accounts", "set-plan", "ada@example.com", "large"]).done();
    assert_eq!(admitted(&gate, &key, 5), 2);
    gate.cli(&["accounts", "set-plan", "ada@example.com", "small"]).done();
    assert_eq!(admitted(&gate, &key, 2), 0);
    assert_eq!(gate.used("ada@example.com"), 5, "use may stand above the limit after a downgrade");
}

#[test]
fn a_quota_of_zero_admits_nothing() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).policy(policy::one_plan("quota = \"0/month\"")).start();
    let key = gate.key("ada@example.com", "pro");
    let answer = gate.get("/", &key);
    answer.problem(429, "quota_exceeded");
    assert_eq!(answer.number("x-ratelimit-limit"), 0);
}
