//! The program, or a part of it, as a process: started on a configuration, asked over its sockets and its command line,
//! stopped and started again on the same folder.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::answer::Answer;
use crate::binary::tollgate;
use crate::cli::{self, Printed};
use crate::http::{Connection, Request};
use crate::metrics::Metrics;
use crate::ports::free_ports;
use crate::process::{Process, Stopped};
use crate::setup::{Addresses, Role, Setup};
use crate::stores::Stores;
use crate::wait::{PATIENCE, eventually, eventually_or_tell};

/// How often other ports are tried when somebody took the free ones first.
const PORT_TRIES_MAX: usize = 5;

/// A running gate.
#[derive(Debug)]
pub struct Gate {
    process: Option<Process>,
    addresses: Addresses,
    config: PathBuf,
    folder: TempDir,
    runs: usize,
    role: Role,
    stores: Arc<Stores>,
}

/// A key as the command that made it printed it.
#[derive(Clone, Debug)]
pub struct Key {
    /// What callers send.
    pub raw: String,
    /// Its id.
    pub id: String,
    /// Its owner's id.
    pub account: String,
}

impl Key {
    /// Out of what `keys create --json` or `keys rotate --json` printed.
    ///
    /// # Panics
    /// When it is not that.
    #[track_caller]
    pub fn of(printed: &Value) -> Self {
        let text = |field: &str| printed[field].as_str().unwrap_or_else(|| panic!("{printed:#}")).to_owned();
        Self { raw: text("key"), id: text("id"), account: text("account") }
    }
}

impl Gate {
    #[track_caller]
    pub(crate) fn start(setup: &Setup) -> Self {
        let mut folder = tempfile::Builder::new().prefix("tollgate-e2e-").tempdir().expect("a folder");
        let config = folder.path().join("tollgate.toml");
        let (role, stores) = (setup.its_role(), setup.its_stores());
        for _ in 0..PORT_TRIES_MAX {
            let [gateway, own_admin, metrics] = free_ports();
            let admin = if let Role::Gateway(admin) = role { admin } else { own_admin };
            let addresses = Addresses { gateway, admin, metrics };
            fs::write(&config, setup.render(&addresses, &stores)).expect("the config can be written");
            let process = Some(spawn(role, &config, folder.path(), 0));
            let stores = Arc::clone(&stores);
            let mut gate = Self { process, addresses, config: config.clone(), folder, runs: 1, role, stores };
            if gate.comes_up() {
                return gate;
            }
            let said = gate.log();
            assert!(said.contains("in use"), "the gate did not start:\n{said}");
            Self { folder, .. } = gate;
        }
        panic!("no free ports after {PORT_TRIES_MAX} tries");
    }

    /// Waits until it is ready. False when it has ended instead.
    fn comes_up(&mut self) -> bool {
        let process = self.process.as_mut().expect("it was just started");
        let metrics = self.addresses.metrics;
        eventually("the gate is ready", || {
            if process.ended().is_some() {
                return Some(false);
            }
            let answer = Connection::try_open(metrics).and_then(|mut open| open.send(&Request::get("/readyz")));
            answer.ok().filter(|answer| answer.status == 200).map(|_| true)
        })
    }

    /// Where it takes requests.
    pub fn address(&self) -> SocketAddr {
        self.addresses.gateway
    }

    /// Where operators reach it.
    pub fn admin_address(&self) -> SocketAddr {
        self.addresses.admin
    }

    /// Where it is observed.
    pub fn metrics_address(&self) -> SocketAddr {
        self.addresses.metrics
    }

    /// The folder of its configuration and its database.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Changes the configuration file in place.
    ///
    /// # Panics
    /// When the change changes nothing, or cannot be written.
    #[track_caller]
    pub fn edit(&self, change: impl FnOnce(String) -> String) {
        let before = fs::read_to_string(&self.config).expect("the config is there");
        let after = change(before.clone());
        assert_ne!(before, after, "the edit changes nothing");
        fs::write(&self.config, after).expect("the config can be written");
    }

