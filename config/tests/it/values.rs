//! What good files mean.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Method, StatusCode};
use tollgate_config::{
    Access, BilledMeter, ByteLimit, Condition, Config, Cost, Database, JwtKeys, LimiterMode, MailTls, OnDispute,
    OnLimiterDown, OnRefund, ProrationBehavior, RateScope, RequestLog, Route, Scheme, Secret, StripeConfig, Threads,
    changed_settings, parse,
};
use tollgate_domain::{LimitSet, MeterName, Plan};

use crate::{environment, good};

fn only_route(text: &str) -> Route {
    let mut routes = good(&format!("[[routes]]\n{text}\n[plans.pro]\nrank = 4\n[plans.public]")).config.policy.routes;
    assert_eq!(routes.len(), 1);
    routes.remove(0)
}

fn plan(text: &str) -> Plan {
    let plans = good(&format!("[plans.pro]\n{text}")).config.policy.plans;
    Plan::clone(plans.get("pro").expect("the plan"))
}

#[test]
fn settings_are_typed() {
    let text = "[gateway]\nlisten = \"127.0.0.1:${PORT}\"\nmount = \"\"\ninvalid_key_status = 401\n\
                drain_timeout = \"0s\"\nmax_body = \"64KiB\"\nmax_header = 2048\nmax_connections = \"1_000\"\nthreads = 3\n\
                [upstream]\nurl = \"https://Example.COM/base/\"\n\
                [limits]\nmode = \"exact\"\nrate_scope = \"key\"\nenforce = false\n";
    let settings = good(text).config.settings;
    let gateway = settings.gateway;
    assert_eq!(gateway.listen, ["127.0.0.1:8090".parse().expect("an address")]);
    assert_eq!(gateway.mount, None);
    assert_eq!(gateway.invalid_key_status, StatusCode::UNAUTHORIZED);
    assert_eq!(gateway.drain_timeout, Duration::ZERO);
    assert_eq!(gateway.max_body, ByteLimit::Bytes(65_536));
    assert_eq!(gateway.max_header, 2048);
    assert_eq!(gateway.max_connections.get(), 1_000);
    assert_eq!(gateway.threads, Threads::Count(NonZeroUsize::new(3).expect("three")));
    let url = settings.upstream.url;
    assert_eq!((url.scheme, &*url.host, url.port, &*url.base_path), (Scheme::Https, "example.com", 443, "/base"));
    assert_eq!(url.to_string(), "https://example.com:443/base");
    assert_eq!(settings.limits.mode, LimiterMode::Exact);
    assert_eq!(settings.limits.rate_scope, RateScope::Key);
    assert!(!settings.limits.enforce);
}

#[test]
fn paths_are_relative_to_the_file() {
    for (file, database, expected) in [
        ("/etc/tollgate/tollgate.toml", "", "/etc/tollgate/tollgate.db"),
        ("/etc/tollgate/tollgate.toml", "[store]\ndatabase = \"sqlite://data/t.db\"", "/etc/tollgate/data/t.db"),
        ("/etc/tollgate/tollgate.toml", "[store]\ndatabase = \"sqlite:///var/t.db\"", "/var/t.db"),
        ("tollgate.toml", "", "tollgate.db"),
    ] {
        let config = parse(database, Path::new(file), &environment).expect("no problems").config;
        assert_eq!(config.settings.store.database, Database::Sqlite { path: PathBuf::from(expected) }, "{database}");
        assert_eq!(config.source.as_deref(), Some(Path::new(file)));
    }
    let store = Config::default_for_missing_file().settings.store;
    assert_eq!(store.database, Database::Sqlite { path: "tollgate.db".into() });
}

#[test]
fn mounts_take_whole_segments() {
    let mount = good("[gateway]\nmount = \"/a/b\"").config.settings.gateway.mount.expect("a mount");
    for (path, rest) in
        [("/a/b", Some("")), ("/a/b/", Some("/")), ("/a/b/v1/me", Some("/v1/me")), ("/a/bc", None), ("/a", None)]
    {
        assert_eq!(mount.strip(path), rest, "{path}");
    }
}

