//! What tests of several promises need: keys that were made elsewhere, and files of them.

use std::fmt::Write as _;
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use tollgate_e2e::Gate;

/// The `number`th key of a service that made its keys before Tollgate came.
pub(crate) fn foreign_key(number: usize) -> String {
    format!("rk_{number:08}abcdefghijklmnopqrstuvwx")
}

/// The SHA-256 of a text in hexadecimal digits, as such services store it.
pub(crate) fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

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
