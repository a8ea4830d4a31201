//! Framing: 1 to 7, 9, 10.

use std::time::Duration;

use tollgate_e2e::{Backend, Connection, Request, Setup, eventually, exchange, policy};

use super::{REST, open_gate, refused};

/// 1, 2, 3, 4
#[test]
fn a_body_that_ends_in_two_places_is_refused() {
    let backend = Backend::start();
    let gate = open_gate(&backend);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for (version, fields) in [
        ("1.1", "Content-Length: 5\r\nTransfer-Encoding: chunked"),
        ("1.1", "Transfer-Encoding: chunked\r\nContent-Length: 5"),
        ("1.1", "Content-Length: 5, 5"),
        ("1.1", "Content-Length: 5\r\nContent-Length: 5"),
        ("1.1", "Content-Length: 5\r\nContent-Length: 6"),
        ("1.1", "Content-Length: +5"),
        ("1.1", "Content-Length: -1"),
        ("1.1", "Content-Length: 0x5"),
        ("1.1", "Content-Length: 5 5"),
        ("1.1", "Content-Length: 99999999999999999999"),
        ("1.1", "Content-Length:"),
        ("1.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        ("1.1", "Transfer-Encoding: chunked,chunked"),
        ("1.1", "Transfer-Encoding: chunked, identity"),
        ("1.1", "Transfer-Encoding: identity,chunked"),
        ("1.1", "Transfer-Encoding: identity"),
        ("1.1", "Transfer-Encoding: gzip, chunked"),
        ("1.1", "Transfer-Encoding: \"chunked\""),
        ("1.1", "Transfer-Encoding: xchunked"),
        ("1.1", "Transfer-Encoding:\x0bchunked"),
        ("1.1", "Transfer_Encoding: chunked\r\nContent-Length: 5"),
        ("1.1", "Content.Length: 5"),
        ("1.0", "Transfer-Encoding: chunked"),
        ("1.0", "Transfer-Encoding: chunked\r\nContent-Length: 5"),
    ] {
        let request = format!("POST /a HTTP/{version}\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n{smuggled}");
        refused(&gate, &backend, request.as_bytes(), 400);
    }
    assert_eq!(gate.metrics().count("tollgate_guard_rejections_total", &[("code", "bad_request")]), 24);
}

/// 5
#[test]
fn a_chunk_that_is_not_plain_is_refused_and_never_taken_for_a_whole_body() {
    let backend = Backend::start();
    let gate = open_gate(&backend);
    for body in [
        "\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloo\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\n\r\n",
    ] {
        let request = format!("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let answer = String::from_utf8_lossy(&exchange(gate.address(), request.as_bytes(), REST)).into_owned();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body:?} got {answer:?}");
    }
    assert!(backend.arrivals().iter().all(|arrival| !arrival.complete), "{:#?}", backend.arrivals());
}

/// 6, 7: no upgrade passes, so nothing after one does
#[test]
fn an_upgrade_is_stripped_and_what_follows_it_is_a_request_of_its_own() {
    let backend = Backend::start();
    let gate = open_gate(&backend);
    for fields in [
        "Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: anything/1.0",
    ] {
        backend.forget();
        let request =
            format!("GET /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\nGET /admin//x HTTP/1.1\r\nHost: a\r\n\r\n");
        let answers = String::from_utf8_lossy(&exchange(gate.address(), request.as_bytes(), REST)).into_owned();
        assert!(answers.starts_with("HTTP/1.1 200 ") && !answers.contains(" 101 "), "{answers}");
        assert!(answers.contains("HTTP/1.1 400 "), "the second is judged like any other: {answers}");
        let arrival = backend.only();
        assert_eq!((arrival.header("upgrade"), arrival.header("http2-settings")), (None, None), "{arrival:?}");
    }
}

/// 9
#[test]
fn a_pipelined_request_has_its_own_key_and_its_own_limit() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).policy(policy::one_plan("quota = \"2/month\"")).start();
    let key = gate.key("ada@example.com", "pro");
    let get = |target: &str, key: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n{key}\r\n");
    let with = format!("x-api-key: {}\r\n", key.raw);
    let burst = [get("/1", &with), get("/2", ""), get("/3", &with), get("/4", &with), get("/5", "x-api-key: junk\r\n")]
        .concat();
    let mut connection = Connection::open(gate.address());
    connection.write(burst.as_bytes()).expect("written");
    let statuses: Vec<u16> = (0..5).map_while(|_| Some(connection.read_answer(false).ok()?.status)).collect();
    assert_eq!(statuses, [200, 401, 200, 429, 403]);
    let seen: Vec<String> = backend.arrivals().into_iter().map(|arrival| arrival.target).collect();
    assert_eq!(seen, ["/1", "/3"]);
}

/// 10
#[test]
fn the_unread_body_of_an_early_refusal_is_dropped_within_a_bound() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let mut connection = gate.connect();
    let head = "POST /events/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n";
    connection.write(head.as_bytes()).expect("written");
    assert_eq!(connection.read_answer(false).expect("an answer").status, 401);
    let piece = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    eventually("the gate reads no more", || {
        match connection.write(&piece) {
            Ok(()) => sent += piece.len(),
            Err(_) => return Some(()),
        }
        None
    });
    assert!(sent < 64 << 20, "{} MiB of a refused body were taken", sent >> 20);
    assert_eq!(backend.count(), 0);
}

/// 40 in its simplest form: see also the timeouts of bodies under limits
#[test]
fn a_body_cut_short_is_never_taken_for_a_whole_one() {
    let backend = Backend::start();
    let gate = open_gate(&backend);
    for bytes in [
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ] {
        backend.forget();
        let mut connection = gate.connect();
        connection.write(bytes.as_bytes()).expect("written");
        eventually("the first bytes arrive", || {
            backend.arrivals().first().filter(|seen| seen.body == b"hello").map(|_| ())
        });
        connection.close_sending().expect("closed");
        // Whatever the client is told, the connection ends.
        while connection.read_answer(false).is_ok() {}
        assert!(connection.is_closed_within(Duration::from_secs(5)));
        assert!(!backend.only().complete, "{bytes:?}");
    }
    let next = gate.send(&Request::get("/next"));
    assert_eq!(next.status, 200);
}
