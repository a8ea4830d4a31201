//! The policy as requests read it: plans, routes, meters and CORS, prepared once and swapped whole.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tollgate_config::{Policy, Route};
use tollgate_domain::limit::{LimitSet, Quota};
use tollgate_domain::{MeterId, MeterName, Plan, PlanName};

use crate::cors::CorsRules;
use crate::router::Router;

/// One policy, prepared. A request takes one when it starts and keeps it.
#[derive(Debug)]
pub struct Snapshot {
    /// Which policy this is; later ones have higher numbers.
    pub generation: u64,
    /// The policy itself.
    pub policy: Arc<Policy>,
    /// Its routes, indexed.
    pub router: Router,
    /// Its CORS rules, if any.
    pub cors: Option<CorsRules>,
    /// Whether bucket and windows are each key's own.
    pub rates_per_key: bool,
    shared_limits: HashMap<PlanName, Arc<LimitSet>, RandomState>,
    meters: HashMap<MeterName, MeterId, RandomState>,
}

impl Snapshot {
    /// Prepares a policy.
    pub fn new(policy: Arc<Policy>, generation: u64, rates_per_key: bool) -> Self {
        let shared = |plan: &Plan| {
            if rates_per_key {
                LimitSet { quota: plan.limits.quota, ..LimitSet::default() }
            } else {
                plan.limits.clone()
            }
        };
        let meters = policy.plans.iter().flat_map(|plan| plan.meters.keys());
        let meters = meters.chain(policy.routes.iter().filter_map(|route| route.meter.as_ref()));
        let meters = meters.map(|name| (name.clone(), name.id())).collect();
        let shared_limits = policy.plans.iter().map(|plan| (plan.name.clone(), Arc::new(shared(plan)))).collect();
        Self {
            generation,
            router: Router::new(&policy.routes),
            cors: policy.cors.as_ref().map(CorsRules::new),
            rates_per_key,
            shared_limits,
            meters,
            policy,
        }
    }

    /// The limits that all keys of an account on this plan share.
    pub fn shared_limits(&self, plan: &Plan) -> Arc<LimitSet> {
        self.shared_limits.get(&plan.name).map_or_else(|| Arc::new(plan.limits.clone()), Arc::clone)
    }

    /// The meter of this name, where a plan or a route has it; no other is counted.
    pub fn meter(&self, name: &str) -> Option<(&MeterName, MeterId)> {
        self.meters.get_key_value(name).map(|(name, id)| (name, *id))
    }

    /// The meter that a call on this route debits, and what the caller's plan allows of it. A meter that the plan does
    /// not have is counted all the same, so that nothing is missing once the caller has a plan that limits it.
    pub fn meter_debited(&self, route: &Route, plan: &Plan) -> Option<(MeterId, Quota)> {
        let name = route.meter.as_ref()?;
        let (_, id) = self.meter(name.as_str())?;
        Some((id, plan.meters.get(name).copied().unwrap_or(Quota { limit: None })))
    }
}
