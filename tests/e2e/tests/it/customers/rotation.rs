//! A key is replaced while it is in use.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_e2e::{Backend, Call, Gate, Key, Mailbox, Next, Setup, Side, calls_of};

/// How long both keys work.
const GRACE: Duration = Duration::from_secs(3);
/// How long the load goes on after that.
const AFTER: Duration = Duration::from_millis(500);

fn start(backend: &Backend, mailbox: &Mailbox) -> Gate {
    Setup::new(backend)
        .set("gateway", "public_url = \"https://api.example.com\"")
        .mailing(mailbox)
        .policy("[accounts]\ndefault_plan = \"pro\"\n[plans.pro]\nrate = \"unlimited\"\nquota = \"1_000_000/month\"\n")
        .start()
}

#[test]
fn a_rotation_under_load_fails_no_call_counts_on_one_quota_and_ends_the_old_key_on_time() {
    let (backend, mailbox) = (Backend::start(), Mailbox::start());
    let gate = start(&backend, &mailbox);
    let ada = Side::Mounted.sign_in(&gate, &mailbox, "ada@example.com");
    let old = Key::of(&ada.write("POST", "/v1/keys", &json!({})).expect(201).json());
    let ended: Mutex<Option<Instant>> = Mutex::new(None);
    let load = |raw: &str| {
        calls_of(&[gate.address()], 3, &[raw], |call: &Call| {
            let ends = ended.lock().expect("nobody panics while holding this");
            if ends.is_some_and(|ends| call.answered > ends + AFTER) {
                Next::Stop
            } else {
                Next::Rest(Duration::from_millis(3))
            }
        })
    };
    let (by_old, by_new, began, returned) = thread::scope(|scope| {
        let by_old = scope.spawn(|| load(&old.raw));
        backend.await_count(20);
        let began = Instant::now();
        let rotated = ada.write("POST", &format!("/v1/keys/{}/rotate", old.id), &json!({ "grace": "3s" })).expect(201);
        let returned = Instant::now();
        *ended.lock().expect("nobody panics while holding this") = Some(returned + GRACE);
        let new = Key::of(&rotated.json());
        let by_new = load(&new.raw);
        (by_old.join().expect("the load does not fail"), by_new, began, returned)
    });

    for call in &by_new {
        assert_eq!(call.status, 200, "the new key works from its first call on: {call:?}");
    }
    for call in &by_old {
        if call.answered < began + GRACE {
            assert_eq!(call.status, 200, "the old key works until its grace ends: {call:?}");
        } else if call.sent > returned + GRACE {
            assert_eq!((call.status, call.code.as_str()), (403, "invalid_key"), "and no longer: {call:?}");
        }
    }
    let refused = by_old.iter().filter(|call| call.status == 403).count();
    assert!(refused > 0 && by_new.len() > 10, "{refused} refused, {} calls by the new key", by_new.len());
    let admitted = by_old.iter().chain(&by_new).filter(|call| call.is_admitted()).count();
    gate.await_ledger();
    assert_eq!(gate.used("ada@example.com"), u64::try_from(admitted).expect("a small number"), "one shared quota");
}
