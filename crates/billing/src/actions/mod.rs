//! What a signed-in owner asks of Stripe: to buy a plan, to see and mend how it is paid, to end it, to take another.
//!
//! Nothing here gives or takes access. An action changes things at Stripe; what follows is read back as facts, by the
//! webhooks it causes and, so that the owner need not wait for those, at once. Whether somebody may act for an account is
//! the caller's to know: an account that comes in here is its owner's own.
//!
//! Every action may be asked for twice, because a click was doubled or an answer was lost. What is there is therefore
//! read first, and an action that has been done already says so and does nothing.

mod cancel;
mod change;
mod checkout;
mod customer;
mod holdings;
mod offer;
mod portal;
mod preview;
mod session;

use serde::de::DeserializeOwned;
use tollgate_domain::{Account, PlanName, Timestamp};
use tollgate_store::StoreError;

use crate::Billing;
use crate::api::ApiError;

pub use cancel::{Standing, When};
pub use change::{NewPlan, PlanChange};
pub(crate) use checkout::TaxSettings;
pub(crate) use offer::PriceTag;
pub use offer::{metered_key, sold_plans};
pub(crate) use portal::{PORTAL, PortalConfiguration, SETUP_KEY};
pub use preview::{Preview, PreviewLine};

/// Why an action was not done, told apart by what its owner can do about it. What is displayed is for the owner; causes
/// are for operators.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// No price buys this plan, or there is no such plan.
    #[error("the plan `{plan}` is not sold here; {}", among("plans that are", .sold))]
    NotSold {
        /// What was asked for.
        plan: String,
        /// What is sold.
        sold: Vec<PlanName>,
    },
    /// The price is none of this plan's.
    #[error("the price `{price}` does not buy the plan `{plan}`; {}", among("prices that do", .prices))]
    OtherPrice {
        /// What was asked for.
        plan: PlanName,
        /// With this price.
        price: String,
        /// What buys it.
        prices: Vec<String>,
    },
    /// An operator banned the account: it buys nothing more. It may end what it pays for.
    #[error("this account is disabled")]
    Banned,
    /// An operator's plan is in force, and would be in the way of what is bought.
    #[error("this account has the plan `{plan}`{}, which is not paid for; \
        ask whoever runs this API to lift it before another is bought", up_to(.until.as_ref()))]
    OperatorPlan {
        /// The plan.
        plan: PlanName,
        /// Until when, if it ends by itself.
        until: Option<Timestamp>,
    },
    /// There is a subscription that gives a plan already.
    #[error("there is a subscription already; change its plan instead of buying another")]
    AlreadySubscribed {
        /// Which.
        subscription: String,
    },
    /// There is a subscription that gives nothing until it is paid.
    #[error(
        "there is a subscription whose payment is not settled ({status}); open the billing portal to pay it, or end it"
    )]
    PaymentDue {
        /// Which.
        subscription: String,
        /// Where it stands, in Stripe's words.
        status: String,
    },
    /// Nothing was ever bought, so that there is nothing to look at.
    #[error("nothing has been bought yet, so there is no billing portal to open; begin with a checkout")]
    NoCustomer,
    /// There is no such subscription that goes on.
    #[error("there is no subscription to act on; one begins with a checkout")]
    NoSubscription,
    /// The moment that a preview was made for has passed.
    #[error("the preview is out of date; ask for another")]
    StalePreview,
    /// The payment was declined, and nothing was changed.
    #[error("{message}")]
    Declined {
        /// Stripe's sentence for the payer.
        message: String,
    },
    /// Stripe does not answer; the same may succeed later, and is done once.
    #[error("the payment service does not answer; try again in a moment")]
    Unavailable {
        /// Why, for operators.
        #[source]
        cause: ApiError,
    },
    /// Stripe does not do what was asked: a price that is gone, a key that may not, settings that do not fit.
    #[error("this cannot be done now; whoever runs this API must look at it")]
    Misconfigured {
        /// What must be mended, for operators.
        #[source]
        cause: ApiError,
    },
    /// The account was deleted meanwhile.
    #[error("there is no such account")]
    NoAccount,
    /// The store did not do what it was asked.
    #[error("something went wrong; try again in a moment")]
    Store(#[from] StoreError),
}

