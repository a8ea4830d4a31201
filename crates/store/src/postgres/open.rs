//! Opens a `PostgreSQL` database, or says in one line what is in the way. Nothing is written before it is known that
//! the server, the encoding and the tables are ones that this version can use. No line names the password.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions, Connection as _, Executor, PgPool, Row as _};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::claim::Claim;
use super::{Migrated, Postgres, PostgresSettings};
use crate::error::StoreError;
use crate::sql::{APPLIED, Applied, one_line, refusal, unknown_schema};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/postgres");

/// The parameters that a URL may have.
const PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];
/// The oldest server that is supported, as the server numbers versions.
const SERVER_MIN: i32 = 150_000;
/// How long a start may take to read what is there, and to make its claim.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a migration may take, the wait for another process's included.
const MIGRATION_TIMEOUT: Duration = Duration::from_mins(10);
/// What a statement is waited for beyond the time that the server lets it run, so that the server's word comes first.
const GRACE: Duration = Duration::from_millis(500);
/// A connection that was used within this time is taken to be still there.
const FRESH: Duration = Duration::from_millis(200);
/// How long one that was not may take to say so.
const PING: Duration = Duration::from_secs(1);
/// A transaction whose process has vanished is ended by the server after this, in milliseconds.
const IDLE_IN_TRANSACTION_MS: u32 = 10_000;

pub(super) async fn open(settings: &PostgresSettings) -> Result<Postgres, StoreError> {
    let server = Server::of(settings)?;
    let (claim, _) = server.prepare(settings.exclusive).await?;
    Ok(Postgres {
        pool: pool(settings, server.options),
        claim,
        bound: settings.statement_timeout + GRACE,
        keeps_outbox: settings.outbox,
        home: Handle::current(),
    })
}

/// A database that nobody has seen yet.
pub(super) fn later(settings: &PostgresSettings) -> Result<Postgres, StoreError> {
    let server = Server::of(settings)?;
    let home = Handle::current();
    Ok(Postgres {
        claim: Claim::later(&server.options, settings.exclusive, &home),
        pool: pool(settings, server.options),
        bound: settings.statement_timeout + GRACE,
        keeps_outbox: settings.outbox,
        home,
    })
}

pub(super) async fn migrate(settings: &PostgresSettings) -> Result<Migrated, StoreError> {
    let (claim, migrated) = Server::of(settings)?.prepare(settings.exclusive).await?;
    claim.give_up().await;
    Ok(migrated)
}

fn pool(settings: &PostgresSettings, options: PgConnectOptions) -> PgPool {
    let statement_timeout_ms = settings.statement_timeout.as_millis();
    let setup = format!(
        "SET statement_timeout = {statement_timeout_ms}; \
         SET idle_in_transaction_session_timeout = {IDLE_IN_TRANSACTION_MS}"
    );
    PgPoolOptions::new()
        .max_connections(settings.connections.max(1))
        .acquire_timeout(settings.acquire_timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let setup = sqlx::AssertSqlSafe(setup.clone());
            Box::pin(async move { connection.execute(sqlx::raw_sql(setup)).await.map(|_nothing| ()) })
        })
        .before_acquire(|connection, idle| {
            Box::pin(async move {
                if idle.idle_for < FRESH {
                    return Ok(true);
                }
                timeout(PING, connection.ping()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map(|()| true)
            })
        })
        .connect_lazy_with(options)
}

/// A server and one of its databases, by its address, and what is said of it.
struct Server {
    options: PgConnectOptions,
    acquire_timeout: Duration,
}

impl Server {
    fn of(settings: &PostgresSettings) -> Result<Self, StoreError> {
        let unusable = |why: String| StoreError::Unusable(format!("cannot use the database: {why}"));
        if !["postgres://", "postgresql://"].iter().any(|scheme| settings.url.starts_with(scheme)) {
            return Err(unusable("its URL does not begin with postgres://".into()));
        }
        // One that is not known would be passed over with a line that shows its value, whatever that is.
        if let Some(name) = parameters(&settings.url).find(|name| !PARAMETERS.contains(name)) {
            return Err(unusable(format!("its URL has a parameter that is not known: {name}")));
        }
        let options: PgConnectOptions =
            settings.url.parse().map_err(|error| unusable(format!("its URL cannot be read: {}", said(&error))))?;
        let options = options.application_name("tollgate").disable_statement_logging();
        Ok(Self { options, acquire_timeout: settings.acquire_timeout })
    }

    /// The database by name and place.
    fn name(&self) -> String {
        let database = self.options.get_database().unwrap_or_else(|| self.options.get_username());
        match self.options.get_socket() {
            Some(folder) => format!("{database} at {}", folder.display()),
            None => format!("{database} at {}:{}", self.options.get_host(), self.options.get_port()),
        }
    }

    fn unusable(&self, why: impl std::fmt::Display) -> StoreError {
        StoreError::Unusable(format!("cannot use the database {}: {why}", self.name()))
    }

