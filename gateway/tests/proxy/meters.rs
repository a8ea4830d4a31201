//! Meters: debited with the call, settled by what the upstream reports, refused when spent.

use serde_json::json;
use tollgate_domain::UsageTally;

use super::support::Fixture;

const PLANS: &str = r#"
[plans.pro]
rate = "6_000/minute"
quota = "100/month"
quota_period = "calendar"
meters = { tokens = "50/month", images = "10/month", pages = "unlimited" }
[plans.other]
quota = "100/month"
meters = { scans = "5/month" }
"#;
const ROUTES: &str = r#"
[[routes]]
path = "/chat"
meter = "tokens"
cost = 5
[[routes]]
path = "/up-to"
meter = "tokens"
cost_max = 8
[[routes]]
path = "/scan"
meter = "scans"
[[routes]]
path = "/pages"
meter = "pages"
"#;

async fn fixture() -> Fixture {
    Fixture::start(&format!("{PLANS}{ROUTES}")).await
}

fn tally(calls: u64, units_charged: u64, units_refunded: u64) -> UsageTally {
    UsageTally { calls, units_charged, units_refunded, ..UsageTally::default() }
}

fn debited(calls: u64, units: u64, units_refunded: u64) -> UsageTally {
    UsageTally { units_debited: units, ..tally(calls, units, units_refunded) }
}

#[tokio::test]
async fn the_upstreams_report_settles_the_meter_and_the_answer_does_not_show_it() {
    // Each: what is called, the answer's status and lines; then units of calls and tokens left, and the ledger's lines.
    for (path, status, lines, calls_left, tokens_left, calls, tokens, images) in [
        ("/chat", "200 OK", &[][..], 95, 45, debited(1, 5, 0), tally(1, 5, 0), tally(0, 0, 0)),
        ("/chat", "200 OK", &["Tollgate-Usage: tokens=20"], 95, 30, debited(1, 5, 0), tally(1, 20, 0), tally(0, 0, 0)),
        (
            "/chat",
            "404 Not Found",
            &["tollgate-usage: images=2", "TOLLGATE-USAGE: tokens=1, images=1"],
            95,
            49,
            debited(1, 5, 0),
            tally(1, 5, 4),
            tally(1, 3, 0),
        ),
        ("/chat", "200 OK", &["Tollgate-Usage: tokens=70"], 95, 0, debited(1, 5, 0), tally(1, 70, 0), tally(0, 0, 0)),
        ("/chat", "200 OK", &["Tollgate-Usage: tokens=x"], 95, 45, debited(1, 5, 0), tally(1, 5, 0), tally(0, 0, 0)),
        (
            "/chat",
            "500 Oops",
            &["Tollgate-Usage: tokens=9, images=1"],
            100,
            50,
            debited(1, 5, 5),
            tally(1, 5, 5),
            tally(0, 0, 0),
        ),
        ("/chat", "200 OK", &["Tollgate-Cost: 1"], 95, 45, debited(1, 5, 0), tally(1, 5, 0), tally(0, 0, 0)),
        ("/up-to", "200 OK", &["Tollgate-Cost: 3"], 97, 47, debited(1, 8, 5), tally(1, 8, 5), tally(0, 0, 0)),
        (
            "/up-to",
            "200 OK",
            &["Tollgate-Cost: 3", "Tollgate-Usage: tokens=40"],
            97,
            10,
            debited(1, 8, 5),
            tally(1, 40, 0),
            tally(0, 0, 0),
        ),
        (
            "/plain",
            "200 OK",
            &["Tollgate-Usage: tokens=7,images=3"],
            99,
            43,
            debited(1, 1, 0),
            tally(1, 7, 0),
            tally(1, 3, 0),
        ),
    ] {
        let fixture = fixture().await;
        let case = format!("{path} {status} {lines:?}");
        fixture.backend.answers(status, lines);
        let answer = fixture.call(&format!("GET {path}"), &[]).await;
        assert!(answer.header("tollgate-usage").is_none() && answer.header("tollgate-cost").is_none(), "{case}");
        // A refused key shows how its account stands, without a call that would change it.
        let standing = standing(&fixture).await;
        assert_eq!((standing.calls_left, standing.tokens_left), (calls_left, tokens_left), "{case}");
        let counted = fixture.stop().await;
        assert_eq!(counted.tally(None, false), calls, "{case}");
        assert_eq!(counted.tally(Some("tokens"), false), tokens, "{case}");
        assert_eq!(counted.tally(Some("images"), false), images, "{case}");
    }
}

