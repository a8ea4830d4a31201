//! Products: what prices are for.

use serde_json::{Value, json};

use super::merge_metadata;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::paging;
use crate::state::table::Row;
use crate::state::{Metadata, Shape, State};

const KNOWN: &[&str] = &[
    "active",
    "default_price",
    "default_price_data",
    "description",
    "expand",
    "id",
    "images",
    "marketing_features",
    "metadata",
    "name",
    "package_dimensions",
    "shippable",
    "statement_descriptor",
    "tax_code",
    "type",
    "unit_label",
    "url",
];

#[derive(Debug)]
pub(crate) struct Product {
    id: String,
    created: i64,
    updated: i64,
    pub(crate) name: String,
    description: Option<String>,
    active: bool,
    default_price: Option<String>,
    unit_label: Option<String>,
    tax_code: Option<String>,
    metadata: Metadata,
}

impl Row for Product {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn render(&self, state: &State, _shape: Shape) -> Value {
        json!({
            "id": self.id,
            "object": "product",
            "active": self.active,
            "attributes": [],
            "created": self.created,
            "default_price": self.default_price,
            "description": self.description,
            "images": [],
            "livemode": state.config.livemode,
            "marketing_features": [],
            "metadata": self.metadata,
            "name": self.name,
            "package_dimensions": null,
            "shippable": null,
            "statement_descriptor": null,
            "tax_code": self.tax_code,
            "type": "service",
            "unit_label": self.unit_label,
            "updated": self.updated,
            "url": null,
        })
    }
}

/// `POST /v1/products`
pub(crate) fn create(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    call.only(KNOWN)?;
    let params = &call.params;
    let name = params.required("name")?;
    let id = match params.value("id") {
        Some(id) if state.products.contains(id) => {
            return Err(ApiError::invalid("Product already exists.", Some("id")).with_code("resource_already_exists"));
        }
        Some(id) => id.to_owned(),
        None => state.new_id("prod"),
    };
    add(state, &id, name);
    change(state, &id, call)?;
    state.emit("product.created", &id);
    call.show(state, &id)
}

/// Makes a product without telling anybody.
pub(crate) fn add(state: &mut State, id: &str, name: &str) {
    state.products.insert(Product {
        id: id.to_owned(),
        created: state.now,
        updated: state.now,
        name: name.to_owned(),
        description: None,
        active: true,
        default_price: None,
        unit_label: None,
        tax_code: None,
        metadata: Metadata::new(),
    });
}

fn change(state: &mut State, id: &str, call: &Call) -> Result<(), ApiError> {
    let now = state.now;
    let active = call.params.flag("active")?;
    let Some(product) = state.products.get_mut(id) else { return Ok(()) };
    product.updated = now;
    product.active = active.unwrap_or(product.active);
    if let Some(name) = call.params.value("name") {
        name.clone_into(&mut product.name);
    }
    for (name, field) in [
        ("description", &mut product.description),
        ("default_price", &mut product.default_price),
        ("unit_label", &mut product.unit_label),
        ("tax_code", &mut product.tax_code),
    ] {
        if call.params.has(name) {
            *field = call.params.value(name).map(str::to_owned);
        }
    }
    merge_metadata(&mut product.metadata, &call.params, "metadata");
    Ok(())
}

/// `GET /v1/products/{id}`
pub(crate) fn get(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    state.products.get(id).ok_or_else(|| ApiError::no_such("product", id, "id"))?;
    call.show(state, id)
}

/// `POST /v1/products/{id}`
pub(crate) fn update(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    call.only(KNOWN)?;
    state.products.get(id).ok_or_else(|| ApiError::no_such("product", id, "id"))?;
    let before = state.snapshot(id);
    change(state, id, call)?;
    state.emit_change("product.updated", id, before);
    call.show(state, id)
}

/// `GET /v1/products`
pub(crate) fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    let active = call.params.flag("active")?;
    let ids = call.params.texts("ids");
    paging::page(state, &state.products, call, None, |product| {
        active.is_none_or(|active| product.active == active) && (ids.is_empty() || ids.contains(&product.id.as_str()))
    })
}
