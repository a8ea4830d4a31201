//! Counts of what limits refused, or stood at. It decides nothing.

use std::collections::BTreeMap;

use tollgate_domain::Timestamp;

/// What a limit refused, or would have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusals {
    /// The limit: `burst`, `day`, `month`, `meter tokens`, `access`.
    pub(crate) limit: String,
    /// Calls, or events of a meter.
    pub(crate) calls: u64,
    /// Units they would have taken.
    pub(crate) units: u64,
    /// The first of them.
    pub(crate) first_at: Timestamp,
}

/// Counts by limit.
#[derive(Default)]
pub(super) struct Tally(BTreeMap<String, Refusals>);

impl Tally {
    /// Counts more; the first tells when.
    pub(super) fn add(&mut self, limit: &str, calls: u64, units: u64, at: Timestamp) {
        if let Some(known) = self.0.get_mut(limit) {
            known.calls += calls;
            known.units = known.units.saturating_add(units);
        } else {
            let limit = limit.to_owned();
            self.0.insert(limit.clone(), Refusals { limit, calls, units, first_at: at });
        }
    }

    /// Adds another's counts.
    pub(super) fn merge(&mut self, other: Self) {
        for refusals in other.0.into_values() {
            self.add(&refusals.limit, refusals.calls, refusals.units, refusals.first_at);
        }
    }

    /// Calls and events of every limit.
    pub(super) fn calls(&self) -> u64 {
        self.0.values().map(|refusals| refusals.calls).sum()
    }

    /// The earliest first.
    pub(super) fn into_list(self) -> Vec<Refusals> {
        let mut list: Vec<_> = self.0.into_values().collect();
        list.sort_by_key(|refusals| refusals.first_at);
        list
    }
}
