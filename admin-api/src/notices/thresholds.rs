//! Which of its thresholds a quota has reached.

/// The thresholds, in hundredths of the limit, that are reached, rising. A limit of nothing has none: its owner knows.
pub(super) fn reached(percents: &[u32], used: u64, limit: u64) -> Vec<u32> {
    if limit == 0 {
        return Vec::new();
    }
    let is_reached = |percent: u32| u128::from(used) * 100 >= u128::from(limit) * u128::from(percent);
    let mut reached: Vec<u32> = percents.iter().copied().filter(|percent| is_reached(*percent)).collect();
    reached.sort_unstable();
    reached.dedup();
    reached
}

/// The units at which the next threshold is reached; as many as can be counted where none is left.
pub(super) fn next(percents: &[u32], used: u64, limit: u64) -> u64 {
    let units = |percent: u32| {
        let units = (u128::from(limit) * u128::from(percent)).div_ceil(100);
        u64::try_from(units).unwrap_or(u64::MAX)
    };
    percents.iter().map(|percent| units(*percent)).filter(|units| *units > used).min().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_reached_by_the_unit_that_fills_it() {
        for (used, limit, expected) in [
            (0, 100, &[][..]),
            (74, 100, &[]),
            (75, 100, &[75]),
            (89, 100, &[75]),
            (100, 100, &[75, 90, 100]),
            (250, 100, &[75, 90, 100]),
            (2, 3, &[]),
            (3, 4, &[75]),
            (5, 0, &[]),
            (u64::MAX, u64::MAX, &[75, 90, 100]),
        ] {
            assert_eq!(reached(&[90, 75, 100, 75], used, limit), expected, "{used} of {limit}");
        }
        assert_eq!(reached(&[], 100, 100), [0_u32; 0]);
    }

    #[test]
    fn the_next_threshold_is_the_first_count_that_reaches_it() {
        for (used, limit, expected) in [(0, 100, 75), (75, 100, 90), (100, 100, u64::MAX), (0, 3, 3), (0, 0, u64::MAX)]
        {
            assert_eq!(next(&[90, 75, 100], used, limit), expected, "{used} of {limit}");
            let before = reached(&[90, 75, 100], used, limit).len();
            if expected < u64::MAX {
                assert!(reached(&[90, 75, 100], expected, limit).len() > before);
                assert_eq!(reached(&[90, 75, 100], expected - 1, limit).len(), before);
            }
        }
    }
}
