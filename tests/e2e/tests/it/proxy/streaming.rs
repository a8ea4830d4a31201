//! Long bodies pass through without being kept.

use std::thread;
use std::time::{Duration, Instant};

use tollgate_e2e::{Backend, Behaviour, Gate, Pattern, Request, Setup, eventually, policy};

/// Far above what the gate may use, so that a body that is kept would show.
const BODY_BYTES: u64 = 64 << 20;
/// What it may use beyond what it had before. What the whole process uses is for a release build to show.
const GROWTH_BYTES_MAX: u64 = 12 << 20;
/// What it may hold for a client that does not read: buffers of the proxy in both directions.
const READER_BYTES_MAX: u64 = 2 << 20;

fn start(backend: &Backend) -> (Gate, String) {
    let gate = Setup::new(backend).policy(policy::one_plan("quota = \"100/month\"")).start();
    let raw = gate.key("ada@example.com", "pro").raw;
    (gate, raw)
}

#[test]
fn a_long_body_streams_down_in_constant_memory() {
    let backend = Backend::start();
    backend.on("/length", Behaviour::status(200).pattern(BODY_BYTES));
    backend.on("/chunked", Behaviour::status(200).chunked(BODY_BYTES));
    let (mut gate, raw) = start(&backend);
    let before = gate.process().memory("VmRSS");
    for target in ["/length", "/chunked"] {
        let mut connection = gate.connect();
        connection.write(&Request::get(target).key(&raw).bytes(gate.address())).expect("written");
        let answer = connection.read_head().expect("an answer");
        let mut pattern = Pattern::default();
        assert!(connection.read_body(&answer, false, &mut |bytes| pattern.check(bytes)), "{target} broke off");
        assert_eq!(pattern.sound_length(), Some(BODY_BYTES), "{target}");
    }
    let growth = gate.process().memory("VmHWM") - before;
    assert!(growth < GROWTH_BYTES_MAX, "{} KiB", growth >> 10);
}

#[test]
fn a_long_body_streams_up_in_constant_memory() {
    let backend = Backend::start();
    let (mut gate, raw) = start(&backend);
    let before = gate.process().memory("VmRSS");
    for chunked in [false, true] {
        let mut connection = gate.connect();
        let framing =
            if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {BODY_BYTES}") };
        let head = format!("POST /upload HTTP/1.1\r\nHost: a\r\nx-api-key: {raw}\r\n{framing}\r\n\r\n");
        connection.write(head.as_bytes()).expect("written");
        let (mut pattern, mut left) = (Pattern::default(), BODY_BYTES);
        while left > 0 {
            let piece = pattern.next(left);
            left -= piece.len() as u64;
            if chunked {
                connection.write(format!("{:X}\r\n", piece.len()).as_bytes()).expect("written");
            }
            connection.write(piece).expect("written");
            if chunked {
                connection.write(b"\r\n").expect("written");
            }
        }
        if chunked {
            connection.write(b"0\r\n\r\n").expect("written");
        }
        assert_eq!(connection.read_answer(false).expect("an answer").status, 200);
        let arrival = backend.last();
        assert!(arrival.complete);
        assert_eq!(arrival.pattern, Some(BODY_BYTES));
    }
    let growth = gate.process().memory("VmHWM") - before;
    assert!(growth < GROWTH_BYTES_MAX, "{} KiB", growth >> 10);
}

#[test]
fn a_reader_that_pauses_holds_the_upstream_back_and_not_the_gates_memory() {
    let backend = Backend::start();
    backend.on("/length", Behaviour::status(200).pattern(BODY_BYTES));
    let (mut gate, raw) = start(&backend);
    let idle = gate.process().memory("VmRSS");
    let mut readers: Vec<_> = (0..8)
        .map(|_| {
            let mut connection = gate.connect();
            connection.write(&Request::get("/length").key(&raw).bytes(gate.address())).expect("written");
            assert_eq!(connection.read_head().expect("an answer").status, 200);
            connection
        })
        .collect();
    // Nobody reads on: all that the kernel's buffers take is taken soon.
    let mut before = gate.process().memory("VmRSS");
    eventually("memory stands still", || {
        thread::sleep(Duration::from_millis(200));
        let now = gate.process().memory("VmRSS");
        let still = now.abs_diff(before) < 256 << 10;
        before = now;
        still.then_some(())
    });
    let growth = before.saturating_sub(idle) / readers.len() as u64;
    assert!(growth < READER_BYTES_MAX, "{} KiB a reader", growth >> 10);
    readers.clear();
    assert_eq!(gate.send(&Request::get("/else").key(&raw)).status, 200);
}

#[test]
fn the_first_bytes_arrive_before_the_last_are_sent() {
    let backend = Backend::start();
    backend.on("/pieces", Behaviour::status(200).slow(3, Duration::from_millis(400)));
    let (gate, raw) = start(&backend);
    let mut connection = gate.connect();
    let began = Instant::now();
    connection.write(&Request::get("/pieces").key(&raw).bytes(gate.address())).expect("written");
    let answer = connection.read_head().expect("an answer");
    let mut arrived = Vec::new();
    assert!(connection.read_body(&answer, false, &mut |_| arrived.push(began.elapsed())));
    let spread = arrived.last().expect("pieces").saturating_sub(arrived[0]);
    assert!(spread > Duration::from_millis(500), "{arrived:?}");

    let head = format!("POST /up HTTP/1.1\r\nHost: a\r\nx-api-key: {raw}\r\nContent-Length: 10\r\n\r\nhello");
    connection.write(head.as_bytes()).expect("written");
    eventually("the first half", || (backend.last().body == b"hello").then_some(()));
    connection.write(b"world").expect("written");
    assert_eq!(connection.read_answer(false).expect("an answer").status, 200);
    assert_eq!(backend.last().body, b"helloworld");
}

#[test]
fn a_long_transfer_that_goes_on_outlasts_every_timeout() {
    let backend = Backend::start();
    backend.on("/pieces", Behaviour::status(200).slow(10, Duration::from_millis(150)));
    let timeout = Duration::from_millis(700);
    let gate = Setup::new(&backend)
        .set("upstream", "read_timeout = \"700ms\"\nwrite_timeout = \"700ms\"")
        .set("gateway", "body_timeout = \"700ms\"\nwrite_timeout = \"700ms\"\nheader_timeout = \"700ms\"")
        .start();
    let raw = gate.key("ada@example.com", "pro").raw;
    let began = Instant::now();
    let answer = gate.send(&Request::get("/pieces").key(&raw)).expect(200);
    assert!(answer.complete && began.elapsed() > 2 * timeout, "down: {:?}", began.elapsed());

    let began = Instant::now();
    let mut connection = gate.connect();
    let head = format!("POST /up HTTP/1.1\r\nHost: a\r\nx-api-key: {raw}\r\nContent-Length: 50\r\n\r\n");
    connection.write(head.as_bytes()).expect("written");
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(150));
        connection.write(b"piece").expect("written");
    }
    assert_eq!(connection.read_answer(false).expect("an answer").status, 200);
    assert!(backend.last().complete && began.elapsed() > 2 * timeout, "up: {:?}", began.elapsed());
}