#[test]
fn the_admin_api_is_reached_where_it_listens_unless_told_otherwise() {
    for (text, url) in [
        ("", "http://127.0.0.1:8081/"),
        ("listen = \"10.1.2.3:81\"", "http://10.1.2.3:81/"),
        ("listen = \"0.0.0.0:81\"", "http://127.0.0.1:81/"),
        ("listen = \"[::]:81\"", "http://[::1]:81/"),
        ("url = \"https://admin.internal/base\"", "https://admin.internal/base"),
    ] {
        let admin = good(&format!("[admin]\n{text}")).config.settings.admin;
        assert_eq!(admin.reach().as_str(), url, "{text}");
    }
}

#[test]
fn plans_limit_what_they_name_and_nothing_else() {
    for (text, burst, windows, quota) in [
        ("", None, 0, None),
        ("rate = \"unlimited\"\nquota = \"unlimited\"", None, 0, None),
        ("rate = \"600/minute\"", Some(60), 0, None),
        ("rate = \"600/minute\"\nburst = 1_000", Some(1_000), 0, None),
        ("rate = \"600/minute\"\nburst = \"1_000\"", Some(1_000), 0, None),
        ("rate = \"5/second\"", Some(5), 0, None),
        ("rate = \"0/minute\"\nquota = \"0/month\"", Some(0), 0, Some(0)),
        ("windows = [\"1/minute\", \"10/hour\", \"100/day\", \"1_000/30d\"]", None, 4, None),
        ("quota = \"10_000/month\"", None, 0, Some(10_000)),
    ] {
        let LimitSet { bucket, windows: read, quota: read_quota } = plan(text).limits;
        assert_eq!((bucket.map(|b| b.burst()), read.len(), read_quota.limit), (burst, windows, quota), "{text}");
    }
}

#[test]
fn plans_carry_what_is_shown_and_what_gates() {
    let plan = plan(
        "rank = -2\napi = false\ndisplay_name = \"Pro\"\ndescription = \"For all.\"\nhighlights = [\"a\", \"b\"]\n\
         price = \"1_000.50 EUR/year\"\nmax_keys = 3\nfeatures = [\"llm\"]\nstripe_prices = [\"price_1\"]\nmeters = {}",
    );
    assert_eq!((plan.rank, plan.api, plan.max_keys), (-2, false, Some(3)));
    assert_eq!(plan.price.map(|price| price.to_string()).as_deref(), Some("1000.50 EUR/year"));
    assert_eq!(plan.highlights, ["a", "b"]);
    assert!(plan.features.contains("llm"));
    assert_eq!(self::plan("max_keys = \"unlimited\"").max_keys, None);
}

#[test]
fn meters_are_units_a_month_or_only_counted() {
    let plan = plan("meters = { migrations = \"5/month\", tokens = \"unlimited\", none = \"0/month\" }");
    let meters: Vec<_> = plan.meters.iter().map(|(name, quota)| (name.as_str(), quota.limit)).collect();
    assert_eq!(meters, [("migrations", Some(5)), ("none", Some(0)), ("tokens", None)]);
    let text =
        "[plans.pro]\nmeters = { tokens = \"9/month\" }\n[[routes]]\npath = \"/a\"\nmeter = \"tokens\"\ncost_max = 9";
    let route = good(text).config.policy.routes.remove(0);
    assert_eq!(route.meter.as_ref().map(MeterName::as_str), Some("tokens"));
}

#[test]
fn what_customers_sign_in_with_is_typed() {
    let text = "[auth.jwt]\njwks_url = \"http://127.0.0.1:9/keys\"\naudience = \"api\"\ncookie = \"access\"\n";
    let jwt = good(text).config.settings.auth.jwt.expect("the section");
    let JwtKeys::Jwks(url) = &jwt.keys else { panic!("{:?}", jwt.keys) };
    assert_eq!(url.as_str(), "http://127.0.0.1:9/keys");
    assert_eq!((jwt.audience, jwt.issuer, jwt.leeway), (vec!["api".to_owned()], None, Duration::from_mins(1)));
    assert_eq!((jwt.cookie.as_deref(), &*jwt.name_claim), (Some("access"), "name"));
    assert_eq!(good("[portal]\nsession = \"1h\"").config.settings.portal.session, Duration::from_hours(1));
    assert_eq!(good("").config.settings.auth.jwt, None);
}

