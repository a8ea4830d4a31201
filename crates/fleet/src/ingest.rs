//! The control plane's side of the stream of usage: takes batches from it, stores them, and tells the gateways so.
//!
//! Several control planes share the work as one consumer group. A batch leaves the stream only when it is stored; one
//! that a dead control plane had taken is taken over. What cannot be read is moved aside, where a person finds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deadpool_redis::redis::streams::{StreamAutoClaimReply, StreamId, StreamReadReply};
use deadpool_redis::redis::{FromRedisValue, Pipeline, cmd};
use tokio::sync::watch;
use tollgate_domain::{NodeId, UsageBatch};
use tollgate_store::Store;

use crate::backoff::Backoff;
use crate::batch;
use crate::error::FleetError;
use crate::link::{Connection, FleetLink};
use crate::names;

/// How long one reading waits for something new.
const BLOCK: Duration = Duration::from_secs(1);
/// The longest that a reading takes beyond that: batches may be large and the way narrow.
const READ_MAX: Duration = Duration::from_secs(5);
/// Batches in one reading.
const BATCH_SIZE: usize = 16;
/// How often batches of control planes that died are looked for, and how long one must have lain.
const CLAIM_EVERY: Duration = Duration::from_secs(5);
const CLAIM_IDLE: Duration = Duration::from_secs(15);
/// How long an idle consumer without batches is kept in the group.
const CONSUMER_IDLE: Duration = Duration::from_hours(1);
/// How long to leave something alone that failed, at first and at most.
const ON_ERROR_FIRST: Duration = Duration::from_millis(100);
const ON_ERROR_MOST: Duration = Duration::from_secs(5);
/// Tries at a batch that the database refuses though it answers; then others go first.
const TRIES_MAX: u32 = 5;
/// How long a gateway that is away finds what was said to it, in seconds.
const STORED_KEPT_SECS: u64 = 86_400;
/// Unreadable entries that are kept, about.
const DEAD_LENGTH: usize = 1_000;

const RETIRE: &str = include_str!("script/retire.lua");

/// What was done with batches, for metrics.
#[derive(Debug, Default)]
pub struct IngestStats {
    /// Batches stored.
    pub stored: AtomicU64,
    /// Batches that were stored already.
    pub repeated: AtomicU64,
    /// Entries that could not be read and were moved aside.
    pub dead: AtomicU64,
    /// Tries at which the database did not take a batch.
    pub failures: AtomicU64,
    /// Batches taken over from control planes that died.
    pub claimed: AtomicU64,
    /// Batches in the stream when it was last looked at.
    pub waiting: AtomicI64,
    /// Whether it is connected.
    pub is_connected: AtomicBool,
}

/// Stores what gateways have counted.
pub struct UsageIngest {
    link: Arc<FleetLink>,
    store: Arc<dyn Store>,
    consumer: String,
    stats: IngestStats,
}

impl UsageIngest {
    /// An ingest into this store; `node` is this run of this process.
    pub fn new(link: Arc<FleetLink>, store: Arc<dyn Store>, node: NodeId) -> Arc<Self> {
        Arc::new(Self { link, store, consumer: node.to_string(), stats: IngestStats::default() })
    }

    /// What it did so far.
    pub fn stats(&self) -> &IngestStats {
        &self.stats
    }

