//! Where metered use is told: to Stripe's meters, or to nobody. What is told, and when again, is the parent's.

use std::collections::HashMap;

use async_trait::async_trait;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::sync::OnceCell;
use tollgate_config::{BilledMeter, StripeConfig};
use tollgate_domain::{Period, Timestamp};
use tollgate_store::BilledUse;

use super::place;
use crate::api::objects::{List, is_id, lenient};
use crate::api::{Api, ApiError};

/// Use, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterEvent {
    /// What the meter calls its events.
    pub event_name: String,
    /// Whose, at Stripe.
    pub customer: String,
    /// How many units.
    pub units: u64,
    /// What lets it be counted once.
    pub identifier: String,
    /// When, to the second.
    pub at: Timestamp,
}

/// Whoever bills use.
#[async_trait]
pub trait MeterSink: Send + Sync {
    /// What it is told of.
    fn billed(&self) -> &[BilledUse];

    /// Tells it of use; told again under the same identifier, it counts it once, for a day at least.
    async fn tell(&self, event: &MeterEvent) -> Result<(), TellError>;

    /// What it has of a customer's use in the whole minutes of a period. What it was told lately may be missing.
    async fn told(&self, event_name: &str, customer: &str, period: Period) -> Result<i64, ApiError>;
}

/// Why use was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TellError {
    /// Nobody knows whether it was: it is told again.
    #[error(transparent)]
    Unknown(ApiError),
    /// It was not, and may be later.
    #[error("{0}")]
    Later(String),
    /// It was not, and never will be as it is.
    #[error("{0}")]
    Refused(String),
}

impl TellError {
    /// Whether nothing else can be told either.
    pub(crate) fn is_about_stripe(&self) -> bool {
        matches!(self, Self::Unknown(error) if error.is_about_stripe())
    }
}

/// Bills nothing: `meters` is not set.
pub struct NoMeters;

#[async_trait]
impl MeterSink for NoMeters {
    fn billed(&self) -> &[BilledUse] {
        &[]
    }

    async fn tell(&self, _: &MeterEvent) -> Result<(), TellError> {
        Err(TellError::Refused("no use is billed".into()))
    }

    async fn told(&self, _: &str, _: &str, _: Period) -> Result<i64, ApiError> {
        Ok(0)
    }
}

/// Bills by Stripe's meters.
pub struct StripeMeters {
    api: Api,
    billed: Vec<BilledUse>,
    /// The ids of meters by the name of their events; read when they are needed.
    ids: OnceCell<HashMap<String, String>>,
}

impl StripeMeters {
    /// Bills what these settings name.
    pub fn new(api: Api, config: &StripeConfig) -> Self {
        let billed = config.meters.iter().map(|(meter, event_name)| BilledUse {
            meter: match meter {
                BilledMeter::Calls => None,
                BilledMeter::Named(name) => Some(name.clone()),
            },
            event_name: event_name.clone(),
        });
        Self { api, billed: billed.collect(), ids: OnceCell::new() }
    }

    async fn id_of(&self, event_name: &str) -> Result<&str, ApiError> {
        let ids = self.ids.get_or_try_init(|| async {
            let meters: Vec<Meter> = self.api.list("/billing/meters", &[]).await?;
            // Of several with one name the one in use; those that were put away keep what they have.
            let (active, inactive): (Vec<_>, Vec<_>) = meters.into_iter().partition(|meter| meter.status == "active");
            Ok(inactive.into_iter().chain(active).map(|meter| (meter.event_name, meter.id)).collect())
        });
        let id = ids.await?.get(event_name).filter(|id| is_id(id));
        id.map(String::as_str).ok_or_else(|| ApiError::Refused {
            status: 404,
            code: Some("resource_missing".into()),
            message: format!("there is no meter whose events are called {event_name}"),
            param: None,
        })
    }
}

#[async_trait]
impl MeterSink for StripeMeters {
    fn billed(&self) -> &[BilledUse] {
        &self.billed
    }

    async fn tell(&self, event: &MeterEvent) -> Result<(), TellError> {
        let form = [
            ("event_name", event.event_name.clone()),
            ("payload[stripe_customer_id]", event.customer.clone()),
            ("payload[value]", event.units.to_string()),
            ("identifier", event.identifier.clone()),
            ("timestamp", event.at.as_secs().to_string()),
        ];
        // Without an idempotency key, under which Stripe would repeat a 500 for a day: the identifier is enough.
        match self.api.post::<IgnoredAny>("/billing/meter_events", &form, None).await {
            Ok(_) => Ok(()),
            Err(error) => judged(error),
        }
    }

