//! Which of the store's errors a failure of the database is. It does not know which call failed.

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

use crate::error::StoreError;

/// The primary code of a damaged `SQLite` file.
const SQLITE_CORRUPT: u32 = 11;
/// The primary code of a file that is no database.
const SQLITE_NOTADB: u32 = 26;
/// The codes of what `PostgreSQL` does not do until a person has acted, by how they begin.
const REFUSALS: [(&str, &str); 7] = [
    ("22021", "a text holds a character that it cannot keep"),
    ("28", "the login failed"),
    ("3D000", "there is no such database"),
    ("42501", "the user lacks a permission"),
    ("42P01", "a table is missing"),
    ("42703", "a column is missing"),
    ("XX00", "the database is damaged"),
];
/// The codes of a transaction that `PostgreSQL` gave up because of another: serialization failure, deadlock, and a row
/// that another one put in after it was found missing.
const RACES: [&str; 3] = ["40001", "40P01", "23505"];

/// A transaction that another one overtook. Nothing was changed, and the same call run again sees what that one did.
#[derive(Debug, thiserror::Error)]
#[error("another call changed the same rows at the same time")]
struct Raced;

/// A call that failed while the store was open. A row that cannot be read is told apart where it is read.
pub(crate) fn failed(error: sqlx::Error) -> StoreError {
    if let Some(what) = damage(&error) {
        return StoreError::Unusable(format!(
            "the database file is damaged ({what}): stop, and restore it from a backup"
        ));
    }
    match refusal(&error) {
        Some(line) => StoreError::Unusable(line),
        None => StoreError::Unavailable(error.into()),
    }
}

/// That the transaction was overtaken and is to be run again.
pub(crate) fn raced() -> StoreError {
    StoreError::Unavailable(Box::new(Raced))
}

/// Whether the same transaction may succeed at once if it is run again.
pub(crate) fn is_race(error: &StoreError) -> bool {
    let StoreError::Unavailable(source) = error else { return false };
    if source.is::<Raced>() {
        return true;
    }
    let error = source.downcast_ref::<sqlx::Error>().and_then(postgres);
    error.is_some_and(|error| RACES.contains(&error.code()))
}

/// What `SQLite` says of the file, where the file itself is what is wrong.
pub(crate) fn damage(error: &sqlx::Error) -> Option<String> {
    let error = error.as_database_error()?;
    if error.try_downcast_ref::<PgDatabaseError>().is_some() {
        return None;
    }
    matches!(primary_code(error)?, SQLITE_CORRUPT | SQLITE_NOTADB).then(|| error.message().into())
}

/// The code without what the extended one adds in its upper bits.
fn primary_code(error: &dyn DatabaseError) -> Option<u32> {
    Some(error.code()?.parse::<u32>().ok()? & 0xff)
}

/// What `PostgreSQL` says, in one line, where it will say so again until a person has acted.
pub(crate) fn refusal(error: &sqlx::Error) -> Option<String> {
    let error = postgres(error)?;
    let (_, what) = REFUSALS.iter().find(|(code, _)| error.code().starts_with(code))?;
    Some(format!("{what}: {}", one_line(error.message())))
}

/// Whether another connection may reach a server that does what this one no longer does.
pub(crate) fn is_of_a_server_that_only_reads(error: &sqlx::Error) -> bool {
    postgres(error).is_some_and(|error| error.code() == "25006")
}

fn postgres(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

/// A text of another program, as one line.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
