//! What a limit allows, checked once when the configuration is read.

use arrayvec::ArrayVec;

use crate::rate::{Rate, Unit};

/// The largest number a limit may be given as, and the bound of every product the limiter forms: 2^53.
/// A script that counts in doubles stays exact below it, so every limiter shares it.
pub const UNITS_MAX: u64 = 1 << 53;

/// How many windows a plan may have.
pub const WINDOWS_MAX: usize = 4;

/// A number or a product that the limiter could not count exactly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfBounds {
    /// A plain limit is too large.
    #[error("{0} is more than can be counted exactly: at most 9_007_199_254_740_992, or \"unlimited\"")]
    Count(u64),
    /// Burst and rate do not go together.
    #[error(
        "a burst of {burst} at {rate} cannot be counted exactly: lower the burst, or give the rate in a shorter unit"
    )]
    Burst {
        /// The burst asked for.
        burst: u64,
        /// The rate asked for.
        rate: Rate,
    },
}

/// A token bucket: `burst` tokens at most, refilled at `tokens` every `micros`, as a reduced fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub(super) tokens: u64,
    pub(super) micros: u64,
    pub(super) burst: u64,
}

impl Bucket {
    /// A bucket of this rate and burst.
    ///
    /// # Errors
    /// The level could pass 2^53 when counted in fractions of a token.
    pub fn new(rate: Rate, burst: u64) -> Result<Self, OutOfBounds> {
        let micros = rate.per.micros().unsigned_abs();
        let divisor = greatest_common_divisor(rate.count, micros);
        let bucket = Self { tokens: rate.count / divisor, micros: micros / divisor, burst };
        let capacity = burst.checked_mul(bucket.micros).filter(|capacity| *capacity <= UNITS_MAX);
        match capacity {
            Some(_) if rate.count <= UNITS_MAX => Ok(bucket),
            _ => Err(OutOfBounds::Burst { burst, rate }),
        }
    }

    /// A bucket read back from its saved parts: `tokens` every `micros`, `burst` at most. `None` when [`Self::new`]
    /// could not have made it.
    pub fn from_parts(tokens: u64, micros: u64, burst: u64) -> Option<Self> {
        let bounded = tokens <= UNITS_MAX && burst.checked_mul(micros).is_some_and(|capacity| capacity <= UNITS_MAX);
        (micros > 0 && bounded && greatest_common_divisor(tokens, micros) == 1).then_some(Self {
            tokens,
            micros,
            burst,
        })
    }

    /// Tokens added every [`Self::micros`].
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Microseconds in which [`Self::tokens`] are added; a level is counted in one token divided by it.
    pub const fn micros(&self) -> u64 {
        self.micros
    }

    /// The most tokens it holds.
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// Microseconds an empty bucket takes to fill, rounded up; `None` when it never refills.
    pub fn fill_us(&self) -> Option<i64> {
        (self.tokens > 0).then(|| i64::try_from(self.capacity().div_ceil(self.tokens)).unwrap_or(i64::MAX))
    }

    /// Seconds an empty bucket takes to fill, rounded up, at least 1: the `w` of its rate-limit policy.
    pub fn fill_secs(&self) -> u64 {
        self.fill_us().map_or(u64::from(u32::MAX), |micros| micros.unsigned_abs().div_ceil(1_000_000).max(1))
    }

    /// Whether this bucket refills more slowly than the other.
    pub fn is_slower_than(&self, other: &Self) -> bool {
        u128::from(self.tokens) * u128::from(other.micros) < u128::from(other.tokens) * u128::from(self.micros)
    }

    /// The level of a full bucket, in units of one token / `micros`.
    pub(super) const fn capacity(&self) -> u64 {
        self.burst * self.micros
    }
}

/// A strict sliding window: at most `limit` units in any stretch of its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Units in any stretch of the length.
    pub limit: u64,
    /// The length.
    pub length: Unit,
}

impl Window {
    /// A window of this rate's count and unit.
    ///
    /// # Errors
    /// The count is above 2^53.
    pub fn new(rate: Rate) -> Result<Self, OutOfBounds> {
        if rate.count > UNITS_MAX {
            return Err(OutOfBounds::Count(rate.count));
        }
        Ok(Self { limit: rate.count, length: rate.per })
    }
}

/// A quota: at most `limit` units a period; `None` counts without limiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Units a period.
    pub limit: Option<u64>,
}

/// The limits that hold for one subject: an account, one key of it, or one client address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitSet {
    /// The token bucket, if any.
    pub bucket: Option<Bucket>,
    /// The sliding windows, each of another length.
    pub windows: ArrayVec<Window, WINDOWS_MAX>,
    /// The quota; a subject without one is still counted.
    pub quota: Quota,
}

impl LimitSet {
    /// How far back a ledger must be read so that these limits can be rebuilt from it, in microseconds.
    pub fn lookback_us(&self) -> i64 {
        const HOUR_US: i64 = crate::time::HOUR_US;
        let bucket = self.bucket.and_then(|bucket| bucket.fill_us()).map_or(0, |fill_us| {
            // Ten times the filling time finds the level of a busy bucket closely; an hour of it is enough.
            fill_us.max(fill_us.saturating_mul(10).min(HOUR_US))
        });
        let windows = self.windows.iter().map(|window| window.length.micros()).max().unwrap_or(0);
        bucket.max(windows)
    }

    /// The smallest capacity: no single call may cost more and ever be admitted.
    pub fn cost_max(&self) -> u64 {
        let bucket = self.bucket.map_or(u64::MAX, |bucket| bucket.burst);
        let windows = self.windows.iter().map(|window| window.limit).min().unwrap_or(u64::MAX);
        bucket.min(windows).min(self.quota.limit.unwrap_or(u64::MAX))
    }
}

const fn greatest_common_divisor(mut left: u64, mut right: u64) -> u64 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_reduced_so_that_large_buckets_fit() {
        let bucket = Bucket::new(Rate { count: 600, per: Unit::Minute }, 60).expect("in bounds");
        assert_eq!((bucket.tokens, bucket.micros), (1, 100_000));
        assert_eq!(bucket.fill_secs(), 6);
        let odd = Rate { count: 999_983, per: Unit::Day };
        assert!(Bucket::new(odd, 99_999).is_ok());
        assert_eq!(Bucket::new(odd, 999_983), Err(OutOfBounds::Burst { burst: 999_983, rate: odd }));
    }

    #[test]
    fn a_rate_of_nothing_never_refills() {
        let bucket = Bucket::new(Rate { count: 0, per: Unit::Minute }, 0).expect("in bounds");
        assert_eq!(bucket.fill_us(), None);
    }
}
