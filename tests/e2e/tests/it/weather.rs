//! The example file of the weather API against its document's rows. Each test names the rows it shows.

use serde_json::{Value, json};
use tollgate_e2e::{Answer, Backend, Gate, Key, Mailbox, Request, Setup, Side, Stripe, eventually};
use tollgate_fake_stripe::{Action, CheckoutOutcome};

use crate::support::{at_checkout, example, named, selling, write_csv};

const FORECAST: &str = "/api/v3/forecast?city=Oslo";

fn start(backend: &Backend, mailbox: &Mailbox) -> Gate {
    Setup::new(backend).whole_file(example("weather")).mailing(mailbox).start()
}

/// With what stands in for Stripe, which sends its events.
fn start_selling(backend: &Backend, mailbox: &Mailbox) -> (Gate, Stripe) {
    let stripe = Stripe::start();
    let gate = Setup::new(backend).whole_file(selling("weather", &stripe)).mailing(mailbox).start();
    stripe.deliver_through(&gate);
    (gate, stripe)
}

/// What stands behind `name` of a member in a `RateLimit` header's item of this name, such as `r` in `"hour";r=59`.
#[track_caller]
fn member(answer: &Answer, header: &str, item: &str, name: &str) -> u64 {
    let header = answer.header(header).unwrap_or_else(|| panic!("no {header} in {answer:?}"));
    let found = header.split(", ").find_map(|text| text.strip_prefix(&format!("\"{item}\";")));
    let members = found.unwrap_or_else(|| panic!("no {item} in {header}")).split(';');
    let value = members.filter_map(|pair| pair.split_once('=')).find(|(known, _)| *known == name);
    value.and_then(|(_, value)| value.parse().ok()).unwrap_or_else(|| panic!("no {name} of {item} in {header}"))
}

/// Rows 3.1, 3.4, 3.T: the tier table, open to all.
#[test]
fn the_tiers_are_listed_with_price_windows_and_keys() {
    let (backend, mailbox) = (Backend::start(), Mailbox::start());
    let gate = start(&backend, &mailbox);
    let plans = gate.send(&Request::get("/tollgate/v1/plans")).expect(200).json()["plans"].clone();
    for (plan, price, keys, windows) in [
        ("free", "0", 2, [60, 1_000, 10_000]),
        ("pro", "29", 10, [600, 10_000, 250_000]),
        ("business", "99", 50, [3_000, 50_000, 1_000_000]),
        ("enterprise", "499", 200, [10_000, 200_000, 5_000_000]),
    ] {
        let shown = named(&plans, "name", plan);
        assert_eq!(
            (&shown["price"]["amount"], &shown["limits"]["max_keys"]),
            (&price.into(), &keys.into()),
            "{shown:#}"
        );
        let limits: Vec<Value> = shown["limits"]["windows"]
            .as_array()
            .expect("windows")
            .iter()
            .map(|window| window["limit"].clone())
            .collect();
        assert_eq!(limits, windows.map(Value::from), "{shown:#}");
        assert!(shown["highlights"].as_array().is_some_and(|lines| lines.len() > 1), "{shown:#}");
    }
}

/// Rows 3.1, 3.2, 3.T: sixty in any hour, and no more; one policy a window; a wait that says when.
#[test]
fn windows_are_strict_and_each_has_its_headers() {
    let (backend, mailbox) = (Backend::start(), Mailbox::start());
    let gate = start(&backend, &mailbox);
    let keys = [gate.key("free@example.com", "free"), gate.key("free@example.com", "free")];
    gate.cli(&["keys", "create", "--account", "free@example.com"]).exits(1).says("plan `free` allows 2");
    for call in 0..60 {
        let answer = gate.get(FORECAST, &keys[call % 2]).expect(200);
        let left = 59 - u64::try_from(call).expect("a small number");
        for (window, limit, seconds) in [("hour", 60, 3_600), ("day", 1_000, 86_400), ("30d", 10_000, 2_592_000)] {
            assert_eq!(member(&answer, "ratelimit-policy", window, "q"), limit);
            assert_eq!(member(&answer, "ratelimit-policy", window, "w"), seconds);
            assert_eq!(member(&answer, "ratelimit", window, "r"), limit - 60 + left);
        }
        assert_eq!((answer.number("x-ratelimit-limit"), answer.number("x-ratelimit-remaining")), (60, left));
    }
    for key in &keys {
        let refused = gate.get(FORECAST, key);
        refused.problem(429, "rate_limited");
        let wait = refused.number("retry-after");
        assert!((3_500..=3_620).contains(&wait), "the oldest call leaves in an hour: {wait} s");
    }
    assert_eq!(backend.count(), 60);
    let enterprise = gate.key("big@example.com", "enterprise");
    assert_eq!(member(&gate.get(FORECAST, &enterprise).expect(200), "ratelimit-policy", "burst", "q"), 500);
}

