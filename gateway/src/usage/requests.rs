//! Calls that are kept one by one, for as long as they wait to be handed over with the counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use tollgate_config::RequestLog;
use tollgate_domain::RequestRow;

use crate::metrics::Metrics;

/// Rows that may wait; what comes beyond is dropped and counted. No count of the ledger is ever dropped for them.
const ROWS_MAX: usize = 20_000;

/// Rows of the request log that wait to be handed over.
pub struct PendingRequests {
    log: RequestLog,
    seen: AtomicU32,
    rows: Mutex<Vec<RequestRow>>,
    metrics: Arc<Metrics>,
}

impl PendingRequests {
    pub(super) fn new(log: RequestLog, metrics: Arc<Metrics>) -> Self {
        Self { log, seen: AtomicU32::new(0), rows: Mutex::default(), metrics }
    }

    /// Whether no call is kept at all.
    pub fn is_off(&self) -> bool {
        self.log == RequestLog::Off
    }

    /// Whether this call is to be kept: of a sample, every refused one and every so manieth of the others, the first
    /// among them.
    pub fn wants(&self, refused: bool) -> bool {
        match self.log {
            RequestLog::Off => false,
            RequestLog::All => true,
            RequestLog::Sampled(_) if refused => true,
            RequestLog::Sampled(one_in) => self.seen.fetch_add(1, Ordering::Relaxed) % one_in == 0,
        }
    }

    /// Keeps a call, unless too many wait already.
    pub fn keep(&self, row: RequestRow) {
        let mut rows = self.rows.lock();
        if rows.len() < ROWS_MAX {
            rows.push(row);
        } else {
            self.metrics.request_rows_dropped.inc();
        }
    }

    pub(super) fn take(&self) -> Vec<RequestRow> {
        std::mem::take(&mut *self.rows.lock())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use tollgate_domain::{AccountId, KeyId, RouteName, Timestamp};

    use super::*;

    fn pending(log: RequestLog) -> PendingRequests {
        PendingRequests::new(log, Arc::new(Metrics::default()))
    }

    #[test]
    fn one_in_so_many_is_kept_and_every_refused_one() {
        let sampled = RequestLog::Sampled(NonZeroU32::new(10).expect("not zero"));
        for (log, served, refused) in [(RequestLog::Off, 0, 0), (sampled, 10, 100), (RequestLog::All, 100, 100)] {
            let pending = pending(log);
            let wanted = |refused| (0..100).filter(|_| pending.wants(refused)).count();
            assert_eq!((wanted(false), wanted(true)), (served, refused), "{log:?}");
            assert_eq!(pending.is_off(), log == RequestLog::Off);
        }
    }

    #[test]
    fn what_is_beyond_the_bound_is_dropped_and_counted() {
        let pending = pending(RequestLog::All);
        let start = Timestamp::from_secs(1_772_366_400);
        let row = RequestRow {
            request: "r-1".into(),
            at: start,
            account: AccountId::new(start, [1; 10]),
            key: KeyId::new(start, [2; 10]),
            route: RouteName::new("events").expect("a name"),
            method: "GET".into(),
            path: "/events".into(),
            status: 200,
            duration_us: 1_000,
            units: 1,
            period: None,
            reason: None,
        };
        for _ in 0..ROWS_MAX + 3 {
            pending.keep(row.clone());
        }
        assert_eq!((pending.take().len(), pending.metrics.request_rows_dropped.get()), (ROWS_MAX, 3));
        pending.keep(row);
        assert_eq!(pending.take().len(), 1, "what was handed over makes room");
    }
}
