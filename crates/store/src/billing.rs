//! What billing asks of the store: the inbox of what Stripe has told, the facts that came of it, and which metered use
//! Stripe has been told of.
//!
//! One process at a time works on them. It holds a lease, and whatever it writes names the lease's epoch: once another
//! process holds a later one, nothing of the earlier one's is written any more.

use async_trait::async_trait;
use tollgate_domain::{Account, AccountId, MeterName, Period, PlanTable, Subscription, Timestamp};

use crate::error::StoreError;
use crate::record::{Change, NewAudit, Page};

/// The lease whose epoch every [`Fence`] is.
pub const BILLING_LEASE: &str = "billing";

/// What Stripe told, verified and not yet heeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Its id at Stripe: one that is known is not stored again.
    pub id: String,
    /// Its kind, such as `invoice.paid`.
    pub kind: String,
    /// Whose facts it changes: the customer's id, or the object's where it names none.
    pub subject: String,
    /// The id of the object it tells of.
    pub object: String,
    /// The account it names, where it names one: `client_reference_id`, or the metadata of what Tollgate made.
    pub account: Option<AccountId>,
    /// When it happened, as Stripe says.
    pub created_at: Timestamp,
    /// Now.
    pub received_at: Timestamp,
    /// As it came.
    pub payload: String,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventState {
    /// To be heeded.
    Pending,
    /// Heeded.
    Done,
    /// Given up: a person must look at it.
    Dead,
}

impl EventState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }

    /// The state of this word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Done, Self::Dead].into_iter().find(|state| state.as_str() == text)
    }
}

/// An event in the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxEvent {
    /// What Stripe told; the account is the one it was heeded for, once it was.
    pub event: NewEvent,
    /// What became of it.
    pub state: EventState,
    /// Attempts that failed.
    pub attempts: u32,
    /// When it is, or was, to be tried next.
    pub due_at: Timestamp,
    /// When it was heeded or given up.
    pub settled_at: Option<Timestamp>,
    /// What was noticed: why it failed, or what somebody should know.
    pub note: Option<String>,
}

/// Which events of the inbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Only these.
    pub state: Option<EventState>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only of this account.
    pub account: Option<AccountId>,
    /// Only what was received before this event, which is the last of the page before.
    pub before: Option<(Timestamp, String)>,
}

/// How the inbox stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboxState {
    /// Events to be heeded.
    pub pending: u64,
    /// Events given up.
    pub dead: u64,
    /// When the oldest that is to be heeded was received.
    pub oldest_pending: Option<Timestamp>,
}

/// The right to write: the epoch of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence(pub i64);

/// What became of something that needed the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fenced<T> {
    /// Written.
    Done(T),
    /// Another process holds the lease; nothing was written.
    Lost,
}

/// An event, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Its id.
    pub id: String,
    /// How.
    pub outcome: Outcome,
}

/// How an event ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Heeded, and what somebody should know of it.
    Done {
        /// Such as an unknown price.
        note: Option<String>,
    },
    /// To be tried again.
    Retry {
        /// When.
        at: Timestamp,
        /// Why.
        note: String,
        /// Whether it counts as an attempt that failed. It does not where Stripe could not be asked at all.
        counted: bool,
    },
    /// Given up.
    Dead {
        /// Why, and what to do.
        note: String,
    },
}

/// All that Stripe says of a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomerFacts {
    /// Whose.
    pub account: AccountId,
    /// The customer at Stripe.
    pub customer: String,
    /// Every subscription of this customer.
    pub subscriptions: Vec<Subscription>,
    /// The beginnings of periods that a paid invoice opened.
    pub paid_periods: Vec<Timestamp>,
    /// The events that are heeded by this.
    pub settled: Vec<Settled>,
}

/// How facts were taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one is made by an event and taken apart at once")]
pub enum Applied {
    /// Written.
    Applied {
        /// The account before.
        before: Account,
        /// And now.
        after: Account,
        /// What the gateways must hear; none where nothing changed.
        changes: Vec<Change>,
    },
    /// The account is another customer's; nothing was written.
    OtherCustomer {
        /// Whose.
        customer: String,
    },
    /// The customer is another account's; nothing was written.
    OtherAccount(AccountId),
    /// There is no such account, or it was deleted; nothing was written.
    NoAccount,
}

/// How the linking of a customer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one is made by a call of a customer and taken apart at once")]
pub enum Linked {
    /// The account is this customer's now, or was before.
    Linked(Account),
    /// The account is another customer's.
    OtherCustomer {
        /// Whose.
        customer: String,
    },
    /// The customer is another account's.
    OtherAccount(AccountId),
    /// There is no such account, or it was deleted.
    NoAccount,
}

/// A meter, or calls, that Stripe is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BilledUse {
    /// Of what; `None` for calls.
    pub meter: Option<MeterName>,
    /// What Stripe's meter calls its events.
    pub event_name: String,
}

