//! Sends the spool's batches into the stream, and removes them once the control plane says that they are stored.
//!
//! A batch that stands in the stream is left there. One that does not, and of which nothing was heard, is sent again:
//! its entry or its acknowledgement was lost, and the ledger takes a batch once however often it comes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use deadpool_redis::redis::{Pipeline, cmd};
use tokio::sync::watch;

use super::SpooledUsage;
use super::folder::{Claim, Name};
use crate::backoff::Backoff;
use crate::error::FleetError;
use crate::link::Connection;
use crate::{batch, names};

/// How often acknowledgements are asked for: while somebody waits for one, and otherwise.
const ASK_URGENTLY: Duration = Duration::from_millis(10);
const ASK: Duration = Duration::from_millis(100);
/// How often the folder is looked through for batches of runs that have died.
const ADOPT_EVERY: Duration = Duration::from_secs(10);
/// How long to leave a Redis alone that failed, at first and at most.
const ON_ERROR_FIRST: Duration = Duration::from_millis(100);
const ON_ERROR_MOST: Duration = Duration::from_secs(2);
/// How long after a new connection everything sent before is looked after.
const LOOK_SOON: Duration = Duration::from_secs(1);
/// The longest that sending them takes, or looking after them: they may be large and the way narrow.
const SEND_MAX: Duration = Duration::from_secs(5);
/// Bytes put into the stream in one go.
const BATCH_SIZE: u64 = 4 << 20;
/// Bytes of this process that stand in the stream at a time. The rest waits on disk, so that a control plane that is
/// away does not fill the memory of the server that the limits live in.
const STANDING_MAX: u64 = 32 << 20;
/// Acknowledgements taken at a time.
const ACKNOWLEDGED_MAX: usize = 1_000;
/// Batches looked after at a time.
const LOOKED_AFTER_MAX: usize = 256;

const STANDING: &str = include_str!("../script/standing.lua");

