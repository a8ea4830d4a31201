//! A file of a version before is brought up to date with everything that is in it.

use std::borrow::Cow;

use sqlx::Connection;
use sqlx::migrate::Migrator;
use tollgate_store::{SqliteSettings, SqliteStore, Store};

use crate::{connect, folder, migrated, run};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/sqlite");

#[tokio::test]
async fn a_database_of_a_version_before_keeps_every_sum() {
    for (schema, filled) in migrated::before() {
        let (_folder, path) = folder();
        for (schema, rows) in filled {
            let before = MIGRATIONS.iter().filter(|known| known.version <= schema).cloned().collect();
            let before = Migrator { migrations: Cow::Owned(before), ..Migrator::DEFAULT };
            let mut connection = connect(&path).await;
            before.run_direct(None, &mut connection, false).await.expect("it migrates");
            connection.close().await.expect("it closes");
            run(&path, &format!("BEGIN; {} COMMIT", rows.replace("AS HASH", "AS BLOB"))).await;
        }
        let settings = SqliteSettings { outbox: true };
        let store = SqliteStore::open_with(&path, settings).await.expect("it is brought up to date");
        migrated::check(&store, schema).await;
        store.ping().await.expect("it answers");
        store.close().await;
        let mut connection = connect(&path).await;
        let damage: String =
            sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.expect("it answers");
        assert_eq!(damage, "ok");
        let newest: i64 = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations")
            .fetch_one(&mut connection)
            .await
            .expect("it answers");
        assert_eq!(newest, migrated::THIS);
    }
}
