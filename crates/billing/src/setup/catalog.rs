//! Products and prices after the plan table.
//!
//! A plan whose file names prices that Stripe has is sold by those, and nothing is made for it. For another that shows a
//! price, a product and that price are made, and the file is to be given the price's id.

use std::collections::BTreeSet;

use serde::Deserialize;
use tollgate_domain::{Interval, Plan, PlanName, PlanTable, Price};

use super::{Catalog, Look, Make, Mode, Part, PlanPrices, SetupError, State, What, minor_units};
use crate::actions::PriceTag;
use crate::api::objects::lenient;

/// The key of metadata that names a plan.
const PLAN_KEY: &str = "metadata[tollgate_plan]";

/// A product, as far as it matters here.
#[derive(Clone, Debug, Default, Deserialize)]
struct Product {
    #[serde(default, deserialize_with = "lenient")]
    active: bool,
    #[serde(default, deserialize_with = "lenient")]
    livemode: Option<bool>,
}

impl Mode for Product {
    fn livemode(&self) -> Option<bool> {
        self.livemode
    }
}

impl Mode for PriceTag {
    fn livemode(&self) -> Option<bool> {
        self.livemode
    }
}

/// The id of a plan's product.
pub(super) fn product_id(plan: &PlanName) -> String {
    format!("tollgate_{plan}")
}

/// What a plan's price is found by.
fn lookup_key(plan: &PlanName, interval: Interval) -> String {
    format!("tollgate_{plan}_{}", word(interval))
}

fn word(interval: Interval) -> &'static str {
    match interval {
        Interval::Month => "month",
        Interval::Year => "year",
    }
}

pub(super) async fn look(look: &Look<'_>, plans: &PlanTable) -> Result<Catalog, SetupError> {
    let mut catalog = Catalog { parts: Vec::new(), prices: Vec::new(), rhythms: Vec::new() };
    for plan in plans.iter().filter(|plan| is_to_be_sold(plan)) {
        catalog.look_at(look, plan).await?;
    }
    Ok(catalog)
}

/// A plan that names prices, or shows one that is more than nothing.
fn is_to_be_sold(plan: &Plan) -> bool {
    let costs = plan.price.as_ref().is_some_and(|price| price.amount.bytes().any(|byte| (b'1'..=b'9').contains(&byte)));
    plan.name.as_str() != PlanName::PUBLIC && (costs || !plan.stripe_prices.is_empty())
}

impl Catalog {
    async fn look_at(&mut self, look: &Look<'_>, plan: &Plan) -> Result<(), SetupError> {
        let mut there: Vec<PriceTag> = Vec::new();
        let mut missing: Vec<&String> = Vec::new();
        for id in &plan.stripe_prices {
            match look.find::<PriceTag>(&format!("/prices/{id}")).await? {
                Some(price) => there.push(price),
                None => missing.push(id),
            }
        }
        let part = |state| Part { what: What::Price(plan.name.clone()), state };
        if there.is_empty() {
            match &plan.price {
                Some(shown) => return self.look_for_shown(look, plan, shown).await,
                None => self.parts.push(part(State::Differs { how: unknown(&missing) })),
            }
        } else {
            self.parts.extend(there.iter().map(|price| part(named(price, plan, &there))));
            if !missing.is_empty() {
                self.parts.push(part(State::Differs { how: unknown(&missing) }));
            }
        }
        let rhythms = there.iter().filter_map(PriceTag::rhythm).map(|(interval, _)| interval.to_owned());
        self.note(plan, &there, rhythms.collect());
        Ok(())
    }

    /// A plan whose file names no price that Stripe has: the one it shows is looked for, or made.
    async fn look_for_shown(&mut self, look: &Look<'_>, plan: &Plan, shown: &Price) -> Result<(), SetupError> {
        let part = |state| Part { what: What::Price(plan.name.clone()), state };
        let unit_amount = match minor_units(shown) {
            Ok(units) => units,
            Err(error) => {
                self.parts.push(part(State::Differs { how: error.to_string() }));
                return Ok(());
            }
        };
        let key = lookup_key(&plan.name, shown.interval);
        let query = [("lookup_keys[]", key.clone()), ("active", "true".to_owned())];
        let found: Vec<PriceTag> = look.list("/prices", &query).await?;
        let rhythms = BTreeSet::from([word(shown.interval).to_owned()]);
        match found.first().map(|price| (price, difference(price, shown))) {
            Some((price, None)) => {
                self.parts.push(part(State::There { id: price.id.clone() }));
                self.note(plan, &found, rhythms);
            }
            // It is not what the file shows, so it is not what the file should name.
            Some((_, Some(how))) => self.parts.push(part(State::Differs { how })),
            None => {
                self.parts.push(product(look, plan).await?);
                self.parts.push(part(State::Missing(make_price(plan, shown, unit_amount, &key))));
                self.note(plan, &[], rhythms);
            }
        }
        Ok(())
    }

