//! An account's state: everything its limits have counted, and the one step that changes it.

use super::asked::Asked;
use super::bucket::BucketState;
use super::counters::{Counters, SeenPast, quota_from_ledger};
use super::quota::QuotaState;
use super::seed::{Seed, Spending};
use super::spec::{LimitSet, Quota};
use super::standing::{LimitLabel, Standing};
use super::window::WindowState;
use crate::id::KeyId;
use crate::meter::MeterId;
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
    /// The meter that the call debits as well, with its quota: the cost is in its units, too.
    pub meter: Option<(MeterId, Quota)>,
    /// The quota period that holds now, of meters as well.
    pub period: Period,
    /// Units. Zero debits nothing and is always admitted.
    pub cost: u64,
}

/// Which of an account's quotas units are charged to, or given back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Charged {
    /// The quota of calls, and the key's own cap where it has one.
    Calls {
        /// The lineage of the key whose own cap counts them as well.
        key: Option<KeyId>,
    },
    /// A meter's.
    Meter(MeterId),
}

/// A call that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The period it was charged in, its meter too; it is settled there.
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

/// What is counted of one meter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MeterCounter {
    id: MeterId,
    seen: Timestamp,
    quota: QuotaState,
}

/// What stands beside what an account's keys share: what single keys have of their own, and meters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Beside {
    keys: Vec<KeyCounters>,
    meters: Vec<MeterCounter>,
}

