//! Who calls, and with what: 27 to 31 by raw bytes. The rules themselves are shown with the keys.

use tollgate_e2e::{Backend, Setup, exchange};

use super::REST;

/// 27, 28, 29, 30
#[test]
fn nothing_a_client_writes_makes_it_somebody_else() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).set("keys", "query = \"api_key\"").start();
    let key = gate.key("ada@example.com", "pro");
    let fields = [
        "X-Tollgate-Account: acc_forged",
        "x_tollgate_account: acc_forged",
        "X.Tollgate.Account: acc_forged",
        "X-TOLLGATE_PLAN: enterprise",
        "x-tollgate-admin: 1",
        "Connection: close, x-tollgate-account, x-tollgate-plan, x-tollgate-key-id, x-request-id",
        "X-Forwarded-For: 10.0.0.1",
        "X_Forwarded_For: 10.0.0.1",
        "Forwarded: for=10.0.0.1;by=10.0.0.2",
        "X-Real-IP: 10.0.0.1",
    ];
    let request = format!(
        "GET /events/1?b=2&api_key={}&a=1 HTTP/1.1\r\nHost: a\r\n{}\r\nReferer: http://a/?api_key={}\r\n\r\n",
        key.raw,
        fields.join("\r\n"),
        key.raw
    );
    let answer = exchange(gate.address(), request.as_bytes(), REST);
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    let arrival = backend.only();
    assert_eq!(arrival.target, "/events/1?b=2&a=1");
    let mut told: Vec<(String, &str)> = arrival
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase().replace(['_', '.'], "-"), value.as_str()))
        .filter(|(name, _)| name.starts_with("x-tollgate-"))
        .collect();
    told.sort();
    let expected = [("account", &*key.account), ("key-id", &key.id), ("plan", "pro")];
    assert_eq!(told, expected.map(|(name, value)| (format!("x-tollgate-{name}"), value)));
    let text = format!("{arrival:?}");
    for forged in ["forged", "enterprise", "10.0.0", &key.raw] {
        assert!(!text.contains(forged), "{forged} in {text}");
    }
}

/// 31
#[test]
fn a_key_of_any_size_and_form_has_one_answer() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).set("keys", "query = \"api_key\"").start();
    let key = gate.key("ada@example.com", "pro").raw;
    let reads = gate.metrics().count("tollgate_store_reads_total", &[]);
    for (target, fields, status) in [
        ("/events/1", "x-api-key:".to_owned(), 403),
        ("/events/1", "x-api-key: \t ".to_owned(), 403),
        ("/events/1", format!("x-api-key: {key}\r\nx-api-key: {key}x"), 403),
        ("/events/1", format!("x-api-key: {key} {key}"), 403),
        ("/events/1?api_key[]=x", "X: y".to_owned(), 401),
        ("/events/1", format!("x-api-key: {}", "k".repeat(60_000)), 403),
        ("/events/1", format!("x-api-key: {}", "k".repeat(1 << 20)), 431),
        ("/events/1", "x-api-key: caf\u{e9}".to_owned(), 403),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n\r\n");
        let answer = exchange(gate.address(), request.as_bytes(), REST);
        let begins = format!("HTTP/1.1 {status} ");
        let shown = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with(begins.as_bytes()), "{target} {}: {shown}", &fields[..fields.len().min(60)]);
    }
    assert_eq!(gate.metrics().count("tollgate_store_reads_total", &[]), reads, "no lookup for a malformed one");
    assert_eq!(backend.count(), 0);
}
