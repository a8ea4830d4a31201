//! The ledger and the records, behind one trait.
//!
//! [`Store`] is what the rest of Tollgate knows: accounts, keys, usage batches, what a limiter must be
//! seeded with, the audit trail. [`SqliteStore`] keeps them in one file. Nothing here decides anything:
//! rules are in the domain, and every query about an account's things carries the account.

mod error;
mod record;
mod sqlite;
mod store;

pub use error::StoreError;
pub use record::{
    AuditEntry, AuditQuery, Change, ChangeSink, Idempotency, IdempotentAnswer, ImportReport, ImportedAccount,
    ImportedKey, KeyWithAccount, NewAccount, NewAudit, NewKey, Page, QuotaUsed, SavedState, SeedQuery,
};
pub use sqlite::SqliteStore;
pub use store::{CreateAccount, CreateKey, RotateKey, Store};
