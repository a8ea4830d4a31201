//! An account's state: everything its limits have counted, and the one step that changes it.

use arrayvec::ArrayVec;

use super::bucket::BucketState;
use super::quota::QuotaState;
use super::seed::{Seed, Spending};
use super::spec::LimitSet;
use super::standing::{LimitLabel, LimitStanding, Standing};
use super::window::WindowState;
use crate::id::KeyId;
use crate::period::Period;
use crate::time::{DAY_US, SECOND_US, Timestamp};

/// What a refused caller is told to wait where no wait would help, such as at a rate of zero.
const HOPELESS_WAIT_US: i64 = DAY_US;
/// A clock that goes back by less is a reader who was held up between reading it and calling; by more, it was set
/// back. Taking a late reader for a clock set back would give what refilled meanwhile a second time.
const SKEW_US_MAX: i64 = 10 * SECOND_US;

/// One call's demand.
#[derive(Clone, Copy, Debug)]
pub struct Debit<'a> {
    /// The limits that all keys of the account share.
    pub limits: &'a LimitSet,
    /// The key that calls, where it has limits of its own.
    pub key: Option<(KeyId, &'a LimitSet)>,
    /// The quota period that holds now.
    pub period: Period,
    /// Units. Zero debits nothing and is always admitted.
    pub cost: u64,
}

/// A call that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The period it was charged in; refunds go there.
    pub period: Period,
    /// How the account stands after it.
    pub standing: Standing,
}

/// A call that was refused, and debited nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The limit that refuses longest.
    pub by: LimitLabel,
    /// Microseconds, from the time the caller brought, until the same call, made by a lone caller, is admitted.
    pub wait_us: i64,
    /// The open quota period.
    pub period: Period,
    /// How the account stands.
    pub standing: Standing,
}

/// What became of a demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Let in, and debited.
    Admitted(Admitted),
    /// Refused, and nothing debited.
    Refused(Refused),
    /// Some limit has no state: it must be seeded from the ledger first. A missing counter is never zero.
    Unseeded,
}

/// Everything counted for one subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counters {
    bucket: Option<BucketState>,
    windows: Vec<WindowState>,
    quota: Option<QuotaState>,
}

/// What is counted for one key alone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyCounters {
    id: KeyId,
    seen: Timestamp,
    own: Counters,
}

/// Everything counted for one account: what its keys share, and what single keys have of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountState {
    seen: Timestamp,
    shared: Counters,
    keys: Vec<KeyCounters>,
}

impl AccountState {
    /// State that has never been used: full buckets, empty windows, nothing charged. Only for subjects whose
    /// past is known to be empty, such as a client address first seen now.
    pub fn fresh(limits: &LimitSet, period: Period, now: Timestamp) -> Self {
        let mut state = Self { seen: now, ..Self::default() };
        let past = SeenPast { since: Timestamp::from_micros(i64::MIN), now, ahead_us: 0 };
        state.shared.seed(limits, &Spending::default(), past, period);
        state
    }

    /// Fills in what is missing from what the ledger tells. What is already counted stays.
    pub fn seed(&mut self, debit: &Debit<'_>, seed: &Seed, now: Timestamp) {
        let seen = self.advance_to(now);
        let past = SeenPast { since: seed.since, now: seen, ahead_us: seen - now };
        self.shared.seed(debit.limits, &seed.account, past, debit.period);
        if let (Some((id, limits)), Some((seeded, spending))) = (debit.key, &seed.key)
            && id == *seeded
        {
            self.key_mut(id).seed(limits, spending, past, debit.period);
        }
    }