#[test]
fn mail_is_typed() {
    let server = |text: &str| {
        let text = format!(
            "[gateway]\npublic_url = \"https://a.example\"\n[mail]\nfrom = \"Acme, Inc. <a@acme.com>\"\nserver = \"{text}\"\n"
        );
        good(&text).config.settings.mail.expect("the section")
    };
    let mail = server("smtps://no-reply%40acme.com@[2001:db8::1]:2465\"\npassword = \"${HARD}");
    assert_eq!((&*mail.host, mail.port, mail.tls), ("2001:db8::1", 2465, MailTls::Implicit));
    assert_eq!(mail.user.as_deref(), Some("no-reply@acme.com"));
    assert_eq!(mail.password.as_ref().map(tollgate_config::Secret::reveal), Some("p@ss/w:rd#?%41 é"));
    assert_eq!(&*mail.from, "\"Acme, Inc.\" <a@acme.com>");
    // A variable's value is the user as it is.
    let mail = server("smtp://${HARD}@mail\"\npassword = \"x");
    assert_eq!((mail.user.as_deref(), mail.port, mail.tls), (Some("p@ss/w:rd#?%41 é"), 587, MailTls::StartTls));
    let mail = server("smtp+plain://localhost");
    assert_eq!((mail.user, mail.password, mail.port, mail.tls), (None, None, 25, MailTls::None));
}

#[test]
fn what_is_kept_of_use_is_typed() {
    let usage = |text: &str| {
        good(&format!("[usage]\n{text}\n[plans.p]\nmeters = {{ scans = \"1/month\" }}")).config.settings.usage
    };
    for (text, expected) in [
        ("off", RequestLog::Off),
        ("all", RequestLog::All),
        ("1/1", RequestLog::All),
        ("1/1_000", RequestLog::Sampled(NonZeroU32::new(1_000).expect("a thousand"))),
    ] {
        assert_eq!(usage(&format!("request_log = \"{text}\"")).request_log, expected, "{text}");
    }
    let usage = usage("client_reported = [\"scans\"]\nnotices = [100, 50]\nretention = \"366d\"");
    assert_eq!(usage.client_reported.iter().map(MeterName::as_str).collect::<Vec<_>>(), ["scans"]);
    assert_eq!((usage.notices, usage.retention), (vec![50, 100], Duration::from_hours(366 * 24)));
}

/// A file that sells one plan, with these lines in `[billing.stripe]`.
fn selling(lines: &str) -> Config {
    let text = format!(
        "[gateway]\npublic_url = \"https://a.example\"\n\
         [plans.pro]\nstripe_prices = [\"price_pro\"]\nmeters = {{ tokens = \"unlimited\" }}\n\
         [billing.stripe]\nsecret_key = \"rk_live_0123\"\nwebhook_secrets = [\"whsec_0123456789\", \"${{WORD}}\"]\n{lines}"
    );
    good(&text).config
}

