//! A `PostgreSQL` server, and databases in one.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::daemon::{User, is_root, program, tied, user};
use crate::ports::free_ports;
use crate::process::Process;
use crate::unique::unique;
use crate::wait::PATIENCE;

/// Who the tests are to the server.
const ROLE: &str = "tollgate";
/// How often the server is asked whether it is up.
const PAUSE: Duration = Duration::from_millis(50);

/// A `PostgreSQL` server of its own.
#[derive(Debug)]
pub struct PostgresServer {
    process: Option<Process>,
    address: SocketAddr,
    owner: Option<User>,
    folder: TempDir,
}

impl PostgresServer {
    /// Makes a cluster of databases in a throwaway folder, and serves it.
    ///
    /// # Panics
    /// When it is not installed, or does not come up.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("tollgate-postgres-").tempdir().expect("a folder");
        // It refuses to be root's, so its data is another user's, who must be let through to it.
        let owner = is_root().then(|| user(&["postgres", "nobody"]).expect("a user that PostgreSQL can run as"));
        let data = folder.path().join("data");
        fs::create_dir(&data).expect("a folder");
        if let Some(owner) = &owner {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("our own folder");
            chown(&data, Some(owner.uid), Some(owner.gid)).expect("root gives folders away");
        }
        let mut initdb = tied("KILL", owner.as_ref(), &binary("initdb"));
        initdb.arg("--pgdata").arg(&data).args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]);
        let made = initdb.arg(format!("--username={ROLE}")).current_dir("/").stdin(Stdio::null()).output();
        let made = made.unwrap_or_else(|error| panic!("{initdb:?}: {error}"));
        assert!(made.status.success(), "{initdb:?}: {}", String::from_utf8_lossy(&made.stderr));
        let [address] = free_ports();
        let mut server = Self { process: None, address, owner, folder };
        server.start_again();
        server
    }

    /// The URL of the database that every server has.
    pub fn url(&self) -> String {
        format!("postgres://{ROLE}@{}/postgres", self.address)
    }

    /// Ends it by SIGKILL, as a crash would.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        self.process.take().expect("the server runs").stop("KILL", PATIENCE);
    }

    /// Starts it again on what it has on disk, and waits until it answers.
    ///
    /// # Panics
    /// When it runs, or does not come up.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "the server runs");
        let began = Instant::now();
        let mut process = self.spawn();
        while psql(&self.url(), "SELECT 1").is_err() {
            assert!(began.elapsed() < PATIENCE * 2, "PostgreSQL does not answer: {}", process.stderr());
            // After a crash it will not start while a child of the dead one is still there, which is soon over.
            if process.ended().is_some() {
                process = self.spawn();
            }
            std::thread::sleep(PAUSE);
        }
        self.process = Some(process);
    }

    fn spawn(&self) -> Process {
        let mut command = tied("QUIT", self.owner.as_ref(), &binary("postgres"));
        command.arg("-D").arg(self.folder.path().join("data")).arg("-p").arg(self.address.port().to_string());
        // What a crash of the machine would lose does not matter here; what a crash of the server would lose does.
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "full_page_writes=off",
            "max_connections=400",
            "shared_buffers=64MB",
            "autovacuum_naptime=10min",
        ] {
            command.args(["-c", setting]);
        }
        Process::spawn(command.current_dir("/").stdin(Stdio::null()), self.folder.path())
    }
}

/// A database of its own in a server, gone when it is dropped.
#[derive(Debug)]
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    /// Makes an empty one in the server of this URL.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn create(server: &str) -> Self {
        let name = format!("t{}", unique());
        psql(server, &format!("CREATE DATABASE {name}")).unwrap_or_else(|error| panic!("{error}"));
        Self { server: server.to_owned(), name }
    }

    /// Its URL.
    ///
    /// # Panics
    /// When the server's has none to go by.
    pub fn url(&self) -> String {
        let (server, _) = self.server.rsplit_once('/').expect("a server's URL names a database");
        format!("{server}/{}", self.name)
    }

    /// What a statement gives: a line a row, `|` between columns.
    ///
    /// # Errors
    /// What the server says against it.
    pub fn query(&self, statement: &str) -> Result<String, String> {
        psql(&self.url(), statement)
    }

    /// All that it holds, as statements.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn dump(&self) -> String {
        let mut command = Command::new(binary("pg_dump"));
        let dumped = command.args(["--inserts", "--dbname", &self.url()]).stdin(Stdio::null()).output();
        let dumped = dumped.expect("pg_dump can be run");
        assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
        String::from_utf8_lossy(&dumped.stdout).into_owned()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server may have gone first, and the database with it.
        drop(psql(&self.server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)));
    }
}

fn psql(url: &str, statement: &str) -> Result<String, String> {
    let mut command = Command::new(binary("psql"));
    command.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"]);
    command.args(["--dbname", url, "--command", statement]).env("PGCONNECT_TIMEOUT", "5").stdin(Stdio::null());
    let ran = command.output().map_err(|error| format!("psql: {error}"))?;
    if !ran.status.success() {
        return Err(format!("{statement}: {}", String::from_utf8_lossy(&ran.stderr)));
    }
    Ok(String::from_utf8_lossy(&ran.stdout).trim().to_owned())
}

/// Debian keeps the programs of each version in a folder of its own, off `PATH`; the newest is taken.
fn binary(name: &str) -> PathBuf {
    let versions = fs::read_dir(Path::new("/usr/lib/postgresql")).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_unstable_by(|one, other| other.cmp(one));
    let folders: Vec<PathBuf> = versions.into_iter().map(|(_, folder)| folder).collect();
    program(name, &folders)
}
