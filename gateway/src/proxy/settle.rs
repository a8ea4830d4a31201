//! Settles what a call was charged once its end is known: refunds, and what the upstream reports of it.

use http::{HeaderName, HeaderValue, StatusCode};
use tollgate_config::{Cost, Route};
use tollgate_domain::limit::Charged;
use tollgate_domain::{MeterId, MeterName, Plan};
use tollgate_limiter::Limiter;

use super::count::count;
use super::{Context, Proxy};
use crate::decision::{Charge, Passage};
use crate::directory::KeyEntry;
use crate::metrics::Metrics;

/// The answer header by which an upstream reports what a call cost.
pub(super) const TOLLGATE_COST: HeaderName = HeaderName::from_static("tollgate-cost");

/// How a call ended, as far as money is concerned.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// The upstream answered, and reported this.
    Answered(Reported),
    /// It failed, and the caller owes nothing.
    Refunded,
    /// It failed or was broken off by the caller, who owes it all the same.
    Charged,
}

/// What an upstream reports of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Reported {
    /// What it cost.
    pub(super) cost: Option<HeaderValue>,
    /// What it used of meters, each named once.
    pub(super) usage: Vec<Usage>,
}

/// Units of a meter that a call used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) name: MeterName,
    pub(super) id: MeterId,
    pub(super) units: u64,
}

/// What its end changes in what a call was charged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settlement {
    /// Of the quota of calls. It is never charged more.
    pub(super) quota: Correction,
    /// Of the route's meter.
    pub(super) meter: Correction,
    /// Meters that were not charged before.
    pub(super) others: Vec<Other>,
}

/// Units that are charged beyond what was debited, or, negative, given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Correction {
    pub(super) units: i64,
    /// Whether the shared limiter has not heard of it.
    pub(super) unheard: bool,
}

/// Units of another meter than the route's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Other {
    pub(super) name: MeterName,
    pub(super) id: MeterId,
    pub(super) charged: Correction,
}

impl Settlement {
    /// Works out what is due.
    ///
    /// What the upstream reports of the route's meter replaces what the call was charged of it, and may be more; what it
    /// does not report follows the calls' quota. A call that is refunded is given everything back, and what was reported
    /// of it does not count.
    pub(super) fn due(route: &Route, charge: Charge, status: StatusCode, end: &End, metrics: &Metrics) -> Self {
        let refund = signed(refund_due(route.cost, charge.units, status, end, metrics));
        let mut due = Self { quota: Correction::of(-refund), ..Self::default() };
        if charge.meter.is_some() {
            due.meter = due.quota;
        }
        if let End::Answered(reported) = end
            && !status.is_server_error()
        {
            for Usage { name, id, units } in &reported.usage {
                if charge.meter == Some(*id) {
                    due.meter = Correction::of(signed(*units) - signed(charge.units));
                } else {
                    due.others.push(Other { name: name.clone(), id: *id, charged: Correction::of(signed(*units)) });
                }
            }
        }
        due
    }
}

impl Correction {
    fn of(units: i64) -> Self {
        Self { units, unheard: false }
    }

    /// Units charged beyond what was debited.
    pub(super) fn more(self) -> u64 {
        u64::try_from(self.units).unwrap_or(0)
    }

    /// Units given back.
    pub(super) fn less(self) -> u64 {
        u64::try_from(-self.units).unwrap_or(0)
    }
}

fn is_limited(plan: &Plan, meter: &MeterName) -> bool {
    plan.meters.get(meter).is_some_and(|quota| quota.limit.is_some())
}

