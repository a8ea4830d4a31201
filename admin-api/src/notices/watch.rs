//! What there is to tell: quotas that reached a threshold, keys that expire soon. Each is kept in the store, once.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use serde_json::json;
use tollgate_domain::{Account, AccountId, Key, KeyId, MINUTE_US, MeterName, Period, Plan, Timestamp, entitlement};
use tollgate_store::{NewNotice, NoticeKind, PeriodUse, StoreError};

use super::{Background, thresholds};

/// Uses and keys that are read at a time.
const BATCH_SIZE: u32 = 500;
/// How much of what was read is read again: use is told to the store some seconds after it happened.
const OVERLAP_US: i64 = MINUTE_US;
/// After how long everything open is looked at again: use that was reported late, and what a plan's new limits have
/// made of it.
const FULL_PASS_US: i64 = 10 * MINUTE_US;
/// How often keys are looked through.
const KEYS_EVERY_US: i64 = 10 * MINUTE_US;
/// For how long an account is not looked at that is known to be below its next threshold: a change of its plan is
/// noticed that late.
const QUIET_US: i64 = 10 * MINUTE_US;
/// Notices, and quotas below their next threshold, that are remembered; beyond that the memory begins anew.
const REMEMBERED_MAX: usize = 200_000;

/// What one process has seen.
#[derive(Default)]
pub(super) struct Seen {
    /// Up to when changes of use were looked at.
    uses: Option<Timestamp>,
    /// When all of them were last.
    all_uses: Option<Timestamp>,
    /// When keys were last.
    keys: Option<Timestamp>,
    /// Notices that are known to be kept: they need not be offered to the store again.
    kept: BTreeSet<(AccountId, NoticeKind, Timestamp)>,
    /// Quotas that have nothing to tell yet.
    quiet: HashMap<(AccountId, Option<MeterName>), Quiet>,
}

/// A quota of which nothing is to be told until more is used.
struct Quiet {
    period: Period,
    /// Units at which there may be something to tell.
    until_units: u64,
    /// When that was found.
    at: Timestamp,
}

impl Background {
    /// Looks at what changed since the last time, and at everything now and then.
    pub(super) async fn watch_once(&self) -> Result<(), StoreError> {
        if self.deps.mailer.is_none() && !self.posts() {
            return Ok(());
        }
        let mut seen = self.seen.lock().await;
        let now = self.deps.clock.now();
        if seen.kept.len() > REMEMBERED_MAX {
            seen.kept.clear();
        }
        if seen.quiet.len() > REMEMBERED_MAX {
            seen.quiet.clear();
        }
        if !self.deps.settings.usage.notices.is_empty() {
            self.watch_uses(&mut seen, now).await?;
        }
        if !self.deps.settings.usage.key_expiry_notice.is_zero() {
            self.watch_keys(&mut seen, now).await?;
        }
        Ok(())
    }

    /// Whether notices are sent to a webhook.
    pub(super) fn posts(&self) -> bool {
        self.deps.webhook.is_some() && self.deps.settings.usage.notice_webhook.is_some()
    }

    async fn watch_uses(&self, seen: &mut Seen, now: Timestamp) -> Result<(), StoreError> {
        let looks_at_all = seen.all_uses.is_none_or(|at| now.micros_since(at) >= FULL_PASS_US);
        let from = seen.uses.filter(|_| !looks_at_all).map_or(Timestamp::EPOCH, |at| at + -OVERLAP_US);
        let mut since = from;
        loop {
            let uses = self.deps.store.uses_since(since, now, BATCH_SIZE).await?;
            // All that changed at one instant come in one batch.
            let Some(newest) = uses.last().map(|used| used.newest) else { break };
            since = newest + 1;
            for used in uses {
                self.watch_use(seen, used, now).await?;
            }
        }
        seen.uses = Some(since.min(now));
        if looks_at_all {
            seen.all_uses = Some(now);
        }
        Ok(())
    }

    async fn watch_use(&self, seen: &mut Seen, used: PeriodUse, now: Timestamp) -> Result<(), StoreError> {
        let is_quiet = |quiet: &Quiet| {
            quiet.period == used.period && used.used < quiet.until_units && now.micros_since(quiet.at) < QUIET_US
        };
        let known = (used.account, used.meter.clone());
        if seen.quiet.get(&known).is_some_and(is_quiet) {
            return Ok(());
        }
        let until_units = self.tell_use(seen, &used, now).await?;
        seen.quiet.insert(known, Quiet { period: used.period, until_units, at: now });
        Ok(())
    }

