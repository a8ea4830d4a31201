//! Clients that call and call, and a record of what each call was answered and when.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::http::{Connection, Request};

/// How long a client that gets no connection waits before it tries again.
const RECONNECT: Duration = Duration::from_millis(20);

/// A call and its answer. Whatever the gate decided, it decided between these two instants.
#[derive(Clone, Debug)]
pub struct Call {
    /// The gate it went to, counted from 0.
    pub gate: usize,
    /// The key it carried, counted from 0.
    pub key: usize,
    /// Just before it was sent.
    pub sent: Instant,
    /// Just after the answer came.
    pub answered: Instant,
    /// The answer's status; 0 when none came.
    pub status: u16,
    /// The problem's code, where the answer was one.
    pub code: String,
    /// Refusals of this client in a row, this one counted.
    pub refused_in_a_row: usize,
}

impl Call {
    /// Whether it went on to the backend.
    pub fn is_admitted(&self) -> bool {
        self.status == 200
    }
}

/// What a client does after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next one at once.
    Go,
    /// The next one after a rest.
    Rest(Duration),
    /// No more.
    Stop,
}

/// Has `clients` at each of these gates call until `then` stops them; client `n` of a gate carries key `n`, counted
/// round. All calls, in no order.
///
/// # Panics
/// When a client does.
pub fn calls_of(gates: &[SocketAddr], clients: usize, keys: &[&str], then: impl Fn(&Call) -> Next + Sync) -> Vec<Call> {
    let then = &then;
    thread::scope(|scope| {
        let numbers = gates.iter().enumerate().flat_map(|gate| (0..clients).map(move |client| (gate, client)));
        let start = |((gate, &address), client): ((usize, &SocketAddr), usize)| {
            let key = client % keys.len();
            let request = Request::get("/events/1").key(keys[key]);
            // Hundreds of them, each of which needs little.
            let small = thread::Builder::new().stack_size(256 * 1024);
            let run = move || client_of(gate, key, address, &request, then);
            small.spawn_scoped(scope, run).expect("a thread")
        };
        let threads: Vec<_> = numbers.map(start).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no client fails")).collect()
    })
}

fn client_of(
    gate: usize,
    key: usize,
    address: SocketAddr,
    request: &Request,
    then: &(impl Fn(&Call) -> Next + Sync),
) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut open: Option<Connection> = None;
    let mut refused_in_a_row = 0;
    loop {
        let sent = Instant::now();
        let connection = open.take().map_or_else(|| Connection::try_open(address), Ok);
        let answer = connection.and_then(|mut connection| {
            let answer = connection.send(request)?;
            if answer.header("connection") != Some("close") {
                open = Some(connection);
            }
            Ok(answer)
        });
        let answered = Instant::now();
        let (status, code) = answer.map_or((0, String::new()), |answer| {
            let is_problem = answer.header("content-type") == Some("application/problem+json");
            let code = is_problem.then(|| answer.json()["code"].as_str().unwrap_or_default().to_owned());
            (answer.status, code.unwrap_or_default())
        });
        refused_in_a_row = if status == 200 { 0 } else { refused_in_a_row + 1 };
        if status == 0 {
            thread::sleep(RECONNECT);
        }
        let call = Call { gate, key, sent, answered, status, code, refused_in_a_row };
        let next = then(&call);
        calls.push(call);
        match next {
            Next::Go => {}
            Next::Rest(time) => thread::sleep(time),
            Next::Stop => return calls,
        }
    }
}
