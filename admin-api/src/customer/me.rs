//! `GET /v1/me` and `GET /v1/quota`: who the caller is, and what is left.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tollgate_domain::{Entitlement, Plan, entitlement};

use super::credential::Caller;
use crate::context::Context;
use crate::problem::Problem;
use crate::standing::{self, LimitView, QuotaView};
use crate::views::display_name;

/// The caller.
#[derive(Debug, Serialize)]
pub(super) struct MeView {
    account: String,
    email: String,
    name: Option<String>,
    /// Null without a plan.
    plan: Option<PlanNameView>,
    /// Null without a plan.
    quota: Option<QuotaView>,
    /// The key that was sent.
    key: OwnKeyView,
}

/// A plan by its names.
#[derive(Debug, Serialize)]
struct PlanNameView {
    name: String,
    display_name: String,
    /// Whether it includes the API at all.
    api: bool,
}

impl PlanNameView {
    fn new(plan: &Plan) -> Self {
        Self { name: plan.name.to_string(), display_name: display_name(plan), api: plan.api }
    }
}

/// A key as its holder sees it.
#[derive(Debug, Serialize)]
struct OwnKeyView {
    id: String,
    name: Option<String>,
    masked: String,
    state: &'static str,
    expires_at: Option<String>,
}

/// What the caller's plan has and what is left of it.
#[derive(Debug, Serialize)]
pub(super) struct QuotaAnswer {
    /// Null without a plan.
    plan: Option<PlanNameView>,
    features: Vec<String>,
    /// Whether every limit would let a call of one unit pass.
    allowed: bool,
    limits: Vec<LimitView>,
}

/// Who the caller is.
pub(super) async fn me(State(context): State<Context>, caller: Caller) -> Result<Json<MeView>, Problem> {
    let Caller { key, account } = caller;
    let (policy, now) = (context.policy(), context.now());
    let entitlement = entitlement(&account, &policy.plans);
    let standing = standing::of_account(&context, &account, None, &entitlement, now).await?;
    Ok(Json(MeView {
        account: account.id.to_string(),
        email: account.email,
        name: account.name,
        plan: entitlement.plan().map(|plan| PlanNameView::new(plan)),
        quota: standing.map(|standing| standing.quota),
        key: OwnKeyView {
            id: key.id.to_string(),
            state: key.state(now).as_str(),
            name: key.name,
            masked: key.hashed.masked.to_string(),
            expires_at: key
                .superseded
                .map(|superseded| superseded.grace_until)
                .or(key.expires_at)
                .map(|at| at.to_string()),
        },
    }))
}

/// What is left, limit by limit.
pub(super) async fn quota(State(context): State<Context>, caller: Caller) -> Result<Json<QuotaAnswer>, Problem> {
    let Caller { key, account } = caller;
    let (policy, now) = (context.policy(), context.now());
    let entitlement = entitlement(&account, &policy.plans);
    let standing = standing::of_account(&context, &account, Some(&key), &entitlement, now).await?;
    let limits = standing.map(|standing| standing.limits).unwrap_or_default();
    let allowed = matches!(entitlement, Entitlement::Plan(_)) && limits.iter().all(LimitView::is_allowed);
    Ok(Json(QuotaAnswer {
        plan: entitlement.plan().map(|plan| PlanNameView::new(plan)),
        features: entitlement.plan().map(|plan| plan.features.iter().cloned().collect()).unwrap_or_default(),
        allowed,
        limits,
    }))
}
