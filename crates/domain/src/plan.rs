//! Plans: what an account may do and how much of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::limit::{LimitSet, Quota};
use crate::meter::MeterName;
use crate::period::QuotaPeriod;
use crate::price::Price;
use crate::rate::Rate;

/// A plan's name in the table, such as `pro`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanName(Arc<str>);

impl PlanName {
    /// The reserved plan of anonymous callers.
    pub const PUBLIC: &'static str = "public";

    /// 1 to 32 of `a-z A-Z 0-9 - _`, so that a name is safe as a header value, a label and in a log line.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=32).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        fits.then(|| Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PlanName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Lets a table of plans be asked by plain text.
impl std::borrow::Borrow<str> for PlanName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// One plan of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Its name in the table.
    pub name: PlanName,
    /// Only compared with the rank of a route's `min_plan`.
    pub rank: i64,
    /// Whether its accounts may call the API at all.
    pub api: bool,
    /// What it is called in front of customers.
    pub display_name: Option<String>,
    /// A sentence for customers.
    pub description: Option<String>,
    /// Points for customers, in order.
    pub highlights: Vec<String>,
    /// What it costs, as shown.
    pub price: Option<Price>,
    /// The bucket's rate as the operator wrote it; the bucket itself is in `limits`.
    pub rate: Option<Rate>,
    /// Bucket, windows and quota.
    pub limits: LimitSet,
    /// Units of each meter a period; a meter that is not among them is counted without a limit.
    pub meters: BTreeMap<MeterName, Quota>,
    /// How the periods of its quota and meters are laid.
    pub quota_period: QuotaPeriod,
    /// How many active keys an account may have; `None` is unlimited.
    pub max_keys: Option<u64>,
    /// Named abilities that routes may ask for.
    pub features: BTreeSet<String>,
    /// The Stripe prices that buy it.
    pub stripe_prices: Vec<String>,
}

impl Plan {
    /// A plan of this name that limits nothing, for building others from.
    pub fn unlimited(name: PlanName) -> Self {
        Self {
            name,
            rank: 0,
            api: true,
            display_name: None,
            description: None,
            highlights: Vec::new(),
            price: None,
            rate: None,
            limits: LimitSet::default(),
            meters: BTreeMap::new(),
            quota_period: QuotaPeriod::default(),
            max_keys: None,
            features: BTreeSet::new(),
            stripe_prices: Vec::new(),
        }
    }
}

/// All plans, and which of them new accounts get.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanTable {
    plans: BTreeMap<PlanName, Arc<Plan>>,
    default_plan: Option<PlanName>,
    by_price: BTreeMap<String, PlanName>,
    grace_us: i64,
}

impl PlanTable {
    /// A table of these plans; the default must be one of them, or is dropped.
    pub fn new(plans: impl IntoIterator<Item = Plan>, default_plan: Option<PlanName>) -> Self {
        let plans: BTreeMap<_, _> = plans.into_iter().map(|plan| (plan.name.clone(), Arc::new(plan))).collect();
        let default_plan = default_plan.filter(|name| plans.contains_key(name));
        let prices = |plan: &Arc<Plan>| {
            let name = plan.name.clone();
            plan.stripe_prices.clone().into_iter().map(move |price| (price, name.clone()))
        };
        let by_price = plans.values().flat_map(prices).collect();
        Self { plans, default_plan, by_price, grace_us: 0 }
    }

    /// The same table, in which a subscription gives its plan for so many microseconds after charging it has failed.
    #[must_use]
    pub fn with_grace(self, grace_us: i64) -> Self {
        Self { grace_us, ..self }
    }

    /// How long a subscription gives its plan after charging it has failed, in microseconds.
    pub fn grace_us(&self) -> i64 {
        self.grace_us
    }

    /// The plan that a Stripe price buys.
    pub fn of_price(&self, price: &str) -> Option<&Arc<Plan>> {
        self.by_price.get(price).and_then(|name| self.plans.get(name))
    }

    /// The plan of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Plan>> {
        self.plans.get(name)
    }

    /// The plan of anonymous callers, if the table has one.
    pub fn public(&self) -> Option<&Arc<Plan>> {
        self.get(PlanName::PUBLIC)
    }

    /// The plan of accounts that no operator and no subscription gave another.
    pub fn default_plan(&self) -> Option<&Arc<Plan>> {
        self.default_plan.as_ref().and_then(|name| self.plans.get(name))
    }

    /// Every plan in order of name, `public` among them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Plan>> {
        self.plans.values()
    }
}
