//! A fleet under load while something that it needs goes away and comes back, and what its customers saw of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::fleet::{Fleet, Plan};
use crate::gate::Key;
use crate::http::Request;
use crate::load::{Call, Next, calls_of};
use crate::stores::Mode;
use crate::wait::eventually_within;

/// `pro` never ends, `small` is soon used up, `slow` has a bucket that the load asks too much of.
const POLICY: &str = "[plans.pro]\nquota = \"1_000_000/month\"\n[plans.small]\nquota = \"30/month\"\n\
                      [plans.slow]\nrate = \"600/minute\"\nburst = 60\n";
/// The bucket of `slow`.
const SLOW: super::Bucket = super::Bucket { rate: 10, burst: 60 };
/// How long a client rests after a call.
const REST: Duration = Duration::from_millis(10);
/// Load before the fault, while it lasts, and after.
const BEFORE: Duration = Duration::from_millis(1_500);
const DURING: Duration = Duration::from_secs(5);
const AFTER: Duration = Duration::from_secs(3);
/// How long after the load everything may take to reach the ledger: a batch whose first sending got lost is sent again
/// after ten seconds, and once more after twenty.
const LEDGER: Duration = Duration::from_secs(40);
/// A call that no key of the fleet opens, in a shape that it has to look up.
const STRANGER: &str = "rk_a_key_that_nobody_ever_made";

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Redis is killed, and started again with what it had.
    RedisKilled,
    /// Redis stops answering, and goes on where it was.
    RedisPaused,
    /// Nothing passes between Redis and anybody.
    RedisSilent,
    /// Redis loses everything while it runs.
    RedisFlushed,
    /// Redis is killed, and started again at once with nothing.
    RedisEmpty,
    /// Redis has no memory left to write to.
    RedisFull,
    /// `PostgreSQL` is killed, and started again with what it had.
    PostgresKilled,
    /// Both are.
    BothKilled,
    /// The control plane is.
    AdminKilled,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::RedisKilled,
        Self::RedisPaused,
        Self::RedisSilent,
        Self::RedisFlushed,
        Self::RedisEmpty,
        Self::RedisFull,
        Self::PostgresKilled,
        Self::BothKilled,
        Self::AdminKilled,
    ];

    /// Whether Redis is of no use while it lasts.
    fn takes_redis(self) -> bool {
        !matches!(self, Self::PostgresKilled | Self::AdminKilled | Self::RedisFlushed | Self::RedisEmpty)
    }

    /// Whether the database is away while it lasts.
    fn takes_postgres(self) -> bool {
        matches!(self, Self::PostgresKilled | Self::BothKilled)
    }

    fn begin(self, fleet: &mut Fleet) {
        match self {
            Self::RedisKilled => fleet.own_redis().kill(),
            Self::RedisPaused => fleet.own_redis().pause(),
            Self::RedisSilent => fleet.links.iter().for_each(crate::Link::silence),
            Self::RedisFlushed => assert_eq!(fleet.own_redis().command(&["FLUSHALL"]).text(), "OK"),
            Self::RedisEmpty => {
                fleet.own_redis().kill();
                fleet.own_redis().start_again_empty();
            }
            Self::RedisFull => set_memory(fleet, "1"),
            Self::PostgresKilled => fleet.own_postgres().kill(),
            Self::BothKilled => {
                fleet.own_redis().kill();
                fleet.own_postgres().kill();
            }
            Self::AdminKilled => fleet.admins[0].kill(),
        }
    }

    fn end(self, fleet: &mut Fleet) {
        match self {
            Self::RedisKilled => fleet.own_redis().start_again(),
            Self::RedisPaused => fleet.own_redis().resume(),
            Self::RedisSilent => fleet.links.iter().for_each(crate::Link::mend),
            Self::RedisFlushed | Self::RedisEmpty => {}
            Self::RedisFull => set_memory(fleet, "0"),
            Self::PostgresKilled => fleet.own_postgres().start_again(),
            Self::BothKilled => {
                fleet.own_postgres().start_again();
                fleet.own_redis().start_again();
            }
            Self::AdminKilled => fleet.admins[0].start_again(),
        }
    }
}

