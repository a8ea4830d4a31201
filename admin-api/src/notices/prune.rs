//! Throws away what its retention is over for, some thousands of rows at a time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tollgate_domain::{HOUR_US, Timestamp};
use tollgate_store::{Pruned, StoreError};

use super::Background;

/// How long the database is left alone between two bites.
const BETWEEN: Duration = Duration::from_millis(50);

impl Background {
    /// Throws one bite away; how much of it there was.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn prune_once(&self) -> Result<Pruned, StoreError> {
        let now = self.deps.clock.now();
        let usage = &self.deps.settings.usage;
        let requests_before = before(now, usage.request_log_retention);
        // An hour goes whole, once all of it is old.
        let hours_before = before(now, usage.retention) + -HOUR_US;
        let pruned = self.deps.store.prune(requests_before, hours_before, now).await?;
        let rows = pruned.requests.saturating_add(pruned.hours).saturating_add(pruned.sign_ins);
        self.stats.pruned.fetch_add(rows, Ordering::Relaxed);
        Ok(pruned)
    }

    /// Throws away until nothing is left to throw.
    pub(super) async fn prune_all(&self) -> Result<(), StoreError> {
        while self.prune_once().await? != Pruned::default() {
            tokio::time::sleep(BETWEEN).await;
        }
        Ok(())
    }
}

fn before(now: Timestamp, retention: Duration) -> Timestamp {
    now + -i64::try_from(retention.as_micros()).unwrap_or(i64::MAX)
}
