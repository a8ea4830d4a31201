//! `expand[]`: ids replaced with the objects they name.

use serde_json::Value;

use super::error::ApiError;
use crate::objects::checkout;
use crate::state::{Shape, State};

/// Stripe expands four levels deep and no deeper.
const LEVELS_MAX: usize = 4;

/// Expands the dotted paths in an answer.
pub(crate) fn expand(state: &State, value: &mut Value, paths: &[&str], shape: Shape) -> Result<(), ApiError> {
    for path in paths {
        let parts: Vec<&str> = path.split('.').collect();
        if parts.len() > LEVELS_MAX {
            return Err(ApiError::invalid("You cannot expand more than 4 levels of a property.", Some("expand")));
        }
        if !expand_at(state, value, &parts, shape) {
            return Err(ApiError::invalid(format!("This property cannot be expanded ({path})."), Some("expand")));
        }
    }
    Ok(())
}

/// Whether the path leads somewhere.
fn expand_at(state: &State, value: &mut Value, parts: &[&str], shape: Shape) -> bool {
    let Some((first, rest)) = parts.split_first() else { return true };
    if let Value::Array(list) = value {
        // A path goes through every element of a list; an empty one refuses nothing.
        let mut leads = list.is_empty();
        for element in list {
            leads |= expand_at(state, element, parts, shape);
        }
        return leads;
    }
    includable(state, value, first, shape);
    let Some(field) = value.get_mut(first) else { return false };
    match field {
        Value::Null => true,
        Value::String(id) => match state.render(id, shape) {
            Some(object) => {
                *field = object;
                rest.is_empty() || expand_at(state, field, rest, shape)
            }
            None => false,
        },
        _ => rest.is_empty() || expand_at(state, field, rest, shape),
    }
}

/// Parts that are only there when they are asked for.
fn includable(state: &State, value: &mut Value, name: &str, shape: Shape) {
    let Some(id) = value.get("id").and_then(Value::as_str).map(str::to_owned) else { return };
    let part = match (value.get("object").and_then(Value::as_str), name) {
        (Some("invoice"), "payments") => state
            .invoices
            .get(&id)
            .map(|invoice| crate::objects::list(invoice.render_payments(state), "/v1/invoice_payments")),
        (Some("checkout.session"), "line_items") => {
            state.sessions.get(&id).map(|session| checkout::render_line_items(session, state, shape))
        }
        (Some("customer"), "subscriptions") => {
            use crate::state::table::Row;
            let living =
                state.subscriptions.of_customer(&id).rev().filter(|subscription| !subscription.status.is_final());
            let data = living.map(|subscription| subscription.render(state, shape)).collect();
            Some(crate::objects::list(data, &format!("/v1/customers/{id}/subscriptions")))
        }
        _ => None,
    };
    if let Some(part) = part {
        value[name] = part;
    }
}
