//! How long to leave something alone that failed. It does not know what failed.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Waits that double with every failure in a row, for one loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits from `first`, doubling up to `most`.
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0 }
    }

    /// Notes a failure; how long to wait now.
    pub(crate) fn failed(&mut self) -> Duration {
        let wait = doubled(self.first, self.most, self.failures);
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// Notes a success; whether there were failures before it.
    pub(crate) fn succeeded(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }

    /// Whether the last attempt failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.failures > 0
    }
}

/// The wait after so many failures before.
pub(crate) fn doubled(first: Duration, most: Duration, failures: u32) -> Duration {
    first.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(most)
}

/// How a caller was let through a [`Gate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// With everybody else: nothing is known to be wrong.
    Free,
    /// Alone, to see whether it works again.
    Probe,
}

/// A gate in front of something that many callers use: shut for a while after a failure, then opened to one caller,
/// and to all again once that one succeeded. While it is shut nobody waits.
#[derive(Debug)]
pub(crate) struct Gate {
    origin: Instant,
    first: Duration,
    most: Duration,
    failures: AtomicU32,
    /// Microseconds after the origin at which one caller may try; read only after a failure.
    shut_until_us: AtomicU64,
}

impl Gate {
    /// A gate that stays shut from `first`, doubling up to `most`.
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { origin: Instant::now(), first, most, failures: AtomicU32::new(0), shut_until_us: AtomicU64::new(0) }
    }

    /// Whether the caller may try now. After a failure only one caller is told so, once the wait is over.
    pub(crate) fn may_try(&self) -> Option<Attempt> {
        if self.failures.load(Ordering::Acquire) == 0 {
            return Some(Attempt::Free);
        }
        let now_us = self.now_us();
        let until_us = self.shut_until_us.load(Ordering::Acquire);
        // Whoever moves the end of the wait is the one that tries.
        let is_mine = now_us >= until_us
            && self
                .shut_until_us
                .compare_exchange(until_us, now_us + micros(self.most), Ordering::AcqRel, Ordering::Acquire)
                .is_ok();
        is_mine.then_some(Attempt::Probe)
    }

    /// Notes a failure. Of many that were under way when it went wrong, the first one counts.
    pub(crate) fn failed(&self, attempt: Attempt) {
        let before = match attempt {
            Attempt::Probe => self.failures.fetch_add(1, Ordering::AcqRel),
            Attempt::Free => match self.failures.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => 0,
                Err(_) => return,
            },
        };
        let wait = doubled(self.first, self.most, before);
        self.shut_until_us.store(self.now_us() + micros(wait), Ordering::Release);
    }

    /// Notes a success.
    pub(crate) fn succeeded(&self) {
        if self.failures.load(Ordering::Acquire) != 0 {
            self.failures.store(0, Ordering::Release);
        }
    }

    fn now_us(&self) -> u64 {
        micros(self.origin.elapsed())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        let waits: Vec<u128> = (0..4).map(|_| backoff.failed().as_millis()).collect();
        assert_eq!(waits, [100, 200, 350, 350]);
        assert!(backoff.is_failing() && backoff.succeeded() && !backoff.succeeded());
        assert_eq!(backoff.failed(), Duration::from_millis(100));
        assert_eq!(doubled(Duration::from_secs(1), Duration::from_secs(9), 77), Duration::from_secs(9));
    }

    #[test]
    fn a_shut_gate_opens_to_one_caller_at_a_time() {
        let gate = Gate::new(Duration::from_millis(5), Duration::from_mins(1));
        assert_eq!((gate.may_try(), gate.may_try()), (Some(Attempt::Free), Some(Attempt::Free)));
        gate.failed(Attempt::Free);
        gate.failed(Attempt::Free);
        assert_eq!(gate.failures.load(Ordering::Relaxed), 1, "what was under way together fails once");
        assert_eq!(gate.may_try(), None);
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(gate.may_try(), Some(Attempt::Probe));
        assert_eq!(gate.may_try(), None, "one probe is under way");
        gate.succeeded();
        assert_eq!((gate.may_try(), gate.may_try()), (Some(Attempt::Free), Some(Attempt::Free)));
    }
}
