//! Reads `[[routes]]`: each route by itself. What only shows between routes and plans is checked elsewhere.

use std::collections::{HashMap, HashSet};

use http::{HeaderName, Method};
use tollgate_domain::RouteName;
use tollgate_domain::limit::UNITS_MAX;

use crate::headers::header_name;
use crate::item::Item;
use crate::limits::OnLimiterDown;
use crate::meters;
use crate::methods::MethodSet;
use crate::path::{PathPattern, Segment};
use crate::plans::{Plans, feature};
use crate::reader::Table;
use crate::route::{Access, Condition, Cost, MinPlan, Route, UNMATCHED_ROUTE};
use crate::suggest::nearest;

/// A route and its places.
pub(crate) struct PlacedRoute {
    pub(crate) route: Route,
    /// Where it begins, or its path where that is known: what a diagnostic about the whole route points at.
    pub(crate) offset: usize,
    /// Where a name of its own stands.
    pub(crate) name: Option<usize>,
    pub(crate) feature: Option<usize>,
    pub(crate) cost: Option<usize>,
    pub(crate) meter: Option<usize>,
    pub(crate) access: Option<usize>,
}

/// Reads every route that has a path, in file order.
pub(crate) fn read(item: Option<&Item<'_>>, plans: &Plans) -> Vec<PlacedRoute> {
    let Some(item) = item else { return Vec::new() };
    if !item.is_list() {
        item.reader.error(item.key_offset, "write each route under [[routes]], in double brackets");
        return Vec::new();
    }
    let tables = item.list().unwrap_or_default().into_iter().filter_map(|item| item.table("routes.*"));
    let mut routes: Vec<_> = tables.filter_map(|table| read_route(&table, plans)).collect();
    for (index, placed) in routes.iter_mut().enumerate() {
        placed.route.index = index;
    }
    number_derived_names(&mut routes);
    routes
}

fn read_route(table: &Table<'_>, plans: &Plans) -> Option<PlacedRoute> {
    let mut route = Route::unmatched(0);
    let Route {
        index: _,
        name: _,
        path: _,
        methods,
        headers,
        query,
        access,
        min_plan,
        feature: route_feature,
        cost,
        meter,
        max_body,
        encoded_slash_keep,
        path_params_keep,
        on_limiter_down,
    } = &mut route;
    let name_item = table.take("name");
    let path_item = table.take("path");
    let name = name_item.as_ref().and_then(read_name);
    table.read_optional("methods", methods, read_methods);
    table.read("headers", headers, |item| item.table("routes.*.headers").map(|table| read_headers(&table)));
    table.read("query", query, |item| item.table("routes.*.query").map(|table| read_query(&table)));
    table.read("access", access, read_access);
    table.read_optional("min_plan", min_plan, |item| read_min_plan(item, plans));
    table.read_optional("feature", route_feature, |item| feature(item).map(Into::into));
    let cost_at = read_cost(table, cost);
    table.read_optional("meter", meter, meters::name);
    table.read_optional("max_body", max_body, Item::byte_limit);
    let keep = |item: &Item<'_>| item.word(&[("refuse", false), ("keep", true)]);
    table.read("encoded_slash", encoded_slash_keep, keep);
    table.read("path_params", path_params_keep, keep);
    table.read_optional("on_limiter_down", on_limiter_down, OnLimiterDown::read);
    for (key, what) in [
        ("cache", "caching answers"),
        ("upgrade", "WebSocket"),
        ("items_max", "changing bodies"),
        ("fields", "changing bodies"),
        ("drop_fields", "changing bodies"),
    ] {
        table.later(key, what);
    }
    check_access(table, &route);
    let unknown = table.finish();
    let Some(path_item) = path_item else {
        if !unknown.may_hold("path") {
            table.reader.error(table.offset, "this route has no `path`");
        }
        return None;
    };
    route.path = path_item
        .parse_or_say("the path of a route", |text| PathPattern::parse(text).map_err(|problem| problem.to_string()))?;
    check_path(&path_item, &route);
    let given = name.is_some();
    route.name = name.unwrap_or_else(|| derived_name(&route.path));
    Some(PlacedRoute {
        route,
        offset: path_item.offset(),
        name: name_item.filter(|_| given).map(|item| item.offset()),
        feature: table.take("feature").map(|item| item.offset()),
        cost: cost_at,
        meter: table.take("meter").map(|item| item.offset()),
        access: table.take("access").map(|item| item.offset()),
    })
}

