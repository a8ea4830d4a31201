//! How much a subject has spent on this node of late, and so how much it may want ahead. No clock: callers bring it.

/// Fewer units than this are not worth a lease: to give it back would cost what it saves.
const WORTHWHILE: u64 = 4;

/// A count of units that fades with time: about what was spent within the last `fade_us`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demand {
    recent: f64,
    /// Spent since `folded_us`, and not in `recent` yet: a spend must cost no more than an addition.
    fresh: u64,
    folded_us: i64,
}

impl Demand {
    pub(super) fn add(&mut self, units: u64) {
        self.fresh = self.fresh.saturating_add(units);
    }

    /// Units that a lease should hold so that it lasts about half of `fade_us` at the pace of late.
    ///
    /// A few are none: whoever calls that seldom takes what the call needs and holds nothing up.
    pub(super) fn ahead(&mut self, now_us: i64, fade_us: i64) -> u64 {
        self.fold(now_us, fade_us);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "never negative; a float beyond the range becomes its end"
        )]
        let units = (self.recent / 2.0) as u64;
        if units < WORTHWHILE { 0 } else { units }
    }

    /// What was spent since the last folding counts as spread evenly over the time since.
    fn fold(&mut self, now_us: i64, fade_us: i64) {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let (elapsed, fade, fresh) =
            ((now_us - self.folded_us).max(0) as f64, fade_us.max(1) as f64, self.fresh as f64);
        let share = elapsed / fade;
        let faded = (-share).exp();
        let spread = if share > 1e-6 { (1.0 - faded) / share } else { 1.0 };
        self.recent = self.recent * faded + fresh * spread;
        self.fresh = 0;
        self.folded_us = now_us;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FADE_US: i64 = 500_000;

    #[test]
    fn a_steady_pace_is_known_within_seconds_and_forgotten_as_fast() {
        let mut demand = Demand::default();
        let mut now_us = 0;
        for _ in 0..4_000 {
            now_us += 1_000;
            demand.add(1);
            if now_us % 50_000 == 0 {
                demand.ahead(now_us, FADE_US);
            }
        }
        let ahead = demand.ahead(now_us, FADE_US);
        assert!((240..=251).contains(&ahead), "a quarter of a second of 1 000 a second, not {ahead}");
        assert_eq!(demand.ahead(now_us + 10 * FADE_US, FADE_US), 0);
    }

    #[test]
    fn whoever_calls_seldom_wants_nothing_ahead() {
        let mut demand = Demand::default();
        for call in 1..100 {
            demand.add(1);
            assert_eq!(demand.ahead(call * 100_000, FADE_US), 0, "ten a second");
        }
    }

    #[test]
    fn a_pace_that_no_number_holds_is_still_a_number() {
        let mut demand = Demand::default();
        for step in 0..10 {
            demand.add(u64::MAX);
            assert!(demand.ahead(step, FADE_US) > 0);
        }
    }
}
