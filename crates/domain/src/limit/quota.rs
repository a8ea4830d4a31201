//! The quota: units charged in a period.

use crate::period::Period;

/// What has been charged in the open period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaState {
    /// The open period.
    pub period: Period,
    /// Units charged in it: imported + admitted - refunded - credited.
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

    /// Gives units back into the period they were charged in; nothing happens once that period is over.
    pub(super) fn refund(&mut self, charged_in: Period, units: u64) {
        if self.period.overlaps(&charged_in) {
            self.used = self.used.saturating_sub(units);
        }
    }

    /// Whether so many more units stay within the limit.
    pub(super) fn fits(&self, cost: u64, limit: u64) -> bool {
        self.used.checked_add(cost).is_some_and(|used| used <= limit)
    }

    /// Charges units that an entry made elsewhere charges, or gives back what it credits (negative), unless the entry
    /// was read from the ledger already. Where no call has opened its period yet, a charge opens it.
    pub(super) fn charge(&mut self, charged_in: Period, units: i64, position: u64) {
        if position <= self.ledger_position {
            return;
        }
        if units < 0 {
            return self.refund(charged_in, units.unsigned_abs());
        }
        if charged_in.start >= self.period.end {
            self.roll(charged_in);
        }
        if self.period.overlaps(&charged_in) {
            self.used = self.used.saturating_add(units.unsigned_abs());
        }
    }
}
