//! The lines by which a call stands in the ledger: one of calls, and one of each meter that counted it.

use http::StatusCode;
use tollgate_domain::{MeterName, StatusClass, Timestamp, UsageKey, UsageTally};
use tollgate_limiter::Limiter;

use super::settle::{Correction, Settlement};
use crate::decision::Passage;
use crate::usage::UsageRecorder;

/// Adds a call to the ledger's counts. Calls without a good key are in metrics and logs only, and one that went through
/// over a limit, because limits are not enforced, counts for no meter.
pub(super) fn count<L: Limiter>(
    usage: &UsageRecorder,
    passage: &Passage<L>,
    status: StatusCode,
    settled: &Settlement,
    now: Timestamp,
) {
    let Some(caller) = &passage.caller else { return };
    let key = |meter: Option<&MeterName>, period, detached| UsageKey {
        account: caller.key.account,
        key: caller.key.id,
        route: passage.route.name.clone(),
        status: StatusClass::of(status.as_u16()),
        period,
        meter: meter.cloned(),
        detached,
    };
    let Some(charge) = passage.charge else {
        let unenforced = UsageTally { calls_unenforced: 1, ..UsageTally::default() };
        return usage.count(key(None, caller.period_at(now), false), &unenforced);
    };
    let called = UsageTally { calls: 1, units_charged: charge.units, ..UsageTally::default() };
    let line = |meter, tally, correction: Correction| {
        corrected(usage, key(meter, charge.period, charge.detached), tally, correction);
    };
    line(None, UsageTally { units_debited: charge.units, ..called }, settled.quota);
    if charge.meter.is_some() {
        line(passage.route.meter.as_ref(), called, settled.meter);
    }
    for other in &settled.others {
        let detached = charge.detached || other.charged.unheard;
        let tally = UsageTally { calls: 1, units_charged: other.charged.more(), ..UsageTally::default() };
        usage.count(key(Some(&other.name), charge.period, detached), &tally);
    }
}

/// A call that the shared limiter counted and whose correction it did not hear of becomes two lines, for only what it has
/// not heard is told it from the ledger.
fn corrected(usage: &UsageRecorder, key: UsageKey, mut tally: UsageTally, correction: Correction) {
    let correcting =
        UsageTally { units_charged: correction.more(), units_refunded: correction.less(), ..UsageTally::default() };
    if correction.unheard && !key.detached {
        usage.count(UsageKey { detached: true, ..key.clone() }, &correcting);
    } else {
        tally.add(&correcting);
    }
    usage.count(key, &tally);
}
