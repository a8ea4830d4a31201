//! How calls and answers are written between this process and the scripts: packed doubles, which are exact up to 2^53.
//!
//! `scripts/shared/call.lua` says what stands where; nothing here decides anything.

use arrayvec::ArrayVec;
use tollgate_domain::limit::{BucketState, Charged, LimitSet, QuotaState, Reading, UNITS_MAX, WindowReading};
use tollgate_domain::{DAY_US, HOUR_US, NodeId, Period, Timestamp, Unit};

use super::subjects::Own;
use crate::limiter::Subject;

/// Accounts are kept at least this long after their last use.
const KEPT_US_MIN: i64 = DAY_US;
/// A client's state is kept at least this long.
const CLIENT_KEPT_US_MIN: i64 = 1_000_000;
/// No state is kept longer than this after its last use.
const KEPT_US_MAX: i64 = 40 * DAY_US;
/// The largest number that is sent.
const SIGNED_MAX: i64 = UNITS_MAX.cast_signed() + 2;
/// The head's place for "use Redis's time".
const REDIS_TIME: f64 = -1.0;

/// What every script is told of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// Units; negative where they are credited.
    pub(super) units: i64,
    pub(super) period: Period,
    /// Whether to look only, and write nothing.
    pub(super) is_look: bool,
    /// Whether a subject without state begins as if it had never called.
    pub(super) begins_fresh: bool,
    /// The epoch of a state that is made now.
    pub(super) epoch: u64,
    /// How long the state is kept, in microseconds.
    pub(super) kept_us: i64,
    /// How far back a late report may refill, in microseconds.
    pub(super) clip_us: i64,
    /// The time; `None` is Redis's own.
    pub(super) now: Option<Timestamp>,
}

impl Head {
    pub(super) fn packed(&self) -> Vec<u8> {
        let mut packed = Packed::default();
        packed.signed(self.units).period(self.period).flag(self.is_look).flag(self.begins_fresh);
        packed.unsigned(self.epoch).signed(self.kept_us / 1_000).signed(self.clip_us);
        packed.number(self.now.map_or(REDIS_TIME, |now| signed(now.as_micros())));
        packed.0
    }
}

/// Doubles in a row.
#[derive(Debug, Default)]
pub(super) struct Packed(pub(super) Vec<u8>);

impl Packed {
    fn number(&mut self, number: f64) -> &mut Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    pub(super) fn signed(&mut self, number: i64) -> &mut Self {
        self.number(signed(number))
    }

    pub(super) fn unsigned(&mut self, number: u64) -> &mut Self {
        self.number(unsigned(number))
    }

    pub(super) fn time(&mut self, at: Timestamp) -> &mut Self {
        self.signed(at.as_micros())
    }

    pub(super) fn period(&mut self, period: Period) -> &mut Self {
        self.time(period.start).time(period.end)
    }

    pub(super) fn flag(&mut self, flag: bool) -> &mut Self {
        self.number(f64::from(u8::from(flag)))
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is bounded by 2^53, up to which doubles are exact")]
fn unsigned(number: u64) -> f64 {
    number.min(UNITS_MAX) as f64
}

#[expect(clippy::cast_precision_loss, reason = "it is bounded by 2^53 + 2, which is the next whole double")]
fn signed(number: i64) -> f64 {
    // A cost above every limit there can be is to be refused by the largest one.
    number.clamp(-SIGNED_MAX, SIGNED_MAX) as f64
}

#[expect(clippy::cast_possible_truncation, reason = "the scripts send whole numbers up to 2^53")]
fn whole(number: f64) -> i64 {
    number as i64
}

/// Where a subject's state lies, under the deployment's prefix. The braces are Cluster's: whatever else is kept of an account shares its slot.
pub(super) fn state_key(prefix: &str, subject: Subject) -> String {
    match subject {
        Subject::Account(id) => {
            let id = id.to_string();
            format!("{prefix}:l:{{{}}}", id.strip_prefix(tollgate_domain::AccountId::PREFIX).unwrap_or(&id))
        }
        Subject::Client(address) => format!("{prefix}:l:{{c{address:032x}}}"),
    }
}

/// What follows the letter in the names of the account's own fields: nothing.
pub(super) const ACCOUNT_FIELD: Vec<u8> = Vec::new();

/// A key's or a meter's id as it stands in field names.
pub(super) fn own_field(own: Own) -> Vec<u8> {
    let id = match own {
        Own::Key(id) => id.as_u128(),
        Own::Meter(id) => id.as_u128(),
    };
    id.to_be_bytes().to_vec()
}

/// Whose quotas units are charged to, as they stand in field names.
pub(super) fn charged_fields(of: Charged) -> impl Iterator<Item = Vec<u8>> {
    let (account, own) = match of {
        Charged::Calls { key } => (Some(ACCOUNT_FIELD), key.map(Own::Key)),
        Charged::Meter(id) => (None, Some(Own::Meter(id))),
    };
    account.into_iter().chain(own.map(own_field))
}

/// A node's id as it stands in field names.
pub(super) fn node_field(node: NodeId) -> Vec<u8> {
    node.as_u128().to_be_bytes().to_vec()
}

/// A set of limits as the scripts read it.
pub(super) fn limits(limits: &LimitSet) -> Vec<u8> {
    let mut packed = Packed(Vec::with_capacity(8 * (5 + 2 * limits.windows.len())));
    match limits.bucket {
        Some(bucket) => packed.unsigned(bucket.tokens()).unsigned(bucket.micros()).unsigned(bucket.burst()),
        None => packed.signed(-1).signed(1).signed(0),
    };
    match limits.quota.limit {
        Some(limit) => packed.unsigned(limit),
        None => packed.signed(-1),
    };
    let windows = limits.windows.iter().fold(0, |bits, window| bits | 1 << unit_bit(window.length));
    packed.unsigned(windows << 1 | u64::from(limits.bucket.is_some()));
    for window in &limits.windows {
        packed.signed(window.length.micros()).unsigned(window.limit);
    }
    packed.0
}

/// A different bit for each length a window may have: at most 33.
fn unit_bit(unit: Unit) -> u32 {
    match unit {
        Unit::Second => 0,
        Unit::Minute => 1,
        Unit::Hour => 2,
        Unit::Day => 3,
        Unit::Days(days) => 2 + days.get().min(40),
    }
}

/// How long a state of these limits is kept after its last use, in microseconds: an account's until it can be rebuilt
/// from the ledger without loss, a client's until it is as good as new.
pub(super) fn kept_us(subject: Subject, limits: &LimitSet, period: Period, now: Timestamp) -> i64 {
    let windows = limits.windows.iter().map(|window| window.length.micros()).max().unwrap_or(0);
    let kept = match subject {
        Subject::Account(_) => limits.lookback_us().max(KEPT_US_MIN).saturating_add(HOUR_US),
        Subject::Client(_) => {
            let bucket = limits.bucket.map_or(0, |bucket| bucket.fill_us().unwrap_or(DAY_US));
            let quota = limits.quota.limit.map_or(0, |_| (period.end - now).max(0));
            bucket.max(windows).max(quota).max(CLIENT_KEPT_US_MIN)
        }
    };
    kept.min(KEPT_US_MAX)
}

/// What a debit or a lease was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Refused,
    Admitted,
    /// There is no state at all.
    Gone,
    /// Some limit has no state.
    Incomplete,
    Overtaken,
}

/// An answer to a debit or a lease.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) verdict: Verdict,
    /// The state's time.
    pub(super) now: Timestamp,
    /// How much later that is than Redis's.
    pub(super) behind_us: i64,
    pub(super) epoch: u64,
    /// Units outstanding in leases; other nodes' only where a lease was asked for.
    pub(super) outstanding: u64,
    pub(super) granted: u64,
    pub(super) kept: u64,
    /// Of a debit, whether it is the shared limits that refuse; of a lease, whether it is over.
    pub(super) flag: bool,
    pub(super) shared: Option<Reading>,
    pub(super) own: Option<Reading>,
    pub(super) meter: Option<QuotaState>,
}

