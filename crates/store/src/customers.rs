//! What customers do with a store themselves: sign in, change what is theirs, report usage, look back at it; and what
//! is told to them.
//!
//! Everything here takes the account it is about: nobody reaches another's rows. As in [`crate::Store`], a mutation is
//! whole or not at all, with its audit line and its news for the gateways in the same transaction.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tollgate_domain::{
    Account, AccountId, Charged, Glob, IpRules, Key, KeyId, MeterName, NodeId, Period, RequestRow, Timestamp,
};

use crate::error::StoreError;
use crate::record::{Change, NewAccount, NewAudit};
use crate::store::CreateAccount;

/// SHA-256 of a secret that is handed out once: a mailed link's token, a session's id.
pub type SecretHash = [u8; 32];

/// What a mailed link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkPurpose {
    /// Signs its address in; makes the account if it is new.
    SignIn,
    /// Puts its address in place of the account's.
    NewEmail,
}

/// A one-time link, as mailed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What it is for.
    pub purpose: LinkPurpose,
    /// Where it was mailed to.
    pub email: String,
    /// Whose address it changes; `None` for a sign-in.
    pub account: Option<AccountId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it opens nothing.
    pub expires_at: Timestamp,
}

/// Somebody who signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Who.
    pub account: AccountId,
    /// When.
    pub created_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
}

/// What a token of the backend's own says of who signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// The token's subject.
    pub subject: String,
    /// Its e-mail.
    pub email: String,
    /// Whether the backend vouches for the e-mail.
    pub email_verified: bool,
    /// Its name.
    pub name: Option<String>,
    /// The id the account gets if it is new.
    pub account_id_if_new: AccountId,
    /// Now.
    pub at: Timestamp,
}

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectAccount {
    /// The subject's account, as it was.
    Known(Account),
    /// It joined the account of its verified e-mail.
    Joined(Account),
    /// It was made.
    Created(Account),
    /// Another account has the e-mail, and this token does not prove that it is its owner's, or the account is another
    /// subject's; nothing was changed.
    EmailTaken,
}

/// What of an account is changed; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountPatch {
    /// What it is called; the inner `None` takes the name away.
    pub name: Option<Option<String>>,
    /// How its owner is reached; proven before.
    pub email: Option<String>,
}

/// How the change of an account ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one is made by a call of a customer and taken apart at once")]
pub enum UpdateAccount {
    /// As it is now.
    Updated(Account),
    /// Another account has the e-mail; nothing was changed.
    EmailTaken,
    /// There is none, or it was deleted.
    NoAccount,
}

/// What of a key is changed; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPatch {
    /// What it is called; the inner `None` takes the name away.
    pub name: Option<Option<String>>,
    /// The routes it may call.
    pub scopes: Option<Vec<Glob>>,
    /// Whether it may only read.
    pub read_only: Option<bool>,
    /// Where it may be used from.
    pub ip_rules: Option<IpRules>,
    /// From when on it is refused; the inner `None` is never.
    pub expires_at: Option<Option<Timestamp>>,
    /// Units it may use a period; the inner `None` is no cap of its own.
    pub cap: Option<Option<u64>>,
}

/// Something that was used, as a backend or a customer reports it after the fact.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageEvent {
    /// Its id, unique in its account: one that is known is not counted again.
    pub id: String,
    /// Who used it.
    pub account: AccountId,
    /// The key it is counted for, if any.
    pub key: Option<KeyId>,
    /// Units of each meter; at least one.
    pub meters: BTreeMap<MeterName, u64>,
    /// When it happened.
    pub at: Timestamp,
    /// The period its units are charged in: the one open now.
    pub period: Period,
    /// What histories are grouped and filtered by.
    pub dimensions: BTreeMap<String, String>,
    /// Kept as it came.
    pub metadata: serde_json::Value,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventOutcome {
    /// Counted.
    Recorded,
    /// Known already, with the same content: not counted again.
    Known,
    /// Its id is known with another content; not counted.
    Conflict,
}