/// Rows 3.3, 3.5: keys by header or query; the documentation is open.
#[test]
fn a_key_may_stand_in_the_query_and_goes_no_further() {
    let (backend, mailbox) = (Backend::start(), Mailbox::start());
    let gate = start(&backend, &mailbox);
    let key = gate.key("ada@example.com", "free");
    assert!(key.raw.starts_with("wx_live_"), "{}", key.raw);
    gate.send(&Request::get(FORECAST)).problem(401, "missing_key");
    gate.send(&Request::get(&format!("{FORECAST}&api_key={}", key.raw))).expect(200);
    assert_eq!(backend.only().target, FORECAST);
    for open in ["/docs", "/openapi.json"] {
        gate.send(&Request::get(open)).expect(200);
    }
    let me = gate.send(&Request::get(&format!("/tollgate/v1/me?api_key={}", key.raw))).expect(200).json();
    assert_eq!(me["email"], "ada@example.com");
    assert!(!gate.log().contains(&key.raw));
}

/// Rows 3.4, 3.T: used, limit, remaining and percentage of each window, the history, and the change of tier.
#[test]
fn my_tier_and_its_history_tell_what_was_used_and_an_upgrade_keeps_it() {
    let (backend, mailbox) = (Backend::start(), Mailbox::start());
    let gate = start(&backend, &mailbox);
    let key = gate.key("ada@example.com", "free");
    for _ in 0..15 {
        gate.get(FORECAST, &key).expect(200);
    }
    let quota = || gate.get("/tollgate/v1/quota", &key).expect(200).json();
    let told = eventually("the windows are told", || {
        let quota = quota();
        (named(&quota["limits"], "name", "hour")["used"] == 15).then_some(quota)
    });
    let window = |quota: &Value, name: &str, field: &str| named(&quota["limits"], "name", name)[field].clone();
    assert_eq!(window(&told, "hour", "percentage"), 25.0, "{told:#}");
    assert_eq!((window(&told, "hour", "remaining"), window(&told, "day", "remaining")), (45.into(), 985.into()));
    gate.cli(&["accounts", "set-plan", "ada@example.com", "pro"]).done();
    let after = quota();
    assert_eq!(window(&after, "hour", "remaining"), 585, "an upgrade resets nothing: {after:#}");
    gate.await_ledger();
    for step in ["hour", "day", "month"] {
        let history = gate.get(&format!("/tollgate/v1/usage?step={step}&group_by=route"), &key).expect(200).json();
        assert_eq!(history["totals"]["calls"]["calls"], 15, "{history:#}");
        assert!(named(&history["rows"], "group", "weather")["calls"].as_u64().is_some_and(|calls| calls > 0));
    }
}

/// Row 3.5: old clients go through until it is switched on, and are seen.
#[test]
fn old_clients_go_through_while_nothing_is_enforced() {
    let backend = Backend::start();
    let off = example("weather").replace("enforce = true", "enforce = false");
    let gate = Setup::new(&backend).whole_file(off).start();
    gate.send(&Request::get(FORECAST)).expect(200);
    let key = gate.key("ada@example.com", "free");
    for _ in 0..61 {
        gate.get(FORECAST, &key).expect(200);
    }
    for code in ["missing_key", "rate_limited"] {
        assert_eq!(gate.metrics().count("tollgate_would_refuse_total", &[("code", code)]), 1, "{code}");
    }
}

