//! The calls on invoices, and the preview of one.

use serde_json::{Value, json};

use super::invoice::{Invoice, InvoiceStatus};
use super::subscription_calls::planned;
use crate::billing::collect::{self, Attempt};
use crate::billing::prorate::Behavior;
use crate::billing::{renew, unsaved};
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::paging;
use crate::http::params::Params;
use crate::state::State;
use crate::state::table::Row;

fn found<'a>(state: &'a State, id: &str) -> Result<&'a Invoice, ApiError> {
    state.invoices.get(id).ok_or_else(|| ApiError::no_such("invoice", id, "id"))
}

/// `GET /v1/invoices/{id}`
pub(crate) fn get(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    found(state, id)?;
    call.show(state, id)
}

/// `GET /v1/invoices`
pub(crate) fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    call.only(&[
        "collection_method",
        "created",
        "customer",
        "customer_account",
        "due_date",
        "ending_before",
        "expand",
        "limit",
        "starting_after",
        "status",
        "subscription",
    ])?;
    let params = &call.params;
    let status = params.value("status");
    let subscription = params.value("subscription");
    let by_subscription = subscription.and_then(|id| state.subscriptions.get(id)).map(|found| found.customer.as_str());
    let customer = params.value("customer").or(by_subscription);
    paging::page(state, &state.invoices, call, customer, |invoice| {
        status.is_none_or(|status| invoice.status.as_str() == status)
            && subscription.is_none_or(|subscription| invoice.subscription.as_deref() == Some(subscription))
    })
}

/// `POST /v1/invoices/{id}/finalize`
pub(crate) fn finalize(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    if found(state, id)?.status != InvoiceStatus::Draft {
        return Err(ApiError::invalid(
            "This invoice is already finalized, you can't re-finalize a non-draft invoice.",
            None,
        )
        .with_code("invoice_not_editable"));
    }
    collect::finalize(state, id);
    call.show(state, id)
}

/// `POST /v1/invoices/{id}/pay`
pub(crate) fn pay(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    call.only(&["expand", "forgive", "mandate", "off_session", "paid_out_of_band", "payment_method", "source"])?;
    let invoice = found(state, id)?;
    let customer = invoice.customer.clone();
    match invoice.status {
        InvoiceStatus::Paid => {
            return Err(ApiError::invalid("Invoice is already paid", None).with_code("invoice_already_paid"));
        }
        InvoiceStatus::Void => return Err(ApiError::invalid("Invoices that are void cannot be paid.", None)),
        InvoiceStatus::Draft => collect::finalize(state, id),
        InvoiceStatus::Uncollectible => {
            if let Some(invoice) = state.invoices.get_mut(id) {
                invoice.status = InvoiceStatus::Open;
            }
        }
        InvoiceStatus::Open => {}
    }
    if let Some(given) = call.params.value("payment_method") {
        super::payment_method::use_for(state, &customer, given)?;
    }
    if call.params.flag("paid_out_of_band")? == Some(true) {
        collect::settle(state, id);
    } else if found(state, id)?.status == InvoiceStatus::Open && !collect::charge(state, id, Attempt::ByHand) {
        return Err(ApiError::declined());
    }
    call.show(state, id)
}

/// `POST /v1/invoices/{id}/void` and `/mark_uncollectible`
pub(crate) fn close(state: &mut State, call: &Call, id: &str, status: InvoiceStatus) -> Result<Value, ApiError> {
    collect::close(state, id, status)?;
    call.show(state, id)
}

/// `GET /v1/invoice_payments`: how a payment intent leads to its invoice.
pub(crate) fn payments(state: &State, call: &Call) -> Result<Value, ApiError> {
    call.only(&["created", "ending_before", "expand", "invoice", "limit", "payment", "starting_after", "status"])?;
    let intent = call.params.value("payment.payment_intent");
    let invoice = call.params.value("invoice");
    let customer = match (invoice, intent) {
        (Some(id), _) => state.invoices.get(id).map(|invoice| invoice.customer.as_str()),
        (None, Some(intent)) => super::charge::of_intent(state, intent).map(|charge| charge.customer.as_str()),
        (None, None) => {
            return Err(ApiError::not_played("the list of all invoice payments: name an invoice or a payment intent"));
        }
    };
    let Some(customer) = customer else { return Ok(paging::listed(call, Vec::new(), false)) };
    let meant = state.invoices.of_customer(customer).rev().filter(|found| {
        invoice.is_none_or(|invoice| found.id == invoice)
            && intent.is_none_or(|intent| found.payment_intent.as_deref() == Some(intent))
    });
    Ok(paging::listed(call, meant.flat_map(|invoice| invoice.render_payments(state)).collect(), false))
}