impl SpooledUsage {
    /// Sends what was taken until told to stop. What is not stored then stays on disk for the next run.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::new(ON_ERROR_FIRST, ON_ERROR_MOST);
        let mut connection = None;
        let mut adopt_at = Instant::now() + ADOPT_EVERY;
        while !*stop.borrow() {
            if adopt_at <= Instant::now() {
                adopt_at = Instant::now() + ADOPT_EVERY;
                self.adopt_off_thread().await;
            }
            let wait = if self.pending.lock().len() == 0 {
                adopt_at.saturating_duration_since(Instant::now())
            } else {
                self.round(&mut connection, &mut backoff).await
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.wake.notified(), if !backoff.is_failing() => {}
                _ = stop.changed() => break,
            }
        }
    }

    /// Sends what can be sent and hears what is stored; how long to wait before the next time.
    async fn round(&self, connection: &mut Option<Connection>, backoff: &mut Backoff) -> Duration {
        match self.exchange(connection).await {
            Ok(()) => {
                if backoff.succeeded() {
                    tracing::info!("usage reaches the stream again");
                }
                if self.waiting.load(Ordering::Acquire) > 0 { ASK_URGENTLY } else { ASK }
            }
            Err(error) => {
                *connection = None;
                if !backoff.is_failing() {
                    let batches = self.pending.lock().len();
                    tracing::warn!(%error, batches, "usage does not reach the stream; it waits in the spool");
                }
                backoff.failed()
            }
        }
    }

    async fn exchange(&self, connection: &mut Option<Connection>) -> Result<(), FleetError> {
        if connection.is_none() {
            let made = self.link.own().await?;
            // Whatever cut the last connection off may have lost the stream as well.
            self.pending.lock().look_soon(Instant::now() + LOOK_SOON);
            *connection = Some(made);
        }
        let Some(connection) = connection else { return Ok(()) };
        self.hear_stored(connection).await?;
        self.send(connection).await?;
        self.look_after(connection).await
    }

    async fn send(&self, connection: &mut Connection) -> Result<(), FleetError> {
        loop {
            let batches = {
                let pending = self.pending.lock();
                if !pending.has_unsent() || pending.bytes_sent() >= STANDING_MAX {
                    return Ok(());
                }
                pending.to_send(BATCH_SIZE)
            };
            let contents = self.read(batches).await;
            if contents.is_empty() {
                continue;
            }
            let mut entries = Pipeline::new();
            for (_, name, bytes) in &contents {
                let mut entry = cmd("XADD");
                entry.arg(&self.link.names().usage).arg("*").arg("node").arg(name.node.to_string());
                entry.arg("sequence").arg(name.sequence).arg(names::USAGE_FIELD).arg(bytes.as_slice());
                entries.add_command(entry);
            }
            let ids: Vec<String> = self.link.noted(connection.pipe(SEND_MAX, &entries).await)?;
            let now = Instant::now();
            let mut pending = self.pending.lock();
            for ((number, ..), id) in contents.iter().zip(ids) {
                pending.sent(*number, id, now);
            }
            self.stats.sent.fetch_add(contents.len() as u64, Ordering::Relaxed);
        }
    }

    /// The contents of batches. What cannot be read is set aside, where a person finds it.
    async fn read(&self, batches: Vec<(u64, Name)>) -> Vec<(u64, Name, Vec<u8>)> {
        let folder = self.folder.clone();
        let read = tokio::task::spawn_blocking(move || {
            let contents = batches.into_iter().map(|(number, name)| {
                let whole = folder.read(name).map_err(|error| error.to_string());
                let whole = whole.and_then(|bytes| match batch::check(&bytes) {
                    Ok(()) => Ok(bytes),
                    Err(error) => Err(error.to_string()),
                });
                (number, name, whole)
            });
            contents.collect::<Vec<_>>()
        });
        let mut contents = Vec::new();
        for (number, name, whole) in read.await.unwrap_or_default() {
            match whole {
                Ok(bytes) => contents.push((number, name, bytes)),
                Err(reason) => self.set_aside(name, &reason),
            }
        }
        contents
    }

    fn set_aside(&self, name: Name, reason: &str) {
        let Name { node, sequence } = name;
        tracing::error!(%node, sequence, reason, "a batch of usage in the spool cannot be read; it is set aside");
        if let Err(error) = self.folder.set_aside(name) {
            tracing::error!(%node, sequence, %error, "nor can it be renamed");
        }
        self.pending.lock().remove(name);
        self.stats.damaged.fetch_add(1, Ordering::Relaxed);
        self.publish_state();
    }

    /// Removes what the control plane has stored.
    async fn hear_stored(&self, connection: &mut Connection) -> Result<(), FleetError> {
        let (nodes, has_sent) = {
            let pending = self.pending.lock();
            (pending.nodes(), pending.has_sent())
        };
        if !has_sent {
            return Ok(());
        }
        for node in nodes {
            loop {
                let mut pop = cmd("LPOP");
                pop.arg(self.link.names().stored(node)).arg(ACKNOWLEDGED_MAX);
                let answer = connection.call(self.link.timeout(), &pop).await;
                let sequences: Option<Vec<u64>> = self.link.noted(answer)?;
                let sequences = sequences.unwrap_or_default();
                let is_last = sequences.len() < ACKNOWLEDGED_MAX;
                self.forget(sequences.into_iter().map(|sequence| Name { node, sequence }).collect()).await;
                if is_last {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn forget(&self, names: Vec<Name>) {
        // Removed from disk first: a caller that waits for them to be stored may stop the process at once, and the
        // next run would send them all again.
        let folder = self.folder.clone();
        let removed = names.clone();
        let removing = tokio::task::spawn_blocking(move || {
            let failures: Vec<_> = removed.into_iter().filter_map(|name| folder.remove(name).err()).collect();
            failures.into_iter().next()
        });
        if let Ok(Some(error)) = removing.await {
            tracing::error!(%error, "stored usage cannot be removed from the spool; the next run sends it again");
        }
        let claims = {
            let mut pending = self.pending.lock();
            let stored = names.iter().filter(|name| pending.remove(**name)).count();
            self.stats.stored.fetch_add(stored as u64, Ordering::Relaxed);
            pending.take_idle_claims()
        };
        claims.into_iter().for_each(Claim::give_up);
        self.publish_state();
    }

    /// Looks whether batches of which nothing was heard still stand in the stream; sends those again that do not.
    async fn look_after(&self, connection: &mut Connection) -> Result<(), FleetError> {
        let overdue = self.pending.lock().overdue(Instant::now(), LOOKED_AFTER_MAX);
        if overdue.is_empty() {
            return Ok(());
        }
        let mut look = cmd("EVAL");
        look.arg(STANDING).arg(1).arg(&self.link.names().usage);
        for batch in &overdue {
            look.arg(&batch.entry);
        }
        let standing: Vec<u32> = self.link.noted(connection.call(SEND_MAX, &look).await)?;
        let mut pending = self.pending.lock();
        for (batch, standing) in overdue.iter().zip(standing) {
            if standing > 0 && !batch.is_given_up {
                pending.still_there(batch.number, Instant::now());
            } else {
                pending.unsend(batch.number);
                self.stats.resent.fetch_add(1, Ordering::Relaxed);
            }
        }
        drop(pending);
        self.wake.notify_one();
        Ok(())
    }

    async fn adopt_off_thread(self: &Arc<Self>) {
        let spool = Arc::clone(self);
        let adopted = tokio::task::spawn_blocking(move || spool.adopt()).await;
        if let Ok(Err(error)) = adopted {
            tracing::warn!(%error, "the spool cannot be looked through for usage of earlier runs");
        }
    }
}
