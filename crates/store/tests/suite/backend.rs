//! The backends, and how a test is run on each of them. It knows nothing of what is tested.

use std::sync::Arc;

use tempfile::TempDir;
use tollgate_store::{SqliteStore, Store};

/// A store that is empty, and gone when this is.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    _folder: Option<TempDir>,
}

pub(crate) async fn sqlite_file() -> Opened {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = SqliteStore::open(&folder.path().join("tollgate.db")).await.expect("a new file opens");
    Opened { store: Arc::new(store), _folder: Some(folder) }
}

pub(crate) async fn sqlite_in_memory() -> Opened {
    let store = SqliteStore::open_in_memory().await.expect("memory opens");
    Opened { store: Arc::new(store), _folder: None }
}

/// Runs each of these `async fn(Arc<dyn Store>)` on every backend.
macro_rules! on_every_backend {
    ($($test:ident),+ $(,)?) => {
        mod sqlite_file {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let opened = crate::backend::sqlite_file().await;
                    super::$test(std::sync::Arc::clone(&opened.store)).await;
                }
            )+
        }
        mod sqlite_in_memory {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let opened = crate::backend::sqlite_in_memory().await;
                    super::$test(std::sync::Arc::clone(&opened.store)).await;
                }
            )+
        }
    };
}

pub(crate) use on_every_backend;
