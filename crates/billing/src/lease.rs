//! The right to write: one process at a time works on billing, and what another one still writes is refused by the store.

use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tollgate_domain::{SECOND_US, Timestamp};
use tollgate_store::{BILLING_LEASE, Fence, StoreError};

use crate::Billing;
use crate::worker::stopped;

/// How long a lease holds that nobody renews, in microseconds: so long nothing is heeded after its holder was killed.
const HELD_US: i64 = 10 * SECOND_US;
/// After how long it is renewed, in microseconds.
const RENEWED_US: i64 = 3 * SECOND_US;

/// How often it is looked whether it must be renewed.
const LOOK: Duration = Duration::from_secs(1);

/// The lease, as this process last knew it.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    held: Mutex<Option<(Fence, Timestamp)>>,
}

impl Billing {
    /// The right to write, taken or renewed where it must be; `None` while another process has it.
    pub(crate) async fn fence(&self) -> Result<Option<Fence>, StoreError> {
        let mut held = self.lease.held.lock().await;
        let now = self.deps.clock.now();
        if let Some((fence, at)) = *held
            && at <= now
            && now < at.plus_micros(RENEWED_US)
        {
            return Ok(Some(fence));
        }
        // Should the store not answer, it is not known any more who holds it.
        *held = None;
        let until = now.plus_micros(HELD_US);
        let fence = self.deps.store.hold_lease(BILLING_LEASE, &self.deps.holder, now, until).await?;
        *held = fence.map(|fence| (fence, now));
        self.stats.is_working.store(u64::from(fence.is_some()), std::sync::atomic::Ordering::Relaxed);
        Ok(fence)
    }

    /// Renews the lease until told to stop, however long the work of the moment takes.
    pub(crate) async fn keep_lease(&self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stopped(&mut stop) => return,
            }
            if let Err(error) = self.fence().await {
                tracing::debug!(%error, "the lease of billing cannot be renewed");
            }
        }
    }

    /// The store refused to write: another process has taken the lease.
    pub(crate) async fn lost(&self) {
        *self.lease.held.lock().await = None;
        self.stats.is_working.store(0, std::sync::atomic::Ordering::Relaxed);
    }

    /// Lets the lease go, so that another process need not wait for its end.
    pub(crate) async fn release(&self) -> Result<(), StoreError> {
        *self.lease.held.lock().await = None;
        self.stats.is_working.store(0, std::sync::atomic::Ordering::Relaxed);
        self.deps.store.release_lease(BILLING_LEASE, &self.deps.holder).await
    }
}