/// `POST /v1/invoices/create_preview`: what a change would be billed at once, or the next renewal with it.
pub(crate) fn preview(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    call.only(&[
        "automatic_tax",
        "currency",
        "customer",
        "customer_account",
        "customer_details",
        "discounts",
        "expand",
        "invoice_items",
        "issuer",
        "on_behalf_of",
        "preview_mode",
        "schedule",
        "schedule_details",
        "subscription",
        "subscription_details",
    ])?;
    let Some(id) = call.params.value("subscription") else { return preview_of_new(state, call) };
    let subscription =
        state.subscriptions.get(id).ok_or_else(|| ApiError::no_such("subscription", id, "subscription"))?.clone();
    if subscription.status.is_final() {
        return Err(ApiError::invalid("No upcoming invoices for customer: the subscription has ended.", None)
            .with_code("invoice_upcoming_none"));
    }
    let none = Params::default();
    let details = call.params.part("subscription_details").unwrap_or(&none);
    let behavior = Behavior::read(details, "proration_behavior")?;
    let change = planned(state, &subscription, details, behavior)?;
    let mut changed = subscription.clone();
    let mut at_once = false;
    let mut proration_lines = Vec::new();
    if let Some(change) = change {
        at_once = change.restarts || behavior == Behavior::AlwaysInvoice;
        changed.items = change.items;
        changed.anchor = change.anchor;
        proration_lines = change.lines;
    }
    let mut lines = changed.pending.clone();
    lines.append(&mut proration_lines);
    let period = if at_once { (state.now, state.now) } else { subscription.period() };
    if !at_once {
        let ends = details.flag("cancel_at_period_end")? == Some(true) || subscription.cancel_at_period_end;
        changed.pending = Vec::new();
        if !ends {
            lines.extend(renew::upcoming_lines(state, &changed));
        }
    }
    let reason = if at_once { "subscription_update" } else { "upcoming" };
    let invoice = unsaved(state, id, reason, lines, period)
        .ok_or_else(|| ApiError::no_such("subscription", id, "subscription"))?;
    let date = details.integer("proration_date")?;
    Ok(shown(state, call, invoice, date))
}

/// A preview of a subscription that does not exist yet: its first invoice.
fn preview_of_new(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    let details = call.params.part("subscription_details").ok_or_else(|| ApiError::missing("subscription"))?;
    let mut total = 0;
    let mut lines = Vec::new();
    for item in super::subscription_calls::read_items(details, "items")? {
        let (price, recurring) = crate::billing::start::usable(state, &item.price)?;
        let quantity = item.quantity.unwrap_or(1);
        let amount = if price.meter().is_some() { 0 } else { price.amount(quantity) };
        let period_end = crate::state::clock::next_boundary(state.now, recurring.interval, recurring.count, state.now);
        total += amount;
        lines.push(json!({
            "object": "line_item",
            "amount": amount,
            "currency": price.currency,
            "period": { "start": state.now, "end": period_end },
            "quantity": quantity,
        }));
    }
    let id = state.new_id("upcoming_in");
    Ok(json!({
        "id": id,
        "object": "invoice",
        "amount_due": total,
        "amount_paid": 0,
        "amount_remaining": total,
        "billing_reason": "upcoming",
        "currency": "usd",
        "customer": call.params.value("customer"),
        "lines": super::list(lines, "/v1/invoices/upcoming/lines"),
        "livemode": state.config.livemode,
        "period_end": state.now,
        "period_start": state.now,
        "starting_balance": 0,
        "status": "draft",
        "subtotal": total,
        "total": total,
    }))
}

/// A preview as it is shown: with the balance that would be used, and an id that names nothing.
fn shown(state: &mut State, call: &Call, mut invoice: Invoice, proration_date: Option<i64>) -> Value {
    let balance = state.customers.get(&invoice.customer).map_or(0, |customer| customer.balance);
    let total = invoice.total();
    invoice.balance_applied = if total < 0 { -total } else { balance.clamp(-total, 0) };
    invoice.balances = Some((balance, if total < 0 { balance + total } else { balance - invoice.balance_applied }));
    invoice.id = format!("upcoming_{}", invoice.id);
    let mut value = invoice.render(state, call.shape);
    if let (Some(date), Some(details)) = (proration_date, value.pointer_mut("/parent/subscription_details")) {
        details["subscription_proration_date"] = json!(date);
    }
    value
}
