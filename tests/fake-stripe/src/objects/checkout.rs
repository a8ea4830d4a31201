//! Checkout sessions of subscriptions: the row, and how it is shown.
//!
//! The calls are in `checkout_calls`, what somebody does on the page in `checkout_outcomes`, the page itself in
//! `pages::checkout`. Payments and setups without a subscription are not played.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::list as sublist;
use crate::objects::subscription::MissingPaymentMethod;
use crate::state::table::Row;
use crate::state::{Metadata, Shape, State};

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
    pub(crate) fn as_str(self) -> &'static str {
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
    pub(crate) created: i64,
    pub(crate) expires_at: i64,
    pub(crate) status: SessionStatus,
    pub(crate) payment_status: &'static str,
    pub(crate) customer: Option<String>,
    pub(crate) customer_email: Option<String>,
    pub(crate) client_reference_id: Option<String>,
    pub(crate) success_url: String,
    pub(crate) cancel_url: Option<String>,
    pub(crate) items: Vec<(String, i64)>,
    pub(crate) currency: String,
    pub(crate) trial_days: Option<i64>,
    pub(crate) trial_end: Option<i64>,
    pub(crate) missing_payment_method: MissingPaymentMethod,
    /// Whether a card is asked for although nothing is due yet.
    pub(crate) collects_card: bool,
    pub(crate) description: Option<String>,
    pub(crate) subscription_metadata: Metadata,
    pub(crate) metadata: Metadata,
    pub(crate) subscription: Option<String>,
    pub(crate) invoice: Option<String>,
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

    fn render(&self, state: &State, shape: Shape) -> Value {
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
            "ui_mode": if shape == Shape::New { "hosted_page" } else { "hosted" },
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
