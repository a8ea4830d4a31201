//! Drains: at rest is closed at once, in flight is finished, and nothing is waited for longer.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::support::{Gateway, settings};

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_at_rest_takes_no_time() {
    let gateway = Gateway::start().await;
    let mut kept = gateway.connect().await;
    kept.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(kept.read_answer().await.status(), 200);
    let _fresh = gateway.connect().await;
    gateway.wait_for("opened", 2).await;
    gateway.begin_drain();
    assert!(kept.is_closed().await);
    let report = gateway.drained().await;
    assert_eq!(report.cut_off, 0);
    assert!(report.elapsed < Duration::from_millis(500), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_requests_in_flight_finish_and_says_close() {
    let gateway = Gateway::start().await;
    let address = gateway.address;
    let mut client = gateway.connect().await;
    client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    gateway.begin_drain();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(address).await.is_err(), "nothing is accepted any more");
    let answer = client.read_answer().await;
    assert_eq!(answer.status(), 200);
    assert!(answer.head.to_lowercase().contains("connection: close"), "{}", answer.head);
    assert!(client.is_closed().await);
    let report = gateway.drained().await;
    assert_eq!(report.cut_off, 0);
    assert!(report.elapsed < Duration::from_secs(1), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_with_its_time() {
    let mut settings = settings();
    settings.drain_timeout = Duration::from_millis(100);
    let gateway = Gateway::start_with(settings).await;
    let mut client = gateway.connect().await;
    client.send(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    gateway.begin_drain();
    let report = gateway.drained().await;
    assert_eq!(report.cut_off, 1);
    assert!(report.elapsed < Duration::from_secs(2), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_as_the_drain_begins_is_served() {
    let gateway = Gateway::start().await;
    let mut client = gateway.connect().await;
    gateway.wait_for("opened", 1).await;
    gateway.begin_drain();
    client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.read_answer().await.status(), 200);
    assert!(client.is_closed().await);
    assert_eq!(gateway.drained().await.cut_off, 0);
}

/// On one thread, so that nothing is accepted before the drain has begun.
#[tokio::test]
async fn a_connection_that_waits_to_be_accepted_is_served() {
    let gateway = Gateway::start().await;
    let mut waiting: Vec<_> = (0..20).map(|_| gateway.connect_unaccepted()).collect();
    gateway.begin_drain();
    for client in &mut waiting {
        client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    }
    for client in &mut waiting {
        assert_eq!(client.read_answer().await.status(), 200);
    }
    assert_eq!(gateway.drained().await.cut_off, 0);
}