/// Row 3.8b: users come over with their tiers, and sign in by a mailed link for 24 hours.
#[test]
fn users_come_over_with_their_tiers_and_sign_in_by_mail() {
    let (backend, mailbox) = (Backend::start(), Mailbox::start());
    let gate = start(&backend, &mailbox);
    let rows = [("ada", "pro"), ("bob", "business"), ("eve", "free")];
    let lines = rows.iter().map(|(user, tier)| format!("{user}@example.com,{user},{tier}"));
    let file = write_csv(&gate, "email,name,plan", lines);
    gate.cli(&["accounts", "import", file.to_str().expect("temporary paths are text")]).done();
    for (user, tier) in rows {
        let customer = Side::Mounted.sign_in(&gate, &mailbox, &format!("{user}@example.com"));
        assert!((86_390..=86_400).contains(&customer.lasts_secs()), "24 hours: {}", customer.attributes);
        for attribute in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/tollgate"] {
            assert!(customer.attributes.contains(attribute), "no {attribute} in {}", customer.attributes);
        }
        let me = customer.get("/v1/me").expect(200).json();
        assert_eq!((&me["plan"]["name"], &me["name"]), (&tier.into(), &user.into()), "{me:#}");
    }
    assert!(
        mailbox
            .await_mail("ada@example.com", 0)
            .link()
            .starts_with("https://api.weather.example/tollgate/login?token=")
    );
}

/// Row 3.9: keys for some routes, for reading, for some addresses, for some time.
#[test]
fn owners_narrow_their_own_keys() {
    let (backend, mailbox) = (Backend::start(), Mailbox::start());
    let gate = start(&backend, &mailbox);
    gate.key("ada@example.com", "business");
    let ada = Side::Mounted.sign_in(&gate, &mailbox, "ada@example.com");
    let call = |key: &Key, method: &str, target: &str| gate.send(&Request::new(method, target).key(&key.raw)).status;
    for (narrowed, method, target, status) in [
        (json!({ "scopes": ["weather"] }), "GET", FORECAST, 200),
        (json!({ "scopes": ["weather"] }), "GET", "/elsewhere", 403),
        (json!({ "read_only": true }), "GET", FORECAST, 200),
        (json!({ "read_only": true }), "POST", FORECAST, 403),
        (json!({ "ip_allow": ["127.0.0.0/8"] }), "GET", FORECAST, 200),
        (json!({ "ip_allow": ["203.0.113.0/24"] }), "GET", FORECAST, 403),
        (json!({ "ip_deny": ["127.0.0.1"] }), "GET", FORECAST, 403),
        (json!({ "expires_at": "2099-01-01T00:00:00Z" }), "GET", FORECAST, 200),
    ] {
        let made = Key::of(&ada.write("POST", "/v1/keys", &narrowed).expect(201).json());
        assert_eq!(call(&made, method, target), status, "{narrowed}");
        let plain = Key::of(&ada.write("POST", "/v1/keys", &json!({})).expect(201).json());
        assert_eq!(call(&plain, method, target), 200);
        ada.write("PATCH", &format!("/v1/keys/{}", plain.id), &narrowed).expect(200);
        assert_eq!(call(&plain, method, target), status, "changed later: {narrowed}");
    }
}

