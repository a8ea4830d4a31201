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

#[cfg(test)]
mod tests {
    use tollgate_fake_stripe::{FakeConfig, FakeStripe};

    use super::*;
    use crate::args::Format;

    fn endpoints(stripe: &FakeStripe) -> usize {
        let listed = stripe.call("GET", "/v1/webhook_endpoints", &[]).expect("it answers");
        listed["data"].as_array().expect("a list").len()
    }

    #[tokio::test]
    async fn what_is_missing_is_made_once_and_only_when_somebody_says_so() {
        crate::client::tests::install_crypto_provider();
        let stripe = FakeStripe::start(FakeConfig::default()).expect("a stand-in");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tollgate.toml");
        // No secret of webhooks yet: this is what makes the endpoint that has one.
        let text = format!(
            "[gateway]\npublic_url = \"https://api.example.com\"\n[billing.stripe]\nsecret_key = \"{}\"\nlivemode = false\n\
             api_base = \"{}\"\n[plans.pro]\nprice = \"29 USD/month\"\nstripe_prices = []\n",
            stripe.api_key(),
            stripe.url()
        );
        std::fs::write(&file, text).expect("written");
        let run = async |yes: bool, json: bool| {
            setup(&StripeSetup { yes, format: Format { json } }, Some(&file)).await.expect("it works");
        };
        run(false, true).await;
        assert_eq!(endpoints(&stripe), 0, "it was only shown");
        run(true, false).await;
        assert_eq!(endpoints(&stripe), 1);
        let prices = || stripe.call("GET", "/v1/prices", &[]).expect("it answers")["data"].as_array().map(Vec::len);
        let made = prices();
        assert!(made.is_some_and(|made| made > 0));
        run(true, true).await;
        assert_eq!((endpoints(&stripe), prices()), (1, made), "nothing is made twice");
    }

    #[tokio::test]
    async fn without_the_section_there_is_advice() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tollgate.toml");
        std::fs::write(&file, "[plans.pro]\n").expect("written");
        let failed = setup(&StripeSetup { yes: true, format: Format { json: false } }, Some(&file)).await;
        match failed {
            Err(Failure::Failed(error)) => assert!(error.to_string().contains("no [billing.stripe]"), "{error}"),
            other => panic!("{other:?}"),
        }
    }
}
