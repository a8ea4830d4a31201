//! Heads: what is refused is never forwarded; what passes is forwarded in its one form.

use std::time::{Duration, Instant};

use crate::support::{Client, Gateway, settings, status};

async fn check_refused(gateway: &Gateway, bytes: &[u8], expected: u16) {
    let forwarded = gateway.received.lock().len();
    let answer = gateway.exchange(bytes).await;
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    assert_eq!(status(&answer), expected, "{shown:?} got {answer:?}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer:?}");
    assert!(answer.contains("application/problem+json"), "{answer:?}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer:?}");
    assert_eq!(gateway.received.lock().len(), forwarded, "{shown:?} was forwarded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_with_two_readings_is_refused_and_never_forwarded() {
    let gateway = Gateway::start().await;
    let cases: &[&[u8]] = &[
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity,chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\x01z\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a/../b\r\n\r\n",
        b"GET events/x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET a:1/events HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET //x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a/..;/b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a%2f..%2fb HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /../x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /?a=\"b\" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n",
    ];
    for bytes in cases {
        check_refused(&gateway, bytes, 400).await;
    }
    assert_eq!(gateway.count("rejected bad_request"), cases.len());
    assert!(!gateway.seen.lock().iter().any(|word| word.starts_with("unseen")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_off_the_list_is_told_which_are_on_it() {
    let gateway = Gateway::start().await;
    for method in ["TRACE", "PROPFIND", "get"] {
        let bytes = format!("{method} /x?key=1 HTTP/1.1\r\nHost: a\r\nOrigin: https://o\r\n\r\n");
        check_refused(&gateway, bytes.as_bytes(), 405).await;
        let answer = gateway.exchange(bytes.as_bytes()).await;
        assert!(answer.contains("\r\nallow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"));
        let facts = format!("|Some(\"{method}\")|Some(\"/x\")|Some(\"https://o\")");
        assert!(answer.ends_with(&facts), "{answer}");
    }
    check_refused(&gateway, b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_beyond_its_size_is_431() {
    let gateway = Gateway::start().await;
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(64 * 1024));
    check_refused(&gateway, large.as_bytes(), 431).await;
    let endless = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(500 * 1024));
    check_refused(&gateway, endless.as_bytes(), 431).await;
    let many = "X: y\r\n".repeat(257);
    check_refused(&gateway, format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n").as_bytes(), 431).await;
    let fits = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(60 * 1024));
    let mut client = gateway.connect().await;
    client.send(fits.as_bytes()).await;
    assert_eq!(client.read_answer().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_goes_upstream_in_the_form_that_was_judged() {
    let gateway = Gateway::start().await;
    let mut client = gateway.connect().await;
    let cases = [
        ("/public/../x", "/x"),
        ("/public/%2e%2e/x", "/x"),
        ("/a/./b/", "/a/b/"),
        ("/a%2fb;v=1?q=%2f&r", "/a%2Fb;v=1?q=%2f&r"),
        ("/%61?x={y}|[z]^`\\", "/a?x={y}|[z]^`\\"),
        ("/a[0]", "/a%5B0%5D"),
        ("/%252e%252e/x", "/%252e%252e/x"),
        ("/a?b#".trim_end_matches('#'), "/a?b"),
        ("http://b.example:81/x/../y", "/y"),
        ("http://b.example:81", "/"),
    ];
    for (target, forwarded) in cases {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n").as_bytes()).await;
        assert_eq!(client.read_answer().await.status(), 200, "{target}");
        let last = gateway.received.lock().last().cloned().expect("it was forwarded");
        assert_eq!(last.line(), format!("GET {forwarded} HTTP/1.1"), "{target}");
        let host = if target.starts_with('/') { "a.example" } else { "b.example:81" };
        assert_eq!(last.header("host"), Some(host), "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_never_reaches_the_upstream() {
    let gateway = Gateway::start().await;
    let upgrades = [
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n",
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMA\r\n",
    ];
    for fields in upgrades {
        let mut client = gateway.connect().await;
        client.send(format!("GET /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes()).await;
        assert_eq!(client.read_answer().await.status(), 200);
        let last = gateway.received.lock().last().cloned().expect("it was forwarded");
        for name in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(last.header(name), None, "{name} in {last:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_header_does_not_change_the_method() {
    let gateway = Gateway::start().await;
    let mut client = gateway.connect().await;
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nX-HTTP-Method-Override: TRACE\r\n\r\n").await;
    assert_eq!(client.read_answer().await.status(), 200);
    assert_eq!(gateway.received.lock()[0].line(), "POST /x HTTP/1.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_is_closed_at_its_deadline_on_any_request_of_a_connection() {
    let gateway = Gateway::start().await;
    for earlier_requests in 0..2 {
        let mut client = gateway.connect().await;
        for _ in 0..earlier_requests {
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert_eq!(client.read_answer().await.status(), 200);
        }
        // Resting before a request is no slow head.
        tokio::time::sleep(Duration::from_millis(400)).await;
        let began = Instant::now();
        let answer = drip(&mut client, b"GET / HTTP/1.1\r\nHost: a\r\nX: yyyyyyyyyyyyyyyyyyyy").await;
        assert_eq!(status(&answer), 408, "{answer:?}");
        let taken = began.elapsed();
        assert!(taken > Duration::from_millis(290) && taken < Duration::from_secs(2), "{taken:?}");
    }
    assert_eq!(gateway.count("rejected request_timeout"), 2);
}

/// Sends one byte every 50 ms until the gateway answers or closes.
async fn drip(client: &mut Client, bytes: &[u8]) -> String {
    for byte in bytes {
        client.send(&[*byte]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut peeked = [0];
        let peek = client.stream.peek(&mut peeked);
        if tokio::time::timeout(Duration::from_millis(30), peek).await.is_ok() {
            break;
        }
    }
    client.read_to_end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_comes_byte_by_byte_in_time_passes() {
    let mut settings = settings();
    settings.guard.header_timeout = Duration::from_secs(10);
    let gateway = Gateway::start_with(settings).await;
    let mut client = gateway.connect().await;
    client.stream.set_nodelay(true).expect("a socket option");
    for byte in b"\r\nPOST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" {
        client.send(&[*byte]).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(client.read_answer().await.body, "5 bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_at_rest_is_closed_without_a_word() {
    let mut settings = settings();
    settings.guard.keepalive_timeout = Duration::from_millis(300);
    let gateway = Gateway::start_with(settings).await;
    let mut client = gateway.connect().await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.read_answer().await.status(), 200);
    }
    let began = Instant::now();
    assert!(client.is_closed().await);
    assert!(began.elapsed() > Duration::from_millis(250), "{:?}", began.elapsed());
    assert!(gateway.connect().await.is_closed().await);
}
