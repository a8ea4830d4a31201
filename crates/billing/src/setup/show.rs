//! Setup as a person reads it: one line a thing, what is to be done about it, and what belongs into the file.

use std::fmt::{self, Display, Formatter};

use tollgate_domain::PlanName;

use super::{Part, SetupPlan, SetupReport, State, What};

impl Display for What {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Product(plan) => write!(formatter, "product of `{plan}`"),
            Self::Price(plan) => write!(formatter, "price of `{plan}`"),
            Self::Meter(event_name) => write!(formatter, "meter `{event_name}`"),
            Self::MeteredPrice(plan, meter) => write!(formatter, "price of `{meter}` under `{plan}`"),
            Self::Webhook => formatter.write_str("webhook endpoint"),
            Self::Portal => formatter.write_str("billing portal"),
            Self::Tax => formatter.write_str("Stripe Tax"),
        }
    }
}

impl Display for Part {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let what = &self.what;
        match &self.state {
            State::There { id } => write!(formatter, "there    {what}: {id}"),
            State::Missing(make) => write!(formatter, "make     {what}: {}", make.summary),
            State::Differs { how } => write!(formatter, "differs  {what}: {how}"),
            State::LeftToYou { advice } => write!(formatter, "yours    {what}: {advice}"),
        }
    }
}

impl Display for SetupPlan {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| writeln!(formatter, "{part}"))?;
        to_write(&self.to_write(&[]), formatter)
    }
}

impl Display for SetupReport {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        for made in &self.made {
            writeln!(formatter, "made     {}: {}", made.what, made.id)?;
        }
        for failed in &self.failed {
            writeln!(formatter, "failed   {}: {}", failed.what, failed.cause)?;
        }
        to_write(&self.stripe_prices, formatter)
    }
}

/// Lines for the file.
fn to_write(plans: &[(PlanName, Vec<String>)], formatter: &mut Formatter<'_>) -> fmt::Result {
    for (plan, prices) in plans {
        let prices: Vec<String> = prices.iter().map(|price| format!("\"{price}\"")).collect();
        writeln!(formatter, "\n[plans.{plan}]\nstripe_prices = [{}]", prices.join(", "))?;
    }
    Ok(())
}
