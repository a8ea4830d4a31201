//! Which of the store's errors a failure of the database is. It does not know which call failed.

use sqlx::error::DatabaseError;

use crate::error::StoreError;

/// The primary code of a damaged file.
const SQLITE_CORRUPT: u32 = 11;
/// The primary code of a file that is no database.
const SQLITE_NOTADB: u32 = 26;

/// A call that failed while the store was open. A row that cannot be read is told apart where it is read.
pub(super) fn failed(error: sqlx::Error) -> StoreError {
    match damage(&error) {
        Some(what) => {
            StoreError::Unusable(format!("the database file is damaged ({what}): stop, and restore it from a backup"))
        }
        None => StoreError::Unavailable(error.into()),
    }
}

/// What `SQLite` says of the file, where the file itself is what is wrong.
pub(super) fn damage(error: &sqlx::Error) -> Option<String> {
    let error = error.as_database_error()?;
    matches!(primary_code(error)?, SQLITE_CORRUPT | SQLITE_NOTADB).then(|| error.message().into())
}

/// The code without what the extended one adds in its upper bits.
fn primary_code(error: &dyn DatabaseError) -> Option<u32> {
    Some(error.code()?.parse::<u32>().ok()? & 0xff)
}
