//! Whoever keeps the shared count: what the tests need of it, so that any that can be told the time stands the same ones.

use tollgate_domain::Period;
use tollgate_domain::limit::LimitSet;
use tollgate_limiter::protocol::{LeaseAsk, LeaseReply};

use crate::world::NodeId;

/// One account's shared count. Time is given, in microseconds since the Unix epoch, and never goes back.
pub(crate) trait Arbiter: Send + 'static {
    /// One without state, whose leases last so long.
    fn new(ttl_us: i64) -> Self;

    /// Answers an ask.
    fn lease(&mut self, node: NodeId, ask: &LeaseAsk<'_>, now_us: i64) -> LeaseReply;

    /// Makes the state: a full bucket, empty windows, so much of the quota used.
    fn seed(&mut self, limits: &LimitSet, period: Period, used: u64, now_us: i64);

    /// Loses the state.
    fn flush(&mut self);

    /// Units of quota used.
    fn quota_used(&mut self, now_us: i64) -> Option<u64>;

    /// Units out in live leases.
    fn outstanding(&mut self, now_us: i64) -> u64;
}
