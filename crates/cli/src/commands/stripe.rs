//! `stripe setup`: shows what Stripe lacks of what the file sells, and makes it once somebody has said yes.
//!
//! It speaks to Stripe itself, with the file's key: what it makes must be there before anything can serve.

use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

use anyhow::{Context, anyhow};
use serde_json::{Map, Value, json};
use tollgate_billing::Api;
use tollgate_billing::setup::{self, Made, Part, SetupPlan, SetupReport, State, Wanted};
use tollgate_config::{Config, ProcessEnvironment};

use crate::args::StripeSetup;
use crate::commands::Failure;
use crate::{output, run};

/// The longest answer to a question that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 1024;

/// Looks, shows, asks, makes.
pub(crate) async fn setup(command: &StripeSetup, config: Option<&Path>) -> Result<(), Failure> {
    let Config { settings, policy, .. } = load(config)?;
    let stripe = settings.billing.stripe.as_ref().ok_or_else(|| {
        anyhow!(
            "there is no [billing.stripe] in the configuration: add it with the `secret_key` of your Stripe account"
        )
    })?;
    let public_base = tollgate_admin_api::public_base(&settings);
    let wanted = Wanted { plans: &policy.plans, stripe, public_base: &public_base };
    let api = Api::new(stripe)?;
    let plan = setup::plan(&api, &wanted).await?;
    if !command.format.json {
        output::data(&plan.to_string())?;
    }
    let report =
        if plan.makes_anything() && is_wanted(command)? { Some(setup::apply(&api, &plan).await?) } else { None };
    show(command, &plan, report.as_ref())?;
    match report.filter(|report| !report.failed.is_empty()) {
        Some(report) => Err(anyhow!("{} were not made; run it again once that is mended", report.failed.len()).into()),
        None => Ok(()),
    }
}

/// The file, without the secrets of webhooks: one of them is what this makes.
fn load(config: Option<&Path>) -> anyhow::Result<Config> {
    let path = run::config_file(config);
    let path = path.context("there is no configuration here: name one with `--config FILE`")?;
    let loaded = tollgate_config::load_without_webhook_secrets(path, &ProcessEnvironment)?;
    for warning in &loaded.warnings {
        output::note(&warning.to_string());
    }
    Ok(loaded.config)
}

/// Whether somebody said yes: on the command line, or typed on a terminal.
fn is_wanted(command: &StripeSetup) -> anyhow::Result<bool> {
    if command.yes {
        return Ok(true);
    }
    if command.format.json || !io::stdin().is_terminal() {
        output::note("nothing was made; `--yes` makes it");
        return Ok(false);
    }
    output::ask("\nMake what is missing? Type yes: ");
    let mut answer = String::new();
    io::Read::take(io::stdin().lock(), ANSWER_BYTES_MAX).read_line(&mut answer).context("no answer can be read")?;
    if answer.trim() == "yes" {
        return Ok(true);
    }
    output::note("nothing was made");
    Ok(false)
}

fn show(command: &StripeSetup, plan: &SetupPlan, report: Option<&SetupReport>) -> anyhow::Result<()> {
    if command.format.json {
        let text = output::json_text(&document(plan, report));
        return Ok(output::secret(&text)?);
    }
    let Some(report) = report else {
        if !plan.makes_anything() {
            output::note("nothing is missing");
        }
        return Ok(());
    };
    output::data(&format!("\n{report}"))?;
    if let Some(secret) = &report.webhook_secret {
        // Shown this once: Stripe shows it again only in its dashboard.
        output::secret(&format!("\n[billing.stripe]\nwebhook_secrets = [\"{}\"]\n", secret.reveal()))?;
        output::note("the last line holds a secret: put it where the configuration finds it, and nowhere else");
    }
    if !report.stripe_prices.is_empty() {
        output::note("write these lines into the configuration, then start, or save the file of what runs");
    }
    Ok(())
}

fn document(plan: &SetupPlan, report: Option<&SetupReport>) -> Value {
    let parts: Vec<Value> = plan.parts.iter().map(part).collect();
    let nothing: &[Made] = &[];
    let to_write = plan.to_write(report.map_or(nothing, |report| &report.made));
    let stripe_prices: Map<String, Value> =
        to_write.into_iter().map(|(plan, prices)| (plan.to_string(), prices.into())).collect();
    let made = report.iter().flat_map(|report| &report.made);
    let failed = report.iter().flat_map(|report| &report.failed);
    let secret = report.and_then(|report| report.webhook_secret.as_ref());
    json!({
        "parts": parts,
        "made": made.map(|made| json!({ "what": made.what.to_string(), "id": made.id })).collect::<Vec<_>>(),
        "failed": failed
            .map(|failed| json!({ "what": failed.what.to_string(), "why": failed.cause.to_string() }))
            .collect::<Vec<_>>(),
        "stripe_prices": stripe_prices,
        "webhook_secret": secret.map(|secret| secret.reveal().to_owned()),
    })
}

fn part(part: &Part) -> Value {
    let (state, detail) = match &part.state {
        State::There { id } => ("there", id),
        State::Missing(make) => ("missing", &make.summary),
        State::Differs { how } => ("differs", how),
        State::LeftToYou { advice } => ("yours", advice),
    };
    json!({ "what": part.what.to_string(), "state": state, "detail": detail })
}
