//! Setup against the stand-in of Stripe.

use tollgate_config::{BilledMeter, Secret};
use tollgate_domain::Plan;
use tollgate_fake_stripe::{FakeConfig, FakeStripe, FaultKind, Interval, NewPrice};

use super::*;
use crate::EVENT_KINDS;
use crate::actions::tests::harness::plan as plan_row;
use crate::testing::{BASE, settings};

struct Bench {
    fake: FakeStripe,
    plans: PlanTable,
    stripe: StripeConfig,
}

impl Bench {
    fn new(plans: impl IntoIterator<Item = Plan>) -> Self {
        let fake = FakeStripe::start(FakeConfig::default()).expect("a stand-in");
        let stripe = settings(&fake);
        Self { fake, plans: PlanTable::new(plans, None), stripe }
    }

    fn api(&self) -> Api {
        Api::new(&self.stripe).expect("a client")
    }

    async fn look(&self) -> Result<SetupPlan, SetupError> {
        plan(&self.api(), &Wanted { plans: &self.plans, stripe: &self.stripe, public_base: BASE }).await
    }

    async fn make(&self) -> SetupReport {
        let plan = self.look().await.expect("Stripe answers");
        apply(&self.api(), &plan).await.expect("all is of one mode")
    }

    fn get(&self, path: &str, query: &[(&str, &str)]) -> serde_json::Value {
        self.fake.call("GET", path, query).expect("an answer")
    }
}

fn sold() -> [Plan; 5] {
    let mut pro = plan_row("pro", 1, Some("29 USD/month"), &[]);
    pro.display_name = Some("Pro".into());
    pro.description = Some("For products in production.".into());
    [
        pro,
        plan_row("team-jp", 2, Some("290000 JPY/year"), &[]),
        plan_row("free", 0, Some("0 USD/month"), &[]),
        plan_row("partner", 3, None, &[]),
        plan_row("public", 0, Some("1 USD/month"), &[]),
    ]
}

fn states(plan: &SetupPlan) -> Vec<(String, &'static str)> {
    let word = |state: &State| match state {
        State::There { .. } => "there",
        State::Missing(_) => "missing",
        State::Differs { .. } => "differs",
        State::LeftToYou { .. } => "yours",
    };
    plan.parts.iter().map(|part| (part.what.to_string(), word(&part.state))).collect()
}

fn differences(plan: &SetupPlan) -> Vec<String> {
    let how = |part: &Part| match &part.state {
        State::Differs { how } => Some(how.clone()),
        _ => None,
    };
    plan.parts.iter().filter_map(how).collect()
}

#[tokio::test]
async fn an_empty_account_gets_what_the_plan_table_sells() {
    let bench = Bench::new(sold());
    let report = bench.make().await;
    assert!(report.failed.is_empty(), "{report}");
    let product = bench.get("/v1/products/tollgate_pro", &[]);
    assert_eq!((&product["name"], &product["description"]), (&"Pro".into(), &"For products in production.".into()));
    for (key, product, currency, unit_amount, interval) in [
        ("tollgate_pro_month", "tollgate_pro", "usd", 2_900, "month"),
        ("tollgate_team-jp_year", "tollgate_team-jp", "jpy", 290_000, "year"),
    ] {
        let found = bench.get("/v1/prices", &[("lookup_keys[]", key)]);
        let price = &found["data"][0];
        assert_eq!(price["product"], product, "{key}");
        assert_eq!(price["currency"], currency, "{key}");
        assert_eq!(price["unit_amount"], unit_amount, "{key}");
        assert_eq!(price["recurring"]["interval"], interval, "{key}");
    }
    assert_eq!(bench.get("/v1/prices", &[])["data"].as_array().map(Vec::len), Some(2), "nothing free, nothing public");
    let endpoints = bench.get("/v1/webhook_endpoints", &[]);
    let endpoint = &endpoints["data"][0];
    assert_eq!(endpoint["url"], format!("{BASE}/stripe/webhook"));
    assert_eq!(endpoint["api_version"], stripe_client_core::VERSION.as_str());
    let enabled: Vec<&str> =
        endpoint["enabled_events"].as_array().expect("kinds").iter().filter_map(|kind| kind.as_str()).collect();
    assert_eq!(enabled, EVENT_KINDS);
    // The secret is told once and not printed.
    let secret = report.webhook_secret.as_ref().expect("it was told").reveal().to_owned();
    assert!(secret.starts_with("whsec_"));
    assert!(!format!("{report}{report:?}").contains(&secret));
    let written = report.to_string();
    assert!(written.contains("[plans.pro]\nstripe_prices = [\"price_"), "{written}");
    assert!(written.contains("[plans.team-jp]\n"), "{written}");
}

