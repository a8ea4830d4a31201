//! Bodies: they end where their framing says, or they do not end at all.

use std::time::Duration;

use crate::support::{Gateway, settings, status};

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut bytes = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    bytes.extend_from_slice(body);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_chunk_is_400_and_never_forwarded_as_complete() {
    let gateway = Gateway::start().await;
    let bodies: [&[u8]; 12] = [
        b"\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"00000000000000005\r\nhello\r\n0\r\n\r\n",
        b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhelloworld\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: y\n\r\n",
        b"5\r\nhello\r\n0\r\n\n",
    ];
    for body in bodies {
        let shown = String::from_utf8_lossy(body).into_owned();
        let answer = gateway.exchange(&chunked(body)).await;
        assert_eq!(status(&answer), 400, "{shown:?} got {answer:?}");
        assert!(answer.contains("application/problem+json"), "{answer:?}");
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(gateway.received.lock().iter().all(|received| !received.complete));
    assert_eq!(gateway.count("rejected bad_request"), bodies.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_arrives_whole_without_extensions_and_trailers() {
    let gateway = Gateway::start().await;
    let body = b"5;a=\"b\"\r\nhello\r\n6\r\n world\r\n0;last\r\nX-Admin: 1\r\nHost: b\r\n\r\n";
    let bytes = chunked(body);
    // However the pieces fall, the body is the same and the next request begins where it ends.
    for step in [1, 2, 3, 7, bytes.len()] {
        let mut client = gateway.connect().await;
        client.stream.set_nodelay(true).expect("a socket option");
        for piece in bytes.chunks(step) {
            client.send(piece).await;
            if step < 3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        assert_eq!(client.read_answer().await.body, "11 bytes", "by {step}");
        client.send(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.read_answer().await.status(), 200);
        let received = gateway.received.lock();
        let [.., posted, next] = received.as_slice() else { panic!("two requests arrive") };
        assert_eq!(posted.body, b"hello world");
        assert_eq!(posted.header("x-admin"), None);
        assert_eq!(next.line(), "GET /next HTTP/1.1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_cut_short_is_never_forwarded_as_complete() {
    let gateway = Gateway::start().await;
    let cases: [&[u8]; 3] = [
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ];
    for bytes in cases {
        let mut client = gateway.connect().await;
        client.send(bytes).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(client);
    }
    gateway.wait_for("closed", cases.len()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let received = gateway.received.lock();
    assert_eq!(received.len(), cases.len());
    assert!(received.iter().all(|received| !received.complete), "{received:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_to_continue_is_told_to() {
    let gateway = Gateway::start().await;
    let mut client = gateway.connect().await;
    client.send(b"PUT /continue HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(status(&client.read_head().await), 100);
    client.send(b"hello").await;
    let answer = client.read_answer().await;
    assert_eq!((answer.status(), answer.body.as_str()), (200, "5 bytes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_chunk_after_the_leave_to_continue_is_400() {
    let gateway = Gateway::start().await;
    let mut client = gateway.connect().await;
    client
        .send(b"PUT /continue HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        .await;
    assert_eq!(status(&client.read_head().await), 100);
    client.send(b"5\r\nhelloworld").await;
    assert_eq!(status(&client.read_to_end().await), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_megabytes_pass_in_both_directions() {
    const LENGTH: usize = 10 * 1024 * 1024;
    let gateway = Gateway::start().await;
    let piece = vec![b'y'; 100_000];
    for chunked in [false, true] {
        let mut client = gateway.connect().await;
        let framing =
            if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {LENGTH}") };
        client.send(format!("POST /x HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes()).await;
        let mut left = LENGTH;
        while left > 0 {
            let count = left.min(piece.len());
            if chunked {
                client.send(format!("{count:x}\r\n").as_bytes()).await;
            }
            client.send(&piece[..count]).await;
            if chunked {
                client.send(b"\r\n").await;
            }
            left -= count;
        }
        if chunked {
            client.send(b"0\r\n\r\n").await;
        }
        assert_eq!(client.read_answer().await.body, format!("{LENGTH} bytes"));
        client.send(format!("GET /big/{LENGTH} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await;
        assert_eq!(client.read_answer().await.body.len(), LENGTH);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_below_the_minimum_rate_is_408() {
    let mut settings = settings();
    settings.guard.minimum_rate.bytes_per_second = 1_000;
    settings.guard.minimum_rate.grace = Duration::from_millis(200);
    let gateway = Gateway::start_with(settings).await;
    let mut client = gateway.connect().await;
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n").await;
    for _ in 0..12 {
        client.send(b"x").await;
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    let answer = client.read_to_end().await;
    assert_eq!(status(&answer), 408, "{answer:?}");
    assert!(answer.contains("too slowly"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_is_given_up_after_its_read_timeout() {
    let mut settings = settings();
    settings.guard.body_read_timeout = Duration::from_millis(200);
    let gateway = Gateway::start_with(settings).await;
    let answer = gateway.exchange(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello").await;
    assert_eq!(status(&answer), 408, "{answer:?}");
    assert!(!gateway.received.lock()[0].complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_dropped_after_the_write_timeout() {
    let mut settings = settings();
    settings.guard.write_timeout = Duration::from_millis(300);
    let gateway = Gateway::start_with(settings).await;
    let mut client = gateway.connect().await;
    client.send(b"GET /big/100000000 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    gateway.wait_for("closed", 1).await;
}
