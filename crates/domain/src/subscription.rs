//! Subscriptions: what Stripe says of one, and what follows from it.
//!
//! A [`Subscription`] holds facts, each true or false at Stripe whatever order its news came in. What it gives is worked
//! out from them, the plan table and the time alone. Reading them from Stripe is others'.

use std::fmt;
use std::sync::Arc;

use crate::period::Period;
use crate::plan::{Plan, PlanTable};
use crate::time::Timestamp;

/// What Stripe says of one subscription, as last read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its id at Stripe.
    pub id: Box<str>,
    /// Where it stands.
    pub status: SubscriptionStatus,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it is for; a metered price stands beside the one that buys the plan.
    pub items: Vec<SubscriptionItem>,
    /// The price that last named a plan. It goes on giving that plan while none of the items' prices names one.
    pub plan_price: Option<Box<str>>,
    /// When the oldest invoice that is still open after a failed attempt was finalised. One that is void or uncollectible
    /// is not open.
    pub failing_since: Option<Timestamp>,
    /// When it ends, if that is decided.
    pub cancel_at: Option<Timestamp>,
    /// When its trial ends or ended.
    pub trial_end: Option<Timestamp>,
    /// Why it gives nothing although its status says so.
    pub withheld: Option<Withheld>,
}

/// One line of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionItem {
    /// Its id at Stripe.
    pub id: Box<str>,
    /// Its price's id at Stripe.
    pub price: Box<str>,
    /// What was, or will be, paid for at once.
    pub period: Period,
}

/// Where a subscription stands, in Stripe's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubscriptionStatus {
    /// In its trial.
    Trialing,
    /// Paid.
    Active,
    /// An attempt to charge failed, and others follow.
    PastDue,
    /// The first charge has not succeeded yet.
    Incomplete,
    /// The first charge never succeeded.
    IncompleteExpired,
    /// No further attempt is made.
    Unpaid,
    /// Ended.
    Canceled,
    /// A trial ended without a way to pay.
    Paused,
}

impl SubscriptionStatus {
    /// Every status.
    pub const ALL: [Self; 8] = [
        Self::Trialing,
        Self::Active,
        Self::PastDue,
        Self::Incomplete,
        Self::IncompleteExpired,
        Self::Unpaid,
        Self::Canceled,
        Self::Paused,
    ];

    /// Stripe's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Incomplete => "incomplete",
            Self::IncompleteExpired => "incomplete_expired",
            Self::Unpaid => "unpaid",
            Self::Canceled => "canceled",
            Self::Paused => "paused",
        }
    }

    /// The status of this word, if it is one of today's.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether it is over for good.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Canceled | Self::IncompleteExpired)
    }
}

impl fmt::Display for SubscriptionStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Why a subscription that Stripe counts as paid gives nothing: until a period begins after that, or the cause is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub cause: WithheldCause,
}

/// What was done to a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WithheldCause {
    /// Its owner disputes it, or has won.
    Dispute,
    /// It was refunded whole.
    Refund,
}

impl WithheldCause {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dispute => "dispute",
            Self::Refund => "refund",
        }
    }

    /// The cause of this word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Dispute, Self::Refund].into_iter().find(|cause| cause.as_str() == text)
    }
}

/// Why a subscription gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lapse {
    /// Its first charge has not succeeded.
    Incomplete,
    /// It failed to be charged, and the grace is over.
    GraceOver,
    /// It failed to be charged, and no further attempt is made.
    Unpaid,
    /// Its trial ended without a way to pay.
    Paused,
    /// It ended.
    Ended,
    /// Its payment is disputed.
    Disputed,
    /// Its payment was refunded.
    Refunded,
    /// None of its prices was ever one of a plan's.
    UnknownPrice,
}

