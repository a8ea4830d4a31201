//! Measures whether a peer keeps a minimum rate while it is waited for.
//!
//! Only time spent waiting counts, so a slow upstream is never held against the client. There is
//! no total: a transfer may last as long as it keeps its pace. Deliberately holds no timer and
//! reads no clock; the caller passes the time.

use std::time::{Duration, Instant};

/// The slowest a peer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinimumRate {
    /// Bytes a second, averaged over the time spent waiting. 0 sets no minimum.
    pub bytes_per_second: u32,
    /// How long a peer may be waited for in all before its rate is looked at.
    pub grace: Duration,
}

/// How long a peer was waited for, and what it did meanwhile.
#[derive(Debug, Default)]
pub(super) struct Pace {
    waited: Duration,
    bytes: u64,
    since: Option<Instant>,
}

impl Pace {
    /// The peer has nothing ready: waiting begins, or goes on.
    pub(super) fn wait(&mut self, now: impl FnOnce() -> Instant) {
        if self.since.is_none() {
            self.since = Some(now());
        }
    }

    /// The peer moved on by `bytes`. Returns whether it keeps the minimum.
    pub(super) fn moved(&mut self, bytes: usize, minimum: MinimumRate, now: impl FnOnce() -> Instant) -> bool {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        let Some(since) = self.since.take() else {
            return true;
        };
        self.waited = self.waited.saturating_add(now().saturating_duration_since(since));
        if self.waited <= minimum.grace {
            return true;
        }
        let needed = u128::from(minimum.bytes_per_second) * self.waited.as_millis() / 1_000;
        u128::from(self.bytes) >= needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMUM: MinimumRate = MinimumRate { bytes_per_second: 100, grace: Duration::from_secs(10) };

    /// Waits `seconds` before each of `moves` pieces of `bytes`. Returns the first that is refused.
    fn first_refused(seconds: u64, bytes: usize, moves: usize) -> Option<usize> {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        for index in 0..moves {
            pace.wait(|| now);
            now += Duration::from_secs(seconds);
            if !pace.moved(bytes, MINIMUM, || now) {
                return Some(index);
            }
        }
        None
    }

    #[test]
    fn a_peer_below_the_minimum_is_refused_after_the_grace() {
        let cases = [(1, 1, Some(10)), (20, 1, Some(0)), (1, 100, None), (5, 499, Some(2))];
        for (seconds, bytes, refused) in cases {
            assert_eq!(first_refused(seconds, bytes, 100), refused, "{bytes} in {seconds} s");
        }
    }

    #[test]
    fn time_in_which_the_peer_was_not_waited_for_does_not_count() {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        for _ in 0..100 {
            now += Duration::from_mins(1);
            assert!(pace.moved(1, MINIMUM, || now));
        }
    }
}
