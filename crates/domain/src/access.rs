//! Who may call what: entitlement from facts, and the decision on a known key.

use std::net::IpAddr;
use std::sync::Arc;

use crate::account::{Account, Key, KeyState};
use crate::plan::{Plan, PlanTable};
use crate::refusal::{Reason, Refusal};
use crate::route::RouteName;
use crate::time::Timestamp;

/// What an account is entitled to now.
#[derive(Clone, Debug, PartialEq)]
pub enum Entitlement {
    /// This plan, which has API access.
    Plan(Arc<Plan>),
    /// No API access.
    None(NoAccess),
}

/// Why an account has no API access.
#[derive(Clone, Debug, PartialEq)]
pub enum NoAccess {
    /// It has no plan, and there is no default.
    NoPlan,
    /// Its plan does not include the API.
    PlanWithoutApi(Arc<Plan>),
}

impl Entitlement {
    /// The plan, with API access or without.
    pub fn plan(&self) -> Option<&Arc<Plan>> {
        match self {
            Self::Plan(plan) | Self::None(NoAccess::PlanWithoutApi(plan)) => Some(plan),
            Self::None(NoAccess::NoPlan) => None,
        }
    }
}

/// What follows for an account from its facts and the plan table.
///
/// The plan an operator set comes first; a plan that is no longer in the table counts as the default plan.
pub fn entitlement(account: &Account, plans: &PlanTable) -> Entitlement {
    let assigned = account.assigned_plan.as_ref().and_then(|name| plans.get(name.as_str()));
    match assigned.or_else(|| plans.default_plan()) {
        Some(plan) if plan.api => Entitlement::Plan(Arc::clone(plan)),
        Some(plan) => Entitlement::None(NoAccess::PlanWithoutApi(Arc::clone(plan))),
        None => Entitlement::None(NoAccess::NoPlan),
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
    let plan = match entitlement {
        Entitlement::Plan(plan) => plan,
        Entitlement::None(NoAccess::NoPlan) => return Err((Refusal::UpgradeRequired, Reason::NoPlan)),
        Entitlement::None(NoAccess::PlanWithoutApi(_)) => {
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
