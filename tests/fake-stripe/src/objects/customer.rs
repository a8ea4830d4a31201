//! Customers, and the card each pays with.

use serde_json::{Value, json};

use super::payment_method::{self, Card};
use super::{merge_metadata, new_metadata};
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::paging;
use crate::http::params::Params;
use crate::state::table::Row;
use crate::state::{Metadata, Shape, State};

const KNOWN: &[&str] = &[
    "address",
    "balance",
    "business_name",
    "cash_balance",
    "default_source",
    "description",
    "email",
    "expand",
    "individual_name",
    "invoice_prefix",
    "invoice_settings",
    "metadata",
    "name",
    "next_invoice_sequence",
    "payment_method",
    "phone",
    "preferred_locales",
    "shipping",
    "source",
    "tax",
    "tax_exempt",
    "tax_id_data",
    "test_clock",
    "validate",
];

#[derive(Debug)]
pub(crate) struct Customer {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) email: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Metadata,
    /// Cents; below zero is credit towards the next invoice.
    pub(crate) balance: i64,
    pub(crate) currency: Option<String>,
    pub(crate) card: Card,
    pub(crate) payment_method: Option<String>,
    pub(crate) deleted: bool,
    /// Counts this customer's invoices, for their numbers.
    pub(crate) invoices_numbered: u32,
}

impl Row for Customer {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn customer(&self) -> Option<&str> {
        Some(&self.id)
    }

    fn render(&self, state: &State, _shape: Shape) -> Value {
        if self.deleted {
            return json!({ "id": self.id, "object": "customer", "deleted": true });
        }
        json!({
            "id": self.id,
            "object": "customer",
            "address": null,
            "balance": self.balance,
            "created": self.created,
            "currency": self.currency,
            "customer_account": null,
            "default_source": null,
            "delinquent": is_delinquent(state, &self.id),
            "description": self.description,
            "discount": null,
            "email": self.email,
            "invoice_prefix": invoice_prefix(&self.id),
            "invoice_settings": {
                "custom_fields": null,
                "default_payment_method": self.payment_method,
                "footer": null,
                "rendering_options": null,
            },
            "livemode": state.config.livemode,
            "metadata": self.metadata,
            "name": self.name,
            "next_invoice_sequence": self.invoices_numbered + 1,
            "phone": null,
            "preferred_locales": [],
            "shipping": null,
            "tax_exempt": "none",
            "test_clock": null,
        })
    }
}

/// What the numbers of a customer's invoices begin with.
pub(crate) fn invoice_prefix(id: &str) -> String {
    id.chars().rev().take(8).collect::<String>().to_uppercase()
}

fn is_delinquent(state: &State, id: &str) -> bool {
    state.invoices.of_customer(id).any(super::invoice::Invoice::is_failing)
}

/// `POST /v1/customers`
pub(crate) fn create(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    call.only(KNOWN)?;
    let id = add(state, call.params.value("email"), call.params.value("name"), new_metadata(&call.params, "metadata"));
    apply(state, &id, &call.params)?;
    state.emit("customer.created", &id);
    call.show(state, &id)
}

/// Makes a customer without telling anybody yet.
pub(crate) fn add(state: &mut State, email: Option<&str>, name: Option<&str>, metadata: Metadata) -> String {
    let id = state.new_id("cus");
    state.customers.insert(Customer {
        id: id.clone(),
        created: state.now,
        email: email.map(str::to_owned),
        name: name.map(str::to_owned),
        description: None,
        metadata,
        balance: 0,
        currency: None,
        card: Card::None,
        payment_method: None,
        deleted: false,
        invoices_numbered: 0,
    });
    id
}

/// What create and update take alike.
fn apply(state: &mut State, id: &str, params: &Params) -> Result<(), ApiError> {
    let balance = params.integer("balance")?;
    let given = params
        .value("invoice_settings.default_payment_method")
        .or_else(|| params.value("payment_method"))
        .or_else(|| params.value("source"));
    if let Some(given) = given {
        payment_method::use_for(state, id, given)?;
    }
    if let Some(customer) = state.customers.get_mut(id) {
        if let Some(balance) = balance {
            customer.balance = balance;
        }
        if params.has("description") {
            customer.description = params.value("description").map(str::to_owned);
        }
    }
    Ok(())
}

/// `GET /v1/customers/{id}`
pub(crate) fn get(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    state.customers.get(id).ok_or_else(|| ApiError::no_such("customer", id, "id"))?;
    call.show(state, id)
}

/// `POST /v1/customers/{id}`
pub(crate) fn update(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    call.only(KNOWN)?;
    living(state, id)?;
    let before = state.snapshot(id);
    apply(state, id, &call.params)?;
    if let Some(customer) = state.customers.get_mut(id) {
        if call.params.has("email") {
            customer.email = call.params.value("email").map(str::to_owned);
        }
        if call.params.has("name") {
            customer.name = call.params.value("name").map(str::to_owned);
        }
        merge_metadata(&mut customer.metadata, &call.params, "metadata");
    }
    state.emit_change("customer.updated", id, before);
    call.show(state, id)
}

/// `GET /v1/customers`
pub(crate) fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    call.only(&["created", "email", "ending_before", "expand", "limit", "starting_after", "test_clock"])?;
    let email = call.params.value("email");
    // Stripe compares exactly, with case.
    paging::page(state, &state.customers, call, None, |customer| {
        !customer.deleted && email.is_none_or(|email| customer.email.as_deref() == Some(email))
    })
}

/// `DELETE /v1/customers/{id}`: ends every subscription at once.
pub(crate) fn delete(state: &mut State, id: &str) -> Result<Value, ApiError> {
    living(state, id)?;
    let subscriptions: Vec<String> = state
        .subscriptions
        .of_customer(id)
        .filter(|subscription| !subscription.status.is_final())
        .map(|subscription| subscription.id.clone())
        .collect();
    for subscription in subscriptions {
        crate::billing::end::end(state, &subscription, "cancellation_requested");
    }
    state.emit("customer.deleted", id);
    if let Some(customer) = state.customers.get_mut(id) {
        customer.deleted = true;
    }
    Ok(json!({ "id": id, "object": "customer", "deleted": true }))
}

fn living<'a>(state: &'a State, id: &str) -> Result<&'a Customer, ApiError> {
    state.customers.get(id).filter(|customer| !customer.deleted).ok_or_else(|| ApiError::no_such("customer", id, "id"))
}
