//! Checkout sessions of subscriptions: made by the API, paid or left on a page.
//!
//! The page itself is in `pages::checkout`. Payments and setups without a subscription are not played.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::payment_method::{Card, set_card};
use super::{customer, list as sublist, new_metadata, subscription_calls};
use crate::billing::collect;
use crate::billing::start::{self, New, NewItem, Payment};
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::paging;
use crate::objects::invoice::InvoiceStatus;
use crate::objects::subscription::MissingPaymentMethod;
use crate::state::clock::{DAY, MINUTE};
use crate::state::due::Due;
use crate::state::table::Row;
use crate::state::{Metadata, Shape, State};

const KNOWN: &[&str] = &[
    "adaptive_pricing",
    "after_expiration",
    "allow_promotion_codes",
    "allowed_payment_method_types",
    "automatic_tax",
    "billing_address_collection",
    "branding_settings",
    "cancel_url",
    "client_reference_id",
    "consent_collection",
    "currency",
    "custom_fields",
    "custom_text",
    "customer",
    "customer_account",
    "customer_email",
    "customer_update",
    "discounts",
    "excluded_payment_method_types",
    "expand",
    "expires_at",
    "integration_identifier",
    "line_items",
    "locale",
    "managed_payments",
    "metadata",
    "mode",
    "name_collection",
    "origin_context",
    "payment_method_collection",
    "payment_method_configuration",
    "payment_method_data",
    "payment_method_options",
    "payment_method_types",
    "permissions",
    "phone_number_collection",
    "redirect_on_completion",
    "return_url",
    "saved_payment_method_options",
    "shipping_address_collection",
    "submit_type",
    "subscription_data",
    "success_url",
    "tax_id_collection",
    "ui_mode",
    "wallet_options",
];

/// What somebody does on a Checkout page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckoutOutcome {
    /// Pays with a card that works.
    Pay,
    /// Pays with a method that answers later; see [`FakeStripe::async_payment`](crate::FakeStripe::async_payment).
    PayLater,
    /// Tries a card that is declined; the session stays open.
    Decline,
    /// Never comes back.
    Expire,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionStatus {
    Open,
    Complete,
    Expired,
}

impl SessionStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Complete => "complete",
            Self::Expired => "expired",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    created: i64,
    expires_at: i64,
    pub(crate) status: SessionStatus,
    payment_status: &'static str,
    pub(crate) customer: Option<String>,
    customer_email: Option<String>,
    pub(crate) client_reference_id: Option<String>,
    pub(crate) success_url: String,
    pub(crate) cancel_url: Option<String>,
    pub(crate) items: Vec<(String, i64)>,
    pub(crate) currency: String,
    pub(crate) trial_days: Option<i64>,
    trial_end: Option<i64>,
    missing_payment_method: MissingPaymentMethod,
    /// Whether a card is asked for although nothing is due yet.
    pub(crate) collects_card: bool,
    description: Option<String>,
    subscription_metadata: Metadata,
    metadata: Metadata,
    pub(crate) subscription: Option<String>,
    invoice: Option<String>,
}

impl Session {
    /// What the items cost, in cents.
    pub(crate) fn total(&self, state: &State) -> i64 {
        let amount = |(price, quantity): &(String, i64)| {
            let price = state.prices.get(price).filter(|price| price.meter().is_none());
            price.map_or(0, |price| price.amount(*quantity))
        };
        self.items.iter().map(amount).sum()
    }

    pub(crate) fn has_trial(&self) -> bool {
        self.trial_days.is_some() || self.trial_end.is_some()
    }

    /// What is due on the page: nothing at the start of a trial.
    pub(crate) fn due_now(&self, state: &State) -> i64 {
        if self.has_trial() { 0 } else { self.total(state) }
    }

    /// Where somebody goes after paying.
    pub(crate) fn success_address(&self) -> String {
        self.success_url.replace("{CHECKOUT_SESSION_ID}", &self.id)
    }

    /// Whether the page need not ask for an e-mail.
    pub(crate) fn knows_email(&self, state: &State) -> bool {
        let known = self.customer.as_deref().and_then(|id| state.customers.get(id));
        self.customer_email.is_some() || known.is_some_and(|customer| customer.email.is_some())
    }

