//! What differs between two plan tables and two lists of routes, whoever uses them.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_config::{Access, Policy, Route, UNMATCHED_ROUTE};
use tollgate_domain::{Plan, PlanName, QuotaPeriod};

/// What became of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Only the new table has it.
    Added,
    /// Only the table in force has it.
    Removed,
    /// Both have it, and it differs.
    Changed,
}

impl Change {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

/// One value that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The key in the file: `price`, `quota`, `meters.tokens`.
    pub(crate) key: String,
    /// What is in force; `None` for nothing.
    pub(crate) from: Option<String>,
    /// What would be.
    pub(crate) to: Option<String>,
}

/// A plan that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlanChange {
    pub(crate) plan: PlanName,
    pub(crate) change: Change,
    /// For a plan that is added or removed: all that it has.
    pub(crate) differences: Vec<Difference>,
}

/// A route that differs in whom it lets in, or in what a call takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteChange {
    pub(crate) route: String,
    pub(crate) change: Change,
    pub(crate) differences: Vec<Difference>,
}

/// A route that the accounts of a plan lose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LostRoute {
    pub(crate) route: String,
    /// What they would need.
    pub(crate) needs: String,
}

/// Every plan that differs, in order of name.
pub(crate) fn plan_changes(old: &Policy, new: &Policy) -> Vec<PlanChange> {
    let names: BTreeSet<&PlanName> = old.plans.iter().chain(new.plans.iter()).map(|plan| &plan.name).collect();
    let table =
        |policy: &Policy, name: &PlanName| policy.plans.get(name.as_str()).map(|plan| values(plan)).unwrap_or_default();
    let changes = names.into_iter().map(|name| {
        let change = change(old.plans.get(name.as_str()).is_some(), new.plans.get(name.as_str()).is_some());
        PlanChange { plan: name.clone(), change, differences: differences(&table(old, name), &table(new, name)) }
    });
    changes.filter(|change| change.change != Change::Changed || !change.differences.is_empty()).collect()
}

/// Every route that differs, by its name: those in force first.
pub(crate) fn route_changes(old: &Policy, new: &Policy) -> Vec<RouteChange> {
    let find = |policy: &Policy, name: &str| -> Option<BTreeMap<String, String>> {
        policy.routes.iter().find(|route| route.name.as_str() == name).map(route_values)
    };
    let mut names: Vec<&str> = Vec::new();
    for route in old.routes.iter().chain(&new.routes) {
        if !names.contains(&route.name.as_str()) {
            names.push(route.name.as_str());
        }
    }
    let changes = names.into_iter().map(|name| {
        let (before, after) = (find(old, name), find(new, name));
        let change = change(before.is_some(), after.is_some());
        let differences = differences(&before.unwrap_or_default(), &after.unwrap_or_default());
        RouteChange { route: name.to_owned(), change, differences }
    });
    changes.filter(|change| change.change != Change::Changed || !change.differences.is_empty()).collect()
}

/// The routes that accounts lose which go from one plan to another; `None` is a plan without access, or none.
///
/// A route that is gone is nobody's to lose here: which of the other routes its calls meet, their paths would tell.
pub(crate) fn lost_routes(old: (&Policy, Option<&Plan>), new: (&Policy, Option<&Plan>)) -> Vec<LostRoute> {
    let (Some(old_plan), Some(new_plan)) = (old.1, new.1) else { return Vec::new() };
    let named = |route: &&Route| route.name.as_str() != UNMATCHED_ROUTE;
    let lost = old.0.routes.iter().filter(named).filter_map(|route| {
        if needs(route, old_plan).is_some() {
            return None;
        }
        let after = new.0.routes.iter().find(|other| other.name == route.name)?;
        Some(LostRoute { route: route.name.to_string(), needs: needs(after, new_plan)? })
    });
    lost.collect()
}

