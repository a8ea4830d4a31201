//! The text that a subject's state is kept as across a graceful stop.
//!
//! The subject is `acc_…` for an account and `client:` with the address in IPv6 notation for a client. The state is
//! one JSON object of version 1; all times are microseconds since the Unix epoch:
//!
//! ```json
//! {"v": 1, "seen": 1772366400000000,
//!  "limits": [
//!    {"bucket": {"tokens": 1, "micros": 100000, "burst": 60, "level": 5900000, "at": 1772366400000000},
//!     "windows": [{"length": "day", "slices": [[1772366390000000, 7], [1772366400000000, 1]]}]},
//!    {"key": "key_…", "bucket": null, "windows": []}],
//!  "quota": {"start": 1772323200000000, "end": 1775001600000000, "used": 8}}
//! ```
//!
//! `limits` holds the account's own, then those of single keys. A bucket refills `tokens` every `micros`; its `level`
//! is in units of one token / `micros`. A slice is the time of its newest call and its units, oldest first. `quota`
//! stands only where no ledger knows it. A text of another version, or one that no state can have been written as,
//! is not read.

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};
use tollgate_domain::limit::{
    AccountState, Bucket, BucketState, QuotaState, SLICES_MAX, UNITS_MAX, WINDOWS_MAX, WindowState,
};
use tollgate_domain::{KeyId, Period, Timestamp, Unit};

use crate::limiter::{SavedSubject, Subject};

const VERSION: u32 = 1;
const CLIENT_PREFIX: &str = "client:";

#[derive(Serialize, Deserialize)]
struct SavedState {
    v: u32,
    seen: i64,
    limits: Vec<SavedLimits>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quota: Option<SavedQuota>,
}

#[derive(Serialize, Deserialize)]
struct SavedLimits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    bucket: Option<SavedBucket>,
    windows: Vec<SavedWindow>,
}

#[derive(Serialize, Deserialize)]
struct SavedBucket {
    tokens: u64,
    micros: u64,
    burst: u64,
    level: u64,
    at: i64,
}

#[derive(Serialize, Deserialize)]
struct SavedWindow {
    length: String,
    slices: Vec<(i64, u64)>,
}

#[derive(Serialize, Deserialize)]
struct SavedQuota {
    start: i64,
    end: i64,
    used: u64,
}

/// A state as text; with its quota where no ledger knows it.
pub(super) fn write(subject: Subject, state: &AccountState, quota: Option<QuotaState>) -> SavedSubject {
    let limits = state.rates().map(|(key, bucket, windows)| SavedLimits {
        key: key.map(|id| id.to_string()),
        bucket: bucket.map(SavedBucket::of),
        windows: windows.iter().map(SavedWindow::of).collect(),
    });
    let saved = SavedState {
        v: VERSION,
        seen: state.seen().as_micros(),
        limits: limits.collect(),
        quota: quota.map(|quota| SavedQuota {
            start: quota.period.start.as_micros(),
            end: quota.period.end.as_micros(),
            used: quota.used,
        }),
    };
    let state = serde_json::to_string(&saved).expect("numbers, texts and lists can be written as JSON");
    SavedSubject { subject: write_subject(subject), state }
}

/// A state read back; `None` when the text is not one that [`write`] can have written.
pub(super) fn read(saved: &SavedSubject) -> Option<(Subject, AccountState)> {
    let subject = read_subject(&saved.subject)?;
    let saved: SavedState = serde_json::from_str(&saved.state).ok().filter(|saved: &SavedState| saved.v == VERSION)?;
    let seen = Timestamp::from_micros(saved.seen);
    let mut state = AccountState::default();
    let mut known = Vec::with_capacity(saved.limits.len());
    for limits in &saved.limits {
        let key = match &limits.key {
            None => None,
            Some(id) => Some(id.parse::<KeyId>().ok()?),
        };
        if known.contains(&key) || limits.windows.len() > WINDOWS_MAX {
            return None;
        }
        known.push(key);
        let bucket = match &limits.bucket {
            None => None,
            Some(bucket) => Some(bucket.read(seen)?),
        };
        let windows = limits.windows.iter().map(|window| window.read(seen)).collect::<Option<_>>()?;
        state.restore_rates(key, bucket, windows, seen);
    }
    if let Some(quota) = saved.quota {
        state.restore_quota(quota.read()?);
    }
    Some((subject, state))
}

impl SavedBucket {
    fn of(bucket: BucketState) -> Self {
        let spec = bucket.spec();
        Self {
            tokens: spec.tokens(),
            micros: spec.micros(),
            burst: spec.burst(),
            level: bucket.level(),
            at: bucket.at().as_micros(),
        }
    }

    fn read(&self, seen: Timestamp) -> Option<BucketState> {
        let spec = Bucket::from_parts(self.tokens, self.micros, self.burst)?;
        let read = BucketState::with_level(spec, self.level, Timestamp::from_micros(self.at));
        (read.level() == self.level && read.at() <= seen).then_some(read)
    }
}

impl SavedWindow {
    fn of(window: &WindowState) -> Self {
        let slices = window.slices().map(|slice| (slice.newest.as_micros(), slice.units)).collect();
        Self { length: window.length().to_string(), slices }
    }

    fn read(&self, seen: Timestamp) -> Option<WindowState> {
        let in_order = self.slices.is_sorted_by(|earlier, later| earlier.0 < later.0);
        let in_bounds = self.slices.iter().all(|(at, units)| *at <= seen.as_micros() && *units <= UNITS_MAX);
        if self.slices.len() > SLICES_MAX || !in_order || !in_bounds {
            return None;
        }
        let mut window = WindowState::empty(Unit::parse(&self.length)?);
        for (at, units) in &self.slices {
            window.add(*units, Timestamp::from_micros(*at));
        }
        Some(window)
    }
}

impl SavedQuota {
    fn read(&self) -> Option<QuotaState> {
        let period = Period { start: Timestamp::from_micros(self.start), end: Timestamp::from_micros(self.end) };
        (period.start < period.end).then_some(QuotaState { period, used: self.used, ledger_position: 0 })
    }
}

fn write_subject(subject: Subject) -> String {
    match subject {
        Subject::Account(id) => id.to_string(),
        Subject::Client(address) => format!("{CLIENT_PREFIX}{}", Ipv6Addr::from(address)),
    }
}

fn read_subject(text: &str) -> Option<Subject> {
    match text.strip_prefix(CLIENT_PREFIX) {
        Some(address) => Some(Subject::Client(address.parse::<Ipv6Addr>().ok()?.into())),
        None => Some(Subject::Account(text.parse().ok()?)),
    }
}
