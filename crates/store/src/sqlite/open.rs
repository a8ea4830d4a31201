//! Opens a database file, or says in one line what is in the way. Nothing is written to a file before it is known
//! to be a database of ours and of a version that is known here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqlitePool};

use super::lock::{FileLock, NotLocked};
use super::{Sqlite, SqliteSettings};
use crate::error::StoreError;
use crate::sql::{APPLIED, Applied, damage, failed, one_line, unknown_schema};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// What every `SQLite` file that is not empty begins with.
const HEADER: &[u8; 16] = b"SQLite format 3\0";
/// Connections that read beside the one that writes.
const READERS: u32 = 4;
/// How long a call waits for its turn before it is told that the database does not answer.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a call waits for a lock in the file, which only a tool beside Tollgate could hold.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// A file up to this size is checked page by page at the start; a larger one would delay it.
const CHECKED_BYTES_MAX: u64 = 16 << 20;
/// Memory the writing connection keeps pages in, in KiB (negative, as the pragma wants it): the parts of all indexes
/// that one batch touches.
const WRITER_CACHE: &str = "-32768";
/// A write-ahead log is cut back to this size once it has been folded into the file.
const JOURNAL_BYTES_MAX: &str = "67108864";

pub(super) async fn open(path: &Path, settings: SqliteSettings) -> Result<Sqlite, StoreError> {
    let file = DatabaseFile { path: locate(path)? };
    let exists = file.is_present()?;
    if exists {
        file.check_header()?;
    }
    let lock = file.lock()?;
    if exists {
        file.check_permissions()?;
    } else {
        file.create()?;
    }
    if file.length()? > 0 {
        file.check_contents().await?;
    }
    let options = SqliteConnectOptions::new()
        .filename(&file.path)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .disable_statement_logging();
    let writing = options
        .clone()
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("cache_size", WRITER_CACHE)
        .pragma("journal_size_limit", JOURNAL_BYTES_MAX);
    let writer = connect(1, writing).await.map_err(|error| file.unusable_because(&error))?;
    file.check_journal(&writer).await?;
    MIGRATIONS.run(&writer).await.map_err(|error| file.unusable(error))?;
    let reader = connect(READERS, options.read_only(true)).await.map_err(|error| file.unusable_because(&error))?;
    Ok(Sqlite { writer, reader, keeps_outbox: settings.outbox, _lock: Some(lock) })
}

pub(super) async fn open_in_memory(settings: SqliteSettings) -> Result<Sqlite, StoreError> {
    // The database lives and dies with its only connection, so reading and writing share it.
    let options = SqliteConnectOptions::new().in_memory(true).foreign_keys(true).disable_statement_logging();
    let writer = connect(1, options).await.map_err(failed)?;
    MIGRATIONS.run(&writer).await.map_err(|error| StoreError::Unusable(error.to_string()))?;
    Ok(Sqlite { reader: writer.clone(), writer, keeps_outbox: settings.outbox, _lock: None })
}

/// Connections are never closed for being old or idle, so that the pool needs no task on the runtime that made it.
async fn connect(connections: u32, options: SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(options)
        .await
}

/// The path with symbolic links followed, so that two names of one file meet at one lock.
fn locate(path: &Path) -> Result<PathBuf, StoreError> {
    let named = DatabaseFile { path: path.to_owned() };
    let name = path.file_name().ok_or_else(|| named.unusable("the path names no file"))?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let shown = folder.display();
    let folder = folder.canonicalize().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => named.unusable(format_args!("the folder {shown} does not exist")),
        io::ErrorKind::NotADirectory => named.unusable(format_args!("{shown} is not a folder")),
        _ => named.unusable(error),
    })?;
    if !folder.is_dir() {
        return Err(named.unusable(format_args!("{shown} is not a folder")));
    }
    let path = folder.join(name);
    Ok(path.canonicalize().unwrap_or(path))
}

/// A database file by its path, and what is said of it.
struct DatabaseFile {
    path: PathBuf,
}

impl DatabaseFile {
    fn unusable(&self, why: impl std::fmt::Display) -> StoreError {
        StoreError::Unusable(format!("cannot use the database {}: {why}", self.path.display()))
    }

    fn unusable_because(&self, error: &sqlx::Error) -> StoreError {
        match damage(error) {
            Some(what) => self.unusable(format_args!("it is damaged ({what}); restore it from a backup")),
            None => self.unusable(error),
        }
    }