    fn customer_details(&self, state: &State) -> Value {
        let known = self.customer.as_deref().and_then(|id| state.customers.get(id));
        let email = known.and_then(|customer| customer.email.clone()).or_else(|| self.customer_email.clone());
        if email.is_none() && self.status != SessionStatus::Complete {
            return Value::Null;
        }
        json!({
            "address": null,
            "business_name": null,
            "email": email,
            "individual_name": null,
            "name": known.and_then(|customer| customer.name.as_deref()),
            "phone": null,
            "tax_exempt": "none",
            "tax_ids": [],
        })
    }
}

impl Row for Session {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn customer(&self) -> Option<&str> {
        self.customer.as_deref()
    }

    fn render(&self, state: &State, _shape: Shape) -> Value {
        let due = self.due_now(state);
        let open = self.status == SessionStatus::Open;
        json!({
            "id": self.id,
            "object": "checkout.session",
            "adaptive_pricing": { "enabled": false },
            "after_expiration": null,
            "allow_promotion_codes": null,
            "amount_subtotal": due,
            "amount_total": due,
            "automatic_tax": { "enabled": false, "liability": null, "provider": null, "status": null },
            "billing_address_collection": null,
            "cancel_url": self.cancel_url,
            "client_reference_id": self.client_reference_id,
            "client_secret": null,
            "consent": null,
            "consent_collection": null,
            "created": self.created,
            "currency": self.currency,
            "custom_fields": [],
            "custom_text": { "after_submit": null, "shipping_address": null, "submit": null, "terms_of_service_acceptance": null },
            "customer": self.customer,
            "customer_account": null,
            "customer_creation": if self.customer.is_some() { Value::Null } else { json!("always") },
            "customer_details": self.customer_details(state),
            "customer_email": self.customer_email,
            "discounts": null,
            "expires_at": self.expires_at,
            "invoice": self.invoice,
            "invoice_creation": null,
            "livemode": state.config.livemode,
            "locale": null,
            "metadata": self.metadata,
            "mode": "subscription",
            "payment_intent": null,
            "payment_link": null,
            "payment_method_collection": if self.collects_card { "always" } else { "if_required" },
            "payment_method_configuration_details": null,
            "payment_method_options": {},
            "payment_method_types": ["card"],
            "payment_status": self.payment_status,
            "recovered_from": null,
            "setup_intent": null,
            "shipping_address_collection": null,
            "shipping_cost": null,
            "shipping_options": [],
            "status": self.status.as_str(),
            "submit_type": null,
            "subscription": self.subscription,
            "success_url": self.success_url,
            "total_details": { "amount_discount": 0, "amount_shipping": 0, "amount_tax": 0 },
            "ui_mode": "hosted",
            "url": if open { json!(format!("{}/c/pay/{}", state.base, self.id)) } else { Value::Null },
        })
    }
}

/// The items of a session, which are shown only where they are asked for.
pub(crate) fn render_line_items(session: &Session, state: &State, shape: Shape) -> Value {
    let items = session.items.iter().enumerate().map(|(index, (id, quantity))| {
        let price = state.prices.get(id);
        let amount = price.filter(|price| price.meter().is_none()).map_or(0, |price| price.amount(*quantity));
        json!({
            "id": format!("li_{index}_{}", &session.id[session.id.len() - 8..]),
            "object": "item",
            "amount_discount": 0,
            "amount_subtotal": amount,
            "amount_tax": 0,
            "amount_total": amount,
            "currency": session.currency,
            "description": price.and_then(|price| state.products.get(&price.product)).map(|product| product.name.as_str()),
            "price": price.map(|price| price.render(state, shape)),
            "quantity": quantity,
        })
    });
    sublist(items.collect(), &format!("/v1/checkout/sessions/{}/line_items", session.id))
}

