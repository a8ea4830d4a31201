//! What of a configuration decides whom it admits: plans, routes, and how limits are counted.
//!
//! It is read from a file, or from the effective configuration that a running process shows. That one has no secrets in
//! it, and so is no file that could be used: only the sections that matter here are taken of it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use tollgate_config::{Config, Environment, Policy, RateScope};
use toml::{Table, Value};

use super::replay::MeteredRoutes;

/// The sections that decide.
const SECTIONS: [&str; 3] = ["plans", "accounts", "routes"];
/// The keys of `[limits]` that decide.
const LIMITS: [&str; 2] = ["rate_scope", "enforce"];
/// Stands for the secret that routes with tokens need to be read, and that no comparison asks for.
const SOME_SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Stand for what `[billing.stripe]` needs to be read, of which only the grace decides.
const SOME_STRIPE: &str = r#"
gateway = { public_url = "http://127.0.0.1" }
billing.stripe = { secret_key = "sk_test_0123456789abcdef", webhook_secrets = ["whsec_0123456789abcdef"], livemode = false }
"#;

/// One side of a comparison.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    /// Plans and routes.
    pub(crate) policy: Policy,
    /// Whether bucket and windows are each key's own.
    pub(crate) rates_per_key: bool,
    /// Whether limits refuse at all.
    pub(crate) enforces: bool,
    /// The routes that debit a meter.
    pub(crate) metered: Arc<MeteredRoutes>,
}

impl Side {
    /// Of a whole configuration.
    pub(crate) fn of(config: Config) -> Self {
        let limits = &config.settings.limits;
        let metered = config.policy.routes.iter().filter_map(|route| {
            let meter = route.meter.clone()?;
            Some((route.name.clone(), (meter, route.cost.upfront())))
        });
        Self {
            rates_per_key: limits.rate_scope == RateScope::Key,
            enforces: limits.enforce,
            metered: Arc::new(metered.collect()),
            policy: config.policy,
        }
    }

    /// Of a text that need not be usable as a whole: its plans, routes and what decides besides. `name` is what
    /// diagnostics call it; their lines are not the text's.
    ///
    /// # Errors
    /// It is no TOML, or what it says of plans and routes is wrong.
    pub(crate) fn of_text(text: &str, name: &str, environment: &dyn Environment) -> anyhow::Result<Self> {
        let table = text.parse::<Table>().map_err(|error| anyhow!("{name}: {}", error.message()))?;
        let mut kept = Table::new();
        for section in SECTIONS {
            kept.extend(table.get(section).map(|value| (section.to_owned(), value.clone())));
        }
        if let Some(limits) = table.get("limits").and_then(Value::as_table) {
            let limits = limits.iter().filter(|(key, _)| LIMITS.contains(&key.as_str()));
            kept.insert(
                "limits".to_owned(),
                Value::Table(limits.map(|(key, value)| (key.clone(), value.clone())).collect()),
            );
        }
        if table.get("auth").and_then(|auth| auth.get("jwt")).is_some() {
            let jwt = Table::from_iter([("secret".to_owned(), SOME_SECRET.into())]);
            kept.insert("auth".to_owned(), Table::from_iter([("jwt".to_owned(), jwt.into())]).into());
        }
        if let Some(grace) = table.get("billing").and_then(|billing| billing.get("stripe")?.get("grace")) {
            let mut some: Table = SOME_STRIPE.parse().context("what stands for [billing.stripe]")?;
            if let Some(stripe) = some.get_mut("billing").and_then(|billing| billing.get_mut("stripe")?.as_table_mut())
            {
                stripe.insert("grace".to_owned(), grace.clone());
            }
            kept.extend(some);
        }
        let loaded = tollgate_config::parse(&kept.to_string(), Path::new(name), environment);
        Ok(Self::of(loaded.with_context(|| format!("the plans and routes of {name}"))?.config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_shows_reads_back_without_its_secrets() {
        let text = r#"
            [gateway]
            public_url = "https://api.example.com"
            [billing.stripe]
            secret_key = "sk_live_0123456789abcdef0123456789abcdef"
            webhook_secrets = ["whsec_0123456789abcdef0123456789abcdef"]
            grace = "36h"
            [admin]
            token = "0123456789abcdef0123456789abcdef"
            [auth.jwt]
            secret = "0123456789abcdef0123456789abcdef"
            [limits]
            rate_scope = "key"
            lease_ttl = "400ms"
            [accounts]
            default_plan = "free"
            [plans.free]
            rate = "60/minute"
            windows = ["500/day"]
            meters = { tokens = "1_000/month", scans = "unlimited" }
            [plans.pro]
            rank = 1
            price = "29 USD/month"
            features = ["llm"]
            [[routes]]
            path = "/private/*"
            access = "jwt"
            [[routes]]
            path = "/llm"
            feature = "llm"
            min_plan = "pro"
            meter = "tokens"
        "#;
        let environment = |_: &str| None;
        let loaded = tollgate_config::parse(text, Path::new("a.toml"), &environment).expect("a good file");
        let shown = loaded.config.to_redacted_toml();
        assert!(!shown.contains("0123456789abcdef"), "{shown}");
        let side = Side::of_text(&shown, "the configuration in force", &environment).expect("readable");
        assert_eq!(side.policy, loaded.config.policy);
        assert_eq!(side.policy.plans.grace_us(), 36 * tollgate_domain::HOUR_US);
        assert!(side.rates_per_key && side.enforces);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let environment = |_: &str| None;
        for (text, part) in
            [("plans = [", "new.toml: "), ("[plans.a]\nrate = \"many\"", "the plans and routes of new.toml")]
        {
            let error = Side::of_text(text, "new.toml", &environment).expect_err(text);
            assert!(format!("{error:#}").starts_with(part), "{error:#}");
        }
    }
}
