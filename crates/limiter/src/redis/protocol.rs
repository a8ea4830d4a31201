//! What a node and Redis tell each other about leases: units that a node takes from an account's limits ahead of
//! need, spends by itself, and reports. What stands here is the exchange; the node's side of it is in `lease`, the
//! other side in the scripts.
//!
//! # One lease a node and account
//! A node holds at most one lease of an account. Every exchange is an *ask*: it reports what was spent, says what the
//! node keeps, gives back all the rest, and asks for more, in one script call. Nothing in an ask is an increment, so
//! an ask whose answer was lost needs no recovery:
//!
//! - [`LeaseAsk::spent_total`] counts from the beginning of the *session* (see below). Redis keeps what it has seen of
//!   it and counts the difference, so what a lost exchange has reported already is not counted twice.
//! - [`LeaseAsk::keep`] is what the node still holds of answers that it has heard, and may still spend when it sends
//!   the ask. Redis takes everything else that it has granted for unspent and free again: a grant in an answer that
//!   was never heard comes back with the next ask. So a node must drop the answer to an ask it has stopped waiting for.
//! - [`LeaseAsk::serial`] grows with every ask of a process. One that is not above the newest that Redis has seen from
//!   this node for this account was overtaken, and is answered with [`LeaseVerdict::Overtaken`], unapplied.
//!
//! # Time
//! At Redis the whole lease, what is kept and what is granted, expires `ttl` after the script ran. At the node the
//! whole lease is good until `ttl` after the ask was *sent*, by its monotonic clock, which is earlier. A node whose
//! former deadline has passed when an answer arrives has only what that answer grants. An ask that sends
//! [`LeaseAsk::keep`] above zero promises nothing about later: what is spent of it while the ask is on its way is in the
//! next one's `spent_total`.
//!
//! A lease that was not heard of until it expired counts as spent at that moment. The next ask corrects quota, and
//! quota only. What nobody reported for [`DEAD_AFTER_US`] leaves quota: the node is dead, and its ledger lines are all
//! there will be.
//!
//! What expires is presumed spent. The late ask (first of the same session after that) corrects quota, by
//! `presumed - reported - keep`, and nothing else. What it says it keeps stays presumed until the next ask, for it
//! may have been spent while this one was on its way; nothing of it still stands (`kept` is zero), and nothing is
//! granted beyond the cost, so that what the next ask reports is of the expired lease alone.
//!
//! # The call at hand
//! An ask's `cost` is debited in the same script, at Redis's now, as an exact debit would: only what is granted beyond
//! it ([`LeaseVerdict::Granted`]) is outstanding. So a cold account costs one command a call and holds nothing up,
//! and near a limit, where nothing is granted beyond the cost, leases are exact debits. Redis adds the cost to what it
//! has seen of `spent_total`, and so does a node that hears the answer. Where it does not, its next `spent_total`
//! is lower than what Redis has seen: the (negative) difference corrects quota, and nothing else.
//!
//! # Sessions
//! A session is the number of its first ask. It ends with any ask that leaves the lease empty: nothing kept, nothing
//! granted beyond the cost, nothing presumed; Redis then forgets the lease, and the node begins a new session, in which
//! `spent_total` counts from zero again. An ask of a session that Redis does not know, other than its first, is
//! one whose end the node has not heard of: all it reports was counted by the ask that ended it, so nothing is
//! counted, `kept` is zero (`keep` is, too), and cost and want are served as those of a session that begins now. Where
//! the units of a dead node have left quota, the lease is therefore not forgotten: only what was presumed of it is
//! zero then, so that a node that was merely cut off still tells what it spent.
//! A first ask (its serial is the session) where Redis knows another session of the node replaces that.
//!
//! # Epochs and periods
//! A state has a random epoch from its making. An ask for another epoch (the state was flushed and made again) brings
//! nothing: what was spent of the old state's leases is the ledger's to tell. A lease is of one quota period: a node
//! whose call belongs to another one sends an ask with `keep` zero and the old period in `spent_in`.

