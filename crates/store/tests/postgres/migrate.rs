//! A database of a version before is brought up to date with everything that is in it.

use std::borrow::Cow;

use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection};
use tollgate_store::{Migrated, PostgresSettings, PostgresStore};

use crate::database::{TestDatabase, run_on};
use crate::{migrated, open};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/postgres");

#[tokio::test]
async fn a_database_of_a_version_before_keeps_every_sum() {
    for (schema, filled) in migrated::before() {
        let Some(database) = TestDatabase::make("").await else { return };
        for (schema, rows) in filled {
            let before = MIGRATIONS.iter().filter(|known| known.version <= schema).cloned().collect();
            let before = Migrator { migrations: Cow::Owned(before), ..Migrator::DEFAULT };
            let mut connection = PgConnection::connect(&database.url).await.expect("the server answers");
            before.run_direct(None, &mut connection, false).await.expect("it migrates");
            connection.close().await.expect("it closes");
            run_on(&database.url, &rows.replace("AS HASH", "AS BYTEA")).await;
        }
        let settings = PostgresSettings::new(&*database.url);
        let done = PostgresStore::migrate(&settings).await.expect("it is brought up to date");
        assert_eq!(done, Migrated { from: schema, to: migrated::THIS });
        migrated::check(&open(&database.url).await, schema).await;
    }
}
