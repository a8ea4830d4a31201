//! Batches against the ledger, the ledger against its sums, and against what the limiter counts.

use std::collections::HashSet;

use futures::stream::{self, StreamExt};
use tollgate_domain::{Charged, DAY_US, HOUR_US, Period, Timestamp};
use tollgate_store::{Change, PeriodUse, SeedQuery, SumDifference, SumOf};

use super::kind::DifferenceKind;
use super::report::{Difference, Figure, Mending};
use super::{AT_ONCE, Books, PAGE};
use crate::BillingError;

/// The most batches that are named.
const BATCHES_MAX: u32 = 1_000;
/// How far back hourly sums are added up again. Those of 32 days are kept whatever the settings.
const HOURS_US: i64 = 31 * DAY_US;
/// How far back open periods changed that the limiter is asked for: no period is longer than a month.
const OPEN_US: i64 = 32 * DAY_US;
/// The most quotas that are looked at twice.
const SUSPECTS_MAX: usize = 10_000;

impl Books<'_> {
    /// Numbers that gateways gave and that the ledger misses.
    pub(super) async fn compare_batches(&mut self) -> Result<(), BillingError> {
        let store = &self.billing.deps.store;
        let first = store.missing_batches(BATCHES_MAX).await?;
        if first.is_empty() {
            return Ok(());
        }
        // A batch may overtake another on its way.
        self.rest().await;
        let first: HashSet<_> = first.into_iter().collect();
        let still = store.missing_batches(BATCHES_MAX).await?.into_iter().filter(|batch| first.contains(batch));
        for (node, number) in still {
            let missing = Difference::new(DifferenceKind::MissingBatch, "batch")
                .about(format!("{node}/{number}"))
                .figures(Some(Figure::Units(number)), None);
            self.report.add(missing);
        }
        Ok(())
    }

    /// Sums of periods and hours, against the lines they are sums of.
    pub(super) async fn compare_sums(&mut self) -> Result<(), BillingError> {
        let hours_since = self.now.plus_micros(-HOURS_US).start_of_hour();
        let mut after = None;
        loop {
            let (differences, last) = self.billing.deps.store.sum_differences(hours_since, after, PAGE).await?;
            for difference in differences {
                self.report.add(of_sum(&difference));
            }
            match last {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// What the limiter counts of each open quota, against the ledger.
    pub(super) async fn compare_limiter(&mut self) -> Result<(), BillingError> {
        let store = &self.billing.deps.store;
        let mut since = self.now.plus_micros(-OPEN_US);
        let mut suspects = Vec::new();
        loop {
            let page = store.uses_since(since, self.now, PAGE).await?;
            let Some(last) = page.last() else { break };
            since = last.newest.plus_micros(1);
            self.report.looked.quotas += u64::try_from(page.len()).unwrap_or(u64::MAX);
            for (used, counted) in self.counted(page).await {
                if counted != used.used && suspects.len() < SUSPECTS_MAX {
                    suspects.push((used, counted));
                }
            }
        }
        if suspects.is_empty() {
            return Ok(());
        }
        self.rest().await;
        for (first, first_counted) in suspects {
            let used = store.used(first.account, first.meter.as_ref(), first.period).await?;
            let Some(counted) = self.standing.used(first.account, first.meter.as_ref(), first.period).await else {
                continue;
            };
            if agree((first.used, used), (first_counted, counted)) {
                continue;
            }
            let difference = self.limiter_difference(&first, used, counted).await?;
            self.report.add(difference);
        }
        Ok(())
    }

    /// Those of these quotas that the limiter has state of, with what it counts.
    async fn counted(&self, page: Vec<PeriodUse>) -> Vec<(PeriodUse, u64)> {
        let standing = self.standing;
        let asked = page.into_iter().map(|used| async move {
            let counted = standing.used(used.account, used.meter.as_ref(), used.period).await;
            counted.map(|counted| (used, counted))
        });
        stream::iter(asked).buffered(AT_ONCE).filter_map(std::future::ready).collect().await
    }

    async fn limiter_difference(&self, quota: &PeriodUse, used: u64, counted: u64) -> Result<Difference, BillingError> {
        let difference = Difference::new(DifferenceKind::LimiterUse, "units")
            .of(quota.account)
            .used(quota.meter.as_ref(), quota.period)
            .figures(Some(Figure::of(used)), Some(Figure::of(counted)));
        // What the limiter has more of may be under way to the ledger, and must not be let through twice.
        if counted > used {
            return Ok(difference);
        }
        let difference = difference.remedied("tell the limiter of it");
        if !self.fix() {
            return Ok(difference);
        }
        self.tell_limiter(quota, used - counted).await?;
        let used = self.billing.deps.store.used(quota.account, quota.meter.as_ref(), quota.period).await?;
        let counted = self.standing.used(quota.account, quota.meter.as_ref(), quota.period).await;
        let is_mended = counted.is_some_and(|counted| counted >= used);
        if is_mended {
            return Ok(difference.mended(Mending::Mended));
        }
        Ok(difference.mended(Mending::UnderWay).noted(Some("the limiter was told; run this again to see".into())))
    }

    /// Tells limiters of units that the ledger has and they do not, as of the ledger's newest entry: what they have not
    /// heard of yet comes after that, and is not taken for this.
    async fn tell_limiter(&self, quota: &PeriodUse, units: u64) -> Result<(), BillingError> {
        let deps = &self.billing.deps;
        let query = SeedQuery {
            account: quota.account,
            key: None,
            meter: quota.meter.clone(),
            since: deps.clock.now(),
            resolution_us: 1,
            period: quota.period,
        };
        let position = deps.store.seed(&query).await?.ledger_position;
        let of = quota.meter.as_ref().map_or(Charged::Calls { key: None }, |meter| Charged::Meter(meter.id()));
        let units = i64::try_from(units).unwrap_or(i64::MAX);
        let change = Change::Usage { account: quota.account, of, period: quota.period, units, position };
        // In a fleet only what stands in the outbox reaches the shared limits.
        deps.store.keep_change(&change, deps.clock.now()).await?;
        deps.changes.publish(&change).await;
        Ok(())
    }
}

/// Whether two books that are written one after the other may agree, looked at twice each: each moved over some stretch
/// meanwhile, and if the stretches touch, one may only have been behind the other.
fn agree(ledger: (u64, u64), limiter: (u64, u64)) -> bool {
    let stretch = |(one, other): (u64, u64)| (one.min(other), one.max(other));
    let ((low, high), (other_low, other_high)) = (stretch(ledger), stretch(limiter));
    low <= other_high && other_low <= high
}

fn of_sum(difference: &SumDifference) -> Difference {
    let SumDifference { account, meter, of, lines, sum } = difference;
    let (kind, period) = match of {
        SumOf::Period(period) => (DifferenceKind::PeriodSum, *period),
        SumOf::Hour(start) => (DifferenceKind::HourSum, hour(*start)),
    };
    Difference::new(kind, "units")
        .of(*account)
        .used(meter.as_ref(), period)
        .figures(Some(Figure::Units(*lines)), Some(Figure::Units(*sum)))
}

fn hour(start: Timestamp) -> Period {
    Period { start, end: start.plus_micros(HOUR_US) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_that_follow_each_other_agree() {
        for (ledger, limiter, expected) in [
            ((10, 10), (10, 10), true),
            // The limiter was ahead, and the ledger has caught up.
            ((10, 12), (12, 12), true),
            ((10, 12), (12, 15), true),
            // A refund reached the limiter first.
            ((12, 11), (11, 11), true),
            // Neither moved.
            ((10, 10), (12, 12), false),
            ((12, 12), (10, 10), false),
            // Both moved, and stay apart.
            ((10, 13), (15, 18), false),
            ((0, 0), (1, 1), false),
        ] {
            assert_eq!(agree(ledger, limiter), expected, "{ledger:?} {limiter:?}");
        }
    }
}
