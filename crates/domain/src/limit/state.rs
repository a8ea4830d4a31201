//! An account's state: everything its limits have counted, and the one step that changes it.

use arrayvec::ArrayVec;

use super::bucket::BucketState;
use super::counters::{Counters, Scope, SeenPast};
use super::quota::QuotaState;
use super::seed::{Seed, Spending};
use super::spec::LimitSet;
use super::standing::{LimitLabel, Standing};
use super::window::WindowState;
use crate::id::KeyId;
use crate::period::Period;
use crate::time::{SECOND_US, Timestamp};

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
        let past = SeenPast { since: Timestamp::from_micros(i64::MIN), now, ahead_us: 0, ledger_position: 0 };
        state.shared.seed(limits, &Spending::default(), past, period);
        state
    }

    /// Fills in what is missing from what the ledger tells. What is already counted stays.
    pub fn seed(&mut self, debit: &Debit<'_>, seed: &Seed, now: Timestamp) {
        let seen = self.advance_to(now);
        let past =
            SeenPast { since: seed.since, now: seen, ahead_us: seen - now, ledger_position: seed.ledger_position };
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

    /// Charges units of quota that were used elsewhere, such as before an import, or credits them (negative).
    /// `position` is the entry's place in the ledger: one that a seed has told already changes nothing.
    pub fn charge(&mut self, key: Option<KeyId>, charged_in: Period, units: i64, position: u64) {
        self.each_quota(key, |quota| quota.charge(charged_in, units, position));
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
