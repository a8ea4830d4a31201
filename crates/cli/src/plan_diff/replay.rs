//! What an account used, decided once more by the reference model: under the plan it was used on, and under another.
//!
//! The ledger tells the time of a call to the end of its batch, which is at most [`RESOLUTION_US`] later. Over any
//! stretch a bucket of burst b and rate r may therefore be asked for r times that much more than the calls really asked:
//! what such a bucket refuses and one with so much more burst would not is told apart as not certain.
//!
//! Meters are decided for themselves: a call that its route debits of a meter asks for what the route asks for, and an
//! event that is only reported is let in while its meter has a unit left; either then counts whole. So it is exact who is
//! refused, and when first; how often after that is an upper bound, for a call that one limit refuses takes nothing from
//! the others.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tollgate_domain::limit::{
    AccountState, Debit, Debited, LimitLabel, LimitSet, Outcome, QuotaUse, Seed, Spending, Standing,
};
use tollgate_domain::{
    Bucket, Charged, KeyId, MeterId, MeterName, Period, PeriodBasis, Plan, Quota, QuotaPeriod, RouteName, Timestamp,
};

use super::tally::{Refusals, Tally};

/// How much later than its last call a line's time may be: the length of a batch.
pub(crate) const RESOLUTION_US: i64 = 250_000;

/// A line of an account's ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Not before its last call.
    pub(crate) at: Timestamp,
    /// Its place in the ledger.
    pub(crate) place: i64,
    /// The meter; `None` for calls.
    pub(crate) meter: Option<MeterName>,
    /// The first key of the chain that called; `None` for what no key did.
    pub(crate) key: Option<KeyId>,
    /// The route; `None` for what no route did.
    pub(crate) route: Option<RouteName>,
    /// Calls, or events.
    pub(crate) calls: u64,
    /// Units debited from bucket and windows.
    pub(crate) units_debited: u64,
    /// Units charged less those given back.
    pub(crate) units: i64,
    /// The period they were charged in.
    pub(crate) period: Period,
}

/// The routes that debit a meter: which, and how many units each call asks for before it goes on.
pub(crate) type MeteredRoutes = BTreeMap<RouteName, (MeterName, u64)>;

/// What an account is held to.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// Its plan; `None` where it has no access.
    pub(crate) plan: Option<Arc<Plan>>,
    /// Whether bucket and windows are each key's own.
    pub(crate) rates_per_key: bool,
    /// The routes that the lines were called by.
    pub(crate) metered: Arc<MeteredRoutes>,
    /// How its periods are laid; `None` leaves lines in the periods they were charged in.
    pub(crate) periods: Option<PeriodBasis>,
}

impl Terms {
    /// Whether two decide every call alike.
    pub(crate) fn decides_as(&self, other: &Self) -> bool {
        let limits = |terms: &Self| {
            let plan = terms.plan.as_ref()?;
            Some((plan.limits.clone(), plan.meters.clone(), plan.quota_period, terms.rates_per_key))
        };
        limits(self) == limits(other)
    }

    fn period_of(&self, line: &Line) -> Period {
        self.periods.map_or(line.period, |basis| basis.period_at(line.at))
    }

    /// Units that each of the line's calls asked its meter for; `None` where they were counted without asking.
    fn asked_of_meter(&self, line: &Line) -> Option<u64> {
        let (meter, units) = self.metered.get(line.route.as_ref()?)?;
        (line.meter.as_ref() == Some(meter)).then_some(*units)
    }
}

/// What becomes of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No call would be decided differently, as far as the ledger tells.
    Same,
    /// It would be refused more.
    More {
        /// What the new limits refuse.
        refused: Vec<Refusals>,
        /// Calls that the limits in force refuse in the same replay.
        calls_before: u64,
        /// False where the refusals are within what the ledger's times can hide.
        certain: bool,
    },
    /// It reached limits that it would not reach, or later.
    Less {
        /// The limits it stood at, or was refused by.
        reached: Vec<Refusals>,
    },
}

/// An account under two sets of terms at once.
pub(crate) struct Replay {
    old: Pair,
    new: Pair,
}

impl Replay {
    /// Begins at `from`, with what was used before that.
    pub(crate) fn new(old: &Terms, new: &Terms, before: &[Line], from: Timestamp) -> Self {
        Self { old: Pair::new(old, before, from), new: Pair::new(new, before, from) }
    }