    fn is_present(&self) -> Result<bool, StoreError> {
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.is_file() => Ok(true),
            Ok(_) => Err(self.unusable("it is not a file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.unusable(error)),
        }
    }

    fn length(&self) -> Result<u64, StoreError> {
        fs::metadata(&self.path).map(|metadata| metadata.len()).map_err(|error| self.unusable(error))
    }

    fn check_header(&self) -> Result<(), StoreError> {
        let mut start = Vec::with_capacity(HEADER.len());
        File::open(&self.path)
            .and_then(|file| file.take(HEADER.len() as u64).read_to_end(&mut start))
            .map_err(|error| self.unusable(error))?;
        if start.is_empty() || start == HEADER {
            Ok(())
        } else {
            Err(self.unusable("it is not an SQLite database; it was left as it is"))
        }
    }

    fn lock(&self) -> Result<FileLock, StoreError> {
        let path = FileLock::path_beside(&self.path);
        FileLock::take(&path).map_err(|error| match error {
            NotLocked::Held(Some(process)) => self.unusable(format_args!("process {process} uses it already")),
            NotLocked::Held(None) => self.unusable("another process uses it already"),
            NotLocked::Failed(error) => self.unusable(format_args!("cannot lock {}: {error}", path.display())),
        })
    }

    /// `SQLite` would open a file it may not write for reading only, and fail much later.
    fn check_permissions(&self) -> Result<(), StoreError> {
        let file = OpenOptions::new().read(true).write(true).open(&self.path).map_err(|error| self.unusable(error))?;
        #[cfg(unix)]
        if file
            .metadata()
            .is_ok_and(|metadata| std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 != 0)
        {
            tracing::warn!(path = %self.path.display(), "other users of this machine may read the database: chmod 600");
        }
        drop(file);
        Ok(())
    }

    fn create(&self) -> Result<(), StoreError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        // SQLite gives its write-ahead log and shared memory the mode of the database.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&self.path).map_err(|error| self.unusable(error))?;
        Ok(())
    }

    /// Whether the database is whole, ours, and of a version known here. Read over a connection that sets nothing.
    async fn check_contents(&self) -> Result<(), StoreError> {
        let mut connection = SqliteConnectOptions::new()
            .filename(&self.path)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging()
            .connect()
            .await
            .map_err(|error| self.unusable_because(&error))?;
        let checked = self.check_migrations(&mut connection).await;
        let checked = match checked {
            Ok(()) if self.length()? <= CHECKED_BYTES_MAX => self.check_pages(&mut connection).await,
            checked => checked,
        };
        // The checks have told all there is to tell; a close that fails adds nothing.
        drop(connection.close().await);
        checked
    }

    async fn check_migrations(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let tables: Vec<String> =
            sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
                .fetch_all(&mut *connection)
                .await
                .map_err(|error| self.unusable_because(&error))?;
        if tables.is_empty() {
            return Ok(());
        }
        if !tables.iter().any(|table| table == "_sqlx_migrations") {
            return Err(self.unusable("it belongs to another program; it was left as it is"));
        }
        let applied: Vec<Applied> =
            sqlx::query_as(APPLIED).fetch_all(connection).await.map_err(|error| self.unusable_because(&error))?;
        unknown_schema(&MIGRATIONS, &applied).map_or(Ok(()), |what| Err(self.unusable(what)))
    }

    async fn check_pages(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let finding: String = sqlx::query_scalar("PRAGMA quick_check(1)")
            .fetch_one(connection)
            .await
            .map_err(|error| self.unusable_because(&error))?;
        if finding == "ok" {
            return Ok(());
        }
        let finding = one_line(&finding);
        Err(self.unusable(format_args!("it is damaged ({finding}); restore it from a backup")))
    }

    /// Some network file systems cannot share memory; `SQLite` then keeps another journal without a word.
    async fn check_journal(&self, writer: &SqlitePool) -> Result<(), StoreError> {
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
            .fetch_one(writer)
            .await
            .map_err(|error| self.unusable_because(&error))?;
        if mode.eq_ignore_ascii_case("wal") {
            Ok(())
        } else {
            Err(self.unusable("its file system cannot keep a write-ahead log; put it on a local disk"))
        }
    }
}