    /// Stores batches until told to stop.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::new(ON_ERROR_FIRST, ON_ERROR_MOST);
        while !*stop.borrow() {
            // Stopping between two batches loses nothing: what was taken and not stored is taken over by another.
            let ended = tokio::select! {
                ended = self.take_from_stream(&mut backoff) => ended,
                _ = stop.changed() => break,
            };
            self.stats.is_connected.store(false, Ordering::Relaxed);
            if let Err(error) = &ended
                && !backoff.is_failing()
            {
                tracing::warn!(%error, "usage cannot be taken from the stream; gateways keep it");
            }
            let wait = backoff.failed();
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stop.changed() => break,
            }
        }
    }

    /// Takes batches over one connection, for as long as it lasts.
    async fn take_from_stream(&self, backoff: &mut Backoff) -> Result<(), FleetError> {
        let mut connection = self.link.own().await?;
        self.make_group(&mut connection).await?;
        self.stats.is_connected.store(true, Ordering::Relaxed);
        // First what this consumer had taken before the last connection broke.
        let mut from = String::from("0");
        let mut claim_at = Instant::now();
        loop {
            if claim_at <= Instant::now() {
                claim_at = Instant::now() + CLAIM_EVERY;
                self.take_over(&mut connection).await?;
            }
            let entries = match self.read(&mut connection, &from).await {
                Err(error) if is_group_gone(&error) => {
                    tracing::warn!("the stream of usage was emptied; gateways send again what was not stored");
                    self.make_group(&mut connection).await?;
                    continue;
                }
                read => read?,
            };
            backoff.succeeded();
            let last = entries.last().map(|entry| entry.id.clone());
            self.handle(&mut connection, entries).await?;
            if from != ">" {
                // What of it the database refused stays behind the reader and is taken over later.
                from = last.unwrap_or_else(|| ">".into());
            }
        }
    }

    /// Makes stream and group if they are missing. The group begins at the stream's beginning: nothing is skipped.
    async fn make_group(&self, connection: &mut Connection) -> Result<(), FleetError> {
        let mut create = cmd("XGROUP");
        create.arg("CREATE").arg(&self.link.names().usage).arg(names::USAGE_GROUP).arg("0").arg("MKSTREAM");
        match self.link.noted(connection.call::<()>(self.link.timeout(), &create).await) {
            Err(error) if error.code() != Some("BUSYGROUP") => Err(error),
            _ => Ok(()),
        }
    }

    async fn read(&self, connection: &mut Connection, from: &str) -> Result<Vec<StreamId>, FleetError> {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(names::USAGE_GROUP).arg(&self.consumer).arg("COUNT").arg(BATCH_SIZE);
        let block_ms = u64::try_from(BLOCK.as_millis()).unwrap_or(u64::MAX);
        read.arg("BLOCK").arg(block_ms).arg("STREAMS").arg(&self.link.names().usage).arg(from);
        let answer = connection.call(BLOCK + READ_MAX, &read).await;
        let reply: Option<StreamReadReply> = self.link.noted(answer)?;
        Ok(reply.into_iter().flat_map(|reply| reply.keys).flat_map(|stream| stream.ids).collect())
    }

    /// Takes over what control planes had taken that do not answer any more, and what the database refused before.
    async fn take_over(&self, connection: &mut Connection) -> Result<(), FleetError> {
        let mut cursor = String::from("0-0");
        loop {
            let mut claim = cmd("XAUTOCLAIM");
            claim.arg(&self.link.names().usage).arg(names::USAGE_GROUP).arg(&self.consumer);
            let idle_ms = u64::try_from(CLAIM_IDLE.as_millis()).unwrap_or(u64::MAX);
            claim.arg(idle_ms).arg(&cursor).arg("COUNT").arg(BATCH_SIZE);
            let reply: StreamAutoClaimReply = match self.link.noted(connection.call(READ_MAX, &claim).await) {
                // The next reading finds that out and makes the group anew.
                Err(error) if is_group_gone(&error) => return Ok(()),
                reply => reply?,
            };
            self.stats.claimed.fetch_add(reply.claimed.len() as u64, Ordering::Relaxed);
            self.handle(connection, reply.claimed).await?;
            cursor = reply.next_stream_id;
            if cursor == "0-0" {
                break;
            }
        }
        self.retire(connection).await
    }

    /// Strikes consumers off the group that have been gone for long, and looks how much waits.
    async fn retire(&self, connection: &mut Connection) -> Result<(), FleetError> {
        let mut retire = cmd("EVAL");
        retire.arg(RETIRE).arg(1).arg(&self.link.names().usage).arg(names::USAGE_GROUP).arg(&self.consumer);
        let idle_ms = u64::try_from(CONSUMER_IDLE.as_millis()).unwrap_or(u64::MAX);
        retire.arg(idle_ms);
        let waiting: i64 = self.link.noted(connection.call(self.link.timeout(), &retire).await)?;
        self.stats.waiting.store(waiting, Ordering::Relaxed);
        Ok(())
    }

    /// Stores some entries, tells the gateways, and takes them out of the stream. What the database does not take
    /// stays in it.
    async fn handle(&self, connection: &mut Connection, entries: Vec<StreamId>) -> Result<(), FleetError> {
        let mut done = Vec::with_capacity(entries.len());
        let mut stored: Vec<(NodeId, Vec<u64>)> = Vec::new();
        for entry in entries {
            if entry.map.is_empty() {
                // Somebody has deleted it meanwhile; only the group still remembers it.
                done.push(entry.id);
                continue;
            }
            let bytes = entry.map.get(names::USAGE_FIELD).and_then(|value| Vec::from_redis_value(value.clone()).ok());
            let Some(bytes) = bytes else {
                self.set_aside(connection, &entry.id, &[], "it has no batch").await?;
                done.push(entry.id);
                continue;
            };
            match batch::read(&bytes) {
                Ok(batch) => {
                    if !self.store(&batch).await {
                        continue;
                    }
                    match stored.iter_mut().find(|(node, _)| *node == batch.node) {
                        Some((_, sequences)) => sequences.push(batch.sequence),
                        None => stored.push((batch.node, vec![batch.sequence])),
                    }
                }
                Err(error) => self.set_aside(connection, &entry.id, &bytes, &error.to_string()).await?,
            }
            done.push(entry.id);
        }
        self.acknowledge(connection, &stored, &done).await
    }

    /// Stores one batch, however long the database is away; false when it answers but does not take this one.
    async fn store(&self, batch: &UsageBatch) -> bool {
        let mut backoff = Backoff::new(ON_ERROR_FIRST, ON_ERROR_MOST);
        let mut refusals = 0;
        loop {
            let error = match self.store.store_batch(batch).await {
                Ok(is_new) => {
                    let count = if is_new { &self.stats.stored } else { &self.stats.repeated };
                    count.fetch_add(1, Ordering::Relaxed);
                    if backoff.succeeded() {
                        tracing::info!("usage is stored again");
                    }
                    return true;
                }
                Err(error) => error,
            };
            self.stats.failures.fetch_add(1, Ordering::Relaxed);
            if !backoff.is_failing() {
                tracing::error!(%error, node = %batch.node, sequence = batch.sequence, "usage cannot be stored; it is tried again");
            }
            tokio::time::sleep(backoff.failed()).await;
            if self.store.ping().await.is_ok() {
                refusals += 1;
                if refusals >= TRIES_MAX {
                    tracing::error!(node = %batch.node, sequence = batch.sequence, "the database answers but does not take this usage; others go first");
                    return false;
                }
            }
        }
    }

    async fn acknowledge(
        &self,
        connection: &mut Connection,
        stored: &[(NodeId, Vec<u64>)],
        done: &[String],
    ) -> Result<(), FleetError> {
        // The gateways hear of it before the entries go: in the other order a crash between the two would make them
        // send everything again.
        for (node, sequences) in stored {
            let list = self.link.names().stored(*node);
            let mut tell = Pipeline::new();
            tell.cmd("RPUSH").arg(&list).arg(sequences).ignore();
            tell.cmd("EXPIRE").arg(&list).arg(STORED_KEPT_SECS).ignore();
            self.link.noted(connection.pipe::<()>(self.link.timeout(), &tell).await)?;
        }
        if done.is_empty() {
            return Ok(());
        }
        let mut remove = Pipeline::new();
        remove.cmd("XACK").arg(&self.link.names().usage).arg(names::USAGE_GROUP).arg(done).ignore();
        remove.cmd("XDEL").arg(&self.link.names().usage).arg(done).ignore();
        self.link.noted(connection.pipe::<()>(self.link.timeout(), &remove).await)
    }

    async fn set_aside(
        &self,
        connection: &mut Connection,
        id: &str,
        bytes: &[u8],
        reason: &str,
    ) -> Result<(), FleetError> {
        tracing::error!(
            entry = id,
            reason,
            aside = self.link.names().usage_dead,
            "an entry of the stream of usage cannot be read; it is moved aside"
        );
        let mut add = cmd("XADD");
        add.arg(&self.link.names().usage_dead).arg("MAXLEN").arg("~").arg(DEAD_LENGTH).arg("*");
        add.arg("entry").arg(id).arg("reason").arg(reason).arg(names::USAGE_FIELD).arg(bytes);
        self.link.noted(connection.call::<()>(READ_MAX, &add).await)?;
        self.stats.dead.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Whether the group, or the stream with it, is not there any more.
fn is_group_gone(error: &FleetError) -> bool {
    matches!(error.code(), Some("NOGROUP" | "UNBLOCKED"))
}
