//! `/admin/v1/config` and `/admin/v1/health`: what is in force, how the last reload went, whether the store answers.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use tollgate_config::{Access, Allowed, Condition, Config, Cors, Cost, Route};
use tollgate_domain::Plan;
use utoipa::ToSchema;

use crate::context::Context;
use crate::views::PlanView;

/// A plan as operators see it.
#[derive(Serialize, ToSchema)]
#[schema(as = OperatorPlan)]
struct OperatorPlanView {
    #[serde(flatten)]
    plan: PlanView,
    rank: i64,
    stripe_prices: Vec<String>,
}

impl OperatorPlanView {
    fn new(plan: &Plan) -> Self {
        Self { plan: PlanView::new(plan), rank: plan.rank, stripe_prices: plan.stripe_prices.clone() }
    }
}

/// A route as the file has it.
#[derive(Serialize, ToSchema)]
#[schema(as = Route)]
struct RouteView {
    name: String,
    path: String,
    /// Null matches every method.
    methods: Option<Vec<String>>,
    headers: Vec<ConditionView>,
    query: Vec<ConditionView>,
    access: &'static str,
    min_plan: Option<String>,
    feature: Option<String>,
    cost: u64,
    /// Whether the upstream may report a lower cost.
    cost_is_settled: bool,
    /// The meter that its cost is debited from as well.
    meter: Option<String>,
}

/// The configuration in force.
#[derive(ToSchema)]
#[schema(as = ConfigInForce)]
#[expect(dead_code, reason = "it describes what `show` writes")]
struct ConfigView {
    hash: String,
    loaded_at: String,
    /// Why the last reload failed; null where it did not.
    last_error: Option<String>,
    failed_reloads: u64,
    /// The settings that were changed in the file and wait for a restart.
    restart_needed: Vec<String>,
    default_plan: Option<String>,
    plans: Vec<OperatorPlanView>,
    routes: Vec<RouteView>,
    #[schema(value_type = Option<CorsSchema>)]
    cors: Option<CorsSchema>,
    /// The most asked-for settings.
    #[schema(schema_with = crate::openapi::any_object)]
    settings: Value,
    /// All of it as a file, secrets redacted.
    effective_toml: String,
}

/// What other origins may do.
#[derive(ToSchema)]
#[schema(as = Cors)]
#[expect(dead_code, reason = "it describes what `cors_view` writes")]
struct CorsSchema {
    origins: Vec<String>,
    methods: Vec<String>,
    headers: Vec<String>,
    credentials: bool,
}

/// How this process is.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
pub(super) struct HealthView {
    node: String,
    version: &'static str,
    started_at: String,
    /// `ok` or `unavailable`.
    store: &'static str,
    config_hash: String,
}

/// What a header or a query parameter must be.
#[derive(Serialize, ToSchema)]
#[schema(as = Condition)]
struct ConditionView {
    name: String,
    /// A text, or true for any.
    value: Value,
}

impl ConditionView {
    fn new(name: &str, condition: &Condition) -> Self {
        let value = match condition {
            Condition::Present => true.into(),
            Condition::Equals(text) => (**text).into(),
        };
        Self { name: name.into(), value }
    }
}

impl RouteView {
    fn new(route: &Route) -> Self {
        let headers = route.headers.iter().map(|(name, condition)| ConditionView::new(name.as_str(), condition));
        let query = route.query.iter().map(|(name, condition)| ConditionView::new(name, condition));
        Self {
            name: route.name.to_string(),
            path: route.path.to_string(),
            methods: route.methods.map(|methods| methods.iter().map(|method| method.to_string()).collect()),
            headers: headers.collect(),
            query: query.collect(),
            access: match route.access {
                Access::Public => "public",
                Access::Optional => "optional",
                Access::Pass => "pass",
                Access::Key => "key",
                Access::Jwt => "jwt",
            },
            min_plan: route.min_plan.as_ref().map(|plan| plan.name.to_string()),
            feature: route.feature.as_deref().map(Into::into),
            cost: route.cost.upfront(),
            cost_is_settled: matches!(route.cost, Cost::UpTo(_)),
            meter: route.meter.as_ref().map(ToString::to_string),
        }
    }
}

/// The configuration in force. Secrets are redacted.
#[utoipa::path(
    get, path = "/admin/v1/config", tag = "operation", operation_id = "operator_show_config",
    responses((status = 200, body = ConfigView)),
)]
pub(super) async fn show(State(context): State<Context>) -> Json<Value> {
    let policy = context.policy();
    let status = context.deps.live.status();
    let settings = &context.deps.settings;
    let config = Config { settings: (**settings).clone(), policy: (*policy).clone(), source: None };
    let plans: Vec<_> = policy.plans.iter().map(|plan| OperatorPlanView::new(plan)).collect();
    let routes: Vec<_> = policy.routes.iter().map(RouteView::new).collect();
    Json(json!({
        "hash": status.hash,
        "loaded_at": status.loaded_at.to_string(),
        "last_error": status.last_error,
        "failed_reloads": status.failures,
        "restart_needed": status.restart_needed,
        "default_plan": policy.plans.default_plan().map(|plan| plan.name.to_string()),
        "plans": plans,
        "routes": routes,
        "cors": policy.cors.as_ref().map(cors_view),
        "settings": {
            "gateway": {
                "listen": settings.gateway.listen.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "mount": settings.gateway.mount.as_ref().map(|mount| mount.as_str().to_owned()),
                "public_url": settings.gateway.public_url.as_ref().map(ToString::to_string),
            },
            "upstream": { "url": settings.upstream.url.to_string() },
            "admin": { "listen": settings.admin.listen.to_string() },
            "metrics": { "listen": settings.metrics.listen.to_string() },
            "keys": {
                "prefix": settings.keys.prefix.as_str(),
                "header": settings.keys.header.as_str(),
                "query": settings.keys.query.as_deref(),
                "peppered": settings.keys.pepper.is_some(),
            },
            "limits": { "enforce": settings.limits.enforce },
        },
        "effective_toml": config.to_redacted_toml(),
    }))
}

/// Whether this process can do its work.
#[utoipa::path(
    get, path = "/admin/v1/health", tag = "operation", operation_id = "operator_show_health",
    responses((status = 200, body = HealthView), (status = 503, body = HealthView, description = "The database does not answer.")),
)]
pub(super) async fn health(State(context): State<Context>) -> (StatusCode, Json<HealthView>) {
    let store = context.store().ping().await;
    if let Err(error) = &store {
        tracing::warn!(%error, "the store does not answer");
    }
    let status = if store.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let node = &context.deps.node;
    let body = HealthView {
        node: node.id.to_string(),
        version: node.version,
        started_at: node.started_at.to_string(),
        store: if store.is_ok() { "ok" } else { "unavailable" },
        config_hash: context.deps.live.status().hash.clone(),
    };
    (status, Json(body))
}

fn cors_view(cors: &Cors) -> Value {
    fn texts<T>(allowed: &Allowed<T>, text: impl Fn(&T) -> &str) -> Vec<String> {
        match allowed {
            Allowed::Any => vec!["*".into()],
            Allowed::Only(items) => items.iter().map(|item| text(item).to_owned()).collect(),
        }
    }
    json!({
        "origins": texts(&cors.origins, |origin| origin.as_str()),
        "methods": texts(&cors.methods, |method| method.as_str()),
        "headers": texts(&cors.headers, |header| header.as_str()),
        "credentials": cors.credentials,
    })
}
