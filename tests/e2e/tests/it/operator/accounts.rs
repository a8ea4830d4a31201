//! `accounts` and `keys` commands: what they print, and how they end.

use std::fs;

use serde_json::Value;
use tollgate_e2e::{Backend, Profile, Setup, free_ports, run};

#[test]
fn an_account_is_made_shown_changed_and_deleted() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let made = gate.cli(&["accounts", "create", "--email", "Ada@Example.com", "--name", "Ada", "--json"]).done().json();
    let id = made["id"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("acc_"), "{id}");
    assert_eq!((&made["plan"]["effective"], &made["state"]), (&"free".into(), &"no_access".into()));
    gate.cli(&["accounts", "create", "--email", "ada@example.com"]).exits(1).says("an account with this e-mail");

    let set = gate.cli(&["accounts", "set-plan", &id, "pro", "--json"]).done();
    assert_eq!((&set.json()["plan"]["assigned"], &set.json()["state"]), (&"pro".into(), &"active".into()));
    let banned = gate.cli(&["accounts", "ban", &id, "--reason", "abuse", "--json"]).done().json();
    assert_eq!((&banned["state"], &banned["ban"]["reason"]), (&"banned".into(), &"abuse".into()));
    assert_eq!(gate.cli(&["accounts", "unban", "ada@example.com", "--json"]).done().json()["ban"], Value::Null);
    let shown = gate.account(&id);
    assert_eq!((&shown["quota"]["limit"], &shown["quota"]["used"]), (&10_000.into(), &0.into()));
    assert_eq!(gate.account("ADA@example.COM")["id"], id, "by e-mail in any case");
    let auto = gate.cli(&["accounts", "set-plan", &id, "--auto", "--json"]).done().json();
    assert_eq!((&auto["plan"]["assigned"], &auto["plan"]["effective"]), (&Value::Null, &"free".into()));

    let listed = gate.cli(&["accounts", "list", "--json"]).done().json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    let table = gate.cli(&["accounts", "list"]).done().stdout;
    assert!(table.starts_with("ID") && table.contains(&id) && table.contains("free"), "{table}");
    gate.cli(&["accounts", "delete", &id]).exits(1).says("--yes");
    gate.cli(&["accounts", "delete", &id, "--yes"]).done();
    gate.cli(&["accounts", "show", "ada@example.com"]).exits(1).says("no account with the e-mail");
}

#[test]
fn keys_are_listed_masked_and_printed_raw_once() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let printed = gate.cli(&["keys", "create", "--email", "ada@example.com", "--plan", "pro", "--name", "ci"]).done();
    let raw = printed.stdout.trim();
    assert_eq!(printed.stdout.lines().count(), 1, "the raw key and nothing else: {}", printed.stdout);
    assert!(raw.starts_with("tg_live_") && raw.len() == "tg_live_".len() + 49, "{raw}");
    assert!(printed.stderr.contains("once") && !printed.stderr.contains(raw), "{}", printed.stderr);
    let json = gate.cli(&["keys", "create", "--email", "ada@example.com", "--plan", "pro", "--json"]).done().json();
    for field in ["key", "id", "account", "plan", "masked"] {
        assert!(json[field].is_string(), "{json:#}");
    }
    let listed = gate.cli(&["keys", "list", "--json"]).done();
    assert!(!listed.stdout.contains(raw), "{}", listed.stdout);
    let keys = listed.json();
    let masked = format!("tg_live_****{}", &raw[raw.len() - 4..]);
    assert_eq!(
        (&keys[0]["masked"], &keys[0]["name"], &keys[0]["state"]),
        (&masked.into(), &"ci".into(), &"active".into())
    );
    assert_eq!(keys.as_array().map(Vec::len), Some(2));
    let other = gate.key("bob@example.com", "team");
    let of_bob = gate.cli(&["keys", "list", "--account", "bob@example.com", "--json"]).done().json();
    assert_eq!((of_bob.as_array().map(Vec::len), &of_bob[0]["id"]), (Some(1), &other.id.clone().into()));
    gate.get("/events/1", &other).expect(200);
    gate.await_ledger();
    let of_bob = gate.cli(&["keys", "list", "--account", "bob@example.com", "--json"]).done().json();
    assert!(of_bob[0]["last_used_at"].is_string(), "{of_bob:#}");
}

