//! What is sold: which plans, by which of their prices, with which metered prices beside.
//!
//! A plan's `stripe_prices` are alternatives, such as by the month and by the year; the first is what is bought unless
//! another is asked for. What it costs is Stripe's to know: the price shown in the file sells nothing. Use is billed by
//! prices that stand beside the plan's own in its subscription and are found at Stripe by their lookup key, so that they
//! are changed where money is looked after; a plan without such a price does not bill that use.

use std::sync::Arc;

use futures::future::join_all;
use serde::Deserialize;
use tollgate_config::BilledMeter;
use tollgate_domain::{Plan, PlanName, PlanTable};

use super::ActionError;
use crate::Billing;
use crate::api::objects::{Recurring, lenient};

/// What every lookup key of a metered price begins with.
const METERED: &str = "tollgate_meter_";

/// How many lookup keys Stripe takes at once.
const LOOKUP_KEYS_MAX: usize = 10;

/// The plans that can be bought, the lowest rank first.
pub fn sold_plans(plans: &PlanTable) -> impl Iterator<Item = &Arc<Plan>> {
    let mut sold: Vec<_> = plans.iter().filter(|plan| is_sold(plan)).collect();
    sold.sort_by_key(|plan| plan.rank);
    sold.into_iter()
}

/// The plan of this name, if it can be bought.
pub(super) fn sold<'p>(plans: &'p PlanTable, name: &str) -> Result<&'p Arc<Plan>, ActionError> {
    plans.get(name).filter(|plan| is_sold(plan)).ok_or_else(|| ActionError::NotSold {
        plan: name.into(),
        sold: sold_plans(plans).map(|plan| plan.name.clone()).collect(),
    })
}

fn is_sold(plan: &Plan) -> bool {
    plan.name.as_str() != PlanName::PUBLIC && !plan.stripe_prices.is_empty()
}

/// What the price that bills a meter under a plan, by an interval such as `month`, is found by at Stripe.
pub fn metered_key(plan: &PlanName, meter: &BilledMeter, interval: &str) -> String {
    format!("{METERED}{plan}_{meter}_{interval}")
}

/// A price, as far as selling it needs to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct PriceTag {
    /// Its id.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) id: String,
    /// Whether it can be bought.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) active: bool,
    /// What it is in, in small letters.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) currency: String,
    /// In the smallest unit of the currency; absent where it depends on how many.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) unit_amount: Option<i64>,
    /// What it is a price of.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) product: Option<String>,
    /// How often it is due; absent where it is due once.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) recurring: Option<Recurring>,
    /// What it is found by.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) lookup_key: Option<String>,
    /// What it is for people.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) nickname: Option<String>,
    /// Whether it is of live mode.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) livemode: Option<bool>,
}

impl PriceTag {
    /// Whether it is paid by use.
    pub(crate) fn is_metered(&self) -> bool {
        self.recurring.as_ref().is_some_and(|recurring| recurring.usage_type == "metered")
    }

    /// Whether it bills a meter of ours, beside a plan's own price.
    pub(crate) fn is_companion(&self) -> bool {
        self.is_metered() && self.lookup_key.as_deref().is_some_and(|key| key.starts_with(METERED))
    }

    /// Stripe's meter that it bills.
    pub(crate) fn meter(&self) -> Option<&str> {
        self.recurring.as_ref().and_then(|recurring| recurring.meter.as_deref())
    }

    /// How often it is due: the interval and how many of it.
    pub(crate) fn rhythm(&self) -> Option<(&str, u64)> {
        self.recurring.as_ref().map(|recurring| (recurring.interval.as_str(), recurring.interval_count.max(1)))
    }

    /// Whether both can be paid in one rhythm and one currency.
    fn goes_with(&self, other: &Self) -> bool {
        self.rhythm() == other.rhythm() && self.currency == other.currency
    }
}

/// What is on a subscription to a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// What buys the plan.
    pub(super) price: PriceTag,
    /// What bills use beside it.
    pub(super) metered: Vec<PriceTag>,
}

