//! `plan diff NEW.toml`: fetches what is in force and what was used, and has both sides compared.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use serde_json::Value;
use tollgate_config::ProcessEnvironment;
use tollgate_domain::{
    KeyId, MeterName, Period, PlanName, RouteName, Subscription, SubscriptionItem, SubscriptionStatus, Timestamp,
    Withheld, WithheldCause,
};

use crate::args::PlanDiff;
use crate::client::AdminClient;
use crate::commands::{Failure, admin_client, now, text};
use crate::output;
use crate::plan_diff::plans::LostRoute;
use crate::plan_diff::policy::Side;
use crate::plan_diff::replay::{self, Line, Replay, Verdict};
use crate::plan_diff::report::Report;
use crate::plan_diff::tally::Refusals;
use crate::plan_diff::{Move, Person};

/// How many records a page is asked for.
const PAGE_ROWS: &str = "5000";
/// The most ledger lines of one account that are held at once; a call a batch is as many in a month.
const LINES_MAX: usize = 12_000_000;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Compares and prints.
pub(crate) async fn diff(command: &PlanDiff, config: Option<&Path>) -> Result<(), Failure> {
    let new = new_side(&command.file)?;
    let client = admin_client(config)?;
    let old = side_in_force(&client).await?;
    let to = now();
    let from = to.plus_micros(-command.replay.micros);
    let replayed = (from < to).then_some((from, to));
    let report = report(&client, &old, &new, replayed).await?;
    if command.format.json {
        output::json(&report.to_json())?;
    } else {
        output::data(&report.to_text())?;
    }
    report.notes().iter().for_each(|note| output::note(note));
    Ok(())
}

/// Looks at every account.
async fn report(
    client: &AdminClient,
    old: &Side,
    new: &Side,
    replayed: Option<(Timestamp, Timestamp)>,
) -> anyhow::Result<Report> {
    let source = Source { client, first_keys: first_keys(client, old, new).await? };
    let mut report = Report::new(old, new, replayed);
    let accounts = client.list(&["accounts"], &[]).await?;
    let mut told = Instant::now();
    for (index, account) in accounts.iter().enumerate() {
        if told.elapsed() >= TELL_EVERY {
            output::note(&format!("{index} of {} accounts", accounts.len()));
            told = Instant::now();
        }
        let person = person(account)?;
        let moved = Move::of(&person, old, new, now());
        let (verdict, lost) = match replayed {
            None => (Verdict::Same, Vec::new()),
            Some(stretch) => source.replay(&person, &moved, stretch).await?,
        };
        report.add(&person, &moved, (old, new), verdict, lost);
    }
    Ok(report)
}

/// The changed file. One that cannot be used here as a whole, for a variable that only the process has, is compared by its
/// plans and routes all the same.
fn new_side(file: &Path) -> anyhow::Result<Side> {
    let problems = match tollgate_config::load(file, &ProcessEnvironment) {
        Ok(loaded) => {
            loaded.warnings.iter().for_each(|warning| output::note(&warning.to_string()));
            return Ok(Side::of(loaded.config));
        }
        Err(problems) => problems,
    };
    let text = std::fs::read_to_string(file).ok();
    let name = file.display().to_string();
    match text.and_then(|text| Side::of_text(&text, &name, &ProcessEnvironment).ok()) {
        Some(side) => {
            output::note(&format!("{problems}\nwarning: only its plans and routes are compared; they are in order"));
            Ok(side)
        }
        None => Err(problems.into()),
    }
}

async fn side_in_force(client: &AdminClient) -> anyhow::Result<Side> {
    let shown = client.get(&["config"]).await?;
    let text = shown.get("effective_toml").and_then(Value::as_str);
    let text = text.ok_or_else(|| anyhow!("the admin API does not show the configuration in force"))?;
    // Nothing in it stands for a variable any more.
    Side::of_text(text, "the configuration in force", &|_: &str| None)
}

