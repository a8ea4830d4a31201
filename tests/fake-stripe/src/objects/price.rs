//! Prices: flat or metered, by the day, week, month or year.
//!
//! Tiers, packages and several currencies are not played.

use serde_json::{Value, json};

use super::{merge_metadata, new_metadata, product};
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::paging;
use crate::http::params::Params;
use crate::state::clock::Interval;
use crate::state::table::Row;
use crate::state::{Metadata, Shape, State};

const KNOWN: &[&str] = &[
    "active",
    "billing_scheme",
    "currency",
    "currency_options",
    "custom_unit_amount",
    "expand",
    "lookup_key",
    "metadata",
    "nickname",
    "product",
    "product_data",
    "recurring",
    "tax_behavior",
    "tiers",
    "tiers_mode",
    "transfer_lookup_key",
    "transform_quantity",
    "unit_amount",
    "unit_amount_decimal",
];

/// Parts of a cent that amounts are counted in: Stripe takes twelve decimals.
const PARTS: i128 = 1_000_000_000_000;

#[derive(Debug)]
pub(crate) struct Price {
    pub(crate) id: String,
    created: i64,
    pub(crate) product: String,
    pub(crate) currency: String,
    /// Of one unit, in parts of a cent.
    unit_parts: i128,
    pub(crate) recurring: Option<Recurring>,
    pub(crate) active: bool,
    lookup_key: Option<String>,
    nickname: Option<String>,
    tax_behavior: String,
    metadata: Metadata,
}

/// How a price recurs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recurring {
    pub(crate) interval: Interval,
    pub(crate) count: u32,
    /// The meter it counts, where it is metered.
    pub(crate) meter: Option<String>,
}

impl Price {
    /// What so many units cost, in cents, halves rounded up.
    pub(crate) fn amount(&self, quantity: i64) -> i64 {
        let parts = self.unit_parts * i128::from(quantity);
        i64::try_from((parts + PARTS / 2).div_euclid(PARTS)).unwrap_or(i64::MAX)
    }

    pub(crate) fn meter(&self) -> Option<&str> {
        self.recurring.as_ref()?.meter.as_deref()
    }

    fn unit_amount(&self) -> Option<i64> {
        (self.unit_parts % PARTS == 0).then(|| self.amount(1))
    }

    pub(crate) fn unit_amount_decimal(&self) -> String {
        let (whole, rest) = (self.unit_parts / PARTS, self.unit_parts % PARTS);
        if rest == 0 {
            return whole.to_string();
        }
        format!("{whole}.{rest:012}").trim_end_matches('0').to_owned()
    }

    /// The same as a `plan`, which items still show beside their price.
    pub(crate) fn render_plan(&self, state: &State) -> Value {
        let recurring = self.recurring.as_ref();
        json!({
            "id": self.id,
            "object": "plan",
            "active": self.active,
            "amount": self.unit_amount(),
            "amount_decimal": self.unit_amount_decimal(),
            "billing_scheme": "per_unit",
            "created": self.created,
            "currency": self.currency,
            "interval": recurring.map_or("month", |recurring| recurring.interval.as_str()),
            "interval_count": recurring.map_or(1, |recurring| recurring.count),
            "livemode": state.config.livemode,
            "metadata": self.metadata,
            "meter": self.meter(),
            "nickname": self.nickname,
            "product": self.product,
            "tiers_mode": null,
            "transform_usage": null,
            "trial_period_days": null,
            "usage_type": usage_type(self.meter()),
        })
    }
}

fn usage_type(meter: Option<&str>) -> &'static str {
    if meter.is_some() { "metered" } else { "licensed" }
}

impl Row for Price {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn render(&self, state: &State, _shape: Shape) -> Value {
        let recurring = self.recurring.as_ref().map(|recurring| {
            json!({
                "interval": recurring.interval.as_str(),
                "interval_count": recurring.count,
                "meter": recurring.meter,
                "trial_period_days": null,
                "usage_type": usage_type(recurring.meter.as_deref()),
            })
        });
        json!({
            "id": self.id,
            "object": "price",
            "active": self.active,
            "billing_scheme": "per_unit",
            "created": self.created,
            "currency": self.currency,
            "custom_unit_amount": null,
            "livemode": state.config.livemode,
            "lookup_key": self.lookup_key,
            "metadata": self.metadata,
            "nickname": self.nickname,
            "product": self.product,
            "recurring": recurring,
            "tax_behavior": self.tax_behavior,
            "tiers_mode": null,
            "transform_quantity": null,
            "type": if self.recurring.is_some() { "recurring" } else { "one_time" },
            "unit_amount": self.unit_amount(),
            "unit_amount_decimal": self.unit_amount_decimal(),
        })
    }
}

