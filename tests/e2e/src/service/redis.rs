//! Redis servers: one, or three as a Cluster.

use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;

use super::daemon::tied;
use super::resp::{Reply, Resp};
use crate::ports::free_ports;
use crate::process::Process;
use crate::wait::{PATIENCE, eventually};

/// Slots of a Cluster.
const SLOTS: u16 = 16_384;
/// Nodes of a Cluster: the fewest that make one.
const NODES: u16 = 3;

/// A Redis server of its own.
#[derive(Debug)]
pub struct RedisServer {
    process: Option<Process>,
    address: SocketAddr,
    options: Vec<String>,
    folder: TempDir,
}

impl RedisServer {
    /// One that keeps what it has across a crash, as one that matters is run.
    pub fn start() -> Self {
        let options = ["--appendonly", "yes", "--appendfsync", "everysec"];
        Self::start_with(options.map(str::to_owned).to_vec())
    }

    /// One that writes nothing to disk.
    pub fn start_in_memory() -> Self {
        Self::start_with(Vec::new())
    }

    fn start_with(options: Vec<String>) -> Self {
        let folder = tempfile::Builder::new().prefix("tollgate-redis-").tempdir().expect("a folder");
        let [address] = free_ports();
        let mut server = Self { process: None, address, options, folder };
        server.start_again();
        server
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Starts it again on what it has on disk, and waits until it answers.
    ///
    /// # Panics
    /// When it runs, or does not come up.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "the server runs");
        let mut command = tied("KILL", None, Path::new("redis-server"));
        command.args(["--port", &self.address.port().to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--daemonize", "no", "--protected-mode", "no", "--dir"]).arg(self.folder.path());
        command.args(&self.options);
        let mut process = Process::spawn(&mut command, self.folder.path());
        eventually("redis-server answers", || {
            assert!(process.ended().is_none(), "redis-server ended: {}{}", process.stdout(), process.stderr());
            let reply = Resp::open(self.address).and_then(|mut open| open.command(&["PING"]));
            reply.is_ok_and(|reply| reply.text() == "PONG").then_some(())
        });
        self.process = Some(process);
    }

    /// Starts it again with nothing.
    pub fn start_again_empty(&mut self) {
        let kept = self.folder.path().join("appendonlydir");
        if kept.exists() {
            std::fs::remove_dir_all(kept).expect("its data can be removed");
        }
        self.start_again();
    }

    /// Ends it by SIGKILL.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        self.process.take().expect("the server runs").stop("KILL", PATIENCE);
    }

    /// Stops it without ending it: its connections stay, and nothing is answered.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pause(&mut self) {
        self.process.as_mut().expect("the server runs").signal("STOP");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn resume(&mut self) {
        self.process.as_mut().expect("the server runs").signal("CONT");
    }

    /// Does one command.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn command(&self, words: &[&str]) -> Reply {
        command(self.address, words)
    }

    /// How often clients had scripts run so far.
    pub fn script_calls(&self) -> u64 {
        let said = self.command(&["INFO", "commandstats"]);
        let calls = |line: &str| {
            let (name, rest) = line.split_once(":calls=")?;
            let is_script = ["cmdstat_eval", "cmdstat_evalsha", "cmdstat_fcall"].contains(&name);
            rest.split(',').next().filter(|_| is_script)?.parse::<u64>().ok()
        };
        said.text().lines().filter_map(calls).sum()
    }
}

#[track_caller]
fn command(address: SocketAddr, words: &[&str]) -> Reply {
    let reply = Resp::open(address).and_then(|mut open| open.command(words));
    reply.unwrap_or_else(|error| panic!("no reply to {words:?}: {error}"))
}

/// Three Redis servers that share the slots of a Cluster.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts them and waits until they are one.
    ///
    /// # Panics
    /// When they do not become one.
    pub fn start() -> Self {
        let node = |_| {
            let [bus] = free_ports();
            let options = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port"];
            let options = options.map(str::to_owned).into_iter().chain([bus.port().to_string()]);
            (RedisServer::start_with(options.collect()), bus)
        };
        let nodes: Vec<(RedisServer, SocketAddr)> = (0..NODES).map(node).collect();
        for (index, (server, _)) in (0..NODES).zip(&nodes) {
            let share = SLOTS.div_ceil(NODES);
            let (first, end) = (index * share, ((index + 1) * share).min(SLOTS));
            let slots = ["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &(end - 1).to_string()];
            assert_eq!(server.command(&slots), Reply::Text("OK".to_owned()));
            let epoch = ["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()];
            assert_eq!(server.command(&epoch), Reply::Text("OK".to_owned()));
        }
        let first = &nodes[0].0;
        for (server, bus) in &nodes[1..] {
            let port = server.address.port().to_string();
            let meet = ["CLUSTER", "MEET", "127.0.0.1", &port, &bus.port().to_string()];
            assert_eq!(first.command(&meet), Reply::Text("OK".to_owned()));
        }
        for (server, _) in &nodes {
            eventually("the cluster is one", || {
                let said = server.command(&["CLUSTER", "INFO"]);
                let is_one =
                    ["cluster_state:ok", "cluster_known_nodes:3"].iter().all(|fact| said.text().contains(fact));
                is_one.then_some(())
            });
        }
        Self { nodes: nodes.into_iter().map(|(server, _)| server).collect() }
    }

    /// Where its nodes are.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }
}
