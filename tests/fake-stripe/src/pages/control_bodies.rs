//! What the controls under `/_fake` take, as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::config::{Delivery, EventShape, Mode};
use crate::http::faults::{Fault, FaultKind, When};
use crate::objects::checkout::CheckoutOutcome;
use crate::objects::payment_method::Card;
use crate::state::clock::Interval;

/// How far the clock goes; what is given adds up, `to` is a moment.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClockBody {
    pub(crate) seconds: i64,
    pub(crate) days: i64,
    pub(crate) months: u32,
    pub(crate) to: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PriceBody {
    pub(crate) id: String,
    pub(crate) product: String,
    pub(crate) unit_amount: i64,
    pub(crate) currency: String,
    pub(crate) interval: Interval,
    pub(crate) interval_count: u32,
    pub(crate) metered: Option<String>,
}

impl Default for PriceBody {
    fn default() -> Self {
        Self {
            id: String::new(),
            product: "Plan".to_owned(),
            unit_amount: 0,
            currency: "usd".to_owned(),
            interval: Interval::Month,
            interval_count: 1,
            metered: None,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SeedBody {
    pub(crate) email: String,
    pub(crate) customer: Option<String>,
    pub(crate) prices: Vec<String>,
    pub(crate) trial_days: u32,
    pub(crate) pause_without_card: bool,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) card: Card,
    pub(crate) count: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CardBody {
    pub(crate) card: Card,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActBody {
    pub(crate) action: String,
    pub(crate) price: Option<String>,
    pub(crate) amount: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckoutBody {
    pub(crate) outcome: CheckoutOutcome,
    pub(crate) email: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AsyncBody {
    pub(crate) succeeded: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointBody {
    pub(crate) url: String,
    pub(crate) enabled_events: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RollBody {
    pub(crate) keep_old_seconds: i64,
}

/// What is given changes, the rest stays.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DeliveryBody {
    mode: Option<String>,
    shuffle: Option<bool>,
    duplicates: Option<u32>,
    drop: Option<f64>,
    concurrency: Option<usize>,
    retry_after_ms: Option<Vec<u64>>,
}

impl DeliveryBody {
    pub(crate) fn apply(self, delivery: &mut Delivery) {
        match self.mode.as_deref() {
            Some("on") => delivery.mode = Mode::On,
            Some(_) => delivery.mode = Mode::Off,
            None => {}
        }
        delivery.shuffle = self.shuffle.unwrap_or(delivery.shuffle);
        delivery.duplicates = self.duplicates.unwrap_or(delivery.duplicates);
        delivery.drop = self.drop.unwrap_or(delivery.drop);
        delivery.concurrency = self.concurrency.unwrap_or(delivery.concurrency);
        if let Some(times) = self.retry_after_ms {
            delivery.retry_after = times.into_iter().map(Duration::from_millis).collect();
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShapeBody {
    shape: String,
}

impl ShapeBody {
    pub(crate) fn shape(&self) -> Option<EventShape> {
        match self.shape.as_str() {
            "new" => Some(EventShape::New),
            "old" => Some(EventShape::Old),
            "mixed" => Some(EventShape::Mixed),
            _ => None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmitBody {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) object: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultBody {
    method: Option<String>,
    path_prefix: String,
    kind: String,
    status: Option<u16>,
    ms: Option<u64>,
    next: Option<u32>,
    rate: Option<f64>,
}

impl FaultBody {
    /// The fault, unless its kind is unknown.
    pub(crate) fn fault(self) -> Option<Fault> {
        let time = Duration::from_millis(self.ms.unwrap_or(1_000));
        let kind = match self.kind.as_str() {
            "status" => FaultKind::Status(self.status.unwrap_or(500)),
            "hang" => FaultKind::Hang(time),
            "late" => FaultKind::Late(time),
            "cut" => FaultKind::Cut,
            "cut_after" => FaultKind::CutAfter,
            _ => return None,
        };
        let when = self.rate.map_or(When::Next(self.next.unwrap_or(1)), When::Rate);
        Some(Fault { method: self.method, path_prefix: self.path_prefix, kind, when })
    }
}
