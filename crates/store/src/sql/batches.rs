//! Which batches were stored. Storing one is `usage`'s.

use super::database::{Connection, query};
use super::row::Fields;
use crate::error::StoreError;

/// The batches of each node after which others are missing, and the number of the next that is there. It reads the whole
/// index, once a night.
const GAPS: &str = "SELECT node, sequence, next FROM (SELECT node, sequence, \
    LEAD(sequence) OVER (PARTITION BY node ORDER BY sequence) AS next FROM usage_batches) AS batches \
    WHERE next > sequence + 1 ORDER BY node, sequence LIMIT $1";

/// Numbers that are missing between those that are stored, by node.
pub(super) async fn missing(connection: &mut Connection, limit: u32) -> Result<Vec<(String, i64)>, StoreError> {
    connection.be_patient().await?;
    let rows = query(GAPS).bind(i64::from(limit)).fetch_all(connection).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut missing = Vec::new();
    for row in &rows {
        let fields = Fields::of("usage_batches", &["node", "sequence"], row);
        let (node, last, next) = (fields.get::<&str>("node")?, fields.get::<i64>("sequence")?, fields.get("next")?);
        let left = limit.saturating_sub(missing.len());
        missing.extend((last + 1..next).take(left).map(|number| (node.to_owned(), number)));
    }
    Ok(missing)
}
