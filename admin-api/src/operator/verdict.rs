//! Why a key would be let in or refused, in words: what follows from records, plan and standing, and nothing else.
//!
//! The decision is the gateway's own ([`decide`]); here it is only told. What depends on the single call (route,
//! method, address) is told as a condition, or route by route.

use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;
use tollgate_config::{Access, Route};
use tollgate_domain::{
    AccessRequest, Account, Entitlement, IpRules, Key, Plan, PlanName, PlanTable, Reason, Refusal, RouteName, Source,
    Timestamp, decide,
};
use utoipa::ToSchema;

use crate::billing::words::{for_operator, lapsed};
use crate::standing::LimitView;

/// What a call of one unit meets now.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Judgement {
    /// `allowed`, `refused`, or `allowed_unenforced`: it would be refused if limits were enforced.
    pub(crate) verdict: &'static str,
    /// The status of the refusal; null where nothing refuses.
    pub(crate) status: Option<u16>,
    /// The code of the refusal; null where nothing refuses.
    pub(crate) code: Option<&'static str>,
    /// Why, the deciding reason first.
    pub(crate) reasons: Vec<ReasonView>,
    /// What a call must be like to be let in all the same; empty where any may be.
    pub(crate) conditions: Vec<String>,
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Reason)]
pub(crate) struct ReasonView {
    /// The word that the access log has for it.
    pub(crate) reason: &'static str,
    /// The same in a sentence.
    pub(crate) detail: String,
}

/// Whether a route is open to the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RouteVerdict)]
pub(crate) struct RouteVerdict {
    route: String,
    allowed: bool,
    /// The code of the refusal; null where the route is open.
    code: Option<&'static str>,
    /// The word that the access log has for it; null where the route is open.
    reason: Option<&'static str>,
}

/// What is known of whoever calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) key: &'a Key,
    pub(crate) account: &'a Account,
    pub(crate) entitlement: &'a Entitlement,
    pub(crate) limits: &'a [LimitView],
    /// What the entitlement was worked out from.
    pub(crate) plans: &'a PlanTable,
    /// The status of a key that opens nothing.
    pub(crate) invalid_key_status: u16,
    /// Whether limits and plans refuse at all.
    pub(crate) is_enforced: bool,
    pub(crate) now: Timestamp,
}

/// What a call of one unit to a route that asks for nothing meets now.
pub(crate) fn verdict(facts: &Facts<'_>) -> Judgement {
    let open = RouteName::new("any").expect("a good name");
    let key = without_conditions(facts.key);
    let request = request(&open, None, None, true, facts.now);
    let mut reasons = Vec::new();
    let mut refusal = None;
    if let Err((refused, reason)) = decide(&request, &key, facts.account, facts.entitlement) {
        refusal = Some(refused);
        reasons.push(ReasonView { reason: reason.as_str(), detail: sentence(reason, facts) });
    }
    // The limit that resets last gives the code, as at the gate.
    let mut spent: Vec<&LimitView> =
        facts.limits.iter().filter(|limit| !limit.is_meter() && has_none(limit, facts)).collect();
    spent.sort_by_key(|limit| std::cmp::Reverse(limit.resets_at().and_then(Timestamp::parse)));
    for limit in spent {
        let by = if limit.is_quota() { Refusal::QuotaExceeded } else { Refusal::RateLimited };
        refusal = refusal.or(Some(by));
        reasons.push(ReasonView { reason: word(limit), detail: used_up(limit) });
    }
    let status = refusal.map(|refusal| match refusal {
        Refusal::InvalidKey => facts.invalid_key_status,
        refusal => refusal.status(),
    });
    let conditions = conditions(facts);
    let verdict = match refusal {
        None => "allowed",
        Some(Refusal::UpgradeRequired | Refusal::RateLimited | Refusal::QuotaExceeded) if !facts.is_enforced => {
            "allowed_unenforced"
        }
        Some(_) => "refused",
    };
    if refusal.is_none() {
        reasons.push(ReasonView { reason: "admitted", detail: admitted(facts) });
    }
    Judgement { verdict, status, code: refusal.map(Refusal::code), reasons, conditions }
}

