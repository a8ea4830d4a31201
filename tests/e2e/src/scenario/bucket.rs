//! Clients at several gateways that want more than their account's bucket gives, and the trace of what they got.

use std::thread;
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::fleet::Plan;
use crate::load::{Call, Next, calls_of};
use crate::policy;
use crate::stores::{Mode, Patience};

/// How long a refused client rests: short against the time that a token takes.
const REST: Duration = Duration::from_millis(3);
/// How long a gateway is stopped, and goes on in between: twice as long as a lease lasts.
const STOPPED: Duration = Duration::from_secs(1);

/// A bucket under test.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Units a second.
    pub rate: u32,
    /// Units at most.
    pub burst: u32,
}

impl Bucket {
    /// Units that it may give in this time.
    pub fn gives(self, time: Duration) -> f64 {
        f64::from(self.burst) + f64::from(self.rate) * time.as_secs_f64()
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct BucketOutcome {
    /// Calls that went on.
    pub admitted: usize,
    /// Calls in all.
    pub calls: usize,
    /// Over all intervals: units that were certainly admitted within one, less what the bucket may give in it. Above 0
    /// is too many.
    pub excess: f64,
    /// Admitted units as a share of what the bucket gave while there was certainly demand.
    pub share: f64,
    /// Calls that Redis did not answer in time, as the gate said itself.
    pub undecided: usize,
    /// Answers that were none of these, nor `rate_limited`.
    pub others: usize,
}

/// `clients` at each of three gateways want as much as they can get for this long. One gateway is stopped so many times
/// meanwhile, each time for longer than a lease lasts, and goes on where it was.
#[track_caller]
pub fn bucket(mode: Mode, clients: usize, bucket: Bucket, time: Duration, stops: usize) -> BucketOutcome {
    let backend = Backend::start();
    let Bucket { rate, burst } = bucket;
    let limits = format!("rate = \"{}/minute\"\nburst = {burst}", rate * 60);
    // Leases as long as by default; a call that Redis does not answer in time is no proof of anything, and is refused.
    let plan = Plan::new(mode, policy::one_plan(&limits)).patience(Patience::Short);
    let mut fleet = plan.set("limits", "on_limiter_down = \"closed\"").start(&backend);
    let key = fleet.key("ada@example.com");
    let end = Instant::now() + time;
    let calls = thread::scope(|scope| {
        let (addresses, key) = (fleet.addresses(), &key);
        let load = scope.spawn(move || {
            calls_of(&addresses, clients, &[&key.raw], |call| {
                if call.answered >= end {
                    Next::Stop
                } else if call.is_admitted() {
                    Next::Go
                } else {
                    Next::Rest(REST)
                }
            })
        });
        for _ in 0..stops {
            for signal in ["STOP", "CONT"] {
                thread::sleep(STOPPED);
                fleet.gateways[0].process().signal(signal);
            }
        }
        load.join().expect("no client fails")
    });
    let admitted: Vec<&Call> = calls.iter().filter(|call| call.is_admitted()).collect();
    // The bucket was full when the first call was decided on, which was done when its answer came, and the last was
    // decided on after it was sent: between the two all that it gave was wanted.
    let first = calls.iter().map(|call| call.answered).min().expect("there were calls");
    let last = calls.iter().map(|call| call.sent).max().expect("there were calls");
    let coded = |code: &str| calls.iter().filter(|call| call.code == code).count();
    BucketOutcome {
        admitted: admitted.len(),
        calls: calls.len(),
        excess: excess(&admitted, bucket),
        share: count(admitted.len()) / bucket.gives(last.saturating_duration_since(first)),
        undecided: coded("limiter_unavailable"),
        others: calls.len() - admitted.len() - coded("rate_limited") - coded("limiter_unavailable"),
    }
}

/// The most by which the calls that lie wholly within an interval pass what the bucket may give in it.
///
/// A call was decided on at some instant between being sent and being answered, so only one that lies wholly within an
/// interval was certainly admitted in it. Intervals that begin where a call is sent and end where one is answered are
/// enough: any other holds no call more than the longest such one inside it.
fn excess(admitted: &[&Call], bucket: Bucket) -> f64 {
    let mut by_start = admitted.to_vec();
    by_start.sort_unstable_by_key(|call| std::cmp::Reverse(call.sent));
    let mut ends: Vec<Instant> = Vec::with_capacity(by_start.len());
    let mut worst = f64::NEG_INFINITY;
    for call in by_start {
        let place = ends.partition_point(|end| *end <= call.answered);
        ends.insert(place, call.answered);
        for (index, end) in ends.iter().enumerate() {
            worst = worst.max(count(index + 1) - bucket.gives(end.saturating_duration_since(call.sent)));
        }
    }
    worst
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).expect("a test makes few calls"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUCKET: Bucket = Bucket { rate: 10, burst: 3 };

    /// The excess of calls decided on at these milliseconds, each known to so many to either side.
    fn check(at_ms: &[u64], vague_ms: u64, expected: f64) {
        let began = Instant::now();
        let at = |ms: u64| began + Duration::from_millis(ms);
        let call = |ms: &u64| Call {
            gate: 0,
            key: 0,
            sent: at(1_000 + ms - vague_ms),
            answered: at(1_000 + ms + vague_ms),
            status: 200,
            code: String::new(),
            refused_in_a_row: 0,
        };
        let calls: Vec<Call> = at_ms.iter().map(call).collect();
        let worst = excess(&calls.iter().collect::<Vec<_>>(), BUCKET);
        assert!((worst - expected).abs() < 1e-9, "{at_ms:?}: {worst} instead of {expected}");
    }

    #[test]
    fn an_interval_that_holds_too_many_is_found_wherever_it_lies() {
        check(&[0, 0, 0], 0, 0.0);
        check(&[0, 0, 0, 0], 0, 1.0);
        check(&[0, 0, 0, 100, 200, 300], 0, 0.0);
        check(&[0, 0, 0, 100, 200, 210, 300], 0, 1.0);
        check(&[0, 5_000, 9_000, 9_000, 9_050, 9_050], 0, 0.5);
        // What may have been decided on later is no proof.
        check(&[0, 0, 0, 0], 50, 0.0);
        check(&[0, 0, 0, 0, 0], 50, 1.0);
    }
}
