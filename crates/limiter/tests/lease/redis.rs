//! The scripts in a real Redis, which are told the simulation's time, stand the same tests as the reference.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tollgate_domain::limit::{Debit, LimitSet, QuotaUse, Seed, Spending};
use tollgate_domain::{NodeId as RedisNodeId, Period, Timestamp};
use tollgate_limiter::protocol::{LeaseAsk, LeaseReply, LeaseServer};
use tollgate_limiter::{Limiter, Mode, RedisLimiter, RedisSettings, Topology};

use crate::arbiter::Arbiter;
use crate::fleet::{month, subject};
use crate::private::Server;
use crate::world::NodeId;

/// A node that only looks.
const OBSERVER: NodeId = 255;

/// One account in a Redis of its own.
pub(crate) struct InRedis {
    // Before the server: connections close while it is still there.
    nodes: BTreeMap<NodeId, RedisLimiter>,
    runtime: Runtime,
    server: Server,
    ttl_us: i64,
    limits: LimitSet,
    looks: u64,
}

/// Whether there is a Redis to run at all.
pub(crate) fn is_there() -> bool {
    Server::start(&[]).is_some()
}

impl InRedis {
    fn node(&mut self, id: NodeId) -> &RedisLimiter {
        let Self { nodes, runtime, server, ttl_us, .. } = self;
        nodes.entry(id).or_insert_with(|| {
            let mode = Mode::Leased { ttl: Duration::from_micros(ttl_us.unsigned_abs()) };
            let number = u8::try_from(id % 256).expect("below 256");
            let node = RedisNodeId::new(Timestamp::EPOCH, [number; 10]);
            let settings = RedisSettings::new(Topology::Single(server.url()), mode, node);
            let patient = RedisSettings { timeout: Duration::from_secs(5), connections: 1, ..settings };
            runtime.block_on(async { RedisLimiter::with_callers_clock(&patient).expect("a URL") })
        })
    }

    fn ask(&mut self, node: NodeId, ask: &LeaseAsk<'_>, now_us: i64) -> LeaseReply {
        self.node(node);
        let (runtime, limiter) = (&self.runtime, &self.nodes[&node]);
        // Who looks brings the time along; the ask that follows goes by it.
        let nothing = Debit { limits: ask.limits, key: None, meter: None, period: ask.period, cost: 0 };
        let now = Timestamp::from_micros(now_us);
        runtime.block_on(limiter.peek(subject(), &nothing, now)).expect("it answers");
        runtime.block_on(limiter.lease(*ask)).expect("it answers")
    }

    /// What the whole account looks like to a node that holds nothing.
    fn look(&mut self, now_us: i64) -> LeaseReply {
        self.looks += 1;
        let limits = self.limits.clone();
        let ask = LeaseAsk {
            subject: subject(),
            limits: &limits,
            period: month(0),
            serial: self.looks,
            session: self.looks,
            epoch: None,
            spent_total: 0,
            spent_in: month(0),
            last_spend: Timestamp::EPOCH,
            keep: 0,
            cost: 0,
            want: 0,
            reports_only: false,
        };
        self.ask(OBSERVER, &ask, now_us)
    }
}

impl Arbiter for InRedis {
    fn new(ttl_us: i64) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let server = Server::start(&[]).expect("a server");
        Self { nodes: BTreeMap::new(), runtime, server, ttl_us, limits: LimitSet::default(), looks: 0 }
    }

    fn lease(&mut self, node: NodeId, ask: &LeaseAsk<'_>, now_us: i64) -> LeaseReply {
        self.ask(node, ask, now_us)
    }

    fn seed(&mut self, limits: &LimitSet, period: Period, used: u64, now_us: i64) {
        self.limits = limits.clone();
        self.node(OBSERVER);
        let limiter = &self.nodes[&OBSERVER];
        let spending = Spending { debits: Vec::new(), quota: Some(QuotaUse { period, used }) };
        let since = Timestamp::from_micros(i64::MIN);
        let seed = Seed { since, account: spending, key: None, meter: None, ledger_position: 0 };
        let debit = Debit { limits, key: None, meter: None, period, cost: 0 };
        let handle = limiter.open(subject());
        let seeded = limiter.seed(&handle, limiter.ticket(), &debit, &seed, Timestamp::from_micros(now_us));
        assert_eq!(self.runtime.block_on(seeded), Ok(true));
    }

    fn flush(&mut self) {
        let flushed: String = self.server.run(&["FLUSHALL"]);
        assert_eq!(flushed, "OK");
    }

    fn quota_used(&mut self, now_us: i64) -> Option<u64> {
        Some(self.look(now_us).reading.quota.used)
    }

    fn outstanding(&mut self, now_us: i64) -> u64 {
        self.look(now_us).outstanding_others
    }
}
