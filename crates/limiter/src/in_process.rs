//! The limiter of one process: every subject's state in memory, behind a lock of its own.
//!
//! A handle is the subject's entry itself, so a call that has one searches nothing and shares a lock only with calls
//! of the same subject, for the time of the arithmetic. What is not here: the arithmetic (the domain's), the ledger
//! that accounts are seeded from (the caller's), and any clock.

mod saved;
mod subjects;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tollgate_domain::limit::{AccountState, Debit, Outcome, Seed, Spending};
use tollgate_domain::{DAY_US, KeyId, Period, SECOND_US, Timestamp};

use crate::limiter::{Health, Limiter, LimiterDown, SavedSubject, Subject};
use crate::prefetch::Ahead;
use subjects::{Crowd, Entry, Subjects};

/// The client clock is written at most this often, so that its cache line is shared, not fought over.
const CLOCK_STEP_US: i64 = SECOND_US / 10;
/// A key's own counters are forgotten after so long without a call: longer than any call of it is under way.
const KEY_UNUSED_US: i64 = DAY_US;

/// How much an [`InProcess`] limiter keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InProcessSettings {
    /// Client addresses that are told apart at a time; about 250 bytes each, more where their plan has windows.
    pub clients_max: usize,
    /// How long nobody may have held a subject's handle before [`Limiter::sweep`] forgets it. It must be longer than
    /// usage takes to reach the ledger, for the ledger is what a forgotten account is seeded from.
    pub idle_after: Duration,
}

impl Default for InProcessSettings {
    fn default() -> Self {
        Self { clients_max: 100_000, idle_after: Duration::from_mins(2) }
    }
}

/// A subject's entry. It stays good as long as it is kept: what is held is never forgotten.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Entry>);

/// The limiter of one process.
///
/// # Client addresses
/// Anybody can show up under a new address, so their number is bounded ([`InProcessSettings::clients_max`]). When it
/// is reached, first those are forgotten whose bucket is full and whose windows (and quota, where the public plan has
/// one) hold nothing: that changes no decision. Where that frees too little, the longest unseen go, but none that was
/// seen within [`InProcessSettings::idle_after`] and none in use. Whoever finds no room even then shares one entry
/// with others of the same fate until there is.
///
/// So memory is bounded, and to reset one bucket takes calls from as many other addresses as are told apart, none of
/// which returns within the time: an attacker who has those gains nothing by one bucket more. The price is that
/// newcomers share a limit while a flood of fresh addresses lasts; those already known do not notice it.
#[derive(Debug)]
pub struct InProcess {
    accounts: Subjects,
    clients: Subjects,
    idle_after_us: i64,
    /// How often quota was charged beside the gateways.
    charges: AtomicU64,
    /// About now, as the last calls told it: opening a handle knows no time.
    client_clock_us: AtomicI64,
    /// Whether the public plan has a quota, so that forgetting an address would give it back.
    clients_have_quota: AtomicBool,
}

impl Default for InProcess {
    fn default() -> Self {
        Self::new(InProcessSettings::default())
    }
}

impl InProcess {
    /// An empty limiter.
    pub fn new(settings: InProcessSettings) -> Self {
        Self {
            accounts: Subjects::unbounded(),
            clients: Subjects::bounded(settings.clients_max),
            idle_after_us: i64::try_from(settings.idle_after.as_micros()).unwrap_or(i64::MAX),
            charges: AtomicU64::new(0),
            client_clock_us: AtomicI64::new(0),
            clients_have_quota: AtomicBool::new(false),
        }
    }

    fn subjects(&self, subject: Subject) -> &Subjects {
        match subject {
            Subject::Account(_) => &self.accounts,
            Subject::Client(_) => &self.clients,
        }
    }

    fn crowd(&self, now: Timestamp) -> Crowd {
        Crowd { now, idle_after_us: self.idle_after_us, quota_counts: self.clients_have_quota.load(Ordering::Relaxed) }
    }

    /// Notes what opening a handle and sweeping must know of clients; written rarely, read often.
    fn note_client(&self, debit: &Debit<'_>, now: Timestamp) {
        self.note_clock(now);
        let has_quota = debit.limits.quota.limit.is_some();
        if self.clients_have_quota.load(Ordering::Relaxed) != has_quota {
            self.clients_have_quota.store(has_quota, Ordering::Relaxed);
        }
    }

    fn note_clock(&self, now: Timestamp) {
        let ahead_us = now.as_micros().saturating_sub(self.client_clock_us.load(Ordering::Relaxed));
        if !(-SECOND_US..CLOCK_STEP_US).contains(&ahead_us) {
            self.client_clock_us.store(now.as_micros(), Ordering::Relaxed);
        }
    }
}

/// What a ledger would tell of a subject that never called.
fn nothing_spent(debit: &Debit<'_>) -> Seed {
    Seed {
        since: Timestamp::from_micros(i64::MIN),
        account: Spending::default(),
        key: debit.key.map(|(id, _)| (id, Spending::default())),
        ledger_position: 0,
    }
}