/// A decimal number of cents in parts of a cent.
fn parse_decimal(text: &str) -> Option<i128> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 12 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let decimals: i128 = format!("{decimals:0<12}").parse().ok()?;
    let whole: i128 = whole.parse().ok().filter(|whole| *whole >= 0)?;
    whole.checked_mul(PARTS)?.checked_add(decimals)
}

/// A price to be made.
pub(crate) struct Draft {
    pub(crate) id: Option<String>,
    pub(crate) product: String,
    pub(crate) currency: String,
    pub(crate) unit_parts: i128,
    pub(crate) recurring: Option<Recurring>,
}

impl Draft {
    /// In whole cents.
    pub(crate) fn cents(cents: i64) -> i128 {
        i128::from(cents) * PARTS
    }
}

/// Makes a price without telling anybody.
pub(crate) fn add(state: &mut State, draft: Draft) -> String {
    let id = draft.id.unwrap_or_else(|| state.new_id("price"));
    state.prices.insert(Price {
        id: id.clone(),
        created: state.now,
        product: draft.product,
        currency: draft.currency,
        unit_parts: draft.unit_parts,
        recurring: draft.recurring,
        active: true,
        lookup_key: None,
        nickname: None,
        tax_behavior: "unspecified".to_owned(),
        metadata: Metadata::new(),
    });
    id
}

fn read_recurring(state: &State, params: &Params) -> Result<Option<Recurring>, ApiError> {
    if !params.has("recurring") {
        return Ok(None);
    }
    let word = params.required("recurring.interval")?;
    let interval = Interval::parse(word).ok_or_else(|| {
        ApiError::invalid(
            format!("Invalid recurring[interval]: must be one of day, month, week, or year; got {word}"),
            Some("recurring[interval]"),
        )
    })?;
    let count = params.integer("recurring.interval_count")?.unwrap_or(1);
    let count = u32::try_from(count).ok().filter(|count| (1..=1_095).contains(count));
    let count = count.ok_or_else(|| ApiError::invalid("Invalid interval count.", Some("recurring[interval_count]")))?;
    let metered = params.value("recurring.usage_type") == Some("metered");
    let meter = params.value("recurring.meter").map(str::to_owned);
    match &meter {
        None if metered => {
            return Err(ApiError::invalid(
                "Usage-based prices must be backed by a meter: pass `recurring[meter]`.",
                Some("recurring[meter]"),
            ));
        }
        Some(meter) if !state.meters.contains(meter) => {
            return Err(ApiError::no_such("meter", meter, "recurring[meter]"));
        }
        Some(_) if !metered => {
            return Err(ApiError::invalid(
                "A meter takes `recurring[usage_type]=metered`.",
                Some("recurring[usage_type]"),
            ));
        }
        _ => {}
    }
    Ok(Some(Recurring { interval, count, meter }))
}

fn read_amount(params: &Params) -> Result<i128, ApiError> {
    match (params.value("unit_amount"), params.value("unit_amount_decimal")) {
        (Some(_), Some(_)) => Err(ApiError::invalid(
            "You may only specify one of these parameters: unit_amount, unit_amount_decimal.",
            Some("unit_amount"),
        )
        .with_code("parameters_exclusive")),
        (Some(text), None) | (None, Some(text)) => parse_decimal(text)
            .ok_or_else(|| ApiError::invalid(format!("Invalid decimal: {text}"), Some("unit_amount"))),
        (None, None) => Err(ApiError::missing("unit_amount")),
    }
}

