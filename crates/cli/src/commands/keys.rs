//! `keys create|list|rotate|revoke|import`: asks the admin API and prints what it answers.
//!
//! A raw key passes through here once, on its way to standard output.

use std::path::Path;

use anyhow::anyhow;
use serde_json::{Map, Value, json};

use crate::args::{Keys, KeysCreate, KeysList, KeysRevoke, KeysRotate};
use crate::commands::{Failure, account_reference, admin_client, import, key_id, moment, now, rows, text};
use crate::output;

/// Does one of the `keys` commands.
pub(crate) async fn run(command: Keys, config: Option<&Path>) -> Result<(), Failure> {
    match command {
        Keys::Create(command) => create(&command, config).await,
        Keys::List(command) => list(&command, config).await,
        Keys::Rotate(command) => rotate(&command, config).await,
        Keys::Revoke(command) => revoke(&command, config).await,
        Keys::Import(command) => import::import(&admin_client(config)?, "keys", &rows::KEYS, &command).await,
    }
}

async fn create(command: &KeysCreate, config: Option<&Path>) -> Result<(), Failure> {
    let request = create_request(command)?;
    let made = admin_client(config)?.post(&["keys"], &request).await?;
    let about =
        format!("key {} of account {} on plan {}", text(&made, "/id"), text(&made, "/account"), text(&made, "/plan"));
    print_raw_key(&made, command.format.json, &format!("{about}; the raw key is shown this once only"))
}

/// The request's body: what was given, nothing that was not.
fn create_request(command: &KeysCreate) -> Result<Value, Failure> {
    let account = command.account.as_deref().map(account_reference).transpose()?;
    let lists = [("scopes", &command.scopes), ("ip_allow", &command.ip_allow), ("ip_deny", &command.ip_deny)];
    let fields = [
        ("email", command.email.as_deref().map(Value::from)),
        ("account", account.map(Value::from)),
        ("plan", command.plan.as_deref().map(Value::from)),
        ("name", command.name.as_deref().map(Value::from)),
        ("expires_at", command.expires.map(|expiry| expiry.instant(now()).to_string().into())),
        ("read_only", command.read_only.then_some(Value::Bool(true))),
        ("rate", command.rate.map(|rate| rate.to_string().into())),
        ("burst", command.burst.map(Value::from)),
        ("cap", command.cap.map(Value::from)),
    ];
    let lists = lists.into_iter().map(|(name, list)| (name, (!list.is_empty()).then(|| json!(list))));
    let given = fields.into_iter().chain(lists).filter_map(|(name, value)| value.map(|value| (name.to_owned(), value)));
    Ok(Value::Object(given.collect::<Map<_, _>>()))
}

async fn list(command: &KeysList, config: Option<&Path>) -> Result<(), Failure> {
    let reference = command.account.as_deref().map(account_reference).transpose()?;
    let client = admin_client(config)?;
    let filter: Vec<(&str, &str)> = reference.iter().map(|reference| ("account", reference.as_str())).collect();
    let keys = client.list(&["keys"], &filter).await?;
    if command.format.json {
        return Ok(output::json(&Value::Array(keys))?);
    }
    let rows: Vec<_> = keys
        .iter()
        .map(|key| {
            let [id, account, masked, name, state] =
                ["/id", "/account", "/masked", "/name", "/state"].map(|field| text(key, field));
            let [created, expires, used] =
                ["/created_at", "/expires_at", "/last_used_at"].map(|field| moment(key, field));
            [id, account, masked, name, state, created, expires, used]
        })
        .collect();
    let headings = ["ID", "ACCOUNT", "KEY", "NAME", "STATE", "CREATED", "EXPIRES", "LAST USED"];
    Ok(output::data(&output::table(headings, &rows))?)
}

async fn rotate(command: &KeysRotate, config: Option<&Path>) -> Result<(), Failure> {
    let id = key_id(&command.id)?;
    let request = command.grace.map_or_else(|| json!({}), |grace| json!({ "grace": grace.as_seconds_text() }));
    let made = admin_client(config)?.post(&["keys", &id, "rotate"], &request).await?;
    let old = match command.grace.filter(|grace| grace.micros > 0) {
        Some(_) => format!("{id} works until {}", text(&made, "/replaces/grace_until")),
        None => format!("{id} works no more"),
    };
    let about = format!("key {} takes its place, {old}; the raw key is shown this once only", text(&made, "/id"));
    print_raw_key(&made, command.format.json, &about)
}

async fn revoke(command: &KeysRevoke, config: Option<&Path>) -> Result<(), Failure> {
    let id = key_id(&command.id)?;
    let revoked = admin_client(config)?.delete(&["keys", &id]).await?;
    if command.format.json {
        output::json(&revoked)?;
    }
    output::note(&format!("key {id} is revoked"));
    Ok(())
}

/// Prints a new key. Where nobody can have read it that is a failure, which says how to be rid of the key.
fn print_raw_key(made: &Value, as_json: bool, about: &str) -> Result<(), Failure> {
    let raw = raw_key(made)?;
    let printed = if as_json { output::json_text(made) } else { format!("{raw}\n") };
    output::secret(&printed).map_err(|error| {
        let id = text(made, "/id");
        anyhow!("key {id} was made but could not be printed ({error}); end it with `tollgate keys revoke {id}`")
    })?;
    output::note(about);
    Ok(())
}

/// The raw key in the answer of the call that made it.
pub(crate) fn raw_key(made: &Value) -> anyhow::Result<&str> {
    made.get("key").and_then(Value::as_str).ok_or_else(|| anyhow!("the admin API gave no raw key"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Arguments, Command};

    fn request(line: &str) -> Result<Value, Failure> {
        let words = ["tollgate", "keys", "create"].into_iter().chain(line.split_whitespace());
        match Arguments::try_parse_from(words).expect(line).command {
            Command::Keys(Keys::Create(command)) => create_request(&command),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_request_holds_what_was_given_and_nothing_else() {
        for (line, expected) in [
            ("--email a@b.c --plan pro", json!({ "email": "a@b.c", "plan": "pro" })),
            (
                "--account acc_0000000000000000000001 --cap 0",
                json!({ "account": "acc_0000000000000000000001", "cap": 0 }),
            ),
            (
                "--email a@b.c --plan pro --name ci --expires 2030-01-31 --scope a --scope b* --read-only \
                 --ip-allow 10.0.0.0/8 --ip-deny 10.1.0.0/16 --rate 1_00/minute --burst 5 --cap 10_000",
                json!({
                    "email": "a@b.c", "plan": "pro", "name": "ci", "expires_at": "2030-01-31T00:00:00Z",
                    "scopes": ["a", "b*"], "read_only": true, "ip_allow": ["10.0.0.0/8"], "ip_deny": ["10.1.0.0/16"],
                    "rate": "100/minute", "burst": 5, "cap": 10_000
                }),
            ),
        ] {
            assert_eq!(request(line).expect(line), expected, "{line}");
        }
        assert!(matches!(request("--account tg_live_x"), Err(Failure::Usage(_))));
    }
}
