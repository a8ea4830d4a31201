//! How an account stands with each of its limits: what the headers of an answer say.

use std::fmt;

use arrayvec::ArrayVec;

use super::spec::WINDOWS_MAX;
use crate::rate::Unit;

/// Bucket, windows and quota, of the account and of the key, and a meter.
pub const STANDINGS_MAX: usize = 2 * (WINDOWS_MAX + 2) + 1;

/// How an account stands with all its limits, in the order they are written in headers.
pub type Standing = ArrayVec<LimitStanding, STANDINGS_MAX>;

/// What a refusal by the limit is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// Bucket or window: `rate_limited`.
    Rate,
    /// Quota: `quota_exceeded`.
    Quota,
}

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitLabel {
    /// The token bucket.
    Burst,
    /// The window of this length.
    Window(Unit),
    /// The quota.
    Quota,
    /// The token bucket that the key alone has.
    KeyBurst,
    /// The key's own window of this length.
    KeyWindow(Unit),
    /// The key's own cap.
    KeyQuota,
    /// The meter that the call debits; which one it is, the caller knows.
    Meter,
}

impl LimitLabel {
    /// The name of the limit's policy where it is one of the fixed words; most are.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Burst => Some("burst"),
            Self::Quota => Some("month"),
            Self::KeyBurst => Some("key-burst"),
            Self::KeyQuota => Some("key-month"),
            Self::Meter => Some("meter"),
            Self::Window(unit) => unit.as_str(),
            Self::KeyWindow(_) => None,
        }
    }

    /// Whether a refusal is about rate or about quota.
    pub fn kind(self) -> LimitKind {
        match self {
            Self::Quota | Self::KeyQuota | Self::Meter => LimitKind::Quota,
            Self::Burst | Self::Window(_) | Self::KeyBurst | Self::KeyWindow(_) => LimitKind::Rate,
        }
    }
}

/// The name of the limit's policy: `burst`, `day`, `30d`, `month`, and `key-…` for a key's own.
impl fmt::Display for LimitLabel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.as_str(), self) {
            (Some(name), _) => formatter.write_str(name),
            (None, Self::KeyWindow(unit)) => write!(formatter, "key-{unit}"),
            (None, Self::Window(unit)) => fmt::Display::fmt(unit, formatter),
            (None, Self::Burst | Self::Quota | Self::KeyBurst | Self::KeyQuota | Self::Meter) => Ok(()),
        }
    }
}

/// How an account stands with one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitStanding {
    /// Which limit.
    pub label: LimitLabel,
    /// Units it allows: the burst, the window's or the quota's limit.
    pub limit: u64,
    /// Units left.
    pub remaining: u64,
    /// Units used as counted; may stand above the limit after a downgrade.
    pub used: u64,
    /// Microseconds until `remaining` grows, or until a refused call would fit; zero when nothing is used.
    pub reset_us: i64,
    /// The window in seconds; `None` for a calendar or billing period.
    pub window_secs: Option<u64>,
}