    /// Decides on the next line, in order of time.
    pub(crate) fn push(&mut self, line: &Line) {
        self.old.push(line);
        self.new.push(line);
    }

    /// What came of it.
    pub(crate) fn verdict(self) -> Verdict {
        let Self { old, new } = self;
        let (old_strict, new_strict) = (old.strict.refused.calls(), new.strict.refused.calls());
        let (old_wide, new_wide) = (old.wide().refused.calls(), new.wide().refused.calls());
        if new_wide > old_wide {
            let (_, refused) = (old_wide, new.into_wide().refused.into_list());
            return Verdict::More { refused, calls_before: old_wide, certain: true };
        }
        if new_strict > old_strict {
            let refused = new.strict.refused.into_list();
            return Verdict::More { refused, calls_before: old_strict, certain: false };
        }
        let (old_reached, new_reached) = (old.strict.reached.calls(), new.strict.reached.calls());
        if old_strict > new_strict || old_reached > new_reached {
            let mut reached = old.strict.reached;
            reached.merge(old.strict.refused);
            return Verdict::Less { reached: reached.into_list() };
        }
        Verdict::Same
    }
}

/// The lines in the order in which they are decided: by time, then period, so that no line falls behind a period's end.
pub(crate) fn sort(lines: &mut [Line]) {
    lines.sort_by_key(|line| (line.at, line.period.start, line.place));
}

/// Terms as they are, and with as much more burst as the ledger's times can hide; none where that makes no difference.
struct Pair {
    strict: Run,
    wide: Option<Run>,
}

impl Pair {
    fn new(terms: &Terms, before: &[Line], from: Timestamp) -> Self {
        let widened = terms.plan.as_ref().and_then(|plan| {
            let bucket = plan.limits.bucket?;
            let hidden = u128::from(bucket.tokens()) * u128::from(RESOLUTION_US.unsigned_abs());
            let hidden = u64::try_from(hidden.div_ceil(u128::from(bucket.micros()))).ok()?;
            let wider = Bucket::from_parts(bucket.tokens(), bucket.micros(), bucket.burst().checked_add(hidden)?)?;
            let limits = LimitSet { bucket: Some(wider), ..plan.limits.clone() };
            let plan = Arc::new(Plan { limits, ..(**plan).clone() });
            Some(Terms { plan: Some(plan), ..terms.clone() })
        });
        let wide = widened.map(|terms| Run::new(terms, before, from));
        Self { strict: Run::new(terms.clone(), before, from), wide }
    }

    fn push(&mut self, line: &Line) {
        self.strict.push(line);
        if let Some(wide) = &mut self.wide {
            wide.push(line);
        }
    }

    fn wide(&self) -> &Run {
        self.wide.as_ref().unwrap_or(&self.strict)
    }

    fn into_wide(self) -> Run {
        self.wide.unwrap_or(self.strict)
    }
}

/// An account under one set of terms.
struct Run {
    terms: Terms,
    /// What all keys share.
    shared: LimitSet,
    /// What each key has alone, where rates are counted by key.
    own: Option<LimitSet>,
    seed: Seed,
    /// What single keys debited before.
    keys: HashMap<KeyId, Vec<Debited>>,
    state: AccountState,
    /// Meters stand apart from calls: the ledger does not tell which calls counted them.
    meters: AccountState,
    refused: Tally,
    reached: Tally,
}

impl Run {
    fn new(terms: Terms, before: &[Line], from: Timestamp) -> Self {
        let limits = terms.plan.as_ref().map(|plan| plan.limits.clone()).unwrap_or_default();
        let (shared, own) = if terms.rates_per_key {
            let own = LimitSet { quota: Quota::default(), ..limits.clone() };
            (LimitSet { bucket: None, windows: <_>::default(), ..limits }, Some(own))
        } else {
            (limits, None)
        };
        let mut run = Self {
            seed: Seed {
                // Nothing is known of what came before; a bucket was full then.
                since: Timestamp::from_micros(i64::MIN),
                account: Spending { debits: debits(before, None), quota: quota_use(&terms, before, None, from) },
                key: None,
                meter: None,
                ledger_position: 0,
            },
            keys: HashMap::new(),
            shared,
            own,
            terms,
            state: AccountState::default(),
            meters: AccountState::default(),
            refused: Tally::default(),
            reached: Tally::default(),
        };
        if run.own.is_some() {
            let keys: Vec<KeyId> = before.iter().filter_map(|line| line.key).collect();
            run.keys = keys.into_iter().map(|key| (key, debits(before, Some(key)))).collect();
        }
        run.seed_meters(before, from);
        run
    }

