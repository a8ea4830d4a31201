//! A subscription's beginning: its items, its trial, its first invoice.

use super::collect::{self, Attempt};
use super::draft;
use crate::http::error::ApiError;
use crate::objects::invoice::{InvoiceStatus, Line};
use crate::objects::payment_method::Card;
use crate::objects::price::Recurring;
use crate::objects::subscription::{Item, MissingPaymentMethod, Status, Subscription};
use crate::state::clock::{DAY, HOUR, next_boundary};
use crate::state::due::Due;
use crate::state::{Metadata, State};

/// How long a first invoice may stay unpaid.
const INCOMPLETE_FOR: i64 = 23 * HOUR;

/// A subscription to be made.
#[derive(Debug, Default)]
pub(crate) struct New {
    pub(crate) customer: String,
    pub(crate) items: Vec<NewItem>,
    pub(crate) trial_end: Option<i64>,
    pub(crate) anchor: Option<i64>,
    pub(crate) cancel_at_period_end: bool,
    pub(crate) cancel_at: Option<i64>,
    pub(crate) missing_payment_method: MissingPaymentMethod,
    pub(crate) default_payment_method: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) payment: Payment,
}

/// One item of it.
#[derive(Debug, Default)]
pub(crate) struct NewItem {
    pub(crate) price: String,
    pub(crate) quantity: Option<i64>,
    pub(crate) metadata: Metadata,
}

/// What is done about the first invoice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Payment {
    /// Charged; if that fails the subscription is incomplete.
    #[default]
    Allowed,
    /// Charged; if that fails there is no subscription.
    Required,
    /// Not charged yet: somebody will pay it.
    Later,
}

/// The price as a subscription may use it.
pub(crate) fn usable<'a>(
    state: &'a State,
    price: &str,
) -> Result<(&'a crate::objects::price::Price, &'a Recurring), ApiError> {
    let found = state.prices.get(price).ok_or_else(|| ApiError::no_such("price", price, "items[0][price]"))?;
    if !found.active {
        return Err(ApiError::invalid(
            "The price specified is inactive. This field only accepts active prices.",
            Some("items[0][price]"),
        ));
    }
    let recurring = found.recurring.as_ref().ok_or_else(|| {
        ApiError::invalid(
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.",
            Some("items[0][price]"),
        )
    })?;
    Ok((found, recurring))
}

fn items(state: &mut State, new: &New, anchor: i64) -> Result<(Vec<Item>, String), ApiError> {
    let mut items: Vec<Item> = Vec::new();
    let mut currency: Option<String> = None;
    for wanted in &new.items {
        let (price, recurring) = usable(state, &wanted.price)?;
        if items.iter().any(|item| item.price == wanted.price) {
            return Err(ApiError::invalid(
                "Cannot add multiple subscription items with the same price.",
                Some("items"),
            ));
        }
        if currency.get_or_insert_with(|| price.currency.clone()) != &price.currency {
            return Err(ApiError::invalid(
                "The currency of every price of a subscription must be the same.",
                Some("items"),
            ));
        }
        let period_end =
            new.trial_end.unwrap_or_else(|| next_boundary(anchor, recurring.interval, recurring.count, state.now));
        items.push(Item {
            id: String::new(),
            created: state.now,
            price: wanted.price.clone(),
            quantity: wanted.quantity.unwrap_or(1),
            metadata: wanted.metadata.clone(),
            period_start: state.now,
            period_end,
        });
    }
    for item in &mut items {
        item.id = state.new_id("si");
    }
    let currency = currency.ok_or_else(|| ApiError::missing("items"))?;
    Ok((items, currency))
}

