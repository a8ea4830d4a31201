//! Settles what a call was charged once its end is known: refunds, reported costs, and the ledger's line.

use http::{HeaderName, HeaderValue, StatusCode};
use tollgate_config::Cost;
use tollgate_domain::{StatusClass, Timestamp, UsageKey, UsageTally};
use tollgate_limiter::Limiter;

use crate::decision::Passage;
use crate::metrics::Metrics;
use crate::usage::UsageRecorder;

/// The answer header by which an upstream reports what a call cost.
pub(super) const TOLLGATE_COST: HeaderName = HeaderName::from_static("tollgate-cost");

/// How a call ended, as far as money is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) enum End<'a> {
    /// The upstream answered, with this reported cost.
    Answered(Option<&'a HeaderValue>),
    /// It failed, and the caller owes nothing.
    Refunded,
    /// It failed or was broken off by the caller, who owes it all the same.
    Charged,
}

/// Units of quota to give back.
///
/// An upstream's 5xx costs nothing. On a route with `cost_max` the reported cost settles the rest; a report above it,
/// or one that is no number, is counted as clamped and leaves `cost_max`.
pub(super) fn refund_due(cost: Cost, charged: u64, status: StatusCode, end: End<'_>, metrics: &Metrics) -> u64 {
    match (end, cost) {
        (End::Refunded, _) => charged,
        (End::Answered(_), _) if status.is_server_error() => charged,
        (End::Answered(Some(reported)), Cost::UpTo(cost_max)) => {
            let reported = reported.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
            match reported {
                Some(reported) if reported <= cost_max => charged.saturating_sub(reported),
                _ => {
                    metrics.cost_clamped.inc();
                    0
                }
            }
        }
        (End::Answered(_) | End::Charged, Cost::Fixed(_) | Cost::UpTo(_)) => 0,
    }
}

/// What is given back of a charge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Refund {
    /// Units of quota.
    pub(super) units: u64,
    /// Whether the shared limiter has not heard of it.
    pub(super) detached: bool,
}

/// Adds a call to the ledger's counts. Calls without a good key are in metrics and logs only.
///
/// A call that the shared limiter counted and whose refund it did not hear of becomes two entries, for only what it
/// has not heard is told it from the ledger.
pub(super) fn count<L: Limiter>(
    usage: &UsageRecorder,
    passage: &Passage<L>,
    status: StatusCode,
    refund: Refund,
    now: Timestamp,
) {
    let Some(caller) = &passage.caller else { return };
    let (period, detached, mut tally) = match passage.charge {
        Some(charge) => (
            charge.period,
            charge.detached,
            UsageTally {
                calls: 1,
                units_debited: charge.units,
                units_charged: charge.units,
                units_refunded: refund.units,
                calls_unenforced: 0,
            },
        ),
        None => (caller.period_at(now), false, UsageTally { calls_unenforced: 1, ..UsageTally::default() }),
    };
    let key = UsageKey {
        account: caller.key.account,
        key: caller.key.id,
        route: passage.route.name.clone(),
        status: StatusClass::of(status.as_u16()),
        period,
        detached,
    };
    if refund.detached && !detached {
        tally.units_refunded = 0;
        let given_back = UsageTally { units_refunded: refund.units, ..UsageTally::default() };
        usage.count(UsageKey { detached: true, ..key.clone() }, &given_back);
    }
    usage.count(key, &tally);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back() {
        let metrics = Metrics::default();
        let header = |text: &'static str| HeaderValue::from_static(text);
        let (ok, failed) = (StatusCode::OK, StatusCode::BAD_GATEWAY);
        let reports = ["3", "10", "11", "0", "-1", "junk", ""].map(header);
        let up_to = |report| refund_due(Cost::UpTo(10), 10, ok, End::Answered(Some(report)), &metrics);
        assert_eq!(reports.each_ref().map(up_to), [7, 0, 0, 10, 0, 0, 0]);
        assert_eq!(metrics.cost_clamped.get(), 4, "above cost_max, and what is no number");
        let three = header("3");
        for (cost, status, end, expected) in [
            (Cost::Fixed(5), ok, End::Answered(Some(&three)), 0),
            (Cost::Fixed(5), failed, End::Answered(None), 5),
            (Cost::UpTo(5), failed, End::Answered(Some(&three)), 5),
            (Cost::UpTo(5), ok, End::Answered(None), 0),
            (Cost::Fixed(5), StatusCode::NOT_FOUND, End::Answered(None), 0),
            (Cost::Fixed(5), failed, End::Refunded, 5),
            (Cost::Fixed(5), ok, End::Charged, 0),
        ] {
            assert_eq!(refund_due(cost, 5, status, end, &metrics), expected, "{cost:?} {status} {end:?}");
        }
    }
}
