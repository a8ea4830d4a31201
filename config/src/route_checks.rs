//! What is wrong between routes, and between routes and plans.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};

use crate::gateway::MountPath;
use crate::methods::MethodSet;
use crate::path::{PathPattern, Segment};
use crate::plans::{PlacedPlan, Plans};
use crate::reader::Reader;
use crate::route::{Access, Condition, Route};
use crate::routes::PlacedRoute;

/// Reports everything that only shows when all routes and plans are known.
pub(crate) fn check(routes: &[PlacedRoute], plans: &Plans, mount: Option<&MountPath>, reader: &Reader<'_>) {
    let unreachable = check_reachable(routes, reader);
    check_names(routes, &unreachable, reader);
    check_costs(routes, plans, reader);
    check_features(routes, plans, reader);
    check_mount(routes, mount, reader);
    let anonymous = routes.iter().find(|placed| matches!(placed.route.access, Access::Public | Access::Optional));
    if let Some(placed) = anonymous.filter(|_| plans.public().is_none() && !reader.lost_plans()) {
        reader.warning(placed.offset, "anonymous callers are not limited: there is no [plans.public]");
    }
}

/// Reports routes that earlier ones leave nothing to match, and returns which.
fn check_reachable(routes: &[PlacedRoute], reader: &Reader<'_>) -> HashSet<usize> {
    let mut unreachable = HashSet::new();
    let mut earlier = PatternTree::default();
    for (index, placed) in routes.iter().enumerate() {
        let mut covering = Vec::new();
        earlier.collect_covering(&placed.route.path, &mut covering);
        covering.sort_unstable();
        let methods = placed.route.methods.unwrap_or(MethodSet::ALL);
        let mut covered = MethodSet::EMPTY;
        let mut by = Vec::new();
        for other in covering.into_iter().map(|index| &routes[index]) {
            let theirs = other.route.methods.unwrap_or(MethodSet::ALL);
            let adds = !covered.is_superset(theirs.intersection(methods));
            if adds && asks_no_more(&other.route, &placed.route) {
                covered = covered.union(theirs);
                by.push(other);
            }
        }
        if covered.is_superset(methods) {
            report_unreachable(placed, &by, reader);
            unreachable.insert(index);
        }
        earlier.insert(&placed.route.path, index);
    }
    unreachable
}

/// Reports names that two routes have. A route that can never match is reported as that already.
fn check_names(routes: &[PlacedRoute], unreachable: &HashSet<usize>, reader: &Reader<'_>) {
    let mut first_offsets = HashMap::new();
    for placed in routes.iter().filter(|placed| !unreachable.contains(&placed.route.index)) {
        let (Some(offset), name) = (placed.name, &placed.route.name) else { continue };
        match first_offsets.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(offset);
            }
            Entry::Occupied(first) => {
                let line = reader.line(*first.get());
                reader.error(offset, format!("the route on line {line} has the name `{name}` already"));
            }
        }
    }
}

fn report_unreachable(placed: &PlacedRoute, by: &[&PlacedRoute], reader: &Reader<'_>) {
    let same = by.iter().find(|other| {
        let (one, another) = (&other.route, &placed.route);
        (&one.path, one.methods) == (&another.path, another.methods) && asks_no_more(another, one)
    });
    if let Some(other) = same {
        let line = reader.line(other.offset);
        reader.error(placed.offset, format!("duplicate route: the route on line {line} matches exactly the same"));
        return;
    }
    let others: Vec<_> =
        by.iter().map(|other| format!("`{}` on line {}", other.route.path, reader.line(other.offset))).collect();
    let come = if others.len() == 1 { "comes" } else { "come" };
    let others = others.join(" and ");
    reader.error(placed.offset, format!("this route can never match: {others} {come} first; move this one up"));
}

/// Whether every condition of one route is met by all that meets the other's.
fn asks_no_more(one: &Route, other: &Route) -> bool {
    fn implied<N: PartialEq>(asked: &[(N, Condition)], given: &[(N, Condition)]) -> bool {
        asked.iter().all(|(name, condition)| {
            given.iter().any(|(other, met)| other == name && (*condition == Condition::Present || condition == met))
        })
    }
    implied(&one.headers, &other.headers) && implied(&one.query, &other.query)
}

