//! `[store]`: where accounts, keys and the ledger are kept, what the nodes of a fleet share, and what a node keeps itself.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::item::Item;
use crate::reader::Table;
use crate::secret::{self, Given, Secret};
use crate::store_url::{PostgresUrl, RedisUrl};

/// The settings of `[store]`.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreConfig {
    /// The database.
    pub database: Database,
    /// How many connections to `PostgreSQL` a process keeps at most, from 2. `SQLite` has its own.
    pub connections: NonZeroU32,
    /// What the nodes of a fleet share; `None` counts in this process.
    pub redis: Option<RedisConfig>,
    /// What every key in Redis begins with, before a colon.
    pub redis_prefix: Box<str>,
    /// How long a request waits for an answer of Redis before it is taken for down.
    pub redis_timeout: Duration,
    /// How long a cached key works after its last confirmation while no store answers.
    pub stale_keys_for: Duration,
    /// The folder of the usage that the database does not have yet. Absolute, or relative to the working directory: the
    /// configuration file's folder is joined already.
    pub spool: PathBuf,
    /// How much of it there may be, in bytes.
    pub spool_max: u64,
}

/// One connection may be held for as long as the process runs, so that no second process takes its place.
const CONNECTIONS_LEAST: u64 = 2;

/// As many as `PostgreSQL` is ever told to take.
const CONNECTIONS_MOST: u64 = 1_000;

/// What Redis cannot answer in so long it will not answer.
const REDIS_TIMEOUT_MOST: Duration = Duration::from_secs(5);

impl StoreConfig {
    pub(crate) fn read(table: &Table<'_>) -> Self {
        let folder = table.reader.folder;
        let mut config = Self::default_in(folder);
        let Self { database, connections, redis, redis_prefix, redis_timeout, stale_keys_for, spool, spool_max } =
            &mut config;
        if let Some(given) = secret::given(table, "database", "database_file").and_then(|given| read_database(&given)) {
            *database = given;
        }
        table.read("connections", connections, |item| {
            let count = item.count(CONNECTIONS_LEAST, CONNECTIONS_MOST)?;
            u32::try_from(count).ok().and_then(NonZeroU32::new)
        });
        *redis = secret::given(table, "redis", "redis_file").and_then(|given| read_redis(&given));
        table.read("redis_prefix", redis_prefix, |item| {
            item.parse("1 to 32 letters, digits, `_`, `-` and `.`", |text| {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
                (matches!(text.len(), 1..=32) && text.bytes().all(plain)).then(|| text.into())
            })
        });
        table.read("redis_timeout", redis_timeout, |item| {
            item.duration_between(Duration::from_millis(1), REDIS_TIMEOUT_MOST)
        });
        table.read("stale_keys_for", stale_keys_for, Item::duration_or_zero);
        table.read("spool", spool, |item| {
            let path = item.parse("the path of a folder", |text| {
                (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text))
            })?;
            Some(folder.join(path))
        });
        table.read("spool_max", spool_max, |item| item.size(1 << 20, 1 << 40));
        table.finish();
        config
    }

    /// The defaults of a file in this folder.
    fn default_in(folder: &Path) -> Self {
        Self {
            database: Database::Sqlite { path: folder.join("tollgate.db") },
            connections: NonZeroU32::new(10).expect("ten is not zero"),
            redis: None,
            redis_prefix: "tg".into(),
            redis_timeout: Duration::from_millis(20),
            stale_keys_for: Duration::from_hours(1),
            spool: folder.join("spool"),
            spool_max: 1 << 30,
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self::default_in(Path::new(""))
    }
}

/// The database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file of `SQLite`.
    Sqlite {
        /// Absolute, or relative to the working directory: the configuration file's folder is joined already.
        path: PathBuf,
    },
    /// A server of `PostgreSQL`.
    Postgres {
        /// Begins with `postgres://`; holds the password, and only parameters that have a meaning.
        url: Secret,
    },
}

fn read_database(given: &Given<'_>) -> Option<Database> {
    match given {
        Given::InPlace(item) => database_of(item, &item.text()?.value, || secret::read_url(item)),
        Given::InFile(item) => {
            let secret = secret::read_file(item)?;
            database_of(item, secret.reveal(), || Some(secret.clone()))
        }
    }
}

