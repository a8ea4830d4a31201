//! Judges: plain sums over what was admitted.

use tollgate_domain::Rate;

/// Units that were admitted at an instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub(crate) at_us: i64,
    pub(crate) units: u64,
}

/// From when on a bucket refilled at a rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refilling {
    pub(crate) from_us: i64,
    pub(crate) rate: Rate,
}

/// Over every interval of length t between two admissions: admitted <= b + r * t, in whole numbers.
pub(crate) fn assert_bucket_holds(spent: &[Spent], rate: Rate, burst: u64) {
    let per = i128::from(rate.per.micros());
    for (first, from) in spent.iter().enumerate() {
        let mut admitted = 0_i128;
        for to in &spent[first..] {
            admitted += i128::from(to.units);
            let elapsed = i128::from(to.at_us - from.at_us);
            let allowed = i128::from(burst) * per + i128::from(rate.count) * elapsed;
            assert!(
                admitted * per <= allowed,
                "{admitted} units in {elapsed} us from {}, at {rate} with a burst of {burst}",
                from.at_us
            );
        }
    }
}

/// The same where the limit changed: the burst under which the interval's first call was let in, and every rate for
/// its time.
pub(crate) fn assert_changing_bucket_holds(spent: &[(Spent, u64)], rates: &[Refilling]) {
    /// A common multiple of all units of time in use, so that sums of refills are whole numbers.
    const COMMON_US: i128 = tollgate_domain::DAY_US as i128;
    let refilled = |from: i64, to: i64| -> i128 {
        rates
            .iter()
            .enumerate()
            .map(|(index, Refilling { from_us, rate })| {
                let end = rates.get(index + 1).map_or(i64::MAX, |next| next.from_us);
                let overlap = (to.min(end) - from.max(*from_us)).max(0);
                i128::from(overlap) * i128::from(rate.count) * (COMMON_US / i128::from(rate.per.micros()))
            })
            .sum()
    };
    for (first, (from, burst)) in spent.iter().enumerate() {
        let mut admitted = 0_i128;
        for (to, _) in &spent[first..] {
            admitted += i128::from(to.units);
            let allowed = i128::from(*burst) * COMMON_US + refilled(from.at_us, to.at_us);
            assert!(admitted * COMMON_US <= allowed, "{admitted} units from {} to {}", from.at_us, to.at_us);
        }
    }
}

/// Units in the window of this length that ends with `now`, both calls of an interval of exactly the length not
/// being in one window.
pub(crate) fn held(spent: &[Spent], length_us: i64, now_us: i64) -> u128 {
    spent.iter().filter(|spent| now_us - spent.at_us < length_us).map(|spent| u128::from(spent.units)).sum()
}

/// No window of this length ever held more than the limit.
pub(crate) fn assert_window_holds(spent: &[Spent], limit: u64, length_us: i64) {
    for (last, to) in spent.iter().enumerate() {
        let in_window = held(&spent[..=last], length_us, to.at_us);
        assert!(in_window <= u128::from(limit), "{in_window} units within {length_us} us before {}", to.at_us);
    }
}

/// When an exact log of every call would have room for the cost: now or later, or never.
pub(crate) fn exact_log_admits_at(spent: &[Spent], limit: u64, length_us: i64, cost: u64, now_us: i64) -> Option<i64> {
    let leaves = spent.iter().map(|spent| spent.at_us + length_us).filter(|leave| *leave > now_us);
    std::iter::once(now_us)
        .chain(leaves)
        .filter(|at| held(spent, length_us, *at) + u128::from(cost) <= u128::from(limit))
        .min()
}