    /// The running process.
    ///
    /// # Panics
    /// When it was stopped.
    #[track_caller]
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the gate runs")
    }

    /// Sends a request on a connection of its own.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Answer {
        ask(self.addresses.gateway, request)
    }

    /// A GET with a key.
    #[track_caller]
    pub fn get(&self, target: &str, key: &Key) -> Answer {
        self.send(&Request::get(target).key(&key.raw))
    }

    /// A connection to it.
    pub fn connect(&self) -> Connection {
        Connection::open(self.addresses.gateway)
    }

    /// Sends a request to the metrics listener.
    #[track_caller]
    pub fn observe(&self, target: &str) -> Answer {
        ask(self.addresses.metrics, &Request::get(target))
    }

    /// What `/metrics` says now.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        Metrics::new(self.observe("/metrics").expect(200).text())
    }

    /// Its stores.
    pub fn stores(&self) -> &Arc<Stores> {
        &self.stores
    }

    /// Whether these bytes stand in its database.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn stores_hold(&self, needle: &[u8]) -> bool {
        self.stores.hold(self.folder(), needle)
    }

    /// The operator's token, as the gate keeps it or is told it.
    ///
    /// # Panics
    /// When there is none.
    pub fn token(&self) -> String {
        if let Some(token) = self.stores.token() {
            return token.to_owned();
        }
        fs::read_to_string(self.folder().join("admin-token")).expect("the gate made a token").trim().to_owned()
    }

    /// Asks the operator API with the operator's token.
    #[track_caller]
    pub fn operator(&self, target: &str) -> Answer {
        self.operator_with(target, &self.token())
    }

    /// Asks the operator API with this token.
    #[track_caller]
    pub fn operator_with(&self, target: &str, token: &str) -> Answer {
        let request = Request::get(target).header("authorization", &format!("Bearer {token}"));
        ask(self.addresses.admin, &request)
    }

    /// Sends a request to the operator API with the operator's token.
    #[track_caller]
    pub fn operate(&self, request: Request) -> Answer {
        ask(self.addresses.admin, &request.header("authorization", &format!("Bearer {}", self.token())))
    }

    /// Runs a command with this gate's configuration.
    #[track_caller]
    pub fn cli(&self, arguments: &[&str]) -> Printed {
        cli::run(self.folder(), &self.with_config(arguments), None)
    }

    /// The same for a command that has much to do.
    #[track_caller]
    pub fn cli_within(&self, arguments: &[&str], at_most: Duration) -> Printed {
        cli::run_within(self.folder(), &self.with_config(arguments), None, at_most)
    }

    /// The same, reading a file as its standard input.
    #[track_caller]
    pub fn cli_reading(&self, arguments: &[&str], input: &Path) -> Printed {
        cli::run(self.folder(), &self.with_config(arguments), Some(input))
    }

    fn with_config(&self, arguments: &[&str]) -> Vec<String> {
        let config = self.config.to_str().expect("temporary paths are text");
        ["--config", config].iter().chain(arguments).map(|&argument| argument.to_owned()).collect()
    }

    /// Makes a key for this e-mail on this plan.
    #[track_caller]
    pub fn key(&self, email: &str, plan: &str) -> Key {
        self.key_with(email, plan, &[])
    }

    /// The same with more options.
    #[track_caller]
    pub fn key_with(&self, email: &str, plan: &str, options: &[&str]) -> Key {
        let command = ["keys", "create", "--email", email, "--plan", plan, "--json"];
        let arguments: Vec<&str> = command.into_iter().chain(options.iter().copied()).collect();
        Key::of(&self.cli(&arguments).done().json())
    }

    /// An account as `accounts show` prints it.
    #[track_caller]
    pub fn account(&self, reference: &str) -> Value {
        self.cli(&["accounts", "show", reference, "--json"]).done().json()
    }

    /// Units of quota an account has used.
    ///
    /// # Panics
    /// When it has no quota.
    #[track_caller]
    pub fn used(&self, reference: &str) -> u64 {
        let account = self.account(reference);
        account["quota"]["used"].as_u64().unwrap_or_else(|| panic!("{account:#}"))
    }

    /// Everything this run has written to standard error.
    ///
    /// # Panics
    /// When it never ran.
    pub fn log(&self) -> String {
        let path = self.folder().join(format!("run-{}", self.runs - 1)).join("stderr");
        String::from_utf8_lossy(&fs::read(path).expect("a log")).into_owned()
    }

    /// The same without the lines of requests: what happened to the process itself.
    pub fn story(&self) -> String {
        let log = self.log();
        log.lines().filter(|line| !line.contains("\"message\":\"request\"")).collect::<Vec<_>>().join("\n")
    }

    /// Waits for a line of the log of which this is true.
    #[track_caller]
    pub fn await_log(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let find = || self.log().lines().find(|line| is_it(line)).map(str::to_owned);
        eventually_or_tell(&format!("a line of the log: {what}"), find, || self.log())
    }

    /// Waits for the access-log line of a request, in JSON.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn request_line(&self, answer: &Answer) -> Value {
        let id = answer.header("x-request-id").expect("answers carry their request's id").to_owned();
        let line = self.await_log(&id, |line| line.contains("\"message\":\"request\"") && line.contains(&id));
        serde_json::from_str(&line).expect("the log is JSON")
    }

    /// Waits until the configuration has been read again, well or badly, since `before` was scraped.
    #[track_caller]
    pub fn await_reload(&self, before: &Metrics) {
        let hash = |metrics: &Metrics| {
            metrics.text().lines().find(|line| line.starts_with("tollgate_config_info{")).map(str::to_owned)
        };
        let failures = |metrics: &Metrics| metrics.count("tollgate_config_reload_failures_total", &[]);
        let is_read = || {
            let now = self.metrics();
            (hash(&now) != hash(before) || failures(&now) != failures(before)).then_some(())
        };
        eventually_or_tell("the configuration is read again", is_read, || self.log());
    }

    /// Edits the file and waits until it was read again.
    #[track_caller]
    pub fn reload(&self, change: impl FnOnce(String) -> String) {
        let before = self.metrics();
        self.edit(change);
        self.await_reload(&before);
    }

    /// Stops it by SIGTERM and asserts that it left in order.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn stop(&mut self) -> Stopped {
        let mut process = self.process.take().expect("the gate runs");
        let stopped = process.stop("TERM", PATIENCE);
        assert_eq!(stopped.code, Some(0), "{}", process.stderr());
        stopped
    }

    /// Ends it by SIGKILL.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("the gate runs");
        process.stop("KILL", PATIENCE);
    }

    /// Starts it again on the same folder.
    ///
    /// # Panics
    /// When it runs, or does not come up.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "the gate runs");
        self.process = Some(spawn(self.role, &self.config, self.folder.path(), self.runs));
        self.runs += 1;
        assert!(self.comes_up(), "the gate did not start again:\n{}", self.log());
    }

    /// Stops it in order and starts it again.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// Waits until what was counted so far has reached the ledger.
    #[track_caller]
    pub fn await_ledger(&self) {
        // Counts are handed over four times a second; a batch is on disk when nothing waits and the last was stored.
        let stored = |metrics: &Metrics| metrics.count("tollgate_usage_lines_stored_total", &[]);
        eventually("the ledger has everything", || {
            let before = self.metrics();
            std::thread::sleep(Duration::from_millis(300));
            let after = self.metrics();
            let waiting = ["tollgate_usage_pending_lines", "tollgate_spool_batches"];
            let nothing_waits = waiting.iter().all(|name| after.count(name, &[]) == 0);
            (stored(&before) == stored(&after) && nothing_waits).then_some(())
        });
    }
}

fn spawn(role: Role, config: &Path, folder: &Path, run: usize) -> Process {
    let outputs = folder.join(format!("run-{run}"));
    fs::create_dir_all(&outputs).expect("a folder");
    let mut command = Command::new(tollgate());
    command.arg("--config").arg(config).arg(role.command()).current_dir(folder).stdin(std::process::Stdio::null());
    Process::spawn(&mut command, &outputs)
}

#[track_caller]
fn ask(address: SocketAddr, request: &Request) -> Answer {
    let answer = Connection::open(address).send(request);
    answer.unwrap_or_else(|error| panic!("no answer to {request:?}: {error}"))
}
