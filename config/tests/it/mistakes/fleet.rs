//! Mistakes in what makes a fleet: `PostgreSQL`, Redis, leases, the spool.

use super::check;

/// A file whose only section is `[store]`, with a token where `PostgreSQL` needs one behind it.
fn store(lines: &str) -> String {
    format!("[store]\n{lines}\n[admin]\ntoken = \"a-token-that-is-long-enough\"\n")
}

fn check_store(cases: &[(&str, &[&str])]) {
    for (lines, expected) in cases {
        check(&[(&store(lines), expected)]);
    }
}

const ENCODE: &str =
    "; in a password written out here `/`, `?`, `#`, `@` and `%` are percent-encoded, such as `%23` for `#`";

#[test]
fn a_url_of_postgresql_is_checked() {
    let example =
        "2:12: this is not a URL; write one such as `postgres://tollgate:${POSTGRES_PASSWORD}@db.internal/tollgate`";
    let no_database = "2:12: the URL names no database; write its name behind the host, such as `/tollgate`";
    for (url, expected) in [
        ("postgres://", "2:12: the URL names no host".to_owned()),
        ("postgres:tollgate", "2:12: the URL names no host".to_owned()),
        ("postgres:///tollgate", "2:12: the URL names no host".to_owned()),
        ("postgres://a b/tollgate", example.to_owned()),
        ("postgres://me:hunter#2@db/tollgate", format!("{example}{ENCODE}")),
        ("postgres://me:1#2@db/tollgate", format!("2:12: the URL must not hold a `#`{ENCODE}")),
        ("postgres://me:1/2@db/tollgate", format!("2:12: the URL's path must be the name of one database{ENCODE}")),
        ("postgres://me:1?2@db/tollgate", no_database.to_owned()),
        ("postgres://db", no_database.to_owned()),
        ("postgres://db/", no_database.to_owned()),
        ("POSTGRESQL://db/", no_database.to_owned()),
        ("postgres://db/?dbname=", no_database.to_owned()),
        ("postgres://d%62/tollgate", format!("2:12: the URL's host is no name and no address{ENCODE}")),
        ("postgres://db:0/tollgate", "2:12: the port must be from 1 to 65535".to_owned()),
        ("postgres://db/toll%00gate", "2:12: the URL holds a zero byte, `%00`".to_owned()),
        ("postgres://me:%ff@db/tollgate", "2:12: the URL holds escapes that are no UTF-8".to_owned()),
        (
            "postgres://db/tollgate?sslmode=required",
            "2:12: the URL's `sslmode` must be one of disable, allow, prefer, require, verify-ca, verify-full"
                .to_owned(),
        ),
        ("postgres://db/tollgate?port=0", "2:12: the URL's `port` must be a port from 1 to 65535".to_owned()),
        ("postgres://db/tollgate?hostaddr=db", "2:12: the URL's `hostaddr` must be an address".to_owned()),
        (
            "postgres://db/tollgate?statement-cache-capacity=all",
            "2:12: the URL's `statement-cache-capacity` must be a number from 0 to 65535".to_owned(),
        ),
        (
            "postgres://db/tollgate?sslmode=require&channel_binding=require",
            "2:12: warning: the URL has a parameter that is not known here and is left out; known are sslmode, \
             sslrootcert, sslcert, sslkey, application_name and options"
                .to_owned(),
        ),
    ] {
        check_store(&[(&format!("database = \"{url}\""), &[&expected])]);
    }
}

#[test]
fn a_token_must_be_chosen_where_there_is_no_folder_to_keep_one_in() {
    let missing = "PostgreSQL has no folder to keep a token in; set `token` or `token_file` in [admin]";
    check(&[
        ("[store]\ndatabase = \"postgres://db/tollgate\"", &[&format!("2:12: {missing}")]),
        ("[admin]\nurl = \"http://a\"\n[store]\ndatabase = \"postgres://db/t\"", &[&format!("4:12: {missing}")]),
        // What is wrong with a token that is there is said once.
        ("[store]\ndatabase = \"postgres://db/t\"\n[admin]\ntoken = \"\"", &["4:9: `token` is empty"]),
        (
            "[store]\ndatabase = \"postgres://db/t\"\n[admin]\ntoken = \"${UNSET}\"",
            &["4:10: the environment variable `UNSET` is not set"],
        ),
        (
            "[store]\ndatabase = \"postgres://db/t\"\n[admin]\ntoken_file = \"/dev/null\"",
            &["4:14: the file `/dev/null` is empty"],
        ),
        // What is no database needs none.
        (
            "[store]\ndatabase = \"postgres://db\"",
            &["2:12: the URL names no database; write its name behind the host, such as `/tollgate`"],
        ),
        ("[store]\ndatabase = \"sqlite://t.db\"\nredis = \"redis://cache\"", &[]),
    ]);
}

