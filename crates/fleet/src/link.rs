//! The connections to Redis: a pool for ordinary calls, and connections of their own for those that wait in Redis.
//!
//! Every call is bounded in time, whatever the server or the network does, and nothing needs Redis to be there at the
//! start. What is said over the connections is not known here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use deadpool_redis::cluster;
use deadpool_redis::redis::aio::{ConnectionLike, MultiplexedConnection};
use deadpool_redis::redis::cluster::ClusterClient;
use deadpool_redis::redis::cluster_async::ClusterConnection;
use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, IntoConnectionInfo, Pipeline, RedisFuture, Value,
};
use deadpool_redis::{Manager, Pool, Runtime, Timeouts};

use crate::error::FleetError;
use crate::names::Names;

/// Where Redis is.
#[derive(Clone)]
pub enum Topology {
    /// One server, as `redis://…` or, with TLS, `rediss://…`.
    Single(String),
    /// Some nodes of a Cluster, in the same form; the others are learnt from them.
    Cluster(Vec<String>),
}

impl std::fmt::Debug for Topology {
    /// Without the addresses: they may hold a password.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Single(_) => formatter.write_str("Single"),
            Self::Cluster(urls) => write!(formatter, "Cluster of {} or more", urls.len()),
        }
    }
}

/// How Redis is reached.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// Where it is.
    pub topology: Topology,
    /// What every name in it begins with, a colon left out: deployments that share a server tell their things by it.
    pub prefix: String,
    /// The longest that an ordinary call takes, finding a connection included.
    pub timeout: Duration,
    /// Connections for ordinary calls, at most. Those that wait in Redis come on top.
    pub connections: usize,
}

impl LinkSettings {
    /// 1 s for a call and 8 connections.
    pub fn new(topology: Topology, prefix: &str) -> Self {
        Self { topology, prefix: prefix.into(), timeout: Duration::from_secs(1), connections: 8 }
    }
}

enum Pools {
    Single { pool: Pool, client: Box<Client> },
    Cluster { pool: cluster::Pool, urls: Vec<String> },
}

/// The way to Redis for everything but the limits.
pub struct FleetLink {
    pools: Pools,
    names: Names,
    timeout: Duration,
    is_away: AtomicBool,
    failures: AtomicU64,
}

impl FleetLink {
    /// Reads the addresses. Nothing is connected yet: Redis may come later.
    ///
    /// # Errors
    /// An address cannot be read, or there is none. The message does not repeat it: it may hold a password.
    pub fn new(settings: &LinkSettings) -> Result<Arc<Self>, FleetError> {
        let LinkSettings { topology, prefix, timeout, connections } = settings;
        let timeouts = Timeouts { wait: Some(*timeout), create: Some(*timeout), recycle: Some(*timeout) };
        let unreadable = |_| FleetError::Settings("the address of Redis is not one".into());
        let no_pool = |error: &dyn std::fmt::Display| FleetError::Settings(format!("no pool for Redis: {error}"));
        let pools = match topology {
            Topology::Single(url) => {
                let client = Client::open(url.as_str()).map_err(unreadable)?;
                let config = bounded(*timeout);
                let manager = Manager::new_with_config(url.as_str(), config).map_err(unreadable)?;
                let builder = Pool::builder(manager).max_size(*connections).timeouts(timeouts);
                let pool = builder.runtime(Runtime::Tokio1).build().map_err(|error| no_pool(&error))?;
                Pools::Single { pool, client: Box::new(client) }
            }
            Topology::Cluster(urls) => {
                if urls.is_empty() {
                    return Err(FleetError::Settings("no address of a node of the Redis Cluster is given".into()));
                }
                for url in urls {
                    url.as_str().into_connection_info().map_err(unreadable)?;
                }
                let manager = cluster::Manager::new(urls.clone(), false).map_err(unreadable)?;
                let builder = cluster::Pool::builder(manager).max_size(*connections).timeouts(timeouts);
                let pool = builder.runtime(Runtime::Tokio1).build().map_err(|error| no_pool(&error))?;
                Pools::Cluster { pool, urls: urls.clone() }
            }
        };
        let (is_away, failures) = (AtomicBool::new(false), AtomicU64::new(0));
        Ok(Arc::new(Self { pools, names: Names::new(prefix), timeout: *timeout, is_away, failures }))
    }

    /// What things are called in Redis.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// The bound of an ordinary call.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether the last call failed.
    pub fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    /// Calls that failed or were not answered in time, since the start.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Whether all keys are on one server, so that a pipeline may name any of them.
    pub(crate) fn is_single(&self) -> bool {
        matches!(self.pools, Pools::Single { .. })
    }

    /// One command, within the bound of an ordinary call.
    pub(crate) async fn call<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, FleetError> {
        self.call_within(self.timeout, command).await
    }

