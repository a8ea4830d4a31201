//! A gateway's side of the stream of changes: reads on from where it stopped, and tells a sink of this process.
//!
//! None is missed in silence. Where the stream was cut off behind the reader, emptied, or replaced (a server that came
//! back with an older copy, a replica that took over), the sink forgets all it remembers, and the reader goes on from
//! the newest entry that it knew of before that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use deadpool_redis::redis::streams::StreamReadReply;
use deadpool_redis::redis::{Cmd, FromRedisValue, Pipeline, Value, cmd};
use tokio::sync::watch;
use tollgate_domain::{Clock, SECOND_US, Timestamp};
use tollgate_store::{ChangeSink, Feed};

use crate::backoff::Backoff;
use crate::change::{self, Said};
use crate::error::FleetError;
use crate::link::{Connection, FleetLink};

/// How long one reading waits for something new. Each one that ends says that all before it has arrived.
const BLOCK: Duration = Duration::from_millis(300);
/// Entries in one reading.
const BATCH_SIZE: usize = 1_000;
/// How long to wait before connecting anew, at first and at most.
const ON_ERROR_FIRST: Duration = Duration::from_millis(50);
const ON_ERROR_MOST: Duration = Duration::from_secs(1);
/// Changes that a stream which is begun here keeps, about.
const STREAM_LENGTH: usize = 100_000;

/// By how much the clock may differ from Redis time for what it says to be believed, in microseconds.
const CLOCK_ERROR_US: u64 = 1_000_000;

const PLACE: &str = concat!(include_str!("script/history.lua"), include_str!("script/place.lua"));

/// How a reader is doing, for metrics.
#[derive(Debug, Default)]
pub struct ReaderStats {
    /// Changes told to the sink.
    pub changes: AtomicU64,
    /// Times that everything remembered had to be forgotten, as changes may have been missed.
    pub resyncs: AtomicU64,
    /// Connections made after the first one.
    pub reconnects: AtomicU64,
    /// Whether it is connected.
    pub is_connected: AtomicBool,
    /// How long the newest change that was told had been under way, in microseconds; zero when none is on its way.
    pub lag_us: AtomicI64,
}

/// Reads the stream of changes for one process.
pub struct ChangeReader {
    link: Arc<FleetLink>,
    sink: Arc<dyn ChangeSink>,
    feed: Arc<Feed>,
    clock: Arc<dyn Clock>,
    stats: ReaderStats,
}

/// Where a reader stands.
struct Position {
    /// The server's history that the entry belongs to.
    history: String,
    /// The last entry known.
    entry: String,
}

