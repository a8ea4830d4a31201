//! The sweep: what webhooks did not tell. Events that Stripe could not deliver, accounts whose facts were never read or
//! went stale, subscriptions that should have changed by now. It only finds; what follows is the worker's.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tollgate_domain::{Account, DAY_US, HOUR_US, MINUTE_US, Subscription, SubscriptionStatus, Timestamp};

use crate::api::objects::{self, Event};
use crate::event;
use crate::meters::FOLDED_AFTER_US;
use crate::stats::{add, count};
use crate::worker::{Refreshed, stopped};
use crate::{Billing, BillingError};

/// How far back Stripe lists events, in microseconds.
const LISTED_US: i64 = 30 * DAY_US;
/// How long heeded events are kept, in microseconds.
const KEPT_US: i64 = 90 * DAY_US;
/// How many accounts are looked at at once.
const PAGE: u32 = 500;
/// How long after a subscription should have changed it is asked what became of it, in microseconds.
const OVERDUE_US: i64 = 10 * MINUTE_US;
/// How often it is asked again while nothing has become of it, in microseconds.
const OVERDUE_AGAIN_US: i64 = HOUR_US;
/// How often it is looked for accounts that were never read, or should have changed.
const TIDY: Duration = Duration::from_mins(10);
/// When that is done first.
const TIDY_FIRST: Duration = Duration::from_secs(20);
/// When the first sweep begins at the earliest.
const SWEEP_FIRST: Duration = Duration::from_mins(3);
/// How long a sweep rests after each account: Stripe's limits are there for the customers first.
const PACE: Duration = Duration::from_millis(50);
/// When a sweep that failed is tried again.
const ON_ERROR: Duration = Duration::from_mins(5);
/// How often the inbox is looked at for metrics.
const LOOK: Duration = Duration::from_secs(5);

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Events that Stripe could not deliver, and that were not in the inbox.
    pub events: usize,
    /// Events of the other mode, which are left.
    pub other_mode: usize,
    /// Accounts that were read.
    pub read: usize,
    /// Accounts whose facts were others.
    pub mended: usize,
    /// Accounts that could not be read.
    pub failed: usize,
    /// Heeded events that were thrown away.
    pub pruned: u64,
    /// Whether another process does the work.
    pub is_elsewhere: bool,
}

/// Which accounts are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// Every one.
    All,
    /// Those that were never read, and those that should have changed.
    Overdue,
}

impl Billing {
    /// Takes what Stripe could not deliver into the inbox, reads every billed account afresh, and throws away what was
    /// heeded long ago and the single steps of what was told of periods that are long over.
    ///
    /// # Errors
    /// Stripe or the store does not answer; what was found until then is kept.
    pub async fn sweep_once(&self) -> Result<Swept, BillingError> {
        let mut swept = Swept::default();
        let passed = self.sweep(&mut swept).await;
        count(if passed.is_ok() { &self.stats.sweeps } else { &self.stats.sweeps_failed });
        passed.map(|()| swept)
    }

    /// Reads accounts whose facts were never read, and those whose subscription should have changed by now.
    ///
    /// # Errors
    /// Stripe or the store does not answer.
    pub async fn tidy_once(&self) -> Result<Swept, BillingError> {
        let mut swept = Swept::default();
        self.read_accounts(Which::Overdue, &mut swept).await?;
        Ok(swept)
    }

    async fn sweep(&self, swept: &mut Swept) -> Result<(), BillingError> {
        if self.fence().await?.is_none() {
            swept.is_elsewhere = true;
            return Ok(());
        }
        self.take_undelivered(swept).await?;
        self.read_accounts(Which::All, swept).await?;
        let before = self.deps.clock.now().plus_micros(-KEPT_US);
        loop {
            let pruned = self.deps.store.prune_inbox(before).await?;
            swept.pruned += pruned;
            if pruned == 0 {
                break;
            }
        }
        self.fold_sends().await
    }

