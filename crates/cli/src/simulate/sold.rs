//! What is sold in a simulated life: the plans of the configuration where it sells any, else a few to try it with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use tollgate_billing::sold_plans;
use tollgate_config::{Config, Environment, Policy, ProcessEnvironment, ProrationBehavior, Secret, StripeConfig};
use tollgate_domain::{Interval, Plan, PlanTable};
use tollgate_fake_stripe::{self as fake, FakeStripe, NewPrice};

use crate::run;

/// Where the configuration names none that is sold.
const SAMPLE: &str = r#"
[gateway]
public_url = "https://api.example.com"
[billing.stripe]
secret_key = "sk_test_of_the_simulation"
webhook_secrets = ["whsec_of_the_simulation"]
livemode = false
grace = "7d"
trial_days = 14
[plans.pro]
rank = 1
price = "29 USD/month"
stripe_prices = ["price_pro"]
[plans.team]
rank = 2
price = "99 USD/month"
stripe_prices = ["price_team"]
"#;
/// A price in the smallest unit of its currency, where the plan shows none.
const UNIT_AMOUNT: i64 = 1_000;
/// In place of variables that are set for the server only: what hangs on them is not simulated.
const UNSET: &str = "unset-in-this-simulation-0123456789abcdef";
/// The trial of a life that begins with one, where the configuration gives none.
const TRIAL_DAYS: u32 = 14;

/// The plans, and what follows from failed, disputed or refunded charges.
pub(super) struct Sold {
    /// Where they stand.
    pub(super) source: Source,
    pub(super) policy: Policy,
    pub(super) stripe: StripeConfig,
}

/// Where plans stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// In this file.
    File(PathBuf),
    /// Here.
    Sample,
}

impl Sold {
    /// Of the configuration that is named, else of the one that lies here, else samples.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub(super) fn load(config: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = run::config_file(config) else { return Self::sample() };
        let variable = |name: &str| ProcessEnvironment.variable(name).or_else(|| Some(UNSET.to_owned()));
        let loaded = tollgate_config::load_without_webhook_secrets(path, &variable)?;
        let config = loaded.config;
        if sold_plans(&config.policy.plans).next().is_none() {
            return Self::sample();
        }
        Ok(Self::of(config, Source::File(path.to_owned())))
    }

    fn sample() -> anyhow::Result<Self> {
        let loaded = tollgate_config::parse(SAMPLE, Path::new("sample.toml"), &|_: &str| None);
        Ok(Self::of(loaded.context("the samples")?.config, Source::Sample))
    }

    fn of(config: Config, source: Source) -> Self {
        let Config { settings, policy, .. } = config;
        let stripe = settings.billing.stripe.clone();
        // A file may sell plans before it has the section.
        let stripe = stripe.unwrap_or_else(|| StripeConfig::new(Secret::new(UNSET), Vec::new()));
        Self { source, policy, stripe }
    }

    /// The settings with this stand-in in Stripe's place.
    pub(super) fn settings_for(&self, stripe: &FakeStripe) -> anyhow::Result<StripeConfig> {
        Ok(StripeConfig {
            secret_key: Secret::new(stripe.api_key()),
            webhook_secrets: vec![Secret::new(stripe.webhook_secret())],
            livemode: false,
            api_base: stripe.url().parse().context("the stand-in's address")?,
            // Nobody uses anything in a simulated life.
            meters: std::collections::BTreeMap::new(),
            proration_behavior: ProrationBehavior::default(),
            ..self.stripe.clone()
        })
    }

    /// How long a trial is.
    pub(super) fn trial_days(&self) -> u32 {
        if self.stripe.trial_days > 0 { self.stripe.trial_days } else { TRIAL_DAYS }
    }

    /// The plan that is bought: the one that is named, else the first that is sold, by rank.
    ///
    /// # Errors
    /// It is not sold; the error names those that are.
    pub(super) fn plan(&self, name: Option<&str>) -> anyhow::Result<Arc<Plan>> {
        let sold: Vec<&Arc<Plan>> = sold_plans(&self.policy.plans).collect();
        let found = match name {
            Some(name) => sold.iter().find(|plan| plan.name.as_str() == name),
            None => sold.first(),
        };
        found.map(|plan| Arc::clone(plan)).ok_or_else(|| {
            let names: Vec<&str> = sold.iter().map(|plan| plan.name.as_str()).collect();
            anyhow!("the plan `{}` is not sold; sold are {}", name.unwrap_or_default(), names.join(", "))
        })
    }
}

