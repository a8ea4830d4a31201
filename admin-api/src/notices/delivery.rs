//! Delivers what is due, and tries again what failed, later and later, for three days.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tollgate_domain::{Account, DAY_US, HOUR_US, MINUTE_US, SECOND_US, Timestamp};
use tollgate_store::{Channel, PendingNotice, StoreError};

use super::watch::may_be_told;
use super::{Background, message, webhook};

/// Notices that are taken and delivered at a time.
const BATCH_SIZE: u32 = 16;
/// Batches of one channel a pass delivers; what is left waits for the next pass.
const BATCHES_MAX: usize = 50;
/// How long one delivery may take.
const DELIVERY_MAX: Duration = Duration::from_secs(30);
/// For how long a notice that was taken is nobody else's: longer than its delivery may take, so that none is sent twice.
const HOLD_US: i64 = 5 * MINUTE_US;
/// How long after its making a notice is given up.
const GIVE_UP_US: i64 = 3 * DAY_US;
/// How long the first failure waits; each further one waits four times as long.
const RETRY_FIRST_US: i64 = 30 * SECOND_US;
/// The longest wait between two attempts.
const RETRY_MAX_US: i64 = 6 * HOUR_US;
/// How often the outcome of a delivery is offered to the store before it is left to the hold's end.
const SETTLE_ATTEMPTS: u32 = 3;

impl Background {
    /// Delivers what is due on a channel, where there is one.
    pub(super) async fn deliver(&self, channel: Channel) -> Result<(), StoreError> {
        let is_there = match channel {
            Channel::Mail => self.deps.mailer.is_some(),
            Channel::Webhook => self.posts(),
        };
        if !is_there {
            return Ok(());
        }
        for _ in 0..BATCHES_MAX {
            let now = self.deps.clock.now();
            let due = self.deps.store.claim_notices(channel, now, HOLD_US, BATCH_SIZE).await?;
            let is_last = due.len() < usize::try_from(BATCH_SIZE).unwrap_or(usize::MAX);
            // Together: one that hangs holds none of the others up beyond what it is held for. All of them to their end:
            // one that is dropped half-way would be sent again.
            let sent = due.iter().map(|(notice, account)| self.deliver_one(channel, notice, account));
            futures::future::join_all(sent).await.into_iter().collect::<Result<(), _>>()?;
            if is_last {
                break;
            }
        }
        Ok(())
    }

    async fn deliver_one(
        &self,
        channel: Channel,
        pending: &PendingNotice,
        account: &Account,
    ) -> Result<(), StoreError> {
        if !may_be_told(account) {
            return self.settle(pending.id, channel, None).await;
        }
        let sent = tokio::time::timeout(DELIVERY_MAX, self.send(channel, pending, account)).await;
        let sent = sent.unwrap_or_else(|_elapsed| Err(format!("no answer within {} s", DELIVERY_MAX.as_secs())));
        let now = self.deps.clock.now();
        match sent {
            Ok(()) => {
                self.stats.delivered.fetch_add(1, Ordering::Relaxed);
                self.settle(pending.id, channel, None).await
            }
            Err(cause) if now - pending.notice.at >= GIVE_UP_US => {
                self.stats.given_up.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(notice = pending.id, account = %account.id, ?channel, cause, "a notice was given up");
                self.settle(pending.id, channel, None).await
            }
            Err(cause) => {
                self.stats.failed.fetch_add(1, Ordering::Relaxed);
                let retry_at = now + wait_us(pending.failures);
                tracing::info!(notice = pending.id, account = %account.id, ?channel, cause, %retry_at, "a notice was not delivered");
                self.settle(pending.id, channel, Some(retry_at)).await
            }
        }
    }

    async fn send(&self, channel: Channel, pending: &PendingNotice, account: &Account) -> Result<(), String> {
        let settings = &self.deps.settings;
        match (channel, &self.deps.mailer, &self.deps.webhook, &settings.usage.notice_webhook) {
            (Channel::Mail, Some(mailer), ..) => {
                let service = settings.gateway.public_url.as_ref().map(|url| url.as_str().trim_end_matches('/'));
                let mail = message::mail(pending, service, settings.limits.enforce);
                mailer.send(&account.email, &mail.subject, &mail.text).await.map_err(|error| error.to_string())
            }
            (Channel::Webhook, _, Some(webhook), Some(target)) => {
                let body = message::body(pending, account).to_string().into_bytes();
                let headers = webhook::headers(target.secret.reveal().as_bytes(), &body, self.deps.clock.now());
                let status = webhook.post(target.url.as_str(), &headers, body).await;
                match status.map_err(|error| error.to_string())? {
                    200..=299 => Ok(()),
                    status => Err(format!("the webhook answered {status}")),
                }
            }
            (Channel::Mail | Channel::Webhook, ..) => Err("nothing delivers on this channel any more".into()),
        }
    }

    /// An outcome that the store does not hear of would be a second mail, so it is told again.
    async fn settle(&self, id: i64, channel: Channel, retry_at: Option<Timestamp>) -> Result<(), StoreError> {
        let mut attempt = 1;
        loop {
            match self.deps.store.settle_notice(id, channel, retry_at).await {
                Err(StoreError::Unavailable(_)) if attempt < SETTLE_ATTEMPTS => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    attempt += 1;
                }
                settled => return settled,
            }
        }
    }
}

/// How long a notice waits that failed so often before.
fn wait_us(failures: u32) -> i64 {
    let times = 4_i64.checked_pow(failures).unwrap_or(i64::MAX);
    RETRY_FIRST_US.saturating_mul(times).min(RETRY_MAX_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_six_hours() {
        for (failures, secs) in [(0, 30), (1, 120), (2, 480), (5, 21_600), (60, 21_600), (u32::MAX, 21_600)] {
            assert_eq!(wait_us(failures), secs * SECOND_US, "{failures}");
        }
    }
}