/// Every number of units here is bounded by 2^53.
fn signed(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

/// Units of quota to give back.
///
/// An upstream's 5xx costs nothing. On a route with `cost_max` the reported cost settles the rest; a report above it,
/// or one that is no number, is counted as clamped and leaves `cost_max`.
fn refund_due(cost: Cost, charged: u64, status: StatusCode, end: &End, metrics: &Metrics) -> u64 {
    match (end, cost) {
        (End::Refunded, _) => charged,
        (End::Answered(_), _) if status.is_server_error() => charged,
        (End::Answered(Reported { cost: Some(reported), .. }), Cost::UpTo(cost_max)) => {
            let reported = reported.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
            match reported {
                Some(reported) if reported <= cost_max => charged.saturating_sub(reported),
                _ => {
                    metrics.cost_clamped.inc();
                    0
                }
            }
        }
        (End::Answered(_) | End::Charged, Cost::Fixed(_) | Cost::UpTo(_)) => 0,
    }
}

impl<L: Limiter> Proxy<L> {
    /// Counts a call once, and settles what it owes.
    pub(super) async fn settle(&self, ctx: &mut Context<L>, status: StatusCode, end: End) {
        if std::mem::replace(&mut ctx.counted, true) {
            return;
        }
        let Some(passage) = &ctx.passage else { return };
        let mut due = Settlement::default();
        if let (Some(charge), Some(caller)) = (passage.charge, &passage.caller) {
            due = Settlement::due(&passage.route, charge, status, &end, &self.parts.metrics);
            let handle = caller.handle();
            // What was debited has state: where that was lost since, the next call is seeded anew.
            self.tell(handle, charge, Charged::Calls { key: charge.own_key }, &mut due.quota).await;
            if let Some(meter) = charge.meter {
                self.tell(handle, charge, Charged::Meter(meter), &mut due.meter).await;
            }
            for other in &mut due.others {
                self.charge_other(passage, caller, charge, other).await;
            }
            ctx.units = charge.units.saturating_sub(due.quota.less());
        }
        count(&self.parts.usage, passage, status, &due, ctx.now);
    }

    /// Charges a meter that only the answer names. The limiter may have no state of it yet: where the plan limits it, that
    /// is filled in from the ledger first, which these units are not in, so that the next call finds them used.
    async fn charge_other(&self, passage: &Passage<L>, caller: &KeyEntry<L>, charge: Charge, other: &mut Other) {
        let of = Charged::Meter(other.id);
        if self.tell(caller.handle(), charge, of, &mut other.charged).await || charge.detached {
            return;
        }
        let Some(plan) = passage.plan.as_deref().filter(|plan| is_limited(plan, &other.name)) else { return };
        match self.parts.decider.seed_meter(caller, plan, &other.name, other.id).await {
            Ok(()) => {
                self.tell(caller.handle(), charge, of, &mut other.charged).await;
            }
            Err(_) => other.charged.unheard = true,
        }
    }

    /// Tells the limiter of a correction where the units were debited, and notes whether the shared one has heard. False
    /// where it has, and counts nothing of the kind.
    async fn tell(&self, handle: &L::Handle, charge: Charge, of: Charged, correction: &mut Correction) -> bool {
        if correction.units == 0 {
            return true;
        }
        let limiter = &self.parts.limiter;
        if charge.detached {
            correction.unheard = true;
            return limiter.settle_locally(handle, of, charge.period, correction.units);
        }
        limiter.settle(handle, of, charge.period, correction.units).await.unwrap_or_else(|_down| {
            self.parts.metrics.limiter_errors.inc();
            correction.unheard = true;
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use tollgate_domain::{Period, Timestamp};

    use super::*;

    fn route(cost: Cost) -> Route {
        Route { cost, ..Route::unmatched(0) }
    }

    fn charge(units: u64, meter: Option<&MeterName>) -> Charge {
        let period = Period::calendar_month(Timestamp::from_secs(1_772_366_400));
        Charge { period, units, own_key: None, meter: meter.map(MeterName::id), detached: false }
    }

    fn answered(cost: Option<&'static str>, usage: &[(&MeterName, u64)]) -> End {
        let usage =
            usage.iter().map(|(name, units)| Usage { name: (*name).clone(), id: name.id(), units: *units }).collect();
        End::Answered(Reported { cost: cost.map(HeaderValue::from_static), usage })
    }

    #[test]
    fn what_is_given_back() {
        let metrics = Metrics::default();
        let (ok, failed) = (StatusCode::OK, StatusCode::BAD_GATEWAY);
        let up_to = |report| refund_due(Cost::UpTo(10), 10, ok, &answered(Some(report), &[]), &metrics);
        assert_eq!(["3", "10", "11", "0", "-1", "junk", ""].map(up_to), [7, 0, 0, 10, 0, 0, 0]);
        assert_eq!(metrics.cost_clamped.get(), 4, "above cost_max, and what is no number");
        for (cost, status, end, expected) in [
            (Cost::Fixed(5), ok, answered(Some("3"), &[]), 0),
            (Cost::Fixed(5), failed, answered(None, &[]), 5),
            (Cost::UpTo(5), failed, answered(Some("3"), &[]), 5),
            (Cost::UpTo(5), ok, answered(None, &[]), 0),
            (Cost::Fixed(5), StatusCode::NOT_FOUND, answered(None, &[]), 0),
            (Cost::Fixed(5), failed, End::Refunded, 5),
            (Cost::Fixed(5), ok, End::Charged, 0),
        ] {
            assert_eq!(refund_due(cost, 5, status, &end, &metrics), expected, "{cost:?} {status} {end:?}");
        }
    }

    #[test]
    fn what_is_reported_replaces_the_routes_meter_and_adds_to_others() {
        let metrics = Metrics::default();
        let [tokens, images] = ["tokens", "images"].map(|name| MeterName::new(name).expect("a name"));
        let (ok, failed) = (StatusCode::OK, StatusCode::BAD_GATEWAY);
        let (fixed, up_to) = (Cost::Fixed(5), Cost::UpTo(5));
        let metered = Some(&tokens);
        for (cost, meter, status, end, quota, own, other) in [
            (fixed, metered, ok, answered(None, &[]), 0, 0, None),
            (fixed, metered, ok, answered(None, &[(&tokens, 1_234)]), 0, 1_229, None),
            (fixed, metered, ok, answered(None, &[(&tokens, 0), (&images, 2)]), 0, -5, Some(2)),
            (fixed, metered, ok, answered(None, &[(&images, 0)]), 0, 0, Some(0)),
            (fixed, None, ok, answered(None, &[(&images, 2)]), 0, 0, Some(2)),
            (fixed, None, StatusCode::NOT_FOUND, answered(None, &[(&images, 2)]), 0, 0, Some(2)),
            (up_to, metered, ok, answered(Some("2"), &[]), -3, -3, None),
            (up_to, metered, ok, answered(Some("2"), &[(&tokens, 9)]), -3, 4, None),
            (up_to, metered, ok, answered(Some("9"), &[]), 0, 0, None),
            (up_to, None, ok, answered(Some("2"), &[]), -3, 0, None),
            (fixed, metered, failed, answered(None, &[(&tokens, 9), (&images, 2)]), -5, -5, None),
            (fixed, metered, failed, End::Refunded, -5, -5, None),
            (fixed, metered, ok, End::Charged, 0, 0, None),
        ] {
            let due = Settlement::due(&route(cost), charge(5, meter), status, &end, &metrics);
            let others: Vec<_> = due.others.iter().map(|other| other.charged.units).collect();
            let case = format!("{cost:?} {meter:?} {status} {end:?}");
            assert_eq!((due.quota.units, due.meter.units, others), (quota, own, other.into_iter().collect()), "{case}");
        }
    }
}