impl Order {
    /// Everything on it, what buys the plan first.
    pub(super) fn prices(&self) -> impl Iterator<Item = &PriceTag> {
        std::iter::once(&self.price).chain(&self.metered)
    }
}

impl Billing {
    /// What is bought with a plan: by the price that is asked for, else by the one that `paid` is due like, else the
    /// first.
    pub(super) async fn order(
        &self,
        plan: &Plan,
        asked: Option<&str>,
        paid: Option<&PriceTag>,
    ) -> Result<Order, ActionError> {
        let price = match (asked, paid) {
            // What is paid already need not be for sale.
            (Some(asked), Some(paid)) if paid.id == asked && plan.stripe_prices.contains(&paid.id) => paid.clone(),
            (Some(asked), _) => self.asked_price(plan, asked).await?,
            (None, Some(paid)) => self.price_like(plan, paid).await?,
            (None, None) => self.price(first(plan)).await?,
        };
        let metered = self.metered_beside(plan, &price).await?;
        Ok(Order { price, metered })
    }

    async fn asked_price(&self, plan: &Plan, asked: &str) -> Result<PriceTag, ActionError> {
        if !plan.stripe_prices.iter().any(|price| price == asked) {
            return Err(ActionError::OtherPrice {
                plan: plan.name.clone(),
                price: asked.into(),
                prices: plan.stripe_prices.clone(),
            });
        }
        self.price(asked).await
    }

    /// Whoever pays by the year goes on paying by the year.
    async fn price_like(&self, plan: &Plan, paid: &PriceTag) -> Result<PriceTag, ActionError> {
        // One that is not sold any more is kept all the same.
        if plan.stripe_prices.contains(&paid.id) {
            return Ok(paid.clone());
        }
        let told = join_all(plan.stripe_prices.iter().map(|price| self.price(price))).await;
        let like = told.iter().position(|price| price.as_ref().is_ok_and(|price| price.goes_with(paid)));
        told.into_iter().nth(like.unwrap_or(0)).expect("a plan that is sold has a price")
    }

    /// A price at Stripe that can be bought.
    async fn price(&self, id: &str) -> Result<PriceTag, ActionError> {
        let price: PriceTag = self.api.get(&format!("/prices/{id}"), &[]).await?;
        let trouble = if price.livemode == Some(!self.deps.stripe.livemode) {
            "is of the other mode than `livemode` says"
        } else if price.recurring.is_none() {
            "is paid once, and a subscription needs one that is due again and again"
        } else if !price.active {
            "is archived"
        } else {
            return Ok(price);
        };
        Err(ActionError::misconfigured(format!("the price `{id}` {trouble}")))
    }

    /// The prices that bill use under a plan in the rhythm of this price, those that exist.
    async fn metered_beside(&self, plan: &Plan, price: &PriceTag) -> Result<Vec<PriceTag>, ActionError> {
        let Some((interval, _)) = price.rhythm() else { return Ok(Vec::new()) };
        let keys = self.deps.stripe.meters.keys().map(|meter| metered_key(&plan.name, meter, interval));
        let keys: Vec<String> = keys.collect();
        let mut found: Vec<PriceTag> = Vec::new();
        for keys in keys.chunks(LOOKUP_KEYS_MAX) {
            let mut query = vec![("active", "true".to_owned())];
            query.extend(keys.iter().map(|key| ("lookup_keys[]", key.clone())));
            found.extend(self.api.list::<PriceTag>("/prices", &query).await?);
        }
        found.retain(|metered| metered.is_companion() && metered.id != price.id);
        // In the order of their keys, so that the same order is the same request.
        found.sort_by(|one, other| one.lookup_key.cmp(&other.lookup_key));
        match found.iter().find(|metered| !metered.goes_with(price)) {
            None => Ok(found),
            Some(odd) => Err(ActionError::misconfigured(format!(
                "the metered price `{}` is not due in the rhythm and the currency of `{}`",
                odd.id, price.id
            ))),
        }
    }
}

fn first(plan: &Plan) -> &str {
    plan.stripe_prices.first().expect("a plan that is sold has a price")
}
