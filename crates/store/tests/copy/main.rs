//! Copies between databases of either kind: everything is there, once, whatever happened on the way; and nothing else
//! is touched.

#[path = "../postgres/database.rs"]
mod database;
mod fixture;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;
use tollgate_domain::{KeyState, Timestamp};
use tollgate_store::{
    AdminStore, CopyReport, CopyStep, PostgresSettings, PostgresStore, Progress, SqliteStore, Store, StoreError, copy,
};

use database::{TestDatabase, run_on};
use fixture::{LINES, check_same, fill, key_id, new_audit, store_more};

fn folder() -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (from, to) = (folder.path().join("from.db"), folder.path().join("to.db"));
    (folder, from, to)
}

async fn sqlite(path: &Path) -> SqliteStore {
    SqliteStore::open_for_copy(path).await.expect("it opens")
}

async fn postgres(database: &TestDatabase) -> PostgresStore {
    PostgresStore::open_for_copy(PostgresSettings::new(&*database.url)).await.expect("it opens")
}

async fn run_on_file(path: &Path, statements: &str) {
    let options = SqliteConnectOptions::new().filename(path).foreign_keys(false);
    let mut connection = options.connect().await.expect("it connects");
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await.expect(statements);
    connection.close().await.expect("it closes");
}

fn copied(report: &CopyReport, table: &str) -> (u64, u64) {
    let table = report.tables.iter().find(|known| known.name == table).expect("it is copied");
    (table.rows, table.copied)
}

