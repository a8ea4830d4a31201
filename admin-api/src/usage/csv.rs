//! Histories as CSV (RFC 4180), safe to open in a spreadsheet.

use super::history::HistoryView;

/// The names of the columns.
const HEADER: [&str; 6] = ["at", "meter", "group", "calls", "units", "units_refunded"];

/// A history with a header row. It is made in memory: its rows are bounded.
pub(super) fn write(history: &HistoryView) -> String {
    let mut text = String::new();
    line(&mut text, &HEADER.map(str::to_owned));
    for row in &history.rows {
        let group = row.group.clone().unwrap_or_default();
        let (calls, units, refunded) = (row.calls, row.units, row.units_refunded);
        line(
            &mut text,
            &[row.at.clone(), row.meter.clone(), group, calls.to_string(), units.to_string(), refunded.to_string()],
        );
    }
    text
}

fn line(text: &mut String, cells: &[String; HEADER.len()]) {
    for (at, value) in cells.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(&cell(value));
    }
    text.push_str("\r\n");
}

/// A value as a cell. One that a spreadsheet would take for a formula is led by an apostrophe: a dimension's value is
/// whatever a client reported.
fn cell(value: &str) -> String {
    let is_formula = value.trim_start_matches([' ', '\u{a0}']).starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let guard = if is_formula { "'" } else { "" };
    if is_formula || value.contains([',', '"', '\r', '\n', ';', '\'']) {
        format!("\"{guard}{}\"", value.replace('"', "\"\""))
    } else {
        value.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_needed_and_never_formulas() {
        for (value, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("12", "12"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\t=1\""),
            ("  =1", "\"'  =1\""),
        ] {
            assert_eq!(cell(value), expected, "{value:?}");
        }
    }
}
