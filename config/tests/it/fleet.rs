//! What makes a fleet: two URLs, and passwords in them.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use tollgate_config::{
    Config, Database, LimiterMode, OnLimiterDown, RedisConfig, Scheme, Secret, Settings, changed_settings, load,
    load_admin_access, parse,
};
use url::Url;

use crate::{environment, good};

const TOKEN: &str = "[admin]\ntoken = \"a-token-that-is-long-enough\"\n";

/// The settings of a file whose `[store]` is this.
fn settings(store: &str) -> Settings {
    good(&format!("[store]\n{store}\n{TOKEN}")).config.settings
}

fn database_url(store: &str) -> String {
    let Database::Postgres { url } = settings(store).store.database else { panic!("{store}") };
    url.reveal().to_owned()
}

fn redis_urls(store: &str) -> Vec<String> {
    let redis = settings(store).store.redis.expect("Redis");
    redis.urls().iter().map(|url| url.reveal().to_owned()).collect()
}

/// What a part of a URL stands for, decoded as `application/x-www-form-urlencoded`; that has a meaning for `+`, which is
/// therefore escaped.
fn decoded(part: &str) -> String {
    let pair = format!("x={}", part.replace('+', "%2B"));
    let url = Url::parse(&format!("http://a/?{pair}")).expect("a URL");
    url.query_pairs().next().expect("a pair").1.into_owned()
}

#[test]
fn a_fleet_is_typed() {
    let text = "[store]\ndatabase = \"postgresql://tollgate:${WORD}@db.internal:5433/tollgate?sslmode=require\"\n\
                connections = 25\nredis = \"rediss://:pw@cache.internal/2\"\nredis_timeout = \"35ms\"\n\
                spool = \"spools/a\"\nspool_max = \"64MiB\"\n\
                [limits]\nmode = \"exact\"\nlease_ttl = \"2s\"\non_limiter_down = \"open\"\n\
                [admin]\nurl = \"https://Admin.internal/base/\"\ntoken = \"${WORD}\"\n";
    let Config { settings, .. } =
        parse(text, Path::new("/etc/tollgate/tollgate.toml"), &environment).expect("no problems").config;
    let store = &settings.store;
    let url = "postgresql://tollgate:hunter2-from-the-environment@db.internal:5433/tollgate?sslmode=require";
    assert_eq!(store.database, Database::Postgres { url: Secret::new(url) });
    assert_eq!(store.connections, NonZeroU32::new(25).expect("a number"));
    assert_eq!(store.redis, Some(RedisConfig::Single(Secret::new("rediss://:pw@cache.internal/2"))));
    assert_eq!(store.redis_timeout, Duration::from_millis(35));
    assert_eq!((store.spool.as_path(), store.spool_max), (Path::new("/etc/tollgate/spools/a"), 64 << 20));
    assert_eq!((settings.limits.mode, settings.limits.lease_ttl), (LimiterMode::Exact, Duration::from_secs(2)));
    assert_eq!(settings.limits.on_limiter_down, OnLimiterDown::Open);
    let parts = settings.admin.reach_parts();
    assert_eq!(
        (parts.scheme, &*parts.host, parts.port, &*parts.base_path),
        (Scheme::Https, "admin.internal", 443, "/base")
    );
    assert_eq!(settings.admin.reach().as_str(), "https://admin.internal/base");
}

#[test]
fn the_defaults_are_those_of_one_process() {
    let store = settings("").store;
    assert_eq!(store.redis, None);
    assert_eq!((store.connections.get(), store.redis_timeout), (10, Duration::from_millis(20)));
    assert_eq!(&*store.redis_prefix, "tg");
    assert_eq!((store.spool, store.spool_max), (PathBuf::from("spool"), 1 << 30));
    let limits = good("").config.settings.limits;
    assert_eq!((limits.mode, limits.lease_ttl), (LimiterMode::Leased, Duration::from_millis(500)));
    let config = parse("", Path::new("/etc/tollgate.toml"), &environment).expect("no problems").config;
    assert_eq!(config.settings.store.spool, Path::new("/etc/spool"));
}

