//! The policy as requests read it: plans, routes and CORS, prepared once and swapped whole.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tollgate_config::Policy;
use tollgate_domain::limit::LimitSet;
use tollgate_domain::{Plan, PlanName};

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
        let shared_limits = policy.plans.iter().map(|plan| (plan.name.clone(), Arc::new(shared(plan)))).collect();
        Self {
            generation,
            router: Router::new(&policy.routes),
            cors: policy.cors.as_ref().map(CorsRules::new),
            rates_per_key,
            shared_limits,
            policy,
        }
    }

    /// The limits that all keys of an account on this plan share.
    pub fn shared_limits(&self, plan: &Plan) -> Arc<LimitSet> {
        self.shared_limits.get(&plan.name).map_or_else(|| Arc::new(plan.limits.clone()), Arc::clone)
    }
}
