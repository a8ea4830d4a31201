//! The trait of billing over either database: which call runs in which transaction, and which need the lease. What a
//! call does is its table's own module's.

use async_trait::async_trait;
use tollgate_domain::{Account, AccountId, MeterName, Period, PlanTable, Timestamp};

use super::{
    Backend, Connection, Mode, SqlStore, apply, audit, batches, billed, differences, in_transaction, inbox, leases,
    meter_sends, outbox, subscriptions,
};
use crate::billing::{
    Applied, BilledPeriod, BilledUse, Billing, CustomerFacts, EventQuery, Fence, Fenced, InboxEvent, InboxState,
    Linked, MeterSend, NewEvent, SendOutcome, SentUse, Settled, SumDifference,
};
use crate::error::StoreError;
use crate::record::{Change, NewAudit, Page};

/// Does this if the lease is still held.
async fn fenced<T>(
    connection: &mut Connection,
    fence: Fence,
    work: impl AsyncFnOnce(&mut Connection) -> Result<T, StoreError>,
) -> Result<Fenced<T>, StoreError> {
    if !leases::holds(connection, fence).await? {
        return Ok(Fenced::Lost);
    }
    work(connection).await.map(Fenced::Done)
}

#[async_trait]
impl<B: Backend> Billing for SqlStore<B> {
    async fn receive_event(&self, event: &NewEvent) -> Result<bool, StoreError> {
        in_transaction!(self, |connection| inbox::receive(connection, event))
    }

    async fn inbox(&self, query: &EventQuery, limit: u32) -> Result<Page<InboxEvent>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        inbox::list(&mut connection, query, limit).await
    }

    async fn inbox_event(&self, id: &str) -> Result<Option<InboxEvent>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        inbox::find(&mut connection, id).await
    }

    async fn inbox_state(&self) -> Result<InboxState, StoreError> {
        let mut connection = self.backend.begin(Mode::Snapshot).await?;
        inbox::state(&mut connection).await
    }

    async fn replay_event(&self, id: &str, audit: &NewAudit) -> Result<Option<InboxEvent>, StoreError> {
        in_transaction!(self, |connection| inbox::replay(connection, id, audit))
    }

    async fn prune_inbox(&self, before: Timestamp) -> Result<u64, StoreError> {
        in_transaction!(self, |connection| inbox::prune(connection, before))
    }

    async fn hold_lease(
        &self,
        name: &str,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Fence>, StoreError> {
        in_transaction!(self, |connection| leases::hold(connection, name, holder, now, until))
    }

    async fn release_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        in_transaction!(self, |connection| leases::release(connection, name, holder))
    }

    async fn due_events(&self, now: Timestamp, limit: u32) -> Result<Vec<InboxEvent>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        inbox::due(&mut connection, now, limit).await
    }

    async fn due_events_of(&self, subject: &str, now: Timestamp, limit: u32) -> Result<Vec<InboxEvent>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        inbox::due_of(&mut connection, subject, now, limit).await
    }

    async fn settle_events(&self, fence: Fence, settled: &[Settled], now: Timestamp) -> Result<Fenced<()>, StoreError> {
        in_transaction!(self, |connection| fenced(connection, fence, async |connection| {
            inbox::settle(connection, settled, None, now).await
        }))
    }

    async fn apply_facts(
        &self,
        fence: Fence,
        facts: &CustomerFacts,
        plans: &PlanTable,
        audit: &NewAudit,
    ) -> Result<Fenced<Applied>, StoreError> {
        in_transaction!(self, |connection| fenced(connection, fence, async |connection| {
            apply::facts(connection, facts, plans, audit).await
        }))
    }

    async fn account_of_customer(&self, customer: &str) -> Result<Option<Account>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        subscriptions::of_customer(&mut connection, customer).await
    }

    async fn deleted_account_of_customer(&self, customer: &str) -> Result<Option<Account>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        subscriptions::deleted_of_customer(&mut connection, customer).await
    }

    async fn link_customer(&self, account: AccountId, customer: &str, audit: &NewAudit) -> Result<Linked, StoreError> {
        in_transaction!(self, |connection| subscriptions::link(connection, account, customer, audit))
    }

    async fn billed_accounts(
        &self,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Page<(Account, Option<Timestamp>)>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        subscriptions::billed(&mut connection, after, limit).await
    }

    async fn plan_sends(
        &self,
        fence: Fence,
        billed: &[BilledUse],
        since: Timestamp,
        now: Timestamp,
        rest_us: i64,
        limit: u32,
    ) -> Result<Fenced<u64>, StoreError> {
        in_transaction!(self, |connection| fenced(connection, fence, async |connection| {
            billed::plan(connection, billed, since, now, rest_us, limit).await
        }))
    }

    async fn fold_sends(&self, fence: Fence, ended_before: Timestamp) -> Result<Fenced<u64>, StoreError> {
        in_transaction!(self, |connection| fenced(connection, fence, async |connection| {
            meter_sends::fold(connection, ended_before).await
        }))
    }

    async fn due_sends(&self, now: Timestamp, limit: u32) -> Result<Vec<MeterSend>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        meter_sends::due(&mut connection, now, limit).await
    }

    async fn note_tries(
        &self,
        fence: Fence,
        tries: &[(String, Timestamp)],
        now: Timestamp,
    ) -> Result<Fenced<()>, StoreError> {
        in_transaction!(self, |connection| fenced(connection, fence, async |connection| {
            meter_sends::note_tries(connection, tries, now).await
        }))
    }

    async fn settle_sends(
        &self,
        fence: Fence,
        settled: &[(String, SendOutcome)],
        now: Timestamp,
    ) -> Result<Fenced<()>, StoreError> {
        in_transaction!(self, |connection| fenced(connection, fence, async |connection| {
            meter_sends::settle(connection, settled, now).await
        }))
    }

    async fn sends_of(
        &self,
        account: AccountId,
        meter: Option<&MeterName>,
        period: Period,
    ) -> Result<Vec<MeterSend>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        meter_sends::of_period(&mut connection, account, meter, period).await
    }

    async fn sent_between(
        &self,
        account: AccountId,
        meter: Option<&MeterName>,
        stretch: Period,
    ) -> Result<SentUse, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        meter_sends::between(&mut connection, account, meter, stretch).await
    }

    async fn billed_periods(
        &self,
        billed: &[BilledUse],
        since: Timestamp,
        after: Option<&BilledPeriod>,
        limit: u32,
    ) -> Result<Page<BilledPeriod>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        billed::periods(&mut connection, billed, since, after, limit).await
    }

    async fn missing_batches(&self, limit: u32) -> Result<Vec<(String, i64)>, StoreError> {
        let mut connection = self.backend.begin(Mode::Snapshot).await?;
        batches::missing(&mut connection, limit).await
    }

    async fn sum_differences(
        &self,
        hours_since: Timestamp,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<(Vec<SumDifference>, Option<AccountId>), StoreError> {
        let mut connection = self.backend.begin(Mode::Snapshot).await?;
        differences::between_lines_and_sums(&mut connection, hours_since, after, limit).await
    }

    async fn keep_audit(&self, line: &NewAudit) -> Result<(), StoreError> {
        in_transaction!(self, |connection| audit::append(connection, line, None, None))
    }

    async fn keep_change(&self, change: &Change, now: Timestamp) -> Result<(), StoreError> {
        in_transaction!(self, |connection| outbox::append(connection, &[*change], now))
    }
}