#[test]
fn a_fleet_needs_both_urls() {
    let (database, redis) = ("database = \"postgres://db/tollgate\"", "redis = [\"redis://a\", \"redis://b\"]");
    for (store, missing) in [
        (String::new(), vec!["store.database", "store.redis"]),
        (database.to_owned(), vec!["store.redis"]),
        (redis.to_owned(), vec!["store.database"]),
        (format!("{database}\n{redis}"), vec![]),
    ] {
        let settings = settings(&store);
        assert_eq!(settings.missing_for_fleet(), missing, "{store}");
        assert_eq!(settings.is_fleet(), missing.is_empty(), "{store}");
    }
}

#[test]
fn urls_of_postgresql_come_through() {
    for (written, expected) in [
        ("postgres://db/tollgate", "postgres://db/tollgate"),
        ("POSTGRES://db/tollgate", "postgres://db/tollgate"),
        ("postgresql://me@[::1]:5432/tollgate", "postgresql://me@[::1]:5432/tollgate"),
        // Quite what was meant, if not what the rules of a URL ask.
        ("postgres://me:p@ss@db/tollgate", "postgres://me:p%40ss@db/tollgate"),
        ("postgres://me:p%40ss@db/a%2Fb", "postgres://me:p%40ss@db/a%2Fb"),
        ("${URL}", "postgres://me:p%40ss@db.internal/tollgate"),
        ("${URL}?sslmode=disable", "postgres://me:p%40ss@db.internal/tollgate?sslmode=disable"),
        (
            "postgres://tollgate:${HARD}@db.internal/tollgate",
            "postgres://tollgate:p%40ss%2Fw%3Ard%23%3F%2541%20%C3%A9@db.internal/tollgate",
        ),
        ("postgres://db:${PORT}/tollgate", "postgres://db:8090/tollgate"),
        ("postgres://db/${HARD}", "postgres://db/p%40ss%2Fw%3Ard%23%3F%2541%20%C3%A9"),
        // By a socket.
        ("postgres://%2Frun%2Fpostgresql/tollgate", "postgres://%2Frun%2Fpostgresql/tollgate"),
        ("postgres:///tollgate?host=/run/postgresql", "postgres:///tollgate?host=/run/postgresql"),
        ("postgres://db?dbname=tollgate", "postgres://db?dbname=tollgate"),
        (
            "postgres://db/t?application_name=a+b&options=-c%20x%3D1&options[y]=2&sslmode=verify-ca",
            "postgres://db/t?application_name=a+b&options=-c%20x%3D1&options[y]=2&sslmode=verify-ca",
        ),
    ] {
        assert_eq!(database_url(&format!("database = \"{written}\"")), expected, "{written}");
    }
}

#[test]
fn files_named_in_a_url_are_relative_to_the_file_and_what_means_nothing_is_left_out() {
    let text = format!(
        "[store]\ndatabase = \"postgres://db/t?sslmode=verify-full&sslrootcert=ca.pem&sslkey=/k.pem&hunter2=3\"\n{TOKEN}"
    );
    let loaded = parse(&text, Path::new("/etc/tollgate/tollgate.toml"), &environment).expect("no problems");
    let Database::Postgres { url } = &loaded.config.settings.store.database else { panic!("no PostgreSQL") };
    let expected = "postgres://db/t?sslmode=verify-full&sslrootcert=%2Fetc%2Ftollgate%2Fca.pem&sslkey=%2Fk.pem";
    assert_eq!(url.reveal(), expected);
    assert_eq!(loaded.warnings.len(), 1);
    assert!(!loaded.warnings[0].to_string().contains("hunter2"), "{:?}", loaded.warnings);
}

