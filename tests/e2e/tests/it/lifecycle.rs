//! Stopping, health, metrics and logs of the process.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tollgate_e2e::{Backend, Behaviour, Connection, Gate, Key, Request, Setup, eventually, policy};

/// How long an idle process may take to leave.
const IDLE_EXIT_MAX: Duration = Duration::from_secs(2);

fn start(backend: &Backend, drain_timeout: &str) -> (Gate, Key) {
    let line = format!("drain_timeout = \"{drain_timeout}\"");
    let gate = Setup::new(backend).set("gateway", &line).policy(policy::one_plan("quota = \"100/month\"")).start();
    let key = gate.key("ada@example.com", "pro");
    (gate, key)
}

#[test]
fn an_idle_process_leaves_in_under_two_seconds_whatever_connections_rest() {
    let backend = Backend::start();
    for signal in ["TERM", "INT"] {
        let (mut gate, key) = start(&backend, "30s");
        // Kept-alive ones, ones that never sent anything, and pooled ones to the upstream.
        let mut kept: Vec<_> = (0..5).map(|_| gate.connect()).collect();
        for connection in &mut kept {
            connection.send(&Request::get("/a").key(&key.raw)).expect("an answer");
        }
        let silent: Vec<_> = (0..5).map(|_| gate.connect()).collect();
        let admin = Connection::open(gate.admin_address());
        let stopped = gate.process().stop(signal, Duration::from_secs(15));
        assert_eq!(stopped.code, Some(0), "{signal}");
        assert!(stopped.took < IDLE_EXIT_MAX, "SIG{signal}: {:?}", stopped.took);
        drop((kept, silent, admin));
    }
}

#[test]
fn a_request_in_flight_finishes_and_no_new_one_is_taken() {
    let backend = Backend::start();
    backend.on("/held", Behaviour::status(200).held());
    let (mut gate, key) = start(&backend, "30s");
    let mut in_flight = gate.connect();
    in_flight.write(&Request::get("/held").key(&key.raw).bytes(gate.address())).expect("written");
    backend.await_count(1);
    let address = gate.address();
    let metrics = gate.metrics_address();
    gate.process().signal("TERM");
    eventually("no connection is taken", || Connection::try_open(address).is_err().then_some(()));
    let ready = Connection::open(metrics).send(&Request::get("/readyz")).expect("an answer");
    assert_eq!(ready.status, 503, "nobody should send it anything");
    assert!(gate.process().ended().is_none(), "it waits");
    backend.release();
    let answer = in_flight.read_answer(false).expect("the answer").expect(200);
    assert_eq!(answer.header("connection"), Some("close"));
    let released = Instant::now();
    let status = gate.process().wait_for_end(Duration::from_secs(15)).expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert!(released.elapsed() < IDLE_EXIT_MAX, "{:?}", released.elapsed());
}

#[test]
fn what_is_still_in_flight_after_drain_timeout_is_cut_off_and_counted() {
    let backend = Backend::start();
    backend.on("/held", Behaviour::status(200).held());
    let (mut gate, key) = start(&backend, "500ms");
    gate.get("/a", &key).expect(200);
    let mut in_flight = gate.connect();
    in_flight.write(&Request::get("/held").key(&key.raw).bytes(gate.address())).expect("written");
    backend.await_count(2);
    let stopped = gate.stop();
    assert!(stopped.took >= Duration::from_millis(500) && stopped.took < Duration::from_secs(5), "{:?}", stopped.took);
    assert!(in_flight.read_answer(false).is_err(), "it is cut off");
    assert!(gate.log().contains("cut off"), "{}", gate.log());
    gate.start_again();
    assert_eq!(gate.used("ada@example.com"), 2, "the call was made");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let backend = Backend::start();
    backend.on("/held", Behaviour::status(200).held());
    let (mut gate, key) = start(&backend, "30s");
    let mut in_flight = gate.connect();
    in_flight.write(&Request::get("/held").key(&key.raw).bytes(gate.address())).expect("written");
    backend.await_count(1);
    gate.process().signal("TERM");
    gate.await_log("it stops", |line| line.contains("stopping"));
    let stopped = gate.process().stop("TERM", Duration::from_secs(5));
    assert_eq!(stopped.code, Some(130));
    assert!(stopped.took < Duration::from_secs(1), "{:?}", stopped.took);
}