    /// Debits everything or nothing.
    pub fn debit(&mut self, debit: &Debit<'_>, now: Timestamp) -> Outcome {
        let asked_at = now;
        let now = self.advance_to(now);
        let Self { shared, keys, .. } = self;
        let mut own = match debit.key {
            None => None,
            Some((id, limits)) => match keys.iter_mut().find(|key| key.id == id) {
                Some(key) => Some((key, limits)),
                None => return Outcome::Unseeded,
            },
        };
        if !shared.advance(debit.limits, debit.period, now) {
            return Outcome::Unseeded;
        }
        if let Some((key, limits)) = &mut own {
            key.seen = now;
            if !key.own.advance(limits, debit.period, now) {
                return Outcome::Unseeded;
            }
        }
        let mut longest: Option<(LimitLabel, i64)> = None;
        let mut keep_longest = |label, wait_us| {
            if wait_us > 0 && longest.is_none_or(|(_, longest_us)| wait_us > longest_us) {
                longest = Some((label, wait_us));
            }
        };
        if debit.cost > 0 {
            shared.waits(debit.limits, debit.cost, now, Scope::Account, &mut keep_longest);
            if let Some((key, limits)) = &own {
                key.own.waits(limits, debit.cost, now, Scope::Key, &mut keep_longest);
            }
            if longest.is_none() {
                shared.take(debit.cost, now);
                if let Some((key, _)) = &mut own {
                    key.own.take(debit.cost, now);
                }
            }
        }
        let mut standing = ArrayVec::new();
        let asked = if longest.is_some() { debit.cost } else { 0 };
        shared.standing(debit.limits, asked, now, Scope::Account, &mut standing);
        if let Some((key, limits)) = &own {
            key.own.standing(limits, asked, now, Scope::Key, &mut standing);
        }
        let period = shared.quota.map_or(debit.period, |quota| quota.period);
        // A caller whose clock reading is behind waits that much longer by its own clock.
        let behind_us = now - asked_at;
        for limit in standing.iter_mut().filter(|limit| limit.reset_us > 0) {
            limit.reset_us = limit.reset_us.saturating_add(behind_us);
        }
        match longest {
            None => Outcome::Admitted(Admitted { period, standing }),
            Some((by, wait_us)) => {
                Outcome::Refused(Refused { by, wait_us: wait_us.saturating_add(behind_us), period, standing })
            }
        }
    }

    /// Gives units of quota back, to the account and the key that called. Bucket and windows keep what they took.
    pub fn refund(&mut self, key: Option<KeyId>, charged_in: Period, units: u64) {
        self.each_quota(key, |quota| quota.refund(charged_in, units));
    }

    /// Charges units of quota that were used elsewhere, such as before an import.
    pub fn charge(&mut self, key: Option<KeyId>, charged_in: Period, units: u64) {
        self.each_quota(key, |quota| quota.charge(charged_in, units));
    }

    /// Whether forgetting it would change no decision but the quota's, as of its last use.
    pub fn is_idle(&self, now: Timestamp) -> bool {
        std::iter::once(&self.shared).chain(self.keys.iter().map(|key| &key.own)).all(|counters| counters.is_idle(now))
    }

    /// Forgets keys that were last used before this instant and whose rates are idle as of now. Their quota is the
    /// ledger's to tell when they call again, so whoever calls makes sure that the ledger has it.
    pub fn forget_keys(&mut self, unused_since: Timestamp, now: Timestamp) {
        self.keys.retain(|key| key.seen >= unused_since || !key.own.is_idle(now));
    }

    /// The last instant it was used.
    pub fn seen(&self) -> Timestamp {
        self.seen
    }

    /// Buckets and windows as they are saved: the account's, then its keys'. Quota is the ledger's.
    pub fn rates(&self) -> impl Iterator<Item = (Option<KeyId>, Option<BucketState>, &[WindowState])> {
        std::iter::once((None, &self.shared))
            .chain(self.keys.iter().map(|key| (Some(key.id), &key.own)))
            .map(|(key, counters)| (key, counters.bucket, counters.windows.as_slice()))
    }

    /// Puts saved buckets and windows back in place; quota stays unseeded until the ledger tells it.
    pub fn restore_rates(
        &mut self,
        key: Option<KeyId>,
        bucket: Option<BucketState>,
        windows: Vec<WindowState>,
        seen: Timestamp,
    ) {
        self.seen = self.seen.max(seen);
        let counters = match key {
            None => &mut self.shared,
            Some(id) => self.key_mut(id),
        };
        counters.bucket = bucket;
        counters.windows = windows;
    }

    /// The account's quota: what is kept of a subject that has no ledger.
    pub fn quota(&self) -> Option<QuotaState> {
        self.shared.quota
    }