    fn unavailable(&self, why: impl std::fmt::Display) -> StoreError {
        StoreError::Unavailable(format!("{}: {why}", self.name()).into())
    }

    /// What a failure on the way to an open database is.
    fn failed(&self, error: &sqlx::Error) -> StoreError {
        if let Some(line) = refusal(error) {
            return self.unusable(line);
        }
        match error {
            sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => self.unusable(said(error)),
            _ => self.unavailable(said(error)),
        }
    }

    /// Checks, claims and migrates the database.
    async fn prepare(&self, exclusive: bool) -> Result<(Claim, Migrated), StoreError> {
        let mut connection = self.connect().await?;
        let slow = |_| self.unavailable("no answer");
        let from = timeout(OPEN_TIMEOUT, self.check(&mut connection)).await.map_err(slow)??;
        let home = Handle::current();
        let claim = timeout(OPEN_TIMEOUT, Claim::take(&self.options, exclusive, &home));
        let claim = claim.await.map_err(slow)?.map_err(|error| self.failed(&error))?;
        let in_the_way = if exclusive {
            "another process uses it, and this one must have it alone"
        } else {
            "another process has it alone"
        };
        let claim = claim.ok_or_else(|| self.unusable(in_the_way))?;
        let migrated = timeout(MIGRATION_TIMEOUT, MIGRATIONS.run_direct(None, &mut connection, false)).await;
        match migrated {
            Ok(Ok(())) => {}
            Ok(Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _))) => {
                return Err(self.failed(&error));
            }
            Ok(Err(error)) => return Err(self.unusable(one_line(&error.to_string()))),
            Err(_) => return Err(self.unavailable("the migration did not end")),
        }
        // Everything is done; a close that fails adds nothing.
        drop(timeout(OPEN_TIMEOUT, connection.close()).await);
        let to = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
        Ok((claim, Migrated { from, to }))
    }

    async fn connect(&self) -> Result<PgConnection, StoreError> {
        let waited = format!("no answer within {} ms", self.acquire_timeout.as_millis());
        match timeout(self.acquire_timeout, self.options.connect()).await {
            Ok(connected) => connected.map_err(|error| self.failed(&error)),
            Err(_) => Err(self.unavailable(waited)),
        }
    }

    /// Whether server and tables are ones that can be used. The number of the schema that is there, 0 for none.
    async fn check(&self, connection: &mut PgConnection) -> Result<i64, StoreError> {
        self.check_server(connection).await?;
        let tables: Vec<String> =
            sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()")
                .fetch_all(&mut *connection)
                .await
                .map_err(|error| self.failed(&error))?;
        if !tables.iter().any(|table| table == "_sqlx_migrations") {
            return match tables.iter().find(|table| ["accounts", "keys", "audit"].contains(&table.as_str())) {
                Some(table) => Err(self.unusable(format_args!(
                    "another program's table is called {table}; nothing was changed, give Tollgate a database of its own"
                ))),
                None => Ok(0),
            };
        }
        let applied: Vec<Applied> =
            sqlx::query_as(APPLIED).fetch_all(connection).await.map_err(|error| self.failed(&error))?;
        match unknown_schema(&MIGRATIONS, &applied) {
            Some(what) => Err(self.unusable(what)),
            None => Ok(applied.last().map_or(0, |(version, ..)| *version)),
        }
    }

    async fn check_server(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let row = sqlx::query(
            "SELECT current_setting('server_version_num')::int AS number, current_setting('server_version') AS version, \
             current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS is_standby, \
             current_schema()::text AS schema",
        )
        .fetch_one(connection)
        .await
        .map_err(|error| self.failed(&error))?;
        if row.get::<i32, _>("number") < SERVER_MIN {
            let version: String = row.get("version");
            return Err(self.unusable(format_args!("its server is PostgreSQL {version}; 15 or newer is needed")));
        }
        let encoding: String = row.get("encoding");
        if encoding != "UTF8" {
            return Err(self.unusable(format_args!("its encoding is {encoding}; UTF8 is needed")));
        }
        if row.get("is_standby") {
            return Err(self.unusable("its server is a standby, which only reads"));
        }
        if row.get::<Option<String>, _>("schema").is_none() {
            return Err(self.unusable("the user has no schema to make tables in"));
        }
        Ok(())
    }
}

/// The names of a URL's parameters, as they are written.
fn parameters(url: &str) -> impl Iterator<Item = &str> {
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    let parameters = parameters.split('&').filter(|parameter| !parameter.is_empty());
    parameters.map(|parameter| parameter.split_once('=').map_or(parameter, |(name, _)| name))
}

/// What an error says, in one line. What is wrong with a URL is said without the URL.
fn said(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(error) => one_line(&error.to_string()),
        sqlx::Error::Configuration(error) => one_line(&error.to_string()),
        sqlx::Error::Database(error) => one_line(error.message()),
        other => one_line(&other.to_string()),
    }
}