/// What the owner of a key on this plan lacks for a route; `None` where it may call.
fn needs(route: &Route, plan: &Plan) -> Option<String> {
    match route.access {
        Access::Public | Access::Pass => return None,
        Access::Jwt => return Some("a token of the backend's own sign-in".to_owned()),
        Access::Key | Access::Optional => {}
    }
    if let Some(least) = route.min_plan.as_ref().filter(|least| plan.rank < least.rank) {
        return Some(format!("plan `{}` or one of its rank", least.name));
    }
    let feature = route.feature.as_deref().filter(|feature| !plan.features.contains(*feature));
    feature.map(|feature| format!("the feature `{feature}`"))
}

fn change(before: bool, after: bool) -> Change {
    match (before, after) {
        (false, _) => Change::Added,
        (true, false) => Change::Removed,
        (true, true) => Change::Changed,
    }
}

fn differences(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<Difference> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let all = keys.into_iter().map(|key| Difference {
        key: key.clone(),
        from: old.get(key).cloned(),
        to: new.get(key).cloned(),
    });
    all.filter(|difference| difference.from != difference.to).collect()
}

/// A plan's values in the words of the file; what does not limit is left out.
fn values(plan: &Plan) -> BTreeMap<String, String> {
    let Plan {
        name: _,
        rank,
        api,
        // What customers are shown decides nothing; a price is all of it that somebody pays.
        display_name: _,
        description: _,
        highlights: _,
        price,
        rate,
        limits,
        meters,
        quota_period,
        max_keys,
        features,
        stripe_prices: _,
    } = plan;
    let windows: Vec<String> =
        limits.windows.iter().map(|window| format!("{}/{}", window.limit, window.length)).collect();
    let period = match quota_period {
        QuotaPeriod::Billing => "billing",
        QuotaPeriod::Calendar => "calendar",
        QuotaPeriod::Rolling30Days => "rolling-30d",
    };
    let monthly = |limit: u64| format!("{limit}/month");
    let mut values = BTreeMap::new();
    let mut put = |key: &str, value: Option<String>| values.extend(value.map(|value| (key.to_owned(), value)));
    put("rank", Some(rank.to_string()));
    put("api", Some(api.to_string()));
    put("price", price.as_ref().map(ToString::to_string));
    put("rate", rate.map(|rate| rate.to_string()));
    put("burst", limits.bucket.map(|bucket| bucket.burst().to_string()));
    put("windows", (!windows.is_empty()).then(|| windows.join(", ")));
    put("quota", limits.quota.limit.map(monthly));
    put("quota_period", Some(period.to_owned()));
    put("max_keys", max_keys.map(|count| count.to_string()));
    put("features", (!features.is_empty()).then(|| features.iter().cloned().collect::<Vec<_>>().join(", ")));
    for (name, quota) in meters {
        put(&format!("meters.{name}"), quota.limit.map(monthly));
    }
    values
}

