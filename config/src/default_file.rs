//! The documented file and the code say the same.

use std::collections::BTreeSet;
use std::path::Path;

use crate::billing::WebhookSecrets;
use crate::config::Config;
use crate::reader::Reader;
use crate::source::{self, Readable, Source};
use crate::{DEFAULT_FILE, Loaded, file, parse};

/// A line of the documented file that says something in TOML, with its `# ` taken off where it has one.
struct Line {
    /// `gateway`, `plans.*`, `routes`, …
    section: String,
    /// Without the comment's mark.
    text: String,
    commented: bool,
}

impl Line {
    fn key(&self) -> Option<&str> {
        let (key, _) = self.text.split_once(" = ")?;
        key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_').then_some(key)
    }
}

/// Headers, and lines of the form `key = value`.
fn lines() -> Vec<Line> {
    let mut section = String::new();
    let mut lines = Vec::new();
    for raw in DEFAULT_FILE.lines() {
        let text = raw.strip_prefix("# ").unwrap_or(raw);
        if let Some(header) = text.strip_prefix('[') {
            let name = header.trim_start_matches('[').split(']').next().unwrap_or_default();
            section = if name.starts_with("plans.") { "plans.*".to_owned() } else { name.to_owned() };
        }
        let line = Line { section: section.clone(), text: text.to_owned(), commented: raw.starts_with('#') };
        if text.starts_with('[') || line.key().is_some() {
            lines.push(line);
        }
    }
    lines
}

fn documented_keys() -> BTreeSet<String> {
    let lines = lines();
    let keys = lines.iter().filter_map(|line| line.key().map(|key| (&line.section, key)));
    keys.map(|(section, key)| format!("{section}.{key}")).collect()
}

/// What the code asks for, learnt by letting it read a file that has every table.
fn known_keys() -> BTreeSet<String> {
    let text = "[plans.any]\n[[routes]]\n[cors]\n[mail]\n[auth.jwt]\n[billing.stripe]\n";
    let source = Source::new(text, Path::new("tollgate.toml"));
    let readable = Readable::of(&source);
    let syntax = source::read(&source, &readable);
    let reader = Reader::new(&source, &syntax, &|_: &str| None, Path::new(""));
    file::read(&reader.root(), WebhookSecrets::Needed);
    let keys = reader.known_keys();
    let is_key = |key: &String| key.contains('.') && !["auth.jwt", "billing.stripe"].contains(&key.as_str());
    keys.into_iter().filter(is_key).map(|key| key.replace("routes.*.", "routes.")).collect()
}

fn parsed(text: &str) -> Loaded {
    let environment = |name: &str| Some(format!("the-value-of-the-variable-called-{name}"));
    match parse(text, Path::new("tollgate.toml"), &environment) {
        Ok(loaded) => loaded,
        Err(problems) => panic!("{problems}"),
    }
}

#[test]
fn every_key_the_code_knows_is_documented_and_no_other() {
    assert_eq!(documented_keys(), known_keys());
}

#[test]
fn uncommented_values_are_the_defaults() {
    let documented = parsed(DEFAULT_FILE);
    let defaults = Config::default_for_missing_file();
    assert_eq!(documented.config.settings, defaults.settings);
    assert_eq!(documented.config.policy, defaults.policy);
    assert_eq!(documented.config.hash(), defaults.hash());
    assert_eq!(documented.warnings, []);
}

#[test]
fn what_has_a_default_is_uncommented_and_nothing_else() {
    let with_default: BTreeSet<String> = crate::render::settings(&Config::default_for_missing_file().settings)
        .into_iter()
        .filter(|(_, value)| value.is_some())
        .map(|(key, _)| key.to_owned())
        .collect();
    let lines = lines();
    let uncommented: BTreeSet<String> = lines
        .iter()
        .filter(|line| !line.commented)
        .filter_map(|line| line.key().map(|key| format!("{}.{key}", line.section)))
        .collect();
    // Lists and tables that are empty by default may show an example in place of nothing.
    let shown_by_example = ["keys.also_accept", "upstream.add_headers"].map(str::to_owned);
    let missing: Vec<_> = with_default.difference(&uncommented).cloned().collect();
    assert_eq!(missing, shown_by_example, "have a default and are commented");
    assert_eq!(uncommented.difference(&with_default).next(), None, "have no default and are uncommented");
}

#[test]
fn every_comment_that_shows_a_key_shows_it_right() {
    // All of it at once, but for what contradicts itself on purpose: a secret has two ways to be given, and so have keys.
    let lines: Vec<String> = lines().into_iter().map(|line| line.text).collect();
    let second_way = |line: &str| line.contains("_file = ") || line.starts_with("jwks_url = ");
    let lines: Vec<&str> = lines.iter().map(String::as_str).filter(|line| !second_way(line)).collect();
    let loaded = parsed(&lines.join("\n"));
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.policy.plans.iter().count(), 3);
    assert_eq!(loaded.config.policy.routes.len(), 4);
    assert!(loaded.config.settings.auth.jwt.is_some() && loaded.config.settings.mail.is_some());
    assert!(loaded.config.settings.usage.notice_webhook.is_some());
    assert!(loaded.config.settings.billing.stripe.is_some_and(|stripe| stripe.meters.len() == 2));
    assert!(loaded.config.policy.cors.is_some());
}
