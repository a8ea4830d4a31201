//! `accounts create|list|show|set-plan|credit|ban|unban|delete|import`: asks the admin API and prints what it answers.

use std::path::Path;

use anyhow::anyhow;
use serde_json::{Value, json};

use crate::args::{
    Accounts, AccountsBan, AccountsCreate, AccountsCredit, AccountsDelete, AccountsOne, AccountsSetPlan, Format, Units,
};
use crate::commands::{Failure, account_reference, admin_client, import, leaves, moment, now, rows, text};
use crate::output;

/// Does one of the `accounts` commands.
pub(crate) async fn run(command: Accounts, config: Option<&Path>) -> Result<(), Failure> {
    match command {
        Accounts::Create(command) => create(&command, config).await,
        Accounts::List(command) => list(command.format, config).await,
        Accounts::Show(command) => show(&command, config).await,
        Accounts::SetPlan(command) => set_plan(&command, config).await,
        Accounts::Credit(command) => credit(&command, config).await,
        Accounts::Ban(command) => ban(&command, config).await,
        Accounts::Unban(command) => unban(&command, config).await,
        Accounts::Delete(command) => delete(&command, config).await,
        Accounts::Import(command) => {
            import::import(&admin_client(config)?, "accounts", &rows::ACCOUNTS, &command).await
        }
    }
}

async fn create(command: &AccountsCreate, config: Option<&Path>) -> Result<(), Failure> {
    let mut request = json!({ "email": command.email });
    for (name, value) in [("name", &command.name), ("plan", &command.plan)] {
        if let Some(value) = value {
            request[name] = value.as_str().into();
        }
    }
    let account = admin_client(config)?.post(&["accounts"], &request).await?;
    if !command.format.json {
        output::data(&format!("{}\n", text(&account, "/id")))?;
    }
    said(&account, command.format, &format!("account {} is made, {}", text(&account, "/id"), plan_words(&account)))
}

async fn list(format: Format, config: Option<&Path>) -> Result<(), Failure> {
    let accounts = admin_client(config)?.list(&["accounts"], &[]).await?;
    if format.json {
        return Ok(output::json(&Value::Array(accounts))?);
    }
    let rows: Vec<_> = accounts
        .iter()
        .map(|account| {
            let [id, email, name, plan, state] =
                ["/id", "/email", "/name", "/plan/effective", "/state"].map(|field| text(account, field));
            [id, email, name, plan, state, moment(account, "/created_at")]
        })
        .collect();
    Ok(output::data(&output::table(["ID", "EMAIL", "NAME", "PLAN", "STATE", "CREATED"], &rows))?)
}

async fn show(command: &AccountsOne, config: Option<&Path>) -> Result<(), Failure> {
    let reference = account_reference(&command.account)?;
    let account = admin_client(config)?.get(&["accounts", &reference]).await?;
    if command.format.json {
        return Ok(output::json(&account)?);
    }
    Ok(output::data(&leaves(&account))?)
}

async fn set_plan(command: &AccountsSetPlan, config: Option<&Path>) -> Result<(), Failure> {
    let reference = account_reference(&command.account)?;
    let mut request = json!({ "plan": command.plan });
    if let Some(until) = command.until {
        request["until"] = until.instant(now()).to_string().into();
    }
    let account = admin_client(config)?.put(&["accounts", &reference, "plan"], &request).await?;
    said(&account, command.format, &format!("account {} is {}", text(&account, "/id"), plan_words(&account)))
}

async fn credit(command: &AccountsCredit, config: Option<&Path>) -> Result<(), Failure> {
    let reference = account_reference(&command.account)?;
    let request = credit_request(command);
    let credited = admin_client(config)?.post(&["accounts", &reference, "credit"], &request).await?;
    let meter = command.meter.as_deref().unwrap_or("calls");
    let [units, used] = ["/credited", "/used"].map(|field| text(&credited, field));
    said(&credited, command.format, &format!("account {reference}: {units} of {meter} given back, {used} used now"))
}

fn credit_request(command: &AccountsCredit) -> Value {
    let mut request = match command.units {
        Units::Count(units) => json!({ "units": units }),
        Units::All => json!({ "units": "all" }),
    };
    for (name, value) in [("meter", &command.meter), ("reason", &command.reason)] {
        if let Some(value) = value {
            request[name] = value.as_str().into();
        }
    }
    request
}

async fn ban(command: &AccountsBan, config: Option<&Path>) -> Result<(), Failure> {
    let reference = account_reference(&command.account)?;
    let request = command.reason.as_deref().map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
    let account = admin_client(config)?.post(&["accounts", &reference, "ban"], &request).await?;
    let id = text(&account, "/id");
    said(&account, command.format, &format!("account {id} is banned: its keys are refused until `accounts unban {id}`"))
}

async fn unban(command: &AccountsOne, config: Option<&Path>) -> Result<(), Failure> {
    let reference = account_reference(&command.account)?;
    let account = admin_client(config)?.post(&["accounts", &reference, "unban"], &json!({})).await?;
    said(&account, command.format, &format!("account {} is not banned", text(&account, "/id")))
}

async fn delete(command: &AccountsDelete, config: Option<&Path>) -> Result<(), Failure> {
    let reference = account_reference(&command.account)?;
    if !command.yes {
        return Err(anyhow!(
            "this deletes {reference} for good: its keys stop working at once, its e-mail and name are erased, its usage \
             stays in the ledger; say so with --yes"
        )
        .into());
    }
    let deleted = admin_client(config)?.delete(&["accounts", &reference]).await?;
    said(&deleted, command.format, &format!("account {reference} is deleted"))
}

/// The data for a program that asked for it, and the message for people.
fn said(data: &Value, format: Format, message: &str) -> Result<(), Failure> {
    if format.json {
        output::json(data)?;
    }
    output::note(&output::visible(message));
    Ok(())
}

fn plan_words(account: &Value) -> String {
    let effective = text(account, "/plan/effective");
    let is_assigned = account.pointer("/plan/assigned").is_some_and(|assigned| !assigned.is_null());
    match (effective.is_empty(), is_assigned) {
        (true, _) => "on no plan: its keys open nothing".to_owned(),
        (false, true) => format!("on plan {effective}, set by an operator until lifted"),
        (false, false) => format!("on plan {effective}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_is_told_with_who_set_it() {
        for (plan, expected) in [
            (json!({ "assigned": "pro", "effective": "pro" }), "on plan pro, set by an operator until lifted"),
            (json!({ "assigned": null, "effective": "free" }), "on plan free"),
            (json!({ "assigned": null, "effective": null }), "on no plan: its keys open nothing"),
        ] {
            assert_eq!(plan_words(&json!({ "plan": plan })), expected);
        }
    }
}
