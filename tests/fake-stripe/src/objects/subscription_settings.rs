//! What of a subscription can be set: trials, ends, pauses, everything but its items.

use super::subscription::{MissingPaymentMethod, PauseCollection, Status, Subscription};
use super::{merge_metadata, payment_method};
use crate::http::error::ApiError;
use crate::http::params::Params;
use crate::state::State;
use crate::state::clock::DAY;
use crate::state::due::Due;

/// Everything of an update but the items.
pub(crate) fn settings(state: &mut State, id: &str, params: &Params) -> Result<(), ApiError> {
    let now = state.now;
    let cancel_at_period_end = params.flag("cancel_at_period_end")?;
    let cancel_at = params.integer("cancel_at")?;
    let resumes_at = params.integer("pause_collection.resumes_at")?;
    let trial_end = if params.value("trial_end") == Some("now") { None } else { params.integer("trial_end")? };
    let missing_payment_method = read_missing_payment_method(params)?;
    if let (Some(given), Some(customer)) =
        (params.value("default_payment_method"), state.subscriptions.get(id).map(|found| found.customer.clone()))
    {
        payment_method::use_for(state, &customer, given)?;
        let method = state.customers.get(&customer).and_then(|customer| customer.payment_method.clone());
        if let Some(subscription) = state.subscriptions.get_mut(id) {
            subscription.default_payment_method = method;
        }
    }
    let Some(subscription) = state.subscriptions.get_mut(id) else { return Ok(()) };
    merge_metadata(&mut subscription.metadata, params, "metadata");
    if params.has("description") {
        subscription.description = params.value("description").map(str::to_owned);
    }
    subscription.missing_payment_method = missing_payment_method.unwrap_or(subscription.missing_payment_method);
    cancellation(subscription, params, cancel_at_period_end, cancel_at, now);
    if let Some(behavior) = params.value("pause_collection.behavior") {
        subscription.pause_collection = Some(PauseCollection { behavior: behavior.to_owned(), resumes_at });
    } else if params.text("pause_collection") == Some("") {
        subscription.pause_collection = None;
    }
    if let Some(trial_end) = trial_end.filter(|end| *end > now) {
        subscription.status = Status::Trialing;
        subscription.trial_start.get_or_insert(now);
        subscription.trial_end = Some(trial_end);
        subscription.anchor = trial_end;
        for item in &mut subscription.items {
            item.period_end = trial_end;
        }
        state.agenda.add(trial_end, Due::Period(id.to_owned()));
        state.agenda.add((trial_end - 3 * DAY).max(now), Due::TrialWillEnd(id.to_owned()));
    }
    let Some(subscription) = state.subscriptions.get(id) else { return Ok(()) };
    if let Some(at) = subscription.cancel_at {
        state.agenda.add(at, Due::CancelAt(id.to_owned()));
    }
    if let Some(at) = resumes_at {
        state.agenda.add(at, Due::ResumeCollection(id.to_owned()));
    }
    Ok(())
}

fn cancellation(
    subscription: &mut Subscription,
    params: &Params,
    at_period_end: Option<bool>,
    cancel_at: Option<i64>,
    now: i64,
) {
    let unset = at_period_end == Some(false) || params.text("cancel_at") == Some("");
    if at_period_end == Some(true) {
        subscription.cancel_at_period_end = true;
        subscription.cancel_at = subscription.last_period_end();
        subscription.canceled_at.get_or_insert(now);
        subscription.cancel_reason = Some("cancellation_requested");
    } else if let Some(cancel_at) = cancel_at {
        subscription.cancel_at_period_end = false;
        subscription.cancel_at = Some(cancel_at);
        subscription.canceled_at.get_or_insert(now);
        subscription.cancel_reason = Some("cancellation_requested");
    } else if unset {
        subscription.cancel_at_period_end = false;
        subscription.cancel_at = None;
        subscription.canceled_at = None;
        subscription.cancel_reason = None;
    }
}

/// When the trial ends, by either parameter.
pub(crate) fn read_trial_end(state: &State, params: &Params) -> Result<Option<i64>, ApiError> {
    if params.value("trial_end") == Some("now") {
        return Ok(None);
    }
    if let Some(end) = params.integer("trial_end")? {
        return Ok(Some(end));
    }
    let days = params.integer("trial_period_days")?;
    match days {
        Some(days) if !(0..=730).contains(&days) => {
            Err(ApiError::invalid("Invalid trial_period_days: must be between 0 and 730", Some("trial_period_days")))
        }
        days => Ok(days.filter(|days| *days > 0).map(|days| state.now + days * DAY)),
    }
}

/// What the trial's end does without a card, if the parameters say so.
pub(crate) fn read_missing_payment_method(params: &Params) -> Result<Option<MissingPaymentMethod>, ApiError> {
    let path = "trial_settings.end_behavior.missing_payment_method";
    let Some(word) = params.value(path) else { return Ok(None) };
    MissingPaymentMethod::parse(word).map(Some).ok_or_else(|| {
        ApiError::invalid(
            format!("Invalid missing_payment_method: {word}"),
            Some("trial_settings[end_behavior][missing_payment_method]"),
        )
    })
}
