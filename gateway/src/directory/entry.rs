//! What the process remembers of a key: everything a decision needs, resolved once.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderValue;
use tollgate_domain::limit::LimitSet;
use tollgate_domain::{
    Account, Entitlement, Key, KeyHash, KeyId, Period, PeriodBasis, Plan, QuotaPeriod, Timestamp, entitlement,
};
use tollgate_limiter::{Ahead, Limiter, Subject};

use super::epochs::Epoch;
use super::table::Remembered;
use crate::period;
use crate::snapshot::Snapshot;

/// An account as the process knows it, shared by all its keys.
pub struct AccountEntry<L: Limiter> {
    /// The record.
    pub account: Account,
    /// Its limits' state.
    pub handle: L::Handle,
    /// Where that is read.
    ahead: Ahead,
    /// Its id as the upstream is told it.
    pub id_header: HeaderValue,
    /// One seeding at a time.
    pub(super) seeding: tokio::sync::Mutex<()>,
    stale: AtomicBool,
}

impl<L: Limiter> AccountEntry<L> {
    pub(super) fn new(account: Account, limiter: &L) -> Self {
        let id_header = header_of(&account.id.to_string());
        let handle = limiter.open(Subject::Account(account.id));
        let ahead = limiter.ahead(&handle);
        Self { account, handle, ahead, id_header, seeding: tokio::sync::Mutex::new(()), stale: AtomicBool::new(false) }
    }

    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire)
    }

    pub(super) fn mark_stale(&self) {
        self.stale.store(true, Ordering::Release);
    }
}

/// A key as the process knows it, resolved against one plan table.
///
/// What most decisions need stands here, in the order they read it and in two lines of memory; with a million keys
/// known, what a decision costs is the memory it reads. The rest is in [`KeyRecord`], which it dereferences to.
#[repr(C)]
pub struct KeyEntry<L: Limiter> {
    /// What finds it.
    hash: KeyHash,
    /// The account's limits' state.
    handle: L::Handle,
    /// Whether somebody has asked for it since the table last looked for what can go.
    used: AtomicBool,
    /// Whether the account's quota is counted by calendar months.
    by_calendar_month: bool,
    /// What had happened to its account when its record was read.
    epoch: Epoch,
    /// The plan table it was resolved against.
    generation: u64,
    /// Until when the key works if nobody changes it.
    works_until: Timestamp,
    /// Until when the account is entitled to what it is, if nothing but time passes.
    entitled_until: Timestamp,
    /// The plan, where the account is in good standing and the key has no rules of its own.
    plan: Option<Arc<Plan>>,
    /// The limits that are counted for all keys of the account.
    shared_limits: Option<Arc<LimitSet>>,
    /// The limits that are counted for this key alone.
    own_limits: Option<Box<LimitSet>>,
    /// What few decisions need.
    record: Box<KeyRecord<L>>,
}

/// All that is known of a key.
pub struct KeyRecord<L: Limiter> {
    /// The record.
    pub key: Key,
    /// Its owner.
    pub owner: Arc<AccountEntry<L>>,
    /// What the account is entitled to under the plan table.
    pub entitlement: Entitlement,
    /// Its id as the upstream is told it.
    pub id_header: HeaderValue,
    /// How the account's quota periods are laid.
    period_basis: Option<PeriodBasis>,
    /// When it was read.
    read_at: Timestamp,
    /// One at a time asks the store whether it still holds.
    pub(super) confirming: tokio::sync::Mutex<()>,
}

/// When a record was read, and what had happened to its account then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordRead {
    pub(super) at: Timestamp,
    pub(super) epoch: Epoch,
}

impl<L: Limiter> KeyEntry<L> {
    pub(super) fn resolve(
        key: Key,
        owner: Arc<AccountEntry<L>>,
        read: RecordRead,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Self {
        let account = &owner.account;
        let entitlement = entitlement(account, &snapshot.policy.plans, now);
        let plan = entitlement.plan();
        let in_good_standing = account.deleted_at.is_none() && account.ban.is_none() && !key.has_rules();
        let period_basis = plan.map(|_| entitlement.period_basis(account));
        Self {
            hash: key.hashed.hash,
            handle: owner.handle.clone(),
            used: AtomicBool::new(true),
            by_calendar_month: period_basis.as_ref().is_none_or(by_calendar_month),
            generation: snapshot.generation,
            epoch: read.epoch,
            works_until: key.works_until(),
            entitled_until: entitlement.until,
            plan: plan.filter(|plan| plan.api && in_good_standing).cloned(),
            shared_limits: plan.map(|plan| snapshot.shared_limits(plan)),
            own_limits: plan.and_then(|plan| key.own_limits(&plan.limits, snapshot.rates_per_key)).map(Box::new),
            record: Box::new(KeyRecord {
                id_header: header_of(&key.id.to_string()),
                key,
                owner,
                entitlement,
                period_basis,
                read_at: read.at,
                confirming: tokio::sync::Mutex::new(()),
            }),
        }
    }

    /// The plan it runs under, where nothing but the plan's reach is left to decide.
    pub fn usual_plan(&self, now: Timestamp) -> Option<&Arc<Plan>> {
        self.plan.as_ref().filter(|_| now < self.works_until)
    }

    /// The limits that are counted for all keys of the account; `None` without a plan.
    pub fn shared_limits(&self) -> Option<&LimitSet> {
        self.shared_limits.as_deref()
    }

    /// The limits that are counted for this key alone, and what they are counted under.
    pub fn own_limits(&self) -> Option<(KeyId, &LimitSet)> {
        self.own_limits.as_deref().map(|limits| (self.key.lineage, limits))
    }

    /// The account's limits' state.
    pub fn handle(&self) -> &L::Handle {
        &self.handle
    }

    /// The quota period that holds now.
    pub fn period_at(&self, now: Timestamp) -> Period {
        if self.by_calendar_month {
            return period::calendar_month(now);
        }
        self.record.period_basis.map_or_else(|| period::calendar_month(now), |basis| period::at(&basis, now))
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether it was resolved against this plan table, and no time has come since that changes what follows from it.
    pub(super) fn is_current(&self, snapshot: &Snapshot, now: Timestamp) -> bool {
        self.generation == snapshot.generation && now < self.entitled_until
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// When its record was read, and what had happened to its account then.
    pub(super) fn read(&self) -> RecordRead {
        RecordRead { at: self.record.read_at, epoch: self.epoch }
    }
}

impl<L: Limiter> Deref for KeyEntry<L> {
    type Target = KeyRecord<L>;

    fn deref(&self) -> &KeyRecord<L> {
        &self.record
    }
}

impl<L: Limiter> Remembered for KeyEntry<L> {
    fn hash(&self) -> &KeyHash {
        &self.hash
    }

    fn note_use(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    fn take_use(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    fn ahead(&self) -> Ahead {
        self.owner.ahead
    }
}

/// Whether every period of this basis is a calendar month (UTC).
fn by_calendar_month(basis: &PeriodBasis) -> bool {
    match basis.definition {
        QuotaPeriod::Calendar => true,
        QuotaPeriod::Billing => basis.subscription.is_none(),
        QuotaPeriod::Rolling30Days => false,
    }
}

fn header_of(id: &str) -> HeaderValue {
    HeaderValue::from_str(id).expect("ids are letters, digits and underscores")
}
