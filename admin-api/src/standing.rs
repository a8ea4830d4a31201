//! How an account stands with each of its limits, as shown to operators and customers.
//!
//! The limiter is asked first: it knows every call at once. An account without state there (nobody called since
//! the start, or its state was swept) is worked out from the ledger, in a state that is thrown away. Nothing is debited.

use std::collections::BTreeMap;

use serde::Serialize;
use tollgate_domain::limit::{
    AccountState, Debit, LimitKind, LimitLabel, LimitSet, LimitStanding, Outcome, SLICES, UNITS_MAX,
};
use tollgate_domain::{Account, Entitlement, Key, KeyId, MeterName, Period, Plan, Quota, Timestamp};
use tollgate_limiter::Subject;
use tollgate_store::{SeedQuery, StoreError};
use utoipa::ToSchema;

use crate::context::Shared;

/// The finest grouping of the ledger that a bucket is worked out from, in microseconds; batches are a second apart.
const BUCKET_RESOLUTION_US: i64 = 1_000_000;
/// The kind of a quota.
const QUOTA: &str = "quota";
/// The kind of a meter.
const METER: &str = "meter";

/// How an account stands under its plan.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AccountStanding {
    /// Every limit, the account's first, its meters last; its quota is always among them, also an unlimited one.
    pub(crate) limits: Vec<LimitView>,
    /// The account's quota alone.
    pub(crate) quota: QuotaView,
    /// The plan's meters alone, by name.
    pub(crate) meters: BTreeMap<String, MeterView>,
}

/// Units, or the word for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Units)]
pub(crate) enum Amount {
    /// So many.
    Units(u64),
    /// As many as one likes.
    Word(Unlimited),
}

/// The word for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) enum Unlimited {
    /// No limit.
    #[serde(rename = "unlimited")]
    Unlimited,
}

impl Amount {
    /// As many as one likes.
    const UNLIMITED: Self = Self::Word(Unlimited::Unlimited);
}

/// How an account stands with its quota.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Quota)]
pub(crate) struct QuotaView {
    used: u64,
    limit: Amount,
    remaining: Amount,
    /// How much of the limit is used, to a hundredth, rounded down; null for an unlimited one.
    percentage: Option<f64>,
    period: PeriodView,
    resets_at: String,
    allowed: bool,
}

/// A stretch of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Period)]
pub(crate) struct PeriodView {
    /// The first instant in it.
    pub(crate) start: String,
    /// The first instant after it.
    pub(crate) end: String,
}

impl From<Period> for PeriodView {
    fn from(period: Period) -> Self {
        Self { start: period.start.to_string(), end: period.end.to_string() }
    }
}

/// How an account stands with one meter.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Meter)]
pub(crate) struct MeterView {
    used: u64,
    limit: Amount,
    remaining: Amount,
    /// How much of the limit is used, to a hundredth, rounded down; null for an unlimited one.
    percentage: Option<f64>,
    resets_at: String,
    /// Whether a call or a job of one unit would pass it.
    allowed: bool,
}

/// How an account stands with one limit.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Limit)]
pub(crate) struct LimitView {
    /// As in the `RateLimit` header: `burst`, `day`, `month`, `key-…`, or a meter's name.
    name: String,
    /// `bucket`, `window`, `quota` or `meter`.
    kind: &'static str,
    /// `account`: all keys share it; `key`: it is this key's alone.
    scope: &'static str,
    used: u64,
    limit: Amount,
    remaining: Amount,
    percentage: Option<f64>,
    /// When `remaining` grows; null when nothing is used.
    resets_at: Option<String>,
    /// Whether a call of one unit would pass it.
    allowed: bool,
}

impl LimitView {
    /// Whether it lets a call of one unit pass. A meter does in any case: it refuses only what it is debited for.
    pub(crate) fn is_allowed(&self) -> bool {
        self.allowed || self.is_meter()
    }

    /// One that is as a test wants it.
    #[cfg(test)]
    pub(crate) fn of_test(name: &str, kind: &'static str, has_units: bool, resets_at: &str) -> Self {
        Self {
            name: name.into(),
            kind,
            scope: "account",
            used: 10,
            limit: Amount::Units(10),
            remaining: Amount::Units(u64::from(has_units)),
            percentage: None,
            resets_at: Some(resets_at.into()),
            allowed: has_units,
        }
    }

    /// Whether it has units left, also where it is a meter.
    pub(crate) fn has_units(&self) -> bool {
        self.allowed
    }

    /// Whether it is a meter's.
    pub(crate) fn is_meter(&self) -> bool {
        self.kind == METER
    }

    /// Whether a refusal by it is about a quota, the account's, a key's or a meter's, and not about rate.
    pub(crate) fn is_quota(&self) -> bool {
        self.is_meter() || self.kind == QUOTA
    }

    /// `bucket`, `window`, `quota` or `meter`.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Units used as counted.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    /// When it has units again, as RFC 3339.
    pub(crate) fn resets_at(&self) -> Option<&str> {
        self.resets_at.as_deref()
    }
}

