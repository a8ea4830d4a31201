//! Requests that mean harm, by their raw bytes: what the client is told, and that the backend saw nothing of them or
//! exactly the canonical form. Each test names the numbers of the threat list it shows.

mod framing;
mod heads;
mod identity;
mod paths;

use std::time::Duration;

use tollgate_e2e::{Backend, Gate, Setup, exchange};

/// How long a connection may rest before nothing more is expected of it.
const REST: Duration = Duration::from_secs(3);

/// Everything is open: whatever the guard lets pass reaches the backend.
const OPEN: &str = "[plans.public]\nrate = \"unlimited\"\n[[routes]]\npath = \"/*\"\naccess = \"public\"\n";

fn open_gate(backend: &Backend) -> Gate {
    Setup::new(backend).policy(OPEN).start()
}

/// Sends the bytes and asserts one answer of this status, which is the connection's last, and that nothing arrived.
#[track_caller]
fn refused(gate: &Gate, backend: &Backend, bytes: &[u8], status: u16) {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(160)]).into_owned();
    let answer = exchange(gate.address(), bytes, REST);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?} got {answer:?}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{shown:?} got {answer:?}");
    assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{shown:?} got {answer:?}");
    assert!(answer.contains("application/problem+json"), "{shown:?} got {answer:?}");
    assert_eq!(backend.count(), 0, "{shown:?} arrived as {:?}", backend.arrivals());
}
