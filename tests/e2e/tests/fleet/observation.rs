//! What operators see of a fleet, and what customers see of its control plane.

use std::net::SocketAddr;

use serde_json::Value;
use tollgate_e2e::service::{Prometheus, Shared};
use tollgate_e2e::{Backend, Fleet, Gate, Mode, Plan, Request, eventually, policy};

fn start(backend: &Backend) -> Fleet {
    Plan::new(Mode::Leased, policy::STANDARD).gateways(2).admins(2).start(backend)
}

fn nodes(fleet: &Fleet) -> Value {
    fleet.admin().operator("/admin/v1/nodes").expect(200).json()
}

#[test]
fn nodes_are_listed_with_the_hash_of_their_configuration() {
    if !Shared::are_there("nodes_are_listed_with_the_hash_of_their_configuration") {
        return;
    }
    let backend = Backend::start();
    let fleet = start(&backend);
    let listed = eventually("every process is listed", || {
        let listed = nodes(&fleet);
        (listed["items"].as_array().map(Vec::len) == Some(4)).then_some(listed)
    });
    let roles = |listed: &Value| {
        let items = listed["items"].as_array().cloned().unwrap_or_default();
        let mut roles: Vec<_> = items.iter().filter_map(|item| item["role"].as_str().map(str::to_owned)).collect();
        roles.sort_unstable();
        roles
    };
    assert_eq!(roles(&listed), ["admin", "admin", "gateway", "gateway"], "{listed:#}");
    assert_eq!(listed["same_config"], true, "whatever addresses they listen at: {listed:#}");
    for gate in &fleet.admins {
        for role in ["gateway", "admin"] {
            eventually("the count of nodes", || {
                (gate.metrics().count("tollgate_nodes", &[("role", role)]) == 2).then_some(())
            });
        }
    }
    let hash_of = |gate: &Gate| {
        let metrics = gate.metrics();
        let line = metrics.text().lines().find(|line| line.starts_with("tollgate_config_info{")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no hash in {}", metrics.text()))
    };
    let is_listed = |gate: &Gate| {
        let (own, listed) = (hash_of(gate), nodes(&fleet));
        let items = listed["items"].as_array().cloned().unwrap_or_default();
        items.iter().any(|item| item["config_hash"].as_str().is_some_and(|hash| hash.len() == 64 && own.contains(hash)))
    };
    for gate in fleet.gateways.iter().chain(&fleet.admins) {
        assert!(is_listed(gate), "{} is not in {:#}", hash_of(gate), nodes(&fleet));
    }
    let before = hash_of(&fleet.gateways[1]);
    fleet.gateways[1].reload(|text| text.replace("10_000/month", "20_000/month"));
    assert_ne!(hash_of(&fleet.gateways[1]), before);
    eventually("the list tells the new one", || is_listed(&fleet.gateways[1]).then_some(()));
    assert_eq!(nodes(&fleet)["same_config"], false);
}

#[test]
fn every_gateway_serves_what_customers_need_of_the_control_plane() {
    if !Shared::are_there("every_gateway_serves_what_customers_need_of_the_control_plane") {
        return;
    }
    let backend = Backend::start();
    let mut fleet = start(&backend);
    let key = fleet.key("ada@example.com");
    for gate in &fleet.gateways {
        let me = gate.get("/tollgate/v1/me", &key).expect(200).json();
        assert_eq!(me["account"], key.account.as_str(), "{me:#}");
        gate.get("/tollgate/v1/quota", &key).expect(200);
        gate.send(&Request::get("/tollgate/v1/plans")).expect(200);
        gate.get("/tollgate/admin/v1/accounts", &key).problem(404, "not_found");
        let token = format!("Bearer {}", gate.token());
        for target in ["/tollgate/admin/v1/accounts", "/tollgate/operator", "/tollgate/v1/../admin/v1/accounts"] {
            let answer = gate.send(&Request::get(target).header("authorization", &token));
            assert!(matches!(answer.status, 400 | 401 | 403 | 404), "{target}: {} {}", answer.status, answer.text());
        }
    }
    assert_eq!(backend.count(), 0, "none of it reaches the backend");
    fleet.admins[0].kill();
    let answer = fleet.gateways[0].get("/tollgate/v1/me", &key);
    assert!(matches!(answer.status, 502..=504), "{} {}", answer.status, answer.text());
    fleet.gateways[0].get("/events/1", &key).expect(200);
}

#[test]
fn prometheus_scrapes_every_process() {
    if !Shared::are_there("prometheus_scrapes_every_process") {
        return;
    }
    let backend = Backend::start();
    let fleet = start(&backend);
    let key = fleet.key("ada@example.com");
    fleet.gateways[0].get("/events/1", &key).expect(200);
    let of = |gates: &[Gate]| gates.iter().map(Gate::metrics_address).collect::<Vec<SocketAddr>>();
    let prometheus = Prometheus::scraping(&of(&fleet.gateways), &of(&fleet.admins));
    let targets = eventually("every process is scraped", || {
        let targets = prometheus.targets();
        (targets.len() == 4 && targets.iter().all(|target| target["health"] == "up")).then_some(targets)
    });
    assert!(targets.iter().all(|target| target["lastError"] == ""), "{targets:#?}");
    let ill = |rule: &&Value| rule["health"] == "err";
    assert_eq!(prometheus.rules().iter().find(ill), None, "every rule can be evaluated");
    let instances = |query: &str| prometheus.query(query).len();
    eventually("what was scraped is kept", || {
        (instances("tollgate_build_info") == 4 && instances("tollgate_config_info") == 4).then_some(())
    });
    let forwarded = "sum(tollgate_requests_total%7Boutcome=%22forwarded%22%7D)";
    eventually("the call is counted", || {
        let found = prometheus.query(forwarded);
        found.iter().any(|series| series["value"][1] == "1").then_some(())
    });
}
