//! What a node holds and knows of one subject, and every step that changes it. It neither waits nor reads a clock.
//!
//! Two rules carry it. Whatever an ask says it keeps is at least what can still be spent when it arrives, so what is
//! given back leaves `left` before the ask is sent. And an answer counts only for the ask that is waited for.

use tollgate_domain::limit::{Admitted, Debit, LimitSet, Outcome};
use tollgate_domain::{Period, Timestamp};

use super::demand::Demand;
use super::known::Known;
use super::plan::{Plan, Step, Tend};
use super::refusal::{Cause, Refusals};
use super::settings::Times;
use crate::redis::protocol::{LeaseReply, LeaseVerdict};

/// A lease smaller than this is not renewed ahead: its caller waits for an ask now and then.
const RENEWED_AHEAD_MIN: u64 = 8;

/// One subject at this node.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Units that may be spent before the deadline.
    left: u64,
    deadline_us: i64,
    /// What `left` was when it was last filled, and when the ask for that was sent.
    filled: u64,
    filled_us: i64,
    /// The session's number; zero without one.
    session: u64,
    spent_total: u64,
    last_spend_us: i64,
    /// The period that units of the lease are charged in.
    lease_period: Option<Period>,
    /// The state's, as last heard.
    epoch: Option<u64>,
    known: Option<Box<Known>>,
    /// The limits of an ask that was not answered: what it may have been granted is to be given back under them.
    unanswered: Option<Box<LimitSet>>,
    /// Until when what is known may refuse.
    refuses_until_us: i64,
    refusals: Refusals,
    forgets: u32,
    demand: Demand,
    /// Units that callers wait for while an ask is on its way.
    waiting: u64,
    flight: Option<u64>,
    failed_flight: u64,
    failures: u32,
    retry_at_us: i64,
    due_us: Option<i64>,
}

impl State {
    /// Decides a call from what is at hand, or says what must happen first.
    /// `waited_for` is the ask that the caller has waited for, where it has.
    pub(super) fn debit(
        &mut self,
        debit: &Debit<'_>,
        waited_for: Option<u64>,
        serial: impl Fn() -> u64,
        now_us: i64,
        times: &Times,
    ) -> Step {
        if let Some(outcome) = self.decide(debit, now_us, times) {
            return Step::Done(outcome);
        }
        if waited_for.is_some_and(|flight| flight == self.failed_flight) {
            return Step::Down;
        }
        if let Some(flight) = self.flight {
            return Step::Wait(flight);
        }
        // Whatever is left is too little, too old, or of other limits or another period: it goes back with the ask.
        self.left = 0;
        let want = if debit.cost == 0 {
            0
        } else {
            self.demand.ahead(now_us, times.ttl_us).saturating_add(self.waiting).saturating_add(debit.cost)
        };
        Step::Ask(Plan { cost: debit.cost, ..self.plan(serial(), debit.period, want, now_us) })
    }

    fn decide(&mut self, debit: &Debit<'_>, now_us: i64, times: &Times) -> Option<Outcome> {
        let known = self.known.as_deref_mut()?;
        if known.asked_period != Some(debit.period) || known.limits != *debit.limits {
            return None;
        }
        let at = known.at(now_us);
        known.reading.advance(at);
        let cost = debit.cost;
        let is_held = self.left >= cost && now_us < self.deadline_us;
        if is_held || (cost == 0 && now_us < known.sent_us + times.ttl_us) {
            if cost > 0 {
                known.reading.take(cost, debit.limits, at);
                self.left -= cost;
                self.spent_total += cost;
                self.last_spend_us = now_us;
                self.demand.add(cost);
            }
            let (period, standing) = (known.reading.quota.period, known.standing(at));
            return Some(Outcome::Admitted(Admitted { period, standing }));
        }
        if now_us >= self.refuses_until_us || cost == 0 {
            return None;
        }
        let cause = self.refusals.find(cost, now_us).or_else(|| {
            let cause = Cause::find(&known.reading, debit.limits, cost, at, known.others);
            cause.filter(|cause| cost == 1 || !cause.is_window())
        })?;
        Some(known.refused(&cause, cost, now_us, times))
    }

    /// A renewal, where the lease runs low so fast that callers would soon wait.
    pub(super) fn renewal(&mut self, serial: impl Fn() -> u64, now_us: i64, times: &Times) -> Option<(Plan, LimitSet)> {
        let runs_low = self.filled >= RENEWED_AHEAD_MIN && self.left < self.filled / 8;
        (runs_low && self.flight.is_none() && now_us >= self.retry_at_us && now_us < self.deadline_us).then_some(())?;
        let known = self.known.as_deref()?;
        let (limits, period) = (known.limits.clone(), known.asked_period?);
        Some((self.background(serial(), period, now_us, times), limits))
    }

    /// Keeps what will soon be spent, and wishes for what is missing.
    fn background(&mut self, serial: u64, period: Period, now_us: i64, times: &Times) -> Plan {
        let ahead = self.demand.ahead(now_us, times.ttl_us);
        if self.left / 2 > ahead {
            self.left = ahead;
        }
        self.plan(serial, period, ahead.saturating_sub(self.left), now_us)
    }

