//! Plans with meters, and calls as gateways count them, for the tests of what was used.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::Value;
use tollgate_config::{Policy, Secret, Settings, UsageConfig};
use tollgate_domain::{
    AccountId, KeyId, MeterName, NodeId, Period, Plan, PlanName, PlanTable, Quota, RouteName, SECOND_US, StatusClass,
    Timestamp, UsageBatch, UsageKey, UsageLine, UsageTally,
};
use tollgate_store::{History, Store};

use crate::harness::{Answer, NOON, Plane, policy};

/// What a backend reports with in these tests.
pub(crate) const SERVICE_TOKEN: &str = "service-token-of-the-tests";

/// A meter's name.
pub(crate) fn meter(name: &str) -> MeterName {
    MeterName::new(name).expect("a good name")
}

/// The plans of the harness; `pro` has 100 migrations, `team` tokens without a limit, and both have both.
pub(crate) fn metered() -> Policy {
    let plain = policy();
    let quota = |limit| Quota { limit };
    let plans = plain.plans.iter().map(|plan| {
        let mut plan = Plan::clone(plan);
        match plan.name.as_str() {
            "pro" => plan.meters = [(meter("migrations"), quota(Some(100))), (meter("tokens"), quota(None))].into(),
            "team" => plan.meters = [(meter("migrations"), quota(None)), (meter("tokens"), quota(None))].into(),
            _ => {}
        }
        plan
    });
    let plans = PlanTable::new(plans, PlanName::new("free"));
    Policy { plans, ..plain }
}

/// A control plane with these plans, a service token, and `migrations` reported by customers.
pub(crate) async fn plane() -> Plane {
    plane_with(UsageConfig::default()).await
}

/// The same with more settings of `[usage]`.
pub(crate) async fn plane_with(usage: UsageConfig) -> Plane {
    let usage = UsageConfig {
        client_reported: vec![meter("migrations")],
        service_token: Some(Secret::new(SERVICE_TOKEN)),
        ..usage
    };
    let plane = Plane::with(Settings { usage, ..Settings::default() }).await;
    plane.live.apply(metered(), "metered".into(), Vec::new(), NOON);
    plane
}

/// Calls of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted<'a> {
    pub(crate) key: &'a Value,
    pub(crate) at: Timestamp,
    pub(crate) route: &'a str,
    pub(crate) status: StatusClass,
    pub(crate) meter: Option<&'a str>,
    pub(crate) calls: u64,
    pub(crate) charged: u64,
    pub(crate) refunded: u64,
}

impl<'a> Counted<'a> {
    /// So many successful calls of `events`, a unit each.
    pub(crate) fn of(key: &'a Value, at: Timestamp, calls: u64) -> Self {
        let status = StatusClass::Success;
        Self { key, at, route: "events", status, meter: None, calls, charged: calls, refunded: 0 }
    }

    fn line(&self) -> UsageLine {
        let tally = UsageTally {
            calls: self.calls,
            units_debited: if self.meter.is_some() { 0 } else { self.charged },
            units_charged: self.charged,
            units_refunded: self.refunded,
            calls_unenforced: 0,
        };
        let key = UsageKey {
            account: id::<AccountId>(self.key, "account"),
            key: id::<KeyId>(self.key, "id"),
            route: RouteName::new(self.route).expect("a good name"),
            status: self.status,
            period: Period::calendar_month(self.at),
            meter: self.meter.map(meter),
            detached: false,
        };
        UsageLine { key, tally }
    }
}

/// The id that stands in the answer that made a key.
pub(crate) fn id<T: std::str::FromStr>(key: &Value, name: &str) -> T {
    key[name].as_str().and_then(|text| text.parse().ok()).expect("an id")
}

/// Tells the ledger of calls, as a gateway's batches do: one batch for each instant.
pub(crate) async fn count(plane: &Plane, calls: &[Counted<'_>]) {
    static NODE: AtomicU64 = AtomicU64::new(1);
    let number = NODE.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let node = NodeId::new(NOON, std::array::from_fn(|at| number.get(at).copied().unwrap_or(0)));
    let mut instants: Vec<Timestamp> = calls.iter().map(|calls| calls.at).collect();
    instants.sort_unstable();
    instants.dedup();
    for (sequence, at) in (1..).zip(instants) {
        let lines = calls.iter().filter(|calls| calls.at == at).map(Counted::line).collect();
        let batch = UsageBatch { node, sequence, start: at + -SECOND_US, end: at, lines, requests: Vec::new() };
        assert!(plane.store.store_batch(&batch).await.expect("it answers"));
    }
}

/// Units that the ledger has of an account in the month of the tests.
pub(crate) async fn used(plane: &Plane, key: &Value, name: Option<&str>) -> u64 {
    let name = name.map(meter);
    let period = Period::calendar_month(tollgate_domain::Clock::now(&*plane.clock));
    plane.store.used(id(key, "account"), name.as_ref(), period).await.expect("it answers")
}

/// Reports events with a token.
pub(crate) async fn report(plane: &Plane, token: &str, body: &Value) -> Answer {
    report_with(plane, &[(AUTHORIZATION.as_str(), &format!("Bearer {token}"))], body).await
}

/// Reports events with these headers.
pub(crate) async fn report_with(plane: &Plane, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut request = Request::post("/v1/usage").header(CONTENT_TYPE, "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    plane.send(request.body(Body::from(body.to_string())).expect("a good request")).await
}
