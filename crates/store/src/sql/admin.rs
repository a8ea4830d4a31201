//! The traits of the control plane over either database: which call runs in which transaction. What a call does is
//! its table's own module's.

use async_trait::async_trait;
use tollgate_domain::{Account, AccountId, Key, KeyId, MeterName, NodeId, Period, RequestRow, Timestamp};

use super::{
    Backend, Mode, SqlStore, accounts, credit, events, export, history, in_transaction, keys, notices, prune, requests,
    seed, sign_in, uses,
};
use crate::customers::{
    AccountPatch, Channel, Credit, Credited, Customers, EventOutcome, ExportRow, History, HistoryQuery, HistoryRow,
    Housekeeping, Identified, KeyPatch, LedgerLine, Link, NewNotice, PendingNotice, PeriodUse, Pruned, SecretHash,
    Session, SubjectAccount, UpdateAccount, UsageEvent,
};
use crate::error::StoreError;
use crate::record::{Change, NewAccount, NewAudit};
use crate::store::CreateAccount;

#[async_trait]
impl<B: Backend> Customers for SqlStore<B> {
    async fn shared_secret(&self, name: &str, fresh: &[u8; 32]) -> Result<[u8; 32], StoreError> {
        let known = sign_in::secret(&mut self.backend.begin(Mode::Single).await?, name).await?;
        if let Some(known) = known {
            return Ok(known);
        }
        in_transaction!(self, |connection| sign_in::agree_on_secret(connection, name, fresh))
    }

    async fn create_link(&self, hash: &SecretHash, link: &Link, hourly_max: u32) -> Result<bool, StoreError> {
        in_transaction!(self, |connection| sign_in::create_link(connection, hash, link, hourly_max))
    }

    async fn take_link(&self, hash: &SecretHash, now: Timestamp) -> Result<Option<Link>, StoreError> {
        in_transaction!(self, |connection| sign_in::take_link(connection, hash, now))
    }

    async fn create_session(&self, hash: &SecretHash, session: &Session) -> Result<(), StoreError> {
        in_transaction!(self, |connection| sign_in::create_session(connection, hash, session))
    }

    async fn session(&self, hash: &SecretHash, now: Timestamp) -> Result<Option<(Session, Account)>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        sign_in::session(&mut connection, hash, now).await
    }

    async fn end_session(&self, hash: &SecretHash) -> Result<(), StoreError> {
        in_transaction!(self, |connection| sign_in::end_session(connection, hash))
    }

    async fn identify(&self, who: &Identified, audit: &NewAudit) -> Result<SubjectAccount, StoreError> {
        // Every call with a token comes here, and nearly all of them change nothing.
        let known = accounts::known(&mut self.backend.begin(Mode::Single).await?, who).await?;
        if let Some(known) = known {
            return Ok(SubjectAccount::Known(known));
        }
        in_transaction!(self, |connection| accounts::identify(connection, who, audit))
    }

    async fn account_of_proven(
        &self,
        email: &str,
        new: Option<&NewAccount>,
        audit: &NewAudit,
    ) -> Result<Option<CreateAccount>, StoreError> {
        in_transaction!(self, |connection| accounts::of_proven(connection, email, new, audit))
    }

    async fn has_proven_email(&self, id: AccountId) -> Result<bool, StoreError> {
        accounts::is_proven(&mut self.backend.begin(Mode::Single).await?, id).await
    }

    async fn update_account(
        &self,
        id: AccountId,
        patch: &AccountPatch,
        audit: &NewAudit,
    ) -> Result<UpdateAccount, StoreError> {
        in_transaction!(self, |connection| accounts::update(connection, id, patch, audit))
    }

    async fn update_key(
        &self,
        account: AccountId,
        id: KeyId,
        patch: &KeyPatch,
        audit: &NewAudit,
    ) -> Result<Option<Key>, StoreError> {
        in_transaction!(self, |connection| keys::update(connection, account, id, patch, audit))
    }
}

#[async_trait]
impl<B: Backend> History for SqlStore<B> {
    async fn record_events(
        &self,
        events: &[UsageEvent],
        now: Timestamp,
    ) -> Result<(Vec<EventOutcome>, Vec<Change>), StoreError> {
        in_transaction!(self, |connection| events::record(connection, events, now))
    }

    async fn history(&self, query: &HistoryQuery, limit: u32) -> Result<Vec<HistoryRow>, StoreError> {
        let mut connection = self.backend.begin(Mode::Snapshot).await?;
        history::history(&mut connection, query, limit).await
    }

    async fn export(
        &self,
        account: Option<AccountId>,
        from: Timestamp,
        to: Timestamp,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ExportRow>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        export::export(&mut connection, account, from, to, after, limit).await
    }

    async fn lines(
        &self,
        account: AccountId,
        from: Timestamp,
        to: Timestamp,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<LedgerLine>, StoreError> {
        let mut connection = self.backend.begin(Mode::Snapshot).await?;
        export::lines(&mut connection, account, from, to, after, limit).await
    }

    async fn used(&self, account: AccountId, meter: Option<&MeterName>, period: Period) -> Result<u64, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        seed::used(&mut connection, account, meter, period).await
    }

    async fn credit(&self, credit: &Credit, audit: &NewAudit) -> Result<Credited, StoreError> {
        in_transaction!(self, |connection| credit::credit(connection, credit, audit))
    }

    async fn uses_since(&self, since: Timestamp, now: Timestamp, limit: u32) -> Result<Vec<PeriodUse>, StoreError> {
        let mut connection = self.backend.begin(Mode::Snapshot).await?;
        uses::since(&mut connection, since, now, limit).await
    }

    async fn request(&self, id: &str) -> Result<Option<(NodeId, RequestRow)>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        requests::find(&mut connection, id).await
    }
}

#[async_trait]
impl<B: Backend> Housekeeping for SqlStore<B> {
    async fn add_notice(&self, notice: &NewNotice) -> Result<bool, StoreError> {
        in_transaction!(self, |connection| notices::add(connection, notice))
    }

    async fn claim_notices(
        &self,
        channel: Channel,
        now: Timestamp,
        hold_us: i64,
        limit: u32,
    ) -> Result<Vec<(PendingNotice, Account)>, StoreError> {
        in_transaction!(self, |connection| notices::claim(connection, channel, now, hold_us, limit))
    }

    async fn settle_notice(&self, id: i64, channel: Channel, retry_at: Option<Timestamp>) -> Result<(), StoreError> {
        in_transaction!(self, |connection| notices::settle(connection, id, channel, retry_at))
    }

    async fn keys_expiring(
        &self,
        now: Timestamp,
        before: Timestamp,
        after: Option<KeyId>,
        limit: u32,
    ) -> Result<Vec<Key>, StoreError> {
        let mut connection = self.backend.begin(Mode::Single).await?;
        keys::expiring(&mut connection, now, before, after, limit).await
    }

    async fn prune(
        &self,
        requests_before: Timestamp,
        hours_before: Timestamp,
        now: Timestamp,
    ) -> Result<Pruned, StoreError> {
        in_transaction!(self, |connection| prune::prune(connection, requests_before, hours_before, now))
    }
}
