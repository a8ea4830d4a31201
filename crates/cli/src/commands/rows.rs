//! Reads a CSV file into rows for an import, and names everything that is wrong with its form at once.
//!
//! What a cell means (an e-mail, a plan, a hash) is judged by the admin API, for every row before any is taken.

use csv::{ByteRecord, ReaderBuilder};
use serde_json::{Map, Value};

/// The columns a file may have, in any order.
pub(crate) struct Columns {
    /// All of them.
    pub(crate) known: &'static [&'static str],
    /// Those without which no row means anything.
    pub(crate) required: &'static [&'static str],
}

/// Columns of a file of existing keys.
pub(crate) const KEYS: Columns = Columns {
    known: &["key_hash", "email", "plan", "status", "name", "limit", "used", "cycle_start", "expires_at"],
    required: &["key_hash", "email"],
};

/// Columns of a file of existing accounts.
pub(crate) const ACCOUNTS: Columns =
    Columns { known: &["email", "name", "plan", "stripe_customer_id", "subscription"], required: &["email"] };

/// Something wrong with a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LineError {
    /// From 1.
    pub(crate) line: u64,
    /// What, and what to write instead.
    pub(crate) message: String,
}

/// The rows of a file as the admin API takes them: filled cells by column, and the line each came from.
pub(crate) fn read(text: &[u8], columns: &Columns) -> Result<Vec<Map<String, Value>>, Vec<LineError>> {
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
    let mut lines = LineCounter { text, offset: 0, line: 1 };
    let mut record = ByteRecord::new();
    let mut errors = Vec::new();
    let mut next = |record: &mut ByteRecord, errors: &mut Vec<LineError>| match reader.read_byte_record(record) {
        Ok(true) => Some(lines.line_of(record)),
        Ok(false) => None,
        Err(error) => {
            errors.push(LineError { line: lines.line, message: error.to_string() });
            None
        }
    };

    let Some(header_line) = next(&mut record, &mut errors) else {
        let empty = || LineError { line: 1, message: "the file is empty; its first line names the columns".to_owned() };
        return Err(if errors.is_empty() { vec![empty()] } else { errors });
    };
    let (header, header_errors) = read_header(&record, columns);
    if !header_errors.is_empty() {
        return Err(header_errors.into_iter().map(|message| LineError { line: header_line, message }).collect());
    }
    let mut rows = Vec::new();
    while let Some(line) = next(&mut record, &mut errors) {
        match read_row(&record, &header) {
            Ok(mut row) => {
                row.insert("line".to_owned(), line.into());
                rows.push(row);
            }
            Err(message) => errors.push(LineError { line, message }),
        }
    }
    if errors.is_empty() && rows.is_empty() {
        let message = "there are no rows below the line that names the columns".to_owned();
        errors.push(LineError { line: header_line, message });
    }
    if errors.is_empty() { Ok(rows) } else { Err(errors) }
}

/// The columns in the file's order, and everything wrong with the line that names them.
fn read_header(record: &ByteRecord, columns: &Columns) -> (Vec<&'static str>, Vec<String>) {
    let known = columns.known.join(", ");
    let mut header = Vec::with_capacity(record.len());
    let mut errors = Vec::new();
    for name in record {
        let name = String::from_utf8_lossy(name);
        let name = name.trim();
        match columns.known.iter().find(|known| known.eq_ignore_ascii_case(name)) {
            Some(column) if header.contains(column) => errors.push(format!("the column `{column}` stands there twice")),
            Some(column) => header.push(*column),
            None => errors.push(format!("unknown column `{}`; columns are {known}, separated by commas", short(name))),
        }
    }
    for column in columns.required {
        if !header.contains(column) {
            errors.push(format!("the column `{column}` is missing"));
        }
    }
    (header, errors)
}