fn read_name(item: &Item<'_>) -> Option<RouteName> {
    let name = item.parse("a name: up to 64 letters, digits, `-`, `_`, `.` and `/`", RouteName::new)?;
    if name.as_str() == UNMATCHED_ROUTE {
        item.error(format!("`{UNMATCHED_ROUTE}` is the name of what no route matches; choose another"));
        return None;
    }
    Some(name)
}

fn read_methods(item: &Item<'_>) -> Option<MethodSet> {
    let methods = item.list_of(read_method)?;
    if methods.is_empty() {
        item.error("an empty list matches no method; leave `methods` out to match every one");
        return None;
    }
    let mut set = MethodSet::EMPTY;
    for method in &methods {
        set.insert(method);
    }
    Some(set)
}

/// Reads a method that the gateway lets through.
pub(crate) fn read_method(item: &Item<'_>) -> Option<Method> {
    let text = item.text()?;
    let known = MethodSet::ALL.iter().find(|method| method.as_str() == text.value);
    if known.is_none() {
        let near = MethodSet::ALL.iter().find(|method| {
            nearest(&text.written.to_lowercase(), [method.as_str().to_lowercase().as_str()].into_iter()).is_some()
        });
        let hint = near.map_or_else(String::new, |method| format!("; did you mean \"{method}\"?"));
        item.refuse(&text, &format!("a method that is let through: one of {}{hint}", MethodSet::ALL));
    }
    known
}

fn read_headers(table: &Table<'_>) -> Vec<(HeaderName, Condition)> {
    let mut headers: Vec<(HeaderName, Condition)> = Vec::new();
    for (key, item) in table.own_keys() {
        let Some(name) = header_name(&item, key) else { continue };
        if headers.iter().any(|(other, _)| *other == name) {
            item.reader.error(item.key_offset, format!("the header `{name}` stands here twice"));
        } else if let Some(condition) = read_condition(&item) {
            headers.push((name, condition));
        }
    }
    // The order says nothing, so that of the names makes files that mean the same alike.
    headers.sort_unstable_by(|one, other| one.0.as_str().cmp(other.0.as_str()));
    headers
}

fn read_query(table: &Table<'_>) -> Vec<(Box<str>, Condition)> {
    let mut query = Vec::new();
    for (key, item) in table.own_keys() {
        if item.is_table() {
            item.later("limits on query parameters");
        } else if let Some(condition) = read_condition(&item) {
            query.push((key.into(), condition));
        }
    }
    query
}

fn read_condition(item: &Item<'_>) -> Option<Condition> {
    if item.is_text() {
        return item.text().map(|text| Condition::Equals(text.value.into()));
    }
    let present = item.flag()?;
    if !present {
        item.error("write true for \"is there\", or the exact value in quotes");
    }
    present.then_some(Condition::Present)
}

fn read_access(item: &Item<'_>) -> Option<Access> {
    item.word(&[
        ("key", Access::Key),
        ("public", Access::Public),
        ("optional", Access::Optional),
        ("pass", Access::Pass),
        ("jwt", Access::Jwt),
    ])
}

fn read_min_plan(item: &Item<'_>, plans: &Plans) -> Option<MinPlan> {
    let placed = plans.read_name(item)?;
    let name = placed.plan.name.clone();
    if !placed.plan.api {
        let line = item.reader.line(placed.offset);
        item.error(format!("the plan `{name}` on line {line} has no API access (`api = false`)"));
    }
    Some(MinPlan { name, rank: placed.plan.rank })
}

