//! Changes of keys and accounts are obeyed when the command that made them returns.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tollgate_e2e::{Backend, Gate, Key, Setup, eventually, policy};

use crate::support::{foreign_key, import_keys, sha256};

fn call(gate: &Gate, key: &Key) -> u16 {
    gate.get("/events/1", key).status
}

#[test]
fn revoking_works_before_the_command_returns_also_under_load() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).policy(policy::one_plan("rate = \"unlimited\"")).start();
    for round in 0..5 {
        let key = gate.key(&format!("{round}@example.com"), "pro");
        let revoked = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let was_revoked = revoked.load(Ordering::SeqCst);
                        let status = call(&gate, &key);
                        assert!(status == 403 || (status == 200 && !was_revoked), "{status} after the revocation");
                        if was_revoked {
                            return;
                        }
                    }
                });
            }
            backend.await_count(backend.count() + 8);
            gate.cli(&["keys", "revoke", &key.id]).done();
            revoked.store(true, Ordering::SeqCst);
        });
        gate.cli(&["keys", "revoke", &key.id]).done();
    }
}

#[test]
fn plan_ban_and_deletion_work_at_once_for_every_key_of_the_account() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let keys = [gate.key("ada@example.com", "pro"), gate.key("ada@example.com", "pro")];
    let statuses = |target: &str| keys.each_ref().map(|key| gate.get(target, key).status);
    assert_eq!(statuses("/events/1"), [200; 2]);
    assert_eq!(statuses("/reports/1"), [402; 2]);
    for (command, target, status) in [
        (vec!["set-plan", "ada@example.com", "team"], "/reports/1", 200),
        (vec!["set-plan", "ada@example.com", "--auto"], "/events/1", 402),
        (vec!["set-plan", "ada@example.com", "pro"], "/events/1", 200),
        (vec!["ban", "ada@example.com"], "/events/1", 403),
        (vec!["set-plan", "ada@example.com", "team"], "/events/1", 403),
        (vec!["unban", "ada@example.com"], "/reports/1", 200),
        (vec!["delete", "ada@example.com", "--yes"], "/events/1", 403),
    ] {
        let words: Vec<&str> = ["accounts"].into_iter().chain(command.iter().copied()).collect();
        gate.cli(&words).done();
        assert_eq!(statuses(target), [status; 2], "{command:?}");
    }
    let anew = gate.key("ada@example.com", "free");
    assert_ne!(anew.account, keys[0].account, "a deleted account does not come back");
}

#[test]
fn a_key_that_was_unknown_a_moment_ago_works_when_it_is_there() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).set("keys", "also_accept = [\"rk_*\"]").start();
    let raw = foreign_key(1);
    let key = Key { raw: raw.clone(), id: String::new(), account: String::new() };
    assert_eq!([call(&gate, &key), call(&gate, &key)], [403; 2]);
    import_keys(&gate, "key_hash,email,plan", [format!("{},ada@example.com,pro", sha256(&raw))].into_iter());
    assert_eq!(call(&gate, &key), 200);
}

#[test]
fn rotation_with_a_grace_lets_both_work_until_it_ends() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).policy(policy::one_plan("rate = \"unlimited\"")).start();
    let old = gate.key_with("ada@example.com", "pro", &["--name", "ci", "--read-only"]);
    assert_eq!(call(&gate, &old), 200);
    let printed = gate.cli(&["keys", "rotate", &old.id, "--grace", "3s", "--json"]).done().json();
    let new = Key::of(&printed);
    assert_ne!(new.raw, old.raw);
    assert_eq!((&*new.account, printed["name"].as_str()), (&*old.account, Some("ci")));
    assert_eq!(printed["read_only"], true);
    assert_eq!([call(&gate, &old), call(&gate, &new)], [200; 2]);
    gate.cli(&["keys", "rotate", &new.id]).exits(1).says("predecessor");
    eventually("the grace ends", || (call(&gate, &old) == 403).then_some(()));
    assert_eq!(call(&gate, &new), 200);
    gate.cli(&["keys", "rotate", &old.id]).exits(1).says("cannot be rotated");
    gate.cli(&["keys", "rotate", &new.id]).done();
}

#[test]
fn a_key_and_its_successor_share_what_is_their_own() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).policy(policy::one_plan("quota = \"1_000/month\"")).start();
    for (what, options) in [("cap", ["--cap", "9"].as_slice()), ("bucket", &["--rate", "9/day", "--burst", "9"])] {
        let email = format!("{what}@example.com");
        let old = gate.key_with(&email, "pro", options);
        assert_eq!([call(&gate, &old), call(&gate, &old)], [200; 2]);
        let new = Key::of(&gate.cli(&["keys", "rotate", &old.id, "--grace", "1h", "--json"]).done().json());
        assert_eq!([call(&gate, &new), call(&gate, &old)], [200; 2], "{what}");
        for key in [&new, &old] {
            while call(&gate, key) == 200 {}
        }
        assert_eq!(gate.used(&email), 9, "{what}");
    }
}

#[test]
fn rotation_without_a_grace_ends_the_old_key_at_once_and_resets_nothing() {
    let backend = Backend::start();
    let limits = "rate = \"1/hour\"\nburst = 10\nquota = \"1_000/month\"";
    let gate = Setup::new(&backend).policy(policy::one_plan(limits)).start();
    let old = gate.key("ada@example.com", "pro");
    assert_eq!(gate.get("/", &old).expect(200).number("x-ratelimit-remaining"), 9);
    let new = Key::of(&gate.cli(&["keys", "rotate", &old.id, "--json"]).done().json());
    assert_eq!(call(&gate, &old), 403);
    assert_eq!(gate.get("/", &new).expect(200).number("x-ratelimit-remaining"), 8);
    assert_eq!(gate.used("ada@example.com"), 2);
}
