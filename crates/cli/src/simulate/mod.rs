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
        return Err(anyhow!(
            "{many} of {} shuffles ended otherwise (--seed {seed}); the first: {first}",
            command.shuffles
        )
        .into());
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
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow!("the system gives no random bytes: {error}"))
        .context("--seed")?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn story(text: &str) -> Story {
        Story::parse(text).expect("a good story")
    }

    async fn lived(text: &str, telling: &Telling) -> anyhow::Result<Lived> {
        crate::client::tests::install_crypto_provider();
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("tollgate.toml");
        std::fs::write(&file, "[plans.pro]\n")?;
        let sold = Sold::load(Some(&file))?;
        let plan = sold.plan(None)?;
        life::live(&story(text), &sold, &plan, telling).await
    }

    #[tokio::test]
    async fn a_failed_card_costs_access_when_grace_is_over_and_not_before_and_paying_brings_it_back() {
        let text = "trial -> active -> past_due -> wait 604799s -> wait 1s -> recovered -> upgraded team -> canceled";
        let plain = lived(text, &Telling::Plain).await.expect("it works");
        let told: Vec<(&str, Option<&str>, u16)> =
            plain.moments.iter().map(|moment| (moment.status.as_str(), moment.plan.as_deref(), moment.call)).collect();
        let expected = [
            ("trialing", Some("pro"), 200),
            ("active", Some("pro"), 200),
            ("past_due", Some("pro"), 200),
            ("past_due", Some("pro"), 200),
            ("past_due", None, 402),
            ("active", Some("pro"), 200),
            ("active", Some("team"), 200),
            ("canceled", None, 402),
        ];
        assert_eq!(told, expected);
        assert_eq!(plain.moments[2].until.map(|until| until.to_string()).as_deref(), Some("2026-02-08T00:00:00Z"));
        assert_eq!(plain.told, plain.events);
        for seed in [1, 2] {
            let shuffled = lived(text, &Telling::Shuffled(seed)).await.expect("it works");
            assert!(shuffled.told > shuffled.events && shuffled.events == plain.events);
            assert_eq!(difference(&story(text), &plain, &shuffled), None);
        }
    }

    #[tokio::test]
    async fn what_is_taken_back_by_the_bank_takes_access_and_a_pause_does_too() {
        let text =
            "active -> disputed -> dispute_won -> wait 31d -> refunded -> paused -> resumed -> unpaid -> recovered";
        let plain = lived(text, &Telling::Plain).await.expect("it works");
        let calls: Vec<u16> = plain.moments.iter().map(|moment| moment.call).collect();
        assert_eq!(calls, [200, 402, 200, 200, 200, 402, 200, 402, 200]);
    }

    #[tokio::test]
    async fn a_step_that_cannot_follow_says_why() {
        for (text, part) in [
            ("past_due", "step 1 (`past_due`): there is no subscription yet"),
            ("active -> recovered", "step 2 (`recovered`): it cannot follow: the subscription is active"),
            ("active -> upgraded gold", "`gold` is not sold; sold are pro, team"),
            ("active -> downgraded team", "is not lower than"),
            ("trial -> refunded", "No charge was paid"),
        ] {
            let error = lived(text, &Telling::Plain).await.expect_err(text);
            let words = format!("{error:#}");
            assert!(words.contains(part), "{text}: {words}");
        }
    }

    #[test]
    fn lives_that_differ_are_told_with_the_step() {
        let moment = |call| Moment {
            at: tollgate_domain::Timestamp::EPOCH,
            status: "active".into(),
            plan: Some("pro".into()),
            call,
            why: "paid".into(),
            until: None,
        };
        let lived = |calls: [u16; 2]| Lived { moments: calls.map(moment).to_vec(), events: 1, told: 1 };
        let story = story("active -> wait 1d");
        assert_eq!(difference(&story, &lived([200, 200]), &lived([200, 200])), None);
        let words = difference(&story, &lived([200, 200]), &lived([200, 402])).expect("they differ");
        assert_eq!(words, "after `wait 1d` 200 pro (paid) and 402 pro (paid)");
    }
}
