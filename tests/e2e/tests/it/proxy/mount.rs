//! What of the control plane is served on the gateway's own listener.

use tollgate_e2e::{Backend, Connection, Request, Setup};

#[test]
fn customers_see_plans_and_themselves_under_the_mount() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let key = gate.key("ada@example.com", "pro");
    let plans = gate.send(&Request::get("/tollgate/v1/plans")).expect(200).json();
    let names: Vec<_> = plans["plans"].as_array().expect("plans").iter().map(|plan| plan["name"].clone()).collect();
    for name in ["free", "pro", "team"] {
        assert!(names.contains(&name.into()), "no {name} in {plans:#}");
    }
    gate.get("/events/1", &key).expect(200);
    let me = gate.get("/tollgate/v1/me", &key).expect(200).json();
    assert_eq!((&me["account"], &me["email"]), (&key.account.clone().into(), &"ada@example.com".into()), "{me:#}");
    let quota = gate.get("/tollgate/v1/quota", &key).expect(200).json();
    assert_eq!(quota["plan"]["name"].as_str().or(quota["plan"].as_str()), Some("pro"), "{quota:#}");
    let limits = quota["limits"].as_array().expect("limits");
    let month = limits.iter().find(|limit| limit["name"] == "month").expect("the quota");
    assert_eq!((&month["used"], &month["limit"], &month["remaining"]), (&1.into(), &10_000.into(), &9_999.into()));
    assert_eq!(month["allowed"], true);

    gate.send(&Request::get("/tollgate/v1/me")).problem(401, "missing_key");
    gate.send(&Request::get("/tollgate/v1/me").key("junk")).problem(403, "invalid_key");
    let bearer = format!("Bearer {}", key.raw);
    gate.send(&Request::get("/tollgate/v1/me").header("Authorization", &bearer)).expect(200);
    assert_eq!(backend.count(), 1, "nothing under the mount goes to the upstream");
    assert_eq!(gate.used("ada@example.com"), 1, "and nothing of it is charged");
}

#[test]
fn a_free_account_may_look_at_itself_and_a_banned_one_may_not() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let free = gate.key("free@example.com", "free");
    gate.get("/events/1", &free).expect(402);
    gate.get("/tollgate/v1/quota", &free).expect(200);
    gate.cli(&["accounts", "ban", "free@example.com"]).done();
    gate.get("/tollgate/v1/me", &free).problem(403, "account_disabled");
}

#[test]
fn the_operators_side_is_not_reachable_through_the_gateway() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let token = format!("Bearer {}", gate.token());
    for target in [
        "/tollgate/admin/v1/accounts",
        "/tollgate/admin",
        "/tollgate/operator",
        "/tollgate/v1/../admin/v1/accounts",
        "/tollgate/v1/%2e%2e/admin/v1/accounts",
        "/tollgate/%61dmin/v1/accounts",
        "/tollgate/v1/..%2Fadmin/v1/accounts",
        "/tollgate/v1//../admin/v1/accounts",
        "/tollgate/v1/x;/../../admin/v1/accounts",
        "/tollgate",
        "/tollgate/",
        "/tollgate/metrics",
    ] {
        let answer = gate.send(&Request::get(target).header("Authorization", &token));
        assert!(matches!(answer.status, 400 | 404), "{target}: {}", answer.status);
        assert!(!answer.text().contains("items"), "{target}: {}", answer.text());
    }
    gate.send(&Request::get("/admin/v1/accounts").header("Authorization", &token)).problem(401, "missing_key");
    assert_eq!(backend.count(), 0);
}

#[test]
fn the_mount_can_be_moved_and_turned_off() {
    let backend = Backend::start();
    let moved = Setup::new(&backend).set("gateway", "mount = \"/_gate\"").start();
    moved.send(&Request::get("/_gate/v1/plans")).expect(200);
    moved.send(&Request::get("/tollgate/v1/plans")).expect(401);
    let off = Setup::new(&backend).set("gateway", "mount = \"\"").start();
    off.send(&Request::get("/tollgate/v1/plans")).expect(401);
    off.send(&Request::get("/v1/plans")).expect(401);
    let direct = Connection::open(off.admin_address()).send(&Request::get("/v1/plans")).expect("an answer");
    assert_eq!(direct.status, 200, "the control plane's own listener serves it");
}

#[test]
fn a_path_that_only_begins_like_the_mount_is_the_upstreams() {
    let backend = Backend::start();
    let gate = Setup::new(&backend).start();
    let key = gate.key("ada@example.com", "pro");
    gate.get("/tollgates/v1/plans", &key).expect(200);
    assert_eq!(backend.only().target, "/tollgates/v1/plans");
}
