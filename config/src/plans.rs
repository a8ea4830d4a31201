//! `[plans]` and `[accounts]`: the plan table, each plan checked by itself and against the others.
//!
//! What the numbers mean stands in the domain crate; which routes a plan may use is checked with
//! the routes.

use std::collections::BTreeMap;

use arrayvec::ArrayVec;
use tollgate_domain::limit::{UNITS_MAX, WINDOWS_MAX};
use tollgate_domain::{
    Bucket, LimitSet, MeterName, Plan, PlanName, PlanTable, Price, Quota, QuotaPeriod, Rate, Unit, Window,
    default_burst, parse_count,
};

use crate::item::{Item, Text};
use crate::meters;
use crate::reader::Table;
use crate::suggest::nearest;

/// The plans of a file as far as they can be read, and where each stands.
#[derive(Default)]
pub(crate) struct Plans {
    by_name: BTreeMap<PlanName, PlacedPlan>,
    default_plan: Option<PlanName>,
    /// Whether meters may be missing that a plan was meant to have.
    lost_meters: bool,
    /// Whether a plan has prices, or was meant to.
    for_sale: bool,
}

/// A plan and its places.
pub(crate) struct PlacedPlan {
    pub(crate) plan: Plan,
    /// Where its name stands.
    pub(crate) offset: usize,
    /// Where its limits stand.
    pub(crate) rate: Option<usize>,
    pub(crate) windows: Option<usize>,
    pub(crate) quota: Option<usize>,
    pub(crate) meters: Option<usize>,
    /// Whether meters may be missing that it was meant to have.
    lost_meters: bool,
    /// Whether it has prices, or was meant to.
    for_sale: bool,
}

impl Plans {
    /// Reads `[plans]` and `[accounts]`.
    pub(crate) fn read(plans: &Table<'_>, accounts: &Table<'_>) -> Self {
        let mut read = Self::default();
        let mut prices: BTreeMap<String, (PlanName, usize)> = BTreeMap::new();
        let mut by_place: Vec<_> = plans.own_keys().collect();
        by_place.sort_by_key(|(_, item)| item.key_offset);
        for (key, item) in by_place {
            let Some(name) = PlanName::new(key) else {
                let key = key.escape_debug();
                let message = format!("`{key}` cannot name a plan: up to 32 letters, digits, `-` and `_`");
                plans.reader.error(item.key_offset, message);
                read.lost_meters = true;
                read.for_sale = true;
                continue;
            };
            let placed = match item.table("plans.*") {
                Some(table) => PlacedPlan::read(&table, name.clone(), item.key_offset, &mut prices),
                None => {
                    PlacedPlan { lost_meters: true, for_sale: true, ..PlacedPlan::empty(name.clone(), item.key_offset) }
                }
            };
            read.lost_meters |= placed.lost_meters;
            read.for_sale |= placed.for_sale;
            read.by_name.insert(name, placed);
        }
        let mut default_plan = None;
        accounts.read_optional("default_plan", &mut default_plan, |item| read.read_name(item));
        accounts.finish();
        Self { default_plan: default_plan.map(|placed| placed.plan.name.clone()), ..read }
    }

    /// Whether meters may be missing that a plan was meant to have: then what names one is not wrong.
    pub(crate) fn lost_meters(&self) -> bool {
        self.lost_meters
    }

    /// Whether a plan can be bought, or was meant to be.
    pub(crate) fn for_sale(&self) -> bool {
        self.for_sale
    }

    /// Reads a value that names a plan which accounts can have.
    pub(crate) fn read_name(&self, item: &Item<'_>) -> Option<&PlacedPlan> {
        let text = item.text()?;
        if text.value == PlanName::PUBLIC {
            item.error("`public` is the plan of anonymous callers; no account can have it");
            return None;
        }
        let placed = self.by_name.get(text.value.as_str());
        if placed.is_none() {
            self.report_unknown(item, &text);
        }
        placed
    }

    fn report_unknown(&self, item: &Item<'_>, text: &Text<'_>) {
        let names = || self.by_name.keys().map(PlanName::as_str).filter(|name| *name != PlanName::PUBLIC);
        let near = nearest(text.written, names());
        let advice = match near {
            Some(near) => format!("did you mean \"{near}\"?"),
            None if names().next().is_none() => "there are no plans in this file".into(),
            None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
        };
        // A plan that was lost with a broken or misspelt section is not unknown.
        if !item.reader.lost_plans() {
            item.error(format!("there is no plan \"{}\"; {advice}", text.written.escape_debug()));
        }
    }

    /// The plan of anonymous callers.
    pub(crate) fn public(&self) -> Option<&PlacedPlan> {
        self.by_name.get(PlanName::PUBLIC)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &PlacedPlan> {
        self.by_name.values()
    }

    pub(crate) fn into_table(self) -> PlanTable {
        PlanTable::new(self.by_name.into_values().map(|placed| placed.plan), self.default_plan)
    }
}

impl PlacedPlan {
    fn empty(name: PlanName, offset: usize) -> Self {
        let plan = Plan::unlimited(name);
        Self { plan, offset, rate: None, windows: None, quota: None, meters: None, lost_meters: false, for_sale: false }
    }