#[test]
fn a_stop_under_load_loses_no_count() {
    let backend = Backend::start();
    let mut gate = Setup::new(&backend).policy(policy::one_plan("quota = \"1_000_000/month\"")).start();
    let key = gate.key("ada@example.com", "pro");
    let address = gate.address();
    let served = thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|_| {
                let request = Request::get("/a").key(&key.raw);
                scope.spawn(move || {
                    let mut served = 0;
                    while let Ok(mut connection) = Connection::try_open(address) {
                        while let Ok(answer) = connection.send(&request) {
                            assert_eq!(answer.status, 200);
                            served += 1;
                        }
                    }
                    served
                })
            })
            .collect();
        backend.await_count(200);
        gate.stop();
        clients.into_iter().map(|client| client.join().expect("no client fails")).sum::<usize>()
    });
    assert_eq!(backend.count(), served, "every call that went on was answered");
    gate.start_again();
    assert_eq!(gate.used("ada@example.com"), served as u64);
}

#[test]
fn the_metrics_listener_tells_health_readiness_and_figures() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    assert_eq!(gate.observe("/healthz").expect(200).text(), "ok\n");
    assert_eq!(gate.observe("/readyz").expect(200).text(), "ready\n");
    assert_eq!(gate.observe("/nothing").status, 404);
    let key = gate.key("ada@example.com", "pro");
    for _ in 0..3 {
        gate.get("/events/1", &key).expect(200);
    }
    gate.send(&Request::get("/events/1")).expect(401);
    gate.send(&Request::get("/events//1")).expect(400);
    let reads = gate.metrics().count("tollgate_store_reads_total", &[]);
    gate.get("/events/1", &key).expect(200);
    let metrics = eventually("the last request is counted", || {
        let metrics = gate.metrics();
        let labels = [("route", "events"), ("plan", "pro"), ("outcome", "forwarded"), ("status", "2xx")];
        (metrics.count("tollgate_requests_total", &labels) == 4).then_some(metrics)
    });
    assert_eq!(metrics.count("tollgate_store_reads_total", &[]), reads, "a cached key is not read again");
    for (name, labels, count) in [
        ("tollgate_requests_total", vec![("outcome", "missing_key"), ("status", "4xx")], 1),
        ("tollgate_guard_rejections_total", vec![("code", "bad_request")], 1),
        ("tollgate_request_duration_seconds_count", vec![("route", "events")], 5),
        ("tollgate_gate_duration_seconds_count", vec![], 5),
        ("tollgate_requests_in_flight", vec![], 0),
        ("tollgate_build_info", vec![], 1),
        ("tollgate_config_info", vec![], 1),
        ("tollgate_config_rejected", vec![], 0),
        ("tollgate_panics_total", vec![], 0),
        ("tollgate_limiter_errors_total", vec![], 0),
        ("tollgate_store_errors_total", vec![], 0),
    ] {
        assert_eq!(metrics.count(name, &labels), count, "{name} {labels:?}");
    }
    let hash = gate.operator("/admin/v1/config").expect(200).json()["hash"].as_str().expect("a hash").to_owned();
    assert!(metrics.text().contains(&hash), "all nodes' hashes can be compared");
    for needle in [key.account.as_str(), key.id.as_str(), "/events/1", "ada@"] {
        assert!(!metrics.text().contains(needle), "{needle} in a label");
    }
}

#[test]
fn a_request_is_one_line_in_the_form_that_is_chosen() {
    let backend = Backend::start();
    let short = Setup::new(&backend).set("log", "format = \"line\"").start();
    let key = short.key("ada@example.com", "pro");
    let hash = crate::support::sha256(&key.raw);
    short.get("/events/search?q=secret", &key).expect(200);
    short.send(&Request::get("/events/public")).expect(200);
    short.send(&Request::get("/events/search")).expect(401);
    let is = |start: &str, end: &str| {
        let line = short.await_log(start, |line| line.starts_with(start));
        let took = line.strip_prefix(start).and_then(|rest| rest.strip_suffix(end)).unwrap_or_else(|| panic!("{line}"));
        assert!(took.strip_suffix("ms").is_some_and(|ms| ms.parse::<u32>().is_ok()), "{line}");
    };
    is("GET /events/search 200 ", &format!(" plan=pro key={}", &hash[..8]));
    is("GET /events/public 200 ", " plan=public key=");
    is("GET /events/search 401 ", " plan=public key=");
    assert!(!short.log().contains("secret"), "no query in the log");

    let json = Setup::new(&backend).start();
    let key = json.key("ada@example.com", "pro");
    let answer = json.get("/events/search", &key);
    let line = json.request_line(&answer);
    for (field, value) in [
        ("method", Value::from("GET")),
        ("path", "/events/search".into()),
        ("status", 200.into()),
        ("plan", "pro".into()),
        ("route", "events".into()),
        ("outcome", "forwarded".into()),
        ("client", "127.0.0.1".into()),
        ("key", crate::support::sha256(&key.raw)[..8].into()),
    ] {
        assert_eq!(line[field], value, "{line:#}");
    }
    assert!(
        line["duration_ms"].is_number() && line["timestamp"].as_str().is_some_and(|at| at.ends_with('Z')),
        "{line:#}"
    );
    for line in json.log().lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|value| value.is_object()), "no object: {line}");
    }
}

