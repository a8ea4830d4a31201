//! A connection to a `PostgreSQL` server while a call uses it. Every wait for the server is bounded here, so that one
//! that has gone away, or is at the far end of a line that lost its packets, fails the call and not the caller.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnection, PgPool, PgRow};
use sqlx::{Executor, Postgres, SqlStr};
use tokio::runtime::Handle;
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

use crate::error::StoreError;
use crate::sql::{Lock, Mode, failed, is_of_a_server_that_only_reads};

/// How long a connection may take to undo what a call left and to answer, before it is thrown away.
const RETURN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a file that is taken over waits for another one.
const IMPORT_WAIT: Duration = Duration::from_secs(30);
/// How often it looks whether the other one is done.
const IMPORT_POLL: Duration = Duration::from_millis(50);

/// How long a statement over a whole table may take.
const PATIENCE: Duration = Duration::from_hours(1);

/// The advisory lock of a transaction that appends to the ledger.
const LEDGER_LOCK: i64 = 0x746f_6c6c_0001;
/// The advisory lock of a transaction that takes a file over.
const IMPORT_LOCK: i64 = 0x746f_6c6c_0002;

/// The advisory lock of a transaction that mails a link.
const LINKS_LOCK: i64 = 0x746f_6c6c_0003;
/// The advisory lock of a transaction that links a customer at Stripe.
const CUSTOMERS_LOCK: i64 = 0x746f_6c6c_0004;

/// A connection in use.
pub(crate) struct Session {
    /// Taken out when the connection is given back or found broken.
    connection: Option<PoolConnection<Postgres>>,
    in_transaction: bool,
    /// How long a statement may take.
    bound: Duration,
    /// The runtime that the connections live on, whichever one a call comes from.
    home: Handle,
}

impl Session {
    /// Takes a connection from the pool and begins what the mode asks for.
    pub(crate) async fn begin(pool: &PgPool, home: &Handle, bound: Duration, mode: Mode) -> Result<Self, StoreError> {
        let connection = AtHome { home, work: Box::pin(pool.acquire()) }.await.map_err(failed)?;
        let mut session = Self { connection: Some(connection), in_transaction: false, bound, home: home.clone() };
        let statement = match mode {
            Mode::Single => return Ok(session),
            Mode::Snapshot => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Mode::Write => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        };
        session.in_transaction = true;
        session.simple(statement).await?;
        Ok(session)
    }

    pub(crate) async fn execute(&mut self, text: SqlStr, arguments: PgArguments) -> Result<u64, StoreError> {
        let bound = self.bound;
        let done = timeout(bound, sqlx::query_with(text, arguments).execute(self.connection()?)).await;
        self.judged(done).map(|done| done.rows_affected())
    }

    pub(crate) async fn fetch_all(&mut self, text: SqlStr, arguments: PgArguments) -> Result<Vec<PgRow>, StoreError> {
        let bound = self.bound;
        let rows = timeout(bound, sqlx::query_with(text, arguments).fetch_all(self.connection()?)).await;
        self.judged(rows)
    }

    /// Takes the lock for the rest of the transaction.
    pub(crate) async fn lock(&mut self, lock: Lock) -> Result<(), StoreError> {
        match lock {
            Lock::Ledger => self.wait_for(LEDGER_LOCK).await,
            Lock::Links => self.wait_for(LINKS_LOCK).await,
            Lock::Customers => self.wait_for(CUSTOMERS_LOCK).await,
            Lock::Import => {
                let bound = self.bound;
                let began = Instant::now();
                while began.elapsed() < IMPORT_WAIT {
                    let taken = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)").bind(IMPORT_LOCK);
                    let taken = timeout(bound, taken.fetch_one(self.connection()?)).await;
                    if self.judged(taken)? {
                        return Ok(());
                    }
                    sleep(IMPORT_POLL).await;
                }
                Err(StoreError::Unavailable("another import is under way".into()))
            }
        }
    }

    async fn wait_for(&mut self, number: i64) -> Result<(), StoreError> {
        let bound = self.bound;
        let taken = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(number);
        let taken = timeout(bound, taken.execute(self.connection()?)).await;
        self.judged(taken).map(|_nothing| ())
    }

    /// Lets the statements of this transaction take as long as whole tables need.
    pub(crate) async fn be_patient(&mut self) -> Result<(), StoreError> {
        self.simple("SET LOCAL statement_timeout = 0").await?;
        self.bound = PATIENCE;
        Ok(())
    }

    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        if self.in_transaction {
            self.simple("COMMIT").await?;
            self.in_transaction = false;
        }
        Ok(())
    }

    async fn simple(&mut self, statement: &'static str) -> Result<(), StoreError> {
        let bound = self.bound;
        let done = timeout(bound, self.connection()?.execute(statement)).await;
        self.judged(done).map(|_nothing| ())
    }

    fn connection(&mut self) -> Result<&mut PgConnection, StoreError> {
        match &mut self.connection {
            Some(connection) => Ok(connection),
            None => Err(StoreError::Unavailable("the connection was lost".into())),
        }
    }

    /// The answer to a statement. A connection that did not answer in time may do so later, to another question: it is
    /// thrown away, and the server undoes the transaction when it notices.
    fn judged<T>(&mut self, answer: Result<Result<T, sqlx::Error>, Elapsed>) -> Result<T, StoreError> {
        let error = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) => {
                self.throw_away();
                let waited = format!("no answer within {} ms", self.bound.as_millis());
                return Err(StoreError::Unavailable(waited.into()));
            }
        };
        let is_lost = matches!(error, sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_));
        if is_lost || is_of_a_server_that_only_reads(&error) {
            self.throw_away();
        }
        Err(failed(error))
    }

    fn throw_away(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.home.spawn(give_back(connection, self.in_transaction));
        }
    }
}

/// Gives a connection back to its pool, fit for the next call, or throws it away.
async fn give_back(mut connection: PoolConnection<Postgres>, roll_back: bool) {
    if roll_back && !matches!(timeout(RETURN_TIMEOUT, connection.execute("ROLLBACK")).await, Ok(Ok(_))) {
        drop(connection.detach());
        return;
    }
    // One that does not answer by then is dropped with what waits for it, which frees its place in the pool.
    drop(timeout(RETURN_TIMEOUT, connection.return_to_pool()).await);
}

/// Work that belongs to one runtime, whichever one waits for it: sockets and timers that it makes live there.
pub(super) struct AtHome<'w, T> {
    pub(super) home: &'w Handle,
    pub(super) work: Pin<Box<dyn Future<Output = T> + Send + 'w>>,
}

impl<T> Future for AtHome<'_, T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = self.get_mut();
        let _entered = this.home.enter();
        this.work.as_mut().poll(context)
    }
}
