//! What the process remembers of a key: everything a decision needs, resolved once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderValue;
use tollgate_domain::limit::LimitSet;
use tollgate_domain::{Account, Entitlement, Key, KeyId, Period, PeriodBasis, Plan, Timestamp, entitlement};
use tollgate_limiter::{Limiter, Subject};

use crate::snapshot::Snapshot;

/// An account as the process knows it, shared by all its keys.
pub struct AccountEntry<L: Limiter> {
    /// The record.
    pub account: Account,
    /// Its limits' state.
    pub handle: L::Handle,
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
        Self { account, handle, id_header, seeding: tokio::sync::Mutex::new(()), stale: AtomicBool::new(false) }
    }

    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire)
    }

    pub(super) fn mark_stale(&self) {
        self.stale.store(true, Ordering::Release);
    }
}

/// A key as the process knows it, resolved against one plan table.
#[repr(C)]
pub struct KeyEntry<L: Limiter> {
    /// Stands first, so that the usual decision reads as few lines of memory as can be.
    usual: Usual<L>,
    /// How the account's quota periods are laid.
    period_basis: Option<PeriodBasis>,
    /// The record.
    pub key: Key,
    /// Its owner.
    pub owner: Arc<AccountEntry<L>>,
    /// What the account is entitled to under this plan table.
    pub entitlement: Entitlement,
    /// Its id as the upstream is told it.
    pub id_header: HeaderValue,
}

/// What most decisions need of a key. With a million keys known, what a decision costs is the memory it reads.
struct Usual<L: Limiter> {
    /// The plan table it was resolved against.
    generation: u64,
    /// The state of its account's changes when its record was read.
    epoch: Epoch,
    /// Until when the key works if nobody changes it.
    works_until: Timestamp,
    /// The plan, where the account is in good standing and the key has no rules of its own.
    plan: Option<Arc<Plan>>,
    /// The limits that are counted for all keys of the account.
    shared_limits: Option<Arc<LimitSet>>,
    /// The limits that are counted for this key alone.
    own_limits: Option<Box<LimitSet>>,
    /// The account's limits' state.
    handle: L::Handle,
}

/// A slot of the table of changes, and what it counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch {
    pub(super) slot: usize,
    pub(super) changes: u64,
}

impl<L: Limiter> KeyEntry<L> {
    pub(super) fn resolve(key: Key, owner: Arc<AccountEntry<L>>, epoch: Epoch, snapshot: &Snapshot) -> Self {
        let account = &owner.account;
        let entitlement = entitlement(account, &snapshot.policy.plans);
        let plan = entitlement.plan();
        let in_good_standing = account.deleted_at.is_none() && account.ban.is_none() && !key.has_rules();
        let usual = Usual {
            generation: snapshot.generation,
            epoch,
            works_until: key.works_until(),
            plan: plan.filter(|plan| plan.api && in_good_standing).cloned(),
            shared_limits: plan.map(|plan| snapshot.shared_limits(plan)),
            own_limits: plan.and_then(|plan| key.own_limits(&plan.limits, snapshot.rates_per_key)).map(Box::new),
            handle: owner.handle.clone(),
        };
        let period_basis = plan.map(|plan| account.period_basis(plan));
        let id_header = header_of(&key.id.to_string());
        Self { usual, period_basis, key, owner, entitlement, id_header }
    }

    /// The plan it runs under, where nothing but the plan's reach is left to decide.
    pub fn usual_plan(&self, now: Timestamp) -> Option<&Arc<Plan>> {
        self.usual.plan.as_ref().filter(|_| now < self.usual.works_until)
    }

    /// The limits that are counted for all keys of the account; `None` without a plan.
    pub fn shared_limits(&self) -> Option<&LimitSet> {
        self.usual.shared_limits.as_deref()
    }

    /// The limits that are counted for this key alone, and what they are counted under.
    pub fn own_limits(&self) -> Option<(KeyId, &LimitSet)> {
        self.usual.own_limits.as_deref().map(|limits| (self.key.lineage, limits))
    }

    /// The account's limits' state.
    pub fn handle(&self) -> &L::Handle {
        &self.usual.handle
    }

    /// The quota period that holds now.
    pub fn period_at(&self, now: Timestamp) -> Period {
        self.period_basis.map_or_else(|| crate::period::calendar_month(now), |basis| crate::period::at(&basis, now))
    }

    pub(super) fn generation(&self) -> u64 {
        self.usual.generation
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.usual.epoch
    }
}

fn header_of(id: &str) -> HeaderValue {
    HeaderValue::from_str(id).expect("ids are letters, digits and underscores")
}