#[test]
fn urls_of_redis_come_through() {
    for (written, expected) in [
        ("\"redis://127.0.0.1:6379\"", vec!["redis://127.0.0.1:6379"]),
        ("\"redis://cache/\"", vec!["redis://cache"]),
        ("\"rediss://me:pw@cache:7000/15\"", vec!["rediss://me:pw@cache:7000/15"]),
        ("\"redis://:${HARD}@[::1]/0\"", vec!["redis://:p%40ss%2Fw%3Ard%23%3F%2541%20%C3%A9@[::1]/0"]),
        ("[\"redis://a:7000\"]", vec!["redis://a:7000"]),
        (
            "[\"rediss://:${WORD}@a\", \"rediss://:hunter2-from-the-environment@b:6379/\"]",
            vec!["rediss://:hunter2-from-the-environment@a", "rediss://:hunter2-from-the-environment@b:6379"],
        ),
    ] {
        assert_eq!(redis_urls(&format!("redis = {written}")), expected, "{written}");
        let cluster = matches!(settings(&format!("redis = {written}")).store.redis, Some(RedisConfig::Cluster(_)));
        assert_eq!(cluster, written.starts_with('['), "{written}");
    }
}

#[test]
fn urls_come_from_files_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let written = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a written file");
    // No variable is replaced in them: they are secrets as a whole.
    written("database", "postgres://me:${WORD}@db/tollgate\n");
    written("sqlite", "sqlite://of-a-file.db\n");
    written("one", "redis://:pw@a\n");
    written("three", "redis://:pw@a\r\n\n  redis://:pw@b \nredis://:pw@c");
    let read = |text: &str| {
        written("tollgate.toml", &format!("[store]\n{text}\n{TOKEN}"));
        load(&folder.path().join("tollgate.toml"), &environment).unwrap_or_else(|problems| panic!("{problems}")).config
    };
    let one = read("database_file = \"database\"\nredis_file = \"one\"").settings.store;
    assert_eq!(one.database, Database::Postgres { url: Secret::new("postgres://me:$%7BWORD%7D@db/tollgate") });
    assert_eq!(one.redis, Some(RedisConfig::Single(Secret::new("redis://:pw@a"))));
    let three = read("database_file = \"sqlite\"\nredis_file = \"three\"").settings.store;
    assert_eq!(three.database, Database::Sqlite { path: folder.path().join("of-a-file.db") });
    let nodes = ["redis://:pw@a", "redis://:pw@b", "redis://:pw@c"].map(Secret::new);
    assert_eq!(three.redis, Some(RedisConfig::Cluster(nodes.into())));
}

#[test]
fn nothing_that_is_printed_holds_a_url() {
    let text = "[store]\ndatabase = \"postgres://me:${WORD}@secret-host/t\"\n\
                redis = [\"redis://:${WORD}@secret-host\", \"redis://:${WORD}@other\"]\n[admin]\ntoken = \"${WORD}\"\n";
    let loaded = good(text);
    let shown = loaded.config.to_redacted_toml();
    let printed = format!("{loaded:?}\n{shown}\n{}", loaded.config.hash());
    assert!(!printed.contains("hunter2") && !printed.contains("secret-host"), "{printed}");
    assert!(shown.contains("\ndatabase = \"[redacted]\"\n"), "{shown}");
    assert!(shown.contains("\nredis = [\"[redacted]\", \"[redacted]\"]\n"), "{shown}");
}

