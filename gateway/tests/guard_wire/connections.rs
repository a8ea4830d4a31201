//! Connections: kept alive, pipelined, capped, and each on its own.

use std::time::{Duration, Instant};

use crate::support::{Gateway, Received, settings, status};

const GET: &[u8] = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_serves_many_requests() {
    let gateway = Gateway::start().await;
    let mut client = gateway.connect().await;
    for index in 0..50 {
        let body = "b".repeat(index * 100);
        let head = format!("POST /{index} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
        client.send((head + &body).as_bytes()).await;
        let answer = client.read_answer().await;
        assert_eq!(answer.body, format!("{} bytes", body.len()));
        assert!(answer.head.to_lowercase().contains("connection: keep-alive"), "{}", answer.head);
    }
    assert_eq!(gateway.count("opened"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_each_judged_and_answered_in_order() {
    let gateway = Gateway::start().await;
    let mut client = gateway.connect().await;
    let mut bytes = b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".to_vec();
    bytes.extend_from_slice(b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
    bytes.extend_from_slice(b"GET /3/../4 HTTP/1.1\r\nHost: a\r\n\r\n");
    bytes.extend_from_slice(b"GET /5 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    bytes.extend_from_slice(b"GET /6 HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send(&bytes).await;
    for body in ["5 bytes", "2 bytes", "0 bytes"] {
        assert_eq!(client.read_answer().await.body, body);
    }
    assert_eq!(client.read_answer().await.status(), 400);
    assert!(client.is_closed().await);
    let received = gateway.received.lock();
    let lines: Vec<&str> = received.iter().map(Received::line).collect();
    assert_eq!(lines, ["POST /slow HTTP/1.1", "POST /2 HTTP/1.1", "GET /4 HTTP/1.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_while_another_is_served_waits_for_its_turn() {
    let gateway = Gateway::start().await;
    let mut client = gateway.connect().await;
    client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.send(GET).await;
    assert_eq!(client.read_answer().await.status(), 200);
    assert_eq!(client.read_answer().await.status(), 200);
    assert_eq!(gateway.received.lock().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_refusal_keeps_the_connection_where_the_body_is_short() {
    let gateway = Gateway::start().await;
    let mut client = gateway.connect().await;
    for _ in 0..3 {
        client.send(b"POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").await;
        assert_eq!(client.read_answer().await.status(), 401);
    }
    client.send(GET).await;
    assert_eq!(client.read_answer().await.status(), 200);
    assert_eq!(gateway.count("opened"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_refusal_of_a_long_body_is_read_by_the_client_and_closes() {
    let gateway = Gateway::start().await;
    let mut client = gateway.connect().await;
    client.send(b"POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n").await;
    client.send(&vec![b'x'; 100_000]).await;
    // The answer is long written when the rest comes; a reset would take it from the client.
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.send(&vec![b'x'; 100_000]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let answer = client.read_to_end().await;
    assert_eq!(status(&answer), 401);
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    assert!(gateway.received.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_to_close_is_closed() {
    let gateway = Gateway::start().await;
    let requests: [&[u8]; 4] = [
        b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
        b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n",
        b"GET /stream HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    ];
    for request in requests {
        let answer = gateway.exchange(request).await;
        assert_eq!(status(&answer), 200);
        assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    }
    // A client of HTTP/1.0 knows no chunks.
    let answer = gateway.exchange(requests[3]).await;
    assert!(answer.ends_with("\r\n\r\nhi"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_beyond_the_cap_is_closed_at_once() {
    let mut settings = settings();
    settings.max_connections = 2;
    let gateway = Gateway::start_with(settings).await;
    let mut first = gateway.connect().await;
    let second = gateway.connect().await;
    gateway.wait_for("opened", 2).await;
    let mut third = gateway.connect().await;
    assert!(third.is_closed().await);
    assert_eq!(gateway.count("refused"), 1);
    first.send(GET).await;
    assert_eq!(first.read_answer().await.status(), 200);
    drop(second);
    gateway.wait_for("closed", 1).await;
    let mut fourth = gateway.connect().await;
    fourth.send(GET).await;
    assert_eq!(fourth.read_answer().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_its_request_alone() {
    let gateway = Gateway::start().await;
    let mut bystander = gateway.connect().await;
    bystander.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = gateway.exchange(b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(status(&answer), 500, "{answer:?}");
    let answer = gateway.exchange(b"GET /late-panic HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("500"), "{answer:?}");
    assert_eq!(gateway.count("panicked on purpose"), 2);
    assert_eq!(bystander.read_answer().await.status(), 200);
    bystander.send(GET).await;
    assert_eq!(bystander.read_answer().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_its_request() {
    let gateway = Gateway::start().await;
    let mut client = gateway.connect().await;
    client.send(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    drop(client);
    gateway.wait_for("closed", 1).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}
