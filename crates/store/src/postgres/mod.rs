//! [`PostgresStore`]: the store in a `PostgreSQL` database that any number of processes share.
//!
//! This module owns the pool of connections, and how a process claims the database. What is asked of it is not known
//! here.

mod claim;
mod open;
mod session;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use sqlx::PgPool;
use tokio::runtime::Handle;

use crate::error::StoreError;
use crate::sql::{Backend, Connection, Mode, SqlStore, facts};

use claim::Claim;

pub(crate) use session::Session;

/// Accounts, keys, ledger and audit in a `PostgreSQL` database.
pub type PostgresStore = SqlStore<Postgres>;

/// How a `PostgreSQL` database is reached and used.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresSettings {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, with `sslmode` and the like as parameters. Never shown.
    pub url: String,
    /// Connections at most, beside one that holds the claim on the database.
    pub connections: u32,
    /// How long a call waits for a connection before it is told that the database does not answer.
    pub acquire_timeout: Duration,
    /// How long one statement may take.
    pub statement_timeout: Duration,
    /// Whether changes are kept in the outbox for a fleet to hear of. One that nobody reads would only grow.
    pub outbox: bool,
    /// Whether no other process may use the database meanwhile.
    pub exclusive: bool,
}

impl PostgresSettings {
    /// A database that is shared with other processes: 8 connections, 2 s for each wait, an outbox.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connections: 8,
            acquire_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(2),
            outbox: true,
            exclusive: false,
        }
    }
}

impl std::fmt::Debug for PostgresSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PostgresSettings")
            .field("url", &"…")
            .field("connections", &self.connections)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("outbox", &self.outbox)
            .field("exclusive", &self.exclusive)
            .finish()
    }
}

/// A `PostgreSQL` database that is open.
pub struct Postgres {
    pool: PgPool,
    claim: Claim,
    /// How long a statement is waited for: a little longer than the server lets it run.
    bound: Duration,
    keeps_outbox: bool,
    /// Where the connections live.
    home: Handle,
}

impl SqlStore<Postgres> {
    /// Opens the database and brings it up to date. Its connections live on the runtime that this is called on, which
    /// must run as long as the store is used, from whatever runtimes.
    ///
    /// # Errors
    /// In one line, without the password: [`StoreError::Unusable`] for what a person must change (the URL, the login,
    /// the server's version or encoding, a newer schema, another process that claims the database),
    /// [`StoreError::Unavailable`] where nothing answers.
    pub async fn open(settings: PostgresSettings) -> Result<Self, StoreError> {
        let store = Self { backend: open::open(&settings).await? };
        facts::refuse_unfinished_copy(&mut store.backend.begin(Mode::Single).await?).await?;
        Ok(store)
    }

    /// As [`Self::open`], but a server that does not answer is no error: calls fail until it does. For a process that
    /// does something useful meanwhile; what brings the database up to date is another one's business then.
    ///
    /// # Errors
    /// As [`Self::open`], but for [`StoreError::Unavailable`].
    pub async fn open_or_await(settings: PostgresSettings) -> Result<Self, StoreError> {
        match Self::open(settings.clone()).await {
            Err(StoreError::Unavailable(error)) if !settings.exclusive => {
                tracing::warn!(%error, "the database does not answer; it is used once it does");
                Ok(Self { backend: open::later(&settings)? })
            }
            opened => opened,
        }
    }

    /// As [`Self::open`] for one process alone, also where a copy into it was not finished.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_for_copy(settings: PostgresSettings) -> Result<Self, StoreError> {
        Ok(Self { backend: open::open(&PostgresSettings { exclusive: true, ..settings }).await? })
    }

    /// Brings the database up to date and lets go of it. The number of its schema before and after.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn migrate(settings: &PostgresSettings) -> Result<Migrated, StoreError> {
        open::migrate(settings).await
    }

    /// Waits for calls under way, then lets go of the database. Later calls fail.
    pub async fn close(&self) {
        self.backend.pool.close().await;
        self.backend.claim.give_up().await;
    }
}

/// What a migration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The number of the schema that was found; 0 where there was none.
    pub from: i64,
    /// The number of the schema that is there now.
    pub to: i64,
}

impl std::fmt::Debug for SqlStore<Postgres> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("PostgresStore")
    }
}

#[async_trait]
impl Backend for Postgres {
    async fn begin(&self, mode: Mode) -> Result<Connection, StoreError> {
        self.claim.check()?;
        let session = Session::begin(&self.pool, &self.home, self.bound, mode).await?;
        Ok(Connection::postgres(session, self.keeps_outbox))
    }
}
