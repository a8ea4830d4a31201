//! Meters, what was reported to them, and what they add up to.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::paging;
use crate::http::params::Params;
use crate::state::clock::{DAY, HOUR, MINUTE};
use crate::state::table::Row;
use crate::state::{Shape, State};

/// How far back an event may lie.
const OLDEST: i64 = 35 * DAY;
/// How far ahead.
const NEWEST: i64 = 5 * MINUTE;
/// How long an identifier is remembered; Stripe promises at least this.
const IDENTIFIER_KEPT: i64 = DAY;

#[derive(Debug)]
pub(crate) struct Meter {
    id: String,
    created: i64,
    display_name: String,
    pub(crate) event_name: String,
    formula: Formula,
    customer_key: String,
    value_key: String,
    active: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Formula {
    Sum,
    Count,
    Last,
}

impl Formula {
    fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Count => "count",
            Self::Last => "last",
        }
    }
}

impl Row for Meter {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn render(&self, state: &State, _shape: Shape) -> Value {
        json!({
            "id": self.id,
            "object": "billing.meter",
            "created": self.created,
            "customer_mapping": { "event_payload_key": self.customer_key, "type": "by_id" },
            "default_aggregation": { "formula": self.formula.as_str() },
            "display_name": self.display_name,
            "event_name": self.event_name,
            "event_time_window": null,
            "livemode": state.config.livemode,
            "status": if self.active { "active" } else { "inactive" },
            "status_transitions": { "deactivated_at": null },
            "updated": self.created,
            "value_settings": { "event_payload_key": self.value_key },
        })
    }
}

/// One event that a meter took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MeterRecord {
    /// Unique for a day.
    pub identifier: String,
    /// Which meter it is for.
    pub event_name: String,
    /// Whose use it is.
    pub customer: String,
    /// How much; may be below zero.
    pub value: i64,
    /// When it was used, in Unix seconds.
    pub timestamp: i64,
    /// When it arrived, in Unix seconds.
    pub received: i64,
}

/// All events that meters took, found by customer.
#[derive(Debug, Default)]
pub(crate) struct MeterEvents {
    pub(crate) records: Vec<MeterRecord>,
    by_identifier: HashMap<String, i64>,
    by_customer: HashMap<String, Vec<usize>>,
}

impl MeterEvents {
    fn of_customer(&self, customer: &str) -> impl Iterator<Item = &MeterRecord> {
        self.by_customer.get(customer).into_iter().flatten().map(|index| &self.records[*index])
    }
}

/// What a meter adds up to for a customer, `from` inclusive, `to` exclusive, of what had arrived by `seen`.
fn aggregate(state: &State, meter: &Meter, customer: &str, from: i64, to: i64, seen: i64) -> Option<i64> {
    let mut records = state
        .meter_events
        .of_customer(customer)
        .filter(|record| record.event_name == meter.event_name && (from..to).contains(&record.timestamp))
        .filter(|record| record.received <= seen)
        .peekable();
    records.peek()?;
    Some(match meter.formula {
        Formula::Sum => records.map(|record| record.value).sum(),
        Formula::Count => i64::try_from(records.count()).unwrap_or(i64::MAX),
        Formula::Last => records.max_by_key(|record| record.timestamp).map_or(0, |record| record.value),
    })
}

/// What an invoice bills: everything that has arrived.
pub(crate) fn used(state: &State, meter: &str, customer: &str, from: i64, to: i64) -> i64 {
    let Some(meter) = state.meters.get(meter) else { return 0 };
    aggregate(state, meter, customer, from, to, i64::MAX).unwrap_or(0)
}

/// The active meter of this event name.
pub(crate) fn of_event_name<'a>(state: &'a State, event_name: &str) -> Option<&'a Meter> {
    state.meters.iter().find(|meter| meter.active && meter.event_name == event_name)
}

/// Makes a summing meter without telling anybody.
pub(crate) fn add(state: &mut State, display_name: &str, event_name: &str) -> String {
    let id = state.new_id("mtr");
    state.meters.insert(Meter {
        id: id.clone(),
        created: state.now,
        display_name: display_name.to_owned(),
        event_name: event_name.to_owned(),
        formula: Formula::Sum,
        customer_key: "stripe_customer_id".to_owned(),
        value_key: "value".to_owned(),
        active: true,
    });
    id
}

