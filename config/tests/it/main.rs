//! The configuration as its users meet it: files in, values or diagnostics out.

mod access;
mod examples;
mod fleet;
mod mistakes;
mod robustness;
mod secrets;
mod values;

use std::path::Path;

use tollgate_config::{Loaded, parse};

/// The environment of these tests.
fn environment(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("8090".into()),
        "WORD" => Some("hunter2-from-the-environment".into()),
        "HARD" => Some("p@ss/w:rd#?%41 é".into()),
        "URL" => Some("postgres://me:p%40ss@db.internal/tollgate".into()),
        "TEST_KEY" => Some("sk_test_0123456789abcdef".into()),
        "WEBHOOK" => Some("whsec_0123456789abcdef".into()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

/// Parses a text that has nothing wrong.
fn good(text: &str) -> Loaded {
    match parse(text, Path::new("tollgate.toml"), &environment) {
        Ok(loaded) => loaded,
        Err(problems) => panic!("{text}\n{problems}"),
    }
}

/// Everything that is said about a text, as `LINE:COLUMN: message`.
fn said(text: &str) -> Vec<String> {
    let lines: Vec<String> = match parse(text, Path::new("tollgate.toml"), &environment) {
        Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    };
    lines.iter().map(|line| line.strip_prefix("tollgate.toml:").expect("the file comes first").to_owned()).collect()
}