impl Reply {
    /// Reads an answer to a call with these limits; `None` where it is not one.
    pub(super) fn read(bytes: &[u8], shared: &LimitSet, own: Option<&LimitSet>, has_meter: bool) -> Option<Self> {
        let mut numbers = Numbers(bytes);
        let mut reply = numbers.head()?;
        if matches!(reply.verdict, Verdict::Refused | Verdict::Admitted) {
            reply.shared = Some(numbers.reading(shared, reply.now)?);
            if let Some(own) = own {
                reply.own = Some(numbers.reading(own, reply.now)?);
            }
            if has_meter {
                reply.meter = Some(numbers.reading(&LimitSet::default(), reply.now)?.quota);
            }
        }
        numbers.0.is_empty().then_some(reply)
    }

    /// Reads what stands before the readings.
    pub(super) fn read_head(bytes: &[u8]) -> Option<Self> {
        Numbers(bytes).head()
    }
}

/// What stands for a reading where there was nothing to read.
pub(super) fn nothing_read(period: Period) -> Reading {
    Reading { bucket: None, windows: ArrayVec::new(), quota: QuotaState { period, used: 0, ledger_position: 0 } }
}

/// Packed doubles being read.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn head(&mut self) -> Option<Reply> {
        let verdict = match self.next()? {
            0 => Verdict::Refused,
            1 => Verdict::Admitted,
            2 => Verdict::Gone,
            3 => Verdict::Incomplete,
            4 => Verdict::Overtaken,
            _ => return None,
        };
        let (now, redis_now) = (self.time()?, self.time()?);
        Some(Reply {
            verdict,
            now,
            behind_us: now - redis_now,
            epoch: self.units()?,
            outstanding: self.units()?,
            granted: self.units()?,
            kept: self.units()?,
            flag: self.next()? != 0,
            shared: None,
            own: None,
            meter: None,
        })
    }

    fn next(&mut self) -> Option<i64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(whole(f64::from_le_bytes(*number)))
    }

    fn units(&mut self) -> Option<u64> {
        self.next().map(|number| number.max(0).unsigned_abs())
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.next().map(Timestamp::from_micros)
    }

    fn reading(&mut self, limits: &LimitSet, now: Timestamp) -> Option<Reading> {
        let level = self.next()?;
        let bucket = limits.bucket.map(|spec| BucketState::with_level(spec, level.max(0).unsigned_abs(), now));
        let mut windows = ArrayVec::new();
        for _ in &limits.windows {
            let total = self.units()?;
            let room_at = Some(self.next()?).filter(|micros| *micros >= 0).map(Timestamp::from_micros);
            windows.push(WindowReading { total, room_at });
        }
        let period = Period { start: self.time()?, end: self.time()? };
        let quota = QuotaState { period, used: self.units()?, ledger_position: self.units()? };
        Some(Reading { bucket, windows, quota })
    }
}
