//! Prints figures beside their bounds, and counts those that are missed.

use std::fmt::Display;
use std::io::Write;

/// What was printed so far.
#[derive(Default)]
pub(crate) struct Figures {
    missed: usize,
}

impl Figures {
    pub(crate) fn show(&mut self, name: &str, value: impl Display, bound: &str, is_good: bool) {
        let verdict = if is_good { "ok" } else { "MISSED" };
        let line = format!("{name:<64} {value:>14}   {bound:<22} {verdict}\n", value = value.to_string());
        std::io::stdout().write_all(line.as_bytes()).expect("standard output takes lines");
        self.missed += usize::from(!is_good);
    }

    pub(crate) fn at_most(&mut self, name: &str, value: u128, unit: &str, bound: u128) {
        self.show(name, format!("{value} {unit}"), &format!("at most {bound}"), value <= bound);
    }

    pub(crate) fn exactly(&mut self, name: &str, value: u128, bound: u128) {
        self.show(name, value, &format!("exactly {bound}"), value == bound);
    }

    /// A figure that nothing is promised of.
    pub(crate) fn measured(&mut self, name: &str, value: impl Display) {
        self.show(name, value, "(measured)", true);
    }

    pub(crate) fn has_missed(&self) -> bool {
        self.missed > 0
    }
}
