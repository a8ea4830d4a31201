//! `GET /v1/billing`: what the caller pays for, how that stands, and what it may do next.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tollgate_billing::sold_plans;
use tollgate_domain::{Subscription, Timestamp, entitlement};
use utoipa::ToSchema;

use super::words::for_owner;
use crate::context::Context;
use crate::customer::Payer;
use crate::keys;
use crate::problem::Problem;
use crate::standing::PeriodView;

/// What an account pays for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Billing)]
pub(super) struct BillingView {
    /// Whether anything can be bought here.
    enabled: bool,
    /// The plan that holds now; null without one.
    plan: Option<String>,
    /// What gives it: `operator`, `subscription`, `default` or `nothing`.
    source: &'static str,
    /// Until when an operator's plan holds, where it ends by itself.
    assigned_until: Option<String>,
    /// Whether calls are let in.
    has_access: bool,
    /// Whether a key can be made now: access is granted, and the plan allows one more.
    may_claim_key: bool,
    /// Whether Stripe knows the account as a customer, so that the portal can be opened.
    has_customer: bool,
    /// Plans that can be bought, by rank.
    for_sale: Vec<String>,
    /// Subscriptions, the youngest first, those that ended too.
    subscriptions: Vec<OwnSubscriptionView>,
}

/// A subscription as its owner sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OwnSubscription)]
pub(super) struct OwnSubscriptionView {
    id: String,
    /// In Stripe's words.
    status: &'static str,
    /// The plan it is for; null where it is not sold any more.
    plan: Option<String>,
    /// Whether it gives that plan now.
    gives_access: bool,
    created_at: String,
    /// What is paid for at once, and what quotas are counted in.
    period: Option<PeriodView>,
    /// When it ends, if that is decided.
    ends_at: Option<String>,
    trial_end: Option<String>,
    /// Until when it gives its plan although a payment failed.
    grace_until: Option<String>,
    /// What is wrong with its payment and what to do, in words; null where nothing is.
    trouble: Option<String>,
}

impl OwnSubscriptionView {
    pub(super) fn new(facts: &Subscription, plans: &tollgate_domain::PlanTable, now: Timestamp) -> Self {
        let text = |at: Timestamp| at.to_string();
        let plan = facts.plan(plans);
        let period = plan.map(|(_, period)| period).or_else(|| facts.items.first().map(|item| item.period));
        Self {
            id: facts.id.to_string(),
            status: facts.status.as_str(),
            plan: plan.map(|(plan, _)| plan.name.to_string()),
            gives_access: facts.gives(plans, now).is_ok(),
            created_at: text(facts.created_at),
            period: period.map(PeriodView::from),
            ends_at: facts.cancel_at.map(text),
            trial_end: facts.trial_end.map(text),
            grace_until: facts.grace_until(plans).map(text),
            trouble: for_owner(facts, plans, now),
        }
    }
}

/// What the caller pays for, and how that stands.
#[utoipa::path(
    get, path = "/v1/billing", tag = "billing", operation_id = "show_billing",
    responses((status = 200, body = BillingView)),
    security(("session" = []), ("token" = [])),
)]
pub(super) async fn show(State(context): State<Context>, Payer(caller): Payer) -> Result<Json<BillingView>, Problem> {
    let account = caller.account;
    let (policy, now) = (context.policy(), context.now());
    let plans = &policy.plans;
    let entitlement = entitlement(&account, plans, now);
    let has_access = entitlement.has_access() && account.ban.is_none();
    let max_keys = entitlement.plan().and_then(|plan| plan.max_keys);
    let has_room = match max_keys {
        Some(max_keys) => keys::active(&context, account.id).await? < max_keys,
        None => true,
    };
    let mut subscriptions: Vec<&Subscription> = account.subscriptions.iter().collect();
    subscriptions.sort_by(|one, other| (other.created_at, &other.id).cmp(&(one.created_at, &one.id)));
    let enabled = context.deps.billing.is_some();
    let sold = sold_plans(plans).filter(|_| enabled);
    Ok(Json(BillingView {
        enabled,
        plan: entitlement.plan().map(|plan| plan.name.to_string()),
        source: entitlement.source.as_str(),
        assigned_until: account.assigned_until.filter(|until| now < *until).map(|until| until.to_string()),
        has_access,
        may_claim_key: has_access && has_room,
        has_customer: account.stripe_customer.is_some(),
        for_sale: sold.map(|plan| plan.name.to_string()).collect(),
        subscriptions: subscriptions.into_iter().map(|facts| OwnSubscriptionView::new(facts, plans, now)).collect(),
    }))
}