/// How long each point of a history is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An hour.
    Hour,
    /// A day, UTC.
    Day,
    /// A calendar month, UTC.
    Month,
}

/// What the rows of a history are told apart by, beside time and meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// Nothing more.
    Nothing,
    /// The route.
    Route,
    /// The key.
    Key,
    /// The status class.
    Status,
    /// A dimension of reported events; calls have none and are left out.
    Dimension(String),
}

/// Which part of an account's past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Whose.
    pub account: AccountId,
    /// From, inclusive; laid on the step's beginning.
    pub from: Timestamp,
    /// To, exclusive.
    pub to: Timestamp,
    /// How long each point is.
    pub step: Step,
    /// What rows are told apart by.
    pub group_by: GroupBy,
    /// Only calls (`Some(None)`), only this meter, or everything (`None`).
    pub meter: Option<Option<MeterName>>,
    /// Only this key.
    pub key: Option<KeyId>,
    /// Only this route.
    pub route: Option<String>,
    /// Only events whose dimensions have these values; then calls are left out.
    pub dimensions: BTreeMap<String, String>,
}

/// One point of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// Its beginning.
    pub at: Timestamp,
    /// The meter; `None` for calls.
    pub meter: Option<MeterName>,
    /// What it is grouped by, as text; empty where an event lacks the dimension.
    pub group: Option<String>,
    /// Calls, or events.
    pub calls: u64,
    /// Units charged, less what was given back; below zero where more was given back than charged then.
    pub units: i64,
    /// Units given back, by refunds and credits.
    pub units_refunded: u64,
}

/// Units to be given back to an account by an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Whose.
    pub account: AccountId,
    /// The meter; `None` for calls.
    pub meter: Option<MeterName>,
    /// The period that is open.
    pub period: Period,
    /// How many; `None` gives back all that is used.
    pub units: Option<u64>,
    /// Now.
    pub at: Timestamp,
}

/// How a credit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credited {
    /// So many units are used no more.
    Credited {
        /// Given back.
        units: u64,
        /// Used before.
        used_before: u64,
        /// What the gateways must hear; `None` where nothing was used.
        change: Option<Change>,
    },
    /// Fewer units are used than were to be given back; nothing was changed.
    MoreThanUsed {
        /// Used.
        used: u64,
    },
}

/// What an account used of one quota in one period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodUse {
    /// Who.
    pub account: AccountId,
    /// Of what; `None` for calls.
    pub meter: Option<MeterName>,
    /// When.
    pub period: Period,
    /// Charged less refunded and credited.
    pub used: u64,
    /// When it last changed.
    pub newest: Timestamp,
}

/// What a customer is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeKind {
    /// So many hundredths of a quota are used.
    QuotaUsed {
        /// Of what; `None` for calls.
        meter: Option<MeterName>,
        /// 75, 90, 100, ….
        percent: u32,
    },
    /// A key expires soon.
    KeyExpires {
        /// Which.
        key: KeyId,
    },
}

/// A notice to be given, once for its account, kind and `of`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNotice {
    /// To whom.
    pub account: AccountId,
    /// About what.
    pub kind: NoticeKind,
    /// The period's beginning, or the key's expiry: with account and kind it makes a notice unique.
    pub of: Timestamp,
    /// Facts of it as JSON, as the webhook sends them.
    pub detail: serde_json::Value,
    /// Now.
    pub at: Timestamp,
    /// Whether it is to be mailed.
    pub mail: bool,
    /// Whether it is to be sent to the webhook.
    pub webhook: bool,
}

/// How a notice travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// By mail.
    Mail,
    /// By signed webhook.
    Webhook,
}

/// A notice that has not been delivered on some channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingNotice {
    /// Its number.
    pub id: i64,
    /// What it says.
    pub notice: NewNotice,
    /// Attempts so far that failed.
    pub failures: u32,
}

/// What was thrown away because its time is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Rows of the request log.
    pub requests: u64,
    /// Hourly rollups, and dimensions of events.
    pub hours: u64,
    /// Links and sessions.
    pub sign_ins: u64,
}

