//! Who may call what: entitlement from facts, and the decision on a known key.

use std::net::IpAddr;
use std::sync::Arc;

use crate::account::{Account, Key, KeyState};
use crate::period::{Period, PeriodBasis, QuotaPeriod};
use crate::plan::{Plan, PlanTable};
use crate::refusal::{Reason, Refusal};
use crate::route::RouteName;
use crate::subscription::{FOREVER, Lapse, Subscribed, Subscription};
use crate::time::Timestamp;

/// What an account is entitled to at an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Entitlement {
    /// Its plan, or why it has no API access.
    pub access: Access,
    /// What gives it.
    pub source: Source,
    /// The period of the subscription that gives the account something, whether or not that is what is in force.
    pub subscription: Option<Period>,
    /// From when on it must be worked out anew, for time alone changes it.
    pub until: Timestamp,
}

/// Whether an account may call the API.
#[derive(Clone, Debug, PartialEq)]
pub enum Access {
    /// Under this plan, which has API access.
    Plan(Arc<Plan>),
    /// It may not.
    None(NoAccess),
}

/// Why an account has no API access.
#[derive(Clone, Debug, PartialEq)]
pub enum NoAccess {
    /// It has no plan, and there is no default.
    NoPlan,
    /// Its plan does not include the API.
    PlanWithoutApi(Arc<Plan>),
    /// Its subscription gives nothing any more, or not yet, and there is no default.
    Lapsed(Lapse),
}

/// What a plan comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// An operator set it.
    Operator,
    /// A subscription pays for it.
    Subscription,
    /// It is the default.
    Default,
    /// Nothing gives any.
    Nothing,
}

impl Source {
    /// The word operators see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Subscription => "subscription",
            Self::Default => "default",
            Self::Nothing => "nothing",
        }
    }
}

impl Entitlement {
    /// The plan, with API access or without.
    pub fn plan(&self) -> Option<&Arc<Plan>> {
        match &self.access {
            Access::Plan(plan) | Access::None(NoAccess::PlanWithoutApi(plan)) => Some(plan),
            Access::None(NoAccess::NoPlan | NoAccess::Lapsed(_)) => None,
        }
    }

    /// Whether the account may call the API.
    pub fn has_access(&self) -> bool {
        matches!(self.access, Access::Plan(_))
    }

    /// What the account's quota periods are laid by. One without a plan has the periods that a plan has by default.
    pub fn period_basis(&self, account: &Account) -> PeriodBasis {
        PeriodBasis {
            definition: self.plan().map_or_else(QuotaPeriod::default, |plan| plan.quota_period),
            subscription: self.subscription,
            rolling_anchor: account.rolling_anchor,
        }
    }
}

/// What follows for an account from its facts, the plan table and the time.
///
/// The plan an operator set comes first, then the highest that a subscription gives, then the default. A plan that is no
/// longer in the table counts as the default plan. A ban is not asked for here: it outlives all of this.
pub fn entitlement(account: &Account, plans: &PlanTable, now: Timestamp) -> Entitlement {
    let subscribed = Standing::of(&account.subscriptions, plans, now);
    let assigned_until = account.assigned_until.unwrap_or(FOREVER);
    let assigned = account.assigned_plan.as_ref().filter(|_| now < assigned_until);
    let mut until = subscribed.until;
    if assigned.is_some() {
        until = until.min(assigned_until);
    }
    // An operator's plan that is gone is not made up for by a subscription: somebody meant it to hold.
    let (source, plan) = match (assigned, &subscribed.best) {
        (Some(name), _) => (Source::Operator, plans.get(name.as_str())),
        (None, Some(best)) => (Source::Subscription, Some(&best.plan)),
        (None, None) => (Source::Default, None),
    };
    let (source, plan) = match (plan, plans.default_plan()) {
        (Some(plan), _) => (source, Some(plan)),
        (None, Some(plan)) => (Source::Default, Some(plan)),
        (None, None) => (Source::Nothing, None),
    };
    let access = match (plan, subscribed.lapse) {
        (Some(plan), _) if plan.api => Access::Plan(Arc::clone(plan)),
        (Some(plan), _) => Access::None(NoAccess::PlanWithoutApi(Arc::clone(plan))),
        (None, Some(lapse)) => Access::None(NoAccess::Lapsed(lapse)),
        (None, None) => Access::None(NoAccess::NoPlan),
    };
    Entitlement { access, source, subscription: subscribed.best.as_ref().map(|best| best.period), until }
}

/// What an account's subscriptions give together.
struct Standing {
    /// The highest that one gives; of equals the youngest, so that what was bought last is what counts.
    best: Option<Subscribed>,
    /// Why the youngest gives nothing, where none gives anything.
    lapse: Option<Lapse>,
    /// When the first of them stops giving what it gives.
    until: Timestamp,
}

