//! `[store]`: where accounts, keys and the ledger are kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::item::Item;
use crate::reader::Table;

/// The settings of `[store]`.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreConfig {
    /// The database.
    pub database: Database,
    /// How long a cached key works after its last confirmation while no store answers.
    pub stale_keys_for: Duration,
}

impl StoreConfig {
    pub(crate) fn read(table: &Table<'_>) -> Self {
        let mut config = Self { database: Database::default_in(table.reader.folder), ..Self::default() };
        let Self { database, stale_keys_for } = &mut config;
        table.read("database", database, read_database);
        table.later("redis", "Redis");
        table.read("stale_keys_for", stale_keys_for, Item::duration_or_zero);
        table.finish();
        config
    }
}

fn read_database(item: &Item<'_>) -> Option<Database> {
    let text = item.text()?;
    if ["postgres:", "postgresql:"].iter().any(|scheme| text.value.starts_with(scheme)) {
        item.error("PostgreSQL comes with a later version; write a file such as \"sqlite://tollgate.db\"");
        return None;
    }
    let path = text.value.strip_prefix("sqlite://");
    let path = path.filter(|path| !path.is_empty() && !path.ends_with('/') && !path.contains(['?', '\0']));
    if path.is_none() {
        // A database's URL may hold a password, so it is not repeated.
        item.error("`database` must be \"sqlite://\" and the path of a file, such as \"sqlite://tollgate.db\"");
    }
    path.map(|path| Database::Sqlite { path: item.reader.folder.join(path) })
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { database: Database::default_in(Path::new("")), stale_keys_for: Duration::from_hours(1) }
    }
}

/// The database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file of `SQLite`.
    Sqlite {
        /// Absolute, or relative to the working directory: the configuration file's folder is joined already.
        path: PathBuf,
    },
}

impl Database {
    /// The default file in a folder.
    fn default_in(folder: &Path) -> Self {
        Self::Sqlite { path: folder.join("tollgate.db") }
    }
}