    /// Puts a kept quota back in place, for a subject that has no ledger.
    pub fn restore_quota(&mut self, quota: QuotaState) {
        self.shared.quota = Some(quota);
    }

    fn key_mut(&mut self, id: KeyId) -> &mut Counters {
        let at = self.keys.iter().position(|key| key.id == id).unwrap_or_else(|| {
            self.keys.push(KeyCounters { id, seen: self.seen, own: Counters::default() });
            self.keys.len() - 1
        });
        &mut self.keys[at].own
    }

    fn each_quota(&mut self, key: Option<KeyId>, change: impl Fn(&mut QuotaState)) {
        self.shared.quota.iter_mut().for_each(&change);
        for known in self.keys.iter_mut().filter(|known| Some(known.id) == key) {
            known.own.quota.iter_mut().for_each(&change);
        }
    }

    /// Time as this state sees it: never backwards, unless the clock was set back.
    fn advance_to(&mut self, now: Timestamp) -> Timestamp {
        if self.seen - now > SKEW_US_MAX {
            self.shared.rebase(now);
            self.keys.iter_mut().for_each(|key| key.own.rebase(now));
            self.seen = now;
        } else {
            self.seen = self.seen.max(now);
        }
        self.seen
    }
}

#[derive(Clone, Copy)]
enum Scope {
    Account,
    Key,
}

impl Scope {
    fn burst(self) -> LimitLabel {
        match self {
            Self::Account => LimitLabel::Burst,
            Self::Key => LimitLabel::KeyBurst,
        }
    }

    fn window(self, window: &WindowState) -> LimitLabel {
        match self {
            Self::Account => LimitLabel::Window(window.length()),
            Self::Key => LimitLabel::KeyWindow(window.length()),
        }
    }

    fn quota(self) -> LimitLabel {
        match self {
            Self::Account => LimitLabel::Quota,
            Self::Key => LimitLabel::KeyQuota,
        }
    }
}

impl Counters {
    /// Brings every counter to now and under the limits of now; false when one has no state.
    fn advance(&mut self, limits: &LimitSet, period: Period, now: Timestamp) -> bool {
        match (&mut self.bucket, limits.bucket) {
            (Some(bucket), Some(spec)) => bucket.advance(spec, now),
            (None, Some(_)) => return false,
            (_, None) => self.bucket = None,
        }
        if !self.windows.iter().map(WindowState::length).eq(limits.windows.iter().map(|window| window.length))
            && !self.rearrange_windows(limits)
        {
            return false;
        }
        self.windows.iter_mut().for_each(|window| window.advance(now));
        let Some(quota) = &mut self.quota else { return false };
        quota.roll(period);
        true
    }

    /// Puts the windows in the order of a changed plan, without those it no longer has.
    fn rearrange_windows(&mut self, limits: &LimitSet) -> bool {
        let find = |length| self.windows.iter().find(|known| known.length() == length).cloned();
        match limits.windows.iter().map(|window| find(window.length)).collect() {
            Some(arranged) => {
                self.windows = arranged;
                true
            }
            None => false,
        }
    }

    fn waits(
        &self,
        limits: &LimitSet,
        cost: u64,
        now: Timestamp,
        scope: Scope,
        keep: &mut impl FnMut(LimitLabel, i64),
    ) {
        if let Some(bucket) = &self.bucket {
            keep(scope.burst(), bucket.wait_us(cost).unwrap_or(HOPELESS_WAIT_US));
        }
        for (window, spec) in self.windows.iter().zip(&limits.windows) {
            keep(scope.window(window), window.wait_us(cost, spec.limit, now).unwrap_or(HOPELESS_WAIT_US));
        }
        if let (Some(quota), Some(limit)) = (&self.quota, limits.quota.limit)
            && !quota.fits(cost, limit)
        {
            keep(scope.quota(), (quota.period.end - now).max(1));
        }
    }

    fn take(&mut self, cost: u64, now: Timestamp) {
        self.bucket.iter_mut().for_each(|bucket| bucket.take(cost));
        self.windows.iter_mut().for_each(|window| window.add(cost, now));
        self.quota.iter_mut().for_each(|quota| quota.used = quota.used.saturating_add(cost));
    }

