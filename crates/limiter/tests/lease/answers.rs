//! Answers that come once in a blue moon, given on purpose: what is kept has expired at Redis, is of another state, or of
//! a period that is over.

use std::sync::Arc;

use parking_lot::Mutex;
use tollgate_domain::limit::{Debit, QuotaState, Reading};
use tollgate_domain::{Period, Timestamp};
use tollgate_limiter::LimiterDown;
use tollgate_limiter::lease::{LeaseEntry, LeaseSettings, Leases};
use tollgate_limiter::protocol::{LeaseAsk, LeaseReply, LeaseServer, LeaseVerdict};

use crate::fleet::{REDIS_BEGAN_US, TTL_US, month, subject};
use crate::support::quota;
use crate::world::{Place, World};

/// What an ask said that these stories are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heard {
    keep: u64,
    spent_total: u64,
    spent_in: Period,
}

/// Grants sixteen units to the first ask, and answers the next as a story wants it.
#[derive(Clone)]
struct Odd {
    second: LeaseReply,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl LeaseServer for Odd {
    async fn lease(&self, ask: LeaseAsk<'_>) -> Result<LeaseReply, LimiterDown> {
        let mut heard = self.heard.lock();
        heard.push(Heard { keep: ask.keep, spent_total: ask.spent_total, spent_in: ask.spent_in });
        Ok(match heard.len() {
            1 => LeaseReply { verdict: LeaseVerdict::Granted { spare: 16 }, ..usual() },
            2 => self.second.clone(),
            _ => LeaseReply { kept: ask.keep, ..usual() },
        })
    }
}

fn usual() -> LeaseReply {
    let quota = QuotaState { period: month(0), used: 0, ledger_position: 0 };
    LeaseReply {
        verdict: LeaseVerdict::Granted { spare: 0 },
        epoch: 1,
        kept: 0,
        redis_now: Timestamp::from_micros(REDIS_BEGAN_US),
        reading: Reading { bucket: None, windows: std::iter::empty().collect(), quota },
        outstanding_others: 0,
    }
}

/// Spends until the lease is renewed, which is answered oddly. What is left then, and every ask, the rest's too.
fn tell(second: LeaseReply) -> (u64, Vec<Heard>) {
    let (world, heard) = (World::new(1), Arc::default());
    let place = Place { world: world.clone(), node: 0, clock_began_us: 0 };
    let leases = Leases::new(Odd { second, heard: Arc::clone(&heard) }, place, LeaseSettings::default());
    let entry = Arc::new(LeaseEntry::new(subject()));
    let tending = leases.clone();
    world.spawn(0, async move { tending.run().await });
    let (calling, held) = (leases.clone(), Arc::clone(&entry));
    world.spawn(0, async move {
        let limits = quota(1_000);
        for _ in 0..16 {
            drop(
                calling
                    .debit(&held, &Debit { limits: &limits, key: None, meter: None, period: month(0), cost: 1 })
                    .await,
            );
        }
    });
    world.run_until(1_000);
    let left = entry.units_left();
    world.run_until(4 * TTL_US);
    let asks = heard.lock().clone();
    assert!(!entry.is_held(), "all is settled in the end");
    (left, asks)
}

#[test]
fn what_has_expired_at_redis_is_not_spent_and_is_put_right_by_another_ask() {
    let (left, asks) = tell(LeaseReply { kept: 0, ..usual() });
    assert_eq!((left, asks.len()), (0, 3), "{asks:?}");
    assert_eq!((asks[1].keep, asks[2].keep), (1, 0));
    assert_eq!(asks[2].spent_total, 16, "the first call, and fifteen of the sixteen");
}

#[test]
fn what_is_of_another_state_is_not_spent() {
    let (left, asks) = tell(LeaseReply { kept: 0, epoch: 2, ..usual() });
    assert_eq!(left, 0, "{asks:?}");
}

#[test]
fn what_is_of_a_period_that_is_over_goes_back_under_its_own_name() {
    let mut second = LeaseReply { kept: 1, verdict: LeaseVerdict::Granted { spare: 9 }, ..usual() };
    second.reading.quota.period = month(1);
    let (left, asks) = tell(second);
    assert_eq!((left, asks.len()), (0, 3), "{asks:?}");
    assert_eq!((asks[2].keep, asks[2].spent_in), (0, month(0)));
}