/// How an account stands, asked for one of its keys or for none; `None` when it has no plan.
///
/// # Errors
/// Neither limiter nor ledger answers.
pub(crate) async fn of_account(
    shared: &Shared,
    account: &Account,
    key: Option<&Key>,
    entitlement: &Entitlement,
    now: Timestamp,
) -> Result<Option<AccountStanding>, StoreError> {
    let Some(plan) = entitlement.plan() else { return Ok(None) };
    let rates_per_key = shared.rates_per_key();
    // A quota that limits nothing is counted all the same; asked about as a limit, it tells its use.
    let shared_limits = LimitSet {
        bucket: plan.limits.bucket.filter(|_| !rates_per_key),
        windows: if rates_per_key { <_>::default() } else { plan.limits.windows.clone() },
        quota: tollgate_domain::Quota { limit: Some(plan.limits.quota.limit.unwrap_or(UNITS_MAX)) },
    };
    let own_limits = key.and_then(|key| Some((key.lineage, key.own_limits(&plan.limits, rates_per_key)?)));
    let debit = Debit {
        limits: &shared_limits,
        key: own_limits.as_ref().map(|(id, limits)| (*id, limits)),
        meter: None,
        period: entitlement.period_basis(account).period_at(now),
        cost: 0,
    };
    let (period, standings) = match look(shared, account, &debit, now).await {
        Some(known) => known,
        None => from_ledger(shared, account, &debit, now).await?,
    };
    let has_access = entitlement.has_access() && account.ban.is_none();
    let mut limits: Vec<LimitView> = standings
        .iter()
        .map(|standing| limit_view(standing, plan.limits.quota.limit, period, has_access, now))
        .collect();
    let meters = meters(shared, account, plan, period, has_access, now).await?;
    limits.extend(meters.iter().map(|(name, meter)| meter_limit(name, meter)));
    let quota = standings
        .iter()
        .find(|standing| standing.label == LimitLabel::Quota)
        .map(|standing| quota_view(standing, plan.limits.quota.limit, period, has_access));
    Ok(quota.map(|quota| AccountStanding { limits, quota, meters }))
}

/// How an account stands with each meter of its plan, all asked for at once.
async fn meters(
    shared: &Shared,
    account: &Account,
    plan: &Plan,
    period: Period,
    has_access: bool,
    now: Timestamp,
) -> Result<BTreeMap<String, MeterView>, StoreError> {
    let views = plan.meters.iter().map(async |(name, quota)| {
        let (period, used) = meter_used(shared, account, name, period, now).await?;
        let (limit, remaining, percentage) = match quota.limit {
            None => (Amount::UNLIMITED, Amount::UNLIMITED, None),
            Some(limit) => {
                (Amount::Units(limit), Amount::Units(limit.saturating_sub(used)), Some(percentage(used, limit)))
            }
        };
        let allowed = has_access && quota.limit.is_none_or(|limit| used < limit);
        let resets_at = period.end.to_string();
        Ok((name.to_string(), MeterView { used, limit, remaining, percentage, resets_at, allowed }))
    });
    futures::future::join_all(views).await.into_iter().collect()
}

/// Units used of a meter: as the limiter knows them, else as the ledger tells. The limiter is asked for a quota without
/// a limit and for nothing else, so that it need not know more of the account to answer.
async fn meter_used(
    shared: &Shared,
    account: &Account,
    name: &MeterName,
    period: Period,
    now: Timestamp,
) -> Result<(Period, u64), StoreError> {
    let uncounted = Quota { limit: Some(UNITS_MAX) };
    let limits = LimitSet { quota: uncounted, ..LimitSet::default() };
    let debit = Debit { limits: &limits, key: None, meter: Some((name.id(), uncounted)), period, cost: 0 };
    let seen = look(shared, account, &debit, now).await.and_then(|(period, standings)| {
        let meter = standings.into_iter().find(|standing| standing.label == LimitLabel::Meter)?;
        Some((period, meter.used))
    });
    match seen {
        Some(seen) => Ok(seen),
        None => Ok((period, shared.store().used(account.id, Some(name), period).await?)),
    }
}

fn meter_limit(name: &str, meter: &MeterView) -> LimitView {
    LimitView {
        name: name.to_owned(),
        kind: METER,
        scope: "account",
        used: meter.used,
        limit: meter.limit,
        remaining: meter.remaining,
        percentage: meter.percentage,
        resets_at: Some(meter.resets_at.clone()),
        allowed: meter.allowed,
    }
}

async fn look(
    shared: &Shared,
    account: &Account,
    debit: &Debit<'_>,
    now: Timestamp,
) -> Option<(Period, Vec<LimitStanding>)> {
    let seen = shared.deps.peek.look(Subject::Account(account.id), debit, now).await;
    // A limiter that does not answer is no reason to show nothing: the ledger is a second behind at most.
    seen.ok().flatten().and_then(standings)
}