#[test]
fn a_changed_url_needs_a_restart_and_is_no_other_configuration() {
    let redis = |url: &str| good(&format!("[store]\nredis = {url}")).config;
    let old = redis("\"redis://a\"");
    for (url, changed) in [
        ("\"redis://a/\"", vec![]),
        ("\"redis://:pw@a\"", vec!["store.redis"]),
        ("[\"redis://a\"]", vec!["store.redis"]),
        ("[\"redis://b\", \"redis://a\"]", vec!["store.redis"]),
    ] {
        let new = redis(url);
        assert_eq!(changed_settings(&old.settings, &new.settings), changed, "{url}");
        assert_eq!(old.hash(), new.hash(), "{url}");
    }
    let fleet = |text: &str| good(&format!("{text}{TOKEN}")).config;
    let old = fleet("[store]\ndatabase = \"postgres://db/t\"\n");
    for (text, changed, same_hash) in [
        ("[store]\ndatabase = \"postgres://:pw@db/t\"\n", vec!["store.database"], true),
        ("[store]\ndatabase = \"postgres://db/t\"\nconnections = 3\n", vec!["store.connections"], true),
        (
            "[store]\ndatabase = \"postgres://db/t\"\nspool = \"x\"\nspool_max = \"1MiB\"\n",
            vec!["store.spool", "store.spool_max"],
            true,
        ),
        ("[store]\ndatabase = \"postgres://db/t\"\nredis_timeout = \"5ms\"\n", vec!["store.redis_timeout"], false),
        ("[limits]\nlease_ttl = \"1s\"\n[store]\ndatabase = \"postgres://db/t\"\n", vec!["limits.lease_ttl"], false),
    ] {
        let new = fleet(text);
        assert_eq!(changed_settings(&old.settings, &new.settings), changed, "{text}");
        assert_eq!(old.hash() == new.hash(), same_hash, "{text}");
    }
}

#[test]
fn the_command_line_is_told_that_a_token_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tollgate.toml");
    let store = "[store]\ndatabase = \"postgres://db/tollgate\"\n";
    std::fs::write(&path, store).expect("a written file");
    let problems = load_admin_access(&path, &environment).expect_err("no token").to_string();
    let expected = "tollgate.toml:2:12: PostgreSQL has no folder to keep a token in";
    assert!(problems.contains(expected), "{problems}");
    std::fs::write(&path, format!("{store}{TOKEN}")).expect("a written file");
    load_admin_access(&path, &environment).expect("a token");
}

proptest! {
    #[test]
    fn any_password_is_right_as_it_is(password in "[^\\x00]{1,40}") {
        let environment = |_: &str| Some(password.clone());
        let text = format!(
            "[store]\ndatabase = \"postgres://me:${{P}}@db:5432/t?sslmode=require\"\nredis = \"redis://me:${{P}}@cache:6379/1\"\n{TOKEN}"
        );
        let settings = parse(&text, Path::new("tollgate.toml"), &environment).expect("any password").config.settings;
        let Database::Postgres { url } = settings.store.database else { panic!("no PostgreSQL") };
        let redis = settings.store.redis.expect("Redis");
        for (url, host, port, path) in [(&url, "db", 5432, "/t"), (&redis.urls()[0], "cache", 6379, "/1")] {
            let url = Url::parse(url.reveal()).expect("a URL");
            prop_assert_eq!(decoded(url.password().expect("a password")), password.as_str());
            prop_assert_eq!((url.username(), url.host_str()), ("me", Some(host)));
            prop_assert_eq!((url.port(), url.path()), (Some(port), path));
        }
    }

    #[test]
    fn no_value_in_a_url_changes_what_the_rest_means(value in "[@:/?#\\[\\]%a. ]{1,12}") {
        let environment = |_: &str| Some(value.clone());
        for written in ["postgres://me:pw@${V}/t", "postgres://me:pw@db/${V}", "postgres://me:pw@db/t?user=${V}"] {
            let text = format!("[store]\ndatabase = \"{written}\"\n{TOKEN}");
            // What is no host is refused, and what is one changes neither the user nor the database.
            let Ok(loaded) = parse(&text, Path::new("tollgate.toml"), &environment) else { continue };
            let Database::Postgres { url } = loaded.config.settings.store.database else { panic!("no PostgreSQL") };
            let url = Url::parse(url.reveal()).expect("a URL");
            prop_assert_eq!((url.username(), url.password()), ("me", Some("pw")));
            prop_assert_eq!(url.path() == "/t" || written.contains("/${V}"), true, "{}", url);
            prop_assert_eq!(url.host_str() == Some("db") || written.contains("@${V}"), true, "{}", url);
            prop_assert_eq!(url.query().is_some(), written.contains('?'), "{}", url);
        }
    }
}
