//! Making what is missing, and saying what belongs into the file.

use serde_json::Value;
use tollgate_config::Secret;
use tollgate_domain::PlanName;

use super::{Make, SetupError, SetupPlan, State, What};
use crate::actions::once;
use crate::api::{Api, ApiError};

/// What was made, and what is to be done with it. It is shown by its `Display`, without the secret.
#[derive(Clone, Debug, Default)]
pub struct SetupReport {
    /// What was made.
    pub made: Vec<Made>,
    /// What was not, and why.
    pub failed: Vec<Failed>,
    /// What the new endpoint signs with: for `webhook_secrets`, shown this once.
    pub webhook_secret: Option<Secret>,
    /// The `stripe_prices` that plans of the file are to have and have not.
    pub stripe_prices: Vec<(PlanName, Vec<String>)>,
}

/// Something that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// What.
    pub what: What,
    /// Its id at Stripe.
    pub id: String,
}

/// Something that was not made.
#[derive(Clone, Debug)]
pub struct Failed {
    /// What.
    pub what: What,
    /// Why.
    pub cause: ApiError,
}

/// Makes what a plan found missing, each once. What fails is reported, and the rest is made all the same; run again, it
/// goes on where this ended.
///
/// # Errors
/// What was made is of the other mode; nothing more is made then.
pub async fn apply(api: &Api, plan: &SetupPlan) -> Result<SetupReport, SetupError> {
    let mut report = SetupReport::default();
    for part in &plan.parts {
        let State::Missing(make) = &part.state else { continue };
        match ask(api, make).await {
            Ok(made) => report.take(&part.what, &made, plan.livemode)?,
            Err(cause) => {
                let is_hopeless = cause.is_about_stripe();
                report.failed.push(Failed { what: part.what.clone(), cause });
                if is_hopeless {
                    break;
                }
            }
        }
    }
    report.stripe_prices = plan.to_write(&report.made);
    Ok(report)
}

async fn ask(api: &Api, make: &Make) -> Result<Value, ApiError> {
    let form: Vec<(&str, String)> = make.form.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    api.post(&make.path, &form, Some(&once("setup"))).await
}

impl SetupReport {
    fn take(&mut self, what: &What, made: &Value, livemode: bool) -> Result<(), SetupError> {
        let id = made.get("id").and_then(Value::as_str).unwrap_or_default();
        if let Some(is_live) = made.get("livemode").and_then(Value::as_bool).filter(|is_live| *is_live != livemode) {
            return Err(SetupError::OtherMode { what: format!("`{id}`, which was just made,"), is_live });
        }
        if *what == What::Webhook {
            let secret = made.get("secret").and_then(Value::as_str);
            self.webhook_secret = secret.map(Secret::new).or(self.webhook_secret.take());
        }
        self.made.push(Made { what: what.clone(), id: id.into() });
        Ok(())
    }
}
