//! Limits, and short words for stories about a fleet.

use tollgate_domain::limit::{Bucket, LimitSet, Outcome, Quota, Refused, Standing, Window};
use tollgate_domain::{Rate, Unit};
use tollgate_limiter::LimiterDown;

use crate::fleet::{Fleet, Weather};
use crate::reference::Reference;

pub(crate) const SECOND_US: i64 = tollgate_domain::SECOND_US;

pub(crate) fn bucket(count: u64, per: Unit, burst: u64) -> LimitSet {
    let bucket = Bucket::new(Rate { count, per }, burst).expect("in bounds");
    LimitSet { bucket: Some(bucket), ..LimitSet::default() }
}

pub(crate) fn quota(limit: u64) -> LimitSet {
    LimitSet { quota: Quota { limit: Some(limit) }, ..LimitSet::default() }
}

pub(crate) fn window(limit: u64, length: Unit) -> LimitSet {
    LimitSet { windows: std::iter::once(Window { limit, length }).collect(), ..LimitSet::default() }
}

pub(crate) type Answer = Result<Outcome, LimiterDown>;

pub(crate) fn is_admitted(answer: &Answer) -> bool {
    matches!(answer, Ok(Outcome::Admitted(_)))
}

pub(crate) fn refused(answer: Answer) -> Refused {
    match answer {
        Ok(Outcome::Refused(refused)) => refused,
        other => panic!("refused, not {other:?}"),
    }
}

pub(crate) fn standing(answer: Answer) -> Standing {
    match answer {
        Ok(Outcome::Admitted(admitted)) => admitted.standing,
        other => panic!("admitted, not {other:?}"),
    }
}

pub(crate) fn fair(nodes: usize, limits: &LimitSet) -> Fleet<Reference> {
    Fleet::seeded(11, nodes, Weather::FAIR, limits)
}

/// Calls in close succession, until the node holds so much ahead.
pub(crate) fn warm(fleet: &Fleet<Reference>, node: usize, limits: &LimitSet, held: u64) {
    for _ in 0..10_000 {
        if fleet.nodes[node].entry.units_left() >= held {
            return;
        }
        assert!(is_admitted(&fleet.call(node, limits, 1)), "admitted while it warms");
    }
    panic!("it never held {held}");
}