use std::future::Future;

use tollgate_domain::limit::{LimitSet, Reading};
use tollgate_domain::{Period, SECOND_US, Timestamp};

use crate::limiter::{LimiterDown, Subject};

/// Units of an expired lease that nobody has reported leave quota after so long.
pub const DEAD_AFTER_US: i64 = 60 * SECOND_US;

/// One exchange: a report, what is kept, and what is asked for.
#[derive(Clone, Copy, Debug)]
pub struct LeaseAsk<'a> {
    /// Whose limits.
    pub subject: Subject,
    /// The limits that all keys of the account share. Leases are never taken for calls with limits of their own.
    pub limits: &'a LimitSet,
    /// The quota period that holds now, and that a grant belongs to.
    pub period: Period,
    /// Grows with every ask of this process, whatever the account. Begins at 1.
    pub serial: u64,
    /// The serial of the session's first ask.
    pub session: u64,
    /// The epoch of the lease held; `None` in a session that has heard no answer yet.
    pub epoch: Option<u64>,
    /// Units spent since the session began.
    pub spent_total: u64,
    /// The period that what was spent since the last answered ask was charged in.
    pub spent_in: Period,
    /// Not before the Redis time of the last spend: the Redis time in the last answer plus what has passed, by the
    /// monotonic clock, since its ask was sent. Meaningless where nothing was spent.
    pub last_spend: Timestamp,
    /// Units that the node holds and may go on spending. Zero once its deadline has passed.
    pub keep: u64,
    /// Units that the call at hand takes. Zero where there is no call.
    pub cost: u64,
    /// Only reports and gives back: `keep`, `cost` and `want` are zero, and nobody looks at the [`LeaseReply::reading`].
    /// So that an old report cannot bring a former plan back, `limits` and `period` are not taken over, and
    /// [`LeaseVerdict::Unseeded`] means that the whole state is gone.
    pub reports_only: bool,
    /// Units wished for, the cost included and what is kept not; zero to report and give back only.
    pub want: u64,
}

/// What Redis made of an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseVerdict {
    /// The cost (if any) is debited, and the node may spend so many units more ahead: at most what was wished for beyond
    /// the cost, and of what then remains (level, windows and quota, less everything outstanding) at most three
    /// quarters divided by the number of nodes with a live lease, this one included, rounded down.
    Granted {
        /// Units beyond the cost.
        spare: u64,
    },
    /// The cost is not there. `LeaseReply::reading` tells when it would be, if every lease came back unspent.
    Refused,
    /// Some limit has no state: it must be seeded. Nothing was applied (`spent_total` stays as it is), nothing else in
    /// the answer means anything, and whatever the node held is void: its next ask keeps nothing.
    Unseeded,
    /// A newer ask has come first; this one changed nothing, and nothing else in the answer means anything.
    Overtaken,
}

/// Redis's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseReply {
    /// What was made of it.
    pub verdict: LeaseVerdict,
    /// The state's epoch.
    pub epoch: u64,
    /// How much of what the ask keeps still stands: all of it, or nothing where it had expired at Redis or was of
    /// another epoch or session.
    pub kept: u64,
    /// The state's time when the script ran: Redis time, never going backwards.
    pub redis_now: Timestamp,
    /// What is counted, without anything outstanding in leases: the bucket's level, each window's total, quota
    /// used. The waits in it are for the ask's cost where it was refused, else for one more unit.
    pub reading: Reading,
    /// Units that other nodes hold unspent.
    pub outstanding_others: u64,
}

/// Who answers asks: Redis, or a stand-in in a test.
pub trait LeaseServer: Send + Sync + 'static {
    /// One exchange. It answers within the limiter's timeout; [`LimiterDown`] leaves open whether it was applied.
    fn lease(&self, ask: LeaseAsk<'_>) -> impl Future<Output = Result<LeaseReply, LimiterDown>> + Send;
}
