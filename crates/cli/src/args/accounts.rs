//! The words of the `accounts` commands.

use clap::{Args, Subcommand};
use tollgate_domain::parse_count;

use super::time::Expiry;
use super::{Format, Import, meter};

#[derive(Debug, Subcommand)]
pub(crate) enum Accounts {
    /// Make an account without a key
    Create(AccountsCreate),
    /// List accounts
    List(AccountsList),
    /// Show one account: plan, state, quota
    Show(AccountsOne),
    /// Set an account's plan, or lift what was set with --auto
    SetPlan(AccountsSetPlan),
    /// Give an account units back in its open period
    Credit(AccountsCredit),
    /// Refuse every key of an account until it is unbanned
    Ban(AccountsBan),
    /// Lift a ban
    Unban(AccountsOne),
    /// Delete an account for good; its keys stop working at once
    Delete(AccountsDelete),
    /// Take existing accounts over from a CSV file, all or none
    Import(Import),
}

#[derive(Args, Debug)]
pub(crate) struct AccountsCreate {
    /// The owner's e-mail
    #[arg(long, value_name = "EMAIL")]
    pub(crate) email: String,
    /// The account's plan [default: the plan of new accounts in the config]
    #[arg(long, value_name = "PLAN")]
    pub(crate) plan: Option<String>,
    /// What the account is called
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct AccountsList {
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct AccountsOne {
    /// The account's id or e-mail
    #[arg(value_name = "ACCOUNT")]
    pub(crate) account: String,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct AccountsSetPlan {
    /// The account's id or e-mail
    #[arg(value_name = "ACCOUNT")]
    pub(crate) account: String,
    /// The plan; it holds until lifted
    #[arg(value_name = "PLAN", required_unless_present = "auto", conflicts_with = "auto")]
    pub(crate) plan: Option<String>,
    /// When the plan ends by itself: an instant such as `2027-01-31`, or a span from now such as `30d`
    #[arg(long, value_name = "TIME", value_parser = Expiry::parse, conflicts_with = "auto")]
    pub(crate) until: Option<Expiry>,
    /// Lift the plan an operator set: back to the subscription's or the default plan
    #[arg(long)]
    pub(crate) auto: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct AccountsCredit {
    /// The account's id or e-mail
    #[arg(value_name = "ACCOUNT")]
    pub(crate) account: String,
    /// How many units of what is used in the open period are used no more; `all` for every one
    #[arg(value_name = "UNITS|all", value_parser = Units::parse)]
    pub(crate) units: Units,
    /// Units of this meter [default: calls]
    #[arg(long, value_name = "METER", value_parser = meter)]
    pub(crate) meter: Option<String>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// How many units are given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Units {
    /// So many.
    Count(u64),
    /// As many as are used.
    All,
}

impl Units {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let count = parse_count(text).filter(|count| *count > 0).map(Self::Count);
        count.ok_or_else(|| "write a whole number from 1, such as `500`, or `all`".to_owned())
    }
}

#[derive(Args, Debug)]
pub(crate) struct AccountsBan {
    /// The account's id or e-mail
    #[arg(value_name = "ACCOUNT")]
    pub(crate) account: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct AccountsDelete {
    /// The account's id or e-mail
    #[arg(value_name = "ACCOUNT")]
    pub(crate) account: String,
    /// Yes, delete it
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}
