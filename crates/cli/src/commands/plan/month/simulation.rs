//! Calls made one by one through the limiter of an embedded gateway, as its gateway debits and settles them.

use std::sync::Arc;

use tollgate_domain::limit::{Debit, LimitLabel, Outcome, Seed, Spending};
use tollgate_domain::{Charged, Period, PeriodBasis, Plan, PlanTable, Quota, Timestamp};
use tollgate_limiter::{Handle, InProcess, InProcessSettings, Limiter, Subject};

use super::people::{Call, Person};
use super::{Way, tokens};

/// A call that was let in, and what it was charged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charge {
    pub(super) call: Call,
    pub(super) period: Period,
    /// Units of the calls' quota, in the end.
    pub(super) units: u64,
    /// Units of the meter, where it counts one.
    pub(super) meter: Option<u64>,
}

/// What became of one person's calls.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    pub(super) admitted: Vec<Charge>,
    /// Calls that were refused from the change of plans on.
    pub(super) refused: u64,
    /// How often a call left nothing of a limit, from then on.
    pub(super) reached: u64,
}

/// Plans that are changed at an instant.
pub(super) struct Simulation<'p> {
    before: &'p PlanTable,
    after: &'p PlanTable,
    changed_at: Timestamp,
}

impl<'p> Simulation<'p> {
    pub(super) fn new(before: &'p PlanTable, after: &'p PlanTable, changed_at: Timestamp) -> Self {
        Self { before, after, changed_at }
    }

    fn plan(&self, person: &Person, at: Timestamp) -> Arc<Plan> {
        let table = if at < self.changed_at { self.before } else { self.after };
        let plan = table.get(person.plan).or_else(|| table.default_plan());
        Arc::clone(plan.expect("there is a default plan"))
    }

    /// Makes these calls.
    pub(super) async fn run(&self, person: &Person, calls: &[Call]) -> Outcomes {
        let limiter = InProcess::new(InProcessSettings::default());
        let handle = limiter.open(Subject::Account(person.id));
        let mut outcomes = Outcomes::default();
        for call in calls {
            let plan = self.plan(person, call.at);
            let basis = PeriodBasis {
                definition: plan.quota_period,
                subscription: None,
                rolling_anchor: person.cycle_start.unwrap_or(person.created_at),
            };
            let period = basis.period_at(call.at);
            let limits = Limits { limiter: &limiter, handle: &handle, plan: &plan, period };
            let counts = call.at >= self.changed_at;
            let Some(spent) = limits.spent_by(call).await else {
                outcomes.refused += u64::from(counts);
                continue;
            };
            outcomes.admitted.push(limits.settle(call).await);
            let spent = spent + u64::from(limits.meter_left(call).await == Some(0));
            outcomes.reached += if counts { spent } else { 0 };
        }
        outcomes
    }
}

/// One account's limits at the time of a call.
struct Limits<'l> {
    limiter: &'l InProcess,
    handle: &'l Handle,
    plan: &'l Plan,
    period: Period,
}

impl Limits<'_> {
    /// Debits a call: how many limits of calls it took the last of; `None` where it is refused. What is only reported
    /// debits nothing, and is taken for refused where nothing is left of its meter.
    async fn spent_by(&self, call: &Call) -> Option<u64> {
        if call.way == Way::Event {
            return self.meter_left(call).await.filter(|left| *left > 0).map(|_| 0);
        }
        match self.debit(call, call.way.cost()).await {
            Outcome::Admitted(admitted) => {
                let of_calls = admitted.standing.iter().filter(|limit| limit.label != LimitLabel::Meter);
                Some(of_calls.filter(|limit| limit.remaining == 0).count() as u64)
            }
            Outcome::Refused(_) => None,
            Outcome::Unseeded => panic!("it was seeded"),
        }
    }

    /// Units left of the meter that a call counts; `None` where it counts none.
    async fn meter_left(&self, call: &Call) -> Option<u64> {
        if !call.way.is_metered() {
            return None;
        }
        let Outcome::Admitted(admitted) = self.debit(call, 0).await else { panic!("nothing is always let in") };
        let meter = admitted.standing.iter().find(|limit| limit.label == LimitLabel::Meter);
        Some(meter.map_or(u64::MAX, |meter| meter.remaining))
    }

    async fn debit(&self, call: &Call, cost: u64) -> Outcome {
        let meter = call.way.is_metered().then(|| {
            let quota = self.plan.meters.get(&tokens()).copied().unwrap_or(Quota { limit: None });
            (tokens().id(), quota)
        });
        let debit = Debit { limits: &self.plan.limits, key: None, meter, period: self.period, cost };
        let outcome = self.limiter.debit(self.handle, &debit, call.at).await.expect("it answers");
        if outcome != Outcome::Unseeded {
            return outcome;
        }
        let seed = Seed {
            since: Timestamp::from_micros(i64::MIN),
            account: Spending::default(),
            key: None,
            meter: meter.map(|(meter, _)| (meter, Spending::default())),
            ledger_position: 0,
        };
        let ticket = self.limiter.ticket();
        assert!(self.limiter.seed(self.handle, ticket, &debit, &seed, call.at).await.expect("it answers"));
        self.limiter.debit(self.handle, &debit, call.at).await.expect("it answers")
    }

    /// What the answer makes of it: an error gives everything back, and what was told takes the place of what was asked
    /// for.
    async fn settle(&self, call: &Call) -> Charge {
        let asked = call.way.cost();
        let (units, meter) = match call.way {
            Way::Event => (0, Some(call.event_units)),
            Way::Metered(_) if call.fails => (0, Some(0)),
            _ if call.fails => (0, None),
            Way::Metered(told) => (asked, Some(told)),
            Way::Settled(told) => (told, None),
            Way::Plain | Way::Costly => (asked, None),
        };
        let signed = |units: u64| i64::try_from(units).expect("few units");
        let correct =
            |of: Charged, units: u64| self.limiter.settle(self.handle, of, self.period, signed(units) - signed(asked));
        correct(Charged::Calls { key: None }, units).await.expect("it answers");
        if let Some(units) = meter {
            correct(Charged::Meter(tokens().id()), units).await.expect("it answers");
        }
        Charge { call: *call, period: self.period, units, meter }
    }
}
