//! The strict sliding window, counted in 256ths of its length.
//!
//! A slice leaves when its newest call is a whole window old. Its older calls leave with it, so a refusal
//! may last up to 1/256 of the window too long; no window ever holds more than its limit.

use std::collections::VecDeque;

use super::spec::UNITS_MAX;
use crate::rate::Unit;
use crate::time::Timestamp;

/// How many slices a window's length is cut into.
pub const SLICES: i64 = 256;
/// The most slices a window holds: 256 whole ones and the parts of two more at its ends, where a 256th is no whole
/// number of microseconds.
pub const SLICES_MAX: usize = 258;

/// The calls of one 256th of the window's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The newest call in it.
    pub newest: Timestamp,
    /// Units debited in it.
    pub units: u64,
}

/// What a window holds. At most 258 slices, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowState {
    length: Unit,
    total: u64,
    slices: VecDeque<Slice>,
}

impl WindowState {
    /// A window that holds nothing.
    pub fn empty(length: Unit) -> Self {
        Self { length, total: 0, slices: VecDeque::new() }
    }

    /// The window's length.
    pub fn length(&self) -> Unit {
        self.length
    }

    /// Units it holds as of the last advance.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Its slices, oldest first.
    pub fn slices(&self) -> impl Iterator<Item = &Slice> {
        self.slices.iter()
    }

    /// Lets go of the slices whose newest call is a whole window old.
    pub(super) fn advance(&mut self, now: Timestamp) {
        let length_us = self.length.micros();
        while let Some(oldest) = self.slices.front().filter(|oldest| now - oldest.newest >= length_us) {
            self.total -= oldest.units;
            self.slices.pop_front();
        }
    }

    /// After a clock was set back: what lies ahead of the new now counts as made now.
    pub(super) fn rebase(&mut self, now: Timestamp) {
        let mut ahead = 0_u64;
        while let Some(newest) = self.slices.back().filter(|newest| newest.newest > now) {
            ahead += newest.units;
            self.total -= newest.units;
            self.slices.pop_back();
        }
        if ahead > 0 {
            self.add(ahead, now);
        }
    }

    /// Counts units at an instant not before the newest call.
    ///
    /// A slice stops counting at the largest limit there is: one that holds so much refuses everything until it
    /// leaves, and the total of all slices cannot overflow.
    pub fn add(&mut self, units: u64, at: Timestamp) {
        let slice_us = self.length.micros() / SLICES;
        let index = |at: Timestamp| at.as_micros().div_euclid(slice_us);
        match self.slices.back_mut() {
            Some(newest) if index(newest.newest) >= index(at) => {
                let counted = newest.units.saturating_add(units).min(UNITS_MAX);
                self.total += counted - newest.units;
                newest.units = counted;
                newest.newest = newest.newest.max(at);
            }
            _ => {
                let units = units.min(UNITS_MAX);
                self.make_room();
                self.total += units;
                self.slices.push_back(Slice { newest: at, units });
            }
        }
    }

    /// Grows by doubling as usual, but not past what a window can hold: the last doubling would waste half.
    fn make_room(&mut self) {
        let held = self.slices.len();
        if held == self.slices.capacity() {
            self.slices.reserve_exact(held.clamp(4, SLICES_MAX.saturating_sub(held).max(4)));
        }
    }

    /// Units that `limit` leaves.
    pub(super) fn remaining(&self, limit: u64) -> u64 {
        limit.saturating_sub(self.total)
    }

    /// Microseconds until `cost` more units fit under `limit`; zero when they do; `None` when they never will.
    pub(super) fn wait_us(&self, cost: u64, limit: u64, now: Timestamp) -> Option<i64> {
        let mut excess = self.total.saturating_add(cost).saturating_sub(limit);
        if excess == 0 {
            return Some(0);
        }
        self.slices.iter().find_map(|slice| {
            excess = excess.saturating_sub(slice.units);
            (excess == 0).then(|| self.length.micros() - (now - slice.newest))
        })
    }
}