    /// One command, within a bound of its own.
    pub(crate) async fn call_within<T: FromRedisValue>(&self, bound: Duration, command: &Cmd) -> Result<T, FleetError> {
        let answer = within(bound, async {
            let mut connection = self.pooled().await?;
            Ok(command.query_async(&mut connection).await?)
        });
        self.noted(answer.await)
    }

    /// Several commands in one go, within the bound of an ordinary call. In a Cluster they must name one key.
    pub(crate) async fn pipe<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, FleetError> {
        let answer = within(self.timeout, async {
            let mut connection = self.pooled().await?;
            Ok(pipeline.query_async(&mut connection).await?)
        });
        self.noted(answer.await)
    }

    /// A connection outside of the pool, for calls that wait in Redis. Each call on it brings its own bound.
    pub(crate) async fn own(&self) -> Result<Connection, FleetError> {
        let connection = within(self.timeout, async {
            Ok(match &self.pools {
                Pools::Single { client, .. } => {
                    let config = AsyncConnectionConfig::new()
                        .set_connection_timeout(Some(self.timeout))
                        .set_response_timeout(None);
                    Connection::Own(client.get_multiplexed_async_connection_with_config(&config).await?)
                }
                Pools::Cluster { urls, .. } => {
                    // No retries of its own: the caller's loop tries again and knows what an interruption means.
                    let builder = ClusterClient::builder(urls.clone())
                        .connection_timeout(self.timeout)
                        .response_timeout(LONGEST_WAIT)
                        .retries(1);
                    Connection::OwnCluster(builder.build()?.get_async_connection().await?)
                }
            })
        });
        self.noted(connection.await)
    }

    /// Counts a failure, and logs when Redis goes away and when it is back: one line each.
    pub(crate) fn noted<T>(&self, result: Result<T, FleetError>) -> Result<T, FleetError> {
        match &result {
            Ok(_) => {
                if self.is_away.load(Ordering::Relaxed) && self.is_away.swap(false, Ordering::Relaxed) {
                    tracing::info!("Redis answers again");
                }
            }
            // A server that refuses a command is there.
            Err(error) if error.code().is_some() => {}
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                if !self.is_away.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "Redis is away; nodes hear of changes and usage once it is back");
                }
            }
        }
        result
    }

    async fn pooled(&self) -> Result<Connection, FleetError> {
        Ok(match &self.pools {
            Pools::Single { pool, .. } => Connection::Pooled(Box::pin(pool.get()).await.map_err(FleetError::away)?),
            Pools::Cluster { pool, .. } => {
                Connection::PooledCluster(Box::pin(pool.get()).await.map_err(FleetError::away)?)
            }
        })
    }
}

impl std::fmt::Debug for FleetLink {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let topology = if self.is_single() { "single" } else { "cluster" };
        write!(formatter, "FleetLink({topology}, away: {})", self.is_away())
    }
}

/// Longer than any call waits in Redis; callers bound each one themselves, and tighter.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

fn bounded(timeout: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(timeout)).set_response_timeout(Some(timeout))
}

/// Bounds a call in time.
async fn within<T>(bound: Duration, call: impl Future<Output = Result<T, FleetError>>) -> Result<T, FleetError> {
    tokio::time::timeout(bound, call).await.unwrap_or(Err(FleetError::Slow(bound)))
}

/// A connection of either kind.
pub(crate) enum Connection {
    Pooled(deadpool_redis::Connection),
    PooledCluster(cluster::Connection),
    Own(MultiplexedConnection),
    OwnCluster(ClusterConnection),
}

impl Connection {
    /// One command, bounded in time.
    pub(crate) async fn call<T: FromRedisValue>(&mut self, bound: Duration, command: &Cmd) -> Result<T, FleetError> {
        within(bound, async { Ok(command.query_async(self).await?) }).await
    }

    /// Several commands in one go, bounded in time. In a Cluster they must name one key.
    pub(crate) async fn pipe<T: FromRedisValue>(
        &mut self,
        bound: Duration,
        pipeline: &Pipeline,
    ) -> Result<T, FleetError> {
        within(bound, async { Ok(pipeline.query_async(self).await?) }).await
    }

    fn inner(&mut self) -> &mut (dyn ConnectionLike + Send) {
        match self {
            Self::Pooled(connection) => connection,
            Self::PooledCluster(connection) => connection,
            Self::Own(connection) => connection,
            Self::OwnCluster(connection) => connection,
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        self.inner().req_packed_command(command)
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.inner().req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Pooled(connection) => connection.get_db(),
            Self::PooledCluster(connection) => connection.get_db(),
            Self::Own(connection) => connection.get_db(),
            Self::OwnCluster(connection) => connection.get_db(),
        }
    }
}
