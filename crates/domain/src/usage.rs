//! Usage as it is counted: by whom, on what, with what end, and in which period.

use crate::id::{AccountId, KeyId, NodeId};
use crate::meter::MeterName;
use crate::period::Period;
use crate::route::RouteName;
use crate::time::Timestamp;

/// The first digit of an answer's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatusClass {
    /// 1xx, as when a connection changed its protocol.
    Informational,
    /// 2xx.
    Success,
    /// 3xx.
    Redirection,
    /// 4xx.
    ClientError,
    /// 5xx, and everything else.
    ServerError,
}

impl StatusClass {
    /// The class of a status.
    pub fn of(status: u16) -> Self {
        match status {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    /// `1xx` to `5xx`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }

    /// Reads what `as_str` writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Informational, Self::Success, Self::Redirection, Self::ClientError, Self::ServerError]
            .into_iter()
            .find(|class| class.as_str() == text)
    }
}

/// What usage is told apart by. No line spans two periods.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UsageKey {
    /// Who pays.
    pub account: AccountId,
    /// The key that called.
    pub key: KeyId,
    /// What was called.
    pub route: RouteName,
    /// How it ended.
    pub status: StatusClass,
    /// The quota period it was charged in.
    pub period: Period,
    /// The meter whose units are counted; `None` for calls.
    pub meter: Option<MeterName>,
    /// Whether the shared limiter has not counted it, because it did not answer then: it must hear of it from the ledger.
    pub detached: bool,
}

/// What was counted. All of it adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageTally {
    /// Calls that were forwarded; of a meter, the calls and events that it was counted by.
    pub calls: u64,
    /// Units debited from bucket and windows.
    pub units_debited: u64,
    /// Units charged to the quota, before refunds.
    pub units_charged: u64,
    /// Units given back to the quota: upstream failures, and what a reported cost left of `cost_max`.
    pub units_refunded: u64,
    /// Calls over a limit that went through because limits are not enforced; they debit nothing.
    pub calls_unenforced: u64,
}

impl UsageTally {
    /// Adds another tally to this one, saturating.
    pub fn add(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.units_debited = self.units_debited.saturating_add(other.units_debited);
        self.units_charged = self.units_charged.saturating_add(other.units_charged);
        self.units_refunded = self.units_refunded.saturating_add(other.units_refunded);
        self.calls_unenforced = self.calls_unenforced.saturating_add(other.calls_unenforced);
    }
}

/// One line of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageLine {
    /// Told apart by this.
    pub key: UsageKey,
    /// Counted.
    pub tally: UsageTally,
}

/// One call as the optional request log keeps it. It never holds a query or a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRow {
    /// The request's id, as its answer told it.
    pub request: String,
    /// When its head had been read.
    pub at: Timestamp,
    /// Who called.
    pub account: AccountId,
    /// With which key.
    pub key: KeyId,
    /// What was called.
    pub route: RouteName,
    /// How.
    pub method: String,
    /// The canonical path, cut to 256 bytes.
    pub path: String,
    /// The answer's status.
    pub status: u16,
    /// From the head to the end of the answer, in microseconds.
    pub duration_us: u64,
    /// Units charged to the quota.
    pub units: u64,
    /// The quota period it was charged in, where it was charged.
    pub period: Option<Period>,
    /// The word of the finer reason, where it was refused, or would have been.
    pub reason: Option<String>,
}

/// What one node counted in one stretch of time. Stored once, however often it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageBatch {
    /// Which run of which node.
    pub node: NodeId,
    /// Its number in that run, from 1, without gaps.
    pub sequence: u64,
    /// Not after its first call.
    pub start: Timestamp,
    /// Not before its last call.
    pub end: Timestamp,
    /// What was counted.
    pub lines: Vec<UsageLine>,
    /// Calls to be kept one by one, where that is asked for.
    pub requests: Vec<RequestRow>,
}