/// Metered use to be told to Stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterSend {
    /// What lets Stripe count it once.
    pub identifier: String,
    /// Whose.
    pub account: AccountId,
    /// The customer at Stripe.
    pub customer: String,
    /// Of what; `None` for calls.
    pub meter: Option<MeterName>,
    /// What Stripe's meter calls its events.
    pub event_name: String,
    /// The period it is billed in.
    pub period: Period,
    /// How many units.
    pub units: u64,
    /// When they were used, which lies in the period: what Stripe is told, or was told when it was last tried.
    pub at: Timestamp,
    /// How it stands.
    pub state: SendState,
    /// When it was first tried.
    pub first_tried_at: Option<Timestamp>,
    /// When Stripe was known to have it.
    pub sent_at: Option<Timestamp>,
    /// Attempts that failed.
    pub attempts: u32,
    /// Why it failed.
    pub note: Option<String>,
}

/// How the telling of metered use stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SendState {
    /// To be sent.
    Pending,
    /// Stripe has it.
    Sent,
    /// Given up: a person must look at it.
    Failed,
}

impl SendState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Failed => "failed",
        }
    }

    /// The state of this word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Sent, Self::Failed].into_iter().find(|state| state.as_str() == text)
    }
}

/// How an attempt to send ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// Stripe has it.
    Sent,
    /// To be tried again, with the same identifier.
    Retry {
        /// When.
        at: Timestamp,
        /// Why.
        note: String,
    },
    /// Given up.
    Failed {
        /// Why, and what to do.
        note: String,
    },
}

/// What the ledger and the sends say of one account's use in one period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BilledPeriod {
    /// Whose.
    pub account: AccountId,
    /// The customer at Stripe.
    pub customer: String,
    /// Of what; `None` for calls.
    pub meter: Option<MeterName>,
    /// When.
    pub period: Period,
    /// Units to be billed by the ledger: charged less given back, and what a paid invoice took out of the quota.
    pub ledger: i64,
    /// Units in sends of any state.
    pub planned: u64,
    /// Units in sends that Stripe has.
    pub sent: u64,
    /// Units in sends that were given up.
    pub failed: u64,
    /// When its use last changed.
    pub newest: Timestamp,
}

/// What Stripe was told of an account's use, by the timestamps it was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentUse {
    /// Units in sends that Stripe has.
    pub sent: u64,
    /// Units in sends that were tried and that Stripe is not known to have.
    pub doubtful: u64,
    /// When the last of those that it has was known to be there.
    pub newest: Option<Timestamp>,
}

/// A sum that is not what the ledger's lines add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SumDifference {
    /// Whose.
    pub account: AccountId,
    /// Of what; `None` for calls.
    pub meter: Option<MeterName>,
    /// Which sum.
    pub of: SumOf,
    /// Charged less given back, by the ledger's lines.
    pub lines: i64,
    /// Charged less given back, by the sum.
    pub sum: i64,
}

/// What the ledger's lines are added up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SumOf {
    /// The period they were charged in.
    Period(Period),
    /// The hour (UTC) that begins then.
    Hour(Timestamp),
}

/// Inbox, facts, and metered use.
#[async_trait]
pub trait Billing: Send + Sync {
    /// Stores an event once: true when it was new.
    async fn receive_event(&self, event: &NewEvent) -> Result<bool, StoreError>;

    /// Events, newest first, at most `limit`.
    async fn inbox(&self, query: &EventQuery, limit: u32) -> Result<Page<InboxEvent>, StoreError>;

    /// The event of this id.
    async fn inbox_event(&self, id: &str) -> Result<Option<InboxEvent>, StoreError>;

    /// How many events wait.
    async fn inbox_state(&self) -> Result<InboxState, StoreError>;

    /// Puts an event back to be heeded, whatever became of it; the event as it is then.
    async fn replay_event(&self, id: &str, audit: &NewAudit) -> Result<Option<InboxEvent>, StoreError>;

    /// Throws away events that were heeded before this instant, at most some thousands a call; how many.
    async fn prune_inbox(&self, before: Timestamp) -> Result<u64, StoreError>;

