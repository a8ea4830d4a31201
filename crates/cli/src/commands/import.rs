//! `keys import` and `accounts import`: one file, one request, all rows or none.
//!
//! It reads the file and prints what became of it; rows are judged by the admin API.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, anyhow};
use serde_json::{Value, json};

use crate::args::Import;
use crate::client::{AdminClient, ClientError, FieldError, Problem};
use crate::commands::Failure;
use crate::commands::rows::{self, Columns, LineError};
use crate::output;

/// The longest request that the admin API takes for an import, in bytes.
const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Sends the file's rows and says what became of them.
pub(crate) async fn import(
    client: &AdminClient,
    what: &str,
    columns: &Columns,
    command: &Import,
) -> Result<(), Failure> {
    let (name, text) = read_file(&command.file)?;
    let rows = rows::read(&text, columns).map_err(|errors| say_line_errors(&name, &errors))?;
    let body = json!({ "rows": rows }).to_string().into_bytes();
    if body.len() > REQUEST_BYTES_MAX {
        return Err(
            anyhow!("{name}: {} rows are more than one import takes (64 MiB); split the file", rows.len()).into()
        );
    }
    let report = match client.post_rows(&["import", what], body).await {
        Ok(report) => report,
        Err(ClientError::Refused(problem)) => {
            output::note(&refusal(&name, &problem));
            return Err(Failure::Said);
        }
        Err(error) => return Err(error.into()),
    };
    if command.format.json {
        output::json(&report)?;
    }
    output::note(&format!("{name}: imported; {}", summary(&report)));
    Ok(())
}

fn read_file(path: &Path) -> Result<(String, Vec<u8>), Failure> {
    let is_stdin = path.as_os_str() == "-";
    let name = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
    let opened: std::io::Result<Box<dyn Read>> =
        if is_stdin { Ok(Box::new(std::io::stdin().lock())) } else { File::open(path).map(|file| Box::new(file) as _) };
    let mut text = Vec::new();
    let limit = REQUEST_BYTES_MAX as u64 + 1;
    let read = opened.and_then(|source| source.take(limit).read_to_end(&mut text));
    read.with_context(|| format!("cannot read {name}"))?;
    if text.len() > REQUEST_BYTES_MAX {
        return Err(anyhow!("{name}: more than one import takes (64 MiB); split the file").into());
    }
    Ok((name, text))
}

fn say_line_errors(name: &str, errors: &[LineError]) -> Failure {
    let lines = errors.iter().map(|error| format!("{name}:{}: {}", error.line, output::visible(&error.message)));
    output::note(&with_end(lines));
    Failure::Said
}

/// Every row that was refused, as `FILE:LINE: message`, and what holds for the file as a whole.
fn refusal(name: &str, problem: &Problem) -> String {
    let of_lines = problem.errors.iter().filter_map(|error| error.line.map(|line| format!("{name}:{line}: {error}")));
    let own_detail = problem.own_detail();
    let repeated = |error: &&FieldError| own_detail.as_ref().is_some_and(|detail| detail.contains(&error.detail));
    let of_file = problem.errors.iter().filter(|error| error.line.is_none() && !repeated(error));
    let of_file = of_file.map(|error| format!("{name}: {error}"));
    let own_detail = own_detail.as_ref().map(|detail| format!("{name}: {detail}"));
    let lines = of_lines.chain(of_file).chain(own_detail);
    // Named rows come with a detail that says that none was taken.
    if problem.errors.is_empty() { with_end(lines) } else { lines.collect::<Vec<_>>().join("\n") }
}

/// All lines, and that nothing was done.
fn with_end(lines: impl Iterator<Item = String>) -> String {
    let lines: Vec<String> = lines.chain(["nothing was imported".to_owned()]).collect();
    lines.join("\n")
}

/// The report's counts in words: `keys_created` becomes `keys created: 3`.
fn summary(report: &Value) -> String {
    let counts = report.as_object().into_iter().flatten();
    let parts: Vec<String> = counts
        .filter_map(|(name, count)| count.as_u64().map(|count| format!("{}: {count}", name.replace('_', " "))))
        .collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_rows_are_printed_by_line_and_the_file_as_a_whole_last() {
        let problem: Problem = serde_json::from_value(json!({
            "status": 422, "code": "invalid_fields", "detail": "3 things are wrong in 9 rows, so none was taken over; see `errors`. 1 row holds a bcrypt hash",
            "errors": [
                { "pointer": "#/rows", "detail": "1 row holds a bcrypt hash" },
                { "pointer": "#/rows/0/email", "line": 2, "column": "email", "detail": "`x` is not an e-mail address" },
                { "pointer": "#/rows/4/plan", "line": 6, "column": "plan", "detail": "there is no plan `gold`" },
                { "pointer": "#/rows", "detail": "too many" },
            ],
        }))
        .expect("a problem");
        let expected = "keys.csv:2: email: `x` is not an e-mail address\n\
                        keys.csv:6: plan: there is no plan `gold`\n\
                        keys.csv: rows: too many\n\
                        keys.csv: 3 things are wrong in 9 rows, so none was taken over. 1 row holds a bcrypt hash";
        assert_eq!(refusal("keys.csv", &problem), expected);
    }

    #[test]
    fn a_refusal_of_the_whole_file_is_told_once() {
        let problem: Problem = serde_json::from_value(json!({
            "status": 422, "code": "invalid_fields", "detail": "too many rows",
            "errors": [{ "pointer": "#/rows", "detail": "too many rows" }],
        }))
        .expect("a problem");
        assert_eq!(refusal("keys.csv", &problem), "keys.csv: rows: too many rows");
    }

    #[test]
    fn a_refusal_without_rows_says_why() {
        let problem: Problem = serde_json::from_value(json!({
            "status": 503, "code": "store_unavailable", "detail": "Key store unavailable"
        }))
        .expect("a problem");
        assert_eq!(refusal("keys.csv", &problem), "keys.csv: Key store unavailable\nnothing was imported");
    }

    #[test]
    fn a_report_is_told_in_words() {
        let report = json!({ "rows": 1000, "accounts_created": 2, "accounts_updated": 0, "keys_created": 1000 });
        assert_eq!(summary(&report), "accounts created: 2, accounts updated: 0, keys created: 1000, rows: 1000");
    }
}
