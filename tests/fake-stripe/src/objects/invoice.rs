//! Invoices: the row, its lines, and how both shapes show it.
//!
//! The calls on them are in `invoice_calls`; making and charging them is in `billing`.

use serde_json::{Value, json};

use super::{list, merge};
use crate::state::table::Row;
use crate::state::{Metadata, Shape, State};

/// What Stripe shows of invoices and the fake has no use for.
const ALWAYS_NULL: &[&str] = &[
    "account_tax_ids",
    "application",
    "automatically_finalizes_at",
    "custom_fields",
    "customer_account",
    "customer_address",
    "customer_phone",
    "customer_shipping",
    "default_payment_method",
    "default_source",
    "description",
    "due_date",
    "footer",
    "from_invoice",
    "last_finalization_error",
    "latest_revision",
    "on_behalf_of",
    "receipt_number",
    "rendering",
    "shipping_cost",
    "shipping_details",
    "statement_descriptor",
    "test_clock",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvoiceStatus {
    Draft,
    Open,
    Paid,
    Void,
    Uncollectible,
}

impl InvoiceStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Open => "open",
            Self::Paid => "paid",
            Self::Void => "void",
            Self::Uncollectible => "uncollectible",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Invoice {
    pub(crate) id: String,
    pub(crate) customer: String,
    pub(crate) subscription: Option<String>,
    /// The subscription's metadata when the invoice was made.
    pub(crate) subscription_metadata: Metadata,
    pub(crate) status: InvoiceStatus,
    pub(crate) billing_reason: &'static str,
    pub(crate) created: i64,
    pub(crate) currency: String,
    pub(crate) period_start: i64,
    pub(crate) period_end: i64,
    pub(crate) lines: Vec<Line>,
    /// Cents taken from the customer's balance; below zero where credit was used.
    pub(crate) balance_applied: i64,
    /// The balance before and after, once finalised.
    pub(crate) balances: Option<(i64, i64)>,
    pub(crate) amount_paid: i64,
    pub(crate) attempt_count: u32,
    pub(crate) next_payment_attempt: Option<i64>,
    pub(crate) auto_advance: bool,
    pub(crate) number: Option<String>,
    pub(crate) finalized_at: Option<i64>,
    pub(crate) paid_at: Option<i64>,
    pub(crate) voided_at: Option<i64>,
    pub(crate) uncollectible_at: Option<i64>,
    /// The latest attempt's charge.
    pub(crate) charge: Option<String>,
    pub(crate) payment_intent: Option<String>,
}

/// One line of an invoice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) amount: i64,
    pub(crate) description: String,
    pub(crate) price: String,
    pub(crate) item: String,
    pub(crate) quantity: i64,
    pub(crate) proration: bool,
    pub(crate) period_start: i64,
    pub(crate) period_end: i64,
}

impl Invoice {
    pub(crate) fn total(&self) -> i64 {
        self.lines.iter().map(|line| line.amount).sum()
    }

    /// What is to be charged: never below zero, what is credited goes to the balance.
    pub(crate) fn amount_due(&self) -> i64 {
        (self.total() + self.balance_applied).max(0)
    }

    pub(crate) fn amount_remaining(&self) -> i64 {
        match self.status {
            InvoiceStatus::Paid => 0,
            _ => self.amount_due() - self.amount_paid,
        }
    }

    /// Open after a failed attempt.
    pub(crate) fn is_failing(&self) -> bool {
        self.status == InvoiceStatus::Open && self.attempt_count > 0
    }

    fn render_lines(&self, state: &State, shape: Shape) -> Value {
        let lines = self.lines.iter().map(|line| self.render_line(state, shape, line)).collect();
        list(lines, &format!("/v1/invoices/{}/lines", self.id))
    }

    fn render_line(&self, state: &State, shape: Shape, line: &Line) -> Value {
        let price = state.prices.get(&line.price);
        let mut value = json!({
            "id": line.id,
            "object": "line_item",
            "amount": line.amount,
            "currency": self.currency,
            "description": line.description,
            "discount_amounts": [],
            "discountable": !line.proration,
            "discounts": [],
            "invoice": self.id,
            "livemode": state.config.livemode,
            "metadata": {},
            "period": { "start": line.period_start, "end": line.period_end },
            "pretax_credit_amounts": [],
            "quantity": line.quantity,
        });
        match shape {
            Shape::New => {
                value["parent"] = json!({
                    "invoice_item_details": null,
                    "subscription_item_details": {
                        "invoice_item": null,
                        "proration": line.proration,
                        "proration_details": { "credited_items": null },
                        "subscription": self.subscription,
                        "subscription_item": line.item,
                    },
                    "type": "subscription_item_details",
                });
                value["pricing"] = json!({
                    "price_details": { "price": line.price, "product": price.map(|price| price.product.as_str()) },
                    "type": "price_details",
                    "unit_amount_decimal": price.map(super::price::Price::unit_amount_decimal),
                });
                value["subtotal"] = json!(line.amount);
                value["taxes"] = json!([]);
            }
            Shape::Old => {
                value["price"] = price.map_or(Value::Null, |price| price.render(state, shape));
                value["plan"] = price.map_or(Value::Null, |price| price.render_plan(state));
                value["proration"] = json!(line.proration);
                value["subscription"] = json!(self.subscription);
                value["subscription_item"] = json!(line.item);
                value["type"] = json!("subscription");
            }
        }
        value
    }

