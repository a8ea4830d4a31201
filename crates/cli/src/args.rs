//! The grammar of the command line. It reads words into types and says what is wrong with them; it does nothing.
//!
//! What a text means to the server (whether a plan exists, whether an id is known) is not judged here.

mod accounts;
mod billing;
mod consumer;
mod questions;
mod story;
mod time;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use tollgate_domain::{MeterName, Rate, parse_count};

pub(crate) use accounts::{
    Accounts, AccountsBan, AccountsCreate, AccountsCredit, AccountsDelete, AccountsOne, AccountsSetPlan, Units,
};
pub(crate) use billing::{
    Demo, Reconcile, Simulate, Stripe, StripeSetup, Webhooks, WebhooksList, WebhooksReplay, WebhooksShow,
};
pub(crate) use consumer::{Login, Logout, Status, api_url};
pub(crate) use questions::{Explain, ExportFormat, Init, Plan, PlanDiff, Usage, UsageExport};
pub(crate) use story::{Step, Story};
pub(crate) use time::{Expiry, Moment, Span};

/// A reverse proxy that turns an existing, unchanged HTTP backend into a paid API.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// The configuration file [default: ./tollgate.toml where there is one, else the defaults]
    #[arg(long, global = true, value_name = "FILE", env = "TOLLGATE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run gateway and admin API in one process, until SIGTERM or Ctrl-C
    Up,
    /// Run a gateway of a fleet alone; needs a shared database and Redis
    Gateway,
    /// Run the admin API of a fleet alone; needs a shared database and Redis
    Admin,
    /// Try it: a sample backend, a gate in front of it on a throwaway store, and curl lines to paste
    Demo(Demo),
    /// Check a configuration file and name every problem in it
    Check(Check),
    /// Make, list, rotate, revoke and import API keys
    #[command(subcommand)]
    Keys(Keys),
    /// Make, list, change, credit, ban, delete and import accounts
    #[command(subcommand)]
    Accounts(Accounts),
    /// Show what a changed file would do to whom
    #[command(subcommand)]
    Plan(Plan),
    /// Tell why a key or a request is allowed or refused, and the facts and limits behind it
    Explain(Explain),
    /// Export what was used
    #[command(subcommand)]
    Usage(Usage),
    /// List what Stripe told and what became of it, show it, have it heeded once more
    #[command(subcommand)]
    Webhooks(Webhooks),
    /// Compare the books: counts, limits, the ledger, what Stripe was told and what Stripe says
    Reconcile(Reconcile),
    /// Live through a subscription's life on a fake clock, and show what the customer could do at each step
    Simulate(Simulate),
    /// Set Stripe up for the plans
    #[command(subcommand)]
    Stripe(Stripe),
    /// Write a first configuration from the backend's own `OpenAPI` document
    Init(Init),
    /// Bring the database up to date, or copy one database into another
    Migrate(Migrate),
    /// Keep an API key for `status`, once the API has taken it [for the API's consumers]
    Login(Login),
    /// Forget a kept API key [for the API's consumers]
    Logout(Logout),
    /// Show the account, its plan and what is left of it [for the API's consumers]
    Status(Status),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Run the sample backend of the demo alone
    #[command(hide = true)]
    Backend(Backend),
}

