//! Holds a trace of admissions against the limits, with sums of its own: over every interval, to the unit.

use tollgate_domain::limit::LimitSet;

use crate::fleet::Admission;

/// Fails with words where some stretch of the trace breaks a limit.
pub(crate) fn check(trace: &[Admission], limits: &LimitSet) -> Result<(), String> {
    check_bucket(trace, limits)?;
    for window in &limits.windows {
        let length_us = window.length.micros();
        let (mut first, mut held) = (0, 0);
        for (index, admission) in trace.iter().enumerate() {
            held += admission.units;
            while admission.at_us - trace[first].at_us >= length_us {
                held -= trace[first].units;
                first += 1;
            }
            if held > window.limit {
                return Err(format!("{held} units within {:?} up to the {index}th admission", window.length));
            }
        }
    }
    let mut by_period = std::collections::BTreeMap::new();
    for admission in trace {
        *by_period.entry(admission.period).or_insert(0_u64) += admission.units;
    }
    let over = by_period.iter().find(|(_, units)| limits.quota.limit.is_some_and(|limit| **units > limit));
    over.map_or(Ok(()), |(period, units)| Err(format!("{units} units in {period:?}")))
}

/// For all pairs of admissions, from the first to the second of them: units <= burst + rate x time between.
///
/// With `sum` the units up to an admission, and `before` those up to the one before it, that is `sum - rate x time` of the
/// second <= burst + `before - rate x time` of the first: the least right side so far decides for all pairs at once.
fn check_bucket(trace: &[Admission], limits: &LimitSet) -> Result<(), String> {
    let Some(bucket) = limits.bucket else { return Ok(()) };
    let (tokens, micros) = (i128::from(bucket.tokens()), i128::from(bucket.micros()));
    let (mut sum, mut least) = (0_i128, i128::MAX);
    for (index, admission) in trace.iter().enumerate() {
        let refilled = tokens * i128::from(admission.at_us);
        least = least.min(sum - refilled);
        sum += i128::from(admission.units) * micros;
        let over = sum - refilled - least - i128::from(bucket.burst()) * micros;
        if over > 0 {
            let at_us = admission.at_us;
            return Err(format!("{over}/{micros} of a unit too much up to the {index}th admission, at {at_us} µs"));
        }
    }
    Ok(())
}

/// The most units that a bucket can admit between the first instant and the last.
pub(crate) fn possible(limits: &LimitSet, micros: i64) -> u64 {
    let bucket = limits.bucket.expect("a bucket");
    bucket.burst() + micros.unsigned_abs() * bucket.tokens() / bucket.micros()
}