fn standings(outcome: Outcome) -> Option<(Period, Vec<LimitStanding>)> {
    match outcome {
        Outcome::Admitted(admitted) => Some((admitted.period, admitted.standing.to_vec())),
        Outcome::Refused(refused) => Some((refused.period, refused.standing.to_vec())),
        Outcome::Unseeded => None,
    }
}

/// Buckets are worked out from their last minutes batch by batch, windows from all of their length in slices as
/// coarse as windows are counted in: one query for both would read a month second by second.
async fn from_ledger(
    shared: &Shared,
    account: &Account,
    debit: &Debit<'_>,
    now: Timestamp,
) -> Result<(Period, Vec<LimitStanding>), StoreError> {
    let mut state = AccountState::default();
    let without_windows = |limits: &LimitSet| LimitSet { windows: <_>::default(), ..limits.clone() };
    let (buckets, own_bucket) = (without_windows(debit.limits), debit.key.map(|(id, own)| (id, without_windows(own))));
    let buckets = Debit { limits: &buckets, key: own_bucket.as_ref().map(|(id, own)| (*id, own)), ..*debit };
    seed(shared, account, &mut state, &buckets, BUCKET_RESOLUTION_US, now).await?;
    let slice_us = limit_sets(debit)
        .flat_map(|limits| limits.windows.iter())
        .map(|window| (window.length.micros() / SLICES).max(1))
        .min();
    if let Some(slice_us) = slice_us {
        seed(shared, account, &mut state, debit, slice_us, now).await?;
    }
    let outcome = state.debit(debit, now);
    Ok(standings(outcome).expect("every limit of the debit has just been seeded"))
}

async fn seed(
    shared: &Shared,
    account: &Account,
    state: &mut AccountState,
    debit: &Debit<'_>,
    resolution_us: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let lookback_us = limit_sets(debit).map(LimitSet::lookback_us).max().unwrap_or(0);
    let query = SeedQuery {
        account: account.id,
        key: debit.key.map(|(id, _)| id),
        meter: None,
        since: now + -lookback_us,
        resolution_us,
        period: debit.period,
    };
    let seed = shared.store().seed(&query).await?;
    state.seed(debit, &seed, now);
    Ok(())
}

fn limit_sets<'a>(debit: &'a Debit<'_>) -> impl Iterator<Item = &'a LimitSet> {
    let own: Option<(KeyId, &LimitSet)> = debit.key;
    std::iter::once(debit.limits).chain(own.map(|(_, limits)| limits))
}

/// `limit`, `remaining` and `percentage` as shown: numbers, or the word for none.
fn shown_limit(standing: &LimitStanding, is_unlimited: bool) -> (Amount, Amount, Option<f64>) {
    if is_unlimited {
        return (Amount::UNLIMITED, Amount::UNLIMITED, None);
    }
    let percentage = percentage(standing.used, standing.limit);
    (Amount::Units(standing.limit), Amount::Units(standing.remaining), Some(percentage))
}

/// Hundredths of a limit, to a hundredth, rounded down. A limit of nothing is used up.
fn percentage(used: u64, limit: u64) -> f64 {
    let parts = (u128::from(used) * 10_000).checked_div(u128::from(limit)).unwrap_or(10_000);
    f64::from(u32::try_from(parts).unwrap_or(u32::MAX)) / 100.0
}

fn limit_view(
    standing: &LimitStanding,
    quota_limit: Option<u64>,
    period: Period,
    has_access: bool,
    now: Timestamp,
) -> LimitView {
    let is_unlimited = standing.label == LimitLabel::Quota && quota_limit.is_none();
    let (limit, remaining, percentage) = shown_limit(standing, is_unlimited);
    let (kind, scope) = match standing.label {
        LimitLabel::Burst => ("bucket", "account"),
        LimitLabel::Window(_) => ("window", "account"),
        LimitLabel::Quota => (QUOTA, "account"),
        LimitLabel::Meter => (METER, "account"),
        LimitLabel::KeyBurst => ("bucket", "key"),
        LimitLabel::KeyWindow(_) => ("window", "key"),
        LimitLabel::KeyQuota => (QUOTA, "key"),
    };
    let resets_at = match standing.label.kind() {
        // Not worked out from now: the limiter's clock may be another one.
        LimitKind::Quota => Some(period.end),
        LimitKind::Rate => (standing.reset_us > 0).then(|| now + standing.reset_us),
    };
    LimitView {
        name: standing.label.to_string(),
        kind,
        scope,
        used: standing.used,
        limit,
        remaining,
        percentage,
        resets_at: resets_at.map(|at| at.to_string()),
        allowed: has_access && (is_unlimited || standing.remaining > 0),
    }
}

fn quota_view(standing: &LimitStanding, quota_limit: Option<u64>, period: Period, has_access: bool) -> QuotaView {
    let (limit, remaining, percentage) = shown_limit(standing, quota_limit.is_none());
    QuotaView {
        used: standing.used,
        limit,
        remaining,
        percentage,
        period: period.into(),
        resets_at: period.end.to_string(),
        allowed: has_access && (quota_limit.is_none() || standing.remaining > 0),
    }
}