    /// Takes the lease of this name for `holder`, or renews it, until `until`; `None` while another holds it. The epoch
    /// is a new one whenever the holder changes.
    async fn hold_lease(
        &self,
        name: &str,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Fence>, StoreError>;

    /// Lets a lease go.
    async fn release_lease(&self, name: &str, holder: &str) -> Result<(), StoreError>;

    /// Events that are due, oldest first.
    async fn due_events(&self, now: Timestamp, limit: u32) -> Result<Vec<InboxEvent>, StoreError>;

    /// Events of this subject that are due, oldest first: whatever is read of a customer now heeds all of them.
    async fn due_events_of(&self, subject: &str, now: Timestamp, limit: u32) -> Result<Vec<InboxEvent>, StoreError>;

    /// Settles events whose facts are nobody's.
    async fn settle_events(&self, fence: Fence, settled: &[Settled], now: Timestamp) -> Result<Fenced<()>, StoreError>;

    /// Takes all that Stripe says of a customer in place of what was known, in one transaction: the account's customer,
    /// its subscriptions, the events that brought it, the audit trail, the news for the gateways. Where that moves the
    /// account's open quota period under `plans` to a later one that it overlaps and that a paid invoice opened, what was
    /// used before in the earlier one is credited there, and remembered as used for billing.
    async fn apply_facts(
        &self,
        fence: Fence,
        facts: &CustomerFacts,
        plans: &PlanTable,
        audit: &NewAudit,
    ) -> Result<Fenced<Applied>, StoreError>;

    /// The account of a customer, unless it was deleted.
    async fn account_of_customer(&self, customer: &str) -> Result<Option<Account>, StoreError>;

    /// The account that this customer's was when it was deleted, the newest of several.
    async fn deleted_account_of_customer(&self, customer: &str) -> Result<Option<Account>, StoreError>;

    /// Links an account to the customer that was made for it.
    async fn link_customer(&self, account: AccountId, customer: &str, audit: &NewAudit) -> Result<Linked, StoreError>;

    /// Accounts with a customer or a subscription at Stripe, in order of id, after this one, with when their facts were
    /// last read.
    async fn billed_accounts(
        &self,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Page<(Account, Option<Timestamp>)>, StoreError>;

    /// Plans sends for use that Stripe has not been told of, in periods that changed since `since`, at most `limit` at a
    /// time, those of periods that are over first; how many it planned. What is given back lowers the next send of its
    /// period; a period never falls below what was planned. A period that has a send that is still pending gets no other:
    /// at most one is under way, so that whether Stripe has it can be told from its sums. A period that goes on gets its
    /// next one once its last is as old as it was when that was planned, `rest_us` microseconds at most; 0 is no rest.
    /// Only of accounts with a customer, and only use from their first subscription on: of a period that begins before the
    /// earliest `created_at` of the account's subscriptions, lines of the ledger from before that are left out; an account
    /// that never had a subscription is not billed. Nor is what was counted elsewhere and imported.
    async fn plan_sends(
        &self,
        fence: Fence,
        billed: &[BilledUse],
        since: Timestamp,
        now: Timestamp,
        rest_us: i64,
        limit: u32,
    ) -> Result<Fenced<u64>, StoreError>;

    /// Puts what Stripe has of each period that ended before this instant into its last send, of some hundred periods a
    /// call; how many periods. Their sums stay; what was told when does not.
    async fn fold_sends(&self, fence: Fence, ended_before: Timestamp) -> Result<Fenced<u64>, StoreError>;

    /// Sends that are due, oldest first.
    async fn due_sends(&self, now: Timestamp, limit: u32) -> Result<Vec<MeterSend>, StoreError>;

    /// Notes that these are about to be tried, each with the timestamp that Stripe is told: from then on it may have
    /// them. When one was first tried stays.
    async fn note_tries(
        &self,
        fence: Fence,
        tries: &[(String, Timestamp)],
        now: Timestamp,
    ) -> Result<Fenced<()>, StoreError>;

    /// Notes how attempts ended. [`SendOutcome::Retry`] puts one that was given up back too; one that Stripe has stays so.
    async fn settle_sends(
        &self,
        fence: Fence,
        settled: &[(String, SendOutcome)],
        now: Timestamp,
    ) -> Result<Fenced<()>, StoreError>;

    /// The sends of one account's period, oldest first.
    async fn sends_of(
        &self,
        account: AccountId,
        meter: Option<&MeterName>,
        period: Period,
    ) -> Result<Vec<MeterSend>, StoreError>;

    /// What Stripe was told of an account's use, in sends whose timestamps lie in this stretch.
    async fn sent_between(
        &self,
        account: AccountId,
        meter: Option<&MeterName>,
        stretch: Period,
    ) -> Result<SentUse, StoreError>;

    /// How ledger and sends stand for each billed account, meter and period that changed since `since`, after the last of
    /// the page before: what [`Billing::plan_sends`] looks at.
    async fn billed_periods(
        &self,
        billed: &[BilledUse],
        since: Timestamp,
        after: Option<&BilledPeriod>,
        limit: u32,
    ) -> Result<Page<BilledPeriod>, StoreError>;

    /// For each node the numbers of batches that are missing between the first and the last that are stored, at most
    /// `limit` of them: calls that a gateway counted and the ledger does not hold.
    async fn missing_batches(&self, limit: u32) -> Result<Vec<(String, i64)>, StoreError>;

    /// Where sums are not what the ledger's lines add up to, of the next `limit` accounts in order of id after this one:
    /// every period's, and those of hours from `hours_since` on, which is before none that was thrown away. With the last
    /// account looked at, `None` once there is no other.
    async fn sum_differences(
        &self,
        hours_since: Timestamp,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<(Vec<SumDifference>, Option<AccountId>), StoreError>;

    /// Keeps a line of the audit trail that belongs to no one change.
    async fn keep_audit(&self, audit: &NewAudit) -> Result<(), StoreError>;

    /// Keeps a change to be told, where the store keeps an outbox: one that nothing was written for beside it.
    async fn keep_change(&self, change: &Change, now: Timestamp) -> Result<(), StoreError>;
}