#[test]
fn a_url_of_redis_is_checked() {
    for (url, expected) in [
        ("", "2:9: `redis` is empty".to_owned()),
        ("127.0.0.1:6379", "2:9: this is not a URL; write one such as `redis://127.0.0.1:6379`".to_owned()),
        ("cache:6379", "2:9: the URL must begin with redis:// or, for TLS, rediss://".to_owned()),
        ("http://cache", "2:9: the URL must begin with redis:// or, for TLS, rediss://".to_owned()),
        ("redis://", "2:9: the URL names no host".to_owned()),
        ("redis:cache", "2:9: the URL names no host".to_owned()),
        (
            "redis://0.0.0.0",
            "2:9: the URL's host is a wildcard, at which nothing is reached; name the server's own".to_owned(),
        ),
        (
            "redis://[::]:6379",
            "2:9: the URL's host is a wildcard, at which nothing is reached; name the server's own".to_owned(),
        ),
        ("redis://c%61che", format!("2:9: the URL's host is no name and no address{ENCODE}")),
        ("redis://cache:0", "2:9: the port must be from 1 to 65535".to_owned()),
        ("redis://cache:99999", "2:9: this is not a URL; write one such as `redis://127.0.0.1:6379`".to_owned()),
        ("redis://:a/b@cache", format!("2:9: this is not a URL; write one such as `redis://127.0.0.1:6379`{ENCODE}")),
        ("redis://cache/one", format!("2:9: the URL's path must be the number of a database, such as `/0`{ENCODE}")),
        ("redis://cache/-1", format!("2:9: the URL's path must be the number of a database, such as `/0`{ENCODE}")),
        ("redis://cache/1?protocol=3", format!("2:9: the URL must end with its database: no `?` and no `#`{ENCODE}")),
        ("rediss://cache/#insecure", format!("2:9: the URL must end with its database: no `?` and no `#`{ENCODE}")),
        (
            "redis://secret@cache",
            "2:9: the URL names a user and no password; a password alone is `redis://:${REDIS_PASSWORD}@…`".to_owned(),
        ),
    ] {
        check_store(&[(&format!("redis = \"{}\"", url.replace("${", "$${")), &[&expected])]);
    }
}

#[test]
fn the_nodes_of_a_cluster_are_checked() {
    check_store(&[
        ("redis = []", &["2:9: `redis` must hold at least one URL"]),
        ("redis = 6379", &["2:9: `redis` must be a text in quotes, not an integer"]),
        ("redis = [6379, \"\"]", &["2:10: `redis` must be a text in quotes, not an integer", "2:16: `redis` is empty"]),
        (
            "redis = [\"redis://a\", \"redis://b/0\", \"http://c\"]",
            &[
                "2:23: a Redis Cluster has no numbered databases; leave the URL's path out",
                "2:38: the URL must begin with redis:// or, for TLS, rediss://",
            ],
        ),
        (
            "redis = [\n  \"redis://a\",\n  \"rediss://b\",\n  \"redis://:pw@c\",\n  \"redis://a:6379/\",\n  \"redis://a:6380\",\n]",
            &[
                "4:3: the nodes of a Cluster must begin all with redis:// or all with rediss://; see line 3",
                "5:3: the nodes of a Cluster must share one user and password; see line 3",
                "6:3: this node stands twice; keep it once; see line 3",
            ],
        ),
        ("redis = \"redis://a\"\nredis_file = \"b\"", &["3:1: `redis` is given on line 2 already; keep one of both"]),
        ("database_file = \"/dev/null\"", &["2:17: the file `/dev/null` is empty"]),
        (
            "database = \"sqlite://t.db\"\ndatabase_file = \"b\"",
            &["3:1: `database` is given on line 2 already; keep one of both"],
        ),
    ]);
}

