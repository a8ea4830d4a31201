//! Bodies and connections: chunks, `100 Continue`, keep-alive.

use std::time::Duration;

use tollgate_e2e::{Backend, Behaviour, Gate, Request, Setup, policy};

fn start(backend: &Backend) -> (Gate, String) {
    let gate = Setup::new(backend).policy(policy::one_plan("quota = \"100/month\"")).start();
    let raw = gate.key("ada@example.com", "pro").raw;
    (gate, raw)
}

#[test]
fn a_chunked_body_arrives_whole_without_extensions_and_trailers() {
    let backend = Backend::start();
    let (gate, raw) = start(&backend);
    let mut connection = gate.connect();
    let head = format!(
        "POST /up HTTP/1.1\r\nHost: a\r\nx-api-key: {raw}\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    );
    let body = "5;name=value\r\nhello\r\n00006\r\n world\r\n0\r\nX-Sum: 1\r\nX-Tollgate-Account: forged\r\n\r\n";
    connection.write(format!("{head}{body}").as_bytes()).expect("written");
    assert_eq!(connection.read_answer(false).expect("an answer").status, 200);
    let arrival = backend.only();
    assert_eq!((arrival.body.as_slice(), arrival.complete), (b"hello world".as_slice(), true));
    // The next request on the connection begins where the body ended.
    assert_eq!(connection.send(&Request::get("/next").key(&raw)).expect("an answer").status, 200);
    assert_eq!(backend.last().target, "/next");
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it_from_the_upstream() {
    let backend = Backend::start();
    let (gate, raw) = start(&backend);
    let mut connection = gate.connect();
    let head = format!(
        "POST /up HTTP/1.1\r\nHost: a\r\nx-api-key: {raw}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    );
    connection.write(head.as_bytes()).expect("written");
    assert_eq!(connection.read_one_head().expect("an interim answer").status, 100);
    connection.write(b"hello").expect("written");
    assert_eq!(connection.read_answer(false).expect("an answer").status, 200);
    assert_eq!(backend.only().body, b"hello");
}

#[test]
fn a_client_that_waits_and_is_refused_need_not_send_its_body() {
    let backend = Backend::start();
    let (gate, _) = start(&backend);
    let mut connection = gate.connect();
    connection
        .write(b"POST /up HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 100000000\r\n\r\n")
        .expect("written");
    let answer = connection.read_answer(false).expect("an answer");
    assert_eq!((answer.status, answer.interim.len()), (401, 0));
    assert!(connection.is_closed_within(Duration::from_secs(5)), "what would come next could be read as a request");
    assert_eq!(backend.count(), 0);
}

#[test]
fn the_body_of_a_refused_call_never_becomes_a_request() {
    let backend = Backend::start();
    let (gate, raw) = start(&backend);
    let smuggled = format!("GET /smuggled HTTP/1.1\r\nHost: a\r\nx-api-key: {raw}\r\n\r\n");
    let mut connection = gate.connect();
    let refused = Request::post("/up", smuggled.clone());
    assert_eq!(connection.send(&refused).expect("an answer").status, 401);
    // A short body is skipped and the connection lives on.
    assert_eq!(connection.send(&Request::get("/next").key(&raw)).expect("an answer").status, 200);
    let mut connection = gate.connect();
    let refused = Request::post("/up", smuggled.repeat(20_000));
    drop(connection.write(&refused.bytes(gate.address())));
    assert_eq!(connection.read_answer(false).expect("an answer").status, 401);
    assert!(connection.is_closed_within(Duration::from_secs(5)), "a long one is not read to its end");
    assert_eq!(backend.only().target, "/next");
}

#[test]
fn an_upstream_that_answers_early_is_passed_on() {
    let backend = Backend::start();
    backend.on("/early", Behaviour::status(422).early());
    let gate = Setup::new(&backend).set("gateway", "body_timeout = \"500ms\"").start();
    let raw = gate.key("ada@example.com", "pro").raw;
    let mut connection = gate.connect();
    let head = format!("POST /early HTTP/1.1\r\nHost: a\r\nx-api-key: {raw}\r\nContent-Length: 1000000\r\n\r\nbegin");
    connection.write(head.as_bytes()).expect("written");
    assert_eq!(connection.read_answer(false).expect("an answer").status, 422);
    assert!(connection.is_closed_within(Duration::from_secs(5)), "a body that nobody wants is not waited for");
    assert_eq!(gate.send(&Request::get("/next").key(&raw)).status, 200);
}

#[test]
fn connections_are_kept_and_closed_as_the_client_asks() {
    let backend = Backend::start();
    let (gate, raw) = start(&backend);
    let mut connection = gate.connect();
    for number in 0..20 {
        let request = if number % 2 == 0 { Request::get("/a") } else { Request::post("/b", "body") };
        assert_eq!(connection.send(&request.key(&raw)).expect("an answer").status, 200);
        // A connection is free again a moment after its answer went on.
        std::thread::sleep(Duration::from_millis(20));
    }
    let upstream: std::collections::BTreeSet<_> = backend.arrivals().iter().map(|arrival| arrival.connection).collect();
    assert!(upstream.len() <= 5, "upstream connections are kept as well: {upstream:?}");
    let last = connection.send(&Request::get("/a").key(&raw).header("Connection", "close")).expect("an answer");
    assert_eq!(last.header("connection"), Some("close"));
    assert!(connection.is_closed_within(Duration::from_secs(5)));

    let mut old = gate.connect();
    old.write(format!("GET /a HTTP/1.0\r\nHost: a\r\nx-api-key: {raw}\r\n\r\n").as_bytes()).expect("written");
    let answer = old.read_answer(false).expect("an answer");
    assert_eq!((answer.status, answer.complete), (200, true));
    assert!(old.is_closed_within(Duration::from_secs(5)), "HTTP/1.0 ends with its answer");
}

#[test]
fn answers_keep_status_headers_and_body_as_the_upstream_sent_them() {
    let backend = Backend::start();
    let body = "x".repeat(3_000);
    let answer = Behaviour::status(418)
        .header("Set-Cookie", "a=1")
        .header("Set-Cookie", "b=2")
        .header("ETag", "\"v1\"")
        .header("Content-Encoding", "gzip")
        .bytes(body.clone());
    backend.on("/tea", answer);
    backend.on("/nothing", Behaviour::status(204));
    let (gate, raw) = start(&backend);
    let answer = gate.send(&Request::get("/tea").key(&raw).header("Accept-Encoding", "br")).expect(418);
    assert_eq!(answer.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!((answer.header("etag"), answer.header("content-encoding")), (Some("\"v1\""), Some("gzip")));
    assert_eq!(answer.text(), body);
    assert_eq!(backend.last().header("accept-encoding"), Some("br"));
    let answer = gate.send(&Request::get("/nothing").key(&raw)).expect(204);
    assert!(answer.body.is_empty());
    let head = gate.send(&Request::new("HEAD", "/tea").key(&raw)).expect(418);
    assert_eq!(head.number("content-length"), 3_000);
}
