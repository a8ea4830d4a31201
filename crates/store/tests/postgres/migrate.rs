//! A database of the version before is brought up to date with everything that is in it.

use std::borrow::Cow;

use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection};
use tollgate_store::{Migrated, PostgresSettings, PostgresStore};

use crate::database::{TestDatabase, run_on};
use crate::{migrated, open};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/postgres");

#[tokio::test]
async fn a_database_of_the_version_before_keeps_every_sum() {
    let Some(database) = TestDatabase::make("").await else { return };
    let before = MIGRATIONS.iter().filter(|known| known.version <= migrated::BEFORE).cloned().collect();
    let before = Migrator { migrations: Cow::Owned(before), ..Migrator::DEFAULT };
    let mut connection = PgConnection::connect(&database.url).await.expect("the server answers");
    before.run_direct(None, &mut connection, false).await.expect("it migrates");
    connection.close().await.expect("it closes");
    run_on(&database.url, &migrated::rows().replace("AS HASH", "AS BYTEA")).await;
    let done = PostgresStore::migrate(&PostgresSettings::new(&*database.url)).await.expect("it is brought up to date");
    assert_eq!(done, Migrated { from: migrated::BEFORE, to: migrated::BEFORE + 1 });
    migrated::check(&open(&database.url).await).await;
}