    /// Gives everything back.
    fn report(&mut self, serial: u64, now_us: i64) -> Plan {
        self.left = 0;
        let period = self.lease_period.unwrap_or(Period { start: Timestamp::EPOCH, end: Timestamp::EPOCH });
        Plan { reports_only: true, ..self.plan(serial, period, 0, now_us) }
    }

    fn plan(&mut self, serial: u64, period: Period, want: u64, now_us: i64) -> Plan {
        if now_us >= self.deadline_us {
            self.left = 0;
        }
        if self.session == 0 {
            (self.session, self.spent_total) = (serial, 0);
            self.lease_period = None;
        }
        self.flight = Some(serial);
        Plan {
            flight: serial,
            sent_us: now_us,
            forgets: self.forgets,
            period,
            session: self.session,
            epoch: self.epoch,
            spent_total: self.spent_total,
            spent_in: self.lease_period.unwrap_or(period),
            last_spend: self.known.as_ref().map_or(Timestamp::EPOCH, |known| known.at(self.last_spend_us)),
            keep: self.left,
            cost: 0,
            want,
            reports_only: false,
        }
    }

    /// Takes an answer over. What the caller of the ask hears; `None` where it tells a caller nothing.
    pub(super) fn answered(
        &mut self,
        plan: &Plan,
        limits: &LimitSet,
        reply: &LeaseReply,
        now_us: i64,
        times: &Times,
    ) -> Option<Outcome> {
        if reply.verdict == LeaseVerdict::Overtaken {
            self.failed(plan, limits, now_us, times);
            return None;
        }
        if reply.verdict == LeaseVerdict::Unseeded {
            self.lose(plan, limits, now_us, times);
            return Some(Outcome::Unseeded);
        }
        self.flight = None;
        (self.failures, self.retry_at_us, self.unanswered) = (0, 0, None);
        let is_other_state = plan.epoch.is_some_and(|epoch| epoch != reply.epoch);
        self.epoch = Some(reply.epoch);
        if is_other_state {
            // What was spent of a state that is gone, the ledger tells the new one.
            self.spent_total = plan.spent_total;
        }
        let spent_meanwhile = self.take_lease(plan, reply, times);
        if plan.reports_only {
            return None;
        }
        self.take_knowledge(plan, limits, reply, spent_meanwhile, now_us);
        self.refuses_until_us = if plan.forgets == self.forgets { plan.sent_us + times.ttl_us } else { 0 };
        let known = self.known.as_deref_mut()?;
        // As of the answer's own time: refilled up to now, what was missing could be there.
        let refused = (reply.verdict == LeaseVerdict::Refused).then(|| known.refusal(plan.cost, times));
        let at = known.at(now_us);
        known.reading.advance(at);
        let Some((cause, wait_us)) = refused else {
            let (period, standing) = (known.reading.quota.period, known.standing(at));
            return Some(Outcome::Admitted(Admitted { period, standing }));
        };
        if plan.forgets == self.forgets {
            self.refusals.remember(plan.cost, plan.sent_us + wait_us, cause);
        }
        Some(known.refused(&cause, plan.cost, now_us, times))
    }

    /// Some limit has no state, so what is held is void. Where the state of others has outlived it, Redis has yet to hear
    /// what was spent; a report, which needs no limit's state but any, would find nothing only where all is gone: what was
    /// spent then is the ledger's to tell.
    fn lose(&mut self, plan: &Plan, limits: &LimitSet, now_us: i64, times: &Times) {
        self.failed(plan, limits, now_us, times);
        self.failed_flight = 0;
        self.forget_refusals();
        (self.left, self.known) = (0, None);
        if plan.session == plan.flight || plan.reports_only {
            (self.session, self.epoch, self.unanswered) = (0, None, None);
            (self.failures, self.retry_at_us) = (0, 0);
        }
    }

    /// What is held from now on, and whether Redis still has to hear of it. Returns how much of what was kept has been
    /// spent while the ask was on its way.
    fn take_lease(&mut self, plan: &Plan, reply: &LeaseReply, times: &Times) -> u64 {
        let spent_meanwhile = self.spent_total - plan.spent_total;
        if reply.kept < plan.keep {
            self.left = 0;
        }
        if let LeaseVerdict::Granted { spare } = reply.verdict {
            self.spent_total += plan.cost;
            self.left += spare;
            self.demand.add(plan.cost);
        }
        if !plan.reports_only {
            let open = reply.reading.quota.period;
            if plan.keep > 0 && self.lease_period.is_some_and(|held| held != open) {
                // The period rolled under what is kept. One report names one period: all goes back before a new start.
                self.left = 0;
            } else {
                self.lease_period = Some(open);
            }
        }
        (self.filled, self.filled_us, self.deadline_us) = (self.left, plan.sent_us, plan.sent_us + times.ttl_us);
        // What was kept, and stands no longer or in another period, only another ask can put right.
        if self.left == 0 && plan.keep == 0 {
            (self.session, self.spent_total) = (0, 0);
        }
        spent_meanwhile
    }