/// The first key of each key's chain of rotations, where it is another: limits of a key's own are counted under it.
async fn first_keys(client: &AdminClient, old: &Side, new: &Side) -> anyhow::Result<HashMap<KeyId, KeyId>> {
    if !old.rates_per_key && !new.rates_per_key {
        return Ok(HashMap::new());
    }
    let keys = client.list(&["keys"], &[]).await?;
    let replaced = keys.iter().filter_map(|key| {
        let id = |pointer: &str| text(key, pointer).parse::<KeyId>().ok();
        Some((id("/replaced_by")?, id("/id")?))
    });
    let replaced: HashMap<KeyId, KeyId> = replaced.collect();
    let first = |id: KeyId| {
        let mut first = id;
        // A chain is never longer than there are links.
        for _ in 0..replaced.len() {
            match replaced.get(&first) {
                Some(before) => first = *before,
                None => break,
            }
        }
        first
    };
    Ok(replaced.keys().map(|id| (*id, first(*id))).collect())
}

fn person(account: &Value) -> anyhow::Result<Person> {
    let id = text(account, "/id");
    let unknown = || format!("the admin API shows an account that cannot be read: {}", output::visible(&id));
    let subscriptions = account.pointer("/subscriptions").and_then(Value::as_array);
    let subscriptions = subscriptions.into_iter().flatten().map(|facts| subscription(facts).with_context(unknown));
    Ok(Person {
        id: id.parse().with_context(unknown)?,
        email: text(account, "/email"),
        assigned_plan: PlanName::new(&text(account, "/plan/assigned")),
        rolling_anchor: Timestamp::parse(&text(account, "/rolling_anchor")).with_context(unknown)?,
        assigned_until: Timestamp::parse(&text(account, "/plan/assigned_until")),
        subscriptions: subscriptions.collect::<anyhow::Result<_>>()?,
    })
}

/// What Stripe says of a subscription, as the admin API shows it.
fn subscription(facts: &Value) -> Option<Subscription> {
    let at = |pointer: &str| Timestamp::parse(&text(facts, pointer));
    let item = |item: &Value| {
        let at = |pointer: &str| Timestamp::parse(&text(item, pointer));
        Some(SubscriptionItem {
            id: text(item, "/id").into(),
            price: text(item, "/price").into(),
            period: Period { start: at("/period/start")?, end: at("/period/end")? },
        })
    };
    let withheld = match facts.pointer("/withheld").filter(|withheld| !withheld.is_null()) {
        None => None,
        Some(_) => {
            Some(Withheld { at: at("/withheld/at")?, cause: WithheldCause::parse(&text(facts, "/withheld/cause"))? })
        }
    };
    Some(Subscription {
        id: text(facts, "/id").into(),
        status: SubscriptionStatus::parse(&text(facts, "/status"))?,
        created_at: at("/created_at")?,
        items: facts.pointer("/items")?.as_array()?.iter().map(item).collect::<Option<_>>()?,
        plan_price: facts.pointer("/plan_price").and_then(Value::as_str).map(Into::into),
        failing_since: at("/failing_since"),
        cancel_at: at("/cancel_at"),
        trial_end: at("/trial_end"),
        withheld,
    })
}

/// Where use is read.
struct Source<'c> {
    client: &'c AdminClient,
    first_keys: HashMap<KeyId, KeyId>,
}