/// `POST /v1/checkout/sessions`
pub(crate) fn create(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    call.only(KNOWN)?;
    let params = &call.params;
    if params.required("mode")? != "subscription" {
        return Err(ApiError::not_played("Checkout in another mode than `subscription`"));
    }
    if params.value("ui_mode").is_some_and(|mode| !matches!(mode, "hosted" | "hosted_page")) {
        return Err(ApiError::not_played("Checkout embedded in a page"));
    }
    let success_url = params.required("success_url")?.to_owned();
    if params.value("customer").is_some() && params.value("customer_email").is_some() {
        return Err(ApiError::invalid(
            "You may only specify one of these parameters: customer, customer_email.",
            Some("customer"),
        )
        .with_code("parameters_exclusive"));
    }
    if let Some(customer) = params.value("customer") {
        state.living_customer(customer)?;
    }
    let (items, currency) = read_line_items(state, call)?;
    let subscription_data = params.part("subscription_data").cloned().unwrap_or_default();
    let expires_at = params.integer("expires_at")?.unwrap_or(state.now + DAY);
    if expires_at < state.now + 30 * MINUTE || expires_at > state.now + DAY {
        return Err(ApiError::invalid(
            "The `expires_at` timestamp must be at least 30 minutes and at most 24 hours from Checkout Session creation.",
            Some("expires_at"),
        ));
    }
    let id = state.new_id(if state.config.livemode { "cs_live" } else { "cs_test" });
    state.sessions.insert(Session {
        id: id.clone(),
        created: state.now,
        expires_at,
        status: SessionStatus::Open,
        payment_status: "unpaid",
        customer: params.value("customer").map(str::to_owned),
        customer_email: params.value("customer_email").map(str::to_owned),
        client_reference_id: params.value("client_reference_id").map(str::to_owned),
        success_url,
        cancel_url: params.value("cancel_url").map(str::to_owned),
        items,
        currency,
        trial_days: subscription_data.integer("trial_period_days")?.filter(|days| *days > 0),
        trial_end: subscription_data.integer("trial_end")?,
        missing_payment_method: subscription_calls::read_missing_payment_method(&subscription_data)?
            .unwrap_or_default(),
        collects_card: params.value("payment_method_collection") != Some("if_required"),
        description: subscription_data.value("description").map(str::to_owned),
        subscription_metadata: new_metadata(&subscription_data, "metadata"),
        metadata: new_metadata(params, "metadata"),
        subscription: None,
        invoice: None,
    });
    state.agenda.add(expires_at, Due::SessionExpires(id.clone()));
    call.show(state, &id)
}

fn read_line_items(state: &State, call: &Call) -> Result<(Vec<(String, i64)>, String), ApiError> {
    let mut items = Vec::new();
    let mut currency = String::new();
    for item in subscription_calls::read_items(&call.params, "line_items")? {
        let (price, _) = start::usable(state, &item.price)?;
        match item.quantity {
            Some(_) if price.meter().is_some() => {
                return Err(ApiError::invalid(
                    "Quantity should not be specified where usage_type is `metered`.",
                    Some("line_items[0][quantity]"),
                ));
            }
            None if price.meter().is_none() => return Err(ApiError::missing("line_items[0][quantity]")),
            _ => {}
        }
        price.currency.clone_into(&mut currency);
        items.push((item.price, item.quantity.unwrap_or(1)));
    }
    Ok((items, currency))
}

fn found<'a>(state: &'a State, id: &str) -> Result<&'a Session, ApiError> {
    state.sessions.get(id).ok_or_else(|| ApiError::no_such("checkout.session", id, "id"))
}

/// `GET /v1/checkout/sessions/{id}`
pub(crate) fn get(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    found(state, id)?;
    call.show(state, id)
}

/// `GET /v1/checkout/sessions/{id}/line_items`
pub(crate) fn line_items(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    Ok(render_line_items(found(state, id)?, state, call.shape))
}

/// `GET /v1/checkout/sessions`
pub(crate) fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    let params = &call.params;
    let (customer, subscription, status) =
        (params.value("customer"), params.value("subscription"), params.value("status"));
    paging::page(state, &state.sessions, call, None, |session| {
        customer.is_none_or(|customer| session.customer.as_deref() == Some(customer))
            && subscription.is_none_or(|subscription| session.subscription.as_deref() == Some(subscription))
            && status.is_none_or(|status| session.status.as_str() == status)
    })
}

/// `POST /v1/checkout/sessions/{id}/expire`
pub(crate) fn expire(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    open(state, id)?;
    close(state, id);
    call.show(state, id)
}

/// A session's day is over.
pub(crate) fn expire_when_due(state: &mut State, id: &str) {
    if state.sessions.get(id).is_some_and(|session| session.status == SessionStatus::Open) {
        close(state, id);
    }
}

fn close(state: &mut State, id: &str) {
    if let Some(session) = state.sessions.get_mut(id) {
        session.status = SessionStatus::Expired;
    }
    state.emit("checkout.session.expired", id);
}

