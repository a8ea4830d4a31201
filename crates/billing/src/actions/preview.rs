//! What another plan would cost, before it is taken: worked out by Stripe, which will charge it.

use serde::Deserialize;
use tollgate_config::ProrationBehavior;
use tollgate_domain::{Account, DAY_US, Period, Plan, PlanName, Timestamp};

use super::change::items;
use super::holdings::Held;
use super::offer::{Order, PriceTag, sold};
use super::{ActionError, Form, field, once};
use crate::Billing;
use crate::api::objects::{List, lenient};

/// What another plan would cost. Amounts are in the smallest unit of the currency, cents where it has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// The plan.
    pub plan: PlanName,
    /// The price that buys it.
    pub price: String,
    /// Three small letters.
    pub currency: String,
    /// What would be charged at once.
    pub amount_due_now: i64,
    /// What makes up the next invoice: the one that is due at once where there is one, else the one of the next period.
    /// A negative amount is given back.
    pub lines: Vec<PreviewLine>,
    /// The moment it is worked out for. A change that names it charges what is shown here. None where there is nothing to
    /// change yet, or nothing that depends on it.
    pub proration_date: Option<Timestamp>,
    /// What each period to come costs, as things stand: what is paid by use counts with what was used so far.
    pub next_amount: i64,
    /// When that is charged first; none where it is with the purchase.
    pub next_at: Option<Timestamp>,
}

/// A line of an invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviewLine {
    /// What for, in Stripe's words.
    pub description: Option<String>,
    /// How much.
    pub amount: i64,
    /// For when.
    pub period: Option<Period>,
}

/// An invoice that does not exist.
#[derive(Default, Deserialize)]
struct Invoice {
    #[serde(default, deserialize_with = "lenient")]
    currency: String,
    #[serde(default, deserialize_with = "lenient")]
    amount_due: i64,
    #[serde(default, deserialize_with = "lenient")]
    total: i64,
    #[serde(default, deserialize_with = "lenient")]
    lines: List<InvoiceLine>,
}

#[derive(Clone, Default, Deserialize)]
struct InvoiceLine {
    #[serde(default, deserialize_with = "lenient")]
    description: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    amount: i64,
    #[serde(default, deserialize_with = "lenient")]
    period: Seconds,
    /// Before 2025-03-31.
    #[serde(default, deserialize_with = "lenient")]
    proration: bool,
    #[serde(default, deserialize_with = "lenient")]
    parent: LineParent,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct Seconds {
    #[serde(default, deserialize_with = "lenient")]
    start: i64,
    #[serde(default, deserialize_with = "lenient")]
    end: i64,
}

#[derive(Clone, Default, Deserialize)]
struct LineParent {
    #[serde(default, deserialize_with = "lenient")]
    subscription_item_details: LineDetails,
    #[serde(default, deserialize_with = "lenient")]
    invoice_item_details: LineDetails,
}

#[derive(Clone, Default, Deserialize)]
struct LineDetails {
    #[serde(default, deserialize_with = "lenient")]
    proration: bool,
}

impl Billing {
    /// What a plan would cost the account.
    ///
    /// # Errors
    /// The plan is not sold, the price is another plan's, a subscription is waiting to be paid, or Stripe does not do it.
    pub async fn preview(&self, account: &Account, plan: &str, price: Option<&str>) -> Result<Preview, ActionError> {
        let policy = self.deps.live.policy();
        let plan = sold(&policy.plans, plan)?;
        let holdings = self.holdings(account).await?;
        let Some(held) = holdings.in_force(&policy.plans, self.now()) else {
            if let Some(open) = holdings.open() {
                return Err(open.payment_due());
            }
            let order = self.order(plan, price, None).await?;
            let trial_days = self.trial_days(account, &holdings);
            return Ok(first_purchase(plan, &order, trial_days, self.now()));
        };
        let line = held.bought(&policy.plans)?;
        let order = self.order(plan, price, Some(&line.price)).await?;
        let mut form = vec![
            field("customer", account.stripe_customer.clone().unwrap_or_default()),
            field("subscription", &held.told.id),
        ];
        let is_change = line.price.id != order.price.id;
        if is_change {
            form.extend(items("subscription_details[items]", held, line, &order));
        }
        let mut preview = Preview {
            plan: plan.name.clone(),
            price: order.price.id.clone(),
            currency: order.price.currency.clone(),
            amount_due_now: 0,
            lines: Vec::new(),
            proration_date: None,
            next_amount: 0,
            next_at: None,
        };
        if is_change {
            self.preview_change(&mut preview, held, &form).await?;
        } else {
            let unchanged = self.invoice(&form, ProrationBehavior::None, None).await?;
            preview.take_next(&unchanged, held);
            preview.lines = unchanged.lines();
        }
        Ok(preview)
    }