/// Rows 3.4, 3.T: the upgrade, which is Checkout for who has no subscription and a priced change for who has one; the
/// windows are the new tier's at once, with what was used in them.
#[test]
fn a_tier_is_changed_by_a_click_and_its_windows_with_it() {
    let (backend, mailbox) = (Backend::start(), Mailbox::start());
    let (gate, stripe) = start_selling(&backend, &mailbox);
    let ada = Side::Mounted.sign_in(&gate, &mailbox, "ada@example.com");
    let key = Key::of(&ada.write("POST", "/v1/keys", &json!({})).expect(201).json());
    let mut used = 0;
    // Calls until the gateway has heard of the tier, each of which counts.
    let mut hour = |limit: u64| {
        let answer = eventually(&format!("{limit} calls an hour"), || {
            let answer = gate.get(FORECAST, &key).expect(200);
            used += 1;
            (member(&answer, "ratelimit-policy", "hour", "q") == limit).then_some(answer)
        });
        assert_eq!(member(&answer, "ratelimit", "hour", "r"), limit - used);
    };
    hour(60);
    let given = ada.write("POST", "/v1/billing/change", &json!({ "plan": "pro" })).expect(200);
    at_checkout(&stripe, &given, CheckoutOutcome::Pay);
    gate.await_plan(&ada.account, Some("pro"));
    hour(600);
    let preview = ada.write("POST", "/v1/billing/preview", &json!({ "plan": "business" })).expect(200).json();
    let changed = ada.write("POST", "/v1/billing/change", &json!({ "plan": "business" })).expect(200).json();
    assert_eq!(changed["subscription"]["plan"], "business", "{changed:#} after {preview:#}");
    hour(3_000);
    let tier = ada.get("/v1/quota").expect(200).json();
    assert_eq!(tier["plan"]["name"], "business", "{tier:#}");
    for plan in ["free", "gold"] {
        ada.write("POST", "/v1/billing/change", &json!({ "plan": plan })).problem(400, "not_for_sale");
    }
    ada.write("POST", "/v1/billing/cancel", &json!({ "at": "now" })).expect(200);
    gate.await_plan(&ada.account, Some("free"));
    hour(60);
}

/// Row 3.8: Stripe writes the invoices, what a change costs is told before it, and the portal shows both.
#[test]
fn what_is_paid_has_invoices_and_what_will_be_is_told_before() {
    let (backend, mailbox) = (Backend::start(), Mailbox::start());
    let (gate, stripe) = start_selling(&backend, &mailbox);
    let ada = Side::Mounted.sign_in(&gate, &mailbox, "ada@example.com");
    let projected = |plan: &str| ada.write("POST", "/v1/billing/preview", &json!({ "plan": plan })).expect(200).json();
    let before = projected("pro");
    assert_eq!(before["amount_due_now"], 2_900, "{before:#}");
    let given = ada.write("POST", "/v1/billing/checkout", &json!({ "plan": "pro" })).expect(200);
    at_checkout(&stripe, &given, CheckoutOutcome::Pay);
    gate.await_plan(&ada.account, Some("pro"));
    let invoices = stripe.fake().call("GET", "/v1/invoices", &[]).expect("a list");
    let invoices = invoices["data"].as_array().expect("data");
    assert_eq!(invoices.len(), 1, "{invoices:#?}");
    assert_eq!((&invoices[0]["status"], &invoices[0]["amount_paid"]), (&"paid".into(), &2_900.into()));
    let next = projected("enterprise");
    assert!(next["amount_due_now"].as_i64().is_some_and(|due| due > 46_000), "{next:#}");
    assert_eq!(next["next_amount"], 49_900, "{next:#}");
    let portal = ada.write("POST", "/v1/billing/portal", &json!({})).expect(200).json();
    assert!(portal["portal_url"].as_str().is_some_and(|url| url.starts_with(&stripe.fake().url())), "{portal:#}");
}

/// Row 3.8b: who comes over with a customer and a subscription at Stripe keeps paying there, under any address.
#[test]
fn customers_who_pay_already_come_over_with_their_subscriptions() {
    let (backend, mailbox) = (Backend::start(), Mailbox::start());
    let (gate, stripe) = start_selling(&backend, &mailbox);
    stripe.deliver(false);
    let payer = stripe.payer("accounts@bigco.example", "price_business", None);
    stripe.fake().take_events();
    let row = format!("ada@example.com,Ada,{},{}", payer.customer, payer.subscription);
    let file = write_csv(&gate, "email,name,stripe_customer_id,subscription", std::iter::once(row));
    gate.cli(&["accounts", "import", file.to_str().expect("temporary paths are text")]).done();
    stripe.deliver(true);
    stripe.act(&payer, Action::Touch);
    gate.await_plan("ada@example.com", Some("business"));
    let ada = Side::Mounted.sign_in(&gate, &mailbox, "ada@example.com");
    let key = Key::of(&ada.write("POST", "/v1/keys", &json!({})).expect(201).json());
    gate.get(FORECAST, &key).expect(200);
    stripe.act(&payer, Action::CancelNow);
    gate.await_plan("ada@example.com", Some("free"));
}