fn silent(_: Progress) {}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_tells_the_same_as_its_source() {
    let (_folder, from, to) = folder();
    let (from, to) = (sqlite(&from).await, sqlite(&to).await);
    fill(&from).await;
    let mut steps = Vec::new();
    let report = copy(&from, &to, &mut |progress| steps.push(progress)).await.expect("it is copied");
    assert_eq!(copied(&report, "usage_lines"), (LINES, LINES));
    let sums = &report.tables.iter().find(|table| table.name == "usage_periods").expect("it is copied").sums;
    let charged = sums.iter().find(|(column, _)| *column == "units_charged").expect("it is summed").1;
    assert_eq!(charged, i128::from(LINES) - 4 + 38 + 70, "a unit a line, but for those of other kinds");
    for step in [CopyStep::Copy, CopyStep::Compare] {
        let last = steps.iter().rfind(|progress| progress.step == step && progress.table == "usage_lines");
        assert_eq!(last.map(|progress| (progress.rows, progress.of)), Some((LINES, LINES)), "{step:?}");
    }
    check_same(&from, &to).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_to_a_server_and_back_tells_the_same_and_goes_on() {
    let Some(database) = TestDatabase::make("").await else { return };
    let (_folder, from, back) = folder();
    let (from, server, back) = (sqlite(&from).await, postgres(&database).await, sqlite(&back).await);
    fill(&from).await;
    copy(&from, &server, &mut silent).await.expect("it is copied");
    check_same(&from, &server).await;
    copy(&server, &back, &mut silent).await.expect("it is copied");
    check_same(&from, &back).await;
    server.close().await;
    let server = PostgresStore::open(PostgresSettings::new(&*database.url)).await.expect("the copy is whole");
    for store in [&from as &dyn AdminStore, &server, &back] {
        store_more(store).await;
    }
    check_same(&from, &server).await;
    check_same(&from, &back).await;
}

/// Gives a copy up when it has put this many rows of this table.
async fn interrupt<T>(from: &Arc<SqliteStore>, to: &Arc<T>, table: &'static str, rows: u64)
where
    T: AdminStore + 'static,
    Arc<T>: CopyTarget,
{
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let (from, to) = (Arc::clone(from), Arc::clone(to));
    let copying = tokio::spawn(async move {
        let mut progress = move |progress: Progress| {
            if progress.step == CopyStep::Copy && progress.table == table && progress.rows >= rows {
                told.send(()).expect("it is heard");
                // Nothing more is done until the copy is given up.
                std::thread::sleep(std::time::Duration::from_millis(300));
            }
        };
        to.copy_from(&from, &mut progress).await
    });
    heard.recv().await.expect("it comes so far");
    copying.abort();
    let ended = copying.await;
    assert!(ended.is_err_and(|error| error.is_cancelled()), "it was given up");
}

/// What a copy is made into, of either kind.
#[async_trait::async_trait]
trait CopyTarget {
    async fn copy_from(
        &self,
        from: &SqliteStore,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<CopyReport, StoreError>;
}

#[async_trait::async_trait]
impl CopyTarget for Arc<SqliteStore> {
    async fn copy_from(
        &self,
        from: &SqliteStore,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<CopyReport, StoreError> {
        copy(from, self, progress).await
    }
}

#[async_trait::async_trait]
impl CopyTarget for Arc<PostgresStore> {
    async fn copy_from(
        &self,
        from: &SqliteStore,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<CopyReport, StoreError> {
        copy(from, self, progress).await
    }
}

/// Interrupts a copy, changes the source in between if told so, and goes on.
async fn check_resumed<T: AdminStore + 'static>(from: Arc<SqliteStore>, to: Arc<T>, changed: bool)
where
    Arc<T>: CopyTarget,
{
    fill(&*from).await;
    interrupt(&from, &to, "usage_lines", LINES / 2).await;
    interrupt(&from, &to, "usage_hours", 1).await;
    if changed {
        let revoked = from.revoke_key(key_id(2), Timestamp::from_secs(99), &new_audit()).await;
        revoked.expect("the store answers").expect("there is one");
        store_more(&*from).await;
    }
    let report = to.copy_from(&from, &mut silent).await.expect("it goes on");
    let (lines, copied_lines) = copied(&report, "usage_lines");
    assert!(copied_lines <= lines - LINES, "what was copied is not copied again: {copied_lines}");
    let (keys, copied_keys) = copied(&report, "keys");
    assert_eq!(copied_keys, if changed { keys } else { 0 }, "what may have changed is");
    check_same(&*from, &*to).await;
    let again = to.copy_from(&from, &mut silent).await.expect("it is whole");
    assert!(again.tables.iter().all(|table| table.copied == 0), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_copy_goes_on() {
    for changed in [false, true] {
        let (_folder, from, to) = folder();
        check_resumed(Arc::new(sqlite(&from).await), Arc::new(sqlite(&to).await), changed).await;
        let Some(database) = TestDatabase::make("").await else { continue };
        let (_folder, from, _) = folder();
        check_resumed(Arc::new(sqlite(&from).await), Arc::new(postgres(&database).await), changed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_told_from_a_copy_that_was_not_finished() {
    let (_folder, from, to) = folder();
    let source = Arc::new(sqlite(&from).await);
    fill(&*source).await;
    interrupt(&source, &Arc::new(sqlite(&to).await), "keys", 0).await;
    let error = SqliteStore::open(&to).await.expect_err("it is refused");
    assert!(error.to_string().contains("a copy into it was not finished"), "{error}");
    let (_other_folder, third, _) = folder();
    let refused = copy(&sqlite(&to).await, &sqlite(&third).await, &mut silent).await.expect_err("it is refused");
    assert!(refused.to_string().contains("itself a copy that was not finished"), "{refused}");
    copy(&source, &sqlite(&to).await, &mut silent).await.expect("it goes on");
    let whole = SqliteStore::open(&to).await.expect("it is whole");
    let key = whole.key(key_id(2)).await.expect("the store answers").expect("it was copied");
    assert_eq!(key.state(Timestamp::from_secs(1)), KeyState::Active);
}

async fn check_refused(from: &SqliteStore, to: &SqliteStore, says: &str) {
    let error = copy(from, to, &mut silent).await.expect_err(says);
    let StoreError::Unusable(line) = error else { panic!("a person must act: {error:?}") };
    assert!(line.contains(says), "{line} does not say `{says}`");
}

#[tokio::test]
async fn a_target_that_holds_other_data_is_left_alone() {
    let (_folder, from, to) = folder();
    let (source, target) = (sqlite(&from).await, sqlite(&to).await);
    check_refused(&source, &source, "the same database").await;
    fill(&target).await;
    check_refused(&source, &target, "the target holds data of its own").await;
    let (_other_folder, third, fourth) = folder();
    let (third, fourth) = (sqlite(&third).await, sqlite(&fourth).await);
    copy(&source, &third, &mut silent).await.expect("an empty one is copied too");
    check_refused(&fourth, &third, "a copy of another database").await;
}

#[tokio::test]
async fn a_row_that_differs_from_its_source_is_named() {
    for (statement, says) in [
        ("UPDATE keys SET name = 'mine' WHERE name = 'theirs'", "differs from its source: table keys, row key_"),
        ("DELETE FROM usage_periods WHERE units_charged = 38", "lacks a row: table usage_periods, row acc_"),
        (
            "INSERT INTO idempotency VALUES ('a', 'b', 'c', 0, NULL, NULL, NULL)",
            "a row too many: table idempotency, row a b",
        ),
        (
            "UPDATE usage_lines SET units_charged = 2 WHERE id = 3000",
            "differs from its source: table usage_lines, row 3000",
        ),
    ] {
        let (_folder, from, to) = folder();
        let (source, target) = (sqlite(&from).await, sqlite(&to).await);
        fill(&source).await;
        copy(&source, &target, &mut silent).await.expect("it is copied");
        target.close().await;
        drop(target);
        run_on_file(&to, statement).await;
        check_refused(&source, &sqlite(&to).await, says).await;
    }
}

#[tokio::test]
async fn a_row_that_a_server_changed_by_itself_is_named() {
    let Some(database) = TestDatabase::make("").await else { return };
    let (_folder, from, _) = folder();
    let (source, target) = (sqlite(&from).await, postgres(&database).await);
    fill(&source).await;
    let rounding = "CREATE FUNCTION rounded() RETURNS trigger LANGUAGE plpgsql AS \
        'BEGIN NEW.last_used_at_us = NEW.last_used_at_us + 1; RETURN NEW; END'; \
        CREATE TRIGGER rounded BEFORE INSERT ON keys FOR EACH ROW EXECUTE FUNCTION rounded()";
    run_on(&database.url, rounding).await;
    let error = copy(&source, &target, &mut silent).await.expect_err("it differs");
    assert!(error.to_string().contains("differs from its source: table keys"), "{error}");
    target.close().await;
    let error = PostgresStore::open(PostgresSettings::new(&*database.url)).await.expect_err("it is not whole");
    assert!(error.to_string().contains("a copy into it was not finished"), "{error}");
}
