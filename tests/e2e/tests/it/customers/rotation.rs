//! A key is replaced while it is in use.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate_e2e::{
    Backend, Call, Customer, Gate, Key, Mailbox, Next, Setup, Side, calls_of, epoch_secs, eventually, instant_of,
};

/// How long the load goes on after a grace.
const AFTER: Duration = Duration::from_millis(500);
/// How far the two readings of clocks that a moment is told by may lie apart.
const READINGS: Duration = Duration::from_millis(10);
/// Clients that call with each key at the same time.
const CLIENTS: usize = 4;

fn start(backend: &Backend, mailbox: &Mailbox, limits: &str) -> Gate {
    Setup::new(backend)
        .set("gateway", "public_url = \"https://api.example.com\"")
        .mailing(mailbox)
        .policy(format!("[accounts]\ndefault_plan = \"pro\"\n[plans.pro]\nrate = \"unlimited\"\n{limits}\n"))
        .start()
}

/// Calls with a key until some time after the moment that is said to be its end, once that is said.
fn load(gate: &Gate, key: &Key, ends: &Mutex<Option<Instant>>) -> Vec<Call> {
    calls_of(&[gate.address()], CLIENTS, &[&key.raw], |call: &Call| {
        let ends = *ends.lock().expect("nobody panics while holding this");
        if ends.is_some_and(|ends| call.answered > ends + AFTER) {
            Next::Stop
        } else {
            Next::Rest(Duration::from_millis(2))
        }
    })
}

/// The moment that a rotation's answer says the old key ends at.
fn shown_end(rotated: &Value) -> Instant {
    let shown = rotated.pointer("/replaces/grace_until").and_then(Value::as_str);
    let shown = shown.and_then(epoch_secs).unwrap_or_else(|| panic!("{rotated:#}"));
    instant_of(shown)
}

/// Has the key called, rotates it meanwhile, and has both called until the old one's end; the new one, and how many calls
/// of both were let in.
fn rotated_under_load(gate: &Gate, backend: &Backend, old: &Key, rotate: impl FnOnce() -> Value) -> (Key, usize) {
    let ends = Mutex::new(None);
    let (by_old, by_new, new, ended) = thread::scope(|scope| {
        let by_old = scope.spawn(|| load(gate, old, &ends));
        backend.await_count(backend.count() + 20);
        let rotated = rotate();
        let ended = shown_end(&rotated);
        *ends.lock().expect("nobody panics while holding this") = Some(ended);
        let new = Key::of(&rotated);
        let by_new = load(gate, &new, &ends);
        (by_old.join().expect("the load does not fail"), by_new, new, ended)
    });
    for call in &by_new {
        assert_eq!(call.status, 200, "the new key works from its first call on: {call:?}");
    }
    for call in &by_old {
        if call.answered + READINGS < ended {
            assert_eq!(call.status, 200, "the old key works until its grace ends: {call:?}");
        } else if call.sent > ended + READINGS {
            assert_eq!((call.status, call.code.as_str()), (403, "invalid_key"), "and no longer: {call:?}");
        }
    }
    let close = |call: &&Call| call.sent + AFTER > ended && call.answered < ended + AFTER;
    let [last_in, first_out] =
        [200, 403].map(|status| by_old.iter().filter(close).filter(|call| call.status == status).count());
    assert!(last_in > CLIENTS && first_out > CLIENTS && by_new.len() > 50, "{last_in}, {first_out}, {}", by_new.len());
    (new, by_old.iter().chain(&by_new).filter(|call| call.is_admitted()).count())
}

#[test]
fn a_rotation_under_load_fails_no_call_counts_on_one_quota_and_ends_the_old_key_on_time() {
    let (backend, mailbox) = (Backend::start(), Mailbox::start());
    let gate = start(&backend, &mailbox, "quota = \"1_000_000/month\"");
    let ada = Side::Mounted.sign_in(&gate, &mailbox, "ada@example.com");
    let first = Key::of(&ada.write("POST", "/v1/keys", &json!({})).expect(201).json());
    let by_owner = |customer: &Customer, key: &Key| {
        customer.write("POST", &format!("/v1/keys/{}/rotate", key.id), &json!({ "grace": "3s" })).expect(201).json()
    };
    let (second, by_both) = rotated_under_load(&gate, &backend, &first, || by_owner(&ada, &first));
    // What was put in another's place is replaced in turn, by an operator.
    let by_operator = || gate.cli(&["keys", "rotate", &second.id, "--grace", "2s", "--json"]).done().json();
    let (_, by_next_both) = rotated_under_load(&gate, &backend, &second, by_operator);
    gate.await_ledger();
    let admitted = u64::try_from(by_both + by_next_both).expect("a small number");
    assert_eq!(gate.used("ada@example.com"), admitted, "one shared quota");
}

#[test]
fn while_both_keys_work_they_spend_one_quota_to_the_unit() {
    const QUOTA: usize = 300;
    let (backend, mailbox) = (Backend::start(), Mailbox::start());
    let gate = start(&backend, &mailbox, &format!("quota = \"{QUOTA}/month\""));
    let old = gate.key("ada@example.com", "pro");
    gate.get("/events/1", &old).expect(200);
    let rotated = gate.cli(&["keys", "rotate", &old.id, "--grace", "1h", "--json"]).done().json();
    let new = Key::of(&rotated);
    let calls = calls_of(&[gate.address()], 2 * CLIENTS, &[&old.raw, &new.raw], |call: &Call| match &*call.code {
        "quota_exceeded" => Next::Stop,
        // Where units are taken ahead, what another client holds of the last ones may be refused for a moment.
        "rate_limited" => Next::Rest(Duration::from_millis(20)),
        _ => Next::Go,
    });
    let admitted = |key: usize| calls.iter().filter(|call| call.key == key && call.is_admitted()).count();
    assert_eq!(1 + admitted(0) + admitted(1), QUOTA);
    assert!(admitted(0) > 10 && admitted(1) > 10, "{} and {}: both have their part of it", admitted(0), admitted(1));
    assert!(calls.iter().all(|call| matches!(call.status, 200 | 429)));
    gate.await_ledger();
    eventually("the account shows it", || (gate.used("ada@example.com") == QUOTA as u64).then_some(()));
}
