//! A server of the test's own, to be killed, and a line to a server that can be cut. Nothing here asserts anything.

use std::fs;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A server that is gone when this is.
pub(crate) struct PrivateServer {
    folder: TempDir,
    programs: PathBuf,
    user: Option<(u32, u32)>,
    port: u16,
    running: Option<Child>,
}

impl PrivateServer {
    /// A new one, running; none where its programs are not installed.
    pub(crate) async fn start_new() -> Option<Self> {
        let programs = programs()?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        // The server refuses to run as root.
        let is_root = fs::metadata(folder.path()).expect("it is there").uid() == 0;
        let user = if is_root { Some(server_user()?) } else { None };
        if let Some((user, group)) = user {
            chown(folder.path(), Some(user), Some(group)).expect("root may");
        }
        let port = StdTcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let mut server = Self { folder, programs, user, port, running: None };
        let data = server.data();
        let mut init = server.command("initdb");
        let made = init.args(["-A", "trust", "-U", "tollgate", "-E", "UTF8", "--locale=C", "-N", "-D"]).arg(data);
        assert!(made.status().expect("it runs").success(), "the server's folder is made");
        server.start().await;
        Some(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://tollgate@127.0.0.1:{}/postgres", self.port)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    /// Starts it, and returns when it answers.
    pub(crate) async fn start(&mut self) {
        let port = self.port.to_string();
        for _ in 0..100 {
            if self.running.as_mut().is_none_or(|server| server.try_wait().is_ok_and(|ended| ended.is_some())) {
                let mut server = self.command("postgres");
                server.arg("-D").arg(self.data()).args(["-p", &port, "-c", "listen_addresses=127.0.0.1"]);
                server.arg("-k").arg(self.folder.path());
                self.running = Some(server.spawn().expect("it runs"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            if let Ok(connection) = PgConnection::connect(&self.url()).await {
                connection.close().await.expect("it closes");
                return;
            }
        }
        panic!("the server does not start");
    }

    /// Kills it as a failing machine would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut server) = self.running.take() {
            server.kill().expect("it runs");
            server.wait().expect("it ends");
        }
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = versions.filter_map(Result::ok).map(|version| version.path().join("bin"));
    folders.filter(|folder| folder.join("initdb").exists() && is_supported(folder)).max()
}

fn is_supported(folder: &Path) -> bool {
    let version = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str()?.parse::<u32>().ok());
    version.is_some_and(|version| version >= 15)
}

/// The user and group that the server's package made.
fn server_user() -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let user = fields.into_iter().find(|fields| fields.first() == Some(&"postgres"))?;
    Some((user.get(2)?.parse().ok()?, user.get(3)?.parse().ok()?))
}

/// A line to a server that can lose everything that is sent, both ways, without a word.
pub(crate) struct Line {
    /// Where it begins.
    pub(crate) at: SocketAddr,
    cut: watch::Sender<bool>,
}

impl Line {
    pub(crate) async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("it has one");
        let (cut, is_cut) = watch::channel(false);
        let server: Arc<str> = server.into();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (server, is_cut) = (Arc::clone(&server), is_cut.clone());
                tokio::spawn(async move {
                    let mut open = is_cut.clone();
                    open.wait_for(|is_cut| !is_cut).await.expect("the line is there");
                    let far = TcpStream::connect(&*server).await.expect("the server answers");
                    let (near, far) = (near.into_split(), far.into_split());
                    tokio::spawn(carry(near.0, far.1, is_cut.clone()));
                    carry(far.0, near.1, is_cut).await;
                });
            }
        });
        Self { at, cut }
    }

    /// Loses everything from now on, or nothing.
    pub(crate) fn cut(&self, is_cut: bool) {
        self.cut.send_replace(is_cut);
    }
}

/// What is sent while the line is cut stays where it is.
async fn carry(
    from: tokio::net::tcp::OwnedReadHalf,
    to: tokio::net::tcp::OwnedWriteHalf,
    mut is_cut: watch::Receiver<bool>,
) {
    let mut bytes = [0; 4_096];
    loop {
        if from.readable().await.is_err() || is_cut.wait_for(|is_cut| !is_cut).await.is_err() {
            return;
        }
        let mut read = match from.try_read(&mut bytes) {
            Ok(0) => return,
            Ok(read) => &bytes[..read],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
        while !read.is_empty() {
            if to.writable().await.is_err() {
                return;
            }
            match to.try_write(read) {
                Ok(written) => read = &read[written..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}
