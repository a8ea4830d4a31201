//! The lock on a shared database. Every process holds it in common with others while it has the database open, or, if
//! it keeps limits to itself, alone. The lock lives and dies with one connection, which is watched here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection as _};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::error::StoreError;

/// The advisory lock that says that a process has the database open.
const CLAIM_LOCK: i64 = 0x746f_6c6c_0000;
/// How often the connection that holds the lock is asked whether it is still there.
const WATCH: Duration = Duration::from_millis(500);
/// How long an answer to that may take.
const ANSWER: Duration = Duration::from_secs(2);
/// How long a start waits for a process that is just ending.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it looks again.
const RETRY: Duration = Duration::from_millis(100);

/// It is held.
const HELD: u8 = 0;
/// Its connection was lost, and it is being taken again.
const LOST: u8 = 1;
/// Another process took it meanwhile.
const TAKEN: u8 = 2;

/// A process's claim on a database, held until it is given up or dropped.
pub(super) struct Claim {
    exclusive: bool,
    state: Arc<AtomicU8>,
    stop: watch::Sender<bool>,
}

impl Claim {
    /// Takes the lock over a connection of its own and watches over it.
    ///
    /// # Errors
    /// The server's, or `None` where another process is in the way.
    pub(super) async fn take(
        options: &PgConnectOptions,
        exclusive: bool,
        home: &Handle,
    ) -> Result<Option<Self>, sqlx::Error> {
        let began = Instant::now();
        let mut connection = options.connect().await?;
        while !try_lock(&mut connection, exclusive).await? {
            if began.elapsed() > PATIENCE {
                return Ok(None);
            }
            sleep(RETRY).await;
        }
        Ok(Some(Self::watched(options, exclusive, Some(connection), home)))
    }

    /// A claim that is made as soon as the server answers.
    pub(super) fn later(options: &PgConnectOptions, exclusive: bool, home: &Handle) -> Self {
        Self::watched(options, exclusive, None, home)
    }

    fn watched(options: &PgConnectOptions, exclusive: bool, connection: Option<PgConnection>, home: &Handle) -> Self {
        let state = Arc::new(AtomicU8::new(if connection.is_some() { HELD } else { LOST }));
        let (stop, stopped) = watch::channel(false);
        let watcher = Watcher { options: options.clone(), exclusive, connection, state: Arc::clone(&state) };
        home.spawn(watcher.run(stopped));
        Self { exclusive, state, stop }
    }

    /// Whether the database may be used: one that must be had alone, only while the lock is held.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if !self.exclusive {
            return Ok(());
        }
        match self.state.load(Ordering::Acquire) {
            HELD => Ok(()),
            LOST => Err(StoreError::Unavailable(
                "the connection that keeps other processes off the database was lost; it is being made again".into(),
            )),
            _ => Err(StoreError::Unusable("another process has taken the database over".into())),
        }
    }

    /// Lets go of the lock.
    pub(super) async fn give_up(&self) {
        self.stop.send_replace(true);
        // The watcher drops its end when it has closed the connection.
        drop(timeout(ANSWER, self.stop.closed()).await);
    }
}

async fn try_lock(connection: &mut PgConnection, exclusive: bool) -> Result<bool, sqlx::Error> {
    let text = if exclusive { "SELECT pg_try_advisory_lock($1)" } else { "SELECT pg_try_advisory_lock_shared($1)" };
    sqlx::query_scalar(text).bind(CLAIM_LOCK).fetch_one(connection).await
}

struct Watcher {
    options: PgConnectOptions,
    exclusive: bool,
    connection: Option<PgConnection>,
    state: Arc<AtomicU8>,
}

impl Watcher {
    /// Runs until the claim is given up or dropped.
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                // Also when the claim was dropped without a word.
                _ = stopped.changed() => break,
                () = sleep(WATCH) => self.look().await,
            }
        }
        if let Some(connection) = self.connection.take() {
            drop(timeout(ANSWER, connection.close()).await);
        }
    }

    async fn look(&mut self) {
        if let Some(connection) = &mut self.connection {
            if matches!(timeout(ANSWER, connection.ping()).await, Ok(Ok(()))) {
                return;
            }
            self.connection = None;
            self.becomes(LOST);
        }
        if let Ok(Ok(mut connection)) = timeout(ANSWER, self.options.connect()).await {
            match timeout(ANSWER, try_lock(&mut connection, self.exclusive)).await {
                Ok(Ok(true)) => {
                    self.connection = Some(connection);
                    self.becomes(HELD);
                }
                Ok(Ok(false)) => self.becomes(TAKEN),
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }

    /// Notes the state, with a line where it is another one.
    fn becomes(&self, state: u8) {
        if self.state.swap(state, Ordering::AcqRel) == state {
            return;
        }
        match state {
            HELD => tracing::info!("the claim on the database is held again"),
            LOST => tracing::warn!("the connection that holds the claim on the database was lost"),
            _ => tracing::error!("another process has claimed the database; this one must not use it beside that one"),
        }
    }
}
