//! `explain ID|-`: why a key or a request is let in or refused, as the admin API tells it.
//!
//! A raw key is read from standard input only: what stands on a command line is seen by others.

use std::path::Path;

use serde_json::{Value, json};
use tollgate_domain::KeyId;

use crate::args::Explain;
use crate::commands::{Failure, admin_client, leaves, moment, text};
use crate::consumer::prompt;
use crate::output;

/// A text of more characters is no id: a key's has 26, a request's at most 64, but a raw key may be taken for one.
const REQUEST_ID_CHARS_MAX: usize = 64;

/// Asks and prints.
pub(crate) async fn explain(command: &Explain, config: Option<&Path>) -> Result<(), Failure> {
    let client = admin_client(config)?;
    let explained = if command.id == "-" {
        let raw = prompt::secret("API key").await?;
        client.post(&["explain"], &json!({ "key": raw })).await?
    } else {
        client.get(&["explain", id(&command.id)?]).await?
    };
    if command.format.json {
        return Ok(output::json(&explained)?);
    }
    Ok(output::data(&told(&explained))?)
}

/// An id as it was typed. What looks like a raw key is refused before it stands in an address, and not repeated.
fn id(text: &str) -> Result<&str, Failure> {
    if text.parse::<KeyId>().is_ok() {
        return Ok(text);
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    let is_id = (1..=REQUEST_ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(allowed);
    // The random part of a key alone has 49 characters behind an underscore; no id of ours is as long.
    let like_key = text.rsplit_once('_').is_some_and(|(_, rest)| rest.len() >= 40);
    if is_id && !like_key {
        return Ok(text);
    }
    Err(Failure::Usage(
        "that is neither a key's id (`key_…`) nor a request's; a raw key is read from standard input: `tollgate explain -`"
            .to_owned(),
    ))
}

/// The verdict and why, then the facts, then limits, meters and routes.
fn told(explained: &Value) -> String {
    let mut said = String::new();
    let code = text(explained, "/code");
    let code = if code.is_empty() { String::new() } else { format!(" ({} {code})", text(explained, "/status")) };
    line(&mut said, &format!("{}{code}", text(explained, "/verdict").replace('_', ", ")));
    for reason in list(explained, "/reasons") {
        line(&mut said, &format!("  {}: {}", text(reason, "/reason"), text(reason, "/detail")));
    }
    for condition in list(explained, "/conditions") {
        let condition = condition.as_str().map_or_else(|| condition.to_string(), ToOwned::to_owned);
        line(&mut said, &format!("  condition: {condition}"));
    }
    said.push('\n');
    said.push_str(&leaves(&facts(explained)));
    tables(explained, &mut said);
    said
}

/// What is known of request, account, plan and key, without what nobody asks for.
fn facts(explained: &Value) -> Value {
    let mut facts = serde_json::Map::new();
    let mut keep = |name: &str, pointer: &str| {
        if let Some(value) = explained.pointer(pointer).filter(|value| !value.is_null()) {
            facts.insert(name.to_owned(), value.clone());
        }
    };
    for (name, pointer) in [
        ("request", "/request"),
        ("account.id", "/account/id"),
        ("account.email", "/account/email"),
        ("account.state", "/account/state"),
        ("account.ban", "/account/ban"),
        ("plan", "/plan/name"),
        ("entitlement", "/entitlement"),
        ("features", "/plan/features"),
    ] {
        keep(name, pointer);
    }
    keep("key", "/key");
    if let Some(key) = facts.get_mut("key").and_then(Value::as_object_mut) {
        key.remove("account");
        key.retain(|_, value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()));
    }
    Value::Object(facts)
}

fn tables(explained: &Value, said: &mut String) {
    let limit = |name: String, limit: &Value| {
        let [used, of, left] = ["/used", "/limit", "/remaining"].map(|field| text(limit, field));
        [name, used, of, left, moment(limit, "/resets_at"), yes(limit, "/allowed")]
    };
    let mut rows: Vec<_> =
        list(explained, "/limits").map(|standing| limit(text(standing, "/name"), standing)).collect();
    for (name, standing) in explained.get("meters").and_then(Value::as_object).into_iter().flatten() {
        if !rows.iter().any(|row| row[0] == *name) {
            rows.push(limit(name.clone(), standing));
        }
    }
    if !rows.is_empty() {
        said.push('\n');
        said.push_str(&output::table(["LIMIT", "USED", "OF", "LEFT", "RESETS", "ALLOWED"], &rows));
    }
    let rows: Vec<_> = list(explained, "/routes")
        .map(|route| {
            let [name, code, reason] = ["/route", "/code", "/reason"].map(|field| text(route, field));
            [name, yes(route, "/allowed"), code, reason]
        })
        .collect();
    if !rows.is_empty() {
        said.push('\n');
        said.push_str(&output::table(["ROUTE", "ALLOWED", "CODE", "REASON"], &rows));
    }
}

fn yes(record: &Value, pointer: &str) -> String {
    match record.pointer(pointer).and_then(Value::as_bool) {
        Some(true) => "yes".to_owned(),
        Some(false) => "no".to_owned(),
        None => String::new(),
    }
}

fn list<'v>(record: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> {
    record.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn line(said: &mut String, text: &str) {
    said.push_str(&output::visible(text));
    said.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_pass_and_raw_keys_are_refused_unrepeated() {
        for text in ["key_0000000000000000000001", "0123456789abcdef", "trace:a-b_c.1"] {
            assert_eq!(id(text).expect(text), text);
        }
        let raw = "tg_live_3kTMd9yJrWxq0Vb8sLzNfHg2uPoEiCa7tQj5R1vXwYZ000000";
        for text in [raw, "", "a b", "rk_0123456789012345678901234567890123456789", &"x".repeat(65)] {
            match id(text) {
                Err(Failure::Usage(advice)) => assert!(!advice.contains("3kTM") && advice.contains("explain -")),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_verdict_comes_first_then_facts_and_limits() {
        let explained = json!({
            "subject": { "kind": "key", "id": "key_1" }, "verdict": "allowed_unenforced", "status": 429, "code": "quota_exceeded",
            "reasons": [{ "reason": "quota", "detail": "all 10 units\u{1b} are used" }], "conditions": ["only GET"],
            "account": { "id": "acc_1", "email": "a@b.c", "state": "active", "ban": null },
            "plan": { "name": "pro", "features": [] }, "entitlement": "plan",
            "key": { "id": "key_1", "account": "acc_1", "state": "active", "expires_at": null, "scopes": [], "read_only": false },
            "limits": [{ "name": "month", "used": 10, "limit": 10, "remaining": 0, "resets_at": "2030-01-01T00:00:00Z", "allowed": false }],
            "meters": { "tokens": { "used": 1, "limit": "unlimited", "remaining": "unlimited", "resets_at": null, "allowed": true } },
            "routes": [{ "route": "events", "allowed": true, "code": null, "reason": null }], "request": null,
        });
        let expected = "allowed, unenforced (429 quota_exceeded)\n\
                        \x20 quota: all 10 units\\u{1b} are used\n\
                        \x20 condition: only GET\n\
                        \n\
                        account.email  a@b.c\n\
                        account.id     acc_1\n\
                        account.state  active\n\
                        entitlement    plan\n\
                        features       []\n\
                        key.id         key_1\n\
                        key.read_only  false\n\
                        key.state      active\n\
                        plan           pro\n\
                        \n\
                        LIMIT   USED  OF         LEFT       RESETS                ALLOWED\n\
                        month   10    10         0          2030-01-01T00:00:00Z  no\n\
                        tokens  1     unlimited  unlimited  -                     yes\n\
                        \n\
                        ROUTE   ALLOWED  CODE  REASON\n\
                        events  yes      -     -\n";
        assert_eq!(told(&explained), expected);
    }
}
