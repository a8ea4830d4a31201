//! The backends, and how a test is run on each of them. It knows nothing of what is tested.

use std::sync::Arc;

use tempfile::TempDir;
use tollgate_store::{AdminStore, PostgresSettings, PostgresStore, SqliteSettings, SqliteStore};

use crate::database::TestDatabase;

/// A store that is empty and keeps an outbox, and is gone when this is.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn AdminStore>,
    _folder: Option<TempDir>,
    _database: Option<TestDatabase>,
}

pub(crate) async fn sqlite_file() -> Option<Opened> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("tollgate.db");
    let store = SqliteStore::open_with(&path, SqliteSettings { outbox: true }).await.expect("a new file opens");
    Some(Opened { store: Arc::new(store), _folder: Some(folder), _database: None })
}

pub(crate) async fn sqlite_in_memory() -> Option<Opened> {
    let store = SqliteStore::open_in_memory_with(SqliteSettings { outbox: true }).await.expect("memory opens");
    Some(Opened { store: Arc::new(store), _folder: None, _database: None })
}

/// None where no server is there to test with.
pub(crate) async fn postgres() -> Option<Opened> {
    let database = TestDatabase::make("").await?;
    let store = PostgresStore::open(PostgresSettings::new(&*database.url)).await.expect("a new database opens");
    Some(Opened { store: Arc::new(store), _folder: None, _database: Some(database) })
}

/// Runs each of these `async fn(Arc<dyn AdminStore>)`, or of a part of it, on every backend.
macro_rules! on_every_backend {
    ($($test:ident),+ $(,)?) => {
        crate::backend::on_backend!(sqlite_file: $($test),+);
        crate::backend::on_backend!(sqlite_in_memory: $($test),+);
        crate::backend::on_backend!(postgres: $($test),+);
    };
}

macro_rules! on_backend {
    ($backend:ident: $($test:ident),+) => {
        mod $backend {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    if let Some(opened) = crate::backend::$backend().await {
                        super::$test(opened.store.clone()).await;
                    }
                }
            )+
        }
    };
}

pub(crate) use {on_backend, on_every_backend};
