//! Plans, routes and CORS, as values.

use tollgate_domain::{LimitSet, Plan, Quota, QuotaPeriod};

use super::{Entries, on_limiter_down_value};
use crate::cors::{Allowed, Cors};
use crate::route::{Access, Condition, Cost, Route};
use crate::value::Value;

pub(super) fn plan(plan: &Plan) -> Entries {
    let Plan {
        name: _,
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
    } = plan;
    let LimitSet { bucket, windows, quota } = limits;
    let quota_period = match quota_period {
        QuotaPeriod::Billing => "billing",
        QuotaPeriod::Calendar => "calendar",
        QuotaPeriod::Rolling30Days => "rolling-30d",
    };
    let unlimited_or = |limit: Option<Value>| Some(limit.unwrap_or_else(|| Value::text("unlimited")));
    let a_month = |quota: &Quota| quota.limit.map(|limit| Value::Text(format!("{limit}/month")));
    let meters = meters.iter().filter_map(|(name, quota)| Some((name.to_string(), unlimited_or(a_month(quota))?)));
    let windows = windows.iter().map(|window| format!("{}/{}", window.limit, window.length));
    // A bucket that admits nothing has no burst that the file could say.
    let burst = bucket.map(|bucket| bucket.burst()).filter(|burst| *burst > 0);
    vec![
        ("rank", Some(Value::Integer(*rank))),
        ("api", Some(Value::Flag(*api))),
        ("display_name", display_name.clone().map(Value::Text)),
        ("description", description.clone().map(Value::Text)),
        ("highlights", Some(Value::list(highlights))),
        ("price", price.as_ref().map(Value::text)),
        ("rate", unlimited_or(rate.as_ref().map(Value::text))),
        ("burst", burst.map(Value::Number)),
        ("windows", Some(Value::list(windows))),
        ("quota", unlimited_or(a_month(quota))),
        ("meters", Some(Value::Table(meters.collect())).filter(|_| plan.name.as_str() != "public")),
        ("quota_period", Some(Value::text(quota_period))),
        ("max_keys", unlimited_or(max_keys.map(Value::Number)).filter(|_| plan.name.as_str() != "public")),
        ("features", Some(Value::list(features))),
        ("stripe_prices", Some(Value::list(stripe_prices)).filter(|_| plan.name.as_str() != "public")),
    ]
}

pub(super) fn route(route: &Route) -> Entries {
    let Route {
        index: _,
        name,
        path,
        methods,
        headers,
        query,
        access,
        min_plan,
        feature,
        cost,
        meter,
        max_body,
        encoded_slash_keep,
        path_params_keep,
        on_limiter_down,
    } = route;
    let access_word = match access {
        Access::Public => "public",
        Access::Optional => "optional",
        Access::Pass => "pass",
        Access::Key => "key",
        Access::Jwt => "jwt",
    };
    let (cost, cost_max) = match cost {
        Cost::Fixed(units) => (Some(*units).filter(|_| !matches!(access, Access::Pass | Access::Jwt)), None),
        Cost::UpTo(units) => (None, Some(*units)),
    };
    let headers = headers.iter().map(|(name, condition)| (name.to_string(), condition_value(condition)));
    let query = query.iter().map(|(name, condition)| (name.to_string(), condition_value(condition)));
    let keep = |keep: bool| Some(Value::text(if keep { "keep" } else { "refuse" }));
    vec![
        ("name", Some(Value::text(name))),
        ("path", Some(Value::text(path))),
        ("methods", methods.map(|methods| Value::list(methods.iter()))),
        ("headers", Some(Value::Table(headers.collect()))),
        ("query", Some(Value::Table(query.collect()))),
        ("access", Some(Value::text(access_word))),
        ("min_plan", min_plan.as_ref().map(|least| Value::text(&least.name))),
        ("feature", feature.as_ref().map(Value::text)),
        ("cost", cost.map(Value::Number)),
        ("cost_max", cost_max.map(Value::Number)),
        ("meter", meter.as_ref().map(Value::text)),
        ("max_body", max_body.map(Value::byte_limit)),
        ("encoded_slash", keep(*encoded_slash_keep)),
        ("path_params", keep(*path_params_keep)),
        ("on_limiter_down", on_limiter_down.map(on_limiter_down_value)),
    ]
}

fn condition_value(condition: &Condition) -> Value {
    match condition {
        Condition::Present => Value::Flag(true),
        Condition::Equals(text) => Value::text(text),
    }
}

pub(super) fn cors(cors: &Cors) -> Entries {
    fn allowed<T: ToString>(allowed: &Allowed<T>) -> Option<Value> {
        match allowed {
            Allowed::Any => Some(Value::list(["*"])),
            Allowed::Only(items) => Some(Value::list(items.iter().map(T::to_string))).filter(|_| !items.is_empty()),
        }
    }
    let Cors { origins, methods, headers, credentials } = cors;
    vec![
        ("origins", allowed(origins)),
        ("methods", allowed(methods)),
        ("headers", allowed(headers)),
        ("credentials", Some(Value::Flag(*credentials))),
    ]
}
