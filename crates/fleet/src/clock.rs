//! The time of the fleet: that of Redis, carried on by this machine's monotonic clock between two readings.
//!
//! It does not ask Redis itself: whoever does anyway brings the readings.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tollgate_domain::{Clock, Timestamp};

/// How long a reading is preferred to a newer one that took a longer way.
const REMEMBERED: Duration = Duration::from_mins(1);
/// By how much two clocks that run evenly may come to differ meanwhile, in microseconds.
const DRIFT_US: i64 = 10_000;

/// A clock that tells Redis time once it has learnt it, and the system's until then.
pub struct FleetClock {
    system: Arc<dyn Clock>,
    origin: Instant,
    is_learnt: AtomicBool,
    /// Redis time at the origin, in microseconds.
    offset_us: AtomicI64,
    readings: Mutex<VecDeque<Reading>>,
}

/// What one question told: Redis time at the origin, as if the answer had been made half way.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    offset_us: i64,
    /// The offset may be off by so much either way.
    error_us: i64,
}

impl Reading {
    fn agrees_with(&self, other: &Self) -> bool {
        (self.offset_us - other.offset_us).abs() <= self.error_us + other.error_us + DRIFT_US
    }
}

impl FleetClock {
    /// A clock that has not learnt anything and tells this machine's time.
    pub fn new(system: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            system,
            origin: Instant::now(),
            is_learnt: AtomicBool::new(false),
            offset_us: AtomicI64::new(0),
            readings: Mutex::default(),
        })
    }

    /// Learns that Redis told `redis_us` (microseconds since the epoch) between these two moments.
    pub fn learn(&self, redis_us: i64, sent: Instant, received: Instant) {
        let sent_us = self.since_origin_us(sent);
        let round_trip_us = self.since_origin_us(received) - sent_us;
        let error_us = round_trip_us / 2;
        let reading = Reading { at: received, offset_us: redis_us - sent_us - error_us, error_us };
        let mut readings = self.readings.lock();
        // A reading that no older one agrees with means that Redis itself has another time now, as after it moved.
        readings.retain(|old| received.duration_since(old.at) < REMEMBERED && old.agrees_with(&reading));
        readings.push_back(reading);
        let best = readings.iter().min_by_key(|reading| reading.error_us).copied().unwrap_or(reading);
        self.offset_us.store(best.offset_us, Ordering::Release);
        self.is_learnt.store(true, Ordering::Release);
    }

    /// Whether Redis time is known.
    pub fn is_learnt(&self) -> bool {
        self.is_learnt.load(Ordering::Acquire)
    }

    /// By how much this machine's clock goes before Redis time, in microseconds; `None` while that is not known.
    pub fn system_ahead_us(&self) -> Option<i64> {
        self.is_learnt().then(|| self.system.now() - self.now())
    }

    fn since_origin_us(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.origin).as_micros()).unwrap_or(i64::MAX)
    }
}

impl Clock for FleetClock {
    fn now(&self) -> Timestamp {
        if !self.is_learnt() {
            return self.system.now();
        }
        let offset_us = self.offset_us.load(Ordering::Acquire);
        Timestamp::from_micros(offset_us.saturating_add(self.since_origin_us(Instant::now())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Wrong;

    impl Clock for Wrong {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(86_400)
        }
    }

    const TRUE_US: i64 = 1_772_366_400_000_000;

    /// Teaches the clock a time that is true at its origin plus `shift_us`, over a round trip of `round_trip_ms`,
    /// `after_ms` after the origin, the answer made at `answered` hundredths of the way.
    fn teach(clock: &FleetClock, after_ms: u64, round_trip_ms: u64, answered: u64, shift_us: i64) {
        let sent = clock.origin + Duration::from_millis(after_ms);
        let told_ms = after_ms + round_trip_ms * answered / 100;
        let told_us = TRUE_US + i64::try_from(told_ms * 1_000).expect("a small number") + shift_us;
        clock.learn(told_us, sent, sent + Duration::from_millis(round_trip_ms));
    }

    fn offset_us(clock: &FleetClock) -> i64 {
        clock.offset_us.load(Ordering::Relaxed) - TRUE_US
    }

    #[test]
    fn the_system_clock_counts_only_until_redis_time_is_learnt() {
        let clock = FleetClock::new(Arc::new(Wrong));
        assert_eq!(clock.now(), Timestamp::from_secs(86_400));
        assert_eq!(clock.system_ahead_us(), None);
        teach(&clock, 0, 2, 50, 0);
        let now_us = clock.now().as_micros();
        assert!((TRUE_US..TRUE_US + 60_000_000).contains(&now_us), "{now_us}");
        assert!(clock.system_ahead_us().is_some_and(|ahead| ahead < -1_000_000_000_000));
    }

    #[test]
    fn the_reading_with_the_shortest_way_of_the_last_minute_counts() {
        let clock = FleetClock::new(Arc::new(Wrong));
        teach(&clock, 0, 80, 100, 0);
        assert_eq!(offset_us(&clock), 40_000, "half of the way is all that is known");
        teach(&clock, 1_000, 2, 50, 0);
        assert_eq!(offset_us(&clock), 0);
        teach(&clock, 2_000, 40, 0, 0);
        assert_eq!(offset_us(&clock), 0, "a longer way does not replace it");
        teach(&clock, 62_000, 40, 0, 0);
        assert_eq!(offset_us(&clock), -20_000, "after a minute it does");
    }

    #[test]
    fn a_redis_with_another_time_is_followed_at_once() {
        let clock = FleetClock::new(Arc::new(Wrong));
        teach(&clock, 0, 2, 50, 0);
        teach(&clock, 1_000, 30, 50, -5_000_000);
        assert_eq!(offset_us(&clock), -5_000_000);
    }
}
