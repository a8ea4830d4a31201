//! What a graceful stop keeps of the limiter. Its form is the limiter's own.

use sqlx::QueryBuilder;
use sqlx::sqlite::SqliteConnection;

use super::fault::failed;
use super::row::Fields;
use crate::error::StoreError;
use crate::record::SavedState;

/// Rows in one statement.
const ROWS: usize = 128;

pub(super) async fn save(connection: &mut SqliteConnection, states: &[SavedState]) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM limiter_state").execute(&mut *connection).await.map_err(failed)?;
    for states in states.chunks(ROWS) {
        let mut insert = QueryBuilder::new("INSERT INTO limiter_state (subject, state) ");
        insert.push_values(states, |mut row, state| {
            row.push_bind(&state.subject).push_bind(&state.state);
        });
        insert.push(" ON CONFLICT (subject) DO UPDATE SET state = excluded.state");
        insert.build().execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
}

pub(super) async fn take(connection: &mut SqliteConnection) -> Result<Vec<SavedState>, StoreError> {
    let rows = sqlx::query("DELETE FROM limiter_state RETURNING subject, state")
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    rows.iter()
        .map(|row| {
            let fields = Fields::of("limiter_state", &["subject"], row);
            Ok(SavedState { subject: fields.get("subject")?, state: fields.get("state")? })
        })
        .collect()
}