#[tokio::test]
async fn the_second_time_nothing_is_made() {
    let mut bench = Bench::new(sold());
    bench.stripe.meters = [(BilledMeter::Calls, "api_calls".into())].into();
    let first = bench.make().await;
    let plan = bench.look().await.expect("Stripe answers");
    assert!(!plan.makes_anything() && !plan.has_differences(), "{plan}");
    assert_eq!(plan.to_write(&[]), first.stripe_prices, "what belongs into the file is said again");
    bench.fake.clear_requests();
    let second = bench.make().await;
    assert!(second.made.is_empty() && second.webhook_secret.is_none());
    assert!(bench.fake.requests().iter().all(|request| request.method == "GET"));
    // With the ids in the file there is nothing left to say.
    let named = |plan: Plan| {
        let found = first.stripe_prices.iter().find(|(name, _)| *name == plan.name);
        Plan { stripe_prices: found.map(|(_, prices)| prices.clone()).unwrap_or_default(), ..plan }
    };
    bench.plans = PlanTable::new(sold().map(named), None);
    let plan = bench.look().await.expect("Stripe answers");
    assert!(!plan.makes_anything() && !plan.has_differences() && plan.to_write(&[]).is_empty(), "{plan}");
}

#[tokio::test]
async fn an_answer_that_was_lost_makes_nothing_twice() {
    for kind in [FaultKind::CutAfter, FaultKind::Cut, FaultKind::Status(500)] {
        let bench = Bench::new(sold());
        for path in ["/v1/products", "/v1/prices", "/v1/webhook_endpoints"] {
            bench.fake.inject(tollgate_fake_stripe::Fault {
                method: Some("POST".into()),
                path_prefix: path.into(),
                kind,
                when: tollgate_fake_stripe::When::Next(1),
            });
        }
        let report = bench.make().await;
        assert!(report.failed.is_empty() && report.webhook_secret.is_some(), "{kind:?}: {report}");
        for (path, many) in [("/v1/products", 2), ("/v1/prices", 2), ("/v1/webhook_endpoints", 1)] {
            assert_eq!(bench.get(path, &[])["data"].as_array().map(Vec::len), Some(many), "{kind:?} {path}");
        }
    }
}

#[tokio::test]
async fn what_failed_is_reported_and_made_the_next_time() {
    let bench = Bench::new(sold());
    bench.fake.inject(tollgate_fake_stripe::Fault {
        method: Some("POST".into()),
        path_prefix: "/v1/prices".into(),
        kind: FaultKind::Status(400),
        when: tollgate_fake_stripe::When::Next(1),
    });
    let report = bench.make().await;
    assert_eq!(report.failed.len(), 1, "{report}");
    let again = bench.make().await;
    assert_eq!((again.made.len(), again.failed.len()), (1, 0), "{again}");
}

#[tokio::test]
async fn prices_of_the_file_that_stripe_has_are_taken_as_they_are() {
    let bench = Bench::new([plan_row("pro", 1, Some("29 USD/month"), &["price_pro", "price_pro_year"])]);
    let new = NewPrice { unit_amount: 2_900, ..NewPrice::default() };
    bench.fake.price(NewPrice { id: "price_pro", ..new });
    bench.fake.price(NewPrice { id: "price_pro_year", unit_amount: 29_000, interval: Interval::Year, ..new });
    let plan = bench.look().await.expect("Stripe answers");
    assert!(!plan.has_differences(), "by the year it may cost something else: {plan}");
    let prices = states(&plan).into_iter().filter(|(what, _)| what.starts_with("price"));
    assert_eq!(prices.collect::<Vec<_>>(), [("price of `pro`".into(), "there"), ("price of `pro`".into(), "there")]);
    assert!(!states(&plan).iter().any(|(what, _)| what.starts_with("product")), "no product is made for them");
}

