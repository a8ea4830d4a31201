//! Changes of a subscription's items, and what they cost: worked out first, applied or only shown afterwards.

use super::start;
use crate::http::error::ApiError;
use crate::http::params::Params;
use crate::objects::invoice::Line;
use crate::objects::new_metadata;
use crate::objects::subscription::{Item, Status, Subscription};
use crate::state::State;
use crate::state::clock::next_boundary;

/// How prorations are billed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Behavior {
    /// On the next invoice.
    #[default]
    CreateProrations,
    /// At once.
    AlwaysInvoice,
    /// Not at all.
    None,
}

impl Behavior {
    pub(crate) fn read(params: &Params, path: &str) -> Result<Self, ApiError> {
        match params.value(path) {
            None | Some("create_prorations") => Ok(Self::CreateProrations),
            Some("always_invoice") => Ok(Self::AlwaysInvoice),
            Some("none") => Ok(Self::None),
            Some(other) => Err(ApiError::invalid(
                format!("Invalid {path}: must be one of always_invoice, create_prorations, or none; got {other}"),
                Some("proration_behavior"),
            )),
        }
    }
}

/// What a change comes to.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) items: Vec<Item>,
    pub(crate) anchor: i64,
    pub(crate) lines: Vec<Line>,
    /// Whether new periods begin, which are paid for at once whatever the proration behaviour.
    pub(crate) restarts: bool,
}

/// `amount` times `part` of `whole`, halves rounded away from zero.
pub(crate) fn share(amount: i64, part: i64, whole: i64) -> i64 {
    if whole <= 0 {
        return amount;
    }
    let product = i128::from(amount) * i128::from(part);
    let half = i128::from(whole) / 2 * product.signum();
    i64::try_from((product + half) / i128::from(whole)).unwrap_or(i64::MAX)
}

/// Works out what `items` of an update would make of a subscription at the moment `at`.
pub(crate) fn plan(
    state: &mut State,
    subscription: &Subscription,
    wanted: &[&Params],
    behavior: Behavior,
    at: i64,
    anchor_now: bool,
) -> Result<Change, ApiError> {
    let items = changed_items(state, subscription, wanted)?;
    if items.is_empty() {
        return Err(ApiError::invalid("A subscription must have at least one active item.", Some("items")));
    }
    let trial = subscription.status == Status::Trialing;
    let interval_changed = items.iter().any(|item| {
        let old = subscription.items.iter().find(|old| old.id == item.id);
        old.is_some_and(|old| interval_of(state, &old.price) != interval_of(state, &item.price))
    });
    let restarts = !trial && (anchor_now || interval_changed);
    let mut change = Change { items, anchor: subscription.anchor, lines: Vec::new(), restarts };
    if restarts {
        change.anchor = state.now;
        for item in &mut change.items {
            item.period_start = state.now;
            if let Some(recurring) = state.prices.get(&item.price).and_then(|price| price.recurring.as_ref()) {
                item.period_end = next_boundary(state.now, recurring.interval, recurring.count, state.now);
            }
        }
    }
    if !trial {
        change.lines = lines(state, subscription, &change, behavior, at);
    }
    Ok(change)
}

fn interval_of(state: &State, price: &str) -> Option<(crate::state::clock::Interval, u32)> {
    state.prices.get(price)?.recurring.as_ref().map(|recurring| (recurring.interval, recurring.count))
}

/// The items as they would be.
fn changed_items(state: &mut State, subscription: &Subscription, wanted: &[&Params]) -> Result<Vec<Item>, ApiError> {
    let mut items = subscription.items.clone();
    for (index, part) in wanted.iter().enumerate() {
        let quantity = part.integer("quantity")?;
        if let Some(price) = part.value("price") {
            let (price, _) = start::usable(state, price)?;
            if price.currency != subscription.currency {
                return Err(ApiError::invalid("The price's currency differs from the subscription's.", Some("items")));
            }
        }
        let Some(id) = part.value("id") else {
            items.push(added_item(state, subscription, part, quantity)?);
            continue;
        };
        let Some(position) = items.iter().position(|item| item.id == id) else {
            return Err(ApiError::no_such("subscription_item", id, &format!("items[{index}][id]")));
        };
        if part.flag("deleted")? == Some(true) {
            items.remove(position);
            continue;
        }
        let item = &mut items[position];
        if let Some(price) = part.value("price") {
            price.clone_into(&mut item.price);
        }
        item.quantity = quantity.unwrap_or(item.quantity);
        crate::objects::merge_metadata(&mut item.metadata, part, "metadata");
    }
    Ok(items)
}

