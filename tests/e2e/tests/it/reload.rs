//! The configuration read again while calls go on: what a good file changes, what a bad one does not.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tollgate_e2e::{Backend, Behaviour, Gate, Key, Request, Setup, eventually, policy};

/// How soon a change must hold.
const WITHIN: Duration = Duration::from_secs(2);

const SLOW: &str = "rate = \"1/hour\"\nburst = 5";

fn start(backend: &Backend) -> (Gate, Key) {
    let gate = Setup::new(backend).policy(policy::one_plan(SLOW)).start();
    let key = gate.key("ada@example.com", "pro");
    (gate, key)
}

fn admitted(gate: &Gate, key: &Key, calls: usize) -> usize {
    (0..calls).filter(|_| gate.get("/events/1", key).status == 200).count()
}

fn last_error(gate: &Gate) -> Option<String> {
    gate.operator("/admin/v1/config").expect(200).json()["last_error"].as_str().map(str::to_owned)
}

#[test]
fn an_edited_rate_holds_within_two_seconds_under_load_and_no_call_fails() {
    let backend = Backend::start();
    let (gate, key) = start(&backend);
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = gate.connect();
                    let request = Request::get("/events/1").key(&key.raw);
                    let mut statuses = BTreeMap::new();
                    while !stopped.load(Ordering::SeqCst) {
                        let answer = connection.send(&request).expect("every call is answered");
                        *statuses.entry(answer.status).or_insert(0) += 1;
                    }
                    statuses
                })
            })
            .collect();
        eventually("the bucket is empty", || (backend.count() >= 5).then_some(()));
        for (from, to) in [("1/hour", "6_000/minute"), ("6_000/minute", "12_000/minute")] {
            let before = backend.count();
            gate.edit(|text| text.replace(from, to));
            let edited = Instant::now();
            // Two hundred calls more need the new rate.
            eventually("calls pass at the new rate", || (backend.count() >= before + 50).then_some(()));
            assert!(edited.elapsed() < WITHIN + Duration::from_millis(500), "{:?}", edited.elapsed());
        }
        stopped.store(true, Ordering::SeqCst);
        for client in clients {
            let statuses = client.join().expect("no call fails");
            assert!(statuses.keys().all(|status| [200, 429].contains(status)), "{statuses:?}");
        }
    });
    assert_eq!(gate.metrics().count("tollgate_requests_total", &[("status", "5xx")]), 0);
}

#[test]
fn a_reload_refills_no_bucket_and_a_smaller_burst_caps_the_level() {
    let backend = Backend::start();
    let (gate, key) = start(&backend);
    assert_eq!(admitted(&gate, &key, 7), 5);
    gate.reload(|text| text.replace("burst = 5", "burst = 50"));
    assert_eq!(admitted(&gate, &key, 3), 0, "the level is what it was");
    gate.reload(|text| text.replace("[plans.pro]", "[plans.pro]\nquota = \"1_000/month\""));
    assert_eq!(admitted(&gate, &key, 3), 0);
    assert_eq!(gate.used("ada@example.com"), 5, "a new quota counts what was used before");
    let other = gate.key("bob@example.com", "pro");
    assert_eq!(admitted(&gate, &other, 10), 10);
    gate.reload(|text| text.replace("burst = 50", "burst = 3"));
    assert_eq!(admitted(&gate, &other, 10), 3, "40 were left; the burst is 3 now");
}

