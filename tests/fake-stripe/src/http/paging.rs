//! Lists: newest first, a page at a time, by cursor.

use serde_json::{Value, json};

use super::call::Call;
use super::error::ApiError;
use super::params::Params;
use crate::state::State;
use crate::state::table::{Row, Table};

/// One page of a table, of one customer's rows or of all, as `limit`, `starting_after`, `ending_before` and `created` ask.
pub(crate) fn page<T: Row>(
    state: &State,
    table: &Table<T>,
    call: &Call,
    customer: Option<&str>,
    keep: impl Fn(&T) -> bool,
) -> Result<Value, ApiError> {
    let params = &call.params;
    let limit = limit(params)?;
    let created = Created::read(params)?;
    let positions = table.positions(customer);
    let cursor = |name: &str| -> Result<Option<usize>, ApiError> {
        let Some(id) = params.value(name) else { return Ok(None) };
        let position = table.position(id).ok_or_else(|| ApiError::no_such("object", id, name))?;
        Ok(Some(position))
    };
    let wanted = |index: usize| {
        let row = table.at(positions.get(index));
        (created.holds(row.created()) && keep(row)).then_some(row)
    };
    let (rows, has_more) = if let Some(position) = cursor("ending_before")? {
        // The rows just newer than the cursor, still shown newest first.
        let first = positions.before(position + 1);
        let mut newer: Vec<&T> = (first..positions.len()).filter_map(wanted).take(limit + 1).collect();
        let has_more = newer.len() > limit;
        newer.truncate(limit);
        newer.reverse();
        (newer, has_more)
    } else {
        let end = cursor("starting_after")?.map_or(positions.len(), |position| positions.before(position));
        let mut older: Vec<&T> = (0..end).rev().filter_map(wanted).take(limit + 1).collect();
        let has_more = older.len() > limit;
        older.truncate(limit);
        (older, has_more)
    };
    Ok(listed(call, rows.into_iter().map(|row| row.render(state, call.shape)).collect(), has_more))
}

/// The answer that a list is.
pub(crate) fn listed(call: &Call, data: Vec<Value>, has_more: bool) -> Value {
    let mut list = json!({ "object": "list", "url": call.path, "has_more": has_more });
    list["data"] = Value::Array(data);
    list
}

pub(crate) fn limit(params: &Params) -> Result<usize, ApiError> {
    let limit = params.integer("limit")?.unwrap_or(10);
    usize::try_from(limit).ok().filter(|limit| (1..=100).contains(limit)).ok_or_else(|| {
        ApiError::invalid(format!("Invalid limit: must be between 1 and 100; got {limit}"), Some("limit"))
    })
}

/// The `created` filter: a moment, or bounds.
struct Created {
    from: i64,
    to: i64,
}

impl Created {
    fn read(params: &Params) -> Result<Self, ApiError> {
        if let Some(exactly) = params.integer("created")? {
            return Ok(Self { from: exactly, to: exactly });
        }
        let mut from = params.integer("created.gte")?.unwrap_or(i64::MIN);
        let mut to = params.integer("created.lte")?.unwrap_or(i64::MAX);
        if let Some(after) = params.integer("created.gt")? {
            from = from.max(after.saturating_add(1));
        }
        if let Some(before) = params.integer("created.lt")? {
            to = to.min(before.saturating_sub(1));
        }
        Ok(Self { from, to })
    }

    fn holds(&self, created: i64) -> bool {
        (self.from..=self.to).contains(&created)
    }
}
