//! What a call costs on its way through the gate: time, and commands to Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::fleet::{Fleet, Plan};
use crate::http::{Connection, Request};
use crate::load::{Next, calls_of};
use crate::policy;
use crate::service::Shared;
use crate::setup::Setup;
use crate::stores::{Mode, Patience, Stores};

/// Calls of a turn; the ways take turns, so that whatever else the machine does falls on all alike.
const TURN: usize = 250;
/// Calls before the first that counts.
const WARM_UP: usize = 200;
const LIMITS: &str = "rate = \"unlimited\"\nquota = \"1_000_000_000/month\"";

/// How long calls took.
#[derive(Clone, Debug)]
pub struct Latency {
    /// Which way they went.
    pub way: &'static str,
    /// The time that half of them did not pass.
    pub p50: Duration,
    /// The time that 99 of 100 did not pass.
    pub p99: Duration,
}

/// One client calls on one connection: the backend itself, and through a gate that counts in the process, in Redis ahead
/// of need, and in Redis each time.
///
/// # Panics
/// When a call is not answered with 200.
#[track_caller]
pub fn latencies(turns: usize) -> Vec<Latency> {
    let backend = Backend::start();
    let redis = || vec![Shared::redis().expect("the services are there")];
    let gate = |stores: Stores| {
        let gate = Setup::new(&backend).policy(policy::one_plan(LIMITS)).on(&Arc::new(stores)).start();
        let key = gate.key("ada@example.com", "pro");
        (gate, key)
    };
    let gates = [
        ("in-process", gate(Stores::file())),
        ("leased", gate(Stores::file().redis(redis(), Mode::Leased).patience(Patience::Short))),
        ("exact", gate(Stores::file().redis(redis(), Mode::Exact).patience(Patience::Short))),
    ];
    let direct = ("the backend itself", Connection::open(backend.address()), Request::get("/events/1"));
    let through =
        gates.iter().map(|(way, (gate, key))| (*way, gate.connect(), Request::get("/events/1").key(&key.raw)));
    let mut ways: Vec<_> = std::iter::once(direct).chain(through).map(|way| (way, Vec::new())).collect();
    for turn in 0..=turns {
        for ((way, connection, request), times) in &mut ways {
            for _ in 0..if turn == 0 { WARM_UP } else { TURN } {
                let sent = Instant::now();
                let answer = connection.send(request).unwrap_or_else(|error| panic!("{way}: {error}"));
                let took = sent.elapsed();
                assert_eq!(answer.status, 200, "{way}: {}", answer.text());
                if turn > 0 {
                    times.push(took);
                }
            }
        }
    }
    let latency = |((way, ..), mut times): ((&'static str, Connection, Request), Vec<Duration>)| {
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
        Latency { way, p50: at(50), p99: at(99) }
    };
    ways.into_iter().map(latency).collect()
}

/// What calls of one account at one gateway cost Redis.
#[derive(Clone, Copy, Debug)]
pub struct Commands {
    /// Commands that the gateway's limiter sent, by its own count.
    pub limiter: f64,
    /// Scripts that Redis ran, whoever sent them: the key cache, the change stream and the list of nodes have theirs.
    pub scripts: f64,
    /// Calls that went on.
    pub calls: f64,
    /// How long they took, in seconds.
    pub seconds: f64,
}

/// Has clients make so many calls of one account at one gateway.
#[track_caller]
pub fn commands(mode: Mode, clients: usize, calls: usize) -> Commands {
    let backend = Backend::start();
    let mut fleet =
        Plan::new(mode, policy::one_plan(LIMITS)).gateways(1).own_redis().patience(Patience::Short).start(&backend);
    let key = fleet.key("ada@example.com");
    // What the first calls find out once is not what a call costs.
    for _ in 0..WARM_UP {
        fleet.gateways[0].get("/events/1", &key).expect(200);
    }
    let sent = |fleet: &Fleet| fleet.gateways[0].metrics().sum("tollgate_limiter_commands_total", &[]);
    let (sent_before, before) = (sent(&fleet), fleet.own_redis().script_calls());
    let began = Instant::now();
    let made = AtomicUsize::new(0);
    let calls = calls_of(&fleet.addresses(), clients, &[&key.raw], |_| {
        let is_over = made.fetch_add(1, Ordering::Relaxed) + clients >= calls;
        if is_over { Next::Stop } else { Next::Go }
    });
    let took = began.elapsed();
    let (limiter, scripts) = (sent(&fleet) - sent_before, fleet.own_redis().script_calls() - before);
    let number = |count: u64| f64::from(u32::try_from(count).expect("a measurement makes few calls"));
    assert!(calls.iter().all(crate::Call::is_admitted), "every call goes on");
    Commands { limiter, scripts: number(scripts), calls: number(calls.len() as u64), seconds: took.as_secs_f64() }
}
