//! The trait that the in-process limiter and a shared one have in common.

use std::future::Future;
use std::net::IpAddr;

use tollgate_domain::limit::{Charged, Debit, Outcome, Seed};
use tollgate_domain::{AccountId, Period, Timestamp};

use crate::prefetch::Ahead;

/// Whose limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// An account; its state must be seeded from the ledger before its first call.
    Account(AccountId),
    /// A client address on a public route: an IPv4 address mapped into IPv6, or the first 64 bits of an IPv6 one.
    /// It has no ledger; unknown means fresh.
    Client(u128),
}

impl Subject {
    /// A client's address: IPv4 as it is, IPv6 by its first 64 bits, since one customer has all the rest.
    pub fn client(address: IpAddr) -> Self {
        Self::Client(match address.to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
        })
    }
}

/// The limiter did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limiter does not answer")]
pub struct LimiterDown;

/// How a limiter is doing, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether it is taken to be away, so that calls are not even tried on it.
    pub is_down: bool,
    /// How often it has gone down.
    pub outages: u64,
    /// Commands sent to it so far.
    pub commands: u64,
    /// Commands that failed or were not answered in time.
    pub failures: u64,
    /// Units this node holds in leases.
    pub units_leased: u64,
}

/// A subject's buckets and windows, as text, to be kept across a graceful stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedSubject {
    /// Whose, in a form [`Limiter::restore`] reads.
    pub subject: String,
    /// The state, in a form [`Limiter::restore`] reads.
    pub state: String,
}

/// Debits bucket, windows, quota and meter together or not at all.
pub trait Limiter: Send + Sync + 'static {
    /// What a caller keeps to reach a subject's state again without a search.
    type Handle: Clone + Send + Sync + 'static;

    /// Whether the state lives in this process alone, so that a graceful stop must save it.
    const IN_THIS_PROCESS: bool;

    /// The handle of a subject. It stays good as long as it is kept.
    fn open(&self, subject: Subject) -> Self::Handle;

    /// Where what a debit reads stands in memory, so that it can be fetched before it comes, and even before the handle
    /// has been read. Nothing where a debit is no matter of memory.
    fn ahead(&self, _handle: &Self::Handle) -> Ahead {
        Ahead::NOTHING
    }

    /// Debits a call. [`Outcome::Unseeded`] asks for [`Self::seed`] and another try; it never comes for a client address.
    /// `now` is to be read right before: a reading more than ten seconds behind another of the same subject is taken
    /// for a clock that was set back.
    fn debit(
        &self,
        handle: &Self::Handle,
        debit: &Debit<'_>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Outcome, LimiterDown>> + Send;

    /// Debits a call from this node's share alone, where [`Self::debit`] has found the shared limiter down. What it
    /// admits is not in the shared count: the ledger tells it once it answers again.
    fn debit_locally(&self, handle: &Self::Handle, debit: &Debit<'_>, now: Timestamp) -> Outcome;

    /// What [`Self::debit`] would answer, without debiting anything; `None` when a limit has no state yet.
    fn peek(
        &self,
        subject: Subject,
        debit: &Debit<'_>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Outcome>, LimiterDown>> + Send;

    /// A ticket to be taken before the ledger is read for a seed.
    fn ticket(&self) -> u64;

    /// Fills in what is missing. False when [`Self::charge`] came in between: the ledger must be read again.
    fn seed(
        &self,
        handle: &Self::Handle,
        ticket: u64,
        debit: &Debit<'_>,
        seed: &Seed,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, LimiterDown>> + Send;

    /// Corrects what an admitted call was charged in a period, once it is known what it took: gives units back
    /// (negative) or counts more, which may pass the limit. Bucket and windows keep what they took, and nothing happens
    /// once the period is over.
    ///
    /// False where nothing is counted of it, such as a meter that only an answer names. Where its limit matters, it is to
    /// be seeded, by a debit of nothing, and settled again: the ledger hears of these units only later.
    fn settle(
        &self,
        handle: &Self::Handle,
        of: Charged,
        period: Period,
        units: i64,
    ) -> impl Future<Output = Result<bool, LimiterDown>> + Send;

    /// Corrects what [`Self::debit_locally`] took; false where nothing is counted of it, as for [`Self::settle`].
    fn settle_locally(&self, handle: &Self::Handle, of: Charged, period: Period, units: i64) -> bool;

    /// Hears of units that was charged (or, negative, credited) beside the gateways, once the ledger has it. A limiter
    /// of one process counts it; a shared one was told by whoever charged, and forgets the refusals it remembers here.
    /// An account without state learns it from the ledger.
    /// `position` is the entry's place in the ledger: what a seed has told already is not counted twice.
    fn charge(
        &self,
        subject: Subject,
        of: Charged,
        period: Period,
        units: i64,
        position: u64,
    ) -> impl Future<Output = Result<(), LimiterDown>> + Send;

    /// Buckets and windows of every subject for which forgetting them would matter.
    fn save(&self, now: Timestamp) -> Vec<SavedSubject>;

    /// Puts saved states back; how many could be read.
    fn restore(&self, saved: &[SavedSubject], now: Timestamp) -> usize;

    /// Forgets subjects that nobody holds a handle of and whose state is idle, at most some thousands a call.
    /// Returns how many subjects are left.
    fn sweep(&self, now: Timestamp) -> usize;

    /// How it is doing.
    fn health(&self) -> Health;

    /// Gives back what this node holds of shared limits. Called once, when no call will come any more.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_clients_share_the_limits_of_their_first_64_bits() {
        let subject = |text: &str| Subject::client(text.parse().expect("an address"));
        assert_eq!(subject("2001:db8::1"), subject("2001:db8::ffff:1"));
        assert_ne!(subject("2001:db8::1"), subject("2001:db8:0:1::1"));
        assert_eq!(subject("::ffff:192.0.2.1"), subject("192.0.2.1"));
        assert_ne!(subject("192.0.2.1"), subject("192.0.2.2"));
    }
}
