//! What the process remembers of a key: everything a decision needs, resolved once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderValue;
use tollgate_domain::limit::LimitSet;
use tollgate_domain::{Account, Entitlement, Key, Period, PeriodBasis, Timestamp, entitlement};
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
pub struct KeyEntry<L: Limiter> {
    /// The record.
    pub key: Key,
    /// Its owner.
    pub owner: Arc<AccountEntry<L>>,
    /// What the account is entitled to under this plan table.
    pub entitlement: Entitlement,
    /// The limits that are counted for all keys of the account.
    pub shared_limits: Option<Arc<LimitSet>>,
    /// The limits that are counted for this key alone.
    pub own_limits: Option<LimitSet>,
    /// Its id as the upstream is told it.
    pub id_header: HeaderValue,
    /// How the account's quota periods are laid.
    period_basis: Option<PeriodBasis>,
    /// The plan table it was resolved against.
    pub(super) generation: u64,
}

impl<L: Limiter> KeyEntry<L> {
    pub(super) fn resolve(key: Key, owner: Arc<AccountEntry<L>>, snapshot: &Snapshot) -> Self {
        let entitlement = entitlement(&owner.account, &snapshot.policy.plans);
        let plan = entitlement.plan().cloned();
        let shared_limits = plan.as_ref().map(|plan| snapshot.shared_limits(plan));
        let own_limits = plan.as_ref().and_then(|plan| key.own_limits(&plan.limits, snapshot.rates_per_key));
        let period_basis = plan.as_ref().map(|plan| owner.account.period_basis(plan));
        let id_header = header_of(&key.id.to_string());
        let generation = snapshot.generation;
        Self { key, owner, entitlement, shared_limits, own_limits, id_header, period_basis, generation }
    }

    /// The quota period that holds now.
    pub fn period_at(&self, now: Timestamp) -> Period {
        self.period_basis.map_or_else(|| crate::period::calendar_month(now), |basis| crate::period::at(&basis, now))
    }
}

fn header_of(id: &str) -> HeaderValue {
    HeaderValue::from_str(id).expect("ids are letters, digits and underscores")
}
