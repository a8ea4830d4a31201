//! How lists are answered: items, and where the next page begins.

use serde::Serialize;

/// A page of a list.
#[derive(Debug, Serialize)]
pub(crate) struct PageView<T> {
    /// The items.
    items: Vec<T>,
    /// What to send as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

impl<T> PageView<T> {
    /// A page of these items; `cursor` names the last one where more follow.
    pub(crate) fn new(items: Vec<T>, cursor: Option<String>) -> Self {
        Self { items, next_cursor: cursor }
    }
}
