//! Heads: 11, 12, 13, 19, 20, 21, 24, 39, 41.

use std::thread;
use std::time::{Duration, Instant};

use tollgate_e2e::{Backend, Connection, Request, Setup, exchange};

use super::{OPEN, REST, open_gate, refused};

/// 11
#[test]
fn odd_line_ends_and_control_bytes_are_refused() {
    let backend = Backend::start();
    let gate = open_gate(&backend);
    let cases: [&[u8]; 19] = [
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tfolded\r\n\r\n",
        b"GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\x01z\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\x7fz\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\0: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\x1b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for bytes in cases {
        refused(&gate, &backend, bytes, 400);
    }
}

/// 12, 13
#[test]
fn a_missing_repeated_or_impossible_host_is_refused() {
    let backend = Backend::start();
    let gate = open_gate(&backend);
    for fields in [
        "",
        "X: y\r\n",
        "Host:\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host: user@a\r\n",
        "Host: user:pass@a\r\n",
        "Host: a/../b\r\n",
        "Host: a/b\r\n",
        "Host: a b\r\n",
        "Host: a,b\r\n",
        "Host: a:99999\r\n",
        "Host: a:80:80\r\n",
        "Host: [::1\r\n",
        "Host: a\\b\r\n",
        "Host: a%2fb\r\n",
        "Host: http://a\r\n",
    ] {
        refused(&gate, &backend, format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes(), 400);
    }
}

/// 19, 21
#[test]
fn a_target_that_is_no_path_is_refused() {
    let backend = Backend::start();
    let gate = open_gate(&backend);
    for target in [
        "events/x",
        "a:1/events",
        "*",
        "?x",
        "a",
        "http:/a",
        "http:///x",
        "ftp://a/x",
        "http://user@a/x",
        "/a#b",
        "/#",
        "#",
        "http://a/x#y",
        "javascript:x",
    ] {
        refused(&gate, &backend, format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), 400);
    }
    for line in [
        "GET /",
        "GET / HTTP/2.0",
        "GET / HTTP/1.2",
        "GET / HTTP/0.9",
        "GET / http/1.1",
        "GET  / HTTP/1.1",
        "/ HTTP/1.1",
    ] {
        refused(&gate, &backend, format!("{line}\r\nHost: a\r\n\r\n").as_bytes(), 400);
    }
    refused(&gate, &backend, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400);
    refused(&gate, &backend, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400);
}

/// 20
#[test]
fn a_whole_url_is_rewritten_to_its_path_and_names_the_host() {
    let backend = Backend::start();
    let gate = open_gate(&backend);
    for (target, path, host) in [
        ("http://b.example:81/x/../y?q=1", "/y?q=1", "b.example:81"),
        ("HTTPS://b.example", "/", "b.example"),
        ("http://b.example?q", "/?q", "b.example"),
    ] {
        backend.forget();
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
        assert!(exchange(gate.address(), bytes.as_bytes(), REST).starts_with(b"HTTP/1.1 200 "), "{target}");
        let arrival = backend.only();
        assert_eq!((arrival.target.as_str(), arrival.header("host")), (path, Some(host)), "{target}");
    }
}

/// 24
#[test]
fn methods_off_the_list_are_405_and_an_override_changes_nothing() {
    let backend = Backend::start();
    let gate = open_gate(&backend);
    for method in ["TRACE", "TRACK", "CONNECT", "PROPFIND", "PURGE", "get", "GETS", "X"] {
        let bytes = format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n");
        refused(&gate, &backend, bytes.as_bytes(), 405);
        let answer = exchange(gate.address(), bytes.as_bytes(), REST);
        let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        assert!(answer.contains("\r\nallow: get, head, post, put, patch, delete, options\r\n"), "{answer}");
    }
    let connect = b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n";
    refused(&gate, &backend, connect, 405);

    let policy = "[plans.pro]\nquota = \"1_000/month\"\n[[routes]]\npath = \"/x\"\nmethods = [\"GET\"]\ncost = 1\n\
                  [[routes]]\npath = \"/x\"\nmethods = [\"DELETE\"]\ncost = 100\n";
    let keyed = Setup::new(&backend).policy(policy).start();
    let key = keyed.key("ada@example.com", "pro");
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
        keyed.send(&Request::get("/x").key(&key.raw).header(name, "DELETE")).expect(200);
        keyed.send(&Request::post("/x", "").key(&key.raw).header(name, "GET")).expect(405);
    }
    keyed.send(&Request::get("/x?_method=DELETE").key(&key.raw)).expect(200);
    assert_eq!(keyed.used("ada@example.com"), 4);
    assert!(backend.arrivals().iter().all(|arrival| arrival.method == "GET"));
}

/// 39
#[test]
fn a_head_that_comes_slowly_is_ended_at_a_deadline_for_the_whole_of_it() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).set("gateway", "header_timeout = \"600ms\"").policy(OPEN).start();
    // The first request of a connection, and a later one.
    for warm in [false, true] {
        let mut connection = Connection::open(gate.address());
        if warm {
            assert_eq!(connection.send(&Request::get("/warm")).expect("an answer").status, 200);
        }
        let began = Instant::now();
        // Byte by byte: each comes in good time, the whole never does.
        for byte in b"GET /slow HTTP/1.1\r\nHost: a\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'y')) {
            if connection.write(&[*byte]).is_err() || began.elapsed() > Duration::from_secs(2) {
                break;
            }
            thread::sleep(Duration::from_millis(20));
            if began.elapsed() > Duration::from_millis(700) {
                break;
            }
        }
        let answer = connection.read_answer(false).expect("an answer");
        answer.problem(408, "request_timeout");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert!(connection.is_closed_within(Duration::from_secs(5)));
    }
    assert!(backend.arrivals().iter().all(|arrival| arrival.target == "/warm"));
}

/// 41
#[test]
fn a_head_that_is_too_large_is_431() {
    let backend = Backend::start();
    let gate = open_gate(&backend);
    let with = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    refused(&gate, &backend, with(&format!("X: {}\r\n", "y".repeat(64 * 1024))).as_bytes(), 431);
    refused(&gate, &backend, with(&format!("X: {}\r\n", "y".repeat(1 << 20))).as_bytes(), 431);
    refused(&gate, &backend, with(&"X: y\r\n".repeat(257)).as_bytes(), 431);
    refused(&gate, &backend, format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(1 << 20)).as_bytes(), 431);
    // One that never ends is not read for ever either.
    refused(&gate, &backend, format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(1 << 20)).as_bytes(), 431);
    let fits = Request::get("/").header("X-Large", &"y".repeat(60 * 1024));
    assert_eq!(gate.send(&fits).status, 200);
    let small = Setup::new(&backend).set("gateway", "max_header = \"2KiB\"").policy(OPEN).start();
    small.send(&Request::get("/").header("X-Large", &"y".repeat(2_048))).problem(431, "headers_too_large");
    assert_eq!(small.send(&Request::get("/").header("X-Large", &"y".repeat(1_024))).status, 200);
}