#[test]
fn numbers_and_times_of_a_fleet_have_bounds() {
    check_store(&[
        (
            "connections = 1\nredis_timeout = \"0s\"\nspool = \"\"\nspool_max = \"1KiB\"",
            &[
                "2:15: `connections` must be a whole number from 2 to 1000",
                "3:17: `redis_timeout` must be from 1ms to 5s",
                "4:9: `` is not the path of a folder",
                "5:13: `spool_max` must be from 1MiB to 1024GiB",
            ],
        ),
        (
            "connections = 1001\nredis_timeout = \"5001ms\"\nspool_max = \"unlimited\"",
            &[
                "2:15: `connections` must be a whole number from 2 to 1000",
                "3:17: `redis_timeout` must be from 1ms to 5s",
                "4:13: `unlimited` is not a size: a whole number and B, KB, MB, GB, KiB, MiB or GiB, such as \"64KiB\"",
            ],
        ),
        ("redis_prefix = \"tg:{x}\"", &["2:16: `tg:{x}` is not 1 to 32 letters, digits, `_`, `-` and `.`"]),
        ("redis_prefix = \"test-1.a_B\"", &[]),
        ("connections = 2\nredis_timeout = \"1ms\"\nspool_max = \"1MiB\"", &[]),
        ("connections = 1_000\nredis_timeout = \"5s\"\nspool_max = \"1024GiB\"", &[]),
        (
            "database = \"sqlite://data/x\"\nspool = \"data/x\"",
            &["3:9: `spool` and `database` are one path; a folder cannot be the database's file"],
        ),
        (
            "database = \"sqlite://spool\"",
            &["2:12: `spool` and `database` are one path; a folder cannot be the database's file"],
        ),
    ]);
    check(&[
        ("[limits]\nlease_ttl = \"49ms\"", &["2:13: `lease_ttl` must be from 50ms to 10s"]),
        ("[limits]\nlease_ttl = \"11s\"", &["2:13: `lease_ttl` must be from 50ms to 10s"]),
        ("[limits]\nlease_ttl = 500", &["2:13: `lease_ttl` must be a text in quotes, not an integer"]),
        ("[limits]\nlease_ttl = \"50ms\"\n[store]\nredis = \"redis://cache\"", &[]),
        ("[limits]\nlease_ttl = \"10s\"\n[store]\nredis = \"redis://cache\"\nredis_timeout = \"5s\"", &[]),
        ("[limits]\non_limiter_down = \"open\"\n[[routes]]\npath = \"/a\"\non_limiter_down = \"closed\"", &[]),
        ("[limits]\non_limiter_down = \"off\"", &["2:19: `off` is not one of \"local\", \"open\", \"closed\""]),
    ]);
}

#[test]
fn a_lease_must_outlive_the_answers_that_grant_and_end_it() {
    check(&[
        (
            "[store]\nredis = \"redis://cache\"\nredis_timeout = \"251ms\"",
            &["3:17: a lease of 500ms (`limits.lease_ttl`) is over before two answers of Redis that take 251ms each \
               (`store.redis_timeout`); make it at least twice as long"],
        ),
        (
            "[store]\nredis = \"redis://cache\"\nredis_timeout = \"2s\"\n[limits]\nlease_ttl = \"3s\"",
            &["5:13: a lease of 3s (`limits.lease_ttl`) is over before two answers of Redis that take 2s each \
               (`store.redis_timeout`); make it at least twice as long"],
        ),
        // Nobody takes a lease.
        ("[store]\nredis = \"redis://cache\"\nredis_timeout = \"1s\"\n[limits]\nmode = \"exact\"", &[]),
        ("[store]\nredis_timeout = \"1s\"", &[]),
        // What is wrong by itself is not compared.
        (
            "[store]\nredis = \"redis://cache\"\nredis_timeout = \"1s\"\n[limits]\nlease_ttl = \"1ms\"",
            &["5:13: `lease_ttl` must be from 50ms to 10s"],
        ),
    ]);
}

#[test]
fn the_control_plane_is_not_reached_at_another_listener() {
    check(&[
        (
            "[admin]\nurl = \"http://127.0.0.1:8080\"",
            &["2:7: `admin.url` leads to `gateway.listen` 127.0.0.1:8080, not to a control plane"],
        ),
        (
            "[admin]\nurl = \"http://localhost:9464/\"",
            &["2:7: `admin.url` leads to `metrics.listen` 127.0.0.1:9464, not to a control plane"],
        ),
        ("[admin]\nurl = \"http://127.0.0.1:8081\"", &[]),
        (
            "[admin]\nurl = \"http://admin.internal/a//b\"",
            &["2:7: the URL's path cannot be used: it holds an empty segment; requests with `//` are refused"],
        ),
        ("[admin]\nurl = \"http://admin.internal/?a\"", &["2:7: `url` must end with its path: no `?` and no `#`"]),
    ]);
}
