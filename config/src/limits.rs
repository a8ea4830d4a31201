//! `[limits]`: how limits are counted, shown and enforced.

use std::time::Duration;

use crate::item::Item;
use crate::reader::Table;

/// The settings of `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// How a shared limiter is asked. Without one, both modes count in this process.
    pub mode: LimiterMode,
    /// How long a node may hold units that it took ahead of need; the longest that leasing may refuse what other nodes
    /// have not spent.
    pub lease_ttl: Duration,
    /// Who shares a bucket and windows.
    pub rate_scope: RateScope,
    /// What happens while a shared limiter does not answer, unless the route says otherwise. The one inside the process
    /// always answers.
    pub on_limiter_down: OnLimiterDown,
    /// Which limit headers answers carry.
    pub headers: LimitHeaders,
    /// Whether callers are refused for want of a key, plan or allowance, or only counted as such.
    pub enforce: bool,
}

/// Below this a lease would be over before much of it could be spent.
const LEASE_TTL_LEAST: Duration = Duration::from_millis(50);

/// Above this other nodes would refuse for too long what one holds.
const LEASE_TTL_MOST: Duration = Duration::from_secs(10);

impl LimitsConfig {
    pub(crate) fn read(table: &Table<'_>) -> Self {
        let mut config = Self::default();
        let Self { mode, lease_ttl, rate_scope, on_limiter_down, headers, enforce } = &mut config;
        table.read("mode", mode, |item| item.word(&[("leased", LimiterMode::Leased), ("exact", LimiterMode::Exact)]));
        table.read("lease_ttl", lease_ttl, |item| item.duration_between(LEASE_TTL_LEAST, LEASE_TTL_MOST));
        table.read("rate_scope", rate_scope, |item| {
            item.word(&[("account", RateScope::Account), ("key", RateScope::Key)])
        });
        table.read("on_limiter_down", on_limiter_down, OnLimiterDown::read);
        table.read("headers", headers, |item| {
            item.word(&[
                ("draft", LimitHeaders::Draft),
                ("legacy", LimitHeaders::Legacy),
                ("both", LimitHeaders::Both),
                ("off", LimitHeaders::Off),
            ])
        });
        table.read("enforce", enforce, Item::flag);
        table.finish();
        config
    }
}

impl OnLimiterDown {
    pub(crate) fn read(item: &Item<'_>) -> Option<Self> {
        item.word(&[("local", Self::Local), ("open", Self::Open), ("closed", Self::Closed)])
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            mode: LimiterMode::Leased,
            lease_ttl: Duration::from_millis(500),
            rate_scope: RateScope::Account,
            on_limiter_down: OnLimiterDown::Local,
            headers: LimitHeaders::Both,
            enforce: true,
        }
    }
}

/// How a shared limiter is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimiterMode {
    /// Units are taken ahead of need and spent locally.
    Leased,
    /// Once a request.
    Exact,
}

/// Who shares a bucket and windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateScope {
    /// All keys of an account.
    Account,
    /// Each key has its own; the quota stays the account's.
    Key,
}

/// What happens while the limiter does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLimiterDown {
    /// Go on with a bucket of this node's share.
    Local,
    /// Let calls pass.
    Open,
    /// Refuse calls.
    Closed,
}

/// Which limit headers answers carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitHeaders {
    /// `RateLimit-Policy` and `RateLimit`.
    Draft,
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
    Legacy,
    /// Both forms.
    Both,
    /// None.
    Off,
}

impl LimitHeaders {
    /// Whether the draft's form is sent.
    pub const fn draft(self) -> bool {
        matches!(self, Self::Draft | Self::Both)
    }

    /// Whether the older form is sent.
    pub const fn legacy(self) -> bool {
        matches!(self, Self::Legacy | Self::Both)
    }
}
