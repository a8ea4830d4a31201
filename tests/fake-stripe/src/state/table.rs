//! Rows in the order they were made, found by id and by customer without a search.
//!
//! What the rows mean is in `objects`.

use std::collections::HashMap;

use serde_json::Value;

use super::{Shape, State};

/// One object of the API.
pub(crate) trait Row {
    fn id(&self) -> &str;
    fn created(&self) -> i64;
    /// Whose it is, if it is somebody's from the moment it is made.
    fn customer(&self) -> Option<&str> {
        None
    }
    /// The object as the API shows it.
    fn render(&self, state: &State, shape: Shape) -> Value;
}

/// Rows of one kind. None is ever removed: Stripe keeps what is deleted, marked as such.
#[derive(Debug)]
pub(crate) struct Table<T> {
    rows: Vec<T>,
    by_id: HashMap<String, usize>,
    by_customer: HashMap<String, Vec<usize>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), by_id: HashMap::new(), by_customer: HashMap::new() }
    }
}

impl<T: Row> Table<T> {
    pub(crate) fn insert(&mut self, row: T) {
        let index = self.rows.len();
        self.by_id.insert(row.id().to_owned(), index);
        if let Some(customer) = row.customer() {
            self.by_customer.entry(customer.to_owned()).or_default().push(index);
        }
        self.rows.push(row);
    }

    pub(crate) fn get(&self, id: &str) -> Option<&T> {
        self.by_id.get(id).map(|index| &self.rows[*index])
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut T> {
        self.by_id.get(id).map(|index| &mut self.rows[*index])
    }

    pub(crate) fn contains(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Where the row stands in the order of making.
    pub(crate) fn position(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    pub(crate) fn at(&self, position: usize) -> &T {
        &self.rows[position]
    }

    pub(crate) fn get_mut_at(&mut self, position: usize) -> Option<&mut T> {
        self.rows.get_mut(position)
    }

    /// All rows, oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.rows.iter()
    }

    /// One customer's rows, oldest first.
    pub(crate) fn of_customer<'a>(&'a self, customer: &str) -> impl DoubleEndedIterator<Item = &'a T> + use<'a, T> {
        self.by_customer.get(customer).map_or(&[][..], Vec::as_slice).iter().map(|index| &self.rows[*index])
    }

    /// Positions, oldest first: of one customer's rows or of all.
    pub(crate) fn positions(&self, customer: Option<&str>) -> Positions<'_> {
        match customer {
            Some(customer) => Positions::Listed(self.by_customer.get(customer).map_or(&[][..], Vec::as_slice)),
            None => Positions::All(self.rows.len()),
        }
    }
}

/// Positions in a table, without a copy of them.
pub(crate) enum Positions<'a> {
    All(usize),
    Listed(&'a [usize]),
}

impl Positions<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::All(count) => *count,
            Self::Listed(list) => list.len(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> usize {
        match self {
            Self::All(_) => index,
            Self::Listed(list) => list[index],
        }
    }

    /// How many of them stand before `position`.
    pub(crate) fn before(&self, position: usize) -> usize {
        match self {
            Self::All(count) => position.min(*count),
            Self::Listed(list) => list.partition_point(|listed| *listed < position),
        }
    }
}
