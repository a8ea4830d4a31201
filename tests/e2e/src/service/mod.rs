//! The services a fleet stands on, as processes of a test's own: Redis (single and Cluster), `PostgreSQL`, Prometheus.
//!
//! All are the system's own programs, started on free ports with their data in a throwaway folder, and ended with what
//! started them. What runs already on this machine is never used. Tests that need no fault share one of each, which
//! `tests/run` starts and names in the environment; where it names none, such a test says so and passes.

mod daemon;
mod postgres;
mod prometheus;
mod redis;
mod resp;
mod shared;

pub use postgres::{Database, PostgresServer};
pub use prometheus::Prometheus;
pub use redis::{RedisCluster, RedisServer};
pub use resp::{Reply, Resp};
pub use shared::Shared;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_was_killed_comes_back_with_what_it_had_or_empty() {
        if !Shared::are_there("a_server_that_was_killed_comes_back_with_what_it_had_or_empty") {
            return;
        }
        let mut redis = RedisServer::start();
        redis.command(&["SET", "a", "1"]);
        redis.kill();
        redis.start_again();
        assert_eq!(redis.command(&["GET", "a"]).text(), "1");
        redis.kill();
        redis.start_again_empty();
        assert_eq!(redis.command(&["GET", "a"]), Reply::Nil);
        redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
        assert!(redis.command(&["SET", "a", "1"]).text().starts_with("OOM"));

        let mut postgres = PostgresServer::start();
        let database = Database::create(&postgres.url());
        database.query("CREATE TABLE t (a INT); INSERT INTO t VALUES (7)").expect("it runs");
        postgres.kill();
        assert!(database.query("SELECT a FROM t").is_err(), "it is gone");
        postgres.start_again();
        assert_eq!(database.query("SELECT a FROM t").as_deref(), Ok("7"));
        assert!(database.dump().contains("VALUES (7)"));
    }
}
