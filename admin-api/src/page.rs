//! How lists are answered: items, and where the next page begins.

use serde::Serialize;
use tollgate_domain::{Key, Timestamp};
use tollgate_store::Page;
use utoipa::ToSchema;

use crate::views::KeyView;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PageView<T: ToSchema> {
    /// The items.
    items: Vec<T>,
    /// What to send as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

impl<T: ToSchema> PageView<T> {
    /// A page of these items; `cursor` names the last one where more follow.
    pub(crate) fn new(items: Vec<T>, cursor: Option<String>) -> Self {
        Self { items, next_cursor: cursor }
    }
}

impl PageView<KeyView> {
    /// A page of keys as they are now.
    pub(crate) fn of_keys(page: &Page<Key>, now: Timestamp) -> Self {
        let next = page.items.last().filter(|_| page.has_more).map(|key| key.id.to_string());
        Self::new(page.items.iter().map(|key| KeyView::new(key, now)).collect(), next)
    }
}
