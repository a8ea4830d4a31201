//! The circuit breaker: after some failures in a row nothing is tried any more, until a probe is answered.
//!
//! It counts and tells; who sends the probe is the connection's business.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use tokio::sync::Notify;

/// Failures in a row after which it opens.
const FAILURES_MAX: u32 = 5;

/// Whether Redis is taken to be away.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failed_in_a_row: AtomicU32,
    is_open: AtomicBool,
    outages: AtomicU64,
    opened: Notify,
}

impl Breaker {
    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// How often it has opened.
    pub(super) fn outages(&self) -> u64 {
        self.outages.load(Ordering::Acquire)
    }

    /// A call was answered. Late answers to calls from before it opened do not close it: a probe does.
    pub(super) fn answered(&self) {
        if self.failed_in_a_row.load(Ordering::Relaxed) > 0 && !self.is_open() {
            self.failed_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// A call failed, or was not answered in time.
    pub(super) fn failed(&self, why: &str) {
        if self.failed_in_a_row.fetch_add(1, Ordering::AcqRel) + 1 >= FAILURES_MAX
            && !self.is_open.swap(true, Ordering::AcqRel)
        {
            self.outages.fetch_add(1, Ordering::AcqRel);
            tracing::error!(reason = why, "the shared limiter does not answer: calls go on without it");
            self.opened.notify_one();
        }
    }

    /// A probe was answered.
    pub(super) fn close(&self) {
        self.failed_in_a_row.store(0, Ordering::Release);
        if self.is_open.swap(false, Ordering::AcqRel) {
            tracing::warn!("the shared limiter answers again");
        }
    }

    /// Resolves when it has opened.
    pub(super) async fn opened(&self) {
        while !self.is_open() {
            self.opened.notified().await;
        }
    }
}
