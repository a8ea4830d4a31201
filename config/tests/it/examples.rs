//! The files that users begin with.

use std::path::{Path, PathBuf};

use tollgate_config::{Access, Allowed, DEFAULT_FILE, LogFormat, OnLimiterDown, load};
use tollgate_domain::QuotaPeriod;

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
        let long =
            ["a much longer value, with spaces", "%41@/:#?[]&;=+\\\"'`${X} and more of such", "0123456789abcdef"];
        for value in ["x", "0", "/", "%", "@"].into_iter().chain(long) {
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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/releaseradar.toml");
    let loaded = load(&path, &|_: &str| None).expect("no variables are needed");
    assert_eq!(loaded.warnings, []);
    let (settings, policy) = (loaded.config.settings, loaded.config.policy);
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