impl Lapse {
    /// The word operators see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::GraceOver => "grace_over",
            Self::Unpaid => "unpaid",
            Self::Paused => "paused",
            Self::Ended => "ended",
            Self::Disputed => "disputed",
            Self::Refunded => "refunded",
            Self::UnknownPrice => "unknown_price",
        }
    }
}

/// What a subscription gives at an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribed {
    /// The plan it pays for.
    pub plan: Arc<Plan>,
    /// The period of the item that pays for it.
    pub period: Period,
    /// Until when, if nothing changes.
    pub until: Timestamp,
}

/// The end of what has no end.
pub(crate) const FOREVER: Timestamp = Timestamp::from_micros(i64::MAX);

impl Subscription {
    /// What it gives now.
    ///
    /// | status | gives its plan |
    /// |---|---|
    /// | `trialing`, `active` | yes, also where its end is decided, until Stripe says that it ended |
    /// | `past_due` | until the grace from `failing_since` is over; without an end where no failed invoice is open |
    /// | any other | no |
    ///
    /// # Errors
    /// It gives nothing, and why.
    pub fn gives(&self, plans: &PlanTable, now: Timestamp) -> Result<Subscribed, Lapse> {
        let until = match self.status {
            SubscriptionStatus::Trialing | SubscriptionStatus::Active => FOREVER,
            SubscriptionStatus::PastDue => {
                let until = self.grace_until(plans).unwrap_or(FOREVER);
                if until <= now {
                    return Err(Lapse::GraceOver);
                }
                until
            }
            SubscriptionStatus::Incomplete => return Err(Lapse::Incomplete),
            SubscriptionStatus::Unpaid => return Err(Lapse::Unpaid),
            SubscriptionStatus::Paused => return Err(Lapse::Paused),
            SubscriptionStatus::Canceled | SubscriptionStatus::IncompleteExpired => return Err(Lapse::Ended),
        };
        let (plan, period) = self.plan(plans).ok_or(Lapse::UnknownPrice)?;
        match self.withheld.filter(|withheld| period.start < withheld.at) {
            Some(Withheld { cause: WithheldCause::Dispute, .. }) => Err(Lapse::Disputed),
            Some(Withheld { cause: WithheldCause::Refund, .. }) => Err(Lapse::Refunded),
            None => Ok(Subscribed { plan: Arc::clone(plan), period, until }),
        }
    }

    /// Until when it gives its plan although charging it failed; `None` where nothing has failed.
    pub fn grace_until(&self, plans: &PlanTable) -> Option<Timestamp> {
        self.failing_since.map(|since| since.plus_micros(plans.grace_us()))
    }

    /// The plan that its prices name, the highest if several do, with the period of the item that pays for it.
    pub fn plan<'p>(&self, plans: &'p PlanTable) -> Option<(&'p Arc<Plan>, Period)> {
        let named = self.items.iter().filter_map(|item| Some((plans.of_price(&item.price)?, item.period)));
        // The first of equals, as Stripe lists them.
        let highest = named.reduce(|best, other| if other.0.rank > best.0.rank { other } else { best });
        highest.or_else(|| {
            let plan = self.plan_price.as_deref().and_then(|price| plans.of_price(price))?;
            Some((plan, self.items.first()?.period))
        })
    }

    /// Whether one of its items' prices names a plan.
    pub fn has_known_price(&self, plans: &PlanTable) -> bool {
        self.items.iter().any(|item| plans.of_price(&item.price).is_some())
    }

    /// These facts as they are kept after `before`: the price that named a plan is not forgotten while none does.
    #[must_use]
    pub fn following(mut self, before: Option<&Self>, plans: &PlanTable) -> Self {
        let named = self.items.iter().filter(|item| plans.of_price(&item.price).is_some());
        let named = named.max_by_key(|item| plans.of_price(&item.price).map(|plan| plan.rank));
        self.plan_price = match named {
            Some(item) => Some(item.price.clone()),
            None => before.and_then(|before| before.plan_price.clone()),
        };
        self
    }
}