#[test]
fn what_is_asked_of_stripe_is_typed() {
    let secrets = ["whsec_0123456789", "hunter2-from-the-environment"].map(Secret::new);
    let defaults = StripeConfig::new(Secret::new("rk_live_0123"), secrets.into());
    let stripe = selling("").settings.billing.stripe.expect("the section");
    assert_eq!(stripe, defaults);
    assert!(stripe.livemode);
    assert_eq!((stripe.grace, stripe.trial_days), (Duration::from_hours(7 * 24), 0));
    assert_eq!(stripe.proration_behavior, ProrationBehavior::AlwaysInvoice);
    assert_eq!((stripe.on_dispute, stripe.on_refund), (OnDispute::Suspend, OnRefund::Keep));
    assert_eq!((stripe.api_base.as_str(), stripe.sweep), ("https://api.stripe.com/", Duration::from_hours(24)));
    assert!(stripe.meters.is_empty() && stripe.success_url.is_none() && stripe.cancel_url.is_none());

    let lines = "livemode = true\ngrace = \"60d\"\ntrial_days = 14\nproration_behavior = \"create_prorations\"\n\
                 success_url = \"https://b.example/paid?session={CHECKOUT_SESSION_ID}\"\ncancel_url = \"https://b.example\"\n\
                 api_base = \"http://127.0.0.1:12111/base\"\non_dispute = \"keep\"\non_refund = \"suspend\"\n\
                 meters = { tokens = \"llm_tokens\", calls = \"api_calls\" }\nsweep = \"1h\"";
    let stripe = selling(lines).settings.billing.stripe.expect("the section");
    assert_eq!((stripe.grace, stripe.trial_days), (Duration::from_hours(60 * 24), 14));
    assert_eq!(stripe.proration_behavior.as_str(), "create_prorations");
    let success = stripe.success_url.as_ref().map(url::Url::as_str);
    assert_eq!(success, Some("https://b.example/paid?session={CHECKOUT_SESSION_ID}"), "Stripe finds its braces");
    assert_eq!(stripe.cancel_url.as_ref().map(url::Url::as_str), Some("https://b.example/"));
    assert_eq!(stripe.api_base.as_str(), "http://127.0.0.1:12111/base/");
    assert_eq!((stripe.on_dispute, stripe.on_refund), (OnDispute::Keep, OnRefund::Suspend));
    let meters: Vec<_> = stripe.meters.iter().map(|(meter, event)| (meter.as_str(), event.as_str())).collect();
    assert_eq!(meters, [("calls", "api_calls"), ("tokens", "llm_tokens")]);
    assert_eq!(stripe.meters.keys().next(), Some(&BilledMeter::Calls));
    assert_eq!(stripe.sweep, Duration::from_hours(1));
    assert_eq!(good("[billing]").config.settings.billing.stripe, None);
}

#[test]
fn grace_is_the_policy_s_and_a_reload_takes_it() {
    let days = |config: &Config| config.policy.plans.grace_us() / tollgate_domain::DAY_US;
    // A file that loses the section takes access away from nobody before its time.
    for (config, expected) in [
        (Config::default_for_missing_file(), 7),
        (good("").config, 7),
        (selling(""), 7),
        (selling("grace = \"0s\""), 0),
        (selling("grace = \"60d\""), 60),
    ] {
        assert_eq!(days(&config), expected);
    }
    let (old, new) = (selling("grace = \"1d\""), selling("grace = \"2d\"\nsweep = \"1h\""));
    assert_eq!(changed_settings(&old.settings, &new.settings), ["billing.stripe.sweep"]);
    // After a reload the old settings are in force under the new policy: that is what is shown and hashed.
    let in_force = Config { policy: new.policy, ..old.clone() };
    assert!(in_force.to_redacted_toml().contains("grace = \"2d\""), "{}", in_force.to_redacted_toml());
    assert_eq!(in_force.hash(), selling("grace = \"2d\"").hash());
    assert_ne!(in_force.hash(), old.hash());
}

#[test]
fn a_policy_that_needs_a_setting_of_a_new_file_waits_for_the_restart_too() {
    let keys = "[auth.jwt]\njwks_url = \"https://a.example/keys\"\n";
    let with_route = good(&format!("{keys}[[routes]]\nname = \"mine\"\npath = \"/me\"\naccess = \"jwt\"")).config;
    let without = good("").config;
    let unmet = with_route.policy.unmet_by(&without.settings);
    assert_eq!(unmet.as_deref(), Some("the route `mine` has access = \"jwt\", and [auth.jwt] takes a restart"));
    assert_eq!(with_route.policy.unmet_by(&with_route.settings), None);
    assert_eq!(without.policy.unmet_by(&with_route.settings), None);
}

#[test]
fn a_route_without_more_than_a_path_is_keyed_and_costs_one() {
    let route = only_route("path = \"/reports/{id}/*\"");
    assert_eq!(route.name.as_str(), "reports-id-all");
    assert_eq!((route.access, route.cost, route.methods, route.max_body), (Access::Key, Cost::Fixed(1), None, None));
    assert!(!route.encoded_slash_keep && !route.path_params_keep);
    assert!(route.allows(&Method::DELETE));
    let unmatched = Route::unmatched(1);
    assert_eq!((unmatched.access, unmatched.cost), (Access::Key, Cost::Fixed(1)));
    assert!(unmatched.path.matches("/") && unmatched.path.matches("/a/b"));
}