    fn read(
        table: &Table<'_>,
        name: PlanName,
        offset: usize,
        prices: &mut BTreeMap<String, (PlanName, usize)>,
    ) -> Self {
        let mut placed = Self::empty(name, offset);
        let Plan {
            name,
            rank,
            api,
            display_name,
            description,
            highlights,
            price,
            rate,
            limits,
            meters,
            quota_period,
            max_keys,
            features,
            stripe_prices,
        } = &mut placed.plan;
        let LimitSet { bucket, windows, quota } = limits;
        table.read("rank", rank, Item::integer);
        table.read("api", api, Item::flag);
        table.read_optional("display_name", display_name, shown_text);
        table.read_optional("description", description, shown_text);
        table.read("highlights", highlights, |item| item.list_of(shown_text));
        table.read_optional("price", price, |item| {
            item.parse_or_say("a price such as \"29 USD/month\"", |text| {
                Price::parse(text).map_err(|problem| problem.to_string())
            })
        });
        let rate_item = table.take("rate");
        let burst_item = table.take("burst");
        (*rate, *bucket) = read_bucket(rate_item.as_ref(), burst_item.as_ref());
        placed.rate = burst_item.as_ref().or(rate_item.as_ref()).map(Item::offset);
        if let Some(item) = table.take("windows") {
            placed.windows = Some(item.offset());
            *windows = read_windows(&item);
        }
        if let Some(item) = table.take("quota") {
            placed.quota = Some(item.offset());
            *quota = read_quota(&item).unwrap_or_default();
        }
        table.read("quota_period", quota_period, |item| {
            item.word(&[
                ("billing", QuotaPeriod::Billing),
                ("calendar", QuotaPeriod::Calendar),
                ("rolling-30d", QuotaPeriod::Rolling30Days),
            ])
        });
        if let Some(item) = table.take("meters") {
            placed.meters = Some(item.offset());
            placed.lost_meters = !meters::read(&item, meters);
        }
        table.read("max_keys", max_keys, |item| {
            if item.is_unlimited() { Some(None) } else { item.count(0, UNITS_MAX).map(Some) }
        });
        table.read("features", features, |item| item.list_of(feature).map(|names| names.into_iter().collect()));
        (*stripe_prices, placed.for_sale) = read_prices(table, name, prices);
        if name.as_str() == PlanName::PUBLIC {
            check_public(table);
        }
        let unknown = table.finish();
        placed.lost_meters |= unknown.may_hold("meters");
        placed.for_sale |= unknown.may_hold("stripe_prices");
        let rate_is_missing = !unknown.may_hold("rate") && rate_item.is_none();
        if let Some(burst) = burst_item.filter(|_| rate_is_missing) {
            burst.reader.error(burst.key_offset, "`burst` means nothing without a `rate`");
        }
        placed
    }