/// `POST /v1/billing/meters`
pub(crate) fn create(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    call.only(&[
        "customer_mapping",
        "default_aggregation",
        "display_name",
        "event_name",
        "event_time_window",
        "expand",
        "value_settings",
    ])?;
    let params = &call.params;
    let display_name = params.required("display_name")?;
    let event_name = params.required("event_name")?;
    let formula = match params.required("default_aggregation.formula")? {
        "sum" => Formula::Sum,
        "count" => Formula::Count,
        "last" => Formula::Last,
        other => {
            return Err(ApiError::invalid(format!("Invalid formula: {other}"), Some("default_aggregation[formula]")));
        }
    };
    if of_event_name(state, event_name).is_some() {
        return Err(ApiError::invalid(
            format!("An active meter with event name {event_name} already exists."),
            Some("event_name"),
        ));
    }
    let id = add(state, display_name, event_name);
    if let Some(meter) = state.meters.get_mut(&id) {
        meter.formula = formula;
        if let Some(key) = params.value("customer_mapping.event_payload_key") {
            key.clone_into(&mut meter.customer_key);
        }
        if let Some(key) = params.value("value_settings.event_payload_key") {
            key.clone_into(&mut meter.value_key);
        }
    }
    state.emit("billing.meter.created", &id);
    call.show(state, &id)
}

/// `GET /v1/billing/meters/{id}`
pub(crate) fn get(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    state.meters.get(id).ok_or_else(|| ApiError::no_such("meter", id, "id"))?;
    call.show(state, id)
}

/// `GET /v1/billing/meters`
pub(crate) fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    let status = call.params.value("status");
    paging::page(state, &state.meters, call, None, |meter| {
        status.is_none_or(|status| (status == "active") == meter.active)
    })
}

/// `POST /v1/billing/meters/{id}/deactivate` and `/reactivate`
pub(crate) fn set_active(state: &mut State, call: &Call, id: &str, active: bool) -> Result<Value, ApiError> {
    state.meters.get_mut(id).ok_or_else(|| ApiError::no_such("meter", id, "id"))?.active = active;
    call.show(state, id)
}

/// `POST /v1/billing/meter_events`
pub(crate) fn report(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    call.only(&["event_name", "expand", "identifier", "payload", "timestamp"])?;
    let params = &call.params;
    let event_name = params.required("event_name")?.to_owned();
    let payload = params.map("payload");
    let (customer, value) = read_payload(state, params, &event_name)?;
    let timestamp = params.integer("timestamp")?.unwrap_or(state.now);
    check_timestamp(state.now, timestamp)?;
    let identifier = match params.value("identifier") {
        Some(identifier) if identifier.len() > 100 => {
            return Err(ApiError::invalid("Invalid string: must be at most 100 characters", Some("identifier")));
        }
        Some(identifier) => identifier.to_owned(),
        None => state.new_id("mte"),
    };
    let known = state.meter_events.by_identifier.get(&identifier);
    if known.is_some_and(|received| state.now - received < IDENTIFIER_KEPT) {
        return Err(ApiError::invalid(format!("An event already exists with identifier {identifier}."), None));
    }
    let events = &mut state.meter_events;
    events.by_identifier.insert(identifier.clone(), state.now);
    events.by_customer.entry(customer.clone()).or_default().push(events.records.len());
    events.records.push(MeterRecord {
        identifier: identifier.clone(),
        event_name: event_name.clone(),
        customer,
        value,
        timestamp,
        received: state.now,
    });
    Ok(json!({
        "object": "billing.meter_event",
        "created": state.now,
        "event_name": event_name,
        "identifier": identifier,
        "livemode": state.config.livemode,
        "payload": payload,
        "timestamp": timestamp,
    }))
}