/// Everything counted for one account: what its keys share, what single keys have of their own, and its meters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountState {
    seen: Timestamp,
    shared: Counters,
    /// Most accounts have neither keys with limits of their own nor meters.
    beside: Option<Box<Beside>>,
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
        if let (Some((id, _)), Some((seeded, spending))) = (debit.meter, &seed.meter)
            && id == *seeded
            && !self.meters().iter().any(|meter| meter.id == id)
        {
            let quota = quota_from_ledger(spending.quota, past, debit.period);
            self.beside.get_or_insert_default().meters.push(MeterCounter { id, seen, quota });
        }
    }

    /// Debits everything or nothing.
    pub fn debit(&mut self, debit: &Debit<'_>, now: Timestamp) -> Outcome {
        let asked_at = now;
        let now = self.advance_to(now);
        let Some(mut asked) = self.asked(debit, now) else { return Outcome::Unseeded };
        let longest = if debit.cost > 0 { asked.longest_wait(debit.cost, now) } else { None };
        if debit.cost > 0 && longest.is_none() {
            asked.take(debit.cost, now);
        }
        let mut standing = asked.standing(if longest.is_some() { debit.cost } else { 0 }, now);
        let period = self.open_period(debit.period);
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

    /// All that the call is debited from, brought to now; `None` where something has no state.
    fn asked<'a>(&'a mut self, debit: &Debit<'a>, now: Timestamp) -> Option<Asked<'a>> {
        let Self { shared, beside, .. } = self;
        let (keys, meters): (&mut [_], &mut [_]) = match beside {
            Some(beside) => (&mut beside.keys, &mut beside.meters),
            None => (&mut [], &mut []),
        };
        let own = match debit.key {
            None => None,
            Some((id, limits)) => Some((keys.iter_mut().find(|key| key.id == id)?, limits)),
        };
        let meter = match debit.meter {
            None => None,
            Some((id, limit)) => Some((meters.iter_mut().find(|meter| meter.id == id)?, limit)),
        };
        if !shared.advance(debit.limits, debit.period, now) {
            return None;
        }
        // The account says which period is open, for what stands beside it too: units are charged in one period.
        let period = shared.quota.map_or(debit.period, |quota| quota.period);
        let own = match own {
            None => None,
            Some((key, limits)) => {
                key.seen = now;
                if !key.own.advance(limits, period, now) {
                    return None;
                }
                Some((&mut key.own, limits))
            }
        };
        let meter = meter.map(|(meter, limit)| {
            meter.seen = now;
            meter.quota.roll(period);
            (&mut meter.quota, limit)
        });
        Some(Asked { shared: (shared, debit.limits), own, meter })
    }

    fn open_period(&self, asked: Period) -> Period {
        self.shared.quota.map_or(asked, |quota| quota.period)
    }

    /// Corrects what an admitted call was charged, once it is known what it took: gives units back (negative) or counts
    /// more, which may pass the limit. Bucket and windows keep what they took.
    ///
    /// False where nothing is counted of it here: it must be seeded first, and settled again.
    pub fn settle(&mut self, of: Charged, charged_in: Period, units: i64) -> bool {
        self.each_quota(of, |quota| quota.settle(charged_in, units))
    }

    /// Charges units of quota that were used elsewhere, such as before an import, or credits them (negative).
    /// `position` is the entry's place in the ledger: one that a seed has told already changes nothing.
    pub fn charge(&mut self, of: Charged, charged_in: Period, units: i64, position: u64) {
        self.each_quota(of, |quota| quota.charge(charged_in, units, position));
    }

    /// Whether forgetting it would change no decision but the quota's, as of its last use.
    pub fn is_idle(&self, now: Timestamp) -> bool {
        std::iter::once(&self.shared)
            .chain(self.keys().iter().map(|key| &key.own))
            .all(|counters| counters.is_idle(now))
    }

    /// Forgets keys and meters that were last used before this instant and whose rates are idle as of now. Their quota is
    /// the ledger's to tell when they are called again, so whoever calls makes sure that the ledger has it.
    pub fn forget_unused(&mut self, unused_since: Timestamp, now: Timestamp) {
        let Some(beside) = &mut self.beside else { return };
        beside.keys.retain(|key| key.seen >= unused_since || !key.own.is_idle(now));
        beside.meters.retain(|meter| meter.seen >= unused_since);
        if beside.keys.is_empty() && beside.meters.is_empty() {
            self.beside = None;
        }
    }

    /// Forgets every quota, meters too, so that the next seed tells them anew. Buckets and windows stay.
    pub fn forget_quotas(&mut self) {
        self.shared.quota = None;
        if let Some(beside) = &mut self.beside {
            beside.keys.iter_mut().for_each(|key| key.own.quota = None);
            beside.meters.clear();
        }
    }

    /// The last instant it was used.
    pub fn seen(&self) -> Timestamp {
        self.seen
    }

    /// Buckets and windows as they are saved: the account's, then its keys'. Quota is the ledger's.
    pub fn rates(&self) -> impl Iterator<Item = (Option<KeyId>, Option<BucketState>, &[WindowState])> {
        std::iter::once((None, &self.shared))
            .chain(self.keys().iter().map(|key| (Some(key.id), &key.own)))
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

    fn keys(&self) -> &[KeyCounters] {
        self.beside.as_ref().map_or(&[], |beside| &beside.keys)
    }

    fn meters(&self) -> &[MeterCounter] {
        self.beside.as_ref().map_or(&[], |beside| &beside.meters)
    }

    fn key_mut(&mut self, id: KeyId) -> &mut Counters {
        let keys = &mut self.beside.get_or_insert_default().keys;
        let at = keys.iter().position(|key| key.id == id).unwrap_or_else(|| {
            keys.push(KeyCounters { id, seen: self.seen, own: Counters::default() });
            keys.len() - 1
        });
        &mut keys[at].own
    }

    /// Changes every quota that these units count in; false where the account has none of that kind.
    fn each_quota(&mut self, of: Charged, change: impl Fn(&mut QuotaState)) -> bool {
        let beside = self.beside.as_deref_mut();
        match of {
            Charged::Calls { key } => {
                let keys = beside.into_iter().flat_map(|beside| &mut beside.keys);
                keys.filter(|known| Some(known.id) == key).flat_map(|known| &mut known.own.quota).for_each(&change);
                self.shared.quota.as_mut().map(change).is_some()
            }
            Charged::Meter(id) => {
                let meter = beside.and_then(|beside| beside.meters.iter_mut().find(|meter| meter.id == id));
                meter.map(|meter| change(&mut meter.quota)).is_some()
            }
        }
    }

    /// Time as this state sees it: never backwards, unless the clock was set back.
    fn advance_to(&mut self, now: Timestamp) -> Timestamp {
        if self.seen - now > SKEW_US_MAX {
            self.shared.rebase(now);
            let keys = self.beside.iter_mut().flat_map(|beside| &mut beside.keys);
            keys.for_each(|key| key.own.rebase(now));
            self.seen = now;
        } else {
            self.seen = self.seen.max(now);
        }
        self.seen
    }
}
