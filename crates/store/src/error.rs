//! What can go wrong with a store, told apart by what a caller can do about it.

/// A store that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It did not answer. The same call may succeed later; nothing was changed.
    #[error("the database does not answer: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It cannot be opened as it is; a person must act.
    #[error("{0}")]
    Unusable(String),
    /// A row holds what no version of Tollgate writes.
    #[error("the database holds an impossible value: table {table}, column {column}, row {row}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's primary key.
        row: String,
    },
}
