//! Billed use: the ledger against what is planned to be told, that against what was told, and that against what Stripe's
//! meters have.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt};
use tollgate_domain::{DAY_US, HOUR_US, MINUTE_US, Timestamp};
use tollgate_store::{BilledPeriod, BilledUse, MeterSend, SendOutcome, SendState, SentUse};

use super::kind::DifferenceKind;
use super::report::{DIFFERENCES_MAX, Difference, Figure, Mending};
use super::{AT_ONCE, Books, PAGE};
use crate::BillingError;
use crate::api::ApiError;
use crate::meters::{LOOK_FAR_BACK_US, MeterSink, is_too_old, minutes};

/// How long use may be in the ledger before it is planned to be told: passes are minutes apart, longer looks a quarter of
/// an hour.
const UNPLANNED_US: i64 = 30 * MINUTE_US;
/// How long a send may be under way.
const UNSENT_US: i64 = 30 * MINUTE_US;
/// How long Stripe may take to add up what it was told.
const ADDING_UP_US: i64 = HOUR_US;
/// Stripe is asked for periods that changed in so long, one call each: each is asked for on several nights after its last
/// change.
const ASKED_US: i64 = 3 * DAY_US;
/// How many sends are put back in one transaction.
const PUT_BACK: usize = 100;

/// A difference that telling Stripe mends, and what it is about.
struct Untold {
    difference: Difference,
    period: BilledPeriod,
    /// The send that was given up or is under way; none where none is planned.
    send: Option<MeterSend>,
}

/// What Stripe's meters have of a period, and what is known to have been told.
struct Asked {
    period: BilledPeriod,
    told: Result<i64, ApiError>,
    known: SentUse,
}

