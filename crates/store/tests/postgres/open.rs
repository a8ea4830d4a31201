//! Opening: what is made, and what is refused in one line that says what is wrong and never the password.

use std::net::TcpListener;

use tollgate_store::{Migrated, PostgresSettings, PostgresStore, Store, StoreError};

use crate::database::{TestDatabase, run_on};
use crate::{fill, key_hash, migrated, open, refusal};

async fn check_unusable(url: &str, says: &str) {
    let error = refusal(PostgresSettings::new(url)).await;
    let StoreError::Unusable(line) = error else { panic!("a person must act: {error:?}") };
    assert!(line.contains(says), "{line} does not say `{says}`");
}

async fn check_unavailable(url: &str, says: &str) {
    let error = refusal(PostgresSettings::new(url)).await;
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains(says), "{error} does not say `{says}`");
}

#[tokio::test]
async fn what_was_stored_is_there_when_it_is_opened_again() {
    let Some(database) = TestDatabase::make("").await else { return };
    let store = open(&database.url).await;
    fill(&store).await;
    store.close().await;
    let error = store.ping().await.expect_err("it is closed");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let found = open(&database.url).await.find_key(&key_hash()).await.expect("the store answers");
    assert!(found.is_some(), "the key is kept");
}

#[tokio::test]
async fn many_processes_that_start_at_once_migrate_once() {
    let Some(database) = TestDatabase::make("").await else { return };
    let settings = PostgresSettings::new(&*database.url);
    let starts: Vec<_> = (0..6)
        .map(|_| {
            let settings = settings.clone();
            tokio::spawn(async move { PostgresStore::migrate(&settings).await })
        })
        .collect();
    for start in starts {
        let done = start.await.expect("no panic").expect("it migrates");
        assert_eq!(done.to, migrated::THIS);
    }
    let again = PostgresStore::migrate(&settings).await.expect("it migrates");
    assert_eq!(again, Migrated { from: migrated::THIS, to: migrated::THIS });
}

#[tokio::test]
async fn an_address_that_cannot_be_one_is_refused_without_being_shown() {
    for (url, says) in [
        ("mysql://root:s3cret@127.0.0.1/x", "does not begin with postgres://"),
        ("postgres://user:s3cret@127.0.0.1:port/x", "its URL cannot be read"),
        ("postgres://user:s3cret@127.0.0.1/x?sslmode=perhaps", "its URL cannot be read"),
        ("postgres://user@127.0.0.1/x?sslmode=disable&passwd=s3cret", "a parameter that is not known: passwd"),
    ] {
        check_unusable(url, says).await;
    }
    let shown = format!("{:?}", PostgresSettings::new("postgres://user:s3cret@127.0.0.1/x"));
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("it has one").port();
    drop(free);
    check_unavailable(&format!("postgres://user:s3cret@127.0.0.1:{port}/tollgate"), &format!("127.0.0.1:{port}")).await;
}

#[tokio::test]
async fn a_server_that_takes_the_connection_and_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = silent.local_addr().expect("it has one").port();
    check_unavailable(&format!("postgres://user:s3cret@127.0.0.1:{port}/tollgate"), "no answer within 2000 ms").await;
}

#[tokio::test]
async fn a_missing_database_and_a_failed_login_are_named() {
    let Some(database) = TestDatabase::make("").await else { return };
    check_unusable(&format!("{}_not", database.url), "there is no such database").await;
    let (_, place) = database.url.split_once('@').expect("the URL names a user");
    check_unusable(&format!("postgres://nobody_of_that_name:s3cret@{place}"), "the login failed").await;
}

#[tokio::test]
async fn another_encoding_is_refused() {
    let how = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'";
    let Some(database) = TestDatabase::make(how).await else { return };
    check_unusable(&database.url, "its encoding is LATIN1; UTF8 is needed").await;
}

#[tokio::test]
async fn what_another_program_or_version_made_is_left_as_it_is() {
    for (statements, says) in [
        ("UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = 2", "its schema 2 is not the one of this version"),
        (
            "UPDATE _sqlx_migrations SET success = FALSE WHERE version = 3",
            "its schema 3 is not the one of this version",
        ),
        (
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'from the future', TRUE, 'x', 0)",
            "a newer version of Tollgate made it (schema 9999)",
        ),
        ("INSERT INTO facts VALUES ('copy_state', 'running')", "a copy into it was not finished"),
        ("DROP TABLE _sqlx_migrations", "another program's table is called"),
    ] {
        let Some(database) = TestDatabase::make("").await else { return };
        open(&database.url).await.close().await;
        run_on(&database.url, statements).await;
        check_unusable(&database.url, says).await;
    }
}

#[tokio::test]
async fn a_user_who_may_not_make_tables_is_told_so() {
    let Some(database) = TestDatabase::make("").await else { return };
    let (start, place) = database.url.split_once('@').expect("the URL names a user");
    let user = format!("tollgate_reader_{}", std::process::id());
    run_on(&database.url, &format!("CREATE ROLE {user} LOGIN PASSWORD 's3cret'")).await;
    let refused = PostgresStore::open(PostgresSettings::new(format!("postgres://{user}:s3cret@{place}"))).await;
    run_on(&format!("{start}@{place}"), &format!("DROP ROLE {user}")).await;
    let error = refused.expect_err("it is refused");
    assert!(matches!(error, StoreError::Unusable(_)), "{error:?}");
    assert!(error.to_string().contains("the user lacks a permission"), "{error}");
}

#[tokio::test]
async fn texts_are_in_the_order_of_their_bytes_whatever_the_databases_order_is() {
    let how = "LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C.UTF-8'";
    let Some(database) = TestDatabase::make(how).await else { return };
    open(&database.url).await.close().await;
    let check = "DO $$ BEGIN ASSERT 'a' < 'B', 'the database has an order of its own'; \
                 INSERT INTO accounts (id, email, email_key, created_at_us, rolling_anchor_us) \
                 VALUES ('a', '', '1', 0, 0), ('B', '', '2', 0, 0); \
                 ASSERT (SELECT MIN(id) FROM accounts) = 'B'; END $$";
    run_on(&database.url, check).await;
}

#[test]
fn a_store_outlives_the_runtimes_it_is_called_from() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let home = runtime();
    let Some(database) = home.block_on(TestDatabase::make("")) else { return };
    let store = home.block_on(open(&database.url));
    for _ in 0..3 {
        let visitor = runtime();
        visitor.block_on(async { store.ping().await.expect("the store answers") });
        visitor.shutdown_background();
        home.block_on(store.ping()).expect("its connections are still there");
    }
    home.block_on(store.close());
}