/// Which of the routes that ask for a key are open to it, by plan, scope, method and meter. A route's `min_plan` and
/// `feature` are the plan's business, so that a key that opens nothing is told what it would open.
pub(crate) fn routes(routes: &[Route], facts: &Facts<'_>) -> Vec<RouteVerdict> {
    let unmatched = Route::unmatched(routes.len());
    let keyed = routes.iter().filter(|route| matches!(route.access, Access::Key | Access::Optional));
    keyed.chain(std::iter::once(&unmatched)).map(|route| of_route(route, facts)).collect()
}

/// A call of a route and a method, as the gateway would decide on it now, addresses left out.
pub(crate) fn of_call(route: &Route, reads_only: bool, facts: &Facts<'_>) -> Option<(Refusal, Reason)> {
    let min_rank = route.min_plan.as_ref().map(|plan| plan.rank);
    let request = request(&route.name, min_rank, route.feature.as_deref(), reads_only, facts.now);
    let key = Key { ip_rules: IpRules::default(), ..facts.key.clone() };
    if let Err(refused) = decide(&request, &key, facts.account, facts.entitlement) {
        return Some(refused);
    }
    let meter = route.meter.as_ref()?;
    let spent =
        facts.limits.iter().any(|limit| limit.is_meter() && limit.name() == meter.as_str() && !limit.has_units());
    spent.then_some((Refusal::QuotaExceeded, Reason::Meter))
}

/// The sentence for a word of the access log, where nothing more is known.
pub(crate) fn sentence_of_word(word: &str) -> &'static str {
    match word {
        "no_key" => "no key was sent where one is needed",
        "no_token" => "no token of the backend's own sign-in was sent where one is needed",
        "bad_token" => "the token is malformed, forged, over, or not for this audience",
        "two_keys" => "two different keys were sent",
        "malformed" => "what was sent has no accepted shape, or its checksum is wrong: it is mistyped or cut off",
        "unknown" => "no key of this deployment is like it; it may be another deployment's, or the pepper was changed",
        "revoked" => "the key was revoked",
        "rotated_out" => "the key was rotated, and its grace is over",
        "expired" => "the key has expired",
        "account_deleted" => "the account was deleted",
        "account_banned" => "the account is banned",
        "no_plan" => "the account has no plan",
        "lapsed" => "the account's subscription gives nothing, and there is no `default_plan`",
        "plan_without_api" => "the account's plan does not include the API",
        "plan_too_low" => "the plan's rank is below the one that the route asks for",
        "feature_missing" => "the plan lacks the feature that the route asks for",
        "scope" => "the route is not among the key's scopes",
        "read_only" => "the key may only read",
        "client_address" => "the key may not be used from this address",
        "burst" => "more calls came at once than the rate's burst allows",
        "window" => "a window of time had as many calls as it may have",
        "quota" => "the period's quota, or the key's own cap, was used up",
        "meter" => "the meter that the route debits was used up",
        "unavailable" => "a part that the gateway needs did not answer",
        _ => "the gateway gave this reason",
    }
}

fn of_route(route: &Route, facts: &Facts<'_>) -> RouteVerdict {
    let reads_only = route.allows(&http::Method::GET);
    let refused = of_call(route, reads_only, facts);
    RouteVerdict {
        route: route.name.to_string(),
        allowed: refused.is_none(),
        code: refused.map(|(refusal, _)| refusal.code()),
        reason: refused.map(|(_, reason)| reason.as_str()),
    }
}

fn request<'a>(
    route: &'a RouteName,
    min_rank: Option<i64>,
    feature: Option<&'a str>,
    reads_only: bool,
    now: Timestamp,
) -> AccessRequest<'a> {
    AccessRequest { route, min_rank, feature, reads_only, client: IpAddr::V4(Ipv4Addr::UNSPECIFIED), now }
}

/// The key without what depends on the single call.
fn without_conditions(key: &Key) -> Key {
    Key { scopes: Vec::new(), read_only: false, ip_rules: IpRules::default(), ..key.clone() }
}