/// Whose use it is and how much.
fn read_payload(state: &State, params: &Params, event_name: &str) -> Result<(String, i64), ApiError> {
    let meter = of_event_name(state, event_name).ok_or_else(|| {
        ApiError::invalid(format!("No active meter found with event name {event_name}."), Some("event_name"))
    })?;
    let payload = params.map("payload");
    let Some(customer) = payload.get(&meter.customer_key) else {
        return Err(ApiError::missing(&format!("payload[{}]", meter.customer_key)));
    };
    if !state.customers.contains(customer) {
        return Err(ApiError::no_such("customer", customer, "payload[stripe_customer_id]"));
    }
    let value = match payload.get(&meter.value_key) {
        Some(text) => text.parse().map_err(|_| {
            ApiError::invalid(
                format!("Invalid value for meter event: {text} is not a whole number"),
                Some("payload[value]"),
            )
        })?,
        None if meter.formula == Formula::Count => 1,
        None => return Err(ApiError::missing(&format!("payload[{}]", meter.value_key))),
    };
    Ok((customer.clone(), value))
}

fn check_timestamp(now: i64, timestamp: i64) -> Result<(), ApiError> {
    if timestamp < now - OLDEST {
        return Err(ApiError::invalid("The timestamp must be within the past 35 calendar days.", Some("timestamp"))
            .with_code("timestamp_too_far_in_past"));
    }
    if timestamp > now + NEWEST {
        return Err(ApiError::invalid("The timestamp must be at most 5 minutes in the future.", Some("timestamp"))
            .with_code("timestamp_in_future"));
    }
    Ok(())
}

/// `GET /v1/billing/meters/{id}/event_summaries`
pub(crate) fn summaries(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    call.only(&[
        "customer",
        "end_time",
        "ending_before",
        "expand",
        "limit",
        "start_time",
        "starting_after",
        "value_grouping_window",
        "dimension_filters",
        "dimension_group_by_keys",
    ])?;
    let params = &call.params;
    let meter = state.meters.get(id).ok_or_else(|| ApiError::no_such("meter", id, "id"))?;
    let customer = params.required("customer")?;
    if !state.customers.contains(customer) {
        return Err(ApiError::no_such("customer", customer, "customer"));
    }
    let start = params.integer("start_time")?.ok_or_else(|| ApiError::missing("start_time"))?;
    let end = params.integer("end_time")?.ok_or_else(|| ApiError::missing("end_time"))?;
    let (alignment, step) = match params.value("value_grouping_window") {
        None => (MINUTE, (end - start).max(1)),
        Some("hour") => (HOUR, HOUR),
        Some("day") => (DAY, DAY),
        Some(other) => {
            return Err(ApiError::invalid(
                format!("Invalid value_grouping_window: {other}"),
                Some("value_grouping_window"),
            ));
        }
    };
    if start % alignment != 0 || end % alignment != 0 || end <= start {
        return Err(ApiError::invalid(
            "start_time and end_time must be aligned with minute, hour or day boundaries, as the grouping asks, and in order.",
            Some("start_time"),
        ));
    }
    let limit = paging::limit(params)?;
    // The newest window first.
    let windows = (0..(end - start) / step).rev().map(|index| start + index * step);
    let after = params.value("starting_after");
    let summary_id = |from: i64| format!("mtrusg_{}_{customer}_{from}_{step}", meter.id.trim_start_matches("mtr_"));
    let seen = state.now - state.config.meter_summary_lag_secs;
    let mut data: Vec<Value> = windows
        .skip_while(|from| after.is_some_and(|after| summary_id(*from) != after))
        .skip(usize::from(after.is_some()))
        .filter_map(|from| Some((from, aggregate(state, meter, customer, from, from + step, seen)?)))
        .take(limit + 1)
        .map(|(from, value)| {
            json!({
                "id": summary_id(from),
                "object": "billing.meter_event_summary",
                "aggregated_value": decimal(value),
                "end_time": from + step,
                "livemode": state.config.livemode,
                "meter": meter.id,
                "start_time": from,
            })
        })
        .collect();
    let has_more = data.len() > limit;
    data.truncate(limit);
    Ok(paging::listed(call, data, has_more))
}

/// A sum as Stripe shows it, a number with a point.
#[expect(clippy::cast_precision_loss, reason = "the real API answers with a double too")]
fn decimal(value: i64) -> f64 {
    value as f64
}