/// Makes the prices of these plans at the stand-in; how many.
pub(crate) fn make_prices(plans: &PlanTable, stripe: &FakeStripe) -> usize {
    let mut made = 0;
    for plan in sold_plans(plans) {
        let shown = plan.price.as_ref();
        let amount = shown.and_then(|price| cents(&price.amount)).unwrap_or(UNIT_AMOUNT);
        let currency = shown.map_or_else(|| "usd".to_owned(), |price| price.currency.to_lowercase());
        let interval = match shown.map(|price| price.interval) {
            Some(Interval::Year) => fake::Interval::Year,
            Some(Interval::Month) | None => fake::Interval::Month,
        };
        let product = plan.display_name.as_deref().unwrap_or(plan.name.as_str());
        for (at, id) in plan.stripe_prices.iter().enumerate() {
            // The first is what the plan shows; others are most often the same by the year.
            let (unit_amount, interval) =
                if at == 0 { (amount, interval) } else { (amount.saturating_mul(10), fake::Interval::Year) };
            stripe.price(NewPrice { id, product, unit_amount, currency: &currency, interval, ..NewPrice::default() });
            made += 1;
        }
    }
    made
}

/// `29` or `29.50` in hundredths.
fn cents(amount: &str) -> Option<i64> {
    let (whole, part) = amount.split_once('.').unwrap_or((amount, ""));
    let whole: i64 = whole.replace('_', "").parse().ok()?;
    let part: i64 = format!("{part:0<2}").get(..2)?.parse().ok()?;
    whole.checked_mul(100)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_plans_that_are_sold_there_are_samples() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tollgate.toml");
        std::fs::write(&path, "[plans.pro]\nrate = \"1/minute\"\n").expect("written");
        let sold = Sold::load(Some(&path)).expect("samples");
        assert_eq!(sold.source, Source::Sample);
        assert_eq!(sold.plan(None).expect("a plan").name.as_str(), "pro");
        assert_eq!(sold.plan(Some("team")).expect("a plan").rank, 2);
        let error = sold.plan(Some("gold")).expect_err("it is not sold").to_string();
        assert!(error.contains("`gold` is not sold; sold are pro, team"), "{error}");
        std::fs::write(
            &path,
            "[gateway]\npublic_url = \"https://a.example\"\n[billing.stripe]\nsecret_key = \"${KEY_THAT_IS_NOT_SET}\"\ngrace = \"2d\"\n\
             [plans.gold]\nstripe_prices = [\"price_a\", \"price_b\"]\n",
        )
        .expect("written");
        let sold = Sold::load(Some(&path)).expect("the file's");
        assert_eq!(sold.source, Source::File(path));
        assert_eq!(sold.policy.plans.grace_us(), 2 * tollgate_domain::DAY_US);
        let stripe = FakeStripe::start(fake::FakeConfig::default()).expect("a stand-in");
        assert_eq!(make_prices(&sold.policy.plans, &stripe), 2);
    }

    #[test]
    fn prices_are_counted_in_hundredths() {
        for (text, expected) in [("29", Some(2_900)), ("0.5", Some(50)), ("1_000.999", Some(100_099)), ("x", None)] {
            assert_eq!(cents(text), expected, "{text}");
        }
    }
}