    fn seed_meters(&mut self, before: &[Line], from: Timestamp) {
        let Some(plan) = self.terms.plan.clone() else { return };
        let nothing = LimitSet::default();
        for (name, quota) in &plan.meters {
            let spent = quota_use(&self.terms, before, Some(name), from);
            let period = spent.map_or(Period { start: from, end: from + 1 }, |spent| spent.period);
            let debit = Debit { limits: &nothing, key: None, meter: Some((name.id(), *quota)), period, cost: 0 };
            let spending = Spending { debits: Vec::new(), quota: spent };
            let seed = Seed { account: Spending::default(), meter: Some((name.id(), spending)), ..self.seed.clone() };
            self.meters.seed(&debit, &seed, from);
        }
    }

    fn push(&mut self, line: &Line) {
        let Some(plan) = self.terms.plan.clone() else {
            if line.calls > 0 && (line.units_debited > 0 || line.meter.is_some()) {
                let units = if line.meter.is_some() { line.units.max(0).unsigned_abs() } else { line.units_debited };
                self.refused.add("access", line.calls, units, line.at);
            }
            return;
        };
        match &line.meter {
            None => self.push_calls(line),
            Some(name) => {
                if let Some(quota) = plan.meters.get(name) {
                    self.push_events(line, name, *quota);
                }
            }
        }
    }

    /// Calls: all at once where all fit, which is the same as one by one; else one by one.
    fn push_calls(&mut self, line: &Line) {
        let period = self.terms.period_of(line);
        let whole = Charged::Calls { key: None };
        if line.calls == 0 || line.units_debited == 0 {
            // Imports, credits and late corrections: nothing was asked for.
            self.open(line, period);
            self.state.charge(whole, period, line.units, u64::MAX);
            return;
        }
        let settled = line.units.saturating_sub_unsigned(line.units_debited);
        if self.debit(line, period, line.units_debited).is_none() {
            self.state.settle(whole, period, settled);
            return;
        }
        let calls = line.calls.min(line.units_debited);
        let (each, more) = (line.units_debited / calls, line.units_debited % calls);
        let mut admitted = 0;
        for index in 0..calls {
            let cost = each + u64::from(index < more);
            match self.debit(line, period, cost) {
                None => admitted += 1,
                Some(limit) => self.refused.add(&limit, 1, cost, line.at),
            }
        }
        // What the answers gave back or added is taken to be spread over the calls.
        let share = i128::from(settled) * i128::from(admitted) / i128::from(calls);
        self.state.settle(whole, period, i64::try_from(share).unwrap_or_default());
    }

    /// Debits; the limit that refuses, if one does.
    fn debit(&mut self, line: &Line, period: Period, cost: u64) -> Option<String> {
        let own = line.key.zip(self.own.as_ref());
        let debit = Debit { limits: &self.shared, key: own, meter: None, period, cost };
        let mut outcome = self.state.debit(&debit, line.at);
        if matches!(outcome, Outcome::Unseeded) {
            self.state.seed(&debit, &self.seed_for(line.key), line.at);
            outcome = self.state.debit(&debit, line.at);
        }
        match outcome {
            Outcome::Admitted(admitted) => {
                if cost > 0 {
                    self.note_reached(&admitted.standing, None, line.at);
                }
                None
            }
            Outcome::Refused(refused) => Some(refused.by.to_string()),
            // A state that was just seeded has every limit.
            Outcome::Unseeded => None,
        }
    }

    /// Opens the line's period, so that what is charged beside calls finds it.
    fn open(&mut self, line: &Line, period: Period) {
        self.debit(line, period, 0);
    }

    fn seed_for(&self, key: Option<KeyId>) -> Seed {
        let debits = |key: KeyId| self.keys.get(&key).cloned().unwrap_or_default();
        let key = key.map(|key| (key, Spending { debits: debits(key), quota: None }));
        Seed { key, ..self.seed.clone() }
    }