/// Debits; a client has no ledger, so what is not counted of it was never used.
fn debit_or_begin(subject: Subject, state: &mut AccountState, debit: &Debit<'_>, now: Timestamp) -> Outcome {
    match (state.debit(debit, now), subject) {
        (Outcome::Unseeded, Subject::Client(_)) => {
            state.seed(debit, &nothing_spent(debit), now);
            state.debit(debit, now)
        }
        (outcome, _) => outcome,
    }
}

impl Limiter for InProcess {
    type Handle = Handle;

    const IN_THIS_PROCESS: bool = true;

    fn open(&self, subject: Subject) -> Handle {
        let now = Timestamp::from_micros(self.client_clock_us.load(Ordering::Relaxed));
        Handle(self.subjects(subject).open(subject, self.crowd(now)))
    }

    fn ahead(&self, handle: &Handle) -> Ahead {
        Ahead::of(&*handle.0)
    }

    async fn debit(&self, handle: &Handle, debit: &Debit<'_>, now: Timestamp) -> Result<Outcome, LimiterDown> {
        let entry = &*handle.0;
        if matches!(entry.subject, Subject::Client(_)) {
            self.note_client(debit, now);
        }
        Ok(debit_or_begin(entry.subject, &mut entry.state.lock(), debit, now))
    }

    fn debit_locally(&self, handle: &Handle, debit: &Debit<'_>, now: Timestamp) -> Outcome {
        let entry = &*handle.0;
        debit_or_begin(entry.subject, &mut entry.state.lock(), debit, now)
    }

    async fn peek(&self, subject: Subject, debit: &Debit<'_>, now: Timestamp) -> Result<Option<Outcome>, LimiterDown> {
        let Some(entry) = self.subjects(subject).find(subject) else { return Ok(None) };
        let mut state = entry.state.lock().clone();
        let outcome = debit_or_begin(subject, &mut state, debit, now);
        Ok((outcome != Outcome::Unseeded).then_some(outcome))
    }

    fn ticket(&self) -> u64 {
        self.charges.load(Ordering::Acquire)
    }

    async fn seed(
        &self,
        handle: &Handle,
        ticket: u64,
        debit: &Debit<'_>,
        seed: &Seed,
        now: Timestamp,
    ) -> Result<bool, LimiterDown> {
        let mut state = handle.0.state.lock();
        // Under the lock: a charge either has raised the count by now, or will find what is seeded here.
        let is_current = self.charges.load(Ordering::Acquire) == ticket;
        if is_current {
            state.seed(debit, seed, now);
        }
        Ok(is_current)
    }

    async fn refund(&self, handle: &Handle, key: Option<KeyId>, period: Period, units: u64) -> Result<(), LimiterDown> {
        handle.0.state.lock().refund(key, period, units);
        Ok(())
    }

    fn refund_locally(&self, handle: &Handle, key: Option<KeyId>, period: Period, units: u64) {
        handle.0.state.lock().refund(key, period, units);
    }

    async fn charge(
        &self,
        subject: Subject,
        key: Option<KeyId>,
        period: Period,
        units: i64,
        position: u64,
    ) -> Result<(), LimiterDown> {
        self.charges.fetch_add(1, Ordering::AcqRel);
        if let Some(entry) = self.subjects(subject).find(subject) {
            entry.state.lock().charge(key, period, units, position);
        }
        Ok(())
    }

    fn save(&self, now: Timestamp) -> Vec<SavedSubject> {
        let crowd = self.crowd(now);
        let entries = self.accounts.entries().chain(self.clients.entries());
        entries
            .filter_map(|entry| {
                let state = entry.state.lock().clone();
                let quota = state.quota().filter(|_| crowd.keeps_quota(entry.subject));
                (!crowd.may_forget(entry.subject, &state)).then(|| saved::write(entry.subject, &state, quota))
            })
            .collect()
    }

    fn restore(&self, saved: &[SavedSubject], now: Timestamp) -> usize {
        self.note_clock(now);
        let mut read = 0;
        for (subject, state) in saved.iter().filter_map(saved::read) {
            read += 1;
            // A client's quota was saved because the public plan has one; calls will tell whether it still has.
            if state.quota().is_some() {
                self.clients_have_quota.store(true, Ordering::Relaxed);
            }
            let crowd = self.crowd(now);
            if !crowd.may_forget(subject, &state) {
                self.subjects(subject).restore(subject, state, crowd);
            }
        }
        read
    }

    fn sweep(&self, now: Timestamp) -> usize {
        self.note_clock(now);
        let crowd = self.crowd(now);
        let keys_unused_since = now + -KEY_UNUSED_US;
        self.accounts.sweep(crowd, |state| state.forget_keys(keys_unused_since, now))
            + self.clients.sweep(crowd, |_| {})
    }

    fn health(&self) -> Health {
        Health::default()
    }

    async fn close(&self) {}
}
