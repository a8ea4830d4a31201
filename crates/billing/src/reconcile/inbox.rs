//! What Stripe told against what was heeded: events that were given up, that wait, that never came.

use serde_json::Value;
use tollgate_domain::{DAY_US, MINUTE_US, Timestamp};
use tollgate_store::{EventQuery, EventState, InboxEvent};

use super::kind::DifferenceKind;
use super::pages::Pages;
use super::report::{Difference, Figure, Mending};
use super::{Books, PAGE};
use crate::BillingError;
use crate::api::objects::Event;
use crate::event;

/// How long an event may wait: the worker heeds it in seconds, and asks again after failures.
const WAITING_US: i64 = 15 * MINUTE_US;
/// How long Stripe may be at its first attempt to deliver an event.
const DELIVERING_US: i64 = 5 * MINUTE_US;
/// How far back Stripe lists events.
const LISTED_US: i64 = 30 * DAY_US;

impl Books<'_> {
    /// Events that were given up, that wait for long, and that Stripe could not deliver.
    pub(super) async fn compare_inbox(&mut self) -> Result<(), BillingError> {
        match self.compare_undelivered().await {
            Err(BillingError::Api(error)) => self.report.unread("events", error),
            compared => compared?,
        }
        if self.fix() {
            // What waits may only have waited for this; where another process works, it heeds it.
            self.billing.work_once().await?;
        }
        let state = self.billing.deps.store.inbox_state().await?;
        if state.dead > 0 {
            self.compare_events(EventState::Dead, DifferenceKind::DeadEvent, self.now).await?;
        }
        let before = self.now.plus_micros(-WAITING_US);
        if state.oldest_pending.is_some_and(|oldest| oldest < before) {
            self.compare_events(EventState::Pending, DifferenceKind::WaitingEvent, before).await?;
        }
        Ok(())
    }

    /// Names events in this state that were received before then.
    async fn compare_events(
        &mut self,
        state: EventState,
        kind: DifferenceKind,
        before: Timestamp,
    ) -> Result<(), BillingError> {
        let mut query = EventQuery { state: Some(state), ..EventQuery::default() };
        loop {
            let page = self.billing.deps.store.inbox(&query, PAGE).await?;
            query.before = page.items.last().map(|last| (last.event.received_at, last.event.id.clone()));
            for told in page.items.into_iter().filter(|told| told.event.received_at <= before) {
                self.report.looked.events += 1;
                self.report.add(not_heeded(kind, told));
            }
            if !page.has_more {
                return Ok(());
            }
        }
    }

    async fn compare_undelivered(&mut self) -> Result<(), BillingError> {
        let since = self.now.plus_micros(-LISTED_US).as_secs();
        let until = self.now.plus_micros(-DELIVERING_US).as_secs();
        let query = [
            ("delivery_success", "false".to_owned()),
            ("created[gte]", since.to_string()),
            ("created[lte]", until.to_string()),
        ];
        let mut pages = Pages::of("/events", &query);
        while let Some(page) = pages.next::<Value>(self).await? {
            for listed in page {
                self.look_at_undelivered(listed).await?;
            }
        }
        Ok(())
    }

    async fn look_at_undelivered(&mut self, listed: Value) -> Result<(), BillingError> {
        let payload = listed.to_string();
        let Ok(told) = serde_json::from_value::<Event>(listed) else { return Ok(()) };
        let deps = &self.billing.deps;
        let Ok(told) = event::check(told, deps.stripe.livemode) else { return Ok(()) };
        if !event::is_used(&told.kind) {
            return Ok(());
        }
        self.report.looked.events += 1;
        // Undelivered to some other endpoint, or delivered meanwhile.
        if deps.store.inbox_event(&told.id).await?.is_some() {
            return Ok(());
        }
        let new = event::stored(&told, payload, deps.clock.now());
        let difference = Difference::new(DifferenceKind::UndeliveredEvent, "event")
            .about(told.id.as_str())
            .figures(Some(Figure::Text(told.kind.clone())), None);
        let difference = Difference { account: new.account.map(|account| account.to_string()), ..difference };
        if !self.fix() {
            self.report.add(difference);
            return Ok(());
        }
        deps.store.receive_event(&new).await?;
        self.billing.wake.notify_one();
        self.report.add(difference.mended(Mending::Mended));
        Ok(())
    }
}

fn not_heeded(kind: DifferenceKind, told: InboxEvent) -> Difference {
    let difference = Difference::new(kind, "state")
        .about(told.event.id)
        .figures(Some(EventState::Done.as_str().into()), Some(told.state.as_str().into()))
        .noted(told.note.or(Some(told.event.kind)));
    Difference { account: told.event.account.map(|account| account.to_string()), ..difference }
}
