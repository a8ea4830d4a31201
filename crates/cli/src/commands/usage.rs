//! `usage export`: every page of what was used, written as it comes. What is in it the ledger tells.

use std::path::Path;

use serde_json::Value;

use crate::args::{ExportFormat, Moment, Span, UsageExport};
use crate::commands::{Failure, account_reference, admin_client, now};
use crate::output;

/// The columns of the CSV, which are the fields of each row.
const COLUMNS: [&str; 9] =
    ["hour", "account", "meter", "key", "route", "status", "calls", "units_charged", "units_refunded"];
/// How many rows a page is asked for.
const PAGE_ROWS: &str = "5000";
/// How far back is exported unless a beginning is named.
const USUAL: Span = Span::days(30);

/// Writes the rows, page by page.
pub(crate) async fn export(command: &UsageExport, config: Option<&Path>) -> Result<(), Failure> {
    let account = command.account.as_deref().map(account_reference).transpose()?;
    let format = if command.json { ExportFormat::Jsonl } else { command.format };
    let now = now();
    // Both ends are fixed before the first page, so that all pages are of one stretch.
    let to = command.to.map_or(now, |to| to.instant(now));
    let from = command.from.unwrap_or(Moment::Ago(USUAL)).instant(now);
    if from >= to {
        return Err(Failure::Usage(format!("--from ({from}) must lie before --to ({to})")));
    }
    let (from, to) = (from.to_string(), to.to_string());
    let mut filter = vec![("from", from.as_str()), ("to", to.as_str()), ("limit", PAGE_ROWS)];
    filter.extend(account.as_deref().map(|account| ("account", account)));
    let client = admin_client(config)?;
    let mut head = match format {
        ExportFormat::Csv => format!("{}\n", COLUMNS.join(",")).into_bytes(),
        ExportFormat::Jsonl => Vec::new(),
    };
    let mut rows_written: u64 = 0;
    let mut cursor = None;
    loop {
        let page = client.page(&["usage", "export"], &filter, cursor.as_deref()).await?;
        let mut text = std::mem::take(&mut head);
        for row in &page.items {
            write_row(row, format, &mut text)?;
            rows_written += 1;
        }
        if !output::part(&text)? {
            return Ok(());
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    output::note(&format!("{rows_written} rows from {from} to {to}"));
    Ok(())
}

fn write_row(row: &Value, format: ExportFormat, text: &mut Vec<u8>) -> anyhow::Result<()> {
    match format {
        ExportFormat::Jsonl => {
            serde_json::to_writer(&mut *text, row)?;
            text.push(b'\n');
        }
        ExportFormat::Csv => {
            let mut writer = csv::Writer::from_writer(text);
            writer.write_record(COLUMNS.map(|column| cell(row, column)))?;
            writer.flush()?;
        }
    }
    Ok(())
}

/// A field as a cell; what is not there is empty. Names of routes and meters cannot begin as a formula does, but a row of
/// a later version might hold other text.
fn cell(row: &Value, column: &str) -> String {
    let text = super::text(row, &format!("/{column}"));
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(row: &Value, format: ExportFormat) -> String {
        let mut text = Vec::new();
        write_row(row, format, &mut text).expect("written");
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn a_row_is_one_line_in_either_format() {
        let row = json!({
            "account": "acc_1", "hour": "2026-01-01T00:00:00Z", "meter": "calls", "key": null, "route": "a,b", "status": "2xx",
            "calls": 3, "units_charged": 4, "units_refunded": 0,
        });
        assert_eq!(written(&row, ExportFormat::Csv), "2026-01-01T00:00:00Z,acc_1,calls,,\"a,b\",2xx,3,4,0\n");
        let line = written(&row, ExportFormat::Jsonl);
        assert_eq!((line.lines().count(), serde_json::from_str::<Value>(&line).ok()), (1, Some(row)));
    }

    #[test]
    fn no_cell_is_a_formula() {
        let row = json!({ "route": "=1+1" });
        assert!(written(&row, ExportFormat::Csv).contains("'=1+1"));
    }
}