/// Whether the limit itself is used up. An account without access has no units at all, which is no fault of the limit's.
fn has_none(limit: &LimitView, facts: &Facts<'_>) -> bool {
    let has_access = facts.entitlement.has_access() && facts.account.ban.is_none();
    has_access && !limit.has_units()
}

fn word(limit: &LimitView) -> &'static str {
    match limit.kind() {
        "bucket" => Reason::Burst.as_str(),
        "window" => Reason::Window.as_str(),
        _ => Reason::Quota.as_str(),
    }
}

fn used_up(limit: &LimitView) -> String {
    let until = limit.resets_at().map(|at| format!("; there is room again at {at}")).unwrap_or_default();
    format!("the limit `{}` is used up: {} units are counted{until}", limit.name(), limit.used())
}

fn plan_name(plan: Option<&std::sync::Arc<Plan>>) -> &str {
    plan.map_or("none", |plan| PlanName::as_str(&plan.name))
}

fn admitted(facts: &Facts<'_>) -> String {
    let plan = plan_name(facts.entitlement.plan());
    format!("the key works, its account is on the plan `{plan}`, and every limit has room")
}

/// A reason with what is known of it.
fn sentence(reason: Reason, facts: &Facts<'_>) -> String {
    let Facts { key, account, entitlement, .. } = facts;
    match reason {
        Reason::Revoked => match key.revoked_at {
            Some(at) => format!("the key was revoked at {at}; that is final"),
            None => sentence_of_word(reason.as_str()).into(),
        },
        Reason::RotatedOut => match key.superseded {
            Some(superseded) => {
                format!(
                    "the key was rotated: {} took its place, and its grace ended at {}",
                    superseded.by, superseded.grace_until
                )
            }
            None => sentence_of_word(reason.as_str()).into(),
        },
        Reason::Expired => match key.expires_at {
            Some(at) => format!("the key expired at {at}"),
            None => sentence_of_word(reason.as_str()).into(),
        },
        Reason::AccountBanned => match &account.ban {
            Some(ban) => {
                let why = ban.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                format!("an operator banned the account at {}{why}", ban.at)
            }
            None => sentence_of_word(reason.as_str()).into(),
        },
        Reason::NoPlan => "the account has no plan: no operator has set one, and there is no `default_plan`".into(),
        Reason::Lapsed => match lapsed(&account.subscriptions, facts.plans, facts.now) {
            Some((lapsed, lapse)) => for_operator(lapsed, lapse, facts.plans),
            None => sentence_of_word(reason.as_str()).into(),
        },
        Reason::PlanWithoutApi => {
            let plan = plan_name(entitlement.plan());
            // On the default plan a subscription that gives nothing any more is most often what is asked about.
            let lapsed = lapsed(&account.subscriptions, facts.plans, facts.now);
            let lapsed = lapsed.filter(|_| entitlement.source == Source::Default);
            let why = lapsed.map(|(lapsed, lapse)| format!("; {}", for_operator(lapsed, lapse, facts.plans)));
            format!("the account's plan `{plan}` does not include the API{}", why.unwrap_or_default())
        }
        reason => sentence_of_word(reason.as_str()).into(),
    }
}

fn conditions(facts: &Facts<'_>) -> Vec<String> {
    let key = facts.key;
    let mut conditions = Vec::new();
    if !key.scopes.is_empty() {
        let scopes: Vec<&str> = key.scopes.iter().map(tollgate_domain::Glob::as_str).collect();
        conditions.push(format!("the route is one of {}", scopes.join(", ")));
    }
    if key.read_only {
        conditions.push("the method only reads: GET, HEAD or OPTIONS".into());
    }
    let listed = |nets: &[ipnet::IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if !key.ip_rules.allow.is_empty() {
        conditions.push(format!("the client's address is in {}", listed(&key.ip_rules.allow)));
    }
    if !key.ip_rules.deny.is_empty() {
        conditions.push(format!("the client's address is not in {}", listed(&key.ip_rules.deny)));
    }
    for meter in facts.limits.iter().filter(|limit| limit.is_meter() && has_none(limit, facts)) {
        conditions.push(format!("the route does not debit the meter `{}`, which is used up", meter.name()));
    }
    conditions
}

#[cfg(test)]
mod tests;