    /// The limits that no call of this cost and meter could ever pass, and where each stands. A limit of 0 admits nothing
    /// on purpose, whatever the cost.
    pub(crate) fn limits_below(&self, cost: u64, meter: Option<&MeterName>) -> Vec<(String, usize)> {
        let LimitSet { bucket, windows, quota } = &self.plan.limits;
        let mut below = Vec::new();
        let mut compare = |what: &dyn std::fmt::Display, limit: u64, offset: Option<usize>| {
            if limit > 0 && limit < cost {
                below.push((what.to_string(), offset.unwrap_or(self.offset)));
            }
        };
        if let Some(bucket) = bucket {
            compare(&format_args!("the burst of {}", bucket.burst()), bucket.burst(), self.rate);
        }
        for window in windows {
            compare(&format_args!("the window of {}/{}", window.limit, window.length), window.limit, self.windows);
        }
        if let Some(limit) = quota.limit {
            compare(&format_args!("the quota of {limit}/month"), limit, self.quota);
        }
        let of_meter = meter.and_then(|meter| Some((meter, self.plan.meters.get(meter)?.limit?)));
        if let Some((meter, limit)) = of_meter {
            compare(&format_args!("the {limit}/month of `{meter}`"), limit, self.meters);
        }
        below
    }
}

/// Keys that mean nothing for callers without an account.
fn check_public(table: &Table<'_>) {
    for (key, item) in table.own_keys() {
        let why = match key {
            "api" if item.flag() == Some(false) => "leave out the public routes instead",
            "max_keys" => "they have no keys",
            "stripe_prices" => "they cannot buy anything",
            "meters" if !item.is_vacant() => "they have no account whose meters could be counted",
            _ => continue,
        };
        table.reader.error(item.key_offset, format!("`public` is the plan of anonymous callers: {why}"));
    }
}

/// Reads the bucket of a rate and its burst.
fn read_bucket(rate: Option<&Item<'_>>, burst: Option<&Item<'_>>) -> (Option<Rate>, Option<Bucket>) {
    let Some(rate_item) = rate else {
        burst.and_then(read_burst);
        return (None, None);
    };
    if rate_item.is_unlimited() {
        if let Some(burst) = burst {
            let line = burst.reader.line(rate_item.key_offset);
            burst.reader.error(burst.key_offset, format!("`burst` contradicts the unlimited rate on line {line}"));
        }
        return (None, None);
    }
    let Some(rate) = read_rate(rate_item) else {
        // The burst is still read, so that what is wrong with it is known too.
        burst.and_then(read_burst);
        return (None, None);
    };
    let given = match burst {
        None => Some(default_burst(rate)),
        Some(item) => read_burst(item).filter(|burst| {
            if rate.count == 0 {
                let line = item.reader.line(rate_item.key_offset);
                item.error(format!("a burst of {burst} contradicts the rate on line {line}, which admits nothing"));
            }
            rate.count > 0
        }),
    };
    let bucket = given.and_then(|given| match Bucket::new(rate, given) {
        Ok(bucket) => Some(bucket),
        Err(problem) => {
            burst.unwrap_or(rate_item).error(problem.to_string());
            None
        }
    });
    (Some(rate), bucket)
}

fn read_burst(item: &Item<'_>) -> Option<u64> {
    item.count_or_say(1, UNITS_MAX, "; to admit nothing write a rate of 0")
}

fn read_rate(item: &Item<'_>) -> Option<Rate> {
    if !item.is_text() {
        return item.expected("a rate in quotes, such as \"600/minute\"");
    }
    item.parse_or_say("a rate such as \"600/minute\"", |text| {
        Rate::parse(text).map_err(|problem| format!("bad rate `{}`: {problem}", text.escape_debug()))
    })
}

fn read_windows(item: &Item<'_>) -> ArrayVec<Window, WINDOWS_MAX> {
    let mut windows = ArrayVec::new();
    let items = item.list().unwrap_or_default();
    if items.len() > WINDOWS_MAX {
        item.error(format!("a plan has at most {WINDOWS_MAX} windows, not {}", items.len()));
    }
    let mut lines: Vec<(Unit, usize)> = Vec::new();
    for item in items {
        let Some(rate) = read_rate(&item) else { continue };
        if rate.per == Unit::Second {
            item.error("a window lasts a minute, an hour, a day or up to 31d; limit seconds with `rate`");
            continue;
        }
        if let Some((length, line)) = lines.iter().find(|(length, _)| *length == rate.per) {
            item.error(format!("there is a window of one {length} on line {line} already"));
            continue;
        }
        lines.push((rate.per, item.reader.line(item.offset())));
        match Window::new(rate) {
            // What exceeds the number of windows has been reported above.
            Ok(window) => {
                if !windows.is_full() {
                    windows.push(window);
                }
            }
            Err(problem) => item.error(problem.to_string()),
        }
    }
    windows
}

/// Reads units a month, or the word for no limit.
pub(crate) fn read_quota(item: &Item<'_>) -> Option<Quota> {
    if item.is_unlimited() {
        return Some(Quota::default());
    }
    if !item.is_text() {
        return item.expected("a text such as \"10_000/month\", or \"unlimited\"");
    }
    let expected = "a quota such as \"10_000/month\", or \"unlimited\"";
    let limit = item.parse(expected, |text| {
        let (count, unit) = text.split_once('/')?;
        let count = parse_count(count.trim())?;
        (unit.trim() == "month" && count <= UNITS_MAX).then_some(count)
    })?;
    Some(Quota { limit: Some(limit) })
}

fn shown_text(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    if text.value.trim().is_empty() || text.value.chars().any(char::is_control) {
        item.error("this must be a line of text");
        return None;
    }
    Some(text.value)
}

/// The name of a feature.
pub(crate) fn feature(item: &Item<'_>) -> Option<String> {
    item.parse("the name of a feature: up to 64 letters, digits, `-`, `_` and `.`", |text| {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        fits.then(|| text.to_owned())
    })
}

/// Reads the prices of a plan, and whether it has any: those that are wrong are prices all the same.
fn read_prices(
    table: &Table<'_>,
    plan: &PlanName,
    prices: &mut BTreeMap<String, (PlanName, usize)>,
) -> (Vec<String>, bool) {
    let Some(item) = table.take("stripe_prices") else { return (Vec::new(), false) };
    let read = item.list_of(|item| stripe_price(item, plan, prices));
    let for_sale = read.as_ref().is_none_or(|prices| !prices.is_empty());
    (read.unwrap_or_default(), for_sale)
}

/// Reads a price, and reports it when another plan has it: then nobody could say which plan was bought.
fn stripe_price(item: &Item<'_>, plan: &PlanName, prices: &mut BTreeMap<String, (PlanName, usize)>) -> Option<String> {
    let price = item.parse("the id of a Stripe price, such as \"price_1Abc\"", |text| {
        let fits = (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| text.to_owned())
    })?;
    match prices.get(&price) {
        Some((other, offset)) if other != plan => {
            let line = item.reader.line(*offset);
            item.error(format!("this Stripe price buys the plan `{other}` on line {line} already"));
        }
        Some(_) => {}
        None => {
            prices.insert(price.clone(), (plan.clone(), item.offset()));
        }
    }
    Some(price)
}