/// Signing in, and what customers change themselves.
#[async_trait]
pub trait Customers: Send + Sync {
    /// A secret of this name that all processes of the deployment share: `fresh` becomes it if there is none yet.
    async fn shared_secret(&self, name: &str, fresh: &[u8; 32]) -> Result<[u8; 32], StoreError>;

    /// Keeps a link, unless its address was sent `hourly_max` within the hour before: then false.
    async fn create_link(&self, hash: &SecretHash, link: &Link, hourly_max: u32) -> Result<bool, StoreError>;

    /// Takes a link out, if it is there and has not expired: it works once.
    async fn take_link(&self, hash: &SecretHash, now: Timestamp) -> Result<Option<Link>, StoreError>;

    /// Keeps a session.
    async fn create_session(&self, hash: &SecretHash, session: &Session) -> Result<(), StoreError>;

    /// The session and its account, unless it has expired or the account was deleted.
    async fn session(&self, hash: &SecretHash, now: Timestamp) -> Result<Option<(Session, Account)>, StoreError>;

    /// Ends a session.
    async fn end_session(&self, hash: &SecretHash) -> Result<(), StoreError>;

    /// The account of a token's subject: known, joined by its verified e-mail, or made. One that is made goes by the
    /// token's e-mail, but where that is not verified, only until somebody else proves to own it.
    async fn identify(&self, who: &Identified, audit: &NewAudit) -> Result<SubjectAccount, StoreError>;

    /// The account of an e-mail that its owner has just proven; with `new`, one is made where none was proven to have it.
    /// An account that a token made, without vouching for the e-mail, is not its owner's: it goes by it no more.
    async fn account_of_proven(
        &self,
        email: &str,
        new: Option<&NewAccount>,
        audit: &NewAudit,
    ) -> Result<Option<CreateAccount>, StoreError>;

    /// Whether somebody has proven that the account's e-mail is its owner's: by a mailed link, by a token that vouches for
    /// it, or an operator said so.
    async fn has_proven_email(&self, id: AccountId) -> Result<bool, StoreError>;

    /// Changes an account. An e-mail, which was proven before, is taken from an account that only claims it.
    async fn update_account(
        &self,
        id: AccountId,
        patch: &AccountPatch,
        audit: &NewAudit,
    ) -> Result<UpdateAccount, StoreError>;

    /// Changes a key of this account; the key as it is then. A key that does not work any more is not changed.
    async fn update_key(
        &self,
        account: AccountId,
        id: KeyId,
        patch: &KeyPatch,
        audit: &NewAudit,
    ) -> Result<Option<Key>, StoreError>;
}

/// What was used: reported, corrected, looked back at.
#[async_trait]
pub trait History: Send + Sync {
    /// Counts reported events, each once, all in one transaction: ledger lines, rollups, news for the gateways. An event
    /// is known again by its key, meters, dimensions and metadata, not by its time, which may not be its own. Of an
    /// account that was deleted, dimensions and metadata are not kept.
    async fn record_events(
        &self,
        events: &[UsageEvent],
        now: Timestamp,
    ) -> Result<(Vec<EventOutcome>, Vec<Change>), StoreError>;

    /// An account's past, in order of time, meter and group, at most `limit` rows.
    async fn history(&self, query: &HistoryQuery, limit: u32) -> Result<Vec<HistoryRow>, StoreError>;

