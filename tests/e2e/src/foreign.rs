//! Keys of a service that made its own before Tollgate came.

use sha2::{Digest, Sha256};

/// The `number`th of them.
pub fn foreign_key(number: usize) -> String {
    format!("rk_{number:08}abcdefghijklmnopqrstuvwx")
}

/// The SHA-256 of a text in hexadecimal digits, as such services store it.
pub fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}
