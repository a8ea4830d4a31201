//! The quota period that holds now, remembered: a calendar month is worked out once a thread, not once a call.

use std::cell::Cell;

use tollgate_domain::{Period, PeriodBasis, QuotaPeriod, Timestamp};

thread_local! {
    static MONTH: Cell<Option<Period>> = const { Cell::new(None) };
}

/// The period of this basis that holds now.
pub(crate) fn at(basis: &PeriodBasis, now: Timestamp) -> Period {
    match (basis.definition, basis.subscription) {
        (QuotaPeriod::Calendar, _) | (QuotaPeriod::Billing, None) => calendar_month(now),
        _ => basis.period_at(now),
    }
}

/// The calendar month (UTC) that holds now.
pub(crate) fn calendar_month(now: Timestamp) -> Period {
    MONTH.with(|month| {
        if let Some(known) = month.get().filter(|known| known.contains(now)) {
            return known;
        }
        let worked_out = Period::calendar_month(now);
        month.set(Some(worked_out));
        worked_out
    })
}
