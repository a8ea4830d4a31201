//! What a ledger tells about an account whose state is not in memory.

use crate::id::KeyId;
use crate::meter::MeterId;
use crate::period::Period;
use crate::time::Timestamp;

/// Units debited, and when the last of them was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debited {
    /// Not before the true time of any of these units.
    pub at: Timestamp,
    /// Units taken from bucket and windows.
    pub units: u64,
}

/// Units charged in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaUse {
    /// The period of the newest entry.
    pub period: Period,
    /// Charged less refunded and credited in it, and in what it took over from periods it overlaps.
    pub used: u64,
}

/// What one subject, an account or a key, has spent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spending {
    /// Debits since the lookback's start, oldest first.
    pub debits: Vec<Debited>,
    /// Quota used; `None` when nothing was ever charged.
    pub quota: Option<QuotaUse>,
}

/// All that is needed to decide an account's next call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// From when on `debits` are complete.
    pub since: Timestamp,
    /// The whole account.
    pub account: Spending,
    /// The key that calls.
    pub key: Option<(KeyId, Spending)>,
    /// The meter that the call debits.
    pub meter: Option<(MeterId, Spending)>,
    /// How far the ledger had come when it was read: entries up to this position are in it, later ones are not.
    pub ledger_position: u64,
}
