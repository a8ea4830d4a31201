//! The services that tests share: found in the environment, or started for it.

use std::env;
use std::io::Write;

use super::{PostgresServer, RedisCluster, RedisServer};

const POSTGRES: &str = "TOLLGATE_TEST_POSTGRES";
const REDIS: &str = "TOLLGATE_TEST_REDIS";
const CLUSTER: &str = "TOLLGATE_TEST_REDIS_CLUSTER";

/// One of each, for a whole run of tests.
#[derive(Debug)]
pub struct Shared {
    postgres: PostgresServer,
    redis: RedisServer,
    cluster: RedisCluster,
}

impl Shared {
    /// Starts them.
    pub fn start() -> Self {
        Self {
            postgres: PostgresServer::start(),
            redis: RedisServer::start_in_memory(),
            cluster: RedisCluster::start(),
        }
    }

    /// What the environment of the tests is to say of them, as names and values.
    pub fn variables(&self) -> [(&'static str, String); 3] {
        [(POSTGRES, self.postgres.url()), (REDIS, self.redis.url()), (CLUSTER, self.cluster.urls().join(","))]
    }

    /// The URL of the `PostgreSQL` server that the environment names.
    pub fn postgres() -> Option<String> {
        named(POSTGRES)
    }

    /// The URL of the Redis server that the environment names.
    pub fn redis() -> Option<String> {
        named(REDIS)
    }

    /// The URLs of the nodes of the Redis Cluster that the environment names.
    pub fn cluster() -> Option<Vec<String>> {
        let nodes = named(CLUSTER)?;
        Some(nodes.split(',').map(|node| node.trim().to_owned()).collect())
    }

    /// Whether the environment names them all; says so where it does not.
    ///
    /// # Panics
    /// When standard error is closed.
    pub fn are_there(test: &str) -> bool {
        let missing: Vec<&str> =
            [POSTGRES, REDIS, CLUSTER].into_iter().filter(|name| env::var_os(name).is_none()).collect();
        if missing.is_empty() {
            return true;
        }
        let line = format!("{test} did not run: {} not set; tests/run starts the services\n", missing.join(", "));
        std::io::stderr().write_all(line.as_bytes()).expect("standard error takes lines");
        false
    }
}

fn named(variable: &str) -> Option<String> {
    env::var_os(variable).map(|value| value.into_string().expect("URLs are text"))
}