    /// Everything charged in the ledger between two instants, by account and by hour, meter, route, key and status, for
    /// exports: rows after `after`, which is the place of the last row of the page before.
    async fn export(
        &self,
        account: Option<AccountId>,
        from: Timestamp,
        to: Timestamp,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ExportRow>, StoreError>;

    /// The ledger's own lines of an account between two instants, oldest first, after the line `after`: what it used as
    /// finely as that is known. After a line that is not this account's there is nothing.
    async fn lines(
        &self,
        account: AccountId,
        from: Timestamp,
        to: Timestamp,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<LedgerLine>, StoreError>;

    /// Units used in a period of a meter, or of calls: charged less refunded and credited, in entries whose period
    /// overlaps the one asked for.
    async fn used(&self, account: AccountId, meter: Option<&MeterName>, period: Period) -> Result<u64, StoreError>;

    /// Gives units back, as an entry of the ledger. Where nothing is used, nothing is written.
    async fn credit(&self, credit: &Credit, audit: &NewAudit) -> Result<Credited, StoreError>;

    /// Periods whose use changed since, that are not over at `now`, in order of change: `limit` of them or some more, so
    /// that all that changed at one instant come together. A batch that was long under way changes them as of its end.
    async fn uses_since(&self, since: Timestamp, now: Timestamp, limit: u32) -> Result<Vec<PeriodUse>, StoreError>;

    /// The kept row of a request, by its id.
    async fn request(&self, id: &str) -> Result<Option<(NodeId, RequestRow)>, StoreError>;
}

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerLine {
    /// Its place.
    pub place: i64,
    /// Not before its last call.
    pub at: Timestamp,
    /// The meter; `None` for calls.
    pub meter: Option<MeterName>,
    /// The key; `None` for what no key did.
    pub key: Option<KeyId>,
    /// The route; `None` for what no route did, such as a reported event.
    pub route: Option<String>,
    /// Calls, or events.
    pub calls: u64,
    /// Units debited from bucket and windows.
    pub units_debited: u64,
    /// Units charged less those given back.
    pub units: i64,
    /// The period they were charged in.
    pub period: Period,
}

/// One row of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRow {
    /// Its place, to be named for the next page.
    pub place: String,
    /// Whose.
    pub account: AccountId,
    /// The hour.
    pub hour: Timestamp,
    /// The meter; `None` for calls.
    pub meter: Option<MeterName>,
    /// The key; `None` for what no key did.
    pub key: Option<KeyId>,
    /// The route; empty for what no route did.
    pub route: String,
    /// The status class; empty for what has none.
    pub status: String,
    /// Calls, or events.
    pub calls: u64,
    /// Units charged.
    pub units_charged: u64,
    /// Units given back.
    pub units_refunded: u64,
}

impl ExportRow {
    /// Whether a text is the place of some row: an export after one that is not gives nothing.
    pub fn is_place(text: &str) -> bool {
        crate::sql::export::is_place(text)
    }
}

/// What customers are told, once each, and what is thrown away.
#[async_trait]
pub trait Housekeeping: Send + Sync {
    /// Keeps a notice; false when it was there already, or its account was deleted.
    async fn add_notice(&self, notice: &NewNotice) -> Result<bool, StoreError>;

    /// Notices that are due on a channel, oldest first, with the account they are for. Two processes that ask at the same
    /// time are not given the same one within `hold_us` microseconds.
    async fn claim_notices(
        &self,
        channel: Channel,
        now: Timestamp,
        hold_us: i64,
        limit: u32,
    ) -> Result<Vec<(PendingNotice, Account)>, StoreError>;

    /// Marks a notice as delivered on a channel, or, with `retry_at`, as to be tried again then.
    async fn settle_notice(&self, id: i64, channel: Channel, retry_at: Option<Timestamp>) -> Result<(), StoreError>;

    /// Keys that work now and expire before `before`, in order of id.
    async fn keys_expiring(
        &self,
        now: Timestamp,
        before: Timestamp,
        after: Option<KeyId>,
        limit: u32,
    ) -> Result<Vec<Key>, StoreError>;

    /// Throws away rows of the request log, and hourly rollups with the dimensions of events, from before these instants,
    /// and sign-ins that have expired, at most some thousands a call. Rollups of the last 32 days stay in any case: limits
    /// are rebuilt from them.
    async fn prune(
        &self,
        requests_before: Timestamp,
        hours_before: Timestamp,
        now: Timestamp,
    ) -> Result<Pruned, StoreError>;
}

/// Which of an account's quotas a meter is.
pub fn charged(meter: Option<&MeterName>, key: Option<KeyId>) -> Charged {
    match meter {
        Some(meter) => Charged::Meter(meter.id()),
        None => Charged::Calls { key },
    }
}