#[tokio::test]
async fn what_differs_is_told_and_left_as_it_is() {
    let row = |price, prices: &[&str]| plan_row("pro", 1, price, prices);
    let usd = NewPrice { id: "price_pro", unit_amount: 2_500, ..NewPrice::default() };
    let cases = [
        (row(Some("29 USD/month"), &["price_pro"]), usd, "costs 2500 USD (in the smallest unit) a month"),
        (row(Some("25 EUR/month"), &["price_pro"]), usd, "and the file shows 25 EUR/month"),
        (row(Some("25 USD/year"), &["price_pro"]), usd, "and the file shows 25 USD/year"),
        (row(None, &["price_gone"]), usd, "does not know `price_gone`"),
        (row(Some("25 USD/month"), &["price_pro", "price_gone"]), usd, "does not know `price_gone`"),
        (row(Some("25.001 USD/month"), &[]), usd, "in steps of 0.01"),
    ];
    for (row, price, expected) in cases {
        let bench = Bench::new([row]);
        bench.fake.price(price);
        let plan = bench.look().await.expect("Stripe answers");
        let told = differences(&plan).join("\n");
        assert!(told.contains(expected), "{told} lacks: {expected}");
        let makes_prices = plan
            .parts
            .iter()
            .any(|part| matches!((&part.what, &part.state), (What::Price(_) | What::Product(_), State::Missing(_))));
        assert!(!makes_prices && plan.to_write(&[]).is_empty(), "{plan}");
    }
}

#[tokio::test]
async fn an_archived_price_may_stand_behind_one_that_is_sold() {
    for (order, differs) in [(["price_pro", "price_old"], 0), (["price_old", "price_pro"], 1)] {
        let bench = Bench::new([plan_row("pro", 1, None, &order)]);
        bench.fake.price(NewPrice { id: "price_pro", ..NewPrice::default() });
        bench.fake.price(NewPrice { id: "price_old", ..NewPrice::default() });
        bench.fake.call("POST", "/v1/prices/price_old", &[("active", "false")]).expect("archived");
        let plan = bench.look().await.expect("Stripe answers");
        assert_eq!(differences(&plan).len(), differs, "{plan}");
        assert!(plan.to_string().contains("price_old") && plan.to_string().contains("archived"), "{plan}");
    }
}

#[tokio::test]
async fn a_price_that_is_paid_once_is_told() {
    let bench = Bench::new([plan_row("pro", 1, None, &[])]);
    let fields = [("currency", "usd"), ("unit_amount", "100"), ("product_data[name]", "Once")];
    let made = bench.fake.call("POST", "/v1/prices", &fields).expect("made");
    let id = made["id"].as_str().expect("an id");
    let bench = Bench { plans: PlanTable::new([plan_row("pro", 1, None, &[id])], None), ..bench };
    let plan = bench.look().await.expect("Stripe answers");
    assert!(differences(&plan).join("").contains("paid once"), "{plan}");
}

#[tokio::test]
async fn meters_are_made_and_their_prices_left_to_the_owner() {
    let mut bench = Bench::new([plan_row("pro", 1, Some("29 USD/month"), &[])]);
    bench.stripe.meters = [(BilledMeter::Calls, "api_calls".into())].into();
    let plan = bench.look().await.expect("Stripe answers");
    let metered = plan.parts.iter().find(|part| matches!(part.what, What::MeteredPrice(..))).expect("it is told");
    assert!(
        matches!(&metered.state, State::LeftToYou { advice }
        if advice.contains("`tollgate_meter_pro_calls_month`") && advice.contains("`tollgate_pro`")),
        "{metered}"
    );
    bench.make().await;
    let meters = bench.get("/v1/billing/meters", &[]);
    let meter = &meters["data"][0];
    assert_eq!((&meter["event_name"], &meter["default_aggregation"]["formula"]), (&"api_calls".into(), &"sum".into()));
    let fields = [
        ("product", "tollgate_pro"),
        ("currency", "usd"),
        ("unit_amount", "1"),
        ("recurring[interval]", "month"),
        ("recurring[usage_type]", "metered"),
        ("recurring[meter]", meter["id"].as_str().expect("an id")),
        ("lookup_key", "tollgate_meter_pro_calls_month"),
    ];
    bench.fake.call("POST", "/v1/prices", &fields).expect("made");
    let plan = bench.look().await.expect("Stripe answers");
    let metered = plan.parts.iter().find(|part| matches!(part.what, What::MeteredPrice(..))).expect("it is told");
    assert!(matches!(metered.state, State::There { .. }), "{metered}");
}