    /// Leaves one row of what was told of each period that is long over.
    async fn fold_sends(&self) -> Result<(), BillingError> {
        let ended_before = self.deps.clock.now().plus_micros(-FOLDED_AFTER_US);
        loop {
            let Some(fence) = self.fence().await? else { return Ok(()) };
            let folded = self.deps.store.fold_sends(fence, ended_before).await?;
            if self.unless_lost(folded).await? == 0 {
                return Ok(());
            }
        }
    }

    /// Takes events into the inbox that Stripe could not deliver, as if it had.
    async fn take_undelivered(&self, swept: &mut Swept) -> Result<(), BillingError> {
        let since = self.deps.clock.now().plus_micros(-LISTED_US).as_secs();
        let query = [("delivery_success", "false".to_owned()), ("created[gte]", since.to_string())];
        let mut after: Option<String> = None;
        loop {
            let (page, next) = self.api.page("/events", &query, after.as_deref()).await?;
            for listed in page {
                self.take_listed(listed, swept).await?;
            }
            if next.is_none() {
                break;
            }
            after = next;
        }
        add(&self.stats.sweep_found, swept.events);
        if swept.events > 0 {
            tracing::info!(events = swept.events, "a sweep found events that never came");
            self.wake.notify_one();
        }
        if swept.other_mode > 0 {
            tracing::warn!(events = swept.other_mode, "Stripe lists events of the other mode; check `livemode`");
        }
        Ok(())
    }

    async fn take_listed(&self, listed: Value, swept: &mut Swept) -> Result<(), BillingError> {
        let payload = listed.to_string();
        // One that cannot be read must not keep the others out.
        let Ok(told) = serde_json::from_value::<Event>(listed) else { return Ok(()) };
        if !event::is_used(&told.kind) {
            return Ok(());
        }
        let told = match event::check(told, self.deps.stripe.livemode) {
            Ok(told) => told,
            Err(event::InvalidEvent::OtherMode(_)) => {
                swept.other_mode += 1;
                return Ok(());
            }
            Err(event::InvalidEvent::Unreadable(_)) => return Ok(()),
        };
        let new = event::stored(&told, payload, self.deps.clock.now());
        swept.events += usize::from(self.deps.store.receive_event(&new).await?);
        Ok(())
    }

    /// Reads billed accounts afresh, one after the other. One that cannot be read does not keep the next from it, unless
    /// it is Stripe that is away.
    async fn read_accounts(&self, which: Which, swept: &mut Swept) -> Result<(), BillingError> {
        let began_at = self.deps.clock.now();
        let mut after = None;
        loop {
            let page = self.deps.store.billed_accounts(after, PAGE).await?;
            after = page.items.last().map(|(account, _)| account.id);
            for (account, read_at) in page.items {
                let is_due = match which {
                    // Somebody may have had it read since.
                    Which::All => read_at.is_none_or(|at| at < began_at),
                    Which::Overdue => read_at.is_none_or(|at| is_overdue(&account, at, began_at)),
                };
                if is_due && !self.read_account(&account, swept).await? {
                    swept.is_elsewhere = true;
                    return Ok(());
                }
            }
            if !page.has_more {
                return Ok(());
            }
        }
    }