    /// What was paid, or is being tried, as today's `payments` list shows it.
    pub(crate) fn render_payments(&self, state: &State) -> Vec<Value> {
        let Some(intent) = &self.payment_intent else { return Vec::new() };
        let paid = self.status == InvoiceStatus::Paid;
        vec![json!({
            "id": format!("inpay_{}", self.id.trim_start_matches("in_")),
            "object": "invoice_payment",
            "amount_paid": paid.then_some(self.amount_paid),
            "amount_requested": self.amount_due(),
            "created": self.finalized_at.unwrap_or(self.created),
            "currency": self.currency,
            "invoice": self.id,
            "is_default": true,
            "livemode": state.config.livemode,
            "payment": { "type": "payment_intent", "payment_intent": intent },
            "status": if paid { "paid" } else { "open" },
            "status_transitions": { "canceled_at": null, "paid_at": self.paid_at },
        })]
    }

    fn render_amounts(&self) -> Value {
        let total = self.total();
        json!({
            "amount_due": self.amount_due(),
            "amount_paid": self.amount_paid,
            "amount_remaining": self.amount_remaining(),
            "amount_shipping": 0,
            "ending_balance": self.balances.map(|(_, ending)| ending),
            "post_payment_credit_notes_amount": 0,
            "pre_payment_credit_notes_amount": 0,
            "starting_balance": self.balances.map_or(0, |(starting, _)| starting),
            "subtotal": total,
            "subtotal_excluding_tax": total,
            "total": total,
            "total_discount_amounts": [],
            "total_excluding_tax": total,
            "total_pretax_credit_amounts": [],
        })
    }

    fn render_shaped(&self, state: &State, shape: Shape, value: &mut Value) {
        match shape {
            Shape::New => {
                value["parent"] = match &self.subscription {
                    None => Value::Null,
                    Some(subscription) => json!({
                        "quote_details": null,
                        "subscription_details": { "metadata": self.subscription_metadata, "subscription": subscription },
                        "type": "subscription_details",
                    }),
                };
                value["total_taxes"] = json!([]);
                value["amount_overpaid"] = json!(0);
            }
            Shape::Old => {
                value["subscription"] = json!(self.subscription);
                value["subscription_details"] = json!({ "metadata": self.subscription_metadata });
                value["paid"] = json!(self.status == InvoiceStatus::Paid);
                value["paid_out_of_band"] = json!(false);
                value["charge"] = json!(self.charge);
                value["payment_intent"] = json!(self.payment_intent);
                value["tax"] = Value::Null;
                value["total_tax_amounts"] = json!([]);
            }
        }
        if self.status != InvoiceStatus::Draft {
            let page = format!("{}/invoice/{}", state.base, self.id);
            value["invoice_pdf"] = json!(format!("{page}/pdf"));
            value["hosted_invoice_url"] = json!(page);
        }
    }
}

impl Row for Invoice {
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
        let customer = state.customers.get(&self.customer);
        let mut value = json!({
            "id": self.id,
            "object": "invoice",
            "account_country": "US",
            "account_name": "Fake Stripe",
            "attempt_count": self.attempt_count,
            "attempted": self.attempt_count > 0 || self.status == InvoiceStatus::Paid,
            "auto_advance": self.auto_advance,
            "automatic_tax": { "disabled_reason": null, "enabled": false, "liability": null, "provider": null, "status": null },
            "billing_reason": self.billing_reason,
            "collection_method": "charge_automatically",
            "created": self.created,
            "currency": self.currency,
            "customer": self.customer,
            "customer_email": customer.and_then(|customer| customer.email.as_deref()),
            "customer_name": customer.and_then(|customer| customer.name.as_deref()),
            "customer_tax_exempt": "none",
            "customer_tax_ids": [],
            "default_tax_rates": [],
            "discounts": [],
            "effective_at": self.finalized_at,
            "hosted_invoice_url": null,
            "invoice_pdf": null,
            "issuer": { "type": "self" },
            "livemode": state.config.livemode,
            "metadata": {},
            "next_payment_attempt": self.next_payment_attempt,
            "number": self.number,
            "payment_settings": { "default_mandate": null, "payment_method_options": null, "payment_method_types": null },
            "period_end": self.period_end,
            "period_start": self.period_start,
            "status": self.status.as_str(),
            "status_transitions": {
                "finalized_at": self.finalized_at,
                "marked_uncollectible_at": self.uncollectible_at,
                "paid_at": self.paid_at,
                "voided_at": self.voided_at,
            },
            "webhooks_delivered_at": self.created,
        });
        value["lines"] = self.render_lines(state, shape);
        merge(&mut value, self.render_amounts());
        for name in ALWAYS_NULL {
            value[*name] = Value::Null;
        }
        self.render_shaped(state, shape, &mut value);
        value
    }
}