/// Reads `cost` or `cost_max`, and where it stands.
fn read_cost(table: &Table<'_>, cost: &mut Cost) -> Option<usize> {
    match (table.take("cost"), table.take("cost_max")) {
        (Some(fixed), Some(most)) => {
            let line = table.reader.line(fixed.key_offset);
            table.reader.error(most.key_offset, format!("`cost_max` contradicts `cost` on line {line}; keep one"));
            None
        }
        (Some(item), None) => {
            *cost = Cost::Fixed(item.count(0, UNITS_MAX)?);
            Some(item.offset())
        }
        (None, Some(item)) => {
            *cost = Cost::UpTo(item.count(1, UNITS_MAX)?);
            Some(item.offset())
        }
        (None, None) => None,
    }
}

/// Keys that ask something of a caller whom the access does not ask for anything.
fn check_access(table: &Table<'_>, route: &Route) {
    let (access, contradictions): (_, &[&'static str]) = match route.access {
        Access::Pass => ("pass", &["min_plan", "feature", "cost", "cost_max", "meter", "on_limiter_down"]),
        Access::Public => ("public", &["min_plan", "feature", "cost_max", "meter"]),
        Access::Jwt => ("jwt", &["min_plan", "feature", "cost", "cost_max", "meter", "on_limiter_down"]),
        Access::Key | Access::Optional => return,
    };
    for key in contradictions {
        if let Some(item) = table.take(key) {
            let why = match *key {
                "cost_max" if access == "public" => "an anonymous caller has no quota that an answer could settle",
                "meter" if access == "public" => "an anonymous caller has no meters",
                _ if access == "jwt" => "a token of sign-in has no plan and no limits; write access = \"key\"",
                _ if access == "pass" => "what passes straight through is neither checked nor counted",
                _ => "anyone may call it; write access = \"optional\" or \"key\"",
            };
            table.reader.error(item.key_offset, format!("`{key}` contradicts access = \"{access}\": {why}"));
        }
    }
}

/// A path that only requests can have which are refused before it matters.
fn check_path(item: &Item<'_>, route: &Route) {
    if route.path.has_literal_with("%2F") && !route.encoded_slash_keep {
        item.error("requests with `%2F` are refused here; add encoded_slash = \"keep\" to this route");
    }
    if route.path.has_literal_with(";") && !route.path_params_keep {
        item.error("requests with `;` are refused here; add path_params = \"keep\" to this route");
    }
}

/// A name made of the path: `/events/{id}` is `events-id`, `/auth/*` is `auth-all`, `/` is `root`.
fn derived_name(path: &PathPattern) -> RouteName {
    let words = path.segments().iter().map(|segment| match segment {
        Segment::Literal(text) | Segment::Parameter(text) => &**text,
    });
    let words: Vec<_> = words.chain(path.matches_below().then_some("all")).filter(|word| !word.is_empty()).collect();
    let joined = if words.is_empty() { "root".to_owned() } else { words.join("-") };
    let safe = |letter: char| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '-' };
    // Some room is left for what tells equal names apart.
    let safe: String = joined.chars().take(52).map(safe).collect();
    RouteName::new(&safe).expect("at most 52 letters, digits and `-_.`, and at least one")
}

/// Numbers the names that were derived from paths where they are taken already.
fn number_derived_names(routes: &mut [PlacedRoute]) {
    let reserved = RouteName::new(UNMATCHED_ROUTE).expect("the reserved name is a name");
    let given = routes.iter().filter(|placed| placed.name.is_some()).map(|placed| placed.route.name.clone());
    let mut taken: HashSet<RouteName> = given.chain([reserved]).collect();
    // How far the numbers of a name have come, so that many routes of one path do not each count from the start.
    let mut numbers: HashMap<RouteName, usize> = HashMap::new();
    for placed in routes.iter_mut().filter(|placed| placed.name.is_none()) {
        let base = placed.route.name.clone();
        let number = numbers.entry(base.clone()).or_insert(1);
        while !taken.insert(placed.route.name.clone()) {
            *number += 1;
            placed.route.name = RouteName::new(&format!("{base}-{number}")).expect("the room left is enough");
        }
    }
}
