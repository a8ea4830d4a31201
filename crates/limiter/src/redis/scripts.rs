//! The scripts, each with what all share before it, and the hash that Redis knows it by.

use std::sync::LazyLock;

use redis::Script;

/// All of them, hashed once.
pub(super) static SCRIPTS: LazyLock<Scripts> = LazyLock::new(Scripts::new);

/// The scripts of the limiter.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) debit: Source,
    pub(super) lease: Source,
    pub(super) settle: Source,
    pub(super) charge: Source,
    pub(super) seed: Source,
}

/// Their texts.
pub(super) fn all() -> [&'static str; 5] {
    [&SCRIPTS.debit, &SCRIPTS.lease, &SCRIPTS.settle, &SCRIPTS.charge, &SCRIPTS.seed].map(|script| script.text)
}

/// A script's text and its hash.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) text: &'static str,
    pub(super) hash: String,
}

macro_rules! source {
    ($file:literal) => {
        Source::new(concat!(
            include_str!("scripts/shared/call.lua"),
            include_str!("scripts/shared/window.lua"),
            include_str!("scripts/shared/bucket.lua"),
            include_str!("scripts/shared/quota.lua"),
            include_str!("scripts/shared/limits.lua"),
            include_str!("scripts/shared/leases.lua"),
            include_str!("scripts/shared/write.lua"),
            include_str!($file)
        ))
    };
}

impl Scripts {
    fn new() -> Self {
        Self {
            debit: source!("scripts/debit.lua"),
            lease: source!("scripts/lease.lua"),
            settle: source!("scripts/settle.lua"),
            charge: source!("scripts/charge.lua"),
            seed: source!("scripts/seed.lua"),
        }
    }
}

impl Source {
    fn new(text: &'static str) -> Self {
        Self { text, hash: Script::new(text).get_hash().to_owned() }
    }
}
