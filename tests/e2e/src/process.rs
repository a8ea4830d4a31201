//! A child process whose output goes to files, and which never outlives its test.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// How often the system is asked whether a child has ended.
const PAUSE: Duration = Duration::from_millis(2);

/// How much of what a process said is told when its test fails.
const TOLD_LINES_MAX: usize = 60;

/// A child process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    ended: Option<ExitStatus>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug)]
pub struct Stopped {
    /// Its exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// How long it took since it was asked to.
    pub took: Duration,
}

impl Process {
    /// Starts it, its output in files of this folder.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(command: &mut Command, folder: &Path) -> Self {
        let (stdout, stderr) = (folder.join("stdout"), folder.join("stderr"));
        let file = |path: &Path| File::options().create(true).append(true).open(path).expect("an output file");
        let child = command.stdout(file(&stdout)).stderr(file(&stderr)).spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
        Self { child, stdout, stderr, ended: None }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child of ours can be waited for");
        }
        self.ended
    }

    /// Waits until it ends by itself; `None` when it does not in this time.
    pub fn wait_for_end(&mut self, at_most: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        loop {
            let ended = self.ended();
            if ended.is_some() || began.elapsed() > at_most {
                return ended;
            }
            thread::sleep(PAUSE);
        }
    }

    /// Sends a signal, such as `TERM`.
    ///
    /// # Panics
    /// When it has ended already, or there is no shell.
    pub fn signal(&mut self, name: &str) {
        assert!(self.ended().is_none(), "the process has ended: {}", self.stderr());
        let sent = Command::new("sh").args(["-c", &format!("kill -s {name} {}", self.id())]).status();
        assert!(sent.expect("sh can be run").success(), "SIG{name} could not be sent");
    }

    /// Sends a signal and waits for the end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn stop(&mut self, signal: &str, at_most: Duration) -> Stopped {
        let began = Instant::now();
        self.signal(signal);
        let status = self.wait_for_end(at_most);
        let status = status.unwrap_or_else(|| panic!("SIG{signal} did not end it in {at_most:?}:\n{}", self.stderr()));
        Stopped { code: status.code(), took: began.elapsed() }
    }

    /// A figure of `/proc/…/status` in bytes, such as `VmHWM`.
    ///
    /// # Panics
    /// When there is none.
    pub fn memory(&self, figure: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("a process has a status");
        let line = status.lines().find(|line| line.starts_with(figure)).expect("the status has this figure");
        let kilobytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
        kilobytes.expect("a number") * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            // It may end by itself meanwhile; then there is nothing to do.
            drop(self.child.kill());
            drop(self.child.wait());
        }
        if thread::panicking() {
            self.tell();
        }
    }
}

impl Process {
    /// Writes the end of what it said to our own standard error: the test that it was started for fails.
    fn tell(&self) {
        let said = read(&self.stderr);
        let lines: Vec<&str> = said.lines().filter(|line| !line.contains("\"message\":\"request\"")).collect();
        let end = lines[lines.len().saturating_sub(TOLD_LINES_MAX)..].join("\n");
        // There is nobody to tell that it could not be told.
        drop(writeln!(std::io::stderr(), "-- process {} said:\n{end}\n--", self.id()));
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).expect("an output file")).into_owned()
}
