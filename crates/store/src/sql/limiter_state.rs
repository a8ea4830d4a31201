//! What a graceful stop keeps of the limiter. Its form is the limiter's own.

use std::collections::BTreeMap;

use super::database::{Connection, query};
use super::insert::{Insert, Kind};
use super::row::Fields;
use crate::error::StoreError;
use crate::record::SavedState;

const INSERT: Insert =
    Insert { table: "limiter_state", columns: &[("subject", Kind::Text), ("state", Kind::Text)], on_conflict: "" };

pub(super) async fn save(connection: &mut Connection, states: &[SavedState]) -> Result<(), StoreError> {
    query("DELETE FROM limiter_state").execute(connection).await?;
    // What is told twice of a subject is its last state.
    let states: BTreeMap<&str, &str> = states.iter().map(|saved| (&*saved.subject, &*saved.state)).collect();
    let states: Vec<_> = states.into_iter().collect();
    INSERT.rows(connection, &states, |(subject, state)| [(*subject).into(), (*state).into()]).await
}

pub(super) async fn take(connection: &mut Connection) -> Result<Vec<SavedState>, StoreError> {
    let rows = query("DELETE FROM limiter_state RETURNING subject, state").fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let fields = Fields::of("limiter_state", &["subject"], row);
            Ok(SavedState { subject: fields.get("subject")?, state: fields.get("state")? })
        })
        .collect()
}
