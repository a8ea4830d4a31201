//! Keys and accounts that exist already.

use std::fs;

use tollgate_e2e::{Answer, Backend, Gate, Request, Setup, in_parallel, policy};

use crate::support::{foreign_key, import_keys, sha256, write_csv};

fn start(backend: &Backend, limits: &str) -> Gate {
    let setup = Setup::new(backend).set("keys", "also_accept = [\"rk_*\"]");
    setup.policy(policy::one_plan(limits)).start()
}

fn call(gate: &Gate, number: usize) -> Answer {
    gate.send(&Request::get("/events/1").key(&foreign_key(number)))
}

#[test]
fn a_thousand_imported_keys_work_at_once_and_stop_where_their_old_counters_would_have() {
    let backend = Backend::start();
    let gate = start(&backend, "quota = \"10_000/month\"");
    // Key n has used n of its 1 000 calls: the last ones have few left.
    let rows = (0..1_000).map(|n| format!("{},user{n}@example.com,pro,1000,{n}", sha256(&foreign_key(n))));
    import_keys(&gate, "key_hash,email,plan,limit,used", rows);
    let left = in_parallel(10, |part| {
        let mut connection = gate.connect();
        (0..100)
            .map(|index| {
                let request = Request::get("/events/1").key(&foreign_key(part * 100 + index));
                let answer = connection.send(&request).expect("an answer").expect(200);
                answer.number("x-ratelimit-remaining")
            })
            .collect::<Vec<_>>()
    });
    let left: Vec<u64> = left.into_iter().flatten().collect();
    assert_eq!(left, (0..1_000).map(|n| 999 - n).collect::<Vec<u64>>());
    for (number, passes) in [(999, 0), (998, 1), (995, 4)] {
        let passed = (0..8).filter(|_| call(&gate, number).status == 200).count();
        assert_eq!(passed, passes, "one was spent before");
        call(&gate, number).problem(429, "quota_exceeded");
    }
    assert_eq!(gate.used("user995@example.com"), 1_000);
    assert_eq!(gate.used("user7@example.com"), 8);
}

