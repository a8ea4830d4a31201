//! The quota: units charged in a period.

use crate::period::Period;

/// What has been charged in the open period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaState {
    /// The open period.
    pub period: Period,
    /// Units charged in it: imported + admitted, settled either way, - credited.
    pub used: u64,
    /// Up to which position the ledger's entries are in `used`; 0 where it was not read from a ledger.
    pub ledger_position: u64,
}

impl QuotaState {
    /// Moves on to the period that holds now.
    ///
    /// A period that begins after the open one has ended starts at zero. One that overlaps the open one comes
    /// from a changed definition, and the open period's use carries over. One that lies wholly before the open
    /// one comes from a clock that was set back, and changes nothing: a quota is never given twice.
    pub(super) fn roll(&mut self, period: Period) {
        if self.period == period || period.end <= self.period.start {
            return;
        }
        if !self.period.overlaps(&period) {
            self.used = 0;
        }
        self.period = period;
    }

    /// Corrects what was charged in a period: gives units back (negative), but none where that period is over, or counts
    /// more. Where nothing has opened the period yet, what is counted opens it.
    pub fn settle(&mut self, charged_in: Period, units: i64) {
        if units > 0 && charged_in.start >= self.period.end {
            self.roll(charged_in);
        }
        if self.period.overlaps(&charged_in) {
            self.used = self.used.saturating_add_signed(units);
        }
    }

    /// Whether so many more units stay within the limit.
    pub(super) fn fits(&self, cost: u64, limit: u64) -> bool {
        self.used.checked_add(cost).is_some_and(|used| used <= limit)
    }

    /// Charges units that an entry made elsewhere charges, or gives back what it credits (negative), unless the entry
    /// was read from the ledger already. Where no call has opened its period yet, a charge opens it.
    pub(super) fn charge(&mut self, charged_in: Period, units: i64, position: u64) {
        if position > self.ledger_position {
            self.settle(charged_in, units);
        }
    }
}
