//! Subscriptions: the row, and how both shapes show it.
//!
//! The calls on them are in `subscription_calls`; what time and payment do to them is in `billing`.

use serde_json::{Value, json};

use super::list;
use crate::state::table::Row;
use crate::state::{Metadata, Shape, State};

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Incomplete,
    IncompleteExpired,
    Trialing,
    Active,
    PastDue,
    Canceled,
    Unpaid,
    Paused,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::IncompleteExpired => "incomplete_expired",
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Canceled => "canceled",
            Self::Unpaid => "unpaid",
            Self::Paused => "paused",
        }
    }

    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Canceled | Self::IncompleteExpired)
    }

    /// Whether periods go on and invoices are made.
    pub(crate) fn renews(self) -> bool {
        matches!(self, Self::Trialing | Self::Active | Self::PastDue | Self::Unpaid)
    }
}

/// What happens at the end of a trial without a card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MissingPaymentMethod {
    #[default]
    CreateInvoice,
    Pause,
    Cancel,
}

impl MissingPaymentMethod {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::CreateInvoice => "create_invoice",
            Self::Pause => "pause",
            Self::Cancel => "cancel",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::CreateInvoice, Self::Pause, Self::Cancel].into_iter().find(|known| known.as_str() == text)
    }
}

/// Collection is paused: invoices are made and not charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PauseCollection {
    pub(crate) behavior: String,
    pub(crate) resumes_at: Option<i64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) id: String,
    pub(crate) customer: String,
    pub(crate) status: Status,
    pub(crate) created: i64,
    /// Periods repeat from here.
    pub(crate) anchor: i64,
    pub(crate) items: Vec<Item>,
    pub(crate) currency: String,
    pub(crate) cancel_at_period_end: bool,
    pub(crate) cancel_at: Option<i64>,
    pub(crate) canceled_at: Option<i64>,
    pub(crate) cancel_reason: Option<&'static str>,
    pub(crate) ended_at: Option<i64>,
    pub(crate) trial_start: Option<i64>,
    pub(crate) trial_end: Option<i64>,
    pub(crate) missing_payment_method: MissingPaymentMethod,
    pub(crate) latest_invoice: Option<String>,
    pub(crate) pause_collection: Option<PauseCollection>,
    pub(crate) paused_at: Option<i64>,
    pub(crate) default_payment_method: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Metadata,
    /// Prorations that wait for the next invoice.
    pub(crate) pending: Vec<super::invoice::Line>,
}

/// One line of a subscription.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) price: String,
    pub(crate) quantity: i64,
    pub(crate) metadata: Metadata,
    pub(crate) period_start: i64,
    pub(crate) period_end: i64,
}

impl Subscription {
    /// The first period of its items that ends.
    pub(crate) fn next_period_end(&self) -> Option<i64> {
        self.items.iter().map(|item| item.period_end).min()
    }

    /// The period of all items, which is what the old shape shows: that of the item which is first to end.
    pub(crate) fn period(&self) -> (i64, i64) {
        self.items
            .iter()
            .min_by_key(|item| item.period_end)
            .map_or((self.created, self.created), |item| (item.period_start, item.period_end))
    }

    /// When it ends if it is to end with its period.
    pub(crate) fn last_period_end(&self) -> Option<i64> {
        self.items.iter().map(|item| item.period_end).max()
    }

    fn render_item(&self, state: &State, shape: Shape, item: &Item) -> Value {
        let price = state.prices.get(&item.price);
        let metered = price.is_some_and(|price| price.meter().is_some());
        let mut value = json!({
            "id": item.id,
            "object": "subscription_item",
            "billing_thresholds": null,
            "created": item.created,
            "discounts": [],
            "metadata": item.metadata,
            "subscription": self.id,
            "tax_rates": [],
        });
        // Moved in rather than named in the macro, which would copy them.
        value["plan"] = price.map_or(Value::Null, |price| price.render_plan(state));
        value["price"] = price.map_or(Value::Null, |price| price.render(state, shape));
        if !metered {
            value["quantity"] = json!(item.quantity);
        }
        if shape == Shape::New {
            value["current_period_start"] = json!(item.period_start);
            value["current_period_end"] = json!(item.period_end);
        }
        value
    }
}

impl Row for Subscription {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn customer(&self) -> Option<&str> {
        Some(&self.customer)
    }

    fn render(&self, state: &State, shape: Shape) -> Value {
        let items = self.items.iter().map(|item| self.render_item(state, shape, item)).collect();
        let mut value = json!({
            "id": self.id,
            "object": "subscription",
            "application": null,
            "application_fee_percent": null,
            "automatic_tax": { "disabled_reason": null, "enabled": false, "liability": null },
            "billing_cycle_anchor": self.anchor,
            "billing_cycle_anchor_config": null,
            "billing_mode": { "flexible": null, "type": "classic" },
            "billing_thresholds": null,
            "cancel_at": self.cancel_at,
            "cancel_at_period_end": self.cancel_at_period_end,
            "canceled_at": self.canceled_at,
            "cancellation_details": { "comment": null, "feedback": null, "reason": self.cancel_reason },
            "collection_method": "charge_automatically",
            "created": self.created,
            "currency": self.currency,
            "customer": self.customer,
            "customer_account": null,
            "days_until_due": null,
            "default_payment_method": self.default_payment_method,
            "default_source": null,
            "default_tax_rates": [],
            "description": self.description,
            "discounts": [],
            "ended_at": self.ended_at,
            "invoice_settings": { "account_tax_ids": null, "issuer": { "type": "self" } },
            "latest_invoice": self.latest_invoice,
            "livemode": state.config.livemode,
            "metadata": self.metadata,
            "next_pending_invoice_item_invoice": null,
            "on_behalf_of": null,
            "pause_collection": self.pause_collection.as_ref().map(|pause| {
                json!({ "behavior": pause.behavior, "resumes_at": pause.resumes_at })
            }),
            "payment_settings": {
                "payment_method_options": null,
                "payment_method_types": null,
                "save_default_payment_method": "off",
            },
            "pending_invoice_item_interval": null,
            "pending_setup_intent": null,
            "pending_update": null,
            "schedule": null,
            "start_date": self.created,
            "status": self.status.as_str(),
            "test_clock": null,
            "transfer_data": null,
            "trial_end": self.trial_end,
            "trial_settings": { "end_behavior": { "missing_payment_method": self.missing_payment_method.as_str() } },
            "trial_start": self.trial_start,
        });
        value["items"] = list(items, &format!("/v1/subscription_items?subscription={}", self.id));
        match shape {
            Shape::New => value["billing_schedules"] = json!([]),
            Shape::Old => {
                let (start, end) = self.period();
                value["current_period_start"] = json!(start);
                value["current_period_end"] = json!(end);
                // The only item's plan stood here too.
                if let [item] = &self.items[..] {
                    value["plan"] = state.prices.get(&item.price).map_or(Value::Null, |price| price.render_plan(state));
                    value["quantity"] = json!(item.quantity);
                }
            }
        }
        value
    }
}