#[test]
fn use_of_an_accounts_keys_adds_up_and_status_and_expiry_are_kept() {
    let backend = Backend::start();
    let gate = start(&backend, "quota = \"1_000/month\"");
    let ages = [("2020-01-01T00:00:00Z", 500), ("", 100), ("", 50)];
    let rows = ages.iter().enumerate().map(|(number, (cycle_start, used))| {
        format!("{},ada@example.com,pro,active,key {number},{used},{cycle_start},", sha256(&foreign_key(number)))
    });
    let others = [
        format!("{},ada@example.com,,revoked,,0,,", sha256(&foreign_key(10))),
        format!("{},ada@example.com,,active,,0,,2020-01-01", sha256(&foreign_key(11))),
    ];
    let header = "key_hash,email,plan,status,name,used,cycle_start,expires_at";
    import_keys(&gate, header, rows.chain(others));
    assert_eq!(gate.used("ada@example.com"), 150, "what a cycle of long ago used is over");
    assert_eq!(call(&gate, 0).expect(200).number("x-ratelimit-remaining"), 849);
    call(&gate, 10).problem(403, "invalid_key");
    call(&gate, 11).problem(403, "invalid_key");
    let keys = gate.cli(&["keys", "list", "--json"]).done().json();
    let mut names: Vec<_> = keys.as_array().expect("keys").iter().filter_map(|key| key["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["key 0", "key 1", "key 2"]);
}

#[test]
fn importing_the_same_file_again_changes_nothing() {
    let backend = Backend::start();
    let gate = start(&backend, "quota = \"1_000/month\"");
    let rows = || (0..20).map(|n| format!("{},ada@example.com,pro,10", sha256(&foreign_key(n))));
    import_keys(&gate, "key_hash,email,plan,used", rows());
    call(&gate, 1).expect(200);
    import_keys(&gate, "key_hash,email,plan,used", rows());
    assert_eq!(gate.used("ada@example.com"), 201);
    assert_eq!(gate.cli(&["keys", "list", "--json"]).done().json().as_array().map(Vec::len), Some(20));
}

#[test]
fn a_file_with_mistakes_is_refused_whole_and_every_line_is_named() {
    let backend = Backend::start();
    let gate = start(&backend, "quota = \"1_000/month\"");
    let good = sha256(&foreign_key(1));
    let raw = foreign_key(2);
    let rows = [
        format!("{good},ada@example.com,pro,5"),
        format!("{raw},ada@example.com,pro,5"),
        format!("{},no-address,pro,5", sha256("b")),
        format!("{},bob@example.com,gold,5", sha256("c")),
        format!("{},bob@example.com,pro,many", sha256("d")),
        format!("{good},bob@example.com,pro,5"),
    ];
    let path = write_csv(&gate, "key_hash,email,plan,used", rows.into_iter());
    let path = path.to_str().expect("text");
    let printed = gate.cli(&["keys", "import", path]).exits(1).says("none was taken over");
    for line in [3, 4, 5, 6, 7] {
        assert!(printed.stderr.contains(&format!("{path}:{line}: ")), "line {line} in {}", printed.stderr);
    }
    assert!(!printed.stderr.contains(&format!("{path}:2: ")), "{}", printed.stderr);
    assert!(!printed.stderr.contains(&raw), "a raw key in the wrong place is not repeated");
    assert_eq!(gate.cli(&["accounts", "list", "--json"]).done().json().as_array().map(Vec::len), Some(0));
    for (header, says) in [("email,plan", "key_hash"), ("key_hash,email,colour", "colour")] {
        let path = write_csv(&gate, header, std::iter::once("x,y,z".to_owned()));
        gate.cli(&["keys", "import", path.to_str().expect("text")]).exits(1).says(says);
    }
    gate.cli(&["keys", "import", "gone.csv"]).exits(1).says("gone.csv");
}

#[test]
fn bcrypt_hashes_are_refused_with_a_count_and_advice() {
    let backend = Backend::start();
    let gate = start(&backend, "quota = \"1_000/month\"");
    let bcrypt = "$2b$12$KIXQJ0nq3bq5b5b5b5b5bOe1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e";
    let rows = (0..3).map(|n| format!("{bcrypt},user{n}@example.com,pro"));
    let rows = rows.chain([format!("{},ada@example.com,pro", sha256("x"))]);
    let path = write_csv(&gate, "key_hash,email,plan", rows);
    let path = path.to_str().expect("text");
    gate.cli(&["keys", "import", path]).exits(1).says("bcrypt").says("3").says("new keys").says(&format!("{path}:4: "));
    assert_eq!(gate.cli(&["keys", "list", "--json"]).done().json().as_array().map(Vec::len), Some(0));
}

#[test]
fn accounts_are_imported_and_standard_input_is_read() {
    let backend = Backend::start();
    let gate = start(&backend, "quota = \"1_000/month\"");
    let path = gate.folder().join("accounts.csv");
    let text = "name,email,plan,stripe_customer_id\n\"Ada, L.\",ada@example.com,pro,cus_1\nBob,bob@example.com,,\n";
    fs::write(&path, text).expect("written");
    let report = gate.cli_reading(&["accounts", "import", "-", "--json"], &path).done().json();
    assert_eq!(report["accounts_created"], 2, "{report:#}");
    let ada = gate.account("ada@example.com");
    assert_eq!((&ada["name"], &ada["plan"]["effective"]), (&"Ada, L.".into(), &"pro".into()));
    assert_eq!(ada["stripe_customer_id"], "cus_1");
    fs::write(&path, "email\nno-address\n").expect("written");
    gate.cli(&["accounts", "import", path.to_str().expect("text")]).exits(1).says("accounts.csv:2: ");
}

#[test]
fn a_pepper_keeps_imported_keys_and_new_ones_working() {
    let backend = Backend::start();
    let pepper = "pepper = \"0123456789abcdef0123456789abcdef\"";
    let setup = Setup::new(&backend).set("keys", "also_accept = [\"rk_*\"]").set("keys", pepper);
    let mut gate = setup.policy(policy::one_plan("quota = \"1_000/month\"")).start();
    let row = format!("{},ada@example.com,pro", sha256(&foreign_key(1)));
    import_keys(&gate, "key_hash,email,plan", std::iter::once(row));
    let new = gate.key("ada@example.com", "pro");
    call(&gate, 1).expect(200);
    gate.get("/events/1", &new).expect(200);
    gate.restart();
    call(&gate, 1).expect(200);
    gate.get("/events/1", &new).expect(200);
    call(&gate, 2).problem(403, "invalid_key");
    let plain = hex::decode(sha256(&new.raw)).expect("hexadecimal digits");
    assert!(!gate.stores_hold(&plain), "a new key is not stored by its plain hash");
}