/// Patterns by their segments, so that those that cover another are found without asking each.
#[derive(Default)]
struct PatternTree {
    literals: HashMap<Box<str>, Self>,
    parameter: Option<Box<Self>>,
    exact: Vec<usize>,
    below: Vec<usize>,
}

impl PatternTree {
    fn insert(&mut self, pattern: &PathPattern, index: usize) {
        let mut node = self;
        for segment in pattern.segments() {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::Parameter(_) => &mut **node.parameter.get_or_insert_default(),
            };
        }
        if pattern.matches_below() { &mut node.below } else { &mut node.exact }.push(index);
    }

    /// The patterns that match every path which this one matches.
    fn collect_covering(&self, pattern: &PathPattern, found: &mut Vec<usize>) {
        self.collect(pattern.segments(), pattern.matches_below(), found);
    }

    fn collect(&self, segments: &[Segment], below: bool, found: &mut Vec<usize>) {
        if !segments.is_empty() || below {
            found.extend(&self.below);
        }
        let Some((segment, rest)) = segments.split_first() else {
            if !below {
                found.extend(&self.exact);
            }
            return;
        };
        if let Segment::Literal(text) = segment {
            if let Some(node) = self.literals.get(text) {
                node.collect(rest, below, found);
            }
            if text.is_empty() {
                return;
            }
        }
        if let Some(node) = &self.parameter {
            node.collect(rest, below, found);
        }
    }
}

/// Reports costs that a plan which may use the route could never pay: once a route, naming every limit.
fn check_costs(routes: &[PlacedRoute], plans: &Plans, reader: &Reader<'_>) {
    for placed in routes {
        let Some(offset) = placed.cost else { continue };
        let cost = placed.route.cost.upfront();
        let mut limits = Vec::new();
        for plan in plans.iter().filter(|plan| may_use(plan, &placed.route, plans)) {
            for (limit, at) in plan.limits_below(cost, placed.route.meter.as_ref()) {
                limits.push(format!("{limit} of the plan `{}` on line {}", plan.plan.name, reader.line(at)));
            }
        }
        if !limits.is_empty() {
            let limits = limits.join(", ");
            reader.error(offset, format!("a cost of {cost} is above {limits}: every such call would be refused"));
        }
    }
}

/// Whether calls on a route can be debited from a plan's limits.
fn may_use(placed: &PlacedPlan, route: &Route, plans: &Plans) -> bool {
    let plan = &placed.plan;
    let is_public = plans.public().is_some_and(|public| std::ptr::eq(public, placed));
    let by_access = match route.access {
        Access::Pass | Access::Jwt => false,
        Access::Public => is_public,
        Access::Optional => is_public || plan.api,
        Access::Key => !is_public && plan.api,
    };
    by_access
        && route.min_plan.as_ref().is_none_or(|least| plan.rank >= least.rank)
        && route.feature.as_ref().is_none_or(|feature| plan.features.contains(&**feature))
}

/// Warns of features that no plan has: nobody could call.
fn check_features(routes: &[PlacedRoute], plans: &Plans, reader: &Reader<'_>) {
    let features: BTreeSet<&str> = plans.iter().flat_map(|placed| &placed.plan.features).map(String::as_str).collect();
    for placed in routes {
        let (Some(feature), Some(offset)) = (&placed.route.feature, placed.feature) else { continue };
        if !features.contains(&**feature) && !reader.lost_plans() {
            let hint = match crate::suggest::nearest(feature, features.iter().copied()) {
                Some(near) => format!("; did you mean \"{near}\"?"),
                None => String::new(),
            };
            reader.warning(offset, format!("no plan has the feature \"{feature}\": nobody can call this route{hint}"));
        }
    }
}

/// Warns of routes whose paths the gateway answers itself.
fn check_mount(routes: &[PlacedRoute], mount: Option<&MountPath>, reader: &Reader<'_>) {
    let Some(mount) = mount else { return };
    for placed in routes {
        let path = placed.route.path.to_string();
        if mount.strip(&path).is_some() {
            reader.warning(
                placed.offset,
                format!("`gateway.mount` takes every path under {}; this route is never asked", mount.as_str()),
            );
        }
    }
}