/// 1 is full, 0 is no bound.
fn set_memory(fleet: &mut Fleet, bytes_max: &str) {
    let reply = fleet.own_redis().command(&["CONFIG", "SET", "maxmemory", bytes_max]);
    assert_eq!(reply.text(), "OK");
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct FaultOutcome {
    /// Answers to the customer with a wide quota that did not go on, by status and code; (0, "") where none came.
    pub wide_refused: BTreeMap<(u16, String), usize>,
    /// Answers with a status of 500 or above, or none, to anybody.
    pub failed: BTreeMap<(u16, String), usize>,
    /// Calls in all.
    pub calls: usize,
    /// Calls of the wide quota that went on, and what the ledger came to.
    pub wide: (usize, Option<u64>),
    /// The same of the small quota, which was used up before the load began.
    pub small: (usize, Option<u64>),
    /// Calls of the small quota that went on under load: every gateway knew that nothing was left.
    pub small_under_load: usize,
    /// Calls of the bucket that went on, and the most that may: what it gives in the time, and once more what every
    /// gateway's share gives by itself, to the unit that a share is rounded up to.
    pub slow: (usize, f64),
    /// The longest that an answer took.
    pub slowest: Duration,
    /// What a good key that no gateway had met was answered during the fault, and what it should be.
    pub newcomer: (u16, String, u16),
    /// What a key that nobody made was answered during the fault, and what it should be.
    pub stranger: (u16, String, u16),
    /// From the end of the load to a ledger that is right; `None` when it never was.
    pub settled: Option<Duration>,
    /// What the processes logged.
    pub logs: String,
}

/// Puts a fleet under load and through a fault.
#[track_caller]
pub fn under_load(fault: Fault, mode: Mode) -> FaultOutcome {
    let backend = Backend::start();
    let plan = Plan::new(mode, POLICY).own_redis().set("keys", "also_accept = [\"rk_*\"]");
    let plan = if fault.takes_postgres() { plan.own_postgres() } else { plan };
    let mut fleet = plan.start(&backend);
    let keys = [("wide", "pro"), ("small", "small"), ("slow", "slow"), ("newcomer", "pro")];
    let keys = keys.map(|(name, plan)| fleet.admin().key(&format!("{name}@example.com"), plan));
    let [wide, small, slow, newcomer] = &keys;
    let small_before = use_up(&fleet, small);
    let began = Instant::now();
    let stopped = AtomicBool::new(false);
    let (calls, [newcomer, stranger]) = thread::scope(|scope| {
        let addresses = fleet.addresses();
        let load = scope.spawn({
            let stopped = &stopped;
            move || {
                let keys = [wide, small, slow].map(|key| key.raw.as_str());
                calls_of(&addresses, keys.len(), &keys, |_| {
                    if stopped.load(Ordering::SeqCst) { Next::Stop } else { Next::Rest(REST) }
                })
            }
        });
        thread::sleep(BEFORE);
        fault.begin(&mut fleet);
        let began = Instant::now();
        thread::sleep(DURING / 2);
        let probes = [newcomer.raw.as_str(), STRANGER].map(|key| probe(&fleet, key));
        thread::sleep(DURING.saturating_sub(began.elapsed()));
        fault.end(&mut fleet);
        thread::sleep(AFTER);
        stopped.store(true, Ordering::SeqCst);
        (load.join().expect("no client fails"), probes)
    });
    let took = began.elapsed();
    let ended = Instant::now();
    let admitted = |key: usize| calls.iter().filter(|call| call.key == key && call.is_admitted()).count();
    let (wide_admitted, small_admitted) = (admitted(0), small_before + admitted(1));
    let is_right =
        |key: &Key, admitted: usize| fleet.ledger(key).and_then(|units| units.try_into().ok()) == Some(admitted);
    let settled = eventually_within(LEDGER, || {
        thread::sleep(Duration::from_millis(200));
        (is_right(wide, wide_admitted) && is_right(small, small_admitted)).then(|| ended.elapsed())
    });
    let gateways = f64::from(u32::try_from(fleet.gateways.len()).expect("a few"));
    let (newcomer_expected, stranger_expected) = expected(fault);
    FaultOutcome {
        wide_refused: statuses(calls.iter().filter(|call| call.key == 0 && !call.is_admitted())),
        failed: statuses(calls.iter().filter(|call| call.status == 0 || call.status >= 500)),
        calls: calls.len(),
        wide: (wide_admitted, fleet.ledger(wide)),
        small: (small_admitted, fleet.ledger(small)),
        small_under_load: admitted(1),
        slow: (admitted(2), 2.0 * SLOW.gives(took) + gateways),
        slowest: calls.iter().map(|call| call.answered - call.sent).max().unwrap_or_default(),
        newcomer: (newcomer.0, newcomer.1, newcomer_expected),
        stranger: (stranger.0, stranger.1, stranger_expected),
        settled,
        logs: fleet.logs(),
    }
}

/// Uses a quota up, and has every gateway see that it is.
fn use_up(fleet: &Fleet, key: &Key) -> usize {
    let calls = calls_of(&fleet.addresses(), 1, &[&key.raw], |call| match call.code.as_str() {
        "quota_exceeded" if call.refused_in_a_row >= 3 => Next::Stop,
        // Something is wrong, which the outcome will tell.
        _ if call.refused_in_a_row >= 200 => Next::Stop,
        _ => Next::Rest(Duration::from_millis(30)),
    });
    calls.iter().filter(|call| call.is_admitted()).count()
}

fn probe(fleet: &Fleet, key: &str) -> (u16, String) {
    let answer = fleet.gateways[0].send(&Request::get("/events/1").key(key));
    let code = if answer.status == 200 { String::new() } else { answer.json()["code"].to_string() };
    (answer.status, code.trim_matches('"').to_owned())
}

/// What a newcomer's key and a stranger's are answered: a good one is known to Redis, where it was written when it was
/// made, and to the database; that one is good for nothing is known to the database alone.
fn expected(fault: Fault) -> (u16, u16) {
    match (fault.takes_redis(), fault.takes_postgres()) {
        (true, true) => (503, 503),
        (false, true) => (200, 503),
        (_, false) => (200, 403),
    }
}

fn statuses<'calls>(calls: impl Iterator<Item = &'calls Call>) -> BTreeMap<(u16, String), usize> {
    let mut counts = BTreeMap::new();
    for call in calls {
        *counts.entry((call.status, call.code.clone())).or_insert(0) += 1;
    }
    counts
}

