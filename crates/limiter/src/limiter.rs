//! The trait that the in-process limiter and a shared one have in common.

use std::future::Future;

use tollgate_domain::limit::{Debit, Outcome, Seed};
use tollgate_domain::{AccountId, KeyId, Period, Timestamp};

/// Whose limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// An account; its state must be seeded from the ledger before its first call.
    Account(AccountId),
    /// A client address on a public route: an IPv4 address mapped into IPv6, or the first 64 bits of an IPv6 one.
    /// It has no ledger; unknown means fresh.
    Client(u128),
}

/// The limiter did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limiter does not answer")]
pub struct LimiterDown;

/// A subject's buckets and windows, as text, to be kept across a graceful stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedSubject {
    /// Whose, in a form [`Limiter::restore`] reads.
    pub subject: String,
    /// The state, in a form [`Limiter::restore`] reads.
    pub state: String,
}

/// Debits bucket, windows and quota together or not at all.
pub trait Limiter: Send + Sync + 'static {
    /// What a caller keeps to reach a subject's state again without a search.
    type Handle: Clone + Send + Sync + 'static;

    /// The handle of a subject. It stays good as long as it is kept.
    fn open(&self, subject: Subject) -> Self::Handle;

    /// Debits a call. [`Outcome::Unseeded`] asks for [`Self::seed`] and another try; it never comes for a client address.
    /// `now` is to be read right before: a reading more than ten seconds behind another of the same subject is taken
    /// for a clock that was set back.
    fn debit(
        &self,
        handle: &Self::Handle,
        debit: &Debit<'_>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Outcome, LimiterDown>> + Send;

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

    /// Gives quota back into the period it was charged in.
    fn refund(
        &self,
        handle: &Self::Handle,
        key: Option<KeyId>,
        period: Period,
        units: u64,
    ) -> impl Future<Output = Result<(), LimiterDown>> + Send;

    /// Charges (or, negative, credits) quota used beside the gateways, once the ledger has it. An account without state
    /// learns it from the ledger.
    /// `position` is the entry's place in the ledger: what a seed has told already is not counted twice.
    fn charge(
        &self,
        subject: Subject,
        key: Option<KeyId>,
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
}
