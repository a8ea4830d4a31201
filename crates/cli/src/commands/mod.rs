//! What each command does, and how its end becomes an exit status: 0 done, 1 refused or failed, 2 wrong usage.
//!
//! Rules of the business stand in the domain; what operators may do is decided by the admin API they speak to.

mod accounts;
mod check;
mod completions;
mod consumer;
mod explain;
mod import;
mod init;
pub(crate) mod keys;
mod migrate;
mod plan;
mod reconcile;
mod rows;
mod service;
mod stripe;
mod usage;
mod webhooks;

use std::future::Future;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;
use tollgate_config::Diagnostics;
use tollgate_domain::{AccountId, KeyId, Timestamp};

use crate::args::{Arguments, Command, Plan, Stripe, Usage};
use crate::client::AdminClient;
use crate::run::Role;
use crate::{demo, output, run, simulate};

/// Refused or failed.
const FAILED: u8 = 1;
/// Wrong usage, as clap says it too.
const WRONG_USAGE: u8 = 2;

/// How a command can end other than done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The words of the command cannot be meant; what to write instead.
    Usage(String),
    /// It was refused, or failed.
    Failed(anyhow::Error),
    /// It failed, and everything that is to be said has been said.
    Said,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Does what was asked and tells the exit status.
pub(crate) fn dispatch(arguments: Arguments) -> ExitCode {
    let config = arguments.config.as_deref();
    let done = match arguments.command {
        Command::Up => service::serve(Role::Up, config),
        Command::Gateway => service::serve(Role::Gateway, config),
        Command::Admin => service::serve(Role::Admin, config),
        Command::Demo(command) => demo::run(&command),
        Command::Backend(backend) => demo::serve_backend(&backend),
        Command::Check(check) => check::check(&check.file),
        Command::Keys(command) => block_on(keys::run(command, config)),
        Command::Accounts(command) => block_on(accounts::run(command, config)),
        Command::Plan(Plan::Diff(command)) => block_on(plan::diff(&command, config)),
        Command::Explain(command) => block_on(explain::explain(&command, config)),
        Command::Usage(Usage::Export(command)) => block_on(usage::export(&command, config)),
        Command::Webhooks(command) => block_on(webhooks::run(command, config)),
        Command::Reconcile(command) => block_on(reconcile::run(&command, config)),
        Command::Simulate(command) => block_on(simulate::run(&command, config)),
        Command::Stripe(Stripe::Setup(command)) => block_on(stripe::setup(&command, config)),
        Command::Init(command) => block_on(init::init(&command)),
        Command::Login(command) => block_on(consumer::login(&command)),
        Command::Logout(command) => consumer::logout(&command),
        Command::Status(command) => block_on(consumer::status(&command)),
        Command::Migrate(migrate) => block_on(migrate::run(&migrate, config)),
        Command::Completions(completions) => completions::print(completions.shell),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => exit_code(&failure),
    }
}

fn exit_code(failure: &Failure) -> ExitCode {
    match failure {
        Failure::Usage(advice) => {
            output::note(&format!("error: {advice}\n\nFor more information, try '--help'."));
            ExitCode::from(WRONG_USAGE)
        }
        Failure::Failed(error) => {
            // Diagnostics begin with FILE:LINE:COLUMN, for whatever reads them; nothing goes in front of that.
            let said = if error.is::<Diagnostics>() { format!("{error}") } else { format!("error: {error:#}") };
            output::note(&said);
            ExitCode::from(FAILED)
        }
        Failure::Said => ExitCode::from(FAILED),
    }
}

/// The admin API that the configuration names.
fn admin_client(config: Option<&Path>) -> Result<AdminClient, Failure> {
    Ok(AdminClient::of(&run::load_admin_access(config)?)?)
}

/// Runs one command's calls on this thread.
fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start")?.block_on(command)
}