    /// Keeps what there is to tell; the units at which there may be more.
    async fn tell_use(&self, seen: &mut Seen, used: &PeriodUse, now: Timestamp) -> Result<u64, StoreError> {
        let account = self.deps.store.account(used.account).await?.filter(may_be_told);
        let Some(account) = account else { return Ok(u64::MAX) };
        let policy = self.deps.live.policy();
        let entitlement = entitlement(&account, &policy.plans, now);
        let Some(plan) = entitlement.plan() else { return Ok(u64::MAX) };
        let Some(limit) = limit_of(plan, used.meter.as_ref()) else { return Ok(u64::MAX) };
        let period = entitlement.period_basis(&account).period_at(now);
        if !period.overlaps(&used.period) {
            return Ok(u64::MAX);
        }
        let is_laid_anew = period != used.period;
        // What was used in periods that were laid anew counts in the open one.
        let units =
            if is_laid_anew { self.deps.store.used(account.id, used.meter.as_ref(), period).await? } else { used.used };
        let percents = &self.deps.settings.usage.notices;
        let reached = thresholds::reached(percents, units, limit);
        // The lower ones first and silently: whatever ends this half-way, the highest is still told, and told alone.
        if let Some((highest, lower)) = reached.split_last() {
            let quota = Quota { account: &account, plan, meter: used.meter.as_ref(), units, limit, period };
            for percent in lower {
                self.keep(seen, quota.notice(*percent, false, false, now)).await?;
            }
            let mails = self.deps.mailer.is_some();
            self.keep(seen, quota.notice(*highest, mails, self.posts(), now)).await?;
        }
        Ok(if is_laid_anew { 0 } else { thresholds::next(percents, units, limit) })
    }

    async fn watch_keys(&self, seen: &mut Seen, now: Timestamp) -> Result<(), StoreError> {
        if seen.keys.is_some_and(|at| now.micros_since(at) < KEYS_EVERY_US) {
            return Ok(());
        }
        let ahead = self.deps.settings.usage.key_expiry_notice.as_micros();
        let ahead_us = i64::try_from(ahead).unwrap_or(i64::MAX);
        let mut after: Option<KeyId> = None;
        loop {
            let keys = self.deps.store.keys_expiring(now, now + ahead_us, after, BATCH_SIZE).await?;
            let is_last = keys.len() < usize::try_from(BATCH_SIZE).unwrap_or(usize::MAX);
            after = keys.last().map(|key| key.id);
            for key in keys {
                self.watch_key(seen, &key, ahead_us, now).await?;
            }
            if is_last || after.is_none() {
                break;
            }
        }
        seen.keys = Some(now);
        Ok(())
    }

    /// A key that was replaced is not missed, and one that was made for less than the time ahead is meant to end.
    async fn watch_key(&self, seen: &mut Seen, key: &Key, ahead_us: i64, now: Timestamp) -> Result<(), StoreError> {
        let Some(expires_at) = key.expires_at else { return Ok(()) };
        if key.superseded.is_some() || expires_at - key.created_at <= ahead_us {
            return Ok(());
        }
        let kind = NoticeKind::KeyExpires { key: key.id };
        if seen.kept.contains(&(key.account, kind.clone(), expires_at)) {
            return Ok(());
        }
        let Some(account) = self.deps.store.account(key.account).await?.filter(may_be_told) else { return Ok(()) };
        let detail = json!({
            "key": key.id.to_string(),
            "name": key.name,
            "masked": key.hashed.masked.to_string(),
            "expires_at": expires_at.to_string(),
        });
        let (mail, webhook) = (self.deps.mailer.is_some(), self.posts());
        self.keep(seen, NewNotice { account: account.id, kind, of: expires_at, detail, at: now, mail, webhook }).await
    }

    async fn keep(&self, seen: &mut Seen, notice: NewNotice) -> Result<(), StoreError> {
        let known = (notice.account, notice.kind.clone(), notice.of);
        if seen.kept.contains(&known) {
            return Ok(());
        }
        let is_new = self.deps.store.add_notice(&notice).await?;
        if is_new && (notice.mail || notice.webhook) {
            self.stats.notices.fetch_add(1, Ordering::Relaxed);
            self.kept.notify_waiters();
        }
        seen.kept.insert(known);
        Ok(())
    }
}

/// Who was deleted has no address, and who was banned knows.
pub(super) fn may_be_told(account: &Account) -> bool {
    account.deleted_at.is_none() && account.ban.is_none()
}

/// The limit of the quota, or of a meter, if the plan has one.
fn limit_of(plan: &Plan, meter: Option<&MeterName>) -> Option<u64> {
    match meter {
        None => plan.limits.quota.limit,
        Some(meter) => plan.meters.get(meter).and_then(|quota| quota.limit),
    }
}

/// How an account stands with one of its quotas.
struct Quota<'a> {
    account: &'a Account,
    plan: &'a Plan,
    meter: Option<&'a MeterName>,
    units: u64,
    limit: u64,
    period: Period,
}

impl Quota<'_> {
    fn notice(&self, percent: u32, mail: bool, webhook: bool, now: Timestamp) -> NewNotice {
        let meter = self.meter.map(ToString::to_string);
        let detail = json!({
            "meter": meter.as_deref().unwrap_or("calls"),
            "percent": percent,
            "used": self.units,
            "limit": self.limit,
            "plan": self.plan.name.to_string(),
            "period": { "start": self.period.start.to_string(), "end": self.period.end.to_string() },
        });
        let kind = NoticeKind::QuotaUsed { meter: self.meter.cloned(), percent };
        NewNotice { account: self.account.id, kind, of: self.period.start, detail, at: now, mail, webhook }
    }
}
