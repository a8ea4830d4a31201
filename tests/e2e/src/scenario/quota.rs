//! Many clients at several gateways, all of one account, until its quota is gone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::fleet::Plan;
use crate::load::{Next, calls_of};
use crate::policy;
use crate::stores::Mode;
use crate::wait::eventually_within;

/// A client believes that the quota is gone after so many refusals in a row that say so.
const CONVINCED: usize = 3;
/// While others hold units a refusal is no last word; nobody waits for one longer than so many.
const REFUSED_MAX: usize = 1_000;
/// How long a refused client rests.
const REST: Duration = Duration::from_millis(20);
/// How long the ledger may take to have everything.
const LEDGER: Duration = Duration::from_secs(30);

/// What came of it.
#[derive(Clone, Debug)]
pub struct QuotaOutcome {
    /// Calls that went on.
    pub admitted: usize,
    /// Every other answer, by status and code.
    pub refused: BTreeMap<(u16, String), usize>,
    /// What each gateway says afterwards.
    pub afterwards: Vec<(u16, String)>,
    /// Calls that reached the backend, those of `afterwards` counted.
    pub arrived: usize,
    /// What the ledger came to.
    pub ledger: Option<u64>,
    /// Calls that a gateway let in by itself, as Redis had not answered it in time. Those and only those may have come on
    /// top: the others' promise is made for while it answers.
    pub detached: usize,
    /// From the first call to the last answer.
    pub took: Duration,
}

/// `clients` at each of three gateways spend one account's quota of `limit` calls.
#[track_caller]
pub fn quota(mode: Mode, in_cluster: bool, clients: usize, limit: usize) -> QuotaOutcome {
    let backend = Backend::start();
    let plan = Plan::new(mode, policy::one_plan(&format!("quota = \"{limit}/month\"")));
    let plan = if in_cluster { plan.cluster() } else { plan };
    let fleet = plan.start(&backend);
    let key = fleet.key("ada@example.com");
    let began = Instant::now();
    let calls = calls_of(&fleet.addresses(), clients, &[&key.raw], |call| {
        let is_convinced = call.code == "quota_exceeded" && call.refused_in_a_row >= CONVINCED;
        if call.is_admitted() {
            Next::Go
        } else if is_convinced || call.refused_in_a_row >= REFUSED_MAX {
            Next::Stop
        } else {
            Next::Rest(REST)
        }
    });
    let took = began.elapsed();
    let mut refused = BTreeMap::new();
    for call in calls.iter().filter(|call| !call.is_admitted()) {
        *refused.entry((call.status, call.code.clone())).or_insert(0) += 1;
    }
    let afterwards = fleet.gateways.iter().map(|gate| {
        let answer = gate.get("/events/1", &key);
        let code = if answer.status == 200 { String::new() } else { answer.json()["code"].to_string() };
        (answer.status, code.trim_matches('"').to_owned())
    });
    let afterwards = afterwards.collect();
    let wanted = u64::try_from(limit).expect("a small number");
    eventually_within(LEDGER, || fleet.ledger(&key).filter(|units| *units >= wanted));
    let detached = fleet.gateways.iter().map(|gate| gate.metrics().count("tollgate_calls_detached_total", &[]));
    QuotaOutcome {
        detached: detached.map(|count| usize::try_from(count).expect("a small number")).sum(),
        admitted: calls.iter().filter(|call| call.is_admitted()).count(),
        refused,
        afterwards,
        arrived: backend.count(),
        // Read once more: it must not pass what was admitted either.
        ledger: fleet.ledger(&key),
        took,
    }
}