    /// Adds how each limit stands. `asked` is the cost of a refused call, zero for an admitted one.
    fn standing(&self, limits: &LimitSet, asked: u64, now: Timestamp, scope: Scope, out: &mut Standing) {
        if let Some(bucket) = &self.bucket {
            let (limit, remaining) = (bucket.spec().burst(), bucket.remaining());
            let next = if remaining < limit { (remaining + 1).max(asked) } else { 0 };
            out.push(LimitStanding {
                label: scope.burst(),
                limit,
                remaining,
                used: limit - remaining,
                reset_us: bucket.wait_us(next).unwrap_or(HOPELESS_WAIT_US),
                window_secs: Some(bucket.spec().fill_secs()),
            });
        }
        for (window, spec) in self.windows.iter().zip(&limits.windows) {
            let remaining = window.remaining(spec.limit);
            let next = if window.total() > 0 { (remaining + 1).max(asked) } else { 0 };
            out.push(LimitStanding {
                label: scope.window(window),
                limit: spec.limit,
                remaining,
                used: window.total(),
                reset_us: window.wait_us(next, spec.limit, now).unwrap_or(HOPELESS_WAIT_US),
                window_secs: Some(window.length().micros().unsigned_abs() / SECOND_US.unsigned_abs()),
            });
        }
        if let (Some(quota), Some(limit)) = (&self.quota, limits.quota.limit) {
            out.push(LimitStanding {
                label: scope.quota(),
                limit,
                remaining: limit.saturating_sub(quota.used),
                used: quota.used,
                reset_us: (quota.period.end - now).max(0),
                window_secs: None,
            });
        }
    }

    fn rebase(&mut self, now: Timestamp) {
        self.bucket.iter_mut().for_each(|bucket| bucket.rebase(now));
        self.windows.iter_mut().for_each(|window| window.rebase(now));
    }

    /// Whether full and empty again: as good as never used, but for the quota.
    fn is_idle(&self, now: Timestamp) -> bool {
        let refilled = self.bucket.is_none_or(|mut bucket| {
            bucket.advance(bucket.spec(), now);
            bucket.is_full()
        });
        let emptied = |window: &WindowState| {
            window.slices().last().is_none_or(|newest| now - newest.newest >= window.length().micros())
        };
        refilled && self.windows.iter().all(emptied)
    }

    fn seed(&mut self, limits: &LimitSet, spending: &Spending, past: SeenPast, period: Period) {
        if let (None, Some(spec)) = (&self.bucket, limits.bucket) {
            // From an empty bucket: what was in it at the start is not known, and assuming tokens that were
            // spent before it would admit the burst twice. A start that lies far enough back finds it full.
            let mut bucket = BucketState::empty(spec, past.of(past.since));
            for debited in &spending.debits {
                bucket.advance(spec, past.of(debited.at));
                bucket.take(debited.units);
            }
            bucket.advance(spec, past.now);
            self.bucket = Some(bucket);
        }
        for spec in &limits.windows {
            if self.windows.iter().any(|window| window.length() == spec.length) {
                continue;
            }
            let mut window = WindowState::empty(spec.length);
            for debited in &spending.debits {
                window.add(debited.units, past.of(debited.at));
                window.advance(past.now);
            }
            self.windows.push(window);
        }
        if self.quota.is_none() {
            let known = spending.quota.map(|quota| QuotaState { period: quota.period, used: quota.used });
            self.quota = Some(known.unwrap_or(QuotaState { period, used: 0 }));
        }
    }
}

/// How a ledger's times look to a state whose own time may be ahead of the clock's.
#[derive(Clone, Copy)]
struct SeenPast {
    since: Timestamp,
    now: Timestamp,
    ahead_us: i64,
}

impl SeenPast {
    /// A ledger's instant in the state's time. What was written before the clock was set back counts as made now:
    /// nothing lies ahead, or it would hold back the filling until the clock has caught up.
    fn of(self, at: Timestamp) -> Timestamp {
        (at + self.ahead_us).min(self.now)
    }
}