    /// Remembers how a plan is sold.
    fn note(&mut self, plan: &Plan, there: &[PriceTag], rhythms: BTreeSet<String>) {
        let product = there.iter().find_map(|price| price.product.clone());
        self.rhythms.push((plan.name.clone(), rhythms, product.unwrap_or_else(|| product_id(&plan.name))));
        self.prices.push(PlanPrices {
            plan: plan.name.clone(),
            named: plan.stripe_prices.clone(),
            there: there.iter().map(|price| price.id.clone()).collect(),
        });
    }
}

async fn product(look: &Look<'_>, plan: &Plan) -> Result<Part, SetupError> {
    let id = product_id(&plan.name);
    let state = match look.find::<Product>(&format!("/products/{id}")).await? {
        Some(product) if product.active => State::There { id },
        Some(_) => State::Differs { how: format!("`{id}` is archived; restore it in the dashboard") },
        None => {
            let name = plan.display_name.clone().unwrap_or_else(|| plan.name.to_string());
            let mut form =
                vec![("id".into(), id), ("name".into(), name.clone()), (PLAN_KEY.into(), plan.name.to_string())];
            form.extend(plan.description.clone().map(|description| ("description".into(), description)));
            State::Missing(Make { summary: format!("\"{name}\""), path: "/products".into(), form })
        }
    };
    Ok(Part { what: What::Product(plan.name.clone()), state })
}

fn make_price(plan: &Plan, shown: &Price, unit_amount: u64, key: &str) -> Make {
    let form = [
        ("product", product_id(&plan.name)),
        ("currency", shown.currency.to_ascii_lowercase()),
        ("unit_amount", unit_amount.to_string()),
        ("recurring[interval]", word(shown.interval).to_owned()),
        ("lookup_key", key.to_owned()),
        ("nickname", plan.display_name.clone().unwrap_or_else(|| plan.name.to_string())),
        (PLAN_KEY, plan.name.to_string()),
    ];
    Make {
        summary: format!("{shown}, found by `{key}`"),
        path: "/prices".into(),
        form: form.map(|(key, value)| (key.to_owned(), value)).into(),
    }
}

/// How a price stands that the file names, among all that it names for the plan.
fn named(price: &PriceTag, plan: &Plan, all: &[PriceTag]) -> State {
    let id = &price.id;
    if price.recurring.is_none() {
        return State::Differs {
            how: format!("`{id}` is paid once; a plan needs a price that is due again and again"),
        };
    }
    let is_first = plan.stripe_prices.first() == Some(id);
    if !price.active && is_first {
        let how =
            format!("`{id}` is archived and stands first, so nobody can buy the plan; put one first that is sold");
        return State::Differs { how };
    }
    if !price.active {
        return State::There { id: format!("{id}, archived: those who pay it go on, and nobody buys it") };
    }
    let Some(shown) = &plan.price else { return State::There { id: id.clone() } };
    // Alternatives, such as by the year beside by the month, cost something else.
    let is_alternative = !is_paid_like(price, shown) && all.iter().any(|other| is_paid_like(other, shown));
    match difference(price, shown) {
        Some(how) if !is_alternative => State::Differs { how },
        _ => State::There { id: id.clone() },
    }
}

fn is_paid_like(price: &PriceTag, shown: &Price) -> bool {
    price.rhythm() == Some((word(shown.interval), 1)) && price.currency.eq_ignore_ascii_case(&shown.currency)
}

/// How a price at Stripe differs from the one that the file shows. One that depends on how many cannot be compared.
fn difference(price: &PriceTag, shown: &Price) -> Option<String> {
    let units = match minor_units(shown) {
        Ok(units) => i64::try_from(units).ok(),
        Err(error) => return Some(error.to_string()),
    };
    let amount_fits = price.unit_amount.is_none() || price.unit_amount == units;
    if amount_fits && is_paid_like(price, shown) {
        return None;
    }
    let amount = price.unit_amount.map_or_else(|| "an amount by tiers".to_owned(), |amount| amount.to_string());
    let rhythm = match price.rhythm() {
        Some((interval, 1)) => format!("a {interval}"),
        Some((interval, count)) => format!("every {count} {interval}s"),
        None => "once".to_owned(),
    };
    Some(format!(
        "`{}` costs {amount} {} (in the smallest unit) {rhythm}, and the file shows {shown}; what is charged is Stripe's. \
         Correct `price`, or make another price in Stripe and name it in `stripe_prices`",
        price.id,
        price.currency.to_ascii_uppercase(),
    ))
}

fn unknown(missing: &[&String]) -> String {
    let ids: Vec<String> = missing.iter().map(|id| format!("`{id}`")).collect();
    format!("Stripe does not know {}, at least not in this account and mode", ids.join(", "))
}
