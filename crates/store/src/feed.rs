//! Whether changes arrive: what a cache of records may believe.

use std::sync::atomic::{AtomicI64, Ordering};

use tollgate_domain::Timestamp;

/// How long after the last sign of life a feed is taken to be alive, in microseconds.
const SILENCE_US: i64 = 2_000_000;

/// The state of the feed of changes of one process. Reading it costs one load.
#[derive(Debug)]
pub struct Feed {
    /// The last instant at which everything published before had arrived, in microseconds.
    heard_us: AtomicI64,
}

impl Feed {
    /// A feed that cannot fail, as inside one process.
    pub fn always() -> Self {
        Self { heard_us: AtomicI64::new(i64::MAX) }
    }

    /// A feed that has not been heard yet.
    pub fn silent() -> Self {
        Self { heard_us: AtomicI64::new(i64::MIN) }
    }

    /// Notes that everything published before this instant has arrived.
    pub fn heard(&self, at: Timestamp) {
        self.heard_us.fetch_max(at.as_micros(), Ordering::AcqRel);
    }

    /// The last instant at which everything had arrived; far in the past when there was none.
    pub fn last_heard(&self) -> Timestamp {
        Timestamp::from_micros(self.heard_us.load(Ordering::Acquire))
    }

    /// Whether what is remembered can be believed as it is.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now.as_micros().saturating_sub(self.heard_us.load(Ordering::Acquire)) < SILENCE_US
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_lives_two_seconds_after_it_was_heard_last() {
        let feed = Feed::silent();
        let at = Timestamp::from_micros(10_000_000);
        assert!(!feed.is_live(at));
        feed.heard(at);
        assert!(feed.is_live(Timestamp::from_micros(11_999_999)));
        assert!(!feed.is_live(Timestamp::from_micros(12_000_000)));
        feed.heard(Timestamp::from_micros(1));
        assert_eq!(feed.last_heard(), at, "an older sign of life does not go before a newer one");
        assert!(Feed::always().is_live(Timestamp::from_micros(i64::MAX)));
    }
}