#[test]
fn listings_fetch_every_page() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let rows: Vec<String> = (0..450).map(|number| format!("user{number}@example.com")).collect();
    let path = gate.folder().join("accounts.csv");
    fs::write(&path, format!("email\n{}\n", rows.join("\n"))).expect("written");
    gate.cli(&["accounts", "import", path.to_str().expect("text")]).done();
    let listed = gate.cli(&["accounts", "list", "--json"]).done().json();
    assert_eq!(listed.as_array().map(Vec::len), Some(450));
}

#[test]
fn wrong_usage_is_2_and_a_refusal_is_1_and_both_say_why() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let key = gate.key("ada@example.com", "pro");
    // A part may be started where `up` runs, but not at its addresses.
    let part_alone = if Profile::current().is_fleet() { "in use" } else { "tollgate up" };
    for (command, code, says) in [
        (vec!["keys", "create", "--email", "a@b.c"], 2, "--plan"),
        (vec!["keys", "create", "--email", "a@b.c", "--plan", "pro", "--expires", "soon"], 2, "RFC 3339"),
        (vec!["keys", "revoke", &key.raw], 2, "not a key's id"),
        (vec!["keys", "rotate", &key.id, "--grace", "31d"], 1, "30"),
        (vec!["accounts", "set-plan", "ada@example.com"], 2, "PLAN"),
        (vec!["fly"], 2, "fly"),
        (vec!["keys", "create", "--email", "no-address", "--plan", "pro"], 1, "email"),
        (vec!["keys", "create", "--email", "a@b.c", "--plan", "gold"], 1, "gold"),
        (vec!["keys", "create", "--email", "a@b.c", "--plan", "public"], 1, "public"),
        (vec!["keys", "create", "--email", "ada@example.com", "--plan", "team"], 1, "set-plan"),
        (vec!["accounts", "set-plan", "ada@example.com", "gold"], 1, "gold"),
        (vec!["accounts", "show", "nobody@example.com"], 1, "no account with the e-mail"),
        (vec!["keys", "revoke", "key_0000000000000000000001"], 1, "no such key"),
        (vec!["gateway"], 1, part_alone),
        (vec!["admin"], 1, part_alone),
    ] {
        let printed = gate.cli(&command).exits(code).says(says);
        assert_eq!(printed.stdout, "", "{command:?}: stdout carries only data");
        assert!(!printed.stderr.contains(&key.raw), "{command:?} repeats a raw key");
    }
    let accounts = gate.cli(&["accounts", "list", "--json"]).done().json();
    assert_eq!(accounts.as_array().map(Vec::len), Some(1), "nothing half-done: {accounts:#}");
}

#[test]
fn the_admin_api_that_is_not_there_or_is_another_is_told_plainly() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("other.toml");
    let list = ["--config", "other.toml", "keys", "list"];
    let [nobody] = free_ports();
    for (listen, token, says) in [
        (nobody, "t0k3n-t0k3n-t0k3n-t0k3n", format!("nothing answers at http://{nobody}")),
        (gate.admin_address(), "t0k3n-t0k3n-t0k3n-t0k3n", "refused the operator's token".to_owned()),
        (backend.address(), "t0k3n-t0k3n-t0k3n-t0k3n", "not as an admin API does".to_owned()),
    ] {
        fs::write(&config, format!("[admin]\nlisten = \"{listen}\"\ntoken = \"{token}\"\n")).expect("written");
        let printed = run(folder.path(), &list, None).exits(1).says(&says);
        assert!(!printed.stderr.contains(token), "{}", printed.stderr);
    }
    fs::write(&config, format!("[admin]\nlisten = \"{}\"\n", gate.admin_address())).expect("written");
    run(folder.path(), &list, None).exits(1).says("no operator's token");
}

#[test]
fn completions_are_printed_for_shells() {
    let folder = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish"] {
        let printed = run(folder.path(), &["completions", shell], None).done();
        assert!(printed.stdout.contains("tollgate") && printed.stdout.contains("revoke"), "{shell}");
    }
    run(folder.path(), &["completions", "basic"], None).exits(2);
    run(folder.path(), &["--help"], None).done();
    let version = run(folder.path(), &["--version"], None).done();
    assert!(version.stdout.starts_with("tollgate "), "{}", version.stdout);
}