fn added_item(
    state: &mut State,
    subscription: &Subscription,
    part: &Params,
    quantity: Option<i64>,
) -> Result<Item, ApiError> {
    let price = part.required("price")?.to_owned();
    if subscription.items.iter().any(|item| item.price == price) {
        return Err(ApiError::invalid("Cannot add multiple subscription items with the same price.", Some("items")));
    }
    let id = state.new_id("si");
    let (_, recurring) = start::usable(state, &price)?;
    let period_end = match subscription.trial_end.filter(|_| subscription.status == Status::Trialing) {
        Some(trial_end) => trial_end,
        None => next_boundary(subscription.anchor, recurring.interval, recurring.count, state.now),
    };
    Ok(Item {
        id,
        created: state.now,
        price,
        quantity: quantity.unwrap_or(1),
        metadata: new_metadata(part, "metadata"),
        period_start: state.now,
        period_end,
    })
}

/// What is credited for what was paid and is not used, and what the change costs instead.
fn lines(state: &mut State, subscription: &Subscription, change: &Change, behavior: Behavior, at: i64) -> Vec<Line> {
    let mut lines = Vec::new();
    if behavior != Behavior::None {
        for old in &subscription.items {
            let same = change.items.iter().find(|item| item.id == old.id);
            let touched = same.is_none_or(|item| item.price != old.price || item.quantity != old.quantity);
            if touched || change.restarts {
                lines.extend(part_line(state, old, at, true));
            }
        }
    }
    for item in &change.items {
        let old = subscription.items.iter().find(|old| old.id == item.id);
        let touched = old.is_none_or(|old| item.price != old.price || item.quantity != old.quantity);
        if change.restarts {
            let amount = state.prices.get(&item.price).map_or(0, |price| price.amount(item.quantity));
            lines.extend(start::advance_line(state, item, amount, false));
        } else if touched && behavior != Behavior::None {
            let mut rest = item.clone();
            rest.period_start = old.map_or(item.period_end - period_length(state, item), |old| old.period_start);
            lines.extend(part_line(state, &rest, at, false));
        }
    }
    lines
}

/// What an item's unused time is worth now.
pub(crate) fn credit(state: &mut State, item: &Item) -> Option<Line> {
    let now = state.now;
    part_line(state, item, now, true)
}

fn period_length(state: &State, item: &Item) -> i64 {
    let next = |(interval, count)| next_boundary(item.period_end, interval, count, item.period_end);
    interval_of(state, &item.price).map_or(1, |recurring| next(recurring) - item.period_end)
}

/// The rest of an item's period from `at`, credited or charged. Metered items have nothing paid in advance.
fn part_line(state: &mut State, item: &Item, at: i64, credit: bool) -> Option<Line> {
    let id = state.new_id("il");
    let price = state.prices.get(&item.price).filter(|price| price.meter().is_none())?;
    let product = state.products.get(&price.product).map_or("", |product| product.name.as_str());
    let at = at.clamp(item.period_start, item.period_end);
    let amount = share(price.amount(item.quantity), item.period_end - at, item.period_end - item.period_start);
    let words = if credit { "Unused time on" } else { "Remaining time on" };
    Some(Line {
        id,
        amount: if credit { -amount } else { amount },
        description: format!("{words} {product}"),
        price: item.price.clone(),
        item: item.id.clone(),
        quantity: item.quantity,
        proration: true,
        period_start: at,
        period_end: item.period_end,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_half_away_from_zero_and_cancel_out() {
        for (amount, part, whole, expected) in
            [(2900, 1, 2, 1450), (2901, 1, 2, 1451), (-2901, 1, 2, -1451), (100, 1, 3, 33), (7, 0, 5, 0)]
        {
            assert_eq!(share(amount, part, whole), expected, "{amount} * {part}/{whole}");
        }
    }
}
