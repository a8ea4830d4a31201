//! The cache of key records in Redis: one place for each key's hash, one for each account.
//!
//! A record may only be put into a place under a token that was given out after the last change: whoever finds the
//! place empty gets one, a change gives out a new one, so that what was read before a change never lands after it,
//! however late. A record written before the server lost anything (a restart from an older copy, a replica that took
//! over) is not believed: it may be older than a change that gateways have heard of and will not hear again.
//! Which records are looked up when is in [`CachedKeys`]; when they change, in the relay.

mod keys;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool_redis::redis::{Cmd, Pipeline, cmd};

use crate::error::FleetError;
use crate::link::FleetLink;
use crate::names::Names;

pub use keys::{CacheSettings, CacheStats, CachedKeys};

const LOOK: &str = concat!(include_str!("../script/history.lua"), include_str!("../script/look.lua"));
const BEGIN: &str = concat!(include_str!("../script/history.lua"), include_str!("../script/begin.lua"));
const FILL: &str = concat!(include_str!("../script/history.lua"), include_str!("../script/fill.lua"));

/// How long a place is kept for whoever reads the database: far longer than a reading takes.
const PROMISE: Duration = Duration::from_secs(10);

/// What stands in place of the record of a key that does not exist.
pub(crate) const UNKNOWN: &[u8] = b"-";

/// What a place holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    /// A record.
    Found(Vec<u8>),
    /// None; one read from now on may be put there.
    Missing(Token),
}

/// The right to put a record into one place, until something changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token(Vec<u8>);

/// The places.
pub(crate) struct Places {
    link: Arc<FleetLink>,
    token_base: u64,
    tokens: AtomicU64,
}

impl Places {
    pub(crate) fn new(link: Arc<FleetLink>) -> Self {
        // Tokens of two processes must differ; nobody gains by guessing one.
        let token_base = RandomState::new().build_hasher().finish();
        Self { link, token_base, tokens: AtomicU64::new(0) }
    }

    /// What places are called.
    pub(crate) fn names(&self) -> &Names {
        self.link.names()
    }

    /// Looks at a place.
    pub(crate) async fn look(&self, name: &str, bound: Duration) -> Result<Looked, FleetError> {
        let token = self.new_token();
        let command = script(LOOK, name, &[&token.0, millis(PROMISE).as_bytes()]);
        let (is_found, held): (u8, Vec<u8>) = self.link.call_within(bound, &command).await?;
        Ok(if is_found == 1 { Looked::Found(held) } else { Looked::Missing(Token(held)) })
    }

    /// Empties places and voids every token given out for them.
    pub(crate) async fn begin(&self, names: &[String]) -> Result<Vec<Token>, FleetError> {
        let tokens: Vec<Token> = names.iter().map(|_| self.new_token()).collect();
        let held_for = millis(PROMISE);
        let commands =
            names.iter().zip(&tokens).map(|(name, token)| script(BEGIN, name, &[&token.0, held_for.as_bytes()]));
        if self.link.is_single() {
            let mut pipeline = Pipeline::new();
            for command in commands {
                pipeline.add_command(command).ignore();
            }
            self.link.pipe::<()>(&pipeline).await?;
        } else {
            // The places lie on different servers, and a pipeline goes to one.
            for command in commands {
                self.link.call::<()>(&command).await?;
            }
        }
        Ok(tokens)
    }

    /// Empties one place.
    pub(crate) async fn begin_one(&self, name: &str, bound: Duration) -> Result<Token, FleetError> {
        let token = self.new_token();
        let command = script(BEGIN, name, &[&token.0, millis(PROMISE).as_bytes()]);
        self.link.call_within::<()>(bound, &command).await?;
        Ok(token)
    }

    /// Puts a record into a place; whether nothing had changed meanwhile.
    pub(crate) async fn fill(
        &self,
        name: &str,
        token: &Token,
        record: &[u8],
        kept_for: Duration,
    ) -> Result<bool, FleetError> {
        self.link.call(&script(FILL, name, &[&token.0, record, millis(kept_for).as_bytes()])).await
    }

    fn new_token(&self) -> Token {
        let number = self.tokens.fetch_add(1, Ordering::Relaxed);
        Token(format!("{:016x}{number:x}", self.token_base).into_bytes())
    }
}

fn script(text: &str, name: &str, arguments: &[&[u8]]) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(text).arg(1).arg(name);
    for argument in arguments {
        command.arg(*argument);
    }
    command
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}
