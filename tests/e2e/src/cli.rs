//! Runs one command to its end.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::binary::tollgate;
use crate::process::Process;
use crate::wait::PATIENCE;

/// What a command printed, and how it ended.
#[derive(Clone, Debug)]
pub struct Printed {
    /// Its exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Printed {
    /// Asserts that it is done (exit status 0), and gives it back.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "an assertion is worth its call without what it gives back")]
    pub fn done(self) -> Self {
        self.exits(0)
    }

    /// Asserts its exit status.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "an assertion is worth its call without what it gives back")]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Asserts that standard error holds this text.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "an assertion is worth its call without what it gives back")]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "no {text:?} in: {}", self.stderr);
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in {}\nstderr: {}", self.stdout, self.stderr))
    }
}

/// Runs `tollgate` with these arguments in this folder until it ends by itself.
///
/// # Panics
/// When it does not end soon.
#[track_caller]
pub fn run(folder: &Path, arguments: &[impl AsRef<OsStr>], stdin: Option<&Path>) -> Printed {
    run_within(folder, arguments, stdin, PATIENCE)
}

/// The same for a command that has much to do.
///
/// # Panics
/// When it does not end in this time.
#[track_caller]
pub fn run_within(folder: &Path, arguments: &[impl AsRef<OsStr>], stdin: Option<&Path>, at_most: Duration) -> Printed {
    let mut command = Command::new(tollgate());
    command.args(arguments).current_dir(folder).env_remove("TOLLGATE_CONFIG");
    finish(&mut command, stdin, at_most)
}

/// Runs a command of an API's consumer, who has this home and these variables and no part in how the API is run.
///
/// # Panics
/// When it does not end soon.
#[track_caller]
pub fn run_consumer(home: &Path, arguments: &[&str], variables: &[(&str, &str)], stdin: Option<&Path>) -> Printed {
    let mut command = Command::new(tollgate());
    for absent in ["TOLLGATE_CONFIG", "TOLLGATE_API_KEY", "TOLLGATE_API_URL", "XDG_CONFIG_HOME"] {
        command.env_remove(absent);
    }
    command.args(arguments).current_dir(home).env("HOME", home).envs(variables.iter().copied());
    finish(&mut command, stdin, PATIENCE)
}

#[track_caller]
fn finish(command: &mut Command, stdin: Option<&Path>, at_most: Duration) -> Printed {
    command.stdin(stdin.map_or_else(Stdio::null, |path| std::fs::File::open(path).expect("the input is there").into()));
    let scratch = tempfile::tempdir().expect("a folder");
    let mut process = Process::spawn(command, scratch.path());
    let status = process.wait_for_end(at_most);
    let status = status.unwrap_or_else(|| panic!("the command did not end in {at_most:?}: {}", process.stderr()));
    Printed { code: status.code(), stdout: process.stdout(), stderr: process.stderr() }
}