    fn take_knowledge(&mut self, plan: &Plan, limits: &LimitSet, reply: &LeaseReply, spent: u64, now_us: i64) {
        let mut reading = reply.reading.clone();
        reading.take(spent, limits, reply.redis_now);
        let known = Known {
            limits: limits.clone(),
            asked_period: (self.lease_period == Some(reading.quota.period)).then_some(plan.period),
            reading,
            others: reply.outstanding_others,
            redis_now: reply.redis_now,
            sent_us: plan.sent_us,
            heard_us: now_us,
        };
        match &mut self.known {
            Some(place) => **place = known,
            None => self.known = Some(Box::new(known)),
        }
    }

    /// An ask was not answered: whether it was applied is not known. What is left may still be spent.
    pub(super) fn failed(&mut self, plan: &Plan, limits: &LimitSet, now_us: i64, times: &Times) {
        self.abandoned(plan, limits);
        self.failed_flight = plan.flight;
        let pause_us = times.retry_us << self.failures.min(6);
        self.retry_at_us = now_us + pause_us.min(times.retry_us_max);
        self.failures = self.failures.saturating_add(1);
    }

    /// Nobody waits for the answer any more.
    pub(super) fn abandoned(&mut self, plan: &Plan, limits: &LimitSet) {
        self.unanswered = Some(Box::new(limits.clone()));
        self.flight = None;
        self.lease_period.get_or_insert(plan.period);
    }

    /// Whether everything is spent and unreported, with nobody asking for more.
    pub(super) fn has_run_out(&self) -> bool {
        self.left == 0 && self.session != 0 && self.flight.is_none()
    }

    pub(super) fn wait(&mut self, units: u64) {
        self.waiting = self.waiting.saturating_add(units);
    }

    pub(super) fn wait_no_more(&mut self, units: u64) {
        self.waiting = self.waiting.saturating_sub(units);
    }

    /// What the lease needs now; where `is_closing`, to be given back whole.
    pub(super) fn tend(&mut self, serial: impl Fn() -> u64, now_us: i64, is_closing: bool, times: &Times) -> Tend {
        if !is_closing && self.due_us.is_none_or(|due_us| due_us > now_us) {
            return Tend::Nothing;
        }
        self.due_us = None;
        if self.session == 0 {
            return Tend::Nothing;
        }
        if self.flight.is_some() {
            return self.later(now_us + times.rest_us);
        }
        let due_us = self.next_due_us(now_us, times);
        if due_us > now_us && !is_closing {
            return self.later(due_us);
        }
        let is_busy = now_us - self.last_spend_us < times.tend_after_us / 2;
        match self.known.as_deref().map(|known| (known.limits.clone(), known.asked_period)) {
            Some((limits, Some(period))) if is_busy && self.is_live(now_us) && !is_closing => {
                Tend::Ask(self.background(serial(), period, now_us, times), limits)
            }
            known => {
                let limits = self.unanswered.as_deref().cloned().or(known.map(|(limits, _)| limits));
                Tend::Ask(self.report(serial(), now_us), limits.unwrap_or_default())
            }
        }
    }

    fn later(&mut self, due_us: i64) -> Tend {
        self.due_us = Some(due_us);
        Tend::Later(due_us)
    }

    /// When the entry is to be looked at, if that is not planned for as early already.
    pub(super) fn plan_look(&mut self, now_us: i64, times: &Times) -> Option<i64> {
        if self.session == 0 {
            return None;
        }
        let due_us = self.next_due_us(now_us, times);
        let is_news = self.due_us.is_none_or(|planned_us| due_us < planned_us);
        is_news.then(|| *self.due_us.insert(due_us))
    }

    /// A lease is tended half-way. One that is spent or over waits a moment, for a busy caller reports it by itself.
    fn next_due_us(&self, now_us: i64, times: &Times) -> i64 {
        let due_us = if self.is_live(now_us) {
            self.filled_us + times.tend_after_us
        } else {
            self.last_spend_us.max(self.filled_us) + times.rest_us
        };
        due_us.max(self.retry_at_us)
    }

    fn is_live(&self, now_us: i64) -> bool {
        self.left > 0 && now_us < self.deadline_us
    }

    pub(super) fn forget_refusals(&mut self) {
        self.refusals.clear();
        self.refuses_until_us = 0;
        self.forgets = self.forgets.wrapping_add(1);
    }

    pub(super) fn settled(&mut self, charged_in: Period, units: i64) {
        if units < 0 {
            self.forget_refusals();
        }
        let quota = self.known.as_deref_mut().map(|known| &mut known.reading.quota);
        if let Some(quota) = quota {
            quota.settle(charged_in, units);
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.session != 0
    }

    /// Units that could be spent, but for the deadline.
    pub(super) fn units_left(&self) -> u64 {
        self.left
    }
}
