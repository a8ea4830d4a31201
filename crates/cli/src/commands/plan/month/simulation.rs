//! Calls made one by one through the limiter of an embedded gateway, as its gateway debits and settles them.

use std::sync::Arc;

use tollgate_domain::limit::{Debit, Outcome, Seed, Spending};
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
            let counts = call.at >= self.changed_at;
            match debit(&limiter, &handle, call, &plan, period).await {
                Outcome::Admitted(admitted) => {
                    let spent = admitted.standing.iter().filter(|limit| limit.remaining == 0).count();
                    outcomes.reached += if counts { spent as u64 } else { 0 };
                    outcomes.admitted.push(settle(&limiter, &handle, call, period).await);
                }
                Outcome::Refused(_) => outcomes.refused += u64::from(counts),
                Outcome::Unseeded => panic!("it was seeded"),
            }
        }
        outcomes
    }
}

async fn debit(limiter: &InProcess, handle: &Handle, call: &Call, plan: &Plan, period: Period) -> Outcome {
    let nothing = <_>::default();
    let meter = call.way.is_metered().then(|| {
        let quota = plan.meters.get(&tokens()).copied().unwrap_or(Quota { limit: None });
        (tokens().id(), quota)
    });
    // What is only reported asks for a unit of its meter and for nothing else.
    let limits = if call.way == Way::Event { &nothing } else { &plan.limits };
    let debit = Debit { limits, key: None, meter, period, cost: call.way.cost() };
    let outcome = limiter.debit(handle, &debit, call.at).await.expect("it answers");
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
    assert!(limiter.seed(handle, limiter.ticket(), &debit, &seed, call.at).await.expect("it answers"));
    limiter.debit(handle, &debit, call.at).await.expect("it answers")
}

/// What the answer makes of it: an error gives everything back, and what was told takes the place of what was asked for.
async fn settle(limiter: &InProcess, handle: &Handle, call: &Call, period: Period) -> Charge {
    let asked = call.way.cost();
    let told = match call.way {
        _ if call.fails => 0,
        Way::Settled(units) | Way::Metered(units) => units,
        Way::Plain | Way::Costly | Way::Event => asked,
    };
    let units = match call.way {
        Way::Event => 0,
        Way::Metered(_) if !call.fails => asked,
        _ => told,
    };
    let meter = match call.way {
        Way::Event => Some(call.event_units),
        Way::Metered(_) => Some(told),
        _ => None,
    };
    let signed = |units: u64| i64::try_from(units).expect("few units");
    let correct = |of: Charged, units: u64| limiter.settle(handle, of, period, signed(units) - signed(asked));
    if call.way != Way::Event {
        correct(Charged::Calls { key: None }, units).await.expect("it answers");
    }
    if let Some(units) = meter {
        correct(Charged::Meter(tokens().id()), units).await.expect("it answers");
    }
    Charge { call: *call, period, units, meter }
}
