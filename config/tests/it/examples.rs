//! The files that users begin with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tollgate_config::{
    Access, Allowed, BilledMeter, Config, DEFAULT_FILE, JwtKeys, LogFormat, OnLimiterDown, ProrationBehavior,
    RequestLog, load, parse,
};
use tollgate_domain::{LimitSet, MeterName, QuotaPeriod};

use crate::good;

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let entries = std::fs::read_dir(folder).expect("the examples' folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths
}

#[test]
fn every_example_passes_with_any_value_of_its_variables() {
    let paths = examples();
    assert!(!paths.is_empty());
    for path in paths {
        let long = [
            "a much longer value, with spaces",
            "%41@/:#?[]&;=+\\\"'`${X} and more of such",
            "0123456789abcdef0123456789abcdef",
        ];
        for value in
            ["x", "0", "/", "%", "@", "0123456789abcdef", "sk_test_0123", "rk_live_0123", "pk_live_0123", "whsec_0123"]
                .into_iter()
                .chain(long)
        {
            let loaded = load(&path, &|_: &str| Some(value.to_owned()));
            let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
            // A short token draws a warning.
            assert!(!long.contains(&value) || loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        }
        let text = std::fs::read_to_string(&path).expect("a readable example");
        assert!(!text.contains("_file = "), "{} names a file", path.display());
    }
}

#[test]
fn releaseradar_is_what_its_documents_ask() {
    let Config { settings, policy, .. } = example("releaseradar.toml");
    assert_eq!(settings.log.format, LogFormat::Line);
    let plan = |name: &str| policy.plans.get(name).expect("a plan").clone();
    assert!(!plan("free").api);
    assert_eq!(policy.plans.default_plan().map(|plan| plan.name.as_str()), Some("free"));
    for (name, rate, burst, quota) in [
        ("public", "30/minute", 10, None),
        ("pro", "600/minute", 60, Some(10_000)),
        ("team", "3000/minute", 300, Some(100_000)),
    ] {
        let plan = plan(name);
        assert_eq!(plan.rate.map(|rate| rate.to_string()).as_deref(), Some(rate), "{name}");
        assert_eq!(plan.limits.bucket.map(|bucket| bucket.burst()), Some(burst), "{name}");
        assert_eq!(plan.limits.quota.limit, quota, "{name}");
        let expected = if name == "public" { QuotaPeriod::Billing } else { QuotaPeriod::Rolling30Days };
        assert_eq!(plan.quota_period, expected, "{name}");
    }
    for (path, access, min_plan) in [
        ("/events/public", Access::Public, None),
        ("/events/search", Access::Key, Some("pro")),
        ("/events/42", Access::Key, Some("pro")),
        ("/impact/score", Access::Key, Some("pro")),
        ("/portfolio/estimate", Access::Key, Some("pro")),
        ("/companies/acme", Access::Key, Some("pro")),
        ("/auth/login", Access::Pass, None),
        ("/auth", Access::Pass, None),
        ("/pricing/plans", Access::Pass, None),
        ("/pricing", Access::Pass, None),
    ] {
        let route = policy.routes.iter().find(|route| route.path.matches(path)).expect(path);
        assert_eq!(route.access, access, "{path}");
        assert_eq!(route.min_plan.as_ref().map(|least| least.name.as_str()), min_plan, "{path}");
    }
    assert!(!policy.routes.iter().any(|route| route.path.matches("/internal/metrics")), "denied by default");
    let cors = policy.cors.expect("a CORS section");
    assert!(!cors.credentials);
    assert!(matches!(cors.origins, Allowed::Only(origins) if origins.len() == 1));
    assert_eq!(cors.methods, Allowed::Only(vec![http::Method::GET, http::Method::POST, http::Method::OPTIONS]));
}

/// The four documents whose users pay.
#[test]
fn who_sells_has_a_price_for_each_plan_that_is_sold_and_a_week_of_grace() {
    for (name, sold, trial_days) in [
        ("releaseradar.toml", &["pro", "team"] as &[&str], 0),
        ("pyresolve.toml", &["pro", "unlimited"], 0),
        ("weather.toml", &["business", "enterprise", "pro"], 0),
        ("saas.toml", &["enterprise", "pro", "team"], 14),
    ] {
        let Config { settings, policy, .. } = example(name);
        let stripe = settings.billing.stripe.expect(name);
        assert!(stripe.livemode && stripe.success_url.is_some() && stripe.cancel_url.is_some(), "{name}");
        assert_eq!((stripe.trial_days, stripe.proration_behavior), (trial_days, ProrationBehavior::AlwaysInvoice));
        assert_eq!(policy.plans.grace_us(), 7 * tollgate_domain::DAY_US, "{name}");
        assert_eq!(stripe.api_base.as_str(), "https://api.stripe.com/", "{name}");
        let with_price: Vec<_> = policy.plans.iter().filter(|plan| !plan.stripe_prices.is_empty()).collect();
        let names: Vec<_> = with_price.iter().map(|plan| plan.name.as_str()).collect();
        assert_eq!(names, sold, "{name}");
        for plan in with_price {
            let [price] = plan.stripe_prices.as_slice() else { panic!("{name}: {:?}", plan.stripe_prices) };
            assert_eq!(policy.plans.of_price(price).map(|plan| &plan.name), Some(&plan.name));
            assert!(plan.price.is_some(), "{name}: what is sold has an amount");
        }
    }
}

#[test]
fn saas_is_what_its_document_asks() {
    let Config { settings, policy, .. } = example("saas.toml");
    assert_eq!(settings.keys.prefix.as_str(), "saas_live");
    assert_eq!(settings.usage.request_log, RequestLog::All);
    assert!(matches!(settings.auth.jwt.map(|jwt| jwt.keys), Some(JwtKeys::Secret(_))));
    let meters = settings.billing.stripe.map(|stripe| stripe.meters).expect("the section");
    assert_eq!(meters.into_iter().collect::<Vec<_>>(), [(BilledMeter::Calls, "api_calls".to_owned())]);
    assert_eq!(policy.plans.default_plan().map(|plan| plan.name.as_str()), Some("free"));
    assert_eq!(policy.plans.iter().count(), 4);
    for (name, rate, quota) in [
        ("free", Some("10/minute"), Some(100)),
        ("pro", Some("100/minute"), Some(10_000)),
        ("team", Some("500/minute"), Some(100_000)),
        ("enterprise", None, None),
    ] {
        let plan = policy.plans.get(name).expect(name);
        assert!(plan.api, "{name}");
        assert_eq!(plan.rate.map(|rate| rate.to_string()).as_deref(), rate, "{name}");
        assert_eq!((plan.limits.quota.limit, plan.quota_period), (quota, QuotaPeriod::Billing), "{name}");
    }
    for (path, access) in [("/health", Access::Pass), ("/auth/login", Access::Pass), ("/api/v1/things", Access::Key)] {
        let route = policy.routes.iter().find(|route| route.path.matches(path)).expect(path);
        assert_eq!(route.access, access, "{path}");
    }
    assert!(!policy.routes.iter().any(|route| route.path.matches("/billing")), "denied by default");
}

fn example(name: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let loaded = load(&path, &|name: &str| Some(format!("the-long-enough-value-of-{name}")));
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.warnings, []);
    loaded.config
}

