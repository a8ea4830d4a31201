//! The objects of the API: one module a resource, with its row, how it is shown, and the calls on it.
//!
//! What time and payment do to them is in `billing`.

pub(crate) mod account;
pub(crate) mod charge;
pub(crate) mod checkout;
pub(crate) mod checkout_calls;
pub(crate) mod checkout_outcomes;
pub(crate) mod customer;
pub(crate) mod dispute;
pub(crate) mod event;
pub(crate) mod invoice;
pub(crate) mod invoice_calls;
pub(crate) mod meter;
pub(crate) mod payment_method;
pub(crate) mod portal;
pub(crate) mod price;
pub(crate) mod product;
pub(crate) mod refund;
pub(crate) mod subscription;
pub(crate) mod subscription_calls;
pub(crate) mod subscription_settings;
pub(crate) mod webhook_endpoint;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::http::params::Params;
use crate::state::Metadata;

/// Metadata as an update changes it: given names are set, empty ones removed, an empty whole removes all.
pub(crate) fn merge_metadata(metadata: &mut Metadata, params: &Params, path: &str) {
    if params.text(path) == Some("") {
        metadata.clear();
    }
    for (name, value) in params.map(path) {
        if value.is_empty() {
            metadata.remove(&name);
        } else {
            metadata.insert(name, value);
        }
    }
}

/// A list that is part of an object.
pub(crate) fn list(data: Vec<Value>, url: &str) -> Value {
    let mut list = json!({ "object": "list", "total_count": data.len(), "has_more": false, "url": url });
    list["data"] = Value::Array(data);
    list
}

/// Metadata of a new object.
pub(crate) fn new_metadata(params: &Params, path: &str) -> Metadata {
    let mut metadata = BTreeMap::new();
    merge_metadata(&mut metadata, params, path);
    metadata
}

/// Adds the fields of one object to another.
pub(crate) fn merge(value: &mut Value, more: Value) {
    if let (Value::Object(fields), Value::Object(more)) = (value, more) {
        fields.extend(more);
    }
}
