//! What the suite runs on: the same promises hold on every store and limiter, so the same tests are to show it.
//!
//! Where a test's expectation cannot be the same everywhere, the difference is a method here, with its reason.

use std::env;

/// Names the profile; absent means embedded.
const VARIABLE: &str = "TOLLGATE_E2E_PROFILE";

/// Where records and the ledger are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// A file beside the configuration.
    Sqlite,
    /// A database of a server.
    Postgres,
}

/// Where limits are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// In the process.
    InProcess,
    /// In Redis, a command a request.
    Exact,
    /// In Redis, taken ahead of need.
    Leased,
    /// The same in a Redis Cluster.
    Cluster,
}

/// The stores behind the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Where records and the ledger are.
    pub records: Records,
    /// Where limits are counted.
    pub limits: Limits,
}

impl Profile {
    /// Nothing but the process and its file.
    pub const EMBEDDED: Self = Self { records: Records::Sqlite, limits: Limits::InProcess };

    /// The profile this run is for.
    ///
    /// # Panics
    /// When the environment names one that there is not.
    pub fn current() -> Self {
        let name = env::var_os(VARIABLE).unwrap_or_else(|| "embedded".into());
        let name = name.to_string_lossy();
        Self::named(&name).unwrap_or_else(|| {
            panic!("{VARIABLE} is {name}: say embedded, or sqlite|postgres, +, and memory|exact|leased|cluster")
        })
    }

    fn named(name: &str) -> Option<Self> {
        if name == "embedded" {
            return Some(Self::EMBEDDED);
        }
        let (records, limits) = name.split_once('+')?;
        let records = match records {
            "sqlite" => Records::Sqlite,
            "postgres" => Records::Postgres,
            _ => return None,
        };
        let limits = match limits {
            "memory" => Limits::InProcess,
            "exact" => Limits::Exact,
            "leased" => Limits::Leased,
            "cluster" => Limits::Cluster,
            _ => return None,
        };
        Some(Self { records, limits })
    }

    /// Whether the database is a file in the gate's folder: only such a one has a mode, can be spoilt by writing into
    /// it, and lets the operator's token be kept beside it.
    pub fn has_database_file(self) -> bool {
        self.records == Records::Sqlite
    }

    /// Whether Redis holds limits and a copy of every key's record: then a key is known while the database cannot be
    /// read, which a process alone cannot manage.
    pub fn has_redis(self) -> bool {
        self.limits != Limits::InProcess
    }

    /// Whether gateway and control plane may be processes of their own: only with both servers. With fewer, `gateway`
    /// and `admin` say to use `up`.
    pub fn is_fleet(self) -> bool {
        self.records == Records::Postgres && self.has_redis()
    }
}
