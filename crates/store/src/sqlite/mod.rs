//! [`SqliteStore`]: the store in one `SQLite` file, or in memory for tests.
//!
//! This module owns the connections. What is asked of them is not known here. One connection writes, so that writers
//! wait for each other here and never meet a locked database; a few others read.

mod lock;
mod open;
#[cfg(test)]
mod tests;

use std::path::Path;

use async_trait::async_trait;
use sqlx::SqlitePool;

use crate::error::StoreError;
use crate::sql::{Backend, Connection, Mode, SqlStore, facts, failed};

use lock::FileLock;

/// Accounts, keys, ledger and audit in one `SQLite` file that no other process uses.
pub type SqliteStore = SqlStore<Sqlite>;

/// A `SQLite` file that is open.
pub struct Sqlite {
    writer: SqlitePool,
    reader: SqlitePool,
    keeps_outbox: bool,
    /// Held for the store's life, and let go after the connections.
    _lock: Option<FileLock>,
}

/// How a `SQLite` file is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SqliteSettings {
    /// Whether changes are kept in the outbox for a fleet to hear of. One that nobody reads would only grow.
    pub outbox: bool,
}

impl SqlStore<Sqlite> {
    /// Opens the database in this file, made with mode 0600 if it is missing, and brings it up to date.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] says in one line what is in the way: the folder, the permissions, another process
    /// that uses the file, a file that is no database, is damaged, or was made by a newer version. Such a file is
    /// left as it is.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, SqliteSettings::default()).await
    }

    /// As [`Self::open`], with settings.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_with(path: &Path, settings: SqliteSettings) -> Result<Self, StoreError> {
        let store = Self::open_any(path, settings).await?;
        facts::refuse_unfinished_copy(&mut store.backend.begin(Mode::Single).await?).await?;
        Ok(store)
    }

    /// As [`Self::open_with`], also where a copy into it was not finished.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_for_copy(path: &Path) -> Result<Self, StoreError> {
        Self::open_any(path, SqliteSettings::default()).await
    }

    async fn open_any(path: &Path, settings: SqliteSettings) -> Result<Self, StoreError> {
        Ok(Self { backend: open::open(path, settings).await? })
    }

    /// Opens an empty database that is gone when the store is.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_in_memory() -> Result<Self, StoreError> {
        Self::open_in_memory_with(SqliteSettings::default()).await
    }

    /// As [`Self::open_in_memory`], with settings.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_in_memory_with(settings: SqliteSettings) -> Result<Self, StoreError> {
        Ok(Self { backend: open::open_in_memory(settings).await? })
    }

    /// Waits for calls under way, then closes the file and folds its write-ahead log into it. Later calls fail.
    /// A store that is dropped instead loses nothing; its log stays beside the file until the next start.
    pub async fn close(&self) {
        self.backend.reader.close().await;
        self.backend.writer.close().await;
    }
}

impl std::fmt::Debug for SqlStore<Sqlite> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SqliteStore")
    }
}

#[async_trait]
impl Backend for Sqlite {
    async fn begin(&self, mode: Mode) -> Result<Connection, StoreError> {
        match mode {
            Mode::Single => Ok(Connection::sqlite(self.reader.acquire().await.map_err(failed)?, self.keeps_outbox)),
            Mode::Snapshot => {
                let transaction = self.reader.begin().await.map_err(failed)?;
                Ok(Connection::sqlite_transaction(transaction, self.keeps_outbox))
            }
            // It waits for the one before it, not for a lock in the file.
            Mode::Write => {
                let transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
                Ok(Connection::sqlite_transaction(transaction, self.keeps_outbox))
            }
        }
    }
}