impl ChangeReader {
    /// A reader that tells `sink`, and `feed` that it does. The clock is the fleet's.
    pub fn new(link: Arc<FleetLink>, sink: Arc<dyn ChangeSink>, feed: Arc<Feed>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { link, sink, feed, clock, stats: ReaderStats::default() })
    }

    /// How it is doing.
    pub fn stats(&self) -> &ReaderStats {
        &self.stats
    }

    /// Reads until told to stop.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::new(ON_ERROR_FIRST, ON_ERROR_MOST);
        let mut position = None;
        let mut was_connected = false;
        while !*stop.borrow() {
            let ended = tokio::select! {
                ended = self.read_on(&mut position, &mut backoff, was_connected) => ended,
                _ = stop.changed() => break,
            };
            was_connected |= self.stats.is_connected.swap(false, Ordering::Relaxed);
            if let Err(error) = &ended
                && !backoff.is_failing()
            {
                tracing::warn!(%error, "changes do not arrive; what is remembered is read again when it gets old");
            }
            let wait = backoff.failed();
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stop.changed() => break,
            }
        }
    }

    /// Reads over one connection, for as long as it lasts.
    async fn read_on(
        &self,
        position: &mut Option<Position>,
        backoff: &mut Backoff,
        is_again: bool,
    ) -> Result<(), FleetError> {
        let mut connection = self.link.own().await?;
        self.stats.is_connected.store(true, Ordering::Relaxed);
        self.stats.reconnects.fetch_add(u64::from(is_again), Ordering::Relaxed);
        loop {
            let known = match position {
                Some(known) => known,
                None => position.insert(self.begin(&mut connection).await?),
            };
            let sent_at = self.clock.now();
            let (entries, place) = self.read(&mut connection, known).await?;
            if backoff.succeeded() && is_again {
                tracing::info!("changes arrive again");
            }
            if !place.is_known || place.history != known.history {
                self.stats.resyncs.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("changes may have been missed; everything remembered is read again");
                *position = None;
                continue;
            }
            let is_all = entries.len() < BATCH_SIZE;
            let is_right = self.clock.now().as_micros().abs_diff(place.now_us) < CLOCK_ERROR_US;
            self.tell(known, entries).await;
            // A clock that has not learnt Redis time yet might say that the feed lives until long after now.
            if is_all && is_right {
                // What was published before the reading was sent has been told; what came while it waited, perhaps not.
                // A relay that lives but cannot carry what it has, as when Redis is full, holds this back as well.
                let carried_at = place.carried_us.map_or(sent_at, Timestamp::from_micros);
                self.feed.heard(sent_at.min(carried_at));
            }
        }
    }

    /// Stands at the end of the stream, with nothing remembered from before.
    async fn begin(&self, connection: &mut Connection) -> Result<Position, FleetError> {
        let bound = self.link.timeout();
        let place: Place = connection.call(bound, &self.place_command("")).await?;
        let entry = if place.newest.is_empty() {
            // An entry to stand at, so that its loss can be told.
            let mark = change::append(&self.link.names().changes, &change::write_mark(), STREAM_LENGTH);
            connection.call(bound, &mark).await?
        } else {
            place.newest
        };
        // Only now: what changes from here on is read from the stream.
        self.sink.resync().await;
        Ok(Position { history: place.history, entry })
    }

    /// What came after the position, and, looked at afterwards, whether the position was still there.
    async fn read(
        &self,
        connection: &mut Connection,
        known: &Position,
    ) -> Result<(Vec<(String, Option<Vec<u8>>)>, Place), FleetError> {
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(BATCH_SIZE).arg("BLOCK").arg(millis(BLOCK));
        read.arg("STREAMS").arg(&self.link.names().changes).arg(&known.entry);
        let mut pipeline = Pipeline::new();
        pipeline.add_command(read).add_command(self.place_command(&known.entry));
        let answer = connection.pipe(BLOCK + self.link.timeout(), &pipeline).await;
        let (reply, place): (Option<StreamReadReply>, Place) = self.link.noted(answer)?;
        let entries = reply.into_iter().flat_map(|reply| reply.keys).flat_map(|stream| stream.ids);
        let entries = entries.map(|entry| {
            let text = entry.map.get(change::FIELD).and_then(|value| Vec::from_redis_value(value.clone()).ok());
            (entry.id, text)
        });
        Ok((entries.collect(), place))
    }

    fn place_command(&self, entry: &str) -> Cmd {
        let mut command = cmd("EVAL");
        let names = self.link.names();
        command.arg(PLACE).arg(2).arg(&names.changes).arg(&names.carried).arg(entry);
        command
    }

    /// Tells the sink, entry by entry, and stands after each one it has been told of.
    async fn tell(&self, known: &mut Position, entries: Vec<(String, Option<Vec<u8>>)>) {
        if entries.is_empty() {
            self.stats.lag_us.store(0, Ordering::Relaxed);
        }
        for (id, text) in entries {
            match text.as_deref().map_or(Said::Unreadable, change::read) {
                Said::Change(change) => {
                    self.sink.publish(&change).await;
                    self.stats.changes.fetch_add(1, Ordering::Relaxed);
                }
                Said::Mark => {}
                Said::Unreadable => {
                    tracing::warn!(entry = %id, "a change cannot be understood; everything remembered is read again");
                    self.stats.resyncs.fetch_add(1, Ordering::Relaxed);
                    self.sink.resync().await;
                }
            }
            if let Some(at) = time_of(&id) {
                self.stats.lag_us.store(self.clock.now().micros_since(at), Ordering::Relaxed);
            }
            known.entry = id;
        }
    }
}

/// The end of the stream, and what became of an entry.
struct Place {
    history: String,
    is_known: bool,
    newest: String,
    /// The time of the server.
    now_us: i64,
    /// Until when relays have carried every change; `None` where no relay says anything.
    carried_us: Option<i64>,
}

impl FromRedisValue for Place {
    fn from_redis_value(value: Value) -> Result<Self, deadpool_redis::redis::ParsingError> {
        let (history, known, newest, (seconds, micros), carried): (String, u32, String, (i64, i64), String) =
            FromRedisValue::from_redis_value(value)?;
        let now_us = seconds * SECOND_US + micros;
        Ok(Self { history, is_known: known > 0, newest, now_us, carried_us: carried.parse().ok() })
    }
}

/// When an entry was appended, by the clock of the server: its id begins with the milliseconds.
fn time_of(id: &str) -> Option<Timestamp> {
    let millis: i64 = id.split('-').next()?.parse().ok()?;
    Some(Timestamp::from_micros(millis.checked_mul(1_000)?))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
