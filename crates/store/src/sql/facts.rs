//! What is known of the database itself. Who copies one into another is not known here.

use super::database::{Connection, query};
use super::row::Fields;
use crate::error::StoreError;

/// Which database it is: random, made with its tables.
pub(crate) const ID: &str = "id";
/// The id of the database that it is a copy of.
pub(crate) const COPY_SOURCE: &str = "copy_source";
/// How far the source had come when the copy was begun.
pub(crate) const COPY_MARK: &str = "copy_mark";
/// Whether the copy is whole.
pub(crate) const COPY_STATE: &str = "copy_state";
/// A copy that lacks rows, so that nothing may be told from it.
pub(crate) const RUNNING: &str = "running";
/// A copy that was compared with its source.
pub(crate) const DONE: &str = "done";

pub(crate) async fn read(connection: &mut Connection, name: &str) -> Result<Option<String>, StoreError> {
    let row = query("SELECT name, value FROM facts WHERE name = $1").bind(name).fetch_optional(connection).await?;
    row.map(|row| Fields::of("facts", &["name"], &row).get("value")).transpose()
}

pub(crate) async fn write(connection: &mut Connection, name: &str, value: &str) -> Result<(), StoreError> {
    query("INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
        .bind(name)
        .bind(value)
        .execute(connection)
        .await?;
    Ok(())
}

/// Refuses a database that a copy has not yet filled: it knows too few keys and too little use.
pub(crate) async fn refuse_unfinished_copy(connection: &mut Connection) -> Result<(), StoreError> {
    match read(connection, COPY_STATE).await?.as_deref() {
        Some(RUNNING) => Err(StoreError::Unusable(
            "cannot use the database: a copy into it was not finished; run `tollgate migrate` again with the same \
             --from and --to"
                .into(),
        )),
        _ => Ok(()),
    }
}