impl Source<'_> {
    /// What a move would have meant for an account in a stretch of time, and what it called of the routes that it loses.
    async fn replay(
        &self,
        person: &Person,
        moved: &Move,
        (from, to): (Timestamp, Timestamp),
    ) -> anyhow::Result<(Verdict, Vec<Refusals>)> {
        let lost =
            if moved.lost.is_empty() { Vec::new() } else { self.calls_of(person, &moved.lost, from, to).await? };
        if !moved.needs_replay() {
            return Ok((Verdict::Same, lost));
        }
        let mut lines = self.lines(person, from.plus_micros(-moved.lookback_us()), to).await?;
        replay::sort(&mut lines);
        let after = lines.split_off(lines.partition_point(|line| line.at < from));
        let mut replay = Replay::new(&moved.old, &moved.new, &lines, from);
        for line in &after {
            replay.push(line);
        }
        Ok((replay.verdict(), lost))
    }

    async fn lines(&self, person: &Person, from: Timestamp, to: Timestamp) -> anyhow::Result<Vec<Line>> {
        let (id, from, to) = (person.id.to_string(), from.to_string(), to.to_string());
        let filter = [("from", from.as_str()), ("to", to.as_str()), ("limit", PAGE_ROWS)];
        let mut lines = Vec::new();
        let mut cursor = None;
        loop {
            let page = self.client.page(&["accounts", &id, "lines"], &filter, cursor.as_deref()).await?;
            for shown in &page.items {
                lines.push(
                    self.line(shown)
                        .with_context(|| format!("the admin API shows a line of {id} that cannot be read"))?,
                );
            }
            if lines.len() > LINES_MAX {
                return Err(anyhow!("{id} has more than {LINES_MAX} lines in that time; choose a shorter --replay"));
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(lines);
            }
        }
    }

    fn line(&self, shown: &Value) -> Option<Line> {
        let at = |pointer: &str| Timestamp::parse(&text(shown, pointer));
        let count = |pointer: &str| shown.pointer(pointer).and_then(Value::as_u64);
        let meter = match text(shown, "/meter").as_str() {
            "" | "calls" => None,
            name => Some(MeterName::new(name)?),
        };
        let key = match text(shown, "/key").as_str() {
            "" => None,
            id => Some(id.parse::<KeyId>().ok()?),
        };
        let route = match text(shown, "/route").as_str() {
            "" => None,
            name => Some(RouteName::new(name)?),
        };
        Some(Line {
            at: at("/at")?,
            place: shown.pointer("/line").and_then(Value::as_i64)?,
            meter,
            key: key.map(|key| self.first_keys.get(&key).copied().unwrap_or(key)),
            route,
            calls: count("/calls")?,
            units_debited: count("/units_debited")?,
            units: shown.pointer("/units").and_then(Value::as_i64)?,
            period: Period { start: at("/period/start")?, end: at("/period/end")? },
        })
    }

    /// What an account called of routes that it loses, known to the hour.
    async fn calls_of(
        &self,
        person: &Person,
        lost: &[LostRoute],
        from: Timestamp,
        to: Timestamp,
    ) -> anyhow::Result<Vec<Refusals>> {
        let (id, from, to) = (person.id.to_string(), from.to_string(), to.to_string());
        let filter = [("account", id.as_str()), ("from", from.as_str()), ("to", to.as_str()), ("limit", PAGE_ROWS)];
        let mut calls: Vec<Refusals> = Vec::new();
        let mut cursor = None;
        loop {
            let page = self.client.page(&["usage", "export"], &filter, cursor.as_deref()).await?;
            for row in &page.items {
                add_lost_calls(&mut calls, lost, row);
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(calls);
            }
        }
    }
}

/// Adds a row of the export, if it is of calls to a lost route by a key.
fn add_lost_calls(calls: &mut Vec<Refusals>, lost: &[LostRoute], row: &Value) {
    let count = |pointer: &str| row.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let is_call = text(row, "/meter") == "calls" && count("/calls") > 0 && !text(row, "/key").is_empty();
    let Some(route) = lost.iter().find(|lost| is_call && lost.route == text(row, "/route")) else { return };
    let Some(hour) = Timestamp::parse(&text(row, "/hour")) else { return };
    let limit = format!("route {}", route.route);
    let (more, units) = (count("/calls"), count("/units_charged"));
    match calls.iter_mut().find(|known| known.limit == limit) {
        Some(known) => {
            known.calls += more;
            known.units += units;
            known.first_at = known.first_at.min(hour);
        }
        None => calls.push(Refusals { limit, calls: more, units, first_at: hour }),
    }
}

#[cfg(test)]
mod month;
#[cfg(test)]
mod tests;
