//! The form in which a subscription's facts are kept as JSON: in the database, and in what a fleet caches of an account.

use serde::{Deserialize, Serialize};
use tollgate_domain::{Period, Subscription, SubscriptionItem, SubscriptionStatus, Timestamp, Withheld, WithheldCause};

/// Facts as JSON. Instants are microseconds since the epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SubscriptionForm {
    id: String,
    status: String,
    created_at: i64,
    items: Vec<ItemForm>,
    plan_price: Option<String>,
    failing_since: Option<i64>,
    cancel_at: Option<i64>,
    trial_end: Option<i64>,
    /// Since when, and why.
    withheld: Option<(i64, String)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ItemForm {
    id: String,
    price: String,
    start: i64,
    end: i64,
}

impl From<&Subscription> for SubscriptionForm {
    fn from(facts: &Subscription) -> Self {
        Self {
            id: facts.id.to_string(),
            status: facts.status.as_str().into(),
            created_at: facts.created_at.as_micros(),
            items: facts
                .items
                .iter()
                .map(|item| ItemForm {
                    id: item.id.to_string(),
                    price: item.price.to_string(),
                    start: item.period.start.as_micros(),
                    end: item.period.end.as_micros(),
                })
                .collect(),
            plan_price: facts.plan_price.as_deref().map(Into::into),
            failing_since: facts.failing_since.map(Timestamp::as_micros),
            cancel_at: facts.cancel_at.map(Timestamp::as_micros),
            trial_end: facts.trial_end.map(Timestamp::as_micros),
            withheld: facts.withheld.map(|withheld| (withheld.at.as_micros(), withheld.cause.as_str().into())),
        }
    }
}

impl SubscriptionForm {
    /// The facts; `None` where the form says what no version writes.
    pub fn read(self) -> Option<Subscription> {
        let item = |form: ItemForm| {
            let period = Period { start: Timestamp::from_micros(form.start), end: Timestamp::from_micros(form.end) };
            (period.start < period.end).then(|| SubscriptionItem {
                id: form.id.into(),
                price: form.price.into(),
                period,
            })
        };
        let withheld = match self.withheld {
            None => None,
            Some((at, cause)) => {
                Some(Withheld { at: Timestamp::from_micros(at), cause: WithheldCause::parse(&cause)? })
            }
        };
        Some(Subscription {
            id: self.id.into(),
            status: SubscriptionStatus::parse(&self.status)?,
            created_at: Timestamp::from_micros(self.created_at),
            items: self.items.into_iter().map(item).collect::<Option<_>>()?,
            plan_price: self.plan_price.map(Into::into),
            failing_since: self.failing_since.map(Timestamp::from_micros),
            cancel_at: self.cancel_at.map(Timestamp::from_micros),
            trial_end: self.trial_end.map(Timestamp::from_micros),
            withheld,
        })
    }
}
