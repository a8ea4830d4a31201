//! What Stripe must hold before anything can be sold: products and prices after the plan table, meters, the endpoint that
//! webhooks go to, the portal's settings. First found out and shown, then made.
//!
//! Only what is missing is made. What is there and differs from the file is reported and left as it is: a price that
//! customers pay is changed by nobody but its owner. What is made is found again by an id, a lookup key, an address or a
//! mark that is the same each time, so that running it twice makes nothing twice.

mod amount;
mod apply;
mod catalog;
mod meters;
mod reception;
mod show;

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use tollgate_config::{BilledMeter, StripeConfig};
use tollgate_domain::{PlanName, PlanTable};

pub use amount::{Unchargeable, minor_units};
pub use apply::{Failed, Made, SetupReport, apply};

use crate::api::{Api, ApiError};

/// The path that webhooks go to, under the public address.
const WEBHOOK_PATH: &str = "/stripe/webhook";

/// What the file says that Stripe must hold.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The plans.
    pub plans: &'a PlanTable,
    /// `[billing.stripe]`.
    pub stripe: &'a StripeConfig,
    /// The public address with the mount, without a `/` at its end.
    pub public_base: &'a str,
}

/// Why it could not be found out, or was not begun.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Key or objects are of the other mode than `livemode` says.
    #[error("{what} is of {} mode, and `livemode` says otherwise: one deployment is of one mode", if *.is_live { "live" } else { "test" })]
    OtherMode {
        /// What gave it away.
        what: String,
        /// Its mode.
        is_live: bool,
    },
    /// Stripe gave no usable answer.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// What there is at Stripe, and what would be made. It is shown by its `Display`.
#[derive(Clone, Debug)]
pub struct SetupPlan {
    /// Thing by thing, in the order in which they would be made.
    pub parts: Vec<Part>,
    /// Which prices each plan has at the end.
    prices: Vec<PlanPrices>,
    livemode: bool,
}

/// One thing that Stripe must hold.
#[derive(Clone, Debug)]
pub struct Part {
    /// What.
    pub what: What,
    /// How it stands.
    pub state: State,
}

/// What a part is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The product of a plan.
    Product(PlanName),
    /// What a plan costs.
    Price(PlanName),
    /// Stripe's meter of this event name.
    Meter(String),
    /// What use costs under a plan.
    MeteredPrice(PlanName, BilledMeter),
    /// The endpoint that webhooks go to.
    Webhook,
    /// The settings of Stripe's billing portal.
    Portal,
    /// Stripe Tax.
    Tax,
}

/// How a part stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is there.
    There {
        /// Its id, or what is known of it.
        id: String,
    },
    /// It is missing and would be made.
    Missing(Make),
    /// It is there and not as the file has it; nothing is done about it.
    Differs {
        /// How, and what to do.
        how: String,
    },
    /// It is somebody's to decide.
    LeftToYou {
        /// What to do.
        advice: String,
    },
}

/// How a part would be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Make {
    /// What it would be, in a few words.
    pub summary: String,
    path: String,
    form: Vec<(String, String)>,
}

/// The prices of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PlanPrices {
    plan: PlanName,
    /// As the file names them.
    named: Vec<String>,
    /// As they are at Stripe already.
    there: Vec<String>,
}

impl SetupPlan {
    /// Whether anything would be made.
    pub fn makes_anything(&self) -> bool {
        self.parts.iter().any(|part| matches!(part.state, State::Missing(_)))
    }

    /// Whether something is not as the file has it.
    pub fn has_differences(&self) -> bool {
        self.parts.iter().any(|part| matches!(part.state, State::Differs { .. }))
    }

    /// The `stripe_prices` that plans of the file are to have and have not, with what was made.
    pub fn to_write(&self, made: &[Made]) -> Vec<(PlanName, Vec<String>)> {
        let all = self.prices.iter().map(|prices| {
            let made = made.iter().filter(|made| made.what == What::Price(prices.plan.clone()));
            let ids = prices.there.iter().cloned().chain(made.map(|made| made.id.clone()));
            (prices, ids.collect::<Vec<_>>())
        });
        // Where the file names one that Stripe has, the list is its author's, though another in it be wrong.
        let is_to_write =
            |prices: &PlanPrices, ids: &[String]| !ids.is_empty() && !ids.iter().any(|id| prices.named.contains(id));
        all.filter(|(prices, ids)| is_to_write(prices, ids)).map(|(prices, ids)| (prices.plan.clone(), ids)).collect()
    }
}

/// Finds out what there is at Stripe, and what would be made. Nothing is changed.
///
/// # Errors
/// The key, or something at Stripe, is of the other mode; Stripe gave no usable answer.
pub async fn plan(api: &Api, wanted: &Wanted<'_>) -> Result<SetupPlan, SetupError> {
    check_key(wanted.stripe)?;
    let look = Look { api, livemode: wanted.stripe.livemode };
    let catalog = catalog::look(&look, wanted.plans).await?;
    let meters = meters::look(&look, wanted.stripe, &catalog).await?;
    let reception = reception::look(&look, wanted.public_base).await?;
    let parts = catalog.parts.into_iter().chain(meters).chain(reception).collect();
    Ok(SetupPlan { parts, prices: catalog.prices, livemode: wanted.stripe.livemode })
}

/// What looking at a plan's prices found.
struct Catalog {
    parts: Vec<Part>,
    prices: Vec<PlanPrices>,
    /// The rhythms in which each plan is paid, such as `month`, and its product.
    rhythms: Vec<(PlanName, BTreeSet<String>, String)>,
}

/// Reads from Stripe, and takes nothing of the other mode.
struct Look<'a> {
    api: &'a Api,
    livemode: bool,
}

impl Look<'_> {
    /// What is at a path, if anything.
    async fn find<T: DeserializeOwned + Mode>(&self, path: &str) -> Result<Option<T>, SetupError> {
        match self.api.get::<T>(path, &[]).await {
            Ok(found) => self.checked(found, path).map(Some),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A whole list.
    async fn list<T: DeserializeOwned + Mode>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Vec<T>, SetupError> {
        let listed: Vec<T> = self.api.list(path, query).await?;
        listed.into_iter().map(|found| self.checked(found, path)).collect()
    }

    fn checked<T: Mode>(&self, found: T, path: &str) -> Result<T, SetupError> {
        match found.livemode() {
            Some(is_live) if is_live != self.livemode => {
                Err(SetupError::OtherMode { what: format!("what Stripe has at `{path}`"), is_live })
            }
            _ => Ok(found),
        }
    }
}

/// What tells its mode.
trait Mode {
    fn livemode(&self) -> Option<bool>;
}

fn check_key(stripe: &StripeConfig) -> Result<(), SetupError> {
    let key = stripe.secret_key.reveal();
    let is_of = |mode: &str| ["sk", "rk"].iter().any(|kind| key.starts_with(&format!("{kind}_{mode}_")));
    for (mode, is_live) in [("live", true), ("test", false)] {
        if is_of(mode) && is_live != stripe.livemode {
            return Err(SetupError::OtherMode { what: "the secret key".into(), is_live });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