    async fn preview_change(&self, preview: &mut Preview, held: &Held, form: &Form) -> Result<(), ActionError> {
        let behavior = self.deps.stripe.proration_behavior;
        let date = Timestamp::from_secs(self.now().as_secs());
        let date = (behavior != ProrationBehavior::None).then_some(date);
        let invoice = self.invoice(form, behavior, date).await?;
        preview.lines = invoice.lines();
        preview.proration_date = date;
        if !invoice.currency.is_empty() {
            preview.currency.clone_from(&invoice.currency);
        }
        let reaches_next = invoice.reaches(held);
        preview.amount_due_now = match behavior {
            // A trial goes on under another plan, and nothing is charged before it ends.
            _ if held.told.status == "trialing" => 0,
            ProrationBehavior::AlwaysInvoice if reaches_next => invoice.prorated().max(0),
            // What is for the next period is charged with it.
            _ if reaches_next => 0,
            _ => invoice.amount_due,
        };
        if reaches_next && behavior != ProrationBehavior::AlwaysInvoice {
            preview.take_next(&invoice, held);
        } else {
            preview.take_next(&self.invoice(form, ProrationBehavior::None, None).await?, held);
        }
        Ok(())
    }

    async fn invoice(
        &self,
        form: &Form,
        behavior: ProrationBehavior,
        date: Option<Timestamp>,
    ) -> Result<Invoice, ActionError> {
        let mut form = form.clone();
        form.push(field("subscription_details[proration_behavior]", behavior.as_str()));
        if let Some(date) = date {
            form.push(field("subscription_details[proration_date]", date.as_secs().to_string()));
        }
        Ok(self.post("/invoices/create_preview", &form, &once("preview")).await?)
    }
}

/// What is bought first costs what its price says; tax and discounts are shown by Checkout, which knows where the buyer is.
fn first_purchase(plan: &Plan, order: &Order, trial_days: u32, now: Timestamp) -> Preview {
    let amount = |price: &PriceTag| if price.is_metered() { 0 } else { price.unit_amount.unwrap_or(0) };
    let trial_us = i64::from(trial_days).saturating_mul(DAY_US);
    let name = |price: &PriceTag| {
        let of_plan = plan.display_name.clone().unwrap_or_else(|| plan.name.to_string());
        price.nickname.clone().or_else(|| (price.id == order.price.id).then_some(of_plan))
    };
    let line = |price: &PriceTag| PreviewLine {
        description: name(price),
        amount: if trial_days > 0 { 0 } else { amount(price) },
        period: None,
    };
    let total = order.prices().map(amount).sum();
    Preview {
        plan: plan.name.clone(),
        price: order.price.id.clone(),
        currency: order.price.currency.clone(),
        amount_due_now: if trial_days > 0 { 0 } else { total },
        lines: order.prices().map(line).collect(),
        proration_date: None,
        next_amount: total,
        next_at: (trial_days > 0).then(|| now.plus_micros(trial_us)),
    }
}

impl Preview {
    /// Takes what the periods to come cost from an invoice without prorations: the next one, or, where a change of
    /// rhythm opens a period at once, that one.
    fn take_next(&mut self, invoice: &Invoice, held: &Held) {
        self.next_amount = invoice.total;
        let whole = invoice.lines.data.iter().filter(|line| !line.is_proration());
        let end = paid_until(held);
        self.next_at = whole
            .map(|line| if line.period.start >= end { line.period.start } else { line.period.end })
            .max()
            .or((end != i64::MAX).then_some(end))
            .map(Timestamp::from_secs);
    }
}

impl Invoice {
    /// Whether it holds what is for the period after the one that is paid for.
    fn reaches(&self, held: &Held) -> bool {
        let end = paid_until(held);
        self.lines.data.iter().any(|line| !line.is_proration() && line.period.start >= end)
    }

    /// What the change alone comes to.
    fn prorated(&self) -> i64 {
        self.lines.data.iter().filter(|line| line.is_proration()).map(|line| line.amount).sum()
    }

    fn lines(&self) -> Vec<PreviewLine> {
        let line = |line: &InvoiceLine| {
            let Seconds { start, end } = line.period;
            let period = Period { start: Timestamp::from_secs(start), end: Timestamp::from_secs(end) };
            PreviewLine {
                description: line.description.clone(),
                amount: line.amount,
                period: (start < end).then_some(period),
            }
        };
        self.lines.data.iter().map(line).collect()
    }
}

impl InvoiceLine {
    fn is_proration(&self) -> bool {
        let LineParent { subscription_item_details, invoice_item_details } = &self.parent;
        self.proration || subscription_item_details.proration || invoice_item_details.proration
    }
}

/// The end of what is paid for, in seconds; the end of time where nobody knows it.
fn paid_until(held: &Held) -> i64 {
    held.paid_until().map_or(i64::MAX, Timestamp::as_secs)
}
