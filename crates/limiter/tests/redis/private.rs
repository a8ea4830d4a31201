//! Redis servers of a test's own: started when the binary is there, killed when the test ends, however it does.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A server without persistence, on a port of its own.
pub(crate) struct Server {
    child: Child,
    port: u16,
    folder: PathBuf,
    options: Vec<String>,
}

/// Says that a test cannot be run without a program.
#[expect(clippy::print_stderr, reason = "whoever runs the tests must see that one did not run")]
pub(crate) fn not_run<T>(missing: &str) -> Option<T> {
    eprintln!("not run: there is no {missing} here");
    None
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// The server dies with the thread that starts it, which is the test's own: it is not left behind where a test is killed
/// and nothing is dropped.
fn start(port: u16, folder: &Path, options: &[String]) -> Child {
    let mut command = if has_setpriv() {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "redis-server"]);
        command
    } else {
        Command::new("redis-server")
    };
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .args(options)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server starts")
}

fn is_there(program: &str) -> bool {
    let run = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

fn has_setpriv() -> bool {
    let run = Command::new("setpriv").args(["--pdeathsig", "KILL", "true"]).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

impl Server {
    /// A server; `None`, and a line that says so, where there is no `redis-server`.
    pub(crate) fn start(options: &[&str]) -> Option<Self> {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        if !is_there("redis-server") {
            return not_run("redis-server");
        }
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("tollgate-limiter-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the server");
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        for _ in 0..10 {
            let port = free_port();
            let child = start(port, &folder, &options);
            let mut server = Self { child, port, folder: folder.clone(), options: options.clone() };
            if server.answers_within(Duration::from_secs(5)) {
                return Some(server);
            }
        }
        panic!("redis-server does not start");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn client(&self) -> redis::Connection {
        redis::Client::open(self.url()).expect("a URL").get_connection().expect("it answers")
    }

    /// Sends a command and returns what it answers as text or number.
    pub(crate) fn run<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut self.client()).expect("it answers")
    }

    fn answers_within(&mut self, time: Duration) -> bool {
        let began = Instant::now();
        while began.elapsed() < time {
            if self.child.try_wait().expect("it can be asked").is_some() {
                return false;
            }
            let client = redis::Client::open(self.url()).expect("a URL");
            if client.get_connection().is_ok_and(|mut connection| redis::cmd("PING").exec(&mut connection).is_ok()) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Starts it again, empty, on the same port.
    pub(crate) fn restart(&mut self) {
        self.child = start(self.port, &self.folder, &self.options);
        assert!(self.answers_within(Duration::from_secs(5)), "it does not start again");
    }

    /// Stops it from running without closing anything, or lets it run again.
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.expect("kill is there").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
