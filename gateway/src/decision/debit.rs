//! The debit of a call that may pass: from the account's limits, from its ledger where they have no state yet, and
//! without the shared limiter where that does not answer.

use std::sync::Arc;

use tollgate_config::{OnLimiterDown, Route};
use tollgate_domain::limit::{Admitted, Debit, LimitKind, LimitLabel, Outcome, Quota, Refused, Standing};
use tollgate_domain::{MeterId, MeterName, Plan, Reason, Refusal, Timestamp};
use tollgate_limiter::Limiter;

use super::{Call, Charge, Decided, Decider, Denial, Denied, Passage, RefusingLimit, passage};
use crate::credential::Places;
use crate::directory::{DirectoryError, KeyEntry};
use crate::snapshot::Snapshot;

/// How often a call is debited anew after its account's state was seeded.
const SEEDINGS_MAX: usize = 3;

/// What became of a debit.
pub(super) struct Debited {
    pub(super) outcome: Outcome,
    /// Whether it was decided without the shared limiter.
    pub(super) detached: bool,
}

impl<L: Limiter> Decider<L> {
    pub(super) async fn debit(
        &self,
        snapshot: &Snapshot,
        call: &Call<'_>,
        route: &Arc<Route>,
        caller: Arc<KeyEntry<L>>,
        plan: Arc<Plan>,
        places: Places,
    ) -> Decided<L> {
        let denied = |denial| Denied {
            caller: Some(Arc::clone(&caller)),
            plan: Some(Arc::clone(&plan)),
            ..Denied::new(denial, Some(route))
        };
        self.check_body(call, route).map_err(|too_large| Box::new(denied(too_large.denial)))?;
        let limits = caller.shared_limits().unwrap_or(&plan.limits);
        let own = caller.own_limits();
        let meter = snapshot.meter_debited(route, &plan);
        let units = route.cost.upfront();
        // Finding the key may have waited for the store, so the time is asked anew.
        let now = self.clock.now();
        let debit = Debit { limits, key: own, meter, period: caller.period_at(now), cost: units };
        let debited = match self.debit_seeded(&caller, &debit, route.meter.as_ref(), now).await {
            Ok(outcome) => Ok(Debited { outcome, detached: false }),
            Err(cause) => self.without_limiter(route, caller.handle(), &debit, now, cause),
        };
        let Debited { outcome, detached } = debited.map_err(|cause| {
            let refusal = match cause {
                DirectoryError::Store(_) => Refusal::StoreUnavailable,
                DirectoryError::Limiter(_) => Refusal::LimiterUnavailable,
            };
            Box::new(denied(Denial::Refusal(refusal, Reason::Unavailable)))
        })?;
        match outcome {
            Outcome::Admitted(admitted) => Ok(Passage {
                charge: Some(Charge {
                    period: admitted.period,
                    units,
                    own_key: own.map(|(id, _)| id),
                    meter: meter.map(|(id, _)| id),
                    detached,
                }),
                standing: Some(admitted.standing),
                plan: Some(plan),
                caller: Some(caller),
                ..passage(route, places)
            }),
            Outcome::Refused(refused) => {
                let (refusal, reason) = over_limit(refused.by);
                if !self.enforce {
                    return Ok(Passage {
                        would_refuse: Some((refusal, reason)),
                        standing: Some(refused.standing),
                        plan: Some(plan),
                        caller: Some(caller),
                        ..passage(route, places)
                    });
                }
                Err(Box::new(Denied {
                    limit: refusing_limit(&refused, now),
                    standing: Some(refused.standing),
                    ..denied(Denial::Refusal(refusal, reason))
                }))
            }
            Outcome::Unseeded => {
                Err(Box::new(denied(Denial::Refusal(Refusal::LimiterUnavailable, Reason::Unavailable))))
            }
        }
    }

    /// Debits, after seeding what has no state yet. A reload in between may ask for another seeding. `meter` is the name
    /// of the one that the debit takes from.
    pub(super) async fn debit_seeded(
        &self,
        caller: &KeyEntry<L>,
        debit: &Debit<'_>,
        meter: Option<&MeterName>,
        now: Timestamp,
    ) -> Result<Outcome, DirectoryError> {
        let mut outcome = self.limiter.debit(caller.handle(), debit, now).await?;
        for _ in 0..SEEDINGS_MAX {
            if outcome != Outcome::Unseeded {
                break;
            }
            self.directory.seed(caller, debit, meter).await?;
            outcome = self.limiter.debit(caller.handle(), debit, self.clock.now()).await?;
        }
        Ok(outcome)
    }

    /// Has the limiter's state of a meter filled in from the ledger, by a debit of nothing.
    ///
    /// # Errors
    /// The store or the limiter does not answer.
    pub(crate) async fn seed_meter(
        &self,
        caller: &KeyEntry<L>,
        plan: &Plan,
        name: &MeterName,
        id: MeterId,
    ) -> Result<(), DirectoryError> {
        let now = self.clock.now();
        let nothing = Debit {
            limits: caller.shared_limits().unwrap_or(&plan.limits),
            key: caller.own_limits(),
            meter: Some((id, plan.meters.get(name).copied().unwrap_or(Quota { limit: None }))),
            period: caller.period_at(now),
            cost: 0,
        };
        self.debit_seeded(caller, &nothing, Some(name), now).await.map(|_outcome| ())
    }

    /// What is done where the shared limiter does not answer, or cannot be told what the ledger knows. A limiter inside
    /// this process does not fail by itself: there is nothing to go on with.
    pub(super) fn without_limiter(
        &self,
        route: &Route,
        handle: &L::Handle,
        debit: &Debit<'_>,
        now: Timestamp,
        cause: DirectoryError,
    ) -> Result<Debited, DirectoryError> {
        if let DirectoryError::Limiter(_) = cause {
            self.metrics.limiter_errors.inc();
        }
        let outcome = match route.on_limiter_down.unwrap_or(self.on_limiter_down) {
            _ if L::IN_THIS_PROCESS => return Err(cause),
            OnLimiterDown::Closed => return Err(cause),
            OnLimiterDown::Open => Outcome::Admitted(Admitted { period: debit.period, standing: Standing::default() }),
            OnLimiterDown::Local => self.limiter.debit_locally(handle, debit, now),
        };
        match outcome {
            Outcome::Unseeded => return Err(cause),
            Outcome::Admitted(_) => self.metrics.calls_detached.inc(),
            Outcome::Refused(_) => {}
        }
        Ok(Debited { outcome, detached: true })
    }
}

pub(super) fn over_limit(by: LimitLabel) -> (Refusal, Reason) {
    match (by.kind(), by) {
        (LimitKind::Quota, LimitLabel::Meter) => (Refusal::QuotaExceeded, Reason::Meter),
        (LimitKind::Quota, _) => (Refusal::QuotaExceeded, Reason::Quota),
        (LimitKind::Rate, LimitLabel::Burst | LimitLabel::KeyBurst) => (Refusal::RateLimited, Reason::Burst),
        (LimitKind::Rate, _) => (Refusal::RateLimited, Reason::Window),
    }
}

/// `now` is the time the debit was given, which its waits count from. A quota's end is taken from the period: the
/// limiter's clock may be another one.
pub(super) fn refusing_limit(refused: &Refused, now: Timestamp) -> Option<RefusingLimit> {
    let standing = *refused.standing.iter().find(|limit| limit.label == refused.by)?;
    let resets_at = match refused.by.kind() {
        LimitKind::Quota => refused.period.end,
        LimitKind::Rate => now + refused.wait_us,
    };
    Some(RefusingLimit { standing, wait_us: refused.wait_us, resets_at })
}
