//! What tests of several promises need: keys that were made elsewhere, and files of them.

use std::fmt::Write as _;
use std::path::PathBuf;

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
