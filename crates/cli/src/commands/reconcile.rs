//! `reconcile`: has the admin API compare the books, and prints every difference.

use std::path::Path;

use serde_json::{Value, json};

use crate::args::Reconcile;
use crate::commands::{Failure, admin_client, text};
use crate::output;

/// Compares, and mends where asked to. Differences that are left, and books that could not be read, are a failure.
pub(crate) async fn run(command: &Reconcile, config: Option<&Path>) -> Result<(), Failure> {
    let report = admin_client(config)?.post_long(&["reconcile"], &json!({ "fix": command.fix })).await?;
    if command.format.json {
        output::json(&report)?;
    } else {
        let list = |name: &str| report.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let differences = list("differences");
        if !differences.is_empty() {
            let headings = ["DIFFERENCE", "ACCOUNT", "OF", "METER", "PERIOD", "WHAT", "EXPECTED", "FOUND", "THEN"];
            let rows: Vec<_> = differences.iter().map(row).collect();
            output::data(&output::table(headings, &rows))?;
        }
        for (kind, many) in report.get("more").and_then(Value::as_object).into_iter().flatten() {
            output::note(&format!("and {many} more of {}", output::visible(kind)));
        }
        for unread in &list("unread") {
            let [what, why] = ["/what", "/why"].map(|field| output::visible(&text(unread, field)));
            output::note(&format!("not compared: {what}: {why}"));
        }
    }
    output::note(&summary(&report));
    if report.get("clean").and_then(Value::as_bool) == Some(true) { Ok(()) } else { Err(Failure::Said) }
}

fn row(difference: &Value) -> [String; 9] {
    let field = |name: &str| text(difference, name);
    let period = match (field("/period/start"), field("/period/end")) {
        (start, end) if start.is_empty() && end.is_empty() => String::new(),
        (start, end) => format!("{start}..{end}"),
    };
    [
        field("/kind"),
        field("/account"),
        field("/subject"),
        field("/meter"),
        period,
        field("/what"),
        field("/expected"),
        field("/found"),
        then(difference),
    ]
}

/// What became of it, or what is to be done.
fn then(difference: &Value) -> String {
    let [mending, remedy, advice, note] =
        ["/mending", "/remedy", "/advice", "/note"].map(|field| text(difference, field));
    let why = if note.is_empty() { String::new() } else { format!(" ({note})") };
    match mending.as_str() {
        "mended" => "mended".to_owned(),
        "under_way" => format!("under way{why}"),
        "failed" => format!("not mended{why}: {advice}"),
        _ if remedy.is_empty() => format!("{advice}{why}"),
        _ => format!("--fix: {remedy}{why}"),
    }
}

fn summary(report: &Value) -> String {
    let number = |field: &str| report.pointer(field).and_then(Value::as_u64).unwrap_or_default();
    let [left, mended] = ["/left", "/mended"].map(number);
    let looked = ["/looked/quotas", "/looked/periods", "/looked/subscriptions", "/looked/customers", "/looked/calls"];
    let [quotas, periods, subscriptions, customers, calls] = looked.map(number);
    format!(
        "{left} differences left, {mended} mended; looked at {quotas} quotas, {periods} billed periods, {subscriptions} \
         subscriptions and {customers} customers, with {calls} calls to Stripe"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_says_what_became_of_it_or_what_to_do() {
        let difference = |mending: &str, remedy: Value, note: Value| json!({ "mending": mending, "remedy": remedy, "advice": "look", "note": note });
        for (difference, expected) in [
            (difference("mended", json!("read it"), Value::Null), "mended"),
            (difference("under_way", json!("read it"), json!("soon")), "under way (soon)"),
            (difference("failed", json!("read it"), json!("gone")), "not mended (gone): look"),
            (difference("left", json!("read it"), json!("old")), "--fix: read it (old)"),
            (difference("left", Value::Null, Value::Null), "look"),
        ] {
            assert_eq!(then(&difference), expected);
        }
    }
}
