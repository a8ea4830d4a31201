//! An empty database on the server that `TOLLGATE_TEST_POSTGRES` names, made for one test and dropped after it.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Where the server is told: `postgres://USER@HOST:PORT/DATABASE`, of a user who may make databases.
const VARIABLE: &str = "TOLLGATE_TEST_POSTGRES";

/// A database that is gone when this is.
pub(crate) struct TestDatabase {
    pub(crate) url: String,
    server: String,
    name: String,
}

impl TestDatabase {
    /// A new one, made as the words say, or none where no server is named.
    pub(crate) async fn make(how: &str) -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let server = server()?;
        let name = format!("tollgate_store_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        run_on(&server, &format!("CREATE DATABASE {name} TEMPLATE template0 {how}")).await;
        let (host, _) = server.rsplit_once('/').expect("the URL names a database");
        Some(Self { url: format!("{host}/{name}"), server, name })
    }
}

/// The server to test with, or none, with a line that says so.
#[expect(clippy::disallowed_methods, reason = "a test has no configuration to read it from")]
#[expect(clippy::print_stderr, reason = "whoever runs the tests should know which did not")]
fn server() -> Option<String> {
    static SAID: Once = Once::new();
    let server = std::env::var(VARIABLE).ok();
    if server.is_none() {
        SAID.call_once(|| eprintln!("not run on PostgreSQL: {VARIABLE} names no server"));
    }
    server
}

/// Runs statements as another program would.
pub(crate) async fn run_on(url: &str, statements: &str) {
    let mut connection = PgConnection::connect(url).await.expect("the server answers");
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await.expect(statements);
    connection.close().await.expect("it closes");
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, statement) = (self.server.clone(), format!("DROP DATABASE {} WITH (FORCE)", self.name));
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(run_on(&server, &statement));
        });
        // Where it fails, the test before it is what matters.
        drop(dropping.join());
    }
}
