//! What a customer holds at Stripe this moment.
//!
//! Read from Stripe for every action and not from the store, whose facts may be a webhook behind: what was bought a second
//! ago must not be bought again. What a subscription gives is worked out by the domain, as everywhere.

use serde::Deserialize;
use serde_json::Value;
use tollgate_domain::{
    Account, Period, PlanName, PlanTable, Subscription, SubscriptionItem, SubscriptionStatus, Timestamp,
};

use super::ActionError;
use super::offer::PriceTag;
use crate::Billing;
use crate::api::objects::{self, List, lenient};

/// All subscriptions of an account's customer, those that ended too.
pub(super) struct Holdings {
    held: Vec<Held>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// As Stripe tells it.
    pub(super) told: objects::Subscription,
    /// Its lines with their prices.
    pub(super) lines: Vec<Line>,
    /// As the domain judges it; none where its status is a word of tomorrow's.
    facts: Option<Subscription>,
}

/// One line of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Line {
    /// Its id.
    #[serde(default, deserialize_with = "lenient")]
    pub(super) id: String,
    /// What it costs.
    #[serde(default, deserialize_with = "lenient")]
    pub(super) price: PriceTag,
}

impl Billing {
    /// What the account's customer holds; nothing where it has none.
    pub(super) async fn holdings(&self, account: &Account) -> Result<Holdings, ActionError> {
        let Some(customer) = &account.stripe_customer else { return Ok(Holdings { held: Vec::new() }) };
        let query = [("customer", customer.clone()), ("status", "all".to_owned())];
        let told: Vec<Value> = self.api.list("/subscriptions", &query).await?;
        let held: Result<_, _> = told.iter().map(|told| Held::read(told, account)).collect();
        let holdings = Holdings { held: held? };
        let is_of_other_mode = |held: &Held| held.told.livemode == Some(!self.deps.stripe.livemode);
        match holdings.held.iter().find(|held| is_of_other_mode(held)) {
            None => Ok(holdings),
            Some(held) => {
                let what = format!("the subscription `{}` is of the other mode than `livemode` says", held.told.id);
                Err(ActionError::misconfigured(what))
            }
        }
    }
}

impl Holdings {
    /// Whether there ever was a subscription that began: one whose first payment never came did not.
    pub(super) fn had_any(&self) -> bool {
        self.held.iter().any(|held| !matches!(held.told.status.as_str(), "incomplete" | "incomplete_expired"))
    }

    /// The subscription that gives the account its plan: the highest, of equals the youngest.
    pub(super) fn in_force(&self, plans: &PlanTable, now: Timestamp) -> Option<&Held> {
        let giving = self.held.iter().filter_map(|held| {
            let given = held.facts.as_ref()?.gives(plans, now).ok()?;
            Some(((given.plan.rank, held.told.created, &held.told.id), held))
        });
        giving.max_by(|(one, _), (other, _)| one.cmp(other)).map(|(_, held)| held)
    }

    /// One that is not over, though it may give nothing: the youngest.
    pub(super) fn open(&self) -> Option<&Held> {
        let open = self.held.iter().filter(|held| !held.is_over());
        open.max_by_key(|held| (held.told.created, &held.told.id))
    }

    /// The one of this id.
    pub(super) fn named(&self, id: &str) -> Option<&Held> {
        self.held.iter().find(|held| held.told.id == id)
    }

    /// What an action is about: the one that is named, else what gives the plan in force, else what is not over.
    pub(super) fn meant(&self, named: Option<&str>, plans: &PlanTable, now: Timestamp) -> Result<&Held, ActionError> {
        let meant = match named {
            Some(id) => self.named(id),
            None => self.in_force(plans, now).or_else(|| self.open()),
        };
        meant.ok_or(ActionError::NoSubscription)
    }
}

impl Held {
    /// Reads a subscription whole: as everybody reads it, and its lines with what selling needs to know of a price.
    pub(super) fn read(told: &Value, account: &Account) -> Result<Self, ActionError> {
        #[derive(Deserialize)]
        struct Lines {
            #[serde(default, deserialize_with = "lenient")]
            items: List<Line>,
        }
        let read = || -> Result<Self, serde_json::Error> {
            let Lines { items } = Lines::deserialize(told)?;
            let told = objects::Subscription::deserialize(told)?;
            let facts = facts(&told, account);
            Ok(Self { told, lines: items.data, facts })
        };
        read().map_err(|error| ActionError::misconfigured(format!("a subscription cannot be read: {error}")))
    }

    /// Whether it is over for good.
    pub(super) fn is_over(&self) -> bool {
        SubscriptionStatus::parse(&self.told.status).is_some_and(SubscriptionStatus::is_final)
    }

    /// That it gives nothing until somebody has paid.
    pub(super) fn payment_due(&self) -> ActionError {
        ActionError::PaymentDue { subscription: self.told.id.clone(), status: self.told.status.clone() }
    }

    /// Whether its end is decided and has not come.
    pub(super) fn is_ending(&self) -> bool {
        self.told.cancel_at_period_end || self.told.cancel_at.is_some()
    }

    /// The end of what was paid for.
    pub(super) fn paid_until(&self) -> Option<Timestamp> {
        let ends = self.told.items.data.iter().filter_map(|item| self.told.period_of(item));
        ends.map(|(_, end)| Timestamp::from_secs(end)).max()
    }

    /// When it ended, or will where that is decided.
    pub(super) fn ends_at(&self) -> Option<Timestamp> {
        let of_period = || self.told.cancel_at_period_end.then(|| self.paid_until()).flatten();
        let told = self.told.ended_at.or(self.told.cancel_at).map(Timestamp::from_secs);
        told.or_else(of_period)
    }

    /// The line that buys its plan: of those whose price names one the highest, else the only one that bills no meter of
    /// ours.
    pub(super) fn main_line(&self, plans: &PlanTable) -> Option<&Line> {
        let named = self.lines.iter().filter_map(|line| Some((plans.of_price(&line.price.id)?.rank, line)));
        // The first of equals, as the domain takes it.
        let highest = named.reduce(|best, other| if other.0 > best.0 { other } else { best });
        let mut others = self.lines.iter().filter(|line| !line.price.is_companion());
        highest.map(|(_, line)| line).or_else(|| others.next().filter(|_| others.next().is_none()))
    }

    /// The plan its prices name.
    pub(super) fn plan(&self, plans: &PlanTable) -> Option<PlanName> {
        let (plan, _) = self.facts.as_ref()?.plan(plans)?;
        Some(plan.name.clone())
    }
}

/// What the domain judges a subscription by. What stands on its invoices and charges is as the store knows it.
fn facts(told: &objects::Subscription, account: &Account) -> Option<Subscription> {
    let known = account.subscriptions.iter().find(|known| *known.id == *told.id);
    let items = told.items.data.iter().filter_map(|item| {
        let (start, end) = told.period_of(item)?;
        let period = Period { start: Timestamp::from_secs(start), end: Timestamp::from_secs(end) };
        Some(SubscriptionItem { id: item.id.as_str().into(), price: item.price_id().into(), period })
    });
    Some(Subscription {
        id: told.id.as_str().into(),
        status: SubscriptionStatus::parse(&told.status)?,
        created_at: Timestamp::from_secs(told.created),
        items: items.collect(),
        plan_price: known.and_then(|known| known.plan_price.clone()),
        failing_since: known.and_then(|known| known.failing_since),
        cancel_at: told.cancel_at.map(Timestamp::from_secs),
        trial_end: told.trial_end.map(Timestamp::from_secs),
        withheld: known.and_then(|known| known.withheld),
    })
}