impl Standing {
    fn of(subscriptions: &[Subscription], plans: &PlanTable, now: Timestamp) -> Self {
        let mut standing = Self { best: None, lapse: None, until: FOREVER };
        let mut by_age: Vec<&Subscription> = subscriptions.iter().collect();
        by_age.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        for subscription in by_age {
            match subscription.gives(plans, now) {
                Ok(given) => {
                    standing.until = standing.until.min(given.until);
                    if standing.best.as_ref().is_none_or(|best| best.plan.rank <= given.plan.rank) {
                        standing.best = Some(given);
                    }
                }
                Err(lapse) => standing.lapse = Some(lapse),
            }
        }
        standing
    }
}

/// What a call asks for.
#[derive(Clone, Copy, Debug)]
pub struct AccessRequest<'a> {
    /// The matched route.
    pub route: &'a RouteName,
    /// The rank a plan must have at least.
    pub min_rank: Option<i64>,
    /// The feature a plan must have.
    pub feature: Option<&'a str>,
    /// Whether the method only reads (GET, HEAD, OPTIONS).
    pub reads_only: bool,
    /// Who calls, as far as the address tells.
    pub client: IpAddr,
    /// Now.
    pub now: Timestamp,
}

/// A call that may go on to the limiter.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant<'a> {
    /// The plan it runs under.
    pub plan: &'a Arc<Plan>,
}

/// Decides on a known key, in the order of the contract: key, account, entitlement, plan and feature,
/// scopes, read-only, IP rules.
///
/// # Errors
/// What the caller is told, and the finer reason for the log.
pub fn decide<'a>(
    request: &AccessRequest<'_>,
    key: &Key,
    account: &Account,
    entitlement: &'a Entitlement,
) -> Result<Grant<'a>, (Refusal, Reason)> {
    match key.state(request.now) {
        KeyState::Active | KeyState::InGrace => {}
        KeyState::Revoked => return Err((Refusal::InvalidKey, Reason::Revoked)),
        KeyState::RotatedOut => return Err((Refusal::InvalidKey, Reason::RotatedOut)),
        KeyState::Expired => return Err((Refusal::InvalidKey, Reason::Expired)),
    }
    if account.deleted_at.is_some() {
        return Err((Refusal::InvalidKey, Reason::AccountDeleted));
    }
    if account.ban.is_some() {
        return Err((Refusal::AccountDisabled, Reason::AccountBanned));
    }
    let plan = match &entitlement.access {
        Access::Plan(plan) => plan,
        Access::None(NoAccess::NoPlan) => return Err((Refusal::UpgradeRequired, Reason::NoPlan)),
        Access::None(NoAccess::Lapsed(_)) => return Err((Refusal::UpgradeRequired, Reason::Lapsed)),
        Access::None(NoAccess::PlanWithoutApi(_)) => {
            return Err((Refusal::UpgradeRequired, Reason::PlanWithoutApi));
        }
    };
    plan_reaches(request, plan)?;
    key_allows(request, key)?;
    Ok(Grant { plan })
}

/// Decides on the plan alone: rank and feature. It is all that is left to ask of a key that works and has no rules of
/// its own, whose account is in good standing.
///
/// # Errors
/// As [`decide`].
pub fn plan_reaches(request: &AccessRequest<'_>, plan: &Plan) -> Result<(), (Refusal, Reason)> {
    reach(request, plan).map_err(|reason| (Refusal::UpgradeRequired, reason))
}

/// Decides on the key's own rules alone: scopes, read-only, IP rules.
///
/// # Errors
/// As [`decide`].
pub fn key_allows(request: &AccessRequest<'_>, key: &Key) -> Result<(), (Refusal, Reason)> {
    if !key.may_call(request.route) {
        return Err((Refusal::NotAllowed, Reason::Scope));
    }
    if key.read_only && !request.reads_only {
        return Err((Refusal::NotAllowed, Reason::ReadOnly));
    }
    if !key.ip_rules.admit(request.client) {
        return Err((Refusal::NotAllowed, Reason::ClientAddress));
    }
    Ok(())
}

/// What an anonymous caller of an `optional` route gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anonymous {
    /// It is served as on a public route.
    Served,
    /// It must send a key.
    KeyNeeded,
}

/// Decides on an anonymous call to an `optional` route: the plan of anonymous callers must reach far enough.
pub fn decide_anonymous(request: &AccessRequest<'_>, public: Option<&Plan>) -> Anonymous {
    let demands_nothing = request.min_rank.is_none() && request.feature.is_none();
    if demands_nothing || public.is_some_and(|plan| reach(request, plan).is_ok()) {
        Anonymous::Served
    } else {
        Anonymous::KeyNeeded
    }
}

fn reach(request: &AccessRequest<'_>, plan: &Plan) -> Result<(), Reason> {
    if request.min_rank.is_some_and(|min_rank| plan.rank < min_rank) {
        return Err(Reason::PlanTooLow);
    }
    if request.feature.is_some_and(|feature| !plan.features.contains(feature)) {
        return Err(Reason::FeatureMissing);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