#[test]
fn routes_are_typed() {
    let route = only_route(
        "path = \"/a\"\nname = \"my/route\"\nmethods = [\"GET\", \"POST\"]\nheaders = { X-Version = \"2\" }\n\
         query = { format = true }\naccess = \"optional\"\nmin_plan = \"pro\"\ncost_max = 20\nmax_body = 10\n\
         encoded_slash = \"keep\"\npath_params = \"keep\"\non_limiter_down = \"closed\"\nupgrade = false",
    );
    assert_eq!(route.name.as_str(), "my/route");
    let methods = route.methods.expect("methods");
    assert_eq!(methods.to_string(), "GET, HEAD, POST", "GET serves HEAD");
    assert!(methods.contains(&Method::HEAD) && !methods.contains(&Method::PUT) && !methods.contains(&Method::TRACE));
    assert_eq!(route.headers, [(http::HeaderName::from_static("x-version"), Condition::Equals("2".into()))]);
    assert_eq!(route.query, [("format".into(), Condition::Present)]);
    assert_eq!(route.min_plan.map(|least| least.rank), Some(4));
    assert_eq!((route.cost, route.cost.upfront()), (Cost::UpTo(20), 20));
    assert_eq!(route.max_body, Some(ByteLimit::Bytes(10)));
    assert_eq!(route.on_limiter_down, Some(OnLimiterDown::Closed));
    assert!(route.encoded_slash_keep && route.path_params_keep);
}

#[test]
fn names_come_from_paths_and_are_unique() {
    let text = "[[routes]]\npath = \"/\"\n[[routes]]\npath = \"/a/{id}\"\nmethods = [\"GET\"]\n\
                [[routes]]\npath = \"/a/{id}\"\n[[routes]]\npath = \"/b\"\nname = \"a-id-2\"\n\
                [[routes]]\npath = \"/unmatched\"\n[[routes]]\npath = \"/caf%C3%A9/\"\n[[routes]]\npath = \"/*\"\n";
    let policy = good(text).config.policy;
    let names: Vec<_> = policy.routes.iter().map(|route| (route.index, route.name.as_str())).collect();
    assert_eq!(
        names,
        [(0, "root"), (1, "a-id"), (2, "a-id-3"), (3, "a-id-2"), (4, "unmatched-2"), (5, "caf-C3-A9"), (6, "all"),]
    );
    let long = format!("path = \"/{}\"", "x".repeat(500));
    assert_eq!(only_route(&long).name.as_str().len(), 52);
}

#[test]
fn changed_settings_are_named_and_policy_is_none_of_them() {
    let old = good("").config;
    for (text, changed, same_hash) in [
        ("# a comment", vec![], true),
        ("[gateway]\nlisten = \"127.0.0.1:9\"", vec!["gateway.listen"], true),
        ("[gateway]\nmax_body = \"1MB\"\n[log]\nformat = \"line\"", vec!["gateway.max_body", "log.format"], false),
        ("[gateway]\ndrain_timeout = \"30_000ms\"", vec![], true),
        ("[plans.pro]\nrate = \"1/minute\"", vec![], false),
        ("[cors]\norigins = [\"https://example.com\"]", vec![], false),
        ("[portal]\nsignup = false\n[usage]\nnotices = []", vec!["portal.signup", "usage.notices"], false),
        ("[usage]\nnotices = [100, 90, 75]\nretention = \"400d\"\n[auth]", vec![], true),
        ("[plans.pro]\nmeters = { tokens = \"1/month\" }", vec![], false),
        (
            "[auth.jwt]\njwks_url = \"https://a.example/\"",
            vec!["auth.jwt.jwks_url", "auth.jwt.audience", "auth.jwt.leeway", "auth.jwt.name_claim"],
            false,
        ),
        ("[billing]", vec![], true),
    ] {
        let new = good(text).config;
        assert_eq!(changed_settings(&old.settings, &new.settings), changed, "{text}");
        assert_eq!(old.hash() == new.hash(), same_hash, "{text}");
    }
    let changed =
        changed_settings(&selling("").settings, &selling("trial_days = 1\nmeters = { calls = \"c\" }").settings);
    assert_eq!(changed, ["billing.stripe.trial_days", "billing.stripe.meters"]);
    let hash = old.hash();
    assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hash}");
}
