//! A private `redis-server` that a test may kill, pause and empty, and patience. Nothing here asserts anything about
//! the fleet.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_redis::redis::{Client, Connection, FromRedisValue, cmd};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tollgate_domain::{Clock, Timestamp};
use tollgate_fleet::{FleetLink, LinkSettings, Topology};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server of the test's own. It is gone when dropped.
pub(crate) struct Server {
    port: u16,
    folder: TempDir,
    child: Child,
    is_cluster: bool,
}

impl Server {
    /// Starts a server; `None`, and a line that says so, where none is installed.
    pub(crate) fn start() -> Option<Self> {
        is_installed().then(|| Self::start_as(false))
    }

    /// Starts a Cluster of three that share the slots.
    pub(crate) fn start_cluster() -> Option<Vec<Self>> {
        if !is_installed() {
            return None;
        }
        let servers: Vec<Self> = (0..3).map(|_| Self::start_as(true)).collect();
        for (server, slots) in servers.iter().zip([("0", "5460"), ("5461", "10922"), ("10923", "16383")]) {
            server.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", slots.0, slots.1]);
            server.ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &servers[0].port.to_string()]);
        }
        let start = Instant::now();
        while !servers.iter().all(|server| server.ask::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:ok")) {
            assert!(start.elapsed() < PATIENCE, "the Cluster does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(servers)
    }

    fn start_as(is_cluster: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let child = spawn(port, &folder, is_cluster);
        let server = Self { port, folder, child, is_cluster };
        server.wait_for_answer();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// A link as a process has it.
    pub(crate) fn link(&self) -> Arc<FleetLink> {
        let settings = LinkSettings {
            timeout: Duration::from_millis(500),
            ..LinkSettings::new(Topology::Single(self.url()), "tg")
        };
        FleetLink::new(&settings).expect("a good address")
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it lives");
        self.child.wait().expect("it was started here");
    }

    /// Starts it again at the same address, with what it had saved, if anything.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.port, &self.folder, self.is_cluster);
        self.wait_for_answer();
    }

    /// Stops it from doing anything, its connections left open.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// One command, from outside of the fleet.
    pub(crate) fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query(&mut self.connect().expect("it answers")).expect("a good command")
    }

    fn connect(&self) -> Option<Connection> {
        Client::open(self.url()).expect("a good address").get_connection_with_timeout(Duration::from_secs(2)).ok()
    }

    fn wait_for_answer(&self) {
        let start = Instant::now();
        while self.connect().is_none() {
            assert!(start.elapsed() < PATIENCE, "redis-server does not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().expect("kill is there");
        assert!(sent.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill() {
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "already dead");
        }
        self.child.wait().expect("it was started here");
    }
}

#[expect(clippy::print_stderr, reason = "a test that does not run must say so")]
fn is_installed() -> bool {
    let version = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
    let is_installed = version.is_ok_and(|status| status.success());
    if !is_installed {
        eprintln!("not run: no redis-server is installed");
    }
    is_installed
}

/// A port that is free and leaves room for the one, 10 000 above, over which the nodes of a Cluster speak.
fn free_port() -> u16 {
    loop {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        if port < 55_000 {
            return port;
        }
    }
}

/// The server dies with the thread that starts it, which is the test's own: it is not left behind where a test is killed
/// and nothing is dropped.
fn spawn(port: u16, folder: &TempDir, is_cluster: bool) -> Child {
    let mut command = if has_setpriv() {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "redis-server"]);
        command
    } else {
        Command::new("redis-server")
    };
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--cluster-enabled", if is_cluster { "yes" } else { "no" }, "--dir"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server starts")
}

fn has_setpriv() -> bool {
    let run = Command::new("setpriv").args(["--pdeathsig", "KILL", "true"]).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

/// A background task and the end of it.
pub(crate) struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    /// Runs what needs to be told when to stop.
    pub(crate) fn start<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(watch::Receiver<bool>) -> F) -> Self {
        let stop = watch::Sender::new(false);
        let task = tokio::spawn(run(stop.subscribe()));
        Self { stop, task }
    }

    /// Lets it end by itself.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        tokio::time::timeout(PATIENCE, self.task).await.expect("it stops when told to").expect("it does not panic");
    }

    /// Ends it where it stands, as a crash would.
    pub(crate) fn crash(self) {
        self.task.abort();
    }
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// This machine's clock, off by so many microseconds.
pub(crate) struct SystemClock(pub(crate) i64);

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is past 1970");
        Timestamp::from_micros(i64::try_from(elapsed.as_micros()).expect("it is before 294 000") + self.0)
    }
}
