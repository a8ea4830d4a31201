//! Records as JSON. Field names and forms are the outside contract; hashes and secrets never appear.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use tollgate_domain::{
    Account, Entitlement, Interval, Key, KeyState, Lapse, Plan, PlanTable, Source, Subscription, SubscriptionItem,
    Timestamp, entitlement,
};
use utoipa::ToSchema;

use crate::standing::PeriodView;

/// An account as operators see it in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub(crate) struct AccountView {
    id: String,
    email: String,
    name: Option<String>,
    created_at: String,
    /// Where periods of `quota_period = "rolling-30d"` begin: its creation, or the earliest imported cycle.
    rolling_anchor: String,
    plan: AccountPlanView,
    /// `active`, `banned`, or `no_access` where the plan has no API access or there is no plan.
    state: &'static str,
    ban: Option<BanView>,
    stripe_customer_id: Option<String>,
    /// The subscription that an import named.
    subscription: Option<String>,
    /// What Stripe says of its subscriptions, those that ended too.
    subscriptions: Vec<SubscriptionView>,
}

/// A subscription, as Stripe was last read.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = SubscriptionFacts)]
pub(crate) struct SubscriptionView {
    id: String,
    /// In Stripe's words.
    status: &'static str,
    created_at: String,
    items: Vec<SubscriptionItemView>,
    /// The price that last named a plan.
    plan_price: Option<String>,
    /// The plan it gives now.
    gives: Option<String>,
    /// Why it gives none now: `incomplete`, `grace_over`, `unpaid`, `paused`, `ended`, `disputed`, `refunded` or
    /// `unknown_price`.
    lapse: Option<&'static str>,
    /// When the oldest invoice that is still open after a failed attempt was finalised.
    failing_since: Option<String>,
    /// Until when it gives its plan although charging it failed.
    grace_until: Option<String>,
    /// When it ends, if that is decided.
    cancel_at: Option<String>,
    trial_end: Option<String>,
    withheld: Option<WithheldView>,
}

/// A line of a subscription.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = SubscriptionItem)]
struct SubscriptionItemView {
    id: String,
    price: String,
    period: PeriodView,
}

/// What was done to a subscription's payment.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Withheld)]
struct WithheldView {
    at: String,
    /// `dispute` or `refund`.
    cause: &'static str,
}

impl SubscriptionView {
    /// The facts, and what follows from them now.
    pub(crate) fn new(facts: &Subscription, plans: &PlanTable, now: Timestamp) -> Self {
        let given = facts.gives(plans, now);
        let item = |item: &SubscriptionItem| SubscriptionItemView {
            id: item.id.to_string(),
            price: item.price.to_string(),
            period: item.period.into(),
        };
        Self {
            id: facts.id.to_string(),
            status: facts.status.as_str(),
            created_at: facts.created_at.to_string(),
            items: facts.items.iter().map(item).collect(),
            plan_price: facts.plan_price.as_deref().map(Into::into),
            gives: given.as_ref().ok().map(|given| given.plan.name.to_string()),
            lapse: given.err().map(Lapse::as_str),
            failing_since: facts.failing_since.map(|at| at.to_string()),
            grace_until: facts.grace_until(plans).map(|at| at.to_string()),
            cancel_at: facts.cancel_at.map(|at| at.to_string()),
            trial_end: facts.trial_end.map(|at| at.to_string()),
            withheld: facts
                .withheld
                .map(|withheld| WithheldView { at: withheld.at.to_string(), cause: withheld.cause.as_str() }),
        }
    }
}

/// Which plan an account is on, and why.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = AccountPlan)]
pub(crate) struct AccountPlanView {
    /// What an operator set.
    assigned: Option<String>,
    /// Until when that holds; null where it does until lifted.
    assigned_until: Option<String>,
    /// What holds.
    effective: Option<String>,
    /// `assigned`, `subscription`, `default`, `assigned_plan_gone` (the default holds in its place) or `none`.
    why: &'static str,
}

/// An operator's ban.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Ban)]
struct BanView {
    at: String,
    reason: Option<String>,
}

impl AccountView {
    /// The account under the plans in force.
    pub(crate) fn new(account: &Account, plans: &PlanTable, now: Timestamp) -> Self {
        let entitlement = entitlement(account, plans, now);
        let state = match entitlement.has_access() {
            _ if account.ban.is_some() => "banned",
            true => "active",
            false => "no_access",
        };
        Self {
            id: account.id.to_string(),
            email: account.email.clone(),
            name: account.name.clone(),
            created_at: account.created_at.to_string(),
            rolling_anchor: account.rolling_anchor.to_string(),
            plan: AccountPlanView::new(account, &entitlement, now),
            state,
            ban: account.ban.as_ref().map(|ban| BanView { at: ban.at.to_string(), reason: ban.reason.clone() }),
            stripe_customer_id: account.stripe_customer.clone(),
            subscription: account.stripe_subscription.clone(),
            subscriptions: account.subscriptions.iter().map(|facts| SubscriptionView::new(facts, plans, now)).collect(),
        }
    }
}

impl AccountPlanView {
    fn new(account: &Account, entitlement: &Entitlement, now: Timestamp) -> Self {
        let holds = account.assigned_until.is_none_or(|until| now < until);
        let effective = entitlement.plan().map(|plan| &plan.name);
        let why = match (entitlement.source, &account.assigned_plan) {
            (Source::Operator, _) => "assigned",
            (Source::Subscription, _) => "subscription",
            (Source::Default | Source::Nothing, Some(_)) if holds => "assigned_plan_gone",
            (Source::Default, _) => "default",
            (Source::Nothing, _) => "none",
        };
        Self {
            assigned: account.assigned_plan.as_ref().map(ToString::to_string),
            assigned_until: account.assigned_until.map(|until| until.to_string()),
            effective: effective.map(ToString::to_string),
            why,
        }
    }
}