#[test]
fn pyresolve_is_what_its_document_asks() {
    let Config { settings, policy, .. } = example("pyresolve.toml");
    assert_eq!(settings.keys.prefix.as_str(), "pyr_live");
    assert_eq!(settings.gateway.invalid_key_status, http::StatusCode::UNAUTHORIZED);
    let jwt = settings.auth.jwt.expect("tokens of an outside service");
    assert!(matches!(jwt.keys, JwtKeys::Secret(_)));
    assert_eq!((&*jwt.name_claim, jwt.audience), ("user_metadata.name", vec!["authenticated".to_owned()]));
    let reported: Vec<_> = settings.usage.client_reported.iter().map(MeterName::as_str).collect();
    assert_eq!(reported, ["migrations", "scans", "llm_calls", "files_changed", "tokens"]);
    assert_eq!(policy.plans.default_plan().map(|plan| plan.name.as_str()), Some("free"));
    for (name, migrations, llm, price) in [
        ("free", Some(5), false, Some("0 USD/month")),
        ("pro", Some(50), true, Some("19 USD/month")),
        ("unlimited", None, true, Some("49 USD/month")),
        ("enterprise", None, true, None),
    ] {
        let plan = policy.plans.get(name).expect(name);
        assert_eq!(plan.meters.get("migrations").map(|quota| quota.limit), Some(migrations), "{name}");
        assert_eq!((plan.features.contains("llm"), plan.api), (llm, true), "{name}");
        assert_eq!(plan.price.as_ref().map(ToString::to_string).as_deref(), price, "{name}");
        assert_eq!(plan.limits, LimitSet::default(), "{name} limits nothing but meters");
    }
    for (path, access, feature, meter) in [
        ("/", Access::Pass, None, None),
        ("/health", Access::Pass, None, None),
        ("/migrate/tier1", Access::Optional, None, Some("migrations")),
        ("/migrate/tier2", Access::Key, Some("llm"), Some("migrations")),
        ("/migrate/tier3", Access::Key, Some("llm"), Some("migrations")),
    ] {
        let route = policy.routes.iter().find(|route| route.path.matches(path)).expect(path);
        assert_eq!((route.access, route.feature.as_deref()), (access, feature), "{path}");
        assert_eq!(route.meter.as_ref().map(MeterName::as_str), meter, "{path}");
    }
    assert!(!policy.routes.iter().any(|route| route.path.matches("/migrate")), "denied by default");
    let cors = policy.cors.expect("a CORS section");
    assert!(matches!(cors.origins, Allowed::Only(origins) if origins.len() == 2));
    assert_eq!((cors.methods, cors.headers, cors.credentials), (Allowed::Any, Allowed::Any, false));
}

