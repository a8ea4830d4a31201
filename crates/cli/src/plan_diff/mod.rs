//! What a changed file would do to whom: plans, prices and routes compared, and every account's use replayed.
//!
//! It compares what it is given; where accounts and ledger lines come from is the command's business.

pub(crate) mod plans;
pub(crate) mod policy;
pub(crate) mod replay;
pub(crate) mod report;
pub(crate) mod tally;

use std::sync::Arc;

use tollgate_domain::{Access, Account, AccountId, Entitlement, Plan, PlanName, Subscription, Timestamp, entitlement};

use plans::LostRoute;
use policy::Side;
use replay::Terms;

/// An account as far as a comparison needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) id: AccountId,
    pub(crate) email: String,
    /// The plan an operator set.
    pub(crate) assigned_plan: Option<PlanName>,
    /// Where its rolling periods begin, as far as is known.
    pub(crate) rolling_anchor: Timestamp,
    /// Until when that plan holds, where it ends by itself.
    pub(crate) assigned_until: Option<Timestamp>,
    /// What Stripe says of its subscriptions.
    pub(crate) subscriptions: Vec<Subscription>,
}

/// What an account goes from and to.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    pub(crate) old: Terms,
    pub(crate) new: Terms,
    /// Names of the plans, with access or without.
    pub(crate) plans: (Option<PlanName>, Option<PlanName>),
    /// Routes it loses while it keeps its access.
    pub(crate) lost: Vec<LostRoute>,
}

impl Move {
    /// What the two sides mean for an account.
    pub(crate) fn of(person: &Person, old: &Side, new: &Side, now: Timestamp) -> Self {
        let (before, after) = (entitled(person, old, now), entitled(person, new, now));
        let open = |entitlement: &Entitlement| match &entitlement.access {
            Access::Plan(plan) => Some(Arc::clone(plan)),
            Access::None(_) => None,
        };
        let name = |entitlement: &Entitlement| entitlement.plan().map(|plan| plan.name.clone());
        let (old_plan, new_plan) = (open(&before), open(&after));
        let refs = (old_plan.as_deref(), new_plan.as_deref());
        let periods = replay::laying(refs.0, refs.1, after.subscription, person.rolling_anchor);
        let lost = plans::lost_routes((&old.policy, refs.0), (&new.policy, refs.1));
        Self {
            plans: (name(&before), name(&after)),
            lost,
            // What was used was called by the routes in force, whatever the new ones will ask for.
            old: Terms {
                plan: old_plan,
                rates_per_key: old.rates_per_key,
                metered: Arc::clone(&old.metered),
                periods: None,
            },
            new: Terms { plan: new_plan, rates_per_key: new.rates_per_key, metered: Arc::clone(&old.metered), periods },
        }
    }

    /// Whether its use must be replayed to know what the move means.
    pub(crate) fn needs_replay(&self) -> bool {
        self.old.plan.is_some() && !self.old.decides_as(&self.new)
    }

    /// How far before the replay's beginning its use decides what is refused in it, in microseconds.
    pub(crate) fn lookback_us(&self) -> i64 {
        let windows = |terms: &Terms| terms.plan.as_ref().map_or(0, |plan| plan.limits.lookback_us());
        let has_quota = |terms: &Terms| {
            terms.plan.as_ref().is_some_and(|plan| {
                plan.limits.quota.limit.is_some() || plan.meters.values().any(|quota| quota.limit.is_some())
            })
        };
        // No period is longer than a month and a day.
        let period = if has_quota(&self.old) || has_quota(&self.new) { 32 * tollgate_domain::DAY_US } else { 0 };
        windows(&self.old).max(windows(&self.new)).max(period)
    }
}

fn entitled(person: &Person, side: &Side, now: Timestamp) -> Entitlement {
    let account = Account {
        id: person.id,
        email: person.email.clone(),
        name: None,
        subject: None,
        created_at: person.rolling_anchor,
        assigned_plan: person.assigned_plan.clone(),
        ban: None,
        deleted_at: None,
        rolling_anchor: person.rolling_anchor,
        assigned_until: person.assigned_until,
        stripe_customer: None,
        stripe_subscription: None,
        subscriptions: person.subscriptions.clone(),
    };
    entitlement(&account, &side.policy.plans, now)
}

/// A price as it is compared.
pub(crate) fn price(plan: Option<&Arc<Plan>>) -> Option<String> {
    plan?.price.as_ref().map(ToString::to_string)
}