#[test]
fn log_lines_of_steady_traffic_are_written_while_it_lasts() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).policy(policy::one_plan("rate = \"unlimited\"")).start();
    let key = gate.key("ada@example.com", "pro");
    let first = gate.get("/a", &key);
    let id = first.header("x-request-id").expect("an id").to_owned();
    let began = Instant::now();
    // Never a pause long enough to be taken for the end.
    while !gate.log().contains(&id) {
        gate.get("/a", &key).expect(200);
        thread::sleep(Duration::from_millis(20));
        assert!(began.elapsed() < Duration::from_secs(3), "the line is not written while others come");
    }
}

#[test]
fn connections_beyond_the_cap_are_closed_and_counted() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).set("gateway", "max_connections = 4").start();
    let key = gate.key("ada@example.com", "pro");
    let mut held: Vec<_> = (0..4).map(|_| gate.connect()).collect();
    for connection in &mut held {
        connection.send(&Request::get("/events/1").key(&key.raw)).expect("an answer").expect(200);
    }
    assert!(gate.connect().is_closed_within(Duration::from_secs(5)));
    assert_eq!(gate.metrics().count("tollgate_connections_refused_total", &[]), 1);
    assert_eq!(gate.metrics().count("tollgate_connections", &[]), 4);
    held.pop();
    eventually("there is room again", || {
        gate.connect()
            .send(&Request::get("/events/1").key(&key.raw))
            .is_ok_and(|answer| answer.status == 200)
            .then_some(())
    });
}

/// Every place where something of a request or a key could be left.
fn everything_said(gate: &mut Gate) -> Vec<(String, String)> {
    let mut said = Vec::new();
    for target in ["accounts", "keys", "config", "audit", "health"] {
        said.push((format!("/admin/v1/{target}"), gate.operator(&format!("/admin/v1/{target}")).text()));
    }
    said.push(("/metrics".to_owned(), gate.metrics().text().to_owned()));
    for command in [["keys", "list"], ["accounts", "list"]] {
        let printed = gate.cli(&command).done();
        said.push((command.join(" "), printed.stdout + &printed.stderr));
    }
    gate.stop();
    let mut folders = vec![gate.folder().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                said.push((path.display().to_string(), read(&path)));
            }
        }
    }
    said
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).expect("a file")).into_owned()
}

#[test]
fn no_raw_key_is_left_anywhere() {
    let backend = Backend::start();
    for (format, level) in [("json", "trace"), ("line", "trace")] {
        let mut gate = Setup::new(&backend)
            .set("keys", "query = \"api_key\"")
            .set("log", &format!("format = \"{format}\""))
            .set("log", &format!("level = \"{level}\""))
            .start();
        let first = gate.key("ada@example.com", "pro");
        let second = Key::of(&gate.cli(&["keys", "rotate", &first.id, "--grace", "1h", "--json"]).done().json());
        let raws = [first.raw.as_str(), &second.raw];
        for raw in raws {
            let bearer = format!("Bearer {raw}");
            for request in [
                Request::get("/events/1").key(raw),
                Request::get("/events/1").header("Authorization", &bearer),
                Request::get(&format!("/events/1?api_key={raw}"))
                    .header("Referer", &format!("http://a/?api_key={raw}")),
                Request::get(&format!("/events/1?api_key={raw}x")),
                Request::get("/events/1").key(&format!("{raw}x")),
                Request::get(&format!("/events//1?api_key={raw}")).key(raw),
                Request::get(&format!("http://{raw}@a/events/1?api_key={raw}")),
                Request::get(&format!("/tollgate/v1/me?api_key={raw}")).key(raw),
                Request::new("TRACE", &format!("/events/1?api_key={raw}")).key(raw),
                Request::get(&format!("/reports/1?api_key={raw}")),
            ] {
                let answer = gate.send(&request);
                if answer.status != 200 {
                    assert!(!answer.text().contains(raw), "{}", answer.text());
                }
            }
        }
        gate.cli(&["keys", "revoke", &second.raw]).exits(2);
        for (place, text) in everything_said(&mut gate) {
            for raw in raws {
                // The secret part alone would be enough.
                let secret = raw.strip_prefix("tg_live_").expect("the prefix");
                assert!(!text.contains(secret), "a raw key in {place}");
            }
        }
    }
}