/// `POST /v1/prices`
pub(crate) fn create(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    call.only(KNOWN)?;
    let params = &call.params;
    if params.value("billing_scheme") == Some("tiered") || params.has("tiers") || params.has("transform_quantity") {
        return Err(ApiError::not_played("tiered or packaged prices"));
    }
    let currency = params.required("currency")?.to_lowercase();
    let unit_parts = read_amount(params)?;
    let recurring = read_recurring(state, params)?;
    let lookup_key = params.value("lookup_key");
    free_lookup_key(state, call, lookup_key)?;
    let product = match (params.value("product"), params.value("product_data.name")) {
        (Some(id), None) if state.products.contains(id) => id.to_owned(),
        (Some(id), None) => return Err(ApiError::no_such("product", id, "product")),
        (None, Some(name)) => {
            let id = state.new_id("prod");
            product::add(state, &id, name);
            state.emit("product.created", &id);
            id
        }
        _ => return Err(ApiError::missing("product")),
    };
    let id = add(state, Draft { id: None, product, currency, unit_parts, recurring });
    if let Some(price) = state.prices.get_mut(&id) {
        price.lookup_key = lookup_key.map(str::to_owned);
        price.nickname = params.value("nickname").map(str::to_owned);
        price.metadata = new_metadata(params, "metadata");
        price.active = params.flag("active")?.unwrap_or(true);
        if let Some(behavior) = params.value("tax_behavior") {
            behavior.clone_into(&mut price.tax_behavior);
        }
    }
    state.emit("price.created", &id);
    call.show(state, &id)
}

/// A lookup key names one active price: a second is refused, or takes it over.
fn free_lookup_key(state: &mut State, call: &Call, lookup_key: Option<&str>) -> Result<(), ApiError> {
    let Some(lookup_key) = lookup_key else { return Ok(()) };
    let holder =
        state.prices.iter().find(|price| price.lookup_key.as_deref() == Some(lookup_key)).map(|price| price.id.clone());
    let Some(holder) = holder else { return Ok(()) };
    if call.params.flag("transfer_lookup_key")? != Some(true) {
        return Err(ApiError::invalid(
            format!("A price (`{holder}`) already uses that lookup key."),
            Some("lookup_key"),
        ));
    }
    if let Some(price) = state.prices.get_mut(&holder) {
        price.lookup_key = None;
    }
    Ok(())
}

/// `GET /v1/prices/{id}`
pub(crate) fn get(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    state.prices.get(id).ok_or_else(|| ApiError::no_such("price", id, "id"))?;
    call.show(state, id)
}

/// `POST /v1/prices/{id}`: amount and interval never change.
pub(crate) fn update(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    call.only(&[
        "active",
        "currency_options",
        "expand",
        "lookup_key",
        "metadata",
        "nickname",
        "tax_behavior",
        "transfer_lookup_key",
    ])?;
    state.prices.get(id).ok_or_else(|| ApiError::no_such("price", id, "id"))?;
    free_lookup_key(state, call, call.params.value("lookup_key"))?;
    let before = state.snapshot(id);
    let active = call.params.flag("active")?;
    if let Some(price) = state.prices.get_mut(id) {
        price.active = active.unwrap_or(price.active);
        if call.params.has("nickname") {
            price.nickname = call.params.value("nickname").map(str::to_owned);
        }
        if call.params.has("lookup_key") {
            price.lookup_key = call.params.value("lookup_key").map(str::to_owned);
        }
        merge_metadata(&mut price.metadata, &call.params, "metadata");
    }
    state.emit_change("price.updated", id, before);
    call.show(state, id)
}

/// `GET /v1/prices`
pub(crate) fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    let params = &call.params;
    let active = params.flag("active")?;
    let lookup_keys = params.texts("lookup_keys");
    let product = params.value("product");
    let kind = params.value("type");
    paging::page(state, &state.prices, call, None, |price| {
        active.is_none_or(|active| price.active == active)
            && product.is_none_or(|product| price.product == product)
            && kind.is_none_or(|kind| (kind == "recurring") == price.recurring.is_some())
            && (lookup_keys.is_empty() || price.lookup_key.as_deref().is_some_and(|key| lookup_keys.contains(&key)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_of_a_cent_are_exact() {
        for (text, parts) in [
            ("2900", Some(2900 * PARTS)),
            ("0.05", Some(PARTS / 20)),
            ("-1", None),
            ("1.0000000000001", None),
            ("x", None),
        ] {
            assert_eq!(parse_decimal(text), parts, "{text}");
        }
    }
}