    async fn told(&self, event_name: &str, customer: &str, period: Period) -> Result<i64, ApiError> {
        let path = format!("/billing/meters/{}/event_summaries", self.id_of(event_name).await?);
        let minutes = place::minutes(period);
        let mut query = vec![
            ("customer", customer.to_owned()),
            ("start_time", minutes.start.as_secs().to_string()),
            ("end_time", minutes.end.as_secs().to_string()),
            ("limit", "100".to_owned()),
        ];
        let summaries: List<Summary> = self.api.get(&path, &query).await?;
        if !summaries.has_more {
            return Ok(total(&summaries.data));
        }
        // One answer covers a stretch that is not cut into hours or days; were it not so, all of it counts.
        query.pop();
        let all: Vec<Summary> = self.api.list(&path, &query).await?;
        Ok(total(&all))
    }
}

/// What an answer other than success means for a send.
fn judged(error: ApiError) -> Result<(), TellError> {
    let ApiError::Refused { status, code, message, .. } = &error else { return Err(TellError::Unknown(error)) };
    let code = code.as_deref().unwrap_or_default();
    let says = message.to_ascii_lowercase();
    if code == "duplicate_meter_event" || *status == 400 && says.contains("already exists") {
        return Ok(());
    }
    // The key is wrong or may not do this: somebody will mend it.
    if matches!(status, 401 | 403 | 408 | 409 | 425) {
        return Err(TellError::Unknown(error));
    }
    let is_ahead = code == "timestamp_in_future" || says.contains("timestamp") && says.contains("future");
    if is_ahead {
        return Err(TellError::Later(format!("is this machine's clock ahead? {error}")));
    }
    Err(TellError::Refused(error.to_string()))
}

fn total(summaries: &[Summary]) -> i64 {
    summaries.iter().map(Summary::units).fold(0, i64::saturating_add)
}

/// A meter at Stripe.
#[derive(Debug, Deserialize)]
struct Meter {
    #[serde(default, deserialize_with = "lenient")]
    id: String,
    #[serde(default, deserialize_with = "lenient")]
    event_name: String,
    #[serde(default, deserialize_with = "lenient")]
    status: String,
}

/// What a meter has of a stretch of time.
#[derive(Debug, Deserialize)]
struct Summary {
    aggregated_value: f64,
}

impl Summary {
    /// Whole units: fractions are never sent, and sums below 9 x 10^14 are read exactly, however they are written.
    fn units(&self) -> i64 {
        #[expect(clippy::cast_possible_truncation, reason = "it was rounded, and a cast saturates")]
        let units = self.aggregated_value.round() as i64;
        units
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str, message: &str) -> ApiError {
        let code = (!code.is_empty()).then(|| code.to_owned());
        ApiError::Refused { status, code, message: message.to_owned(), param: None }
    }

    #[test]
    fn an_event_that_is_there_already_was_taken() {
        for (code, message) in [
            ("", "An event already exists with identifier tg_1."),
            ("duplicate_meter_event", "Duplicate."),
            ("resource_already_exists", "That event already exists."),
        ] {
            assert_eq!(judged(refused(400, code, message)), Ok(()), "{message}");
        }
    }

    #[test]
    fn only_what_no_time_mends_is_given_up() {
        for (error, expected) in [
            (refused(400, "", "No active meter found for event name \"api_calls\"."), "refused"),
            (refused(400, "archived_meter", "The meter is archived."), "refused"),
            (refused(404, "resource_missing", "No such customer: 'cus_1'"), "refused"),
            (refused(400, "timestamp_too_far_in_past", "The timestamp is more than 35 days old."), "refused"),
            (refused(400, "timestamp_in_future", "Too early."), "later"),
            (refused(400, "", "The timestamp is too far in the future."), "later"),
            (refused(401, "", "Invalid API Key provided"), "unknown"),
            (refused(403, "", "The key may not do this."), "unknown"),
            (ApiError::Unavailable("it answered 500".into()), "unknown"),
            (ApiError::Unreadable("not JSON".into()), "unknown"),
        ] {
            let judged = match judged(error.clone()) {
                Ok(()) => "taken",
                Err(TellError::Unknown(_)) => "unknown",
                Err(TellError::Later(_)) => "later",
                Err(TellError::Refused(_)) => "refused",
            };
            assert_eq!(judged, expected, "{error}");
        }
    }

    #[test]
    fn sums_come_as_numbers_of_either_kind() {
        let list: List<Summary> = serde_json::from_str(
            r#"{"data": [{"aggregated_value": 15}, {"aggregated_value": 900719925474099.0, "id": "x"}], "has_more": false}"#,
        )
        .expect("a list");
        assert_eq!(total(&list.data), 900_719_925_474_114);
    }
}