/// The field of a record at a JSON pointer, as text; empty where there is none.
fn text(record: &Value, pointer: &str) -> String {
    match record.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null | Value::Object(_) | Value::Array(_)) => String::new(),
        Some(other) => other.to_string(),
    }
}

/// The instant at a JSON pointer, to the second: what a table for people needs.
fn moment(record: &Value, pointer: &str) -> String {
    let exact = text(record, pointer);
    Timestamp::parse(&exact).map_or(exact, |at| Timestamp::from_secs(at.as_secs()).to_string())
}

/// Every fact of a record on a line of its own, `plan.effective  pro`.
fn leaves(record: &Value) -> String {
    let mut facts = Vec::new();
    collect_leaves(record, "", &mut facts);
    let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let lines: Vec<String> =
        facts.iter().map(|(name, value)| format!("{name:<width$}  {}\n", output::visible(value))).collect();
    lines.concat()
}

fn collect_leaves(value: &Value, name: &str, facts: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                let separator = if name.is_empty() { "" } else { "." };
                collect_leaves(value, &format!("{name}{separator}{member}"), facts);
            }
        }
        Value::Null => facts.push((name.to_owned(), "-".to_owned())),
        Value::String(text) => facts.push((name.to_owned(), text.clone())),
        other => facts.push((name.to_owned(), other.to_string())),
    }
}

/// The instant the command was given at.
#[expect(clippy::disallowed_methods, reason = "a command is given now; what it starts has clocks of its own")]
pub(crate) fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

/// A key's id as it was typed. The text is not repeated in the error: it may be a raw key.
fn key_id(text: &str) -> Result<String, Failure> {
    text.parse::<KeyId>().map(|id| id.to_string()).map_err(|_| {
        Failure::Usage(
            "that is not a key's id: it begins with `key_` and stands in `tollgate keys list`; the raw key is not its id"
                .to_owned(),
        )
    })
}

/// An account's id or e-mail as it was typed. The text is not repeated in the error: it may be a raw key.
fn account_reference(text: &str) -> Result<String, Failure> {
    let text = text.trim();
    if text.contains('@') {
        return Ok(text.to_owned());
    }
    text.parse::<AccountId>().map(|id| id.to_string()).map_err(|_| {
        Failure::Usage(
            "that is neither an account's id, which begins with `acc_` and stands in `tollgate accounts list`, nor an \
             e-mail address"
                .to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_shown_fact_by_fact() {
        let account =
            serde_json::json!({ "id": "acc_1", "name": null, "plan": { "effective": "pro" }, "quota": { "used": 3 } });
        assert_eq!(
            leaves(&account),
            "id              acc_1\nname            -\nplan.effective  pro\nquota.used      3\n"
        );
    }

    #[test]
    fn moments_are_cut_to_the_second() {
        let record = serde_json::json!({ "at": "2026-11-22T05:00:43.366141Z", "never": null, "odd": "soon" });
        for (pointer, expected) in [("/at", "2026-11-22T05:00:43Z"), ("/never", ""), ("/odd", "soon"), ("/none", "")] {
            assert_eq!(moment(&record, pointer), expected, "{pointer}");
        }
    }

    #[test]
    fn ids_and_addresses_are_told_apart_and_a_raw_key_is_never_repeated() {
        let raw = "tg_live_3kTMd9yJrWxq0Vb8sLzNfHg2uPoEiCa7tQj5R1vXwYZ000000";
        for text in [raw, "", "key_", ".", "..", "acc_1"] {
            for refused in [key_id(text), account_reference(text)] {
                match refused {
                    Err(Failure::Usage(advice)) => assert!(!advice.contains("3kTM"), "{advice}"),
                    other => panic!("{text}: {other:?}"),
                }
            }
        }
        assert_eq!(account_reference(" ada@example.com ").expect("an address"), "ada@example.com");
        assert_eq!(account_reference("acc_0000000000000000000001").expect("an id"), "acc_0000000000000000000001");
        assert_eq!(key_id("key_0000000000000000000001").expect("an id"), "key_0000000000000000000001");
    }
}