struct Left {
    calls_left: u64,
    tokens_left: u64,
}

/// What the limit headers say without a debit: of a route that needs more than the plan has.
async fn standing(fixture: &Fixture) -> Left {
    let closed = "[[routes]]\npath = \"/closed\"\nfeature = \"none\"\nmeter = \"tokens\"\n";
    let plans = PLANS.replace("[plans.other]", "[plans.other]\nfeatures = [\"none\"]");
    fixture.reload(&format!("{plans}{ROUTES}{closed}"));
    let answer = fixture.call("GET /closed", &[]).await;
    assert_eq!(answer.status(), 402, "{answer:?}");
    let state = answer.header("ratelimit").expect("a keyed answer has limits");
    let left = |name: &str| {
        let (_, rest) = state.split_once(&format!("\"{name}\";r=")).unwrap_or_else(|| panic!("{name} in {state}"));
        rest.split(';').next().and_then(|digits| digits.parse().ok()).expect("a number")
    };
    Left { calls_left: left("month"), tokens_left: left("tokens") }
}

#[tokio::test]
async fn a_spent_meter_refuses_by_its_name_and_debits_nothing() {
    let fixture = fixture().await;
    fixture.backend.answers("200 OK", &["Tollgate-Usage: tokens=48"]);
    let answer = fixture.call("GET /chat", &[]).await;
    let policy = answer.header("ratelimit-policy").expect("limits");
    assert!(policy.ends_with(r#""month";q=100, "tokens";q=50;qu="tokens""#), "{policy}");
    assert!(answer.header("ratelimit").is_some_and(|state| state.contains(r#""tokens";r=45;t="#)), "{answer:?}");
    fixture.backend.seen();
    let refused = fixture.call("GET /chat", &[]).await;
    let problem = refused.problem();
    assert_eq!((refused.status(), &problem["code"]), (429, &json!("quota_exceeded")));
    assert_eq!(problem["detail"], "Monthly API quota exceeded");
    assert_eq!((&problem["meter"], &problem["limit"], &problem["used"]), (&json!("tokens"), &json!(50), &json!(48)));
    assert_eq!(problem["violated-policies"], json!(["tokens"]));
    assert!(refused.header("retry-after").is_some() && problem["resets_at"].is_string());
    assert_eq!((refused.header("x-ratelimit-limit"), refused.header("x-ratelimit-remaining")), (Some("50"), Some("2")));
    assert!(fixture.backend.seen_none(), "it is not forwarded");
    assert_eq!(fixture.call("GET /plain", &[]).await.status(), 200, "calls without the meter go on");
    let counted = fixture.stop().await;
    assert_eq!(counted.tally(None, false), debited(2, 6, 0));
    assert_eq!(counted.tally(Some("tokens"), false), tally(2, 96, 0), "the second call reports as well");
    let refused: Vec<_> = counted.log.iter().filter(|line| line["status"] == 429).collect();
    assert!(refused.len() == 1 && refused[0]["reason"] == "meter", "{refused:?}");
}

#[tokio::test]
async fn a_meter_that_the_plan_does_not_limit_is_counted_and_not_shown() {
    let fixture = fixture().await;
    for path in ["/scan", "/pages"] {
        fixture.backend.answers("200 OK", &["Tollgate-Usage: scans=1000000, pages=1000000"]);
        let answer = fixture.call(&format!("GET {path}"), &[]).await;
        assert_eq!(answer.status(), 200);
        assert!(!answer.header("ratelimit").expect("limits").contains("scans"));
    }
    // Once its plan limits it, what was used before counts.
    fixture.reload(&format!("{}{ROUTES}", PLANS.replace("tokens = ", "scans = \"1_000/month\", tokens = ")));
    let refused = fixture.call("GET /scan", &[]).await;
    assert_eq!((refused.status(), &refused.problem()["used"]), (429, &json!(2_000_000)));
    let counted = fixture.stop().await;
    assert_eq!(counted.tally(Some("scans"), false), tally(2, 2_000_000, 0));
    assert_eq!(counted.tally(Some("pages"), false), tally(2, 2_000_000, 0));
}

#[tokio::test]
async fn after_a_restart_a_meter_is_what_the_ledger_says() {
    let config = format!("{PLANS}{ROUTES}");
    let fixture = Fixture::start(&config).await;
    for (path, status, line) in [
        ("/chat", "200 OK", "Tollgate-Usage: tokens=20"),
        ("/plain", "200 OK", "Tollgate-Usage: tokens=15, images=9"),
        ("/chat", "500 Oops", "Tollgate-Usage: tokens=1000"),
    ] {
        fixture.backend.answers(status, &[line]);
        fixture.call(&format!("GET {path}"), &[]).await;
    }
    let fixture = fixture.restart(&config).await;
    let answer = fixture.call("GET /chat", &[]).await;
    assert!(answer.header("ratelimit").is_some_and(|state| state.contains("\"tokens\";r=10;")), "{answer:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_report_is_counted_and_what_is_right_with_it_is_charged() {
    let fixture = fixture().await;
    for line in ["Tollgate-Usage: tokens=1, tokens", "Tollgate-Usage:", "Tollgate-Usage: bogus=3, images=2"] {
        fixture.backend.answers("200 OK", &[line]);
        assert_eq!(fixture.call("GET /plain", &[]).await.header("tollgate-usage"), None);
    }
    let rejected = |reason| fixture.metrics.usage_reports_rejected.with_label_values(&[reason]).get();
    assert_eq!((rejected("malformed"), rejected("unknown_meter")), (2, 1));
    let counted = fixture.stop().await;
    assert_eq!(counted.tally(Some("images"), false), tally(1, 2, 0));
    assert_eq!((counted.tally(Some("tokens"), false).calls, counted.tally(Some("bogus"), false).calls), (0, 0));
}

#[tokio::test]
async fn nobodys_calls_report_nothing() {
    let config = format!(
        "{PLANS}[plans.public]\nrate = \"60/minute\"\n\
         [[routes]]\npath = \"/open\"\naccess = \"public\"\n[[routes]]\npath = \"/pass\"\naccess = \"pass\"\n"
    );
    let fixture = Fixture::start(&config).await;
    fixture.backend.answers("200 OK", &["Tollgate-Usage: tokens=1", "Tollgate-Cost: 3"]);
    for path in ["/open", "/pass"] {
        let answer = fixture.call(&format!("GET {path}"), &[]).await;
        assert_eq!(
            (answer.status(), answer.header("tollgate-usage"), answer.header("tollgate-cost")),
            (200, None, None)
        );
    }
    assert_eq!(fixture.stop().await.tally(Some("tokens"), false).calls, 0);
}

#[tokio::test]
async fn where_limits_are_not_enforced_a_spent_meter_lets_through_and_counts_nothing() {
    let fixture = Fixture::start(&format!("[limits]\nenforce = false\n{PLANS}{ROUTES}")).await;
    fixture.backend.answers("200 OK", &["Tollgate-Usage: tokens=50, images=1"]);
    for _ in 0..3 {
        assert_eq!(fixture.call("GET /chat", &[]).await.status(), 200);
    }
    let would_refuse = fixture.metrics.would_refuse.with_label_values(&["chat", "pro", "quota_exceeded", "meter"]);
    assert_eq!(would_refuse.get(), 2);
    let counted = fixture.stop().await;
    assert_eq!(counted.tally(None, false), UsageTally { calls_unenforced: 2, ..debited(1, 5, 0) });
    assert_eq!(counted.tally(Some("tokens"), false), tally(1, 50, 0));
    assert_eq!(counted.tally(Some("images"), false), tally(1, 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_that_come_at_once_with_the_first_debit_are_counted_to_the_unit() {
    let config =
        format!("{}{ROUTES}", PLANS.replace("\"50/month\"", "\"1_000_000/month\"").replace("100/", "100_000/"));
    for round in 0..3 {
        let fixture = std::sync::Arc::new(Fixture::start(&config).await);
        fixture.backend.answers("200 OK", &["Tollgate-Usage: tokens=3"]);
        let calls = (0..48).map(|number| {
            let fixture = std::sync::Arc::clone(&fixture);
            let path = if number % 4 == 0 { "GET /chat" } else { "GET /plain" };
            async move { assert_eq!(fixture.call(path, &[]).await.status(), 200) }
        });
        futures::future::join_all(calls).await;
        let last = fixture.call("GET /chat", &[]).await;
        let state = last.header("ratelimit").expect("limits").to_owned();
        let used = 48 * 3 + 5;
        assert!(state.contains(&format!("\"tokens\";r={}", 1_000_000 - used)), "round {round}: {state}");
    }
}