impl ActionError {
    /// What must be mended, in words for an operator.
    fn misconfigured(what: impl Into<String>) -> Self {
        Self::Misconfigured { cause: ApiError::Unreadable(what.into()) }
    }
}

/// Stripe's word for what it does not do without the payer's hands.
const NEEDS_CONFIRMATION: [&str; 3] =
    ["subscription_payment_intent_requires_action", "payment_intent_action_required", "authentication_required"];

const CONFIRM: &str =
    "the bank wants this payment to be confirmed; add the card anew in the billing portal and try again";

impl From<ApiError> for ActionError {
    fn from(cause: ApiError) -> Self {
        match cause {
            ApiError::Unavailable(_) => Self::Unavailable { cause },
            ApiError::Refused { status: 402, ref code, ref message, .. } => {
                let needs_confirmation = code.as_deref().is_some_and(|code| NEEDS_CONFIRMATION.contains(&code));
                Self::Declined { message: if needs_confirmation { CONFIRM.into() } else { message.clone() } }
            }
            ApiError::Refused { .. } | ApiError::Unreadable(_) => Self::Misconfigured { cause },
        }
    }
}

fn among(what: &str, all: &[impl ToString]) -> String {
    if all.is_empty() {
        return "nothing is".into();
    }
    let names: Vec<String> = all.iter().map(ToString::to_string).collect();
    format!("the {what}: {}", names.join(", "))
}

fn up_to(until: Option<&Timestamp>) -> String {
    until.map(|until| format!(" until {until}")).unwrap_or_default()
}

impl Billing {
    fn now(&self) -> Timestamp {
        self.deps.clock.now()
    }

    /// Refuses what is bought by an account that may not buy, or for which it would change nothing.
    fn may_buy(&self, account: &Account) -> Result<(), ActionError> {
        if account.ban.is_some() {
            return Err(ActionError::Banned);
        }
        let until = account.assigned_until;
        match &account.assigned_plan {
            Some(plan) if until.is_none_or(|until| self.now() < until) => {
                Err(ActionError::OperatorPlan { plan: plan.clone(), until })
            }
            _ => Ok(()),
        }
    }

    /// Takes over what an action changed, so that gateways know before the webhooks tell. When that fails nothing is
    /// lost: they tell it again.
    async fn settle(&self, customer: &str) {
        if let Err(error) = self.refresh_customer(customer).await {
            tracing::info!(%error, customer, "what an owner changed at Stripe will be known by its webhook");
        }
    }

    /// Writes at Stripe, once whatever happens on the way.
    async fn post<T: DeserializeOwned>(&self, path: &str, form: &Form, key: &str) -> Result<T, ApiError> {
        let form: Vec<(&str, String)> = form.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        self.api.post(path, &form, Some(key)).await
    }

    /// Where an owner comes back to under the public address.
    fn page(&self, path: &str) -> String {
        format!("{}{path}", self.deps.public_base.trim_end_matches('/'))
    }
}

/// An idempotency key of one click: its repetitions at Stripe are one, and the next click's are others. One that were the
/// same for the next click too would bring back yesterday's refusal, for Stripe remembers those as well.
pub(crate) fn once(what: &str) -> String {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).expect("the system has random bytes");
    format!("tollgate-{what}-{}", hex::encode(random))
}

/// What is asked of Stripe, in order.
type Form = Vec<(String, String)>;

/// One field of it.
fn field(key: impl Into<String>, value: impl Into<String>) -> (String, String) {
    (key.into(), value.into())
}

#[cfg(test)]
pub(crate) mod tests;