/// Whether data is for a program.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Format {
    /// Print JSON instead of text for people
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Check {
    /// The file to check
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Migrate {
    /// Copy this database, `sqlite://FILE` or `postgres://…`, and compare every row; nothing may use it meanwhile
    #[arg(long, value_name = "URL", env = "TOLLGATE_MIGRATE_FROM", hide_env_values = true)]
    pub(crate) from: Option<String>,
    /// The database that is made, updated or copied into [default: the one that the configuration names]
    #[arg(long, value_name = "URL", env = "TOLLGATE_MIGRATE_TO", hide_env_values = true)]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

#[derive(Args, Debug)]
pub(crate) struct Backend {
    /// Where it listens; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8501")]
    pub(crate) listen: SocketAddr,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key (and the account, if its e-mail is new) and print the raw key once
    Create(Box<KeysCreate>),
    /// List keys, masked
    List(KeysList),
    /// Replace a key by a new one and print that one's raw key once
    Rotate(KeysRotate),
    /// Revoke a key for good
    Revoke(KeysRevoke),
    /// Take existing keys over from a CSV file, all or none
    Import(Import),
}

#[derive(Args, Debug)]
pub(crate) struct KeysCreate {
    /// The owner's e-mail; the account is made if it is new
    #[arg(long, value_name = "EMAIL", required_unless_present = "account", conflicts_with = "account")]
    pub(crate) email: Option<String>,
    /// The owner's account, where there is one already
    #[arg(long, value_name = "ID|EMAIL")]
    pub(crate) account: Option<String>,
    /// The plan of a new account, or the one that an existing account is on
    #[arg(long, value_name = "PLAN", required_unless_present = "account")]
    pub(crate) plan: Option<String>,
    /// What the key is called
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// When it stops working: RFC 3339, a date (UTC), or a time from now such as `30d` or `12h`
    #[arg(long, value_name = "T", value_parser = Expiry::parse)]
    pub(crate) expires: Option<Expiry>,
    /// A route it may call, by name or glob; may be given several times; without any it may call all
    #[arg(long = "scope", value_name = "GLOB")]
    pub(crate) scopes: Vec<String>,
    /// Let it call GET, HEAD and OPTIONS only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// A network it may be used from; may be given several times; without any it may be used from all
    #[arg(long, value_name = "CIDR")]
    pub(crate) ip_allow: Vec<String>,
    /// A network it may never be used from; may be given several times
    #[arg(long, value_name = "CIDR")]
    pub(crate) ip_deny: Vec<String>,
    /// A rate of its own below the plan's, such as `100/minute`
    #[arg(long, value_name = "RATE", value_parser = Rate::parse)]
    pub(crate) rate: Option<Rate>,
    /// The burst of its own rate
    #[arg(long, value_name = "N", value_parser = count, requires = "rate")]
    pub(crate) burst: Option<u64>,
    /// Units it may use of the account's quota in a period
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) cap: Option<u64>,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct KeysList {
    /// Only this account's
    #[arg(long, value_name = "ID|EMAIL")]
    pub(crate) account: Option<String>,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct KeysRotate {
    /// The key's id, not the raw key
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// How long the old key keeps working, up to `30d` [default: not at all]
    #[arg(long, value_name = "DURATION", value_parser = Span::parse)]
    pub(crate) grace: Option<Span>,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct KeysRevoke {
    /// The key's id, not the raw key
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Import {
    /// The CSV file, its first line naming the columns; `-` reads standard input
    #[arg(value_name = "FILE.csv")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) format: Format,
}

fn meter(text: &str) -> Result<String, String> {
    match MeterName::new(text) {
        Some(name) => Ok(name.to_string()),
        None => Err("a meter's name has up to 32 of a-z, 0-9 and `_`, and begins with a letter".to_owned()),
    }
}

fn count(text: &str) -> Result<u64, String> {
    parse_count(text).ok_or_else(|| "write a whole number from 0, such as `10_000`".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("tollgate").chain(line.split_whitespace()))
    }

    #[test]
    fn the_grammar_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn documented_lines_are_read() {
        for line in [
            "up",
            "--config a.toml up",
            "up --config a.toml",
            "gateway",
            "admin",
            "demo",
            "demo --billing",
            "webhooks list",
            "webhooks list --state dead --kind invoice.paid --account a@b.c --limit 5 --json",
            "webhooks show evt_1",
            "webhooks replay evt_1 evt_2 --json",
            "webhooks replay --dead",
            "reconcile",
            "reconcile --fix --json",
            "simulate trial->active->past_due->recovered",
            "simulate --seed 7 --shuffles 3 --plan pro --json active->canceled",
            "stripe setup",
            "stripe setup --yes --json",
            "check a.toml",
            "keys create --email a@b.c --plan pro",
            "keys create --email a@b.c --plan pro --name ci --expires 30d --scope events --scope public-* --read-only \
             --ip-allow 10.0.0.0/8 --ip-deny 10.1.0.0/16 --rate 100/minute --burst 5 --cap 10_000 --json",
            "keys create --account acc_0000000000000000000001",
            "keys list",
            "keys list --account a@b.c --json",
            "keys rotate key_0000000000000000000001 --grace 1h",
            "keys revoke key_0000000000000000000001",
            "keys import keys.csv",
            "keys import - --json",
            "accounts create --email a@b.c",
            "accounts list --json",
            "accounts show a@b.c --json",
            "accounts set-plan a@b.c pro",
            "accounts set-plan a@b.c --auto",
            "accounts credit a@b.c 5",
            "accounts credit a@b.c all --meter tokens --reason goodwill --json",
            "accounts ban a@b.c --reason spam",
            "accounts unban a@b.c",
            "accounts delete a@b.c --yes",
            "accounts import accounts.csv",
            "plan diff new.toml",
            "plan diff new.toml --replay 7d --json",
            "explain key_0000000000000000000001",
            "explain - --json",
            "explain --json key_0000000000000000000001",
            "usage export",
            "usage export --account a@b.c --from 2026-01-01 --to 2026-02-01T00:00:00Z --format jsonl",
            "usage export --from 7d --json",
            "init --openapi openapi.yaml",
            "init --openapi https://api.example.com/openapi.json --upstream http://127.0.0.1:9000 --out tollgate.toml",
            "login",
            "login --url https://api.example.com/tollgate --key tg_live_x",
            "logout --url https://api.example.com",
            "logout --all",
            "status",
            "status --url https://api.example.com --key tg_live_x --require tokens --json",
            "completions bash",
            "backend --listen 127.0.0.1:0",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn wrong_usage_is_refused_with_status_2() {
        use ErrorKind::{ArgumentConflict, InvalidSubcommand, InvalidValue, MissingRequiredArgument, UnknownArgument};
        for (line, kind) in [
            ("", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("fly", InvalidSubcommand),
            ("webhooks", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("webhooks list --state lost", InvalidValue),
            ("webhooks show", MissingRequiredArgument),
            ("webhooks show ..", ErrorKind::ValueValidation),
            ("webhooks replay", MissingRequiredArgument),
            ("webhooks replay evt_1 evt/2", ErrorKind::ValueValidation),
            ("webhooks replay evt_1 --dead", ArgumentConflict),
            ("reconcile --repair", UnknownArgument),
            ("simulate", MissingRequiredArgument),
            ("simulate trial->flying", ErrorKind::ValueValidation),
            ("simulate trial --shuffles 0", ErrorKind::ValueValidation),
            ("simulate trial --seed x", ErrorKind::ValueValidation),
            ("stripe", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("stripe teardown", InvalidSubcommand),
            ("demo --billing=no", ErrorKind::TooManyValues),
            ("accounts credit a@b.c", MissingRequiredArgument),
            ("accounts credit a@b.c 0", ErrorKind::ValueValidation),
            ("accounts credit a@b.c=-5", MissingRequiredArgument),
            ("accounts credit a@b.c 5 --meter Tokens", ErrorKind::ValueValidation),
            ("plan diff", MissingRequiredArgument),
            ("plan diff new.toml --replay month", ErrorKind::ValueValidation),
            ("explain", MissingRequiredArgument),
            ("usage export --format xml", InvalidValue),
            ("usage export --format csv --json", ArgumentConflict),
            ("usage export --from soon", ErrorKind::ValueValidation),
            ("init", MissingRequiredArgument),
            ("login --url ftp://api.example.com", ErrorKind::ValueValidation),
            ("login --url https://user:secret@api.example.com", ErrorKind::ValueValidation),
            ("logout --all --url https://api.example.com", ArgumentConflict),
            ("status --require", InvalidValue),
            ("status --require Tokens", ErrorKind::ValueValidation),
            ("check", MissingRequiredArgument),
            ("up --json", UnknownArgument),
            ("keys create --email a@b.c", MissingRequiredArgument),
            ("keys create --plan pro", MissingRequiredArgument),
            ("keys create --email a@b.c --account acc_1 --plan pro", ArgumentConflict),
            ("keys create --email a@b.c --plan pro --expires soon", ErrorKind::ValueValidation),
            ("keys create --email a@b.c --plan pro --expires=-3d", ErrorKind::ValueValidation),
            ("keys create --email a@b.c --plan pro --rate fast", ErrorKind::ValueValidation),
            ("keys create --email a@b.c --plan pro --burst 5", MissingRequiredArgument),
            ("keys create --email a@b.c --plan pro --cap many", ErrorKind::ValueValidation),
            ("keys rotate", MissingRequiredArgument),
            ("keys rotate key_1 --grace 1fortnight", ErrorKind::ValueValidation),
            ("accounts set-plan a@b.c", MissingRequiredArgument),
            ("accounts set-plan a@b.c pro --auto", ArgumentConflict),
            ("completions basic", InvalidValue),
            ("backend --listen nowhere", ErrorKind::ValueValidation),
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.kind(), kind, "{line}: {error}");
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
