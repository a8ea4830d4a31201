//! Metered use: what Stripe is told of is what the ledger holds, whatever breaks between the two.

use std::time::Duration;

use serde_json::json;
use tollgate_e2e::{eventually_within, in_parallel};
use tollgate_fake_stripe::{Fault, FaultKind, When};

use super::Scene;

const EVENTS: &str = "/v1/billing/meter_events";
/// Telling goes on until nothing is left, with rests in between that grow with each failure.
const ALL_TOLD: Duration = Duration::from_mins(4);

fn scene() -> Scene {
    let scene = Scene::with("1h", |setup| {
        setup
            .set("billing.stripe", "meters = { calls = \"api_calls\", tokens = \"llm_tokens\" }")
            .policy(tollgate_e2e::SELLING.replace("[plans.team]", "meters = { tokens = \"unlimited\" }\n[plans.team]"))
    });
    for meter in ["api_calls", "llm_tokens"] {
        let parameters = [("display_name", meter), ("event_name", meter), ("default_aggregation[formula]", "sum")];
        scene.stripe.fake().call("POST", "/v1/billing/meters", &parameters).expect("a meter");
    }
    scene.stripe.deliver_to(&scene.gate);
    scene
}

fn told(scene: &Scene, customer: &str, meter: &str) -> i64 {
    scene.stripe.fake().meter_total(customer, meter, 0, i64::MAX / 2)
}

fn break_once(scene: &Scene, kind: FaultKind) {
    scene.stripe.fake().inject(Fault { method: None, path_prefix: EVENTS.into(), kind, when: When::Next(1) });
}

#[test]
fn calls_and_tokens_reach_stripe_to_the_unit_through_timeouts_errors_and_a_kill() {
    let mut scene = scene();
    let ada = scene.caller("ada", "price_pro", "pro");
    break_once(&scene, FaultKind::Status(500));
    break_once(&scene, FaultKind::CutAfter);
    in_parallel(4, |_| {
        for _ in 0..50 {
            scene.gate.get("/events/1", &ada.key).expect(200);
        }
    });
    for (number, tokens) in [(1, 700), (2, 41), (2, 41)] {
        let event = json!({ "id": format!("job-{number}"), "account": ada.account, "meters": { "tokens": tokens } });
        scene.gate.operate(tollgate_e2e::Request::json("POST", "/v1/usage", &event)).expect(200);
    }
    scene.gate.await_ledger();
    scene.gate.kill();
    scene.gate.start_again();
    scene.gate.get("/events/1", &ada.key).expect(200);
    let mut is_broken_again = false;
    let all = eventually_within(ALL_TOLD, || {
        // Telling takes its time; whoever closes the books does not.
        scene.gate.cli(&["reconcile", "--fix"]);
        let sums = ["api_calls", "llm_tokens"].map(|meter| told(&scene, &ada.payer.customer, meter));
        assert!(sums[0] <= 201 && sums[1] <= 741, "more was told than was used: {sums:?}");
        if sums[0] > 0 && !std::mem::replace(&mut is_broken_again, true) {
            break_once(&scene, FaultKind::Late(Duration::from_millis(300)));
        }
        (sums == [201, 741]).then_some(())
    });
    let sums = ["api_calls", "llm_tokens"].map(|meter| told(&scene, &ada.payer.customer, meter));
    assert!(all.is_some(), "{sums:?}, {:#?}\n{}", scene.stripe.fake().meter_events().len(), scene.gate.story());
    scene.stripe.fake().clear_faults();
    // What the killed process had taken ahead of need and not reported leaves the quota once that process is given up; what
    // it had spent of that is told to the limiter from the ledger.
    let used = eventually_within(ALL_TOLD, || {
        scene.gate.cli(&["reconcile", "--fix"]);
        (scene.gate.used(&ada.account) == 201).then_some(())
    });
    let books = || scene.gate.cli(&["reconcile", "--fix"]).stdout;
    assert!(used.is_some(), "{} are used\n{}", scene.gate.used(&ada.account), books());
    let report = scene.gate.cli(&["reconcile", "--json"]);
    assert_eq!(report.code, Some(0), "the books agree: {}\n{}", report.stdout, report.stderr);
}
