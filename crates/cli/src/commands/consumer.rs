//! `login | logout | status`: for an API's consumers, who have a key and no part in how the API is run.

use serde_json::{Value, json};
use tollgate_config::{Environment, ProcessEnvironment};
use url::Url;

use crate::args::{Login, Logout, Status, api_url};
use crate::commands::{Failure, leaves, moment, text};
use crate::consumer::credentials::{Credentials, Entry};
use crate::consumer::{Consumer, ConsumerError, Found, is_in_the_clear, prompt, shown};
use crate::output;

/// The variable that names the API.
const URL_VARIABLE: &str = "TOLLGATE_API_URL";
/// The variable that holds the key.
const KEY_VARIABLE: &str = "TOLLGATE_API_KEY";
/// What `--require` calls the quota of calls.
const CALLS: &str = "calls";

/// Asks the API whether the key is good, then keeps it.
pub(crate) async fn login(command: &Login) -> Result<(), Failure> {
    let mut credentials = credentials()?;
    let url = command.url.clone().or_else(|| credentials.current()).ok_or_else(which_api)?;
    warn_in_the_clear(&url);
    let key = match &command.key {
        Some(key) => key.clone(),
        None => prompt::secret(&format!("API key for {}", shown(&url))).await?,
    };
    let known = credentials.entry(&url);
    let found = Consumer::new(&key)?.find(&url, known.as_ref().and_then(|entry| entry.base.as_ref())).await?;
    let url = known.map_or(url, |entry| entry.url);
    credentials.keep(&Entry { url: url.clone(), base: Some(found.base), key: key.trim().to_owned() });
    credentials.write()?;
    if command.format.json {
        output::json(&json!({ "url": shown(&url), "account": found.me["account"], "email": found.me["email"] }))?;
    }
    let email = text(&found.me, "/email");
    output::note(&output::visible(&format!("logged in to {} as {email}", shown(&url))));
    if set(KEY_VARIABLE).is_some() {
        output::note(&format!("${KEY_VARIABLE} is set and comes before the key that is kept"));
    }
    Ok(())
}

/// Forgets a kept key. The key itself goes on working: its owner revokes it at the API.
pub(crate) fn logout(command: &Logout) -> Result<(), Failure> {
    let mut credentials = credentials()?;
    let urls: Vec<Url> = if command.all {
        credentials.entries().map(|entry| entry.url).collect()
    } else {
        let named = match &command.url {
            Some(url) => Some(url.clone()),
            None => set(URL_VARIABLE).map(|text| api_url(&text)).transpose().map_err(Failure::Usage)?,
        };
        match named.or_else(|| credentials.current()) {
            Some(url) => vec![url],
            None if credentials.entries().next().is_none() => Vec::new(),
            None => return Err(which_api()),
        }
    };
    let forgotten: Vec<String> = urls.iter().filter(|url| credentials.forget(url)).map(shown).collect();
    if !forgotten.is_empty() {
        credentials.write()?;
    }
    if command.format.json {
        output::json(&json!({ "forgotten": forgotten }))?;
    }
    output::note(&match forgotten.as_slice() {
        [] => "no key is kept; nothing was done".to_owned(),
        urls => format!("the key for {} is forgotten here; it works until it is revoked", urls.join(" and ")),
    });
    if set(KEY_VARIABLE).is_some() {
        output::note(&format!("${KEY_VARIABLE} is still set"));
    }
    Ok(())
}