#[test]
fn a_broken_edit_changes_nothing_and_says_where_it_is_broken() {
    let backend = Backend::start();
    let (gate, key) = start(&backend);
    let before = gate.metrics();
    gate.reload(|text| text.replace("rate = \"1/hour\"", "rate = \"600/fortnight\"") + "\n[plans.team]\nbrust = 3\n");
    let broken = fs::read_to_string(gate.config()).expect("the config");
    let place = |needle: &str| {
        let index = broken.lines().position(|line| line.contains(needle)).expect("the mistake is there");
        format!("{}:{}:", gate.config().display(), index + 1)
    };
    let metrics = gate.metrics();
    assert_eq!(metrics.count("tollgate_config_rejected", &[]), 1);
    assert_eq!(metrics.count("tollgate_config_reload_failures_total", &[]), 1);
    let hash = |text: &str| text.lines().find(|line| line.starts_with("tollgate_config_info{")).map(str::to_owned);
    assert_eq!(hash(metrics.text()), hash(before.text()), "the old one is in force");
    let error = last_error(&gate).expect("the operator is told");
    for needle in ["600/fortnight", "brust"] {
        assert!(error.contains(&place(needle)), "no {} in {error}", place(needle));
    }
    let line = gate.await_log("the error", |line| line.contains("cannot be reloaded"));
    assert!(line.contains("fortnight") && line.contains(&place("brust")), "{line}");
    assert_eq!(admitted(&gate, &key, 7), 5, "the old limits hold");

    gate.edit(|text| text.replace("600/fortnight", "1/hour").replace("brust = 3", "burst = 3\nrate = \"3/hour\""));
    eventually("the mended file is in force", || {
        (gate.metrics().count("tollgate_config_rejected", &[]) == 0).then_some(())
    });
    assert_eq!(last_error(&gate), None);
    gate.cli(&["accounts", "set-plan", "ada@example.com", "team"]).done();
    assert_eq!(admitted(&gate, &key, 3), 0);
}

#[test]
fn an_empty_and_a_vanished_file_leave_the_old_in_force() {
    let backend = Backend::start();
    let (gate, key) = start(&backend);
    let good = fs::read_to_string(gate.config()).expect("the config");
    for (what, spoil) in [
        ("empty", &(|| fs::write(gate.config(), "").expect("written")) as &dyn Fn()),
        ("blank", &|| fs::write(gate.config(), " \n\t\n").expect("written")),
        ("gone", &|| fs::remove_file(gate.config()).expect("removed")),
    ] {
        let before = gate.metrics();
        spoil();
        gate.await_reload(&before);
        let error = last_error(&gate).unwrap_or_else(|| panic!("{what}: the operator is told"));
        assert!(error.contains("tollgate.toml"), "{what}: {error}");
        fs::write(gate.config(), &good).expect("written");
        eventually("the good file is read", || last_error(&gate).is_none().then_some(()));
    }
    assert_eq!(admitted(&gate, &key, 7), 5);
}

#[test]
fn a_file_swapped_by_rename_or_symbolic_link_is_read() {
    let backend = Backend::start();
    let (gate, key) = start(&backend);
    let good = fs::read_to_string(gate.config()).expect("the config");
    let limit = |gate: &Gate| gate.get("/", &key).number("x-ratelimit-limit");
    let version = |burst: u64| {
        let path = gate.folder().join(format!("version-{burst}.toml"));
        fs::write(&path, good.replace("burst = 5", &format!("burst = {burst}"))).expect("written");
        path
    };
    assert_eq!(limit(&gate), 5);
    fs::rename(version(6), gate.config()).expect("renamed");
    eventually("the renamed file is read", || (limit(&gate) == 6).then_some(()));

    // As a mounted volume does it: the file is a link into a folder that is itself swapped by a link.
    let link = |target: &std::path::Path, name: &str| {
        let fresh = gate.folder().join("fresh-link");
        symlink(target, &fresh).expect("linked");
        fs::rename(&fresh, gate.folder().join(name)).expect("renamed");
    };
    link(&version(7), "current");
    link(std::path::Path::new("current"), "tollgate.toml");
    eventually("the linked file is read", || (limit(&gate) == 7).then_some(()));
    link(&version(8), "current");
    eventually("the swapped link is read", || (limit(&gate) == 8).then_some(()));
}

#[test]
fn sighup_reads_the_file_again_and_ends_nothing() {
    let backend = Backend::start();
    let (mut gate, key) = start(&backend);
    gate.process().signal("HUP");
    gate.await_log("the reload", |line| line.contains("the configuration is reloaded"));
    gate.edit(|text| text.replace("burst = 5", "burst = 9"));
    gate.process().signal("HUP");
    eventually("the edit holds", || (gate.get("/", &key).number("x-ratelimit-limit") == 9).then_some(()));
    assert_eq!(last_error(&gate), None);
}