fn read_row(record: &ByteRecord, header: &[&'static str]) -> Result<Map<String, Value>, String> {
    if record.len() != header.len() {
        return Err(format!(
            "{} cells where the first line names {} columns: is a comma or a quote missing, or one too many?",
            record.len(),
            header.len()
        ));
    }
    let mut row = Map::with_capacity(header.len() + 1);
    for (column, cell) in header.iter().zip(record) {
        let cell = std::str::from_utf8(cell).map_err(|_| format!("{column}: the text is not UTF-8"))?.trim();
        if cell.contains(['\n', '\r']) {
            return Err(format!("{column}: the cell goes over several lines: is a closing quote missing?"));
        }
        if !cell.is_empty() {
            row.insert((*column).to_owned(), cell.into());
        }
    }
    Ok(row)
}

/// A text cut to what an error message can carry.
fn short(text: &str) -> String {
    let mut cut: String = text.chars().take(60).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

/// Finds the line of records that come in order. The reader's own count stands at the blank lines, or the second
/// half of a line end, before a record.
struct LineCounter<'a> {
    text: &'a [u8],
    offset: usize,
    line: u64,
}

impl LineCounter<'_> {
    fn line_of(&mut self, record: &ByteRecord) -> u64 {
        let start = record.position().and_then(|position| usize::try_from(position.byte()).ok()).unwrap_or(self.offset);
        let blank = |byte: &&u8| matches!(byte, b'\r' | b'\n');
        let end = start + self.text.iter().skip(start).take_while(blank).count();
        let passed = self.text.get(self.offset..end).unwrap_or_default();
        self.line += passed.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
        self.offset = end;
        self.line
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(text: &str) -> Value {
        Value::Array(read(text.as_bytes(), &KEYS).expect(text).into_iter().map(Value::Object).collect())
    }

    fn errors(text: &[u8]) -> Vec<(u64, String)> {
        let errors = read(text, &KEYS).expect_err("something is wrong with it");
        errors.into_iter().map(|error| (error.line, error.message)).collect()
    }

    #[test]
    fn columns_may_stand_in_any_order_and_empty_cells_are_left_out() {
        let expected = json!([
            { "email": "a@b.c", "key_hash": "00ff", "used": "1_000", "line": 2 },
            { "email": "d@e.f", "key_hash": "11ee", "line": 3 },
        ]);
        assert_eq!(rows("email,key_hash,used\na@b.c,00ff,1_000\nd@e.f,11ee,\n"), expected);
        assert_eq!(rows("\u{feff}Email , KEY_HASH,used\r\n a@b.c ,\"00ff\",1_000\r\nd@e.f,11ee,"), expected);
    }

    #[test]
    fn lines_are_counted_as_an_editor_counts_them() {
        for text in [
            "key_hash,email\n\n\na,b@c\nd,e@f\n",
            "key_hash,email\r\n\r\n\r\na,b@c\r\nd,e@f\r\n",
            "key_hash,email\n\n\n\"a\",\"b@c\"\nd,e@f",
        ] {
            let lines: Vec<Value> =
                rows(text).as_array().expect("rows").iter().map(|row| row["line"].clone()).collect();
            assert_eq!(lines, [4, 5], "{text:?}");
        }
        assert_eq!(rows("\n\nkey_hash,email\na,b@c\n")[0]["line"], 4);
    }

    #[test]
    fn everything_wrong_with_the_header_is_named_at_once() {
        let found = errors(b"emial,plan,Plan,key_hash,colour\na,b,c,d,e\n");
        let messages: Vec<&str> = found
            .iter()
            .map(|(line, message)| {
                assert_eq!(*line, 1);
                message.as_str()
            })
            .collect();
        assert_eq!(messages.len(), 4, "{messages:?}");
        for (message, part) in messages.iter().zip([
            "unknown column `emial`; columns are key_hash, email,",
            "the column `plan` stands there twice",
            "unknown column `colour`",
            "the column `email` is missing",
        ]) {
            assert!(message.starts_with(part), "{message}");
        }
        assert!(errors(b"key_hash;email\n")[0].1.contains("separated by commas"));
    }

    #[test]
    fn every_malformed_line_is_named_with_its_number() {
        let text = b"key_hash,email,name\na,b@c\nd,e@f,ok\ng,h@i,\xff\nj,k@l,m,n\no,p@q,\"r\nand,so,on\n";
        let found = errors(text);
        let lines: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 4, 5, 6], "{found:?}");
        for ((_, message), part) in
            found.iter().zip(["2 cells", "name: the text is not UTF-8", "4 cells", "closing quote"])
        {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_file_without_rows_is_an_error() {
        for (text, part) in [("", "empty"), ("\n\n", "empty"), ("key_hash,email\n", "no rows")] {
            let found = errors(text.as_bytes());
            assert!(found.len() == 1 && found[0].1.contains(part), "{text:?}: {found:?}");
        }
    }

    #[test]
    fn accounts_have_columns_of_their_own() {
        let text = b"subscription,email,stripe_customer_id,name,plan\nsub_1,a@b.c,cus_1,Ada,pro\n";
        let rows = read(text, &ACCOUNTS).expect("good rows");
        let expected = json!({
            "subscription": "sub_1", "email": "a@b.c", "stripe_customer_id": "cus_1", "name": "Ada", "plan": "pro", "line": 2
        });
        assert_eq!(Value::Object(rows[0].clone()), expected);
    }
}
