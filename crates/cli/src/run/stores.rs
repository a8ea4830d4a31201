//! The database of a process, whichever it is.

use std::sync::Arc;

use tollgate_config::{Database, Settings};
use tollgate_store::{AdminStore, PostgresSettings, PostgresStore, SqliteSettings, SqliteStore, StoreError};

use super::Role;

/// An open database.
pub(super) enum OpenStore {
    Sqlite(Arc<SqliteStore>),
    Postgres(Arc<PostgresStore>),
}

impl OpenStore {
    /// Opens the database that the settings name and brings it up to date.
    ///
    /// A gateway of a fleet starts without it: what keys it needs may be in Redis, and the admin API brings the
    /// database up to date. Without Redis nobody else may use the database, for limits are counted in this process.
    ///
    /// # Errors
    /// It cannot be used as it is, or somebody else uses it.
    pub(super) async fn open(settings: &Settings, role: Role) -> Result<Self, StoreError> {
        let shares_limits = settings.store.redis.is_some();
        Ok(match &settings.store.database {
            Database::Sqlite { path } => {
                let store = SqliteStore::open_with(path, SqliteSettings { outbox: shares_limits }).await?;
                Self::Sqlite(Arc::new(store))
            }
            Database::Postgres { url } => {
                let postgres = PostgresSettings {
                    connections: settings.store.connections.get(),
                    outbox: shares_limits,
                    exclusive: !shares_limits,
                    ..PostgresSettings::new(url.reveal())
                };
                let store = match role {
                    Role::Gateway => PostgresStore::open_or_await(postgres).await?,
                    Role::Up | Role::Admin => PostgresStore::open(postgres).await?,
                };
                Self::Postgres(Arc::new(store))
            }
        })
    }

    pub(super) fn store(&self) -> Arc<dyn AdminStore> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as Arc<dyn AdminStore>,
            Self::Postgres(store) => Arc::clone(store) as Arc<dyn AdminStore>,
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}
