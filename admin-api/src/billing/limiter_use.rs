//! What the limiter counts of a quota, for whoever compares the books.

use std::sync::Arc;

use async_trait::async_trait;
use tollgate_billing::reconcile::Standing;
use tollgate_domain::limit::{Debit, LimitLabel, LimitSet, Outcome, UNITS_MAX};
use tollgate_domain::{AccountId, Clock, MeterName, Period, Quota};
use tollgate_limiter::{Peek, Subject};

/// Asks the limiter how an account stands; nothing is debited.
pub struct LimiterUse {
    /// The limiter.
    pub peek: Arc<dyn Peek>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Standing for LimiterUse {
    async fn used(&self, account: AccountId, meter: Option<&MeterName>, period: Period) -> Option<u64> {
        // A quota that limits nothing is all that is asked for, so that the limiter need know no more to answer.
        let uncounted = Quota { limit: Some(UNITS_MAX) };
        let limits = LimitSet { quota: uncounted, ..LimitSet::default() };
        let meter = meter.map(|name| (name.id(), uncounted));
        let label = if meter.is_some() { LimitLabel::Meter } else { LimitLabel::Quota };
        let debit = Debit { limits: &limits, key: None, meter, period, cost: 0 };
        let seen = self.peek.look(Subject::Account(account), &debit, self.clock.now()).await.ok()??;
        let (counted, standings) = match seen {
            Outcome::Admitted(admitted) => (admitted.period, admitted.standing.to_vec()),
            Outcome::Refused(refused) => (refused.period, refused.standing.to_vec()),
            Outcome::Unseeded => return None,
        };
        // Use of another period is no answer.
        let standing = standings.into_iter().find(|standing| standing.label == label);
        standing.filter(|_| counted == period).map(|standing| standing.used)
    }
}