/// What came of a gateway's being killed.
#[derive(Clone, Copy, Debug)]
pub struct KillOutcome {
    /// Calls that went on, at all gateways.
    pub admitted: usize,
    /// Calls to the killed one that were sent and not answered: each may have gone on.
    pub unanswered: usize,
    /// Of those admitted, the killed one's in its last moments: what its memory may have held.
    pub in_memory_max: usize,
    /// What the ledger came to.
    pub ledger: u64,
}

/// Kills one of three gateways under load, and starts it again on its folder. `last_moments` is how long a count may
/// stay in memory alone.
#[track_caller]
pub fn node_killed(mode: Mode, last_moments: Duration) -> KillOutcome {
    let backend = Backend::start();
    let mut fleet = Plan::new(mode, POLICY).start(&backend);
    let key = fleet.key("ada@example.com");
    let stopped = AtomicBool::new(false);
    let (calls, killed) = thread::scope(|scope| {
        let addresses = fleet.addresses();
        let load = scope.spawn({
            let (stopped, key) = (&stopped, &key);
            move || {
                calls_of(&addresses, 3, &[&key.raw], |call| {
                    let is_over = stopped.load(Ordering::SeqCst) || call.status == 0;
                    if is_over { Next::Stop } else { Next::Rest(Duration::from_millis(3)) }
                })
            }
        });
        thread::sleep(Duration::from_secs(2));
        let killed = Instant::now();
        fleet.gateways[0].kill();
        thread::sleep(Duration::from_secs(1));
        stopped.store(true, Ordering::SeqCst);
        (load.join().expect("no client fails"), killed)
    });
    fleet.gateways[0].start_again();
    let ledger = rested(&fleet, &key);
    let last = |call: &&Call| call.gate == 0 && call.is_admitted() && call.answered + last_moments >= killed;
    KillOutcome {
        admitted: calls.iter().filter(|call| call.is_admitted()).count(),
        unanswered: calls.iter().filter(|call| call.status == 0).count(),
        in_memory_max: calls.iter().filter(last).count(),
        ledger,
    }
}

/// What the ledger has against an account once it stays the same for longer than anything is on its way.
fn rested(fleet: &Fleet, key: &Key) -> u64 {
    let mut last = (Instant::now(), None);
    let rested = eventually_within(LEDGER, || {
        thread::sleep(Duration::from_millis(200));
        let units = fleet.ledger(key);
        if units != last.1 {
            last = (Instant::now(), units);
        }
        units.filter(|_| last.0.elapsed() > Duration::from_secs(12))
    });
    rested.expect("the ledger comes to rest")
}
