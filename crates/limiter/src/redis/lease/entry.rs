//! One subject's lease at this node, as what it is reached by: its state behind a lock, and whoever waits for an ask.

use parking_lot::Mutex;
use tokio::sync::Notify;
use tollgate_domain::Period;

use super::state::State;
use crate::limiter::Subject;

/// What a node knows and holds of one subject's limits. Cheap while it holds nothing.
#[derive(Debug)]
pub struct LeaseEntry {
    subject: Subject,
    /// Never held across an await.
    pub(super) state: Mutex<State>,
    /// Told when an ask of this subject is over, whatever came of it.
    pub(super) asked: Notify,
}

impl LeaseEntry {
    /// An entry of a subject that nothing is known of yet.
    pub fn new(subject: Subject) -> Self {
        Self { subject, state: Mutex::new(State::default()), asked: Notify::new() }
    }

    /// Whose.
    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// Forgets every refusal: quota was charged, credited or given back somewhere, or what holds has changed.
    /// An answer that is on its way is not remembered as a refusal either.
    pub fn forget_refusals(&self) {
        self.state.lock().forget_refusals();
    }

    /// Hears that what was charged in a period was corrected at Redis: units given back (negative), or more counted.
    pub fn settled(&self, charged_in: Period, units: i64) {
        self.state.lock().settled(charged_in, units);
    }

    /// Whether this node holds or has yet to report anything: such an entry must be kept.
    pub fn is_held(&self) -> bool {
        self.state.lock().is_held()
    }

    /// Units held unspent.
    pub fn units_left(&self) -> u64 {
        self.state.lock().units_left()
    }
}