#[tokio::test]
async fn an_endpoint_that_lacks_kinds_is_told_of_them_and_keeps_its_others() {
    let bench = Bench::new(sold());
    bench.fake.add_endpoint(&format!("{BASE}/stripe/webhook"), &["invoice.paid", "product.created"]);
    let report = bench.make().await;
    assert!(report.webhook_secret.is_none(), "it has one already, which Stripe does not tell again");
    let endpoints = bench.get("/v1/webhook_endpoints", &[]);
    let endpoints = endpoints["data"].as_array().expect("a list");
    assert_eq!(endpoints.len(), 1);
    let enabled = endpoints[0]["enabled_events"].as_array().expect("kinds");
    assert_eq!(enabled.len(), EVENT_KINDS.len() + 1);
    assert!(enabled.contains(&"product.created".into()));
    assert!(!bench.look().await.expect("Stripe answers").makes_anything());
}

#[tokio::test]
async fn the_other_mode_is_an_error() {
    let mut bench = Bench::new([plan_row("pro", 1, None, &["price_pro"])]);
    bench.fake.price(NewPrice { id: "price_pro", ..NewPrice::default() });
    bench.stripe.livemode = true;
    let error = bench.look().await.expect_err("the key is of test mode");
    assert!(matches!(error, SetupError::OtherMode { is_live: false, .. }), "{error}");
    // A key that does not tell its mode is known by what it finds.
    let fake =
        FakeStripe::start(FakeConfig { livemode: true, api_keys: vec!["opaque".into()], ..FakeConfig::default() });
    bench.fake = fake.expect("a stand-in");
    bench.fake.price(NewPrice { id: "price_pro", ..NewPrice::default() });
    bench.stripe = StripeConfig { livemode: false, secret_key: Secret::new("opaque"), ..settings(&bench.fake) };
    let error = bench.look().await.expect_err("the price is of live mode");
    assert!(
        matches!(&error, SetupError::OtherMode { is_live: true, what } if what.contains("/prices/price_pro")),
        "{error}"
    );
    // Where there is nothing yet, by the first thing that is made.
    bench.plans = PlanTable::new(sold(), None);
    let wanted = Wanted { plans: &bench.plans, stripe: &bench.stripe, public_base: BASE };
    let found = plan(&bench.api(), &wanted).await;
    let error = match found {
        Ok(found) => apply(&bench.api(), &found).await.expect_err("what is made is of live mode"),
        Err(error) => error,
    };
    assert!(matches!(error, SetupError::OtherMode { is_live: true, .. }), "{error}");
    assert!(bench.get("/v1/prices", &[])["data"].as_array().is_some_and(|prices| prices.len() == 1), "nothing went on");
}

#[tokio::test]
async fn a_stripe_that_is_away_ends_it_at_once() {
    let bench = Bench::new(sold());
    let plan = bench.look().await.expect("Stripe answers");
    bench.fake.inject(tollgate_fake_stripe::Fault {
        method: Some("POST".into()),
        path_prefix: "/v1/".into(),
        kind: FaultKind::Status(503),
        when: tollgate_fake_stripe::When::Next(100),
    });
    let report = apply(&bench.api(), &plan).await.expect("all is of one mode");
    assert_eq!((report.made.len(), report.failed.len()), (0, 1), "{report}");
}
