//! The ledger and the records, behind one trait.
//!
//! [`Store`] is what the rest of Tollgate knows: accounts, keys, usage batches, what a limiter must be
//! seeded with, the audit trail. [`SqliteStore`] keeps them in one file, [`PostgresStore`] in a database that
//! many processes share. Nothing here decides anything: rules are in the domain, and every query about an account's
//! things carries the account.

mod billing;
mod copy;
mod customers;
mod error;
mod feed;
mod postgres;
mod record;
mod sink;
mod sql;
mod sqlite;
mod store;
mod subscription_form;

pub use billing::{
    Applied, BILLING_LEASE, BilledPeriod, BilledUse, Billing, CustomerFacts, EventQuery, EventState, Fence, Fenced,
    InboxEvent, InboxState, Linked, MeterSend, NewEvent, Outcome, SendOutcome, SendState, SentUse, Settled,
    SumDifference, SumOf,
};
pub use copy::{CopiedTable, CopyReport, CopyStep, Progress, copy};
pub use customers::{
    AccountPatch, Channel, Credit, Credited, Customers, EventOutcome, ExportRow, GroupBy, History, HistoryQuery,
    HistoryRow, Housekeeping, Identified, KeyPatch, LedgerLine, Link, LinkPurpose, NewNotice, NoticeKind,
    PendingNotice, PeriodUse, Pruned, SecretHash, Session, Step, SubjectAccount, UpdateAccount, UsageEvent, charged,
};
pub use error::StoreError;
pub use feed::Feed;
pub use postgres::{Migrated, PostgresSettings, PostgresStore};
pub use record::{
    AuditEntry, AuditQuery, Change, ChangeSink, Idempotency, IdempotentAnswer, ImportReport, ImportedAccount,
    ImportedKey, KeyWithAccount, NewAccount, NewAudit, NewKey, OutboxEntry, Page, QuotaUsed, SavedState, SeedQuery,
};
pub use sink::{Direct, KeyRecords, UsageSink};
pub use sqlite::{SqliteSettings, SqliteStore};
pub use store::{CreateAccount, CreateKey, RotateKey, Store};
pub use subscription_form::SubscriptionForm;

/// All that the control plane asks of a store.
pub trait AdminStore: Store + Customers + History + Housekeeping + Billing {}

impl<T: Store + Customers + History + Housekeeping + Billing + ?Sized> AdminStore for T {}