/// Shows the account and what is left, or asks whether there is enough left for what comes next.
pub(crate) async fn status(command: &Status) -> Result<(), Failure> {
    let credentials = credentials()?;
    let url = command.url.clone().or_else(|| credentials.current()).ok_or_else(which_api)?;
    warn_in_the_clear(&url);
    let kept = credentials.entry(&url);
    let key = command.key.clone().or_else(|| kept.as_ref().map(|entry| entry.key.clone()));
    let key = key.ok_or_else(|| {
        Failure::Usage(format!(
            "no key is kept for {}: `tollgate login --url {0}`, or set ${KEY_VARIABLE}",
            shown(&url)
        ))
    })?;
    let base = kept.and_then(|entry| entry.base);
    match ask(&Consumer::new(&key)?, &url, base.as_ref()).await {
        Ok((found, quota)) => say(command, &found, &quota),
        Err(error) if command.require.is_some() && error.is_passing() => {
            output::note(&format!("warning: {error}; going on as if enough were left"));
            if command.format.json {
                output::json(&json!({ "url": shown(&url), "reachable": false }))?;
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

async fn ask(consumer: &Consumer, url: &Url, known: Option<&Url>) -> Result<(Found, Value), ConsumerError> {
    let found = consumer.find(url, known).await?;
    let quota = consumer.get(&found.base, "quota").await?;
    Ok((found, quota))
}

fn say(command: &Status, found: &Found, quota: &Value) -> Result<(), Failure> {
    let required = command.require.as_deref().map(|meter| (meter, what_is_left(meter, quota)));
    if command.format.json {
        output::json(&status_json(found, quota, required.as_ref()))?;
    } else {
        output::data(&status_text(found, quota))?;
    }
    match required {
        None | Some((_, Left::Enough)) => Ok(()),
        Some((meter, Left::Spent { resets_at })) => {
            let until = resets_at.map(|at| format!(" until {at}")).unwrap_or_default();
            output::note(&format!("error: nothing is left of `{meter}`{until}"));
            Err(Failure::Said)
        }
        Some((meter, Left::Unknown { known })) => {
            output::note(&format!("error: the plan says nothing of `{meter}`; there are {}", known.join(", ")));
            Err(Failure::Said)
        }
    }
}

/// How much of a meter is left.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    /// One more unit at least.
    Enough,
    /// Nothing.
    Spent {
        /// When there is some again, if that is known.
        resets_at: Option<String>,
    },
    /// The answer does not say.
    Unknown {
        /// What it says something of.
        known: Vec<String>,
    },
}

/// Judges by the quota's own words: what is left of calls is left of every quota and cap that a call takes from.
fn what_is_left(meter: &str, quota: &Value) -> Left {
    let meters = quota.get("meters").and_then(Value::as_object);
    let spent = |limit: &Value| limit.get("allowed") == Some(&Value::Bool(false));
    let resets_at = |limit: &Value| Some(moment(limit, "/resets_at")).filter(|at| !at.is_empty());
    if meter == CALLS {
        if quota.get("plan").is_none_or(Value::is_null) || quota.pointer("/plan/api") == Some(&Value::Bool(false)) {
            return Left::Spent { resets_at: None };
        }
        let of_calls =
            |limit: &&Value| matches!(limit.get("name").and_then(Value::as_str), Some("month" | "key-month"));
        let limits = quota.get("limits").and_then(Value::as_array);
        let last = limits.into_iter().flatten().filter(of_calls).filter(|limit| spent(limit)).map(resets_at).max();
        return last.map_or(Left::Enough, |resets_at| Left::Spent { resets_at });
    }
    match meters.and_then(|meters| meters.get(meter)) {
        Some(limit) if spent(limit) => Left::Spent { resets_at: resets_at(limit) },
        Some(_) => Left::Enough,
        None => {
            let named = meters.into_iter().flatten().map(|(name, _)| format!("`{name}`"));
            Left::Unknown { known: std::iter::once(format!("`{CALLS}`")).chain(named).collect() }
        }
    }
}

fn status_json(found: &Found, quota: &Value, required: Option<&(&str, Left)>) -> Value {
    let mut status = json!({
        "url": shown(&found.base), "reachable": true,
        "account": found.me["account"], "email": found.me["email"], "name": found.me["name"],
        "plan": quota["plan"], "features": quota["features"], "allowed": quota["allowed"],
        "limits": quota["limits"], "meters": quota.get("meters").cloned().unwrap_or_else(|| json!({})),
    });
    if let Some((meter, left)) = required {
        status["required"] = json!({ "meter": meter, "allowed": *left == Left::Enough });
    }
    status
}

fn status_text(found: &Found, quota: &Value) -> String {
    let features = quota.get("features").and_then(Value::as_array).into_iter().flatten();
    let features: Vec<&str> = features.filter_map(Value::as_str).collect();
    let plan = match (text(quota, "/plan/display_name"), text(quota, "/plan/name")) {
        (_, name) if name.is_empty() => "none: the key opens nothing".to_owned(),
        (shown, name) if shown.is_empty() || shown == name => name,
        (shown, name) => format!("{shown} ({name})"),
    };
    let facts = json!({ "e-mail": found.me["email"], "plan": plan, "features": features.join(", "), "api": shown(&found.base) });
    let limits = quota.get("limits").and_then(Value::as_array).into_iter().flatten();
    let limits = limits.map(|limit| limit_row(&text(limit, "/name"), limit));
    let meters = quota.get("meters").and_then(Value::as_object).into_iter().flatten();
    let rows: Vec<_> = limits.chain(meters.map(|(name, limit)| limit_row(name, limit))).collect();
    let mut unique: Vec<[String; 5]> = Vec::new();
    for row in rows {
        // A meter may stand in both lists.
        if !unique.iter().any(|other| other[0] == row[0]) {
            unique.push(row);
        }
    }
    let mut said = leaves(&facts);
    if !unique.is_empty() {
        said.push('\n');
        said.push_str(&output::table(["LIMIT", "USED", "OF", "LEFT", "RESETS"], &unique));
    }
    said
}

fn limit_row(name: &str, limit: &Value) -> [String; 5] {
    let field = |pointer: &str| text(limit, pointer);
    [name.to_owned(), field("/used"), field("/limit"), field("/remaining"), moment(limit, "/resets_at")]
}

fn credentials() -> anyhow::Result<Credentials> {
    Credentials::read(Credentials::path(&ProcessEnvironment)?)
}

fn set(variable: &str) -> Option<String> {
    ProcessEnvironment.variable(variable).filter(|value| !value.is_empty())
}

fn which_api() -> Failure {
    Failure::Usage(format!("which API? Name it by --url, such as `--url https://api.example.com`, or ${URL_VARIABLE}"))
}

fn warn_in_the_clear(url: &Url) {
    if is_in_the_clear(url) {
        output::note(&format!("warning: {} is not encrypted: others on the way can read the key", shown(url)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Format;

    fn requiring(meter: &str) -> Status {
        Status { url: None, key: None, require: Some(meter.to_owned()), format: Format { json: false } }
    }

    fn quota() -> Value {
        json!({
            "plan": { "name": "pro", "display_name": "Pro", "api": true }, "features": ["llm", "export"], "allowed": false,
            "limits": [
                { "name": "burst", "used": 3, "limit": 60, "remaining": 57, "resets_at": null, "allowed": true },
                { "name": "month", "used": 10, "limit": 10, "remaining": 0, "resets_at": "2030-01-01T00:00:00Z", "allowed": false },
                { "name": "key-month", "used": 5, "limit": 5, "remaining": 0, "resets_at": "2030-02-01T00:00:00.5Z", "allowed": false },
            ],
            "meters": {
                "migrations": { "used": 5, "limit": 5, "remaining": 0, "allowed": false, "resets_at": "2030-01-01T00:00:00Z" },
                "tokens": { "used": 5, "limit": "unlimited", "remaining": "unlimited", "allowed": true, "resets_at": "2030-01-01T00:00:00Z" },
            },
        })
    }

    #[test]
    fn a_meter_is_spent_when_the_api_says_so() {
        let spent = |at: Option<&str>| Left::Spent { resets_at: at.map(ToOwned::to_owned) };
        let mut room = quota();
        room["limits"] = json!([{ "name": "burst", "allowed": false }, { "name": "month", "allowed": true }]);
        let no_plan = json!({ "plan": null, "limits": [], "meters": {} });
        let no_api = json!({ "plan": { "name": "free", "api": false }, "limits": [], "meters": {} });
        let unknown = Left::Unknown { known: ["`calls`", "`migrations`", "`tokens`"].map(ToOwned::to_owned).to_vec() };
        for (meter, quota, expected) in [
            ("calls", quota(), spent(Some("2030-02-01T00:00:00Z"))),
            ("calls", room, Left::Enough),
            ("calls", no_plan, spent(None)),
            ("calls", no_api, spent(None)),
            ("migrations", quota(), spent(Some("2030-01-01T00:00:00Z"))),
            ("tokens", quota(), Left::Enough),
            ("miles", quota(), unknown),
        ] {
            assert_eq!(what_is_left(meter, &quota), expected, "{meter} {quota}");
        }
    }

    #[test]
    fn the_status_names_plan_features_and_every_limit_once() {
        let base = Url::parse("https://api.example.com/tollgate/").expect("a URL");
        let me = json!({ "account": "acc_1", "email": "ada@example.com", "name": null });
        let found = Found { base, me };
        let mut quota = quota();
        quota["limits"] =
            json!([{ "name": "tokens", "used": 5, "limit": "unlimited", "remaining": "unlimited", "allowed": true }]);
        let expected = "api       https://api.example.com/tollgate\n\
                        e-mail    ada@example.com\n\
                        features  llm, export\n\
                        plan      Pro (pro)\n\n\
                        LIMIT       USED  OF         LEFT       RESETS\n\
                        tokens      5     unlimited  unlimited  -\n\
                        migrations  5     5          0          2030-01-01T00:00:00Z\n";
        assert_eq!(status_text(&found, &quota), expected);
        let json = status_json(&found, &quota, Some(&("migrations", Left::Spent { resets_at: None })));
        assert_eq!(json["required"], json!({ "meter": "migrations", "allowed": false }));
        assert!(matches!(say(&requiring("migrations"), &found, &quota), Err(Failure::Said)));
        assert!(say(&requiring("tokens"), &found, &quota).is_ok());
    }
}
