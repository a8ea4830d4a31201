//! Stripe's meters for what is billed by use, and the prices that bill it.
//!
//! What a unit costs stands in no file of ours, so those prices are never made here: they are looked for, and where one is
//! missing it is said how it would be found.

use serde::Deserialize;
use tollgate_config::StripeConfig;

use super::{Catalog, Look, Make, Mode, Part, SetupError, State, What};
use crate::actions::{PriceTag, metered_key};
use crate::api::objects::lenient;

/// A meter at Stripe.
#[derive(Clone, Debug, Default, Deserialize)]
struct Meter {
    #[serde(default, deserialize_with = "lenient")]
    id: String,
    #[serde(default, deserialize_with = "lenient")]
    event_name: String,
    #[serde(default, deserialize_with = "lenient")]
    status: String,
    #[serde(default, deserialize_with = "lenient")]
    default_aggregation: Aggregation,
    #[serde(default, deserialize_with = "lenient")]
    customer_mapping: Mapping,
    #[serde(default, deserialize_with = "lenient")]
    value_settings: Mapping,
    #[serde(default, deserialize_with = "lenient")]
    livemode: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Aggregation {
    #[serde(default, deserialize_with = "lenient")]
    formula: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Mapping {
    #[serde(default, deserialize_with = "lenient")]
    event_payload_key: String,
}

impl Mode for Meter {
    fn livemode(&self) -> Option<bool> {
        self.livemode
    }
}

pub(super) async fn look(look: &Look<'_>, stripe: &StripeConfig, catalog: &Catalog) -> Result<Vec<Part>, SetupError> {
    if stripe.meters.is_empty() {
        return Ok(Vec::new());
    }
    let known: Vec<Meter> = look.list("/billing/meters", &[]).await?;
    let mut parts = Vec::new();
    for (meter, event_name) in &stripe.meters {
        let mut of_name = known.iter().filter(|known| known.event_name == *event_name);
        let active = of_name.clone().find(|known| known.status == "active");
        let found = active.or_else(|| of_name.next());
        parts.push(Part { what: What::Meter(event_name.clone()), state: state(found, event_name) });
        for (plan, rhythms, product) in &catalog.rhythms {
            for interval in rhythms {
                let key = metered_key(plan, meter, interval);
                let query = [("lookup_keys[]", key.clone()), ("active", "true".to_owned())];
                let prices: Vec<PriceTag> = look.list("/prices", &query).await?;
                let state = metered(prices.first(), found, &key, product);
                parts.push(Part { what: What::MeteredPrice(plan.clone(), meter.clone()), state });
            }
        }
    }
    Ok(parts)
}

fn state(found: Option<&Meter>, event_name: &str) -> State {
    let Some(meter) = found else {
        let form = [
            ("display_name", event_name),
            ("event_name", event_name),
            ("default_aggregation[formula]", "sum"),
            ("customer_mapping[type]", "by_id"),
            ("customer_mapping[event_payload_key]", "stripe_customer_id"),
            ("value_settings[event_payload_key]", "value"),
        ];
        return State::Missing(Make {
            summary: "a sum of units by customer".into(),
            path: "/billing/meters".into(),
            form: form.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        });
    };
    let how = if meter.status != "active" {
        "is not active; reactivate it in the dashboard"
    } else if meter.default_aggregation.formula != "sum" {
        "does not add up what it is told; units are sent in many parts. Use another event name"
    } else if meter.customer_mapping.event_payload_key != "stripe_customer_id"
        || meter.value_settings.event_payload_key != "value"
    {
        "reads other fields than `stripe_customer_id` and `value`. Use another event name"
    } else {
        return State::There { id: meter.id.clone() };
    };
    State::Differs { how: format!("`{}` {how}", meter.id) }
}

fn metered(price: Option<&PriceTag>, meter: Option<&Meter>, key: &str, product: &str) -> State {
    let Some(price) = price else {
        return State::LeftToYou {
            advice: format!(
                "no price has the lookup key `{key}`, so this use is not billed under this plan. To bill it, make a \
                 metered price of the product `{product}` for this meter in Stripe, with that lookup key"
            ),
        };
    };
    if !price.is_metered() {
        return State::Differs { how: format!("`{}` has the lookup key `{key}` and is not metered", price.id) };
    }
    match meter {
        Some(meter) if price.meter() != Some(&meter.id) => {
            State::Differs { how: format!("`{}` bills another meter than `{}`", price.id, meter.id) }
        }
        _ => State::There { id: price.id.clone() },
    }
}
