//! What tests of several promises need: keys that were made elsewhere, and files of them.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;
use tollgate_e2e::Gate;
pub(crate) use tollgate_e2e::{foreign_key, sha256};

/// Writes a CSV file into the gate's folder.
pub(crate) fn write_csv(gate: &Gate, header: &str, rows: impl Iterator<Item = String>) -> PathBuf {
    let mut text = format!("{header}\n");
    for row in rows {
        writeln!(text, "{row}").expect("writing to a string cannot fail");
    }
    let path = gate.folder().join("import.csv");
    std::fs::write(&path, text).expect("the file can be written");
    path
}

/// Imports such a file, and asserts that it was taken.
#[track_caller]
pub(crate) fn import_keys(gate: &Gate, header: &str, rows: impl Iterator<Item = String>) {
    let path = write_csv(gate, header, rows);
    gate.cli(&["keys", "import", path.to_str().expect("temporary paths are text")]).done();
}

/// An example file of the repository.
pub(crate) fn example(name: &str) -> String {
    let path = format!("{}/../../config/examples/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The one of these objects whose field has this value.
#[track_caller]
pub(crate) fn named<'a>(list: &'a Value, field: &str, value: &str) -> &'a Value {
    let found = list.as_array().and_then(|list| list.iter().find(|entry| entry[field] == value));
    found.unwrap_or_else(|| panic!("no {field} {value} in {list:#}"))
}
