//! The token bucket. Levels are counted in fractions of a token, so no rounding ever adds one.

use super::spec::Bucket;
use crate::time::Timestamp;

/// A bucket's level at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketState {
    spec: Bucket,
    /// In units of one token / `spec.micros`; at most `spec.capacity()`.
    level: u64,
    at: Timestamp,
}

impl BucketState {
    /// A full bucket.
    pub fn full(spec: Bucket, now: Timestamp) -> Self {
        Self { spec, level: spec.capacity(), at: now }
    }

    /// An empty bucket.
    pub fn empty(spec: Bucket, now: Timestamp) -> Self {
        Self { spec, level: 0, at: now }
    }

    /// A bucket that held this level, in units of one token / `micros` of its rate, when it was saved.
    pub fn with_level(spec: Bucket, level: u64, at: Timestamp) -> Self {
        Self { spec, level: level.min(spec.capacity()), at }
    }

    /// The level in units of one token / `micros` of its rate, for saving.
    pub fn level(&self) -> u64 {
        self.level
    }

    /// The instant the level belongs to.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The limit it was counted under.
    pub fn spec(&self) -> Bucket {
        self.spec
    }

    /// Refills up to `now`, then takes over a changed limit: the level is kept, capped by the new burst,
    /// and fills at the new rate from now. A token's fraction is rounded down in the new units.
    pub(super) fn advance(&mut self, spec: Bucket, now: Timestamp) {
        let elapsed = now.micros_since(self.at).unsigned_abs();
        if elapsed > 0 {
            let gained = u128::from(elapsed) * u128::from(self.spec.tokens);
            let capacity = self.spec.capacity();
            self.level = u64::try_from(u128::from(self.level) + gained).map_or(capacity, |level| level.min(capacity));
            self.at = now;
        }
        if self.spec != spec {
            let rescaled = u128::from(self.level) * u128::from(spec.micros) / u128::from(self.spec.micros);
            self.level = u64::try_from(rescaled).map_or(spec.capacity(), |level| level.min(spec.capacity()));
            self.spec = spec;
        }
    }

    /// After a clock was set back: the level stays, and filling goes on from the new now.
    pub(super) fn rebase(&mut self, now: Timestamp) {
        self.at = self.at.min(now);
    }

    /// Whole tokens.
    pub fn remaining(&self) -> u64 {
        self.level / self.spec.micros
    }

    /// Microseconds until `cost` tokens are there; zero when they are; `None` when they never will be.
    pub(super) fn wait_us(&self, cost: u64) -> Option<i64> {
        let needed = u128::from(cost) * u128::from(self.spec.micros);
        let missing = needed.saturating_sub(u128::from(self.level));
        if missing == 0 {
            return Some(0);
        }
        if self.spec.tokens == 0 || cost > self.spec.burst {
            return None;
        }
        // In bounds, the product is below 2^53: dividing in 64 bits is several times as fast.
        match u64::try_from(missing) {
            Ok(missing) => i64::try_from(missing.div_ceil(self.spec.tokens)).ok(),
            Err(_) => i64::try_from(missing.div_ceil(u128::from(self.spec.tokens))).ok(),
        }
    }

    /// Takes `cost` tokens; the caller has checked that they are there.
    pub(super) fn take(&mut self, cost: u64) {
        self.level = self.level.saturating_sub(cost.saturating_mul(self.spec.micros));
    }

    /// Whether nothing would be lost by forgetting it.
    pub(super) fn is_full(&self) -> bool {
        self.level == self.spec.capacity()
    }
}