#[test]
fn weather_is_what_its_document_asks() {
    let Config { settings, policy, .. } = example("weather.toml");
    assert_eq!(settings.keys.query.as_deref(), Some("api_key"));
    assert_eq!(settings.portal.session, Duration::from_hours(24));
    assert_eq!(policy.plans.default_plan().map(|plan| plan.name.as_str()), Some("free"));
    assert_eq!(policy.plans.iter().count(), 4);
    for (name, windows, max_keys, price) in [
        ("free", ["60/hour", "1000/day", "10000/30d"], 2, "0 USD/month"),
        ("pro", ["600/hour", "10000/day", "250000/30d"], 10, "29 USD/month"),
        ("business", ["3000/hour", "50000/day", "1000000/30d"], 50, "99 USD/month"),
        ("enterprise", ["10000/hour", "200000/day", "5000000/30d"], 200, "499 USD/month"),
    ] {
        let plan = policy.plans.get(name).expect(name);
        let read: Vec<_> =
            plan.limits.windows.iter().map(|window| format!("{}/{}", window.limit, window.length)).collect();
        assert_eq!(read, windows, "{name}");
        assert_eq!((plan.limits.quota.limit, plan.max_keys), (None, Some(max_keys)), "{name}");
        assert_eq!(plan.limits.bucket.is_some(), name == "enterprise", "{name}");
        assert_eq!(plan.price.as_ref().map(ToString::to_string).as_deref(), Some(price), "{name}");
        assert!(!plan.highlights.is_empty() && plan.display_name.is_some(), "{name}");
    }
}

/// What stands in an example as a comment for its reader to take out of it is right too.
#[test]
fn the_mail_that_weather_leaves_to_its_reader_is_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/weather.toml");
    let text = std::fs::read_to_string(path).expect("a readable example");
    let shown =
        |line: &&str| ["[mail]", "server =", "password =", "from ="].iter().any(|start| line.starts_with(start));
    let mail: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# ")).filter(shown).collect();
    assert_eq!(mail.len(), 4);
    let whole = format!("{text}\n{}", mail.join("\n"));
    let loaded = parse(&whole, Path::new("weather.toml"), &|_: &str| Some("any-long-enough-value".into()));
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.config.settings.mail.is_some() && loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn the_fleet_is_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fleet.toml");
    let loaded = load(&path, &|name: &str| Some(format!("value-of-{name}"))).expect("any values will do");
    assert!(loaded.config.settings.is_fleet());
    let policy = loaded.config.policy;
    assert_eq!(policy.plans.iter().count(), 2);
    assert_eq!(policy.routes[0].on_limiter_down, Some(OnLimiterDown::Closed));
}

#[test]
fn the_default_file_can_be_given_to_users() {
    assert_eq!(good(DEFAULT_FILE).warnings, []);
    assert!(DEFAULT_FILE.lines().all(|line| line.chars().count() <= 140));
}
