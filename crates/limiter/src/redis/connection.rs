//! A connection that many calls share, and that is made again whenever it breaks.
//!
//! A shared connection writes what is waiting together, so calls are pipelined without knowing of each other. What a
//! call means and how long it may take is not known here.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::sync::{Notify, watch};

use super::{Topology, scripts};

/// Commands that may wait to be written; more wait for room.
const PIPELINE_MAX: usize = 4_096;
/// How long an answer is still listened for after its call was given up: it may tell of a debit to be undone.
const LATE_MAX: Duration = Duration::from_secs(10);
/// How long making a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Between two tries to connect.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How often a command is sent on to where Cluster says its key is now.
const REDIRECTS_MAX: u32 = 4;

/// Where connections lead.
#[derive(Clone)]
pub(super) enum Source {
    Single(Box<Client>),
    Cluster(Box<ClusterClient>),
}

/// One connection as a call uses it.
#[derive(Clone)]
pub(super) enum Wire {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A connection that is being kept up.
pub(super) struct Shared {
    wire: watch::Receiver<Option<Wire>>,
    broken: Arc<Notify>,
}

impl Source {
    pub(super) fn new(topology: &Topology) -> RedisResult<Self> {
        Ok(match topology {
            Topology::Single(url) => Self::Single(Box::new(Client::open(url.as_str())?)),
            // A command is never sent twice but where Cluster says that it was not done: see `Wire::ask`.
            Topology::Cluster(urls) => Self::Cluster(Box::new(
                ClusterClientBuilder::new(urls.iter().map(String::as_str))
                    .retries(0)
                    .connection_timeout(CONNECT_MAX)
                    .response_timeout(LATE_MAX)
                    .overall_response_timeout(Some(LATE_MAX))
                    .build()?,
            )),
        })
    }

    /// A connection to a server that knows the scripts, so that the first calls need not send them all at once.
    async fn connect(&self) -> RedisResult<Wire> {
        let mut wire = self.open().await?;
        let load = async {
            for text in scripts::all() {
                let mut command = redis::cmd("SCRIPT");
                command.arg("LOAD").arg(text);
                if let Err(error) = wire.ask(&command).await {
                    // Each call that misses its script sends it.
                    tracing::debug!(%error, "a script could not be loaded ahead");
                }
            }
        };
        // A server that does not answer this is found out by the calls.
        drop(tokio::time::timeout(CONNECT_MAX, load).await);
        Ok(wire)
    }

    async fn open(&self) -> RedisResult<Wire> {
        match self {
            Self::Single(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT_MAX))
                    .set_response_timeout(Some(LATE_MAX))
                    .set_pipeline_buffer_size(PIPELINE_MAX);
                client.get_multiplexed_async_connection_with_config(&config).await.map(Wire::Single)
            }
            Self::Cluster(client) => client.get_async_connection().await.map(Wire::Cluster),
        }
    }
}

impl Wire {
    /// Sends a command and waits for its answer. In a Cluster it follows the key to where it has gone.
    pub(super) async fn ask(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(command).await.and_then(Value::extract_error),
            Self::Cluster(connection) => ask_cluster(connection, command).await,
        }
    }
}

async fn ask_cluster(connection: &mut ClusterConnection, command: &Cmd) -> RedisResult<Value> {
    let mut redirects = 0;
    loop {
        let error = match connection.req_packed_command(command).await.and_then(Value::extract_error) {
            Err(error) if redirects < REDIRECTS_MAX => error,
            answer => return answer,
        };
        redirects += 1;
        let answer = match (error.kind(), redirect_of(&error)) {
            (ErrorKind::Server(ServerErrorKind::Moved), Some(node)) => {
                let answer = connection.route_command(command.clone(), RoutingInfo::SingleNode(node)).await;
                answer.and_then(Value::extract_error)
            }
            (ErrorKind::Server(ServerErrorKind::Ask), Some(node)) => {
                let mut pipeline = Pipeline::with_capacity(2);
                pipeline.cmd("ASKING").ignore().add_command(command.clone());
                let answers = connection.route_pipeline(pipeline, 1, 1, node).await?;
                answers.into_iter().next().ok_or(error).and_then(Value::extract_error)
            }
            (ErrorKind::Server(ServerErrorKind::TryAgain), _) => Err(error),
            _ => return Err(error),
        };
        match answer {
            Err(error) if is_elsewhere(&error) => tokio::time::sleep(Duration::from_millis(1)).await,
            answer => return answer,
        }
    }
}

/// Whether the command was not done because its key is at another node, or between two.
fn is_elsewhere(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::TryAgain))
}

fn redirect_of(error: &RedisError) -> Option<SingleNodeRoutingInfo> {
    let (address, _) = error.redirect_node()?;
    let (host, port) = address.rsplit_once(':')?;
    Some(SingleNodeRoutingInfo::ByAddress { host: host.to_owned(), port: port.parse().ok()? })
}

impl Shared {
    /// Keeps a connection up from now on, until this is dropped.
    pub(super) fn keep(source: Source, runtime: &tokio::runtime::Handle) -> Self {
        let (sender, wire) = watch::channel(None);
        let broken = Arc::new(Notify::new());
        runtime.spawn(keep_up(source, sender, Arc::clone(&broken)));
        Self { wire, broken }
    }

    /// The connection, as soon as there is one.
    pub(super) async fn wire(&self) -> Option<Wire> {
        if let Some(wire) = &*self.wire.borrow() {
            return Some(wire.clone());
        }
        self.wire.clone().wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Tells that the connection is no good: another one takes its place.
    pub(super) fn replace(&self) {
        self.broken.notify_one();
    }
}

async fn keep_up(source: Source, sender: watch::Sender<Option<Wire>>, broken: Arc<Notify>) {
    loop {
        let connected = tokio::select! {
            connected = source.connect() => connected,
            () = sender.closed() => return,
        };
        match connected {
            Ok(wire) => {
                sender.send_replace(Some(wire));
                tokio::select! {
                    () = broken.notified() => {}
                    () = sender.closed() => return,
                }
                sender.send_replace(None);
            }
            Err(error) => {
                tracing::debug!(%error, "no connection to Redis");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}