fn open<'a>(state: &'a State, id: &str) -> Result<&'a Session, ApiError> {
    let session = found(state, id)?;
    if session.status == SessionStatus::Open {
        return Ok(session);
    }
    Err(ApiError::invalid(
        format!("This Session is in status {}, it is no longer open.", session.status.as_str()),
        None,
    ))
}

/// Somebody does something on the page.
pub(crate) fn play(state: &mut State, id: &str, outcome: CheckoutOutcome, email: Option<&str>) -> Result<(), ApiError> {
    open(state, id)?;
    match outcome {
        CheckoutOutcome::Expire => close(state, id),
        CheckoutOutcome::Decline => decline(state, id),
        CheckoutOutcome::Pay => complete(state, id, Payment::Allowed, email)?,
        CheckoutOutcome::PayLater => complete(state, id, Payment::Later, email)?,
    }
    Ok(())
}

/// A declined card leaves a charge where there is a customer, and no subscription.
fn decline(state: &mut State, id: &str) {
    let Some(session) = state.sessions.get(id) else { return };
    let (amount, currency) = (session.due_now(state), session.currency.clone());
    if let Some(customer) = session.customer.clone().filter(|_| amount > 0) {
        collect::record_declined_without_invoice(state, &customer, amount, &currency);
    }
}

/// The customer of a session, made from the e-mail if there is none yet.
fn customer_of(state: &mut State, id: &str, email: Option<&str>) -> String {
    let session = state.sessions.get(id);
    if let Some(customer) = session.and_then(|session| session.customer.clone()) {
        return customer;
    }
    let email = email.map(str::to_owned).or_else(|| session.and_then(|session| session.customer_email.clone()));
    let made = customer::add(state, email.as_deref(), None, Metadata::new());
    state.emit("customer.created", &made);
    made
}

fn complete(state: &mut State, id: &str, payment: Payment, email: Option<&str>) -> Result<(), ApiError> {
    let customer = customer_of(state, id, email);
    let session = found(state, id)?;
    let gives_card = session.collects_card || session.due_now(state) > 0;
    let new = New {
        customer: customer.clone(),
        items: session
            .items
            .iter()
            .map(|(price, quantity)| NewItem {
                price: price.clone(),
                quantity: Some(*quantity),
                metadata: Metadata::new(),
            })
            .collect(),
        trial_end: session.trial_end.or(session.trial_days.map(|days| state.now + days * DAY)),
        missing_payment_method: session.missing_payment_method,
        description: session.description.clone(),
        metadata: session.subscription_metadata.clone(),
        payment,
        ..New::default()
    };
    if gives_card {
        set_card(state, &customer, Card::Good);
    }
    let subscription = start::start(state, new)?;
    let invoice = state.subscriptions.get(&subscription).and_then(|subscription| subscription.latest_invoice.clone());
    let paid = invoice
        .as_deref()
        .and_then(|id| state.invoices.get(id))
        .is_some_and(|invoice| invoice.status == InvoiceStatus::Paid);
    if let Some(session) = state.sessions.get_mut(id) {
        session.status = SessionStatus::Complete;
        session.payment_status = match (paid, session.trial_days.is_some() || session.trial_end.is_some()) {
            (true, true) => "no_payment_required",
            (true, false) => "paid",
            (false, _) => "unpaid",
        };
        session.customer = Some(customer);
        session.subscription = Some(subscription);
        session.invoice = invoice;
    }
    state.emit("checkout.session.completed", id);
    Ok(())
}

/// The delayed payment of a completed session arrives, or fails for good.
pub(crate) fn async_payment(state: &mut State, id: &str, succeeded: bool) -> Result<(), ApiError> {
    let session = found(state, id)?;
    let invoice = session
        .invoice
        .clone()
        .filter(|_| session.status == SessionStatus::Complete && session.payment_status == "unpaid");
    let invoice = invoice.ok_or_else(|| ApiError::invalid("This session waits for no payment.", None))?;
    if succeeded {
        collect::charge(state, &invoice, collect::Attempt::Automatic);
        if let Some(session) = state.sessions.get_mut(id) {
            session.payment_status = "paid";
        }
        state.emit("checkout.session.async_payment_succeeded", id);
    } else {
        state.emit("invoice.payment_failed", &invoice);
        state.emit("checkout.session.async_payment_failed", id);
        collect::close(state, &invoice, InvoiceStatus::Void)?;
    }
    Ok(())
}
