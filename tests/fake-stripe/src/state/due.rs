//! What falls due when, and playing it in the order of time.
//!
//! An entry may be out of date when its time comes (a retry of an invoice paid meanwhile): whoever plays it looks again,
//! so nothing is ever taken off the agenda.

use std::collections::BTreeSet;

use super::State;
use crate::billing;

/// Something that happens by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// A subscription's trial ends in three days.
    TrialWillEnd(String),
    /// An item's period, or the trial, ends.
    Period(String),
    /// A subscription is to end in the middle of a period.
    CancelAt(String),
    /// Collection is to go on.
    ResumeCollection(String),
    /// The first invoice was never paid.
    IncompleteExpires(String),
    /// A draft is to be finalised.
    Finalize(String),
    /// An invoice is charged again.
    Retry(String),
    /// A Checkout page closes.
    SessionExpires(String),
}

/// Entries in the order of their time, and of their making where that is the same.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entries: BTreeSet<(i64, u64, Due)>,
    made: u64,
}

impl Agenda {
    pub(crate) fn add(&mut self, at: i64, due: Due) {
        self.made += 1;
        self.entries.insert((at, self.made, due));
    }

    /// When the next entry falls due.
    pub(crate) fn next_at(&self) -> Option<i64> {
        self.entries.first().map(|(at, ..)| *at)
    }

    fn pop_until(&mut self, until: i64) -> Option<(i64, Due)> {
        if self.next_at()? > until {
            return None;
        }
        self.entries.pop_first().map(|(at, _, due)| (at, due))
    }
}

impl State {
    /// Plays everything that has fallen due by the clock's time.
    pub(crate) fn catch_up(&mut self) {
        let until = self.clock.now();
        while let Some((at, due)) = self.agenda.pop_until(until) {
            // An entry made late (a draft whose hour is over) is played now, not in the past.
            self.now = self.now.max(at);
            self.play(due);
        }
        self.now = self.now.max(until);
    }

    /// Moves the clock and plays what falls due on the way.
    pub(crate) fn advance(&mut self, seconds: i64) {
        self.clock.move_by(seconds);
        self.catch_up();
    }

    fn play(&mut self, due: Due) {
        match due {
            Due::TrialWillEnd(id) => billing::trial::will_end(self, &id),
            Due::Period(id) => billing::renew::period_ended(self, &id),
            Due::CancelAt(id) => billing::end::cancel_at_reached(self, &id),
            Due::ResumeCollection(id) => billing::pause::collection_resumes(self, &id),
            Due::IncompleteExpires(id) => billing::end::incomplete_expires(self, &id),
            Due::Finalize(id) => billing::collect::finalize_when_due(self, &id),
            Due::Retry(id) => billing::collect::retry_when_due(self, &id),
            Due::SessionExpires(id) => crate::objects::checkout_outcomes::expire_when_due(self, &id),
        }
    }
}