impl Books<'_> {
    /// Billed periods, meter by meter.
    pub(super) async fn compare_metered(&mut self) -> Result<(), BillingError> {
        let sink = self.billing.meter_sink();
        if sink.billed().is_empty() {
            return Ok(());
        }
        let mut untold = self.untold(sink.billed()).await?;
        if self.fix() && untold.iter().any(|untold| untold.difference.remedy.is_some()) {
            self.tell(&*sink, &mut untold).await?;
        }
        self.report.extend(untold.into_iter().map(|untold| untold.difference));
        self.compare_with_stripe(&*sink).await
    }

    /// Where ledger, plans and sends differ.
    async fn untold(&mut self, billed: &[BilledUse]) -> Result<Vec<Untold>, BillingError> {
        let store = &self.billing.deps.store;
        let since = self.now.plus_micros(-LOOK_FAR_BACK_US);
        let mut found = Vec::new();
        let mut after: Option<BilledPeriod> = None;
        loop {
            let page = store.billed_periods(billed, since, after.as_ref(), PAGE).await?;
            for period in &page.items {
                self.report.looked.periods += 1;
                found.extend(unplanned(period, self.now).map(|difference| Untold {
                    difference,
                    period: period.clone(),
                    send: None,
                }));
                if pending(period) == 0 && period.failed == 0 {
                    continue;
                }
                let sends = store.sends_of(period.account, period.meter.as_ref(), period.period).await?;
                let late = sends.into_iter().filter_map(|send| Some((late(&send, self.now)?, send)));
                found.extend(late.map(|(difference, send)| Untold {
                    difference,
                    period: period.clone(),
                    send: Some(send),
                }));
            }
            if !page.has_more || found.len() >= DIFFERENCES_MAX {
                return Ok(found);
            }
            after = page.items.into_iter().next_back();
        }
    }

    /// Puts back what was given up, has everything told that is to be told, and notes what became of it.
    async fn tell(&self, sink: &dyn MeterSink, untold: &mut [Untold]) -> Result<(), BillingError> {
        let billing = self.billing;
        let Some(mut fence) = billing.fence().await? else {
            let note = "another process works on billing: have that one asked".to_owned();
            for untold in untold.iter_mut().filter(|untold| untold.difference.remedy.is_some()) {
                untold.difference = untold.difference.clone().mended(Mending::Failed).noted(Some(note.clone()));
            }
            return Ok(());
        };
        let now = billing.deps.clock.now();
        let mendable = untold.iter().filter(|untold| untold.difference.remedy.is_some());
        let again: Vec<_> = mendable.filter_map(|untold| again(untold.send.as_ref()?, now)).collect();
        for again in again.chunks(PUT_BACK) {
            let settled = billing.deps.store.settle_sends(fence, again, now).await?;
            billing.unless_lost(settled).await?;
        }
        billing.look_far_next();
        while billing.meter_with(sink, fence, billing.deps.clock.now()).await?.has_more {
            fence = billing.fence().await?.ok_or(BillingError::Lost)?;
        }
        for untold in untold.iter_mut().filter(|untold| untold.difference.remedy.is_some()) {
            let (mending, note) = self.became(untold).await?;
            let note = note.or(untold.difference.note.take());
            untold.difference = untold.difference.clone().mended(mending).noted(note);
        }
        Ok(())
    }

    /// What became of use that was to be told.
    async fn became(&self, untold: &Untold) -> Result<(Mending, Option<String>), BillingError> {
        let BilledPeriod { account, meter, period, ledger, .. } = &untold.period;
        let sends = self.billing.deps.store.sends_of(*account, meter.as_ref(), *period).await?;
        let Some(told) = &untold.send else {
            let units = |state: Option<SendState>| {
                let of = sends.iter().filter(|send| state.is_none_or(|state| send.state == state));
                of.map(|send| i128::from(send.units)).sum::<i128>()
            };
            let mending = match i128::from(*ledger) {
                ledger if units(Some(SendState::Sent)) >= ledger => Mending::Mended,
                ledger if units(None) >= ledger => Mending::UnderWay,
                _ => Mending::Failed,
            };
            return Ok((mending, None));
        };
        let now = sends.into_iter().find(|send| send.identifier == told.identifier);
        Ok(match now.map(|send| (send.state, send.note)) {
            Some((SendState::Sent, _)) => (Mending::Mended, None),
            Some((SendState::Pending, note)) => (Mending::UnderWay, note),
            Some((SendState::Failed, note)) => (Mending::Failed, note),
            None => (Mending::Failed, None),
        })
    }

    /// What Stripe's meters have, against what they were told.
    async fn compare_with_stripe(&mut self, sink: &dyn MeterSink) -> Result<(), BillingError> {
        let since = self.now.plus_micros(-ASKED_US);
        let mut unreadable: BTreeSet<String> = BTreeSet::new();
        let mut after: Option<BilledPeriod> = None;
        loop {
            let store = &self.billing.deps.store;
            let page = store.billed_periods(sink.billed(), since, after.as_ref(), PAGE).await?;
            after = page.items.last().cloned();
            let books = &*self;
            let asked = page
                .items
                .into_iter()
                .filter(|period| period.planned > 0)
                .map(|period| async move { books.ask_for(sink, period).await });
            let asked: Vec<_> = stream::iter(asked.collect::<Vec<_>>()).buffered(AT_ONCE).collect().await;
            for asked in asked {
                let Asked { period, told, known } = asked?;
                match told {
                    Ok(told) => self.compare_period(&period, told, known).await?,
                    Err(error) if error.is_about_stripe() => {
                        self.report.unread("Stripe's meters", error);
                        return Ok(());
                    }
                    Err(error) => {
                        unreadable.insert(error.to_string());
                    }
                }
            }
            if !page.has_more {
                for why in unreadable {
                    self.report.unread("Stripe's meters", why);
                }
                return Ok(());
            }
        }
    }

    async fn ask_for(&self, sink: &dyn MeterSink, period: BilledPeriod) -> Result<Asked, BillingError> {
        let named = sink.billed().iter().find(|billed| billed.meter == period.meter);
        let event_name = named.map_or("", |billed| &billed.event_name);
        // First what is known: what is told in between is more at Stripe, and never less.
        let stretch = minutes(period.period);
        let known = self.billing.deps.store.sent_between(period.account, period.meter.as_ref(), stretch).await?;
        let told = self.patiently(|| sink.told(event_name, &period.customer, period.period)).await;
        Ok(Asked { period, told, known })
    }

    async fn compare_period(&mut self, period: &BilledPeriod, told: i64, known: SentUse) -> Result<(), BillingError> {
        if agree(told, known, 0) {
            return Ok(());
        }
        let BilledPeriod { account, meter, period: stretch, .. } = period;
        let store = &self.billing.deps.store;
        let lately = self.billing.deps.clock.now().plus_micros(-ADDING_UP_US);
        let mut sent_lately = 0;
        if known.newest.is_some_and(|newest| newest > lately) {
            let sends = store.sends_of(*account, meter.as_ref(), *stretch).await?;
            let lately = sends.iter().filter(|send| send.sent_at.is_some_and(|at| at > lately));
            sent_lately = lately.map(|send| send.units).sum();
        }
        // What was told since the first look is known now.
        let known = store.sent_between(*account, meter.as_ref(), minutes(*stretch)).await?;
        if agree(told, known, sent_lately) {
            return Ok(());
        }
        let difference = Difference::new(DifferenceKind::StripeUse, "units")
            .of(*account)
            .about(period.customer.as_str())
            .used(meter.as_ref(), *stretch)
            .figures(Some(Figure::of(known.sent)), Some(Figure::Units(told)));
        self.report.add(difference);
        Ok(())
    }
}