    /// Reads one account; false where another process does the work.
    async fn read_account(&self, account: &Account, swept: &mut Swept) -> Result<bool, BillingError> {
        let Some(fence) = self.fence().await? else { return Ok(false) };
        let refreshed = match self.customer_at_stripe(account).await {
            Ok(Some(customer)) => {
                let owner = self.deps.store.account_of_customer(&customer).await?;
                if owner.is_some_and(|owner| owner.id != account.id) {
                    swept.failed += 1;
                    tracing::warn!(account = %account.id, customer, "its customer is linked with another account");
                    return Ok(true);
                }
                self.refresh(fence, &customer, Some(account.id)).await
            }
            Ok(None) => return Ok(true),
            Err(error) => Err(error.into()),
        };
        match refreshed {
            Ok(Refreshed::Applied { is_changed, .. }) => {
                swept.read += 1;
                swept.mended += usize::from(is_changed);
                count(&self.stats.sweep_accounts);
                add(&self.stats.sweep_mended, usize::from(is_changed));
            }
            Ok(Refreshed::Refused(note)) => {
                swept.failed += 1;
                tracing::warn!(account = %account.id, note, "a billed account cannot be read");
            }
            Ok(Refreshed::NotOurs | Refreshed::Queued) => {}
            Err(BillingError::Api(error)) if !error.is_about_stripe() => {
                swept.failed += 1;
                tracing::warn!(account = %account.id, %error, "a billed account cannot be read");
            }
            Err(BillingError::Lost) => {
                self.lost().await;
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(PACE).await;
        Ok(true)
    }

    /// The customer of an account; of one that was imported with a subscription alone, the subscription's.
    pub(crate) async fn customer_at_stripe(&self, account: &Account) -> Result<Option<String>, crate::ApiError> {
        if let Some(customer) = &account.stripe_customer {
            return Ok(Some(customer.clone()).filter(|customer| objects::is_id(customer)));
        }
        let Some(id) = account.stripe_subscription.as_deref().filter(|id| objects::is_id(id)) else { return Ok(None) };
        let subscription: objects::Subscription = self.api.get(&format!("/subscriptions/{id}"), &[]).await?;
        Ok(subscription.customer)
    }

    /// Sweeps, tidies and looks until told to stop.
    pub(crate) async fn run_sweeps(&self, stop: watch::Receiver<bool>) {
        futures::join!(
            self.repeat(Job::Sweep, stop.clone()),
            self.repeat(Job::Tidy, stop.clone()),
            self.repeat(Job::Look, stop)
        );
    }

    async fn repeat(&self, job: Job, mut stop: watch::Receiver<bool>) {
        let every = match job {
            Job::Sweep => self.deps.stripe.sweep,
            Job::Tidy => TIDY,
            Job::Look => LOOK,
        };
        let mut rest = match job {
            Job::Sweep => every.min(SWEEP_FIRST),
            Job::Tidy => every.min(TIDY_FIRST),
            Job::Look => Duration::ZERO,
        };
        loop {
            tokio::select! {
                () = tokio::time::sleep(jittered(rest, &self.deps.holder)) => {}
                () = stopped(&mut stop) => return,
            }
            let done = tokio::select! {
                done = self.job(job) => done,
                // Whatever it was at is whole or undone, and the next sweep finds the rest.
                () = stopped(&mut stop) => return,
            };
            rest = match done {
                Ok(()) => every,
                Err(error) => {
                    tracing::warn!(%error, ?job, "what webhooks did not tell cannot be looked for now");
                    every.min(ON_ERROR)
                }
            };
        }
    }

    async fn job(&self, job: Job) -> Result<(), BillingError> {
        match job {
            Job::Sweep => self.sweep_once().await.map(drop),
            Job::Tidy => self.tidy_once().await.map(drop),
            Job::Look => Ok(self.look().await?),
        }
    }
}

/// What is done again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    Sweep,
    Tidy,
    Look,
}

/// Up to a tenth more, so that many deployments do not ask at one moment.
fn jittered(rest: Duration, holder: &str) -> Duration {
    let spread = holder.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % 100;
    rest + rest / 1_000 * spread
}

/// Whether an account's facts should have changed since they were read.
fn is_overdue(account: &Account, read_at: Timestamp, now: Timestamp) -> bool {
    let mut due = account.subscriptions.iter().filter_map(changes_at).map(|at| at.plus_micros(OVERDUE_US));
    due.any(|due| due <= now && (read_at < due || now.micros_since(read_at) >= OVERDUE_AGAIN_US))
}

/// When a subscription that gives something changes by itself: with its period.
fn changes_at(facts: &Subscription) -> Option<Timestamp> {
    use SubscriptionStatus::{Active, PastDue, Trialing};
    let changes = matches!(facts.status, Trialing | Active | PastDue);
    let end = facts.items.iter().map(|item| item.period.end).min();
    end.filter(|_| changes)
}

#[cfg(test)]
mod tests;
