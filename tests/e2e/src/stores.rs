//! The stores of one gate or one fleet: a database and a part of Redis that are nobody else's.

use std::fs;
use std::path::Path;

use crate::profile::{Limits, Profile, Records};
use crate::service::{Database, Shared};
use crate::unique::unique;

/// Who speaks for operators where the program cannot keep a token beside its database.
const TOKEN: &str = "a-token-that-every-test-knows-0123456789";

/// How a shared limiter is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A command a request.
    Exact,
    /// Units taken ahead of need.
    Leased,
}

/// How long a process waits for Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// As long as by default, 20 ms.
    Default,
    /// As long as leases of the default length allow.
    Short,
    /// Longer than any machine is busy, and leases that last longer still.
    Long,
}

/// A database and, in a fleet, a part of Redis.
#[derive(Debug)]
pub struct Stores {
    database: Option<Database>,
    redis: Vec<String>,
    prefix: String,
    mode: Mode,
    patience: Patience,
}

impl Stores {
    /// A file and nothing else.
    pub fn file() -> Self {
        Self {
            database: None,
            redis: Vec::new(),
            prefix: String::new(),
            mode: Mode::Leased,
            patience: Patience::Default,
        }
    }

    /// A database in the server of this URL, and no Redis.
    pub fn database(server: &str) -> Self {
        Self { database: Some(Database::create(server)), ..Self::file() }
    }

    /// With these nodes of Redis.
    #[must_use]
    pub fn redis(self, nodes: Vec<String>, mode: Mode) -> Self {
        Self { redis: nodes, prefix: format!("t{}", unique()), mode, ..self }
    }

    /// Waiting so long for Redis: a machine that is busy with tests answers late at times, and what then happens is for
    /// the tests of faults, not for those of limits.
    #[must_use]
    pub fn patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Waiting as long as it takes.
    #[must_use]
    pub fn patient(self) -> Self {
        self.patience(Patience::Long)
    }

    /// What the profile says, in the servers that tests share.
    ///
    /// # Panics
    /// When the environment does not name one that is needed.
    pub(crate) fn of(profile: Profile) -> Self {
        let missing = "the profile needs services: tests/run starts them";
        let stores = match profile.records {
            Records::Sqlite => Self::file(),
            Records::Postgres => Self::database(&Shared::postgres().expect(missing)),
        };
        let single = || vec![Shared::redis().expect(missing)];
        match profile.limits {
            Limits::InProcess => stores,
            Limits::Exact => stores.redis(single(), Mode::Exact).patient(),
            Limits::Leased => stores.redis(single(), Mode::Leased).patient(),
            Limits::Cluster => stores.redis(Shared::cluster().expect(missing), Mode::Leased).patient(),
        }
    }

    /// The lines of `[store]`. A relative path lies in the folder of the configuration. A process that reaches Redis
    /// another way than the others is told so.
    pub(crate) fn section(&self, redis_by: Option<&str>) -> String {
        let database = format!("database = \"{}\"\n", self.url());
        let nodes: Vec<&str> = redis_by.map_or_else(|| self.redis.iter().map(String::as_str).collect(), |by| vec![by]);
        let quoted: Vec<String> = nodes.iter().map(|node| format!("\"{node}\"")).collect();
        let redis = match quoted.as_slice() {
            [] => return database,
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let timeout = match self.patience {
            Patience::Default => "",
            Patience::Short => "redis_timeout = \"250ms\"\n",
            Patience::Long => "redis_timeout = \"2s\"\n",
        };
        format!("{database}redis = {redis}\nredis_prefix = \"{}\"\nspool = \"spool\"\n{timeout}", self.prefix)
    }

    /// The line of `[limits]` that is not the default.
    pub(crate) fn limits_line(&self) -> Option<&'static str> {
        match (self.mode, self.patience) {
            _ if self.redis.is_empty() => None,
            (Mode::Exact, _) => Some("mode = \"exact\""),
            (Mode::Leased, Patience::Long) => Some("lease_ttl = \"4s\""),
            (Mode::Leased, Patience::Default | Patience::Short) => None,
        }
    }

    /// The operator's token, where the configuration must say it.
    pub(crate) fn token(&self) -> Option<&'static str> {
        self.database.is_some().then_some(TOKEN)
    }

    /// The URL of the database, for a configuration in the gate's folder.
    pub fn url(&self) -> String {
        self.database.as_ref().map_or_else(|| "sqlite://tollgate.db".to_owned(), Database::url)
    }

    /// The database, where it is one of a server.
    pub fn in_server(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    /// Whether the bytes stand in the database, as they are or as the digits of a dump. `folder` is the gate's.
    ///
    /// # Panics
    /// When it cannot be read.
    pub(crate) fn hold(&self, folder: &Path, needle: &[u8]) -> bool {
        let holds = |bytes: &[u8], needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        match &self.database {
            None => holds(&fs::read(folder.join("tollgate.db")).expect("the database"), needle),
            Some(database) => {
                let dump = database.dump();
                holds(dump.as_bytes(), needle) || dump.contains(&hex::encode(needle))
            }
        }
    }
}