    /// Calls and events that count a meter: each asks for what it is known to ask for, and then counts whole.
    fn push_events(&mut self, line: &Line, name: &MeterName, quota: Quota) {
        let (period, id) = (self.terms.period_of(line), name.id());
        let units = match u64::try_from(line.units) {
            Ok(units) if line.calls > 0 => units,
            // Credits, imports and late corrections: nothing was asked for.
            _ => {
                self.debit_meter(id, quota, period, 0, line.at);
                self.meters.charge(Charged::Meter(id), period, line.units, u64::MAX);
                return;
            }
        };
        let asked = self.terms.asked_of_meter(line);
        let limit = format!("meter {name}");
        let (each, more) = (units / line.calls, units % line.calls);
        // Where none asks for more than it counts, all fit one by one if they fit at once.
        let fits_at_once = asked.unwrap_or(1) <= each && self.admits_events(id, quota, period, units, line.at);
        if !fits_at_once {
            for index in 0..line.calls {
                let event = each + u64::from(index < more);
                let cost = asked.unwrap_or(event.min(1));
                if self.admits_events(id, quota, period, cost, line.at) {
                    let rest = i128::from(event) - i128::from(cost);
                    self.meters.settle(Charged::Meter(id), period, i64::try_from(rest).unwrap_or(i64::MAX));
                } else {
                    self.refused.add(&limit, 1, event, line.at);
                }
            }
        }
        // Only what came of it tells what is left: the last event may pass the limit, or give back what it did not take.
        if let Outcome::Admitted(admitted) = self.debit_meter(id, quota, period, 0, line.at) {
            self.note_reached(&admitted.standing, Some(&limit), line.at);
        }
    }

    fn admits_events(&mut self, id: MeterId, quota: Quota, period: Period, cost: u64, at: Timestamp) -> bool {
        matches!(self.debit_meter(id, quota, period, cost, at), Outcome::Admitted(_))
    }

    fn debit_meter(&mut self, id: MeterId, quota: Quota, period: Period, cost: u64, at: Timestamp) -> Outcome {
        let nothing = LimitSet::default();
        let debit = Debit { limits: &nothing, key: None, meter: Some((id, quota)), period, cost };
        self.meters.debit(&debit, at)
    }

    /// Notes the limits that have nothing left: the next call would be refused.
    fn note_reached(&mut self, standing: &Standing, meter: Option<&str>, at: Timestamp) {
        for limit in standing.iter().filter(|limit| limit.remaining == 0) {
            match (limit.label, meter) {
                (LimitLabel::Meter, Some(name)) => self.reached.add(name, 1, 0, at),
                (label, _) => self.reached.add(&label.to_string(), 1, 0, at),
            }
        }
    }
}

/// What was debited, by all keys or by one.
fn debits(lines: &[Line], key: Option<KeyId>) -> Vec<Debited> {
    let counted = lines.iter().filter(|line| line.meter.is_none() && line.units_debited > 0);
    let counted = counted.filter(|line| key.is_none() || line.key == key);
    counted.map(|line| Debited { at: line.at, units: line.units_debited }).collect()
}

/// What was used in the period that is open at `from`.
fn quota_use(terms: &Terms, lines: &[Line], meter: Option<&MeterName>, from: Timestamp) -> Option<QuotaUse> {
    let open = |line: &&Line| line.meter.as_ref() == meter && terms.period_of(line).contains(from);
    let period = lines.iter().filter(open).map(|line| terms.period_of(line)).next_back()?;
    let used: i64 = lines.iter().filter(open).map(|line| line.units).fold(0, i64::saturating_add);
    Some(QuotaUse { period, used: used.max(0).unsigned_abs() })
}

/// How an account's periods are laid under a plan, for lines that were charged under another.
pub(crate) fn laying(
    old: Option<&Plan>,
    new: Option<&Plan>,
    subscription: Option<Period>,
    rolling_anchor: Timestamp,
) -> Option<PeriodBasis> {
    let definition = |plan: Option<&Plan>| plan.map(|plan| plan.quota_period);
    let changed: Option<QuotaPeriod> = definition(new).filter(|period| definition(old) != Some(*period));
    changed.map(|definition| PeriodBasis { definition, subscription, rolling_anchor })
}

#[cfg(test)]
mod tests;