#[test]
fn a_file_that_is_still_being_written_is_not_read() {
    let backend = Backend::start();
    let (gate, key) = start(&backend);
    let good = fs::read_to_string(gate.config()).expect("the config");
    let better = good.replace("burst = 5", "burst = 11");
    let half = better.find("burst = 11").expect("it is there") + 4;
    // Far more often than the file is looked at, so that any reading of a half would be seen.
    for _ in 0..12 {
        fs::write(gate.config(), &better[..half]).expect("written");
        thread::sleep(Duration::from_millis(60));
        fs::write(gate.config(), format!("{}#", &better[..half])).expect("written");
        thread::sleep(Duration::from_millis(60));
    }
    fs::write(gate.config(), &better).expect("written");
    eventually("the whole file is read", || (gate.get("/", &key).number("x-ratelimit-limit") == 11).then_some(()));
    assert_eq!(gate.metrics().count("tollgate_config_reload_failures_total", &[]), 0);
}

#[test]
fn an_account_whose_plan_vanished_gets_the_default_plan_until_it_is_back() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let key = gate.key("ada@example.com", "team");
    gate.get("/reports/1", &key).expect(200);
    // The routes that only the vanished plan could use go with it.
    let full = fs::read_to_string(gate.config()).expect("the config");
    gate.reload(|text| {
        let start = text.find("[plans.team]").expect("the plan");
        let routes = text.find("[[routes]]").expect("routes");
        let kept = format!("{}{}", &text[..start], &text[routes..]);
        kept.replace("min_plan = \"team\"", "").replace("default_plan = \"free\"", "default_plan = \"pro\"")
    });
    let answer = gate.get("/events/1", &key).expect(200);
    assert_eq!(backend.last().header("x-tollgate-plan"), Some("pro"));
    assert_eq!(answer.number("x-ratelimit-limit"), 60);
    let alert = gate.await_log("the alert", |line| line.contains("plans are gone"));
    assert!(alert.contains("team") && alert.contains("ERROR"), "{alert}");
    let account = gate.account("ada@example.com");
    assert_eq!((&account["plan"]["effective"], &account["plan"]["why"]), (&"pro".into(), &"assigned_plan_gone".into()));

    gate.reload(|_| full);
    gate.get("/reports/1", &key).expect(200);
    assert_eq!(gate.account("ada@example.com")["plan"]["effective"], "team");
}

#[test]
fn routes_and_cors_change_for_the_next_request_and_not_for_one_in_flight() {
    let backend = Backend::start();
    backend.on("/held", Behaviour::status(200).held());
    let (gate, key) = start(&backend);
    thread::scope(|scope| {
        let in_flight = scope.spawn(|| gate.get("/held", &key));
        backend.await_count(1);
        gate.reload(|text| {
            text + "[[routes]]\npath = \"/held\"\ncost_max = 4\n[cors]\norigins = [\"https://a.example\"]\n"
        });
        let next = gate.send(&Request::get("/else").key(&key.raw).header("Origin", "https://a.example"));
        assert_eq!(next.header("access-control-allow-origin"), Some("https://a.example"));
        backend.release();
        let answer = in_flight.join().expect("an answer").expect(200);
        assert_eq!(answer.header("vary"), None, "it keeps what it started with");
        assert_eq!(gate.get("/held", &key).status, 429, "3 are left, the route takes 4 now");
    });
}

#[test]
fn what_needs_a_restart_is_named_and_left_as_it_was() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).set("limits", "enforce = true").start();
    gate.edit(|text| {
        text.replace("[gateway]\n", "[gateway]\ndrain_timeout = \"7s\"\n").replace("enforce = true", "enforce = false")
    });
    let line = gate.await_log("what waits", |line| line.contains("need a restart"));
    assert!(line.contains("gateway.drain_timeout") && line.contains("limits.enforce"), "{line}");
    let config = gate.operator("/admin/v1/config").expect(200).json();
    let waiting = config["restart_needed"].to_string();
    assert!(waiting.contains("gateway.drain_timeout") && waiting.contains("limits.enforce"), "{waiting}");
    assert_eq!(config["settings"]["limits"]["enforce"], true);
    gate.send(&Request::get("/")).expect(401);
}
