//! Keys revoked while several gateways serve them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::fleet::{Fleet, Plan};
use crate::gate::Key;
use crate::http::Request;
use crate::load::{Next, calls_of};
use crate::policy;
use crate::stores::Mode;
use crate::wait::{eventually, eventually_within};

/// Clients at each gateway.
const CLIENTS: usize = 2;
/// How long a client rests after a call: what a last admission can hide in.
const REST: Duration = Duration::from_millis(2);
/// A client believes that its key is revoked after so many refusals in a row.
const CONVINCED: usize = 100;
/// Keys revoked while a stream is cut.
const CUT_KEYS: usize = 5;
/// How long it is cut: less than the age at which a gateway reads a key from the database by itself.
const CUT: Duration = Duration::from_secs(2);

fn start(backend: &Backend, plan: impl FnOnce(Plan) -> Plan) -> Fleet {
    plan(Plan::new(Mode::Leased, policy::one_plan("rate = \"unlimited\""))).start(backend)
}

fn revoke(fleet: &Fleet, key: &Key) {
    let answer = fleet.admin().operate(Request::new("DELETE", &format!("/admin/v1/keys/{}", key.id)));
    assert!((200..300).contains(&answer.status), "{}: {}", answer.status, answer.text());
}

/// Revokes so many keys one after the other, each while three gateways serve it: for each the time from the operator's
/// answer to the last admission's, 0 where that came first.
#[track_caller]
pub fn revocations(rounds: usize) -> Vec<Duration> {
    let backend = Backend::start();
    let fleet = start(&backend, |plan| plan);
    let addresses = fleet.addresses();
    let round = |number: usize| {
        let key = fleet.key(&format!("user{number}@example.com"));
        let admitted: Vec<AtomicUsize> = addresses.iter().map(|_| AtomicUsize::new(0)).collect();
        let (revoked, calls) = thread::scope(|scope| {
            let clients = scope.spawn(|| {
                calls_of(&addresses, CLIENTS, &[&key.raw], |call| {
                    if call.is_admitted() {
                        admitted[call.gate].fetch_add(1, Ordering::SeqCst);
                    }
                    if call.refused_in_a_row >= CONVINCED { Next::Stop } else { Next::Rest(REST) }
                })
            });
            eventually("every gateway serves the key", || {
                admitted.iter().all(|count| count.load(Ordering::SeqCst) >= CLIENTS * 2).then_some(())
            });
            revoke(&fleet, &key);
            (Instant::now(), clients.join().expect("no client fails"))
        });
        let last = calls.iter().filter(|call| call.is_admitted()).map(|call| call.answered).max();
        last.map_or(Duration::ZERO, |last| last.saturating_duration_since(revoked))
    };
    (0..rounds).map(round).collect()
}

/// What came of a cut.
#[derive(Clone, Debug)]
pub struct CutOutcome {
    /// Revocations that the other gateways did not obey while it lasted.
    pub missed_by_others: usize,
    /// From the mending to the first moment at which the cut-off gateway refused every revoked key; `None` when it
    /// never did.
    pub caught_up: Option<Duration>,
}

/// Cuts one gateway off from Redis, revokes keys that it serves, and mends the wire.
#[track_caller]
pub fn cut_stream() -> CutOutcome {
    let backend = Backend::start();
    let fleet = start(&backend, Plan::own_redis);
    let keys: Vec<Key> = (0..CUT_KEYS).map(|number| fleet.key(&format!("user{number}@example.com"))).collect();
    let serves = |gate: usize, key: &Key| fleet.gateways[gate].get("/events/1", key).status == 200;
    let all = |gate: usize, expected: bool| keys.iter().all(|key| serves(gate, key) == expected);
    for gate in 0..fleet.gateways.len() {
        assert!(all(gate, true), "gateway {gate} serves every key: {}", fleet.logs());
    }
    fleet.links[0].cut();
    let cut = Instant::now();
    for key in &keys {
        revoke(&fleet, key);
    }
    thread::sleep(Duration::from_secs(1));
    let still_served = |gate: usize| keys.iter().filter(|key| serves(gate, key)).count();
    let missed_by_others = still_served(1) + still_served(2);
    thread::sleep(CUT.saturating_sub(cut.elapsed()));
    fleet.links[0].mend();
    let mended = Instant::now();
    // Asked at a gentle pace, by traffic that goes on as it would.
    let stopped = AtomicBool::new(false);
    let caught_up = thread::scope(|scope| {
        let raw: Vec<&str> = keys.iter().map(|key| key.raw.as_str()).collect();
        let address = [fleet.gateways[0].address()];
        scope.spawn({
            let stopped = &stopped;
            move || {
                calls_of(&address, raw.len(), &raw, |_| {
                    if stopped.load(Ordering::SeqCst) { Next::Stop } else { Next::Rest(Duration::from_millis(20)) }
                })
            }
        });
        let caught_up = eventually_within(Duration::from_secs(20), || all(0, false).then(|| mended.elapsed()));
        stopped.store(true, Ordering::SeqCst);
        caught_up
    });
    CutOutcome { missed_by_others, caught_up }
}
