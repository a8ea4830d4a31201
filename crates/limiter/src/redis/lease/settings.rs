//! How leases behave, in numbers.

use std::time::Duration;

use tollgate_domain::SECOND_US;

/// How long leases last. Every node of a fleet, and its Redis, must be given the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// How long units may be held unspent, and so the longest that a refusal because of them lasts.
    pub ttl: Duration,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self { ttl: Duration::from_millis(500) }
    }
}

/// The same in microseconds, with what follows from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) ttl_us: i64,
    /// After the asking: a lease is looked at, and renewed or given back.
    pub(super) tend_after_us: i64,
    /// A lease that has been spent to the last unit is reported when it has rested for so long: until then, what it
    /// has spent holds up its refill.
    pub(super) rest_us: i64,
    /// After a failed ask in the background, doubled with each further one.
    pub(super) retry_us: i64,
    /// The longest pause between such tries.
    pub(super) retry_us_max: i64,
}

impl Times {
    pub(super) fn of(settings: LeaseSettings) -> Self {
        let ttl_us = i64::try_from(settings.ttl.as_micros()).unwrap_or(i64::MAX).clamp(1_000, 60 * SECOND_US);
        Self { ttl_us, tend_after_us: ttl_us / 2, rest_us: ttl_us / 8, retry_us: ttl_us / 2, retry_us_max: 8 * ttl_us }
    }
}