/// A route's values as far as they decide whom it lets in and what a call takes.
fn route_values(route: &Route) -> BTreeMap<String, String> {
    let access = match route.access {
        Access::Public => "public",
        Access::Optional => "optional",
        Access::Pass => "pass",
        Access::Key => "key",
        Access::Jwt => "jwt",
    };
    let mut values = BTreeMap::new();
    let mut put = |key: &str, value: Option<String>| values.extend(value.map(|value| (key.to_owned(), value)));
    put("path", Some(route.path.to_string()));
    put("methods", route.methods.map(|methods| methods.to_string()));
    put("access", Some(access.to_owned()));
    put("min_plan", route.min_plan.as_ref().map(|least| least.name.to_string()));
    put("feature", route.feature.as_deref().map(ToOwned::to_owned));
    put("cost", Some(route.cost.upfront().to_string()));
    put("meter", route.meter.as_ref().map(ToString::to_string));
    values
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn policy(text: &str) -> Policy {
        let environment = |_: &str| None;
        let loaded = tollgate_config::parse(text, Path::new("a.toml"), &environment);
        loaded.unwrap_or_else(|problems| panic!("{problems}")).config.policy
    }

    fn said(differences: &[Difference]) -> Vec<String> {
        let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        differences.iter().map(|one| format!("{} {} -> {}", one.key, side(&one.from), side(&one.to))).collect()
    }

    #[test]
    fn plans_differ_by_what_they_allow_and_cost() {
        let old = policy(
            "[plans.gone]\n[plans.same]\nrate = \"60/minute\"\ndescription = \"old\"\n\
             [plans.pro]\nprice = \"29 USD/month\"\nrate = \"600/minute\"\nquota = \"10/month\"\nfeatures = [\"llm\"]\n\
             meters = { tokens = \"5/month\", scans = \"unlimited\" }\n",
        );
        let new = policy(
            "[plans.fresh]\nquota = \"1/month\"\n[plans.same]\nrate = \"60/minute\"\ndescription = \"new\"\n\
             [plans.pro]\nrank = 2\nprice = \"39 USD/month\"\nrate = \"600/minute\"\nquota = \"unlimited\"\n\
             quota_period = \"calendar\"\nmax_keys = 3\nmeters = { tokens = \"4/month\", scans = \"unlimited\" }\n",
        );
        let changes = plan_changes(&old, &new);
        let kinds: Vec<_> = changes.iter().map(|change| (change.plan.as_str(), change.change)).collect();
        assert_eq!(kinds, [("fresh", Change::Added), ("gone", Change::Removed), ("pro", Change::Changed)]);
        let expected = [
            "features llm -> -",
            "max_keys - -> 3",
            "meters.tokens 5/month -> 4/month",
            "price 29 USD/month -> 39 USD/month",
            "quota 10/month -> -",
            "quota_period billing -> calendar",
            "rank 0 -> 2",
        ];
        assert_eq!(said(&changes[2].differences), expected);
    }

    #[test]
    fn routes_are_lost_by_rank_feature_and_access() {
        let old = policy(
            "[plans.pro]\nrank = 1\nfeatures = [\"llm\"]\n[plans.team]\nrank = 2\nfeatures = [\"llm\"]\n\
             [[routes]]\npath = \"/a\"\n[[routes]]\npath = \"/b\"\nfeature = \"llm\"\n[[routes]]\npath = \"/c\"\n\
             [[routes]]\npath = \"/d\"\nmin_plan = \"team\"\n[[routes]]\npath = \"/e\"\naccess = \"public\"\n",
        );
        let new = policy(
            "[auth.jwt]\nsecret = \"0123456789abcdef0123456789abcdef\"\n\
             [plans.pro]\nrank = 1\n[plans.team]\nrank = 2\nfeatures = [\"llm\"]\n\
             [[routes]]\npath = \"/a\"\nmin_plan = \"team\"\n[[routes]]\npath = \"/b\"\nfeature = \"llm\"\n\
             [[routes]]\npath = \"/d\"\nmin_plan = \"team\"\n[[routes]]\npath = \"/e\"\naccess = \"jwt\"\n",
        );
        let lost = |plan: &str| -> Vec<String> {
            let (before, after) = (old.plans.get(plan), new.plans.get(plan));
            let lost = lost_routes((&old, before.map(|plan| &**plan)), (&new, after.map(|plan| &**plan)));
            lost.into_iter().map(|lost| format!("{}: {}", lost.route, lost.needs)).collect()
        };
        let sign_in = "e: a token of the backend's own sign-in";
        assert_eq!(lost("pro"), ["a: plan `team` or one of its rank", "b: the feature `llm`", sign_in]);
        assert_eq!(lost("team"), [sign_in]);
        assert!(lost_routes((&old, None), (&new, None)).is_empty());
        let changes: Vec<_> = route_changes(&old, &new).iter().map(|one| (one.route.clone(), one.change)).collect();
        let expected = [("a", Change::Changed), ("c", Change::Removed), ("e", Change::Changed)];
        assert_eq!(changes, expected.map(|(route, change)| (route.to_owned(), change)));
    }
}
