//! Ending a subscription, at once or with what is paid for, and thinking better of it.

use serde_json::Value;
use tollgate_domain::{Account, PlanName, PlanTable, SubscriptionStatus, Timestamp};

use super::holdings::Held;
use super::{ActionError, field, once};
use crate::Billing;
use crate::api::ApiError;

/// When a subscription is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// With the period that is paid for.
    PeriodEnd,
    /// At once. Nothing is given back; what was used is billed.
    Now,
}

/// How a subscription stands after an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub subscription: String,
    /// Stripe's word for where it stands.
    pub status: String,
    /// The plan it is for, where its prices name one.
    pub plan: Option<PlanName>,
    /// When it ended, or will where that is decided.
    pub ends_at: Option<Timestamp>,
}

impl Standing {
    pub(super) fn of(held: &Held, plans: &PlanTable) -> Self {
        Self {
            subscription: held.told.id.clone(),
            status: held.told.status.clone(),
            plan: held.plan(plans),
            ends_at: held.ends_at(),
        }
    }
}

impl Billing {
    /// Ends a subscription of the account: the one of this id, else the one that gives its plan. One that is ending or
    /// over already stays as it is. Banned accounts may do so too.
    ///
    /// # Errors
    /// There is none, or Stripe does not do it.
    pub async fn cancel(
        &self,
        account: &Account,
        subscription: Option<&str>,
        when: When,
    ) -> Result<Standing, ActionError> {
        let policy = self.deps.live.policy();
        let holdings = self.holdings(account).await?;
        let held = holdings.meant(subscription, &policy.plans, self.now())?;
        let path = format!("/subscriptions/{}", held.told.id);
        let told: Value = match when {
            _ if held.is_over() => return Ok(self.stands(account, held, &policy.plans).await),
            When::PeriodEnd if held.is_ending() => return Ok(self.stands(account, held, &policy.plans).await),
            When::PeriodEnd => self.post(&path, &vec![field("cancel_at_period_end", "true")], &once("cancel")).await?,
            When::Now => self.end(&path, held).await?,
        };
        self.acted(account, &told, &policy.plans).await
    }

    /// Lets a subscription go on that was to end. One that is not to end stays as it is.
    ///
    /// # Errors
    /// The account is banned, there is no subscription that goes on, or Stripe does not do it.
    pub async fn reactivate(&self, account: &Account, subscription: Option<&str>) -> Result<Standing, ActionError> {
        if account.ban.is_some() {
            return Err(ActionError::Banned);
        }
        let policy = self.deps.live.policy();
        let holdings = self.holdings(account).await?;
        let held = holdings.meant(subscription, &policy.plans, self.now())?;
        if held.is_over() {
            return Err(ActionError::NoSubscription);
        }
        if !held.is_ending() {
            return Ok(self.stands(account, held, &policy.plans).await);
        }
        // An end may have been set with the period or, in the dashboard, to a date of its own: Stripe takes one of both.
        let form = if held.told.cancel_at_period_end {
            vec![field("cancel_at_period_end", "false")]
        } else {
            vec![field("cancel_at", "")]
        };
        let told: Value = self.post(&format!("/subscriptions/{}", held.told.id), &form, &once("reactivate")).await?;
        self.acted(account, &told, &policy.plans).await
    }

    /// Ends a subscription at once. What was used in the period is billed where a meter bills it; otherwise Stripe would
    /// never ask for it.
    async fn end(&self, path: &str, held: &Held) -> Result<Value, ActionError> {
        let is_metered = held.lines.iter().any(|line| line.price.is_metered());
        let query: &[(&str, String)] = if is_metered { &[("invoice_now", "true".to_owned())] } else { &[] };
        let refused = match self.api.delete(path, query).await {
            Err(refused @ ApiError::Refused { .. }) => refused,
            other => return Ok(other?),
        };
        // A second attempt is refused where the first did it and only its answer was lost.
        let told: Value = self.api.get(path, &[]).await?;
        let is_over = told.get("status").and_then(Value::as_str) == Some(SubscriptionStatus::Canceled.as_str());
        if is_over { Ok(told) } else { Err(refused.into()) }
    }

    /// What an answer says of a subscription, once it was taken over.
    pub(super) async fn acted(
        &self,
        account: &Account,
        told: &Value,
        plans: &PlanTable,
    ) -> Result<Standing, ActionError> {
        let held = Held::read(told, account)?;
        Ok(self.stands(account, &held, plans).await)
    }

    /// How a subscription stands, once that was taken over: also where there was nothing to do, for the click that did it
    /// may never have got its answer.
    pub(super) async fn stands(&self, account: &Account, held: &Held, plans: &PlanTable) -> Standing {
        if let Some(customer) = &account.stripe_customer {
            self.settle(customer).await;
        }
        Standing::of(held, plans)
    }
}
