//! The door of the inbox: what Stripe tells is verified, stored once, and only then acknowledged. What follows from it is
//! the worker's.

use tollgate_store::StoreError;

use crate::Billing;
use crate::event::{self, InvalidEvent};
use crate::signature::{self, InvalidSignature};
use crate::stats::count;

/// The largest body that is taken, in bytes. Stripe's events have some kilobytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// What became of a webhook that is Stripe's. It may be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// It is stored.
    Stored,
    /// It was stored before.
    Known,
    /// Nothing follows from events of its kind; it is not stored.
    Ignored,
}

/// Why a webhook is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// Nobody knows who sent it.
    #[error("{0}")]
    Signature(InvalidSignature),
    /// Its body is not an event's.
    #[error("{0}")]
    Payload(String),
    /// It is of live mode and this deployment is of test mode, or the other way round.
    #[error("{0}")]
    Livemode(String),
    /// It could not be stored; Stripe sends it again.
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl Billing {
    /// Takes a webhook: its signature header and its raw body. It is stored when this returns [`Received::Stored`].
    ///
    /// # Errors
    /// Why it is not taken; then nothing of it is stored.
    pub async fn receive(&self, signature: Option<&str>, body: &[u8]) -> Result<Received, Rejected> {
        let received = self.take(signature, body).await;
        let stats = &self.stats;
        count(match &received {
            Ok(Received::Stored) => &stats.received,
            Ok(Received::Known) => &stats.duplicates,
            Ok(Received::Ignored) => &stats.ignored,
            Err(Rejected::Signature(_)) => &stats.rejected_signature,
            Err(Rejected::Payload(_)) => &stats.rejected_payload,
            Err(Rejected::Livemode(_)) => &stats.rejected_livemode,
            Err(Rejected::Store(_)) => &stats.rejected_store,
        });
        received
    }

    async fn take(&self, signature: Option<&str>, body: &[u8]) -> Result<Received, Rejected> {
        if body.len() > BODY_BYTES_MAX {
            return Err(Rejected::Payload(format!("the body is larger than {BODY_BYTES_MAX} bytes")));
        }
        let stripe = &self.deps.stripe;
        let now = self.deps.clock.now();
        signature::verify(signature, body, &stripe.webhook_secrets, now).map_err(Rejected::Signature)?;
        let told = event::parse(body, stripe.livemode).map_err(|invalid| match invalid {
            InvalidEvent::Unreadable(_) => Rejected::Payload(invalid.to_string()),
            InvalidEvent::OtherMode(_) => Rejected::Livemode(invalid.to_string()),
        })?;
        if !event::is_used(&told.kind) {
            return Ok(Received::Ignored);
        }
        // JSON that was read is UTF-8.
        let payload = String::from_utf8_lossy(body).into_owned();
        let is_new = self.deps.store.receive_event(&event::stored(&told, payload, now)).await?;
        if is_new {
            self.wake.notify_one();
        }
        Ok(if is_new { Received::Stored } else { Received::Known })
    }
}