/// Units in sends that are under way.
fn pending(period: &BilledPeriod) -> u64 {
    period.planned.saturating_sub(period.sent).saturating_sub(period.failed)
}

/// Whether a meter has what it was told, of which it may not have added up what it was told lately, and may have what it is
/// not known to have.
fn agree(told: i64, known: SentUse, sent_lately: u64) -> bool {
    let least = i128::from(known.sent) - i128::from(sent_lately);
    let most = i128::from(known.sent) + i128::from(known.doubtful);
    (least..=most).contains(&i128::from(told))
}

/// The difference between ledger and plans, where time alone does not end it.
fn unplanned(period: &BilledPeriod, now: Timestamp) -> Option<Difference> {
    let remainder = i128::from(period.ledger) - i128::from(period.planned);
    let is_old = now.micros_since(period.newest) > UNPLANNED_US;
    let kind = if remainder > 0 && pending(period) == 0 && is_old {
        DifferenceKind::UnplannedUse
    } else if remainder < 0 && period.period.end <= now {
        DifferenceKind::OverBilled
    } else {
        return None;
    };
    let difference = Difference::new(kind, "units")
        .of(period.account)
        .used(period.meter.as_ref(), period.period)
        .figures(Some(Figure::Units(period.ledger)), Some(Figure::of(period.planned)));
    Some(difference)
}

/// The difference that a send is, which was given up or has been under way for long.
fn late(send: &MeterSend, now: Timestamp) -> Option<Difference> {
    let since = send.first_tried_at.unwrap_or(send.at);
    let kind = match send.state {
        SendState::Failed => DifferenceKind::FailedSend,
        SendState::Pending if now.micros_since(since) > UNSENT_US => DifferenceKind::UnsentUse,
        SendState::Pending | SendState::Sent => return None,
    };
    let difference = Difference::new(kind, "units")
        .of(send.account)
        .about(send.identifier.as_str())
        .used(send.meter.as_ref(), send.period)
        .figures(Some(Figure::of(send.units)), Some(Figure::Units(0)))
        .noted(send.note.clone());
    Some(if is_too_old(send.period, now) { difference.beyond_remedy() } else { difference })
}

/// The send put back to be told now, whatever it waited for.
fn again(send: &MeterSend, now: Timestamp) -> Option<(String, SendOutcome)> {
    let note = send.note.clone().unwrap_or_else(|| "put back by a person".into());
    (send.state != SendState::Sent).then(|| (send.identifier.clone(), SendOutcome::Retry { at: now, note }))
}

#[cfg(test)]
mod tests {
    use tollgate_domain::{AccountId, Period};

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect(text)
    }

    #[test]
    fn a_meter_may_be_behind_by_what_it_was_told_lately() {
        let known = |sent, doubtful| SentUse { sent, doubtful, newest: None };
        for (told, known, lately, expected) in [
            (100, known(100, 0), 0, true),
            (99, known(100, 0), 0, false),
            (99, known(100, 0), 1, true),
            (98, known(100, 0), 1, false),
            (101, known(100, 0), 50, false),
            (105, known(100, 5), 0, true),
            (106, known(100, 5), 0, false),
        ] {
            assert_eq!(agree(told, known, lately), expected, "{told} {known:?} {lately}");
        }
    }

    #[test]
    fn use_is_overdue_only_where_nothing_is_under_way() {
        let period = |ledger, planned, sent, newest: &str| BilledPeriod {
            account: AccountId::new(Timestamp::EPOCH, [1; 10]),
            customer: "cus_1".into(),
            meter: None,
            period: Period { start: at("2026-03-01"), end: at("2026-04-01") },
            ledger,
            planned,
            sent,
            failed: 0,
            newest: at(newest),
        };
        let now = at("2026-03-10T12:00:00Z");
        let kind = |period: &BilledPeriod, now| unplanned(period, now).map(|difference| difference.kind);
        let over = Some(DifferenceKind::OverBilled);
        for (billed, now, expected) in [
            (period(10, 10, 10, "2026-03-10T10:00:00Z"), now, None),
            (period(12, 10, 10, "2026-03-10T10:00:00Z"), now, Some(DifferenceKind::UnplannedUse)),
            (period(12, 10, 10, "2026-03-10T11:50:00Z"), now, None),
            (period(12, 10, 8, "2026-03-10T10:00:00Z"), now, None),
            (period(8, 10, 10, "2026-03-10T10:00:00Z"), now, None),
            (period(8, 10, 10, "2026-03-10T10:00:00Z"), at("2026-04-01"), over),
            (period(-2, 0, 0, "2026-03-10T10:00:00Z"), at("2026-04-01"), over),
        ] {
            assert_eq!(kind(&billed, now), expected, "{billed:?}");
        }
    }
}