/// Makes a subscription, its first invoice, and charges that.
pub(crate) fn start(state: &mut State, new: New) -> Result<String, ApiError> {
    let customer = state.living_customer(&new.customer)?;
    let has_card = customer.card != Card::None;
    if new.trial_end.is_some_and(|end| end <= state.now) {
        return Err(ApiError::invalid(
            "Invalid timestamp: must be an integer Unix timestamp in the future.",
            Some("trial_end"),
        ));
    }
    let anchor = new.trial_end.or(new.anchor).unwrap_or(state.now);
    let (items, currency) = items(state, &new, anchor)?;
    let free = items.iter().all(|item| first_amount(state, item, anchor) == 0);
    if new.trial_end.is_none() && !free {
        if !has_card && new.payment != Payment::Later {
            return Err(ApiError::invalid(
                "This customer has no attached payment source or default payment method. Please consider adding a default payment method.",
                None,
            )
            .with_code("resource_missing"));
        }
        if new.payment == Payment::Required && !collect::would_pay(state, &new.customer) {
            return Err(ApiError::declined());
        }
    }
    let id = state.new_id("sub");
    let trial = new.trial_end.is_some();
    state.subscriptions.insert(Subscription {
        id: id.clone(),
        customer: new.customer,
        status: if trial { Status::Trialing } else { Status::Incomplete },
        created: state.now,
        anchor,
        items,
        currency,
        cancel_at_period_end: new.cancel_at_period_end,
        cancel_at: new.cancel_at,
        canceled_at: (new.cancel_at_period_end || new.cancel_at.is_some()).then_some(state.now),
        cancel_reason: None,
        ended_at: None,
        trial_start: trial.then_some(state.now),
        trial_end: new.trial_end,
        missing_payment_method: new.missing_payment_method,
        latest_invoice: None,
        pause_collection: None,
        paused_at: None,
        default_payment_method: new.default_payment_method,
        description: new.description,
        metadata: new.metadata,
        pending: Vec::new(),
    });
    schedule(state, &id);
    first_invoice(state, &id, new.payment);
    Ok(id)
}

/// Puts a new subscription's future on the agenda.
fn schedule(state: &mut State, id: &str) {
    let Some(subscription) = state.subscriptions.get_mut(id) else { return };
    if subscription.cancel_at_period_end {
        subscription.cancel_at = subscription.last_period_end();
    }
    let mut entries: Vec<(i64, Due)> = Vec::new();
    entries.extend(subscription.items.iter().map(|item| (item.period_end, Due::Period(id.to_owned()))));
    entries.extend(subscription.cancel_at.map(|at| (at, Due::CancelAt(id.to_owned()))));
    entries
        .extend(subscription.trial_end.map(|end| ((end - 3 * DAY).max(state.now), Due::TrialWillEnd(id.to_owned()))));
    if subscription.status == Status::Incomplete {
        entries.push((state.now + INCOMPLETE_FOR, Due::IncompleteExpires(id.to_owned())));
    }
    for (at, due) in entries {
        state.agenda.add(at, due);
    }
}

/// What an item's first period costs in advance; less than a whole one where the anchor cuts it short.
fn first_amount(state: &State, item: &Item, anchor: i64) -> i64 {
    let Some(price) = state.prices.get(&item.price).filter(|price| price.meter().is_none()) else { return 0 };
    let whole = price.amount(item.quantity);
    let Some(recurring) = price.recurring.as_ref().filter(|_| item.period_end == anchor && anchor > item.period_start)
    else {
        return whole;
    };
    let length = next_boundary(anchor, recurring.interval, recurring.count, anchor) - anchor;
    super::prorate::share(whole, item.period_end - item.period_start, length)
}

/// A flat price's line for a whole period; a metered one is billed when its period is over.
pub(crate) fn advance_line(state: &mut State, item: &Item, amount: i64, trial: bool) -> Option<Line> {
    let id = state.new_id("il");
    let price = state.prices.get(&item.price).filter(|price| price.meter().is_none())?;
    let product = state.products.get(&price.product).map_or("", |product| product.name.as_str());
    let description =
        if trial { format!("Trial period for {product}") } else { format!("{} × {product}", item.quantity) };
    Some(Line {
        id,
        amount: if trial { 0 } else { amount },
        description,
        price: item.price.clone(),
        item: item.id.clone(),
        quantity: item.quantity,
        proration: false,
        period_start: item.period_start,
        period_end: item.period_end,
    })
}

fn first_invoice(state: &mut State, id: &str, payment: Payment) {
    let Some(subscription) = state.subscriptions.get(id).cloned() else { return };
    let trial = subscription.status == Status::Trialing;
    let mut lines = Vec::new();
    for item in &subscription.items {
        let amount = first_amount(state, item, subscription.anchor);
        lines.extend(advance_line(state, item, amount, trial));
    }
    let Some(invoice) = draft(state, id, "subscription_create", lines, (state.now, state.now)) else { return };
    if payment == Payment::Later {
        state.emit("customer.subscription.created", id);
        collect::finalize(state, &invoice);
        return;
    }
    // The subscription is told of as it stands after its first charge, as Stripe does where the card is charged at once.
    state.mute(&["customer.subscription.updated"]);
    collect::finalize(state, &invoice);
    let open = state.invoices.get(&invoice).is_some_and(|invoice| invoice.status == InvoiceStatus::Open);
    if open {
        collect::charge(state, &invoice, Attempt::Automatic);
    }
    state.unmute();
    state.emit("customer.subscription.created", id);
}
