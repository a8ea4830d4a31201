//! A server of the system's as a child that ends with us, whatever ends us.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An account of this machine that may own a server's data.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Whether this process is root's.
pub(super) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|data| data.uid() == 0)
}

/// The first of these users that this machine has.
pub(super) fn user(names: &[&str]) -> Option<User> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    names.iter().find_map(|wanted| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(wanted))?;
        let mut ids = line.split(':').skip(2).map_while(|field| field.parse().ok());
        Some(User { uid: ids.next()?, gid: ids.next()? })
    })
}

/// A command that gets this signal when the thread that starts it ends, so that no server outlives a test that is killed.
/// It must be started by a thread that lives as long as it should.
pub(super) fn tied(signal: &str, user: Option<&User>, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal]);
    if let Some(user) = user {
        command.arg(format!("--reuid={}", user.uid)).arg(format!("--regid={}", user.gid)).arg("--init-groups");
    }
    command.arg("--").arg(program);
    command
}

/// Where a program is: in one of these folders, else on `PATH`.
pub(super) fn program(name: &str, folders: &[PathBuf]) -> PathBuf {
    folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()).unwrap_or_else(|| name.into())
}