/// The database that a text names. `url` is the text as a URL: variables that stand for its parts are encoded in it.
fn database_of(item: &Item<'_>, text: &str, url: impl FnOnce() -> Option<Secret>) -> Option<Database> {
    let scheme = text.split(':').next().unwrap_or_default();
    if ["postgres", "postgresql"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        let parsed = PostgresUrl::parse(url()?.reveal(), item.reader.folder);
        let PostgresUrl { url, left_out } = parsed.map_err(|message| item.error(message)).ok()?;
        if left_out {
            item.reader.warning(
                item.offset(),
                "the URL has a parameter that is not known here and is left out; known are sslmode, sslrootcert, \
                 sslcert, sslkey, application_name and options",
            );
        }
        return Some(Database::Postgres { url });
    }
    let path = text.strip_prefix("sqlite://");
    let path = path.filter(|path| !path.is_empty() && !path.ends_with('/') && !path.contains(['?', '\0']));
    if path.is_none() {
        // A database's URL may hold a password, so it is not repeated.
        item.error(
            "`database` must be \"sqlite://\" and the path of a file, such as \"sqlite://tollgate.db\", or a URL that \
             begins with postgres://",
        );
    }
    path.map(|path| Database::Sqlite { path: item.reader.folder.join(path) })
}

/// What the nodes of a fleet share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisConfig {
    /// One server. Its URL begins with `redis://` or, over TLS, `rediss://`, and may hold a user, a password and the
    /// number of a database.
    Single(Secret),
    /// Nodes of a Cluster from which the others are learnt: at least one, no address twice, of one scheme, user and
    /// password.
    Cluster(Vec<Secret>),
}

impl RedisConfig {
    /// The URLs: the server's, or those of the Cluster's nodes.
    pub fn urls(&self) -> &[Secret] {
        match self {
            Self::Single(url) => std::slice::from_ref(url),
            Self::Cluster(urls) => urls,
        }
    }
}

fn read_redis(given: &Given<'_>) -> Option<RedisConfig> {
    match given {
        Given::InPlace(item) if item.is_list() => {
            let items = item.list()?;
            cluster_of(item, items.iter().map(|item| Some((item.offset(), secret::read_url(item)?))).collect())
        }
        Given::InPlace(item) => single_of(item, &secret::read_url(item)?),
        Given::InFile(item) => {
            let secret = secret::read_file(item)?;
            let lines = secret.reveal().lines().map(str::trim).filter(|line| !line.is_empty());
            let urls: Vec<_> = lines.map(Secret::new).collect();
            match &urls[..] {
                [url] => single_of(item, url),
                _ => cluster_of(item, urls.into_iter().map(|url| Some((item.offset(), url))).collect()),
            }
        }
    }
}

fn single_of(item: &Item<'_>, url: &Secret) -> Option<RedisConfig> {
    let url = RedisUrl::parse(url.reveal()).map_err(|message| item.error(message)).ok()?;
    Some(RedisConfig::Single(url.secret()))
}

/// The Cluster of these nodes, each with its place; `None` for one that could not be read.
fn cluster_of(item: &Item<'_>, given: Vec<Option<(usize, Secret)>>) -> Option<RedisConfig> {
    let reader = item.reader;
    if given.is_empty() {
        item.error("`redis` must hold at least one URL");
        return None;
    }
    let count = given.len();
    let mut nodes: Vec<(usize, RedisUrl)> = Vec::with_capacity(count);
    for (offset, url) in given.into_iter().flatten() {
        let node = match RedisUrl::parse(url.reveal()) {
            Ok(node) => node,
            Err(message) => {
                reader.error(offset, message);
                continue;
            }
        };
        let other = nodes.iter().find_map(|(at, other)| Some((*at, node.clash_with(other)?)));
        match other {
            _ if node.has_database() => {
                reader.error(offset, "a Redis Cluster has no numbered databases; leave the URL's path out");
            }
            Some((at, clash)) if at == offset => reader.error(offset, clash),
            Some((at, clash)) => reader.error(offset, format!("{clash}; see line {}", reader.line(at))),
            None => nodes.push((offset, node)),
        }
    }
    let urls: Vec<_> = nodes.iter().map(|(_, node)| node.secret()).collect();
    (urls.len() == count).then_some(RedisConfig::Cluster(urls))
}
