//! `webhooks list|show|replay`: what Stripe told and what became of it, as the admin API has it.

use std::path::Path;

use anyhow::anyhow;
use serde_json::{Value, json};

use crate::args::{Webhooks, WebhooksList, WebhooksReplay, WebhooksShow};
use crate::client::AdminClient;
use crate::commands::{Failure, account_reference, admin_client, leaves, moment, text};
use crate::output;

/// Entries of a page.
const PAGE_ENTRIES_MAX: u64 = 200;
/// The longest note that a table shows, in characters; `webhooks show` has it whole.
const NOTE_CHARS_MAX: usize = 100;

/// Does one of the `webhooks` commands.
pub(crate) async fn run(command: Webhooks, config: Option<&Path>) -> Result<(), Failure> {
    match command {
        Webhooks::List(command) => list(&command, config).await,
        Webhooks::Show(command) => show(&command, config).await,
        Webhooks::Replay(command) => replay(&command, config).await,
    }
}

async fn list(command: &WebhooksList, config: Option<&Path>) -> Result<(), Failure> {
    let account = command.account.as_deref().map(account_reference).transpose()?;
    let mut filter: Vec<(&str, &str)> = Vec::new();
    filter.extend(command.state.map(|state| ("state", state.as_str())));
    filter.extend(command.kind.as_deref().map(|kind| ("kind", kind)));
    filter.extend(account.as_deref().map(|account| ("account", account)));
    let client = admin_client(config)?;
    let (events, has_more) = newest(&client, &filter, command.limit).await?;
    if command.format.json {
        return Ok(output::json(&Value::Array(events))?);
    }
    let rows: Vec<_> = events
        .iter()
        .map(|event| {
            let [id, kind, state, account, attempts] =
                ["/id", "/kind", "/state", "/account", "/attempts"].map(|field| text(event, field));
            [id, kind, state, account, attempts, moment(event, "/received_at"), short(&text(event, "/note"))]
        })
        .collect();
    output::data(&output::table(["EVENT", "KIND", "STATE", "ACCOUNT", "FAILED", "RECEIVED", "NOTE"], &rows))?;
    if has_more {
        output::note(&format!("there are more; --limit shows more than {}", command.limit));
    }
    Ok(())
}

/// The newest events, at most `limit`, and whether there are more.
async fn newest(client: &AdminClient, filter: &[(&str, &str)], limit: u64) -> Result<(Vec<Value>, bool), Failure> {
    let mut events = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let wanted = limit.saturating_sub(events.len() as u64).min(PAGE_ENTRIES_MAX);
        if wanted == 0 {
            return Ok((events, cursor.is_some()));
        }
        let wanted = wanted.to_string();
        let mut query = filter.to_vec();
        query.push(("limit", &wanted));
        let page = client.page(&["webhooks"], &query, cursor.as_deref()).await?;
        events.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok((events, false));
        }
    }
}

async fn show(command: &WebhooksShow, config: Option<&Path>) -> Result<(), Failure> {
    let mut event = admin_client(config)?.get(&["webhooks", &command.event]).await?;
    if command.format.json {
        return Ok(output::json(&event)?);
    }
    // For people the facts of the inbox stand together, and what Stripe sent below them, as it is.
    let payload = event.as_object_mut().and_then(|event| event.remove("payload")).unwrap_or_default();
    output::data(&leaves(&event))?;
    Ok(output::data(&format!("\n{}", output::json_text(&payload)))?)
}

async fn replay(command: &WebhooksReplay, config: Option<&Path>) -> Result<(), Failure> {
    let client = admin_client(config)?;
    let events = if command.dead {
        let dead = newest(&client, &[("state", "dead")], u64::MAX).await?.0;
        dead.iter().map(|event| text(event, "/id")).collect()
    } else {
        command.events.clone()
    };
    let mut replayed = Vec::new();
    let mut failed = 0;
    for event in &events {
        match client.post(&["webhooks", event, "replay"], &json!({})).await {
            Ok(event) => replayed.push(event),
            // One that is gone is no reason to leave the others.
            Err(error) if events.len() > 1 => {
                output::note(&format!("{}: {error}", output::visible(event)));
                failed += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if command.format.json {
        output::json(&Value::Array(replayed))?;
    } else {
        let many = replayed.len();
        output::note(&format!(
            "{many} {} to be heeded once more",
            if many == 1 { "event waits" } else { "events wait" }
        ));
    }
    if failed > 0 {
        return Err(anyhow!("{failed} of {} could not be put back", events.len()).into());
    }
    Ok(())
}

fn short(note: &str) -> String {
    match note.char_indices().nth(NOTE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &note[..end]),
        None => note.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_cut_for_the_table() {
        assert_eq!(short("all is well"), "all is well");
        assert_eq!(short(&"é".repeat(101)), format!("{}…", "é".repeat(100)));
    }
}
