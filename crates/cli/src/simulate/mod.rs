//! `simulate`: a subscription's life on a fake clock, through the real inbox and worker, over a store in memory.
//!
//! It is lived once with its events in order, and shown; then again and again with them shuffled, doubled and late, and
//! compared. Nothing of it touches the deployment: of the configuration only the plans and what follows from failed
//! payments are used.

mod life;
mod random;
pub(crate) mod sold;

use std::path::Path;

use anyhow::{Context, anyhow};
use serde_json::{Value, json};

use crate::args::{Simulate, Story};
use crate::commands::Failure;
use crate::output;
use life::{Lived, Moment, Telling};
use random::Random;
use sold::{Sold, Source};

/// Lives the story, and compares.
pub(crate) async fn run(command: &Simulate, config: Option<&Path>) -> Result<(), Failure> {
    let sold = Sold::load(config)?;
    let plan = sold.plan(command.plan.as_deref())?;
    let seed = command.seed.map_or_else(drawn, Ok)?;
    match &sold.source {
        Source::File(path) => output::note(&format!("plans of {}, beginning with `{}`", path.display(), plan.name)),
        Source::Sample => output::note(&format!(
            "sample plans pro and team, beginning with `{}`: the configuration sells none (`stripe_prices`)",
            plan.name
        )),
    }
    let plain = life::live(&command.story, &sold, &plan, &Telling::Plain).await?;
    if !command.format.json {
        output::data(&table(&command.story, &plain))?;
    }
    let mut seeds = Random::new(seed);
    let mut differing = Vec::new();
    let mut told = 0;
    for _ in 0..command.shuffles {
        let seed = seeds.next();
        let shuffled = life::live(&command.story, &sold, &plan, &Telling::Shuffled(seed)).await?;
        told += shuffled.told;
        differing.extend(difference(&command.story, &plain, &shuffled));
    }
    if command.format.json {
        output::json(&document(command, seed, &plain, told, &differing))?;
    }
    if let Some(first) = differing.first() {
        let many = differing.len();
        return Err(anyhow!("{many} of {} shuffles ended otherwise (--seed {seed}); the first: {first}", command.shuffles).into());
    }
    output::note(&format!(
        "{} events, told {told} times in {} shuffles (doubled, out of order, late): every one was the same at every step \
         (--seed {seed})",
        plain.events, command.shuffles
    ));
    Ok(())
}

/// A number that nobody chose.
fn drawn() -> anyhow::Result<u64> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("the system gives no random bytes: {error}")).context("--seed")?;
    // Short enough to be typed again.
    Ok(u64::from(u32::from_le_bytes(bytes)))
}

fn table(story: &Story, lived: &Lived) -> String {
    let rows: Vec<_> = story
        .0
        .iter()
        .zip(&lived.moments)
        .map(|(step, moment)| {
            let Moment { at, status, plan, call, why, until } = moment;
            [
                at.to_string(),
                step.to_string(),
                status.clone(),
                plan.clone().unwrap_or_default(),
                call.to_string(),
                until.map(|until| until.to_string()).unwrap_or_default(),
                why.clone(),
            ]
        })
        .collect();
    output::table(["TIME", "STEP", "AT STRIPE", "PLAN", "CALL", "UNTIL", "WHY"], &rows)
}

/// The first step at which two lives differ, in words.
fn difference(story: &Story, one: &Lived, other: &Lived) -> Option<String> {
    let moments = one.moments.iter().zip(&other.moments);
    let found = story.0.iter().zip(moments).find(|(_, (one, other))| one != other);
    found.map(|(step, (one, other))| {
        let shown = |moment: &Moment| {
            format!("{} {} ({})", moment.call, moment.plan.as_deref().unwrap_or("no plan"), moment.why)
        };
        format!("after `{step}` {} and {}", shown(one), shown(other))
    })
}

fn document(command: &Simulate, seed: u64, plain: &Lived, told: usize, differing: &[String]) -> Value {
    let steps = command.story.0.iter().zip(&plain.moments).map(|(step, moment)| {
        let Moment { at, status, plan, call, why, until } = moment;
        json!({
            "step": step.to_string(),
            "at": at.to_string(),
            "stripe_status": status,
            "plan": plan,
            "call": call,
            "why": why,
            "until": until.map(|until| until.to_string()),
        })
    });
    json!({
        "steps": steps.collect::<Vec<_>>(),
        "events": plain.events,
        "seed": seed,
        "shuffles": command.shuffles,
        "events_told": told,
        "same": differing.is_empty(),
        "differences": differing,
    })
}