/// A key without its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Key)]
pub(crate) struct KeyView {
    id: String,
    account: String,
    name: Option<String>,
    /// `tg_live_****abcd`.
    masked: String,
    /// How the access log names it: the first eight hexadecimal digits of its hash.
    log_name: String,
    /// `active`, `in_grace`, `rotated_out`, `expired` or `revoked`.
    state: &'static str,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    /// The key that a rotation put in its place.
    replaced_by: Option<String>,
    /// Until when it works after that rotation.
    grace_until: Option<String>,
    /// To within the second.
    last_used_at: Option<String>,
    scopes: Vec<String>,
    read_only: bool,
    ip_allow: Vec<String>,
    ip_deny: Vec<String>,
    /// Calls at once, where the key has a bucket of its own.
    burst: Option<u64>,
    /// Seconds in which that bucket fills.
    fill_secs: Option<u64>,
    /// Units a period, where the key has a cap of its own.
    cap: Option<u64>,
}

impl KeyView {
    /// The key as it is now.
    pub(crate) fn new(key: &Key, now: Timestamp) -> Self {
        let texts = |nets: &[ipnet::IpNet]| nets.iter().map(ToString::to_string).collect();
        Self {
            id: key.id.to_string(),
            account: key.account.to_string(),
            name: key.name.clone(),
            masked: key.hashed.masked.to_string(),
            log_name: key.hashed.hash.short().to_string(),
            state: key.state(now).as_str(),
            created_at: key.created_at.to_string(),
            expires_at: key.expires_at.map(|at| at.to_string()),
            revoked_at: key.revoked_at.map(|at| at.to_string()),
            replaced_by: key.superseded.map(|superseded| superseded.by.to_string()),
            grace_until: key.superseded.map(|superseded| superseded.grace_until.to_string()),
            last_used_at: key.last_used_at.map(|at| at.to_string()),
            scopes: key.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            read_only: key.read_only,
            ip_allow: texts(&key.ip_rules.allow),
            ip_deny: texts(&key.ip_rules.deny),
            burst: key.limits.bucket.map(|bucket| bucket.burst()),
            fill_secs: key.limits.bucket.map(|bucket| bucket.fill_secs()),
            cap: key.limits.cap,
        }
    }
}

/// Whether a key counts against `max_keys`.
pub(crate) fn counts(key: &Key, now: Timestamp) -> bool {
    key.state(now) == KeyState::Active
}

/// A plan as everybody may see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Plan)]
pub(crate) struct PlanView {
    name: String,
    /// What it is called in front of customers; its name where the table gives no other.
    display_name: String,
    description: Option<String>,
    price: Option<PriceView>,
    highlights: Vec<String>,
    /// Whether it includes the API at all.
    api: bool,
    limits: PlanLimitsView,
    features: Vec<String>,
}

/// A price, whole and in parts.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Price)]
struct PriceView {
    text: String,
    amount: String,
    currency: String,
    interval: &'static str,
}

/// A plan's limits in the words of the configuration. A rate it does not have is null; a quota or a number of keys
/// without a limit is the word `unlimited`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = PlanLimits)]
struct PlanLimitsView {
    rate: Option<String>,
    burst: Option<u64>,
    windows: Vec<WindowView>,
    #[schema(schema_with = crate::openapi::units_or_unlimited)]
    quota: Value,
    quota_period: &'static str,
    #[schema(schema_with = crate::openapi::units_or_unlimited)]
    max_keys: Value,
    /// Units of each meter a period.
    #[schema(schema_with = crate::openapi::units_or_unlimited_by_name)]
    meters: BTreeMap<String, Value>,
}

/// A sliding window.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Window)]
struct WindowView {
    limit: u64,
    per: String,
}

impl PlanView {
    /// The plan as the table has it.
    pub(crate) fn new(plan: &Plan) -> Self {
        let unlimited = |limit: Option<u64>| limit.map_or_else(|| json!("unlimited"), Value::from);
        let windows = plan.limits.windows.iter();
        Self {
            name: plan.name.to_string(),
            display_name: display_name(plan),
            description: plan.description.clone(),
            price: plan.price.as_ref().map(|price| PriceView {
                text: price.to_string(),
                amount: price.amount.clone(),
                currency: price.currency.clone(),
                interval: match price.interval {
                    Interval::Month => "month",
                    Interval::Year => "year",
                },
            }),
            highlights: plan.highlights.clone(),
            api: plan.api,
            limits: PlanLimitsView {
                rate: plan.rate.map(|rate| rate.to_string()),
                burst: plan.limits.bucket.map(|bucket| bucket.burst()),
                windows: windows
                    .map(|window| WindowView { limit: window.limit, per: window.length.to_string() })
                    .collect(),
                quota: unlimited(plan.limits.quota.limit),
                quota_period: match plan.quota_period {
                    tollgate_domain::QuotaPeriod::Billing => "billing",
                    tollgate_domain::QuotaPeriod::Calendar => "calendar",
                    tollgate_domain::QuotaPeriod::Rolling30Days => "rolling-30d",
                },
                max_keys: unlimited(plan.max_keys),
                meters: plan.meters.iter().map(|(name, quota)| (name.to_string(), unlimited(quota.limit))).collect(),
            },
            features: plan.features.iter().cloned().collect(),
        }
    }
}

/// What a plan is called in front of customers.
pub(crate) fn display_name(plan: &Plan) -> String {
    plan.display_name.clone().unwrap_or_else(|| plan.name.to_string())
}
