//! The example file of `PyResolve` against its document's rows. Each test names the rows it shows.

use serde_json::{Value, json};
use tollgate_e2e::{Answer, Backend, Gate, Key, Request, Setup, Signer, Stripe, eventually, now_secs, run_consumer};
use tollgate_fake_stripe::{Action, CheckoutOutcome, sign};

use crate::support::{act, at_checkout, example, named, selling};

/// Stands for the project's secret.
const SUPABASE: Signer = Signer::Secret("a-supabase-project-s-jwt-secret-of-enough-bytes");

fn start(backend: &Backend) -> Gate {
    start_file(backend, &example("pyresolve"))
}

/// With what stands in for Stripe, which sends its events.
fn start_selling(backend: &Backend) -> (Gate, Stripe) {
    let stripe = Stripe::start();
    let gate = start_file(backend, &selling("pyresolve", &stripe));
    stripe.deliver_through(&gate);
    (gate, stripe)
}

fn start_file(backend: &Backend, text: &str) -> Gate {
    let Signer::Secret(secret) = SUPABASE else { panic!("it is a secret") };
    Setup::new(backend).whole_file(text.replace("${SUPABASE_JWT_SECRET}", secret)).start()
}

/// What Supabase gives a user who has signed in.
fn token(user: &str, name: Option<&str>) -> String {
    SUPABASE.token(&json!({
        "sub": format!("user-{user}"),
        "email": format!("{user}@example.com"),
        "aud": "authenticated",
        "exp": now_secs() + 3_600,
        "user_metadata": name.map_or_else(|| json!({}), |name| json!({ "name": name })),
    }))
}

fn ask(gate: &Gate, target: &str, token: &str) -> Answer {
    gate.send(&Request::get(&format!("/tollgate{target}")).bearer(token))
}

fn change(gate: &Gate, method: &str, target: &str, token: &str, body: &Value) -> Answer {
    gate.send(&Request::json(method, &format!("/tollgate{target}"), body).bearer(token))
}

/// A key that a user makes for itself.
fn own_key(gate: &Gate, token: &str, name: &str) -> Key {
    Key::of(&change(gate, "POST", "/v1/keys", token, &json!({ "name": name })).expect(201).json())
}

fn report(gate: &Gate, key: &Key, event: &Value) -> Answer {
    gate.send(&Request::json("POST", "/tollgate/v1/usage", event).key(&key.raw))
}

/// Row 2.1: the plans as they are sold.
#[test]
fn plans_have_their_prices_meters_and_features() {
    let backend = Backend::start();
    let gate = start(&backend);
    let plans = gate.send(&Request::get("/tollgate/v1/plans")).expect(200).json()["plans"].clone();
    for (plan, price, migrations, features) in [
        ("free", json!("0"), json!(5), json!([])),
        ("pro", json!("19"), json!(50), json!(["llm"])),
        ("unlimited", json!("49"), json!("unlimited"), json!(["llm"])),
        ("enterprise", Value::Null, json!("unlimited"), json!(["llm"])),
    ] {
        let shown = named(&plans, "name", plan);
        assert_eq!(shown["price"]["amount"], price, "{shown:#}");
        assert_eq!(shown["limits"]["meters"]["migrations"], migrations, "{shown:#}");
        assert_eq!(shown["features"], features, "{shown:#}");
    }
}

/// Rows 2.1, 2.2, 2.5: a new user is Free, is called as it says or as its address begins, and edits its own name.
#[test]
fn a_first_token_makes_a_free_account_with_its_name() {
    let backend = Backend::start();
    let gate = start(&backend);
    for (user, claimed, name) in [("ada", Some("Ada Lovelace"), "Ada Lovelace"), ("bob", None, "bob")] {
        let me = ask(&gate, "/v1/me", &token(user, claimed)).expect(200).json();
        assert_eq!(me["email"], format!("{user}@example.com"), "{me:#}");
        assert_eq!(me["name"], name, "{me:#}");
        assert_eq!(me["plan"]["name"], "free", "{me:#}");
        let again = ask(&gate, "/v1/me", &token(user, claimed)).expect(200).json();
        assert_eq!(again["account"], me["account"], "the same user has the same account");
    }
    let ada = token("ada", Some("Ada Lovelace"));
    change(&gate, "PATCH", "/v1/me", &ada, &json!({ "name": "Countess" })).expect(200);
    assert_eq!(ask(&gate, "/v1/me", &ada).json()["name"], "Countess", "a later token does not undo it");
    let bob = token("bob", None);
    assert_eq!(ask(&gate, "/v1/me", &bob).json()["name"], "bob");
    let for_all =
        SUPABASE.token(&json!({ "role": "anon", "sub": "x", "email": "x@example.com", "exp": now_secs() + 60 }));
    ask(&gate, "/v1/me", &for_all).problem(401, "invalid_token");
}

/// Rows 2.3, 2.8: many named keys, shown once, listed masked, each one's own.
#[test]
fn users_make_name_rotate_and_revoke_their_own_keys_and_see_nobody_elses() {
    let backend = Backend::start();
    let gate = start(&backend);
    let (ada, bob) = (token("ada", None), token("bob", None));
    let keys = ["laptop", "ci", "server"].map(|name| own_key(&gate, &ada, name));
    assert!(keys.iter().all(|key| key.raw.starts_with("pyr_live_")), "{keys:?}");
    let listed = ask(&gate, "/v1/keys", &ada).expect(200);
    for key in &keys {
        let masked = format!("pyr_live_****{}", &key.raw[key.raw.len() - 4..]);
        assert_eq!(named(&listed.json()["items"], "id", &key.id)["masked"], masked);
        assert!(!listed.text().contains(&key.raw));
    }
    assert_eq!(ask(&gate, "/v1/keys", &bob).expect(200).json()["items"], json!([]));
    let path = format!("/v1/keys/{}", keys[0].id);
    for (method, target) in
        [("GET", path.clone()), ("PATCH", path.clone()), ("DELETE", path.clone()), ("POST", path.clone() + "/rotate")]
    {
        change(&gate, method, &target, &bob, &json!({})).problem(404, "not_found");
    }
    gate.get("/migrate/tier1", &keys[0]).expect(200);
    let new = Key::of(&change(&gate, "POST", &format!("{path}/rotate"), &ada, &json!({})).expect(201).json());
    assert_eq!([gate.get("/migrate/tier1", &keys[0]).status, gate.get("/migrate/tier1", &new).status], [401, 200]);
    change(&gate, "DELETE", &format!("/v1/keys/{}", new.id), &ada, &json!({})).expect(200);
    assert_eq!(gate.get("/migrate/tier1", &new).problem(401, "invalid_key")["detail"], "Invalid or revoked API key");
}

/// Row 2.4: events of every type, told apart by type and tier, with their sums; the month's view.
#[test]
fn reported_events_are_seen_by_type_and_tier() {
    let backend = Backend::start();
    let gate = start(&backend);
    let ada = token("ada", None);
    let key = own_key(&gate, &ada, "cli");
    let events = [
        json!({ "id": "e1", "type": "migrations", "meters": { "files_changed": 12, "tokens": 900 },
            "dimensions": { "library": "requests", "tier": 1 }, "metadata": { "duration_ms": 81 } }),
        json!({ "id": "e2", "type": "migrations", "meters": { "files_changed": 3 }, "dimensions": { "library": "django", "tier": 2 } }),
        json!({ "id": "e3", "type": "scans", "dimensions": { "library": "requests" } }),
        json!({ "id": "e4", "type": "llm_calls", "quantity": 4, "meters": { "tokens": 100 }, "dimensions": { "tier": 2 } }),
    ];
    for event in &events {
        assert_eq!(report(&gate, &key, event).expect(200).json()["results"][0]["status"], "recorded", "{event}");
        assert_eq!(report(&gate, &key, event).expect(200).json()["results"][0]["status"], "known", "{event}");
    }
    let month = ask(&gate, "/v1/usage?step=month&group_by=meter", &ada).expect(200).json();
    for (meter, events, units) in
        [("migrations", 2, 2), ("scans", 1, 1), ("llm_calls", 1, 4), ("files_changed", 2, 15), ("tokens", 2, 1_000)]
    {
        let total = &month["totals"][meter];
        assert_eq!((&total["calls"], &total["units"]), (&events.into(), &units.into()), "{meter}: {month:#}");
    }
    let by_tier = ask(&gate, "/v1/usage?step=month&meter=migrations&group_by=dimension:tier", &ada).expect(200).json();
    for tier in ["1", "2"] {
        assert_eq!(named(&by_tier["rows"], "group", tier)["units"], 1, "{by_tier:#}");
    }
    let of_library = ask(&gate, "/v1/usage?step=month&dimension.library=requests", &key.raw).expect(200).json();
    assert_eq!(of_library["totals"]["files_changed"]["units"], 12, "{of_library:#}");
    assert_eq!(of_library["totals"]["scans"]["units"], 1, "{of_library:#}");
}

/// Rows 2.5, 2.9b: what may still be done, asked before a costly job.
#[test]
fn the_quota_says_what_is_left_and_what_is_allowed() {
    let backend = Backend::start();
    let gate = start(&backend);
    let ada = token("ada", None);
    let key = own_key(&gate, &ada, "cli");
    let quota = |key: &Key| gate.get("/tollgate/v1/quota", key).expect(200).json();
    for (number, allowed) in [(1, true), (2, true), (3, true), (4, true), (5, false)] {
        report(&gate, &key, &json!({ "id": format!("m{number}"), "type": "migrations" })).expect(200);
        let now = quota(&key);
        let meter = &now["meters"]["migrations"];
        assert_eq!(
            (&meter["used"], &meter["limit"], &meter["remaining"], &meter["allowed"]),
            (&number.into(), &5.into(), &(5 - number).into(), &allowed.into()),
            "{now:#}"
        );
        assert_eq!((&now["plan"]["name"], &now["features"]), (&"free".into(), &json!([])), "no LLM: {now:#}");
    }
    gate.cli(&["accounts", "set-plan", "ada@example.com", "unlimited"]).done();
    let now = quota(&key);
    assert_eq!(now["meters"]["migrations"]["remaining"], "unlimited", "{now:#}");
    assert_eq!(now["features"], json!(["llm"]));
}

/// Row 2.9: log in with a key that is verified, ask for the status, log out; 2.9b: go on when offline.
#[test]
fn the_command_line_logs_in_asks_before_a_job_and_goes_on_when_offline() {
    let backend = Backend::start();
    let mut gate = start(&backend);
    let key = own_key(&gate, &token("ada", None), "cli");
    let home = tempfile::tempdir().expect("a folder");
    let url = format!("http://{}/tollgate", gate.address());
    let run = |arguments: &[&str]| run_consumer(home.path(), arguments, &[], None);
    run(&["login", "--url", &url, "--key", "pyr_live_wrong"]).exits(1);
    run(&["status"]).exits(2);
    run(&["login", "--url", &url, "--key", &key.raw]).done();
    let status = run(&["status", "--json"]).done().json();
    assert_eq!((&status["email"], &status["plan"]["name"]), (&"ada@example.com".into(), &"free".into()), "{status:#}");
    run(&["status", "--require", "migrations"]).done();
    for number in 0..5 {
        report(&gate, &key, &json!({ "id": format!("m{number}"), "type": "migrations" })).expect(200);
    }
    run(&["status", "--require", "migrations"]).exits(1).says("nothing is left of `migrations`");
    run(&["status", "--require", "scans"]).done();
    gate.stop();
    run(&["status", "--require", "migrations"]).exits(0).says("warning");
    run(&["logout"]).done();
    run(&["status"]).exits(2);
}

/// Row 2.10 and 2.T: tier 1 is open to all, a key that is sent must work and pays; the tiers with the LLM are sold.
#[test]
fn tier_one_is_for_everybody_and_the_llm_for_those_who_pay() {
    let backend = Backend::start();
    let gate = start(&backend);
    let (free, ada) = (token("free", None), token("ada", None));
    let (free, key) = (own_key(&gate, &free, "cli"), own_key(&gate, &ada, "cli"));
    gate.send(&Request::post("/migrate/tier1", "{}")).expect(200);
    gate.send(&Request::post("/migrate/tier1", "{}").key("pyr_live_wrong")).problem(401, "invalid_key");
    for tier in ["/migrate/tier2", "/migrate/tier3"] {
        gate.send(&Request::get(tier)).problem(401, "missing_key");
        assert_eq!(
            gate.get(tier, &free).problem(402, "upgrade_required")["upgrade_url"],
            "https://pyresolve.dev/pricing"
        );
    }
    for number in 0..5 {
        assert_eq!(gate.get("/migrate/tier1", &free).status, 200, "migration {number}");
    }
    let refused = gate.get("/migrate/tier1", &free);
    assert_eq!(refused.problem(429, "quota_exceeded")["meter"], "migrations");
    gate.cli(&["accounts", "set-plan", "ada@example.com", "pro"]).done();
    gate.get("/migrate/tier3", &key).expect(200);
    gate.cli(&["accounts", "set-plan", "ada@example.com", "--auto"]).done();
    gate.get("/migrate/tier3", &key).problem(402, "upgrade_required");
    gate.get("/migrate/tier1", &key).expect(200);
    let used = eventually("the quota is told", || {
        let quota = gate.get("/tollgate/v1/quota", &key).expect(200).json();
        quota["meters"]["migrations"]["used"].as_u64().filter(|used| *used >= 2)
    });
    assert_eq!(used, 2, "who falls back to Free keeps what was used");
}

/// Row 2.11: two origins, any method and header; the backend's own health stays, the gate has its own.
#[test]
fn two_origins_may_call_from_a_browser_and_health_is_open() {
    let backend = Backend::start();
    let gate = start(&backend);
    let preflight = |origin: &str| {
        let request = Request::new("OPTIONS", "/migrate/tier2").header("Origin", origin);
        gate.send(
            &request.header("Access-Control-Request-Method", "PUT").header("Access-Control-Request-Headers", "x-any"),
        )
    };
    for origin in ["https://pyresolve.dev", "http://localhost:3000"] {
        let answer = preflight(origin).expect(204);
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        let methods = answer.header("access-control-allow-methods").unwrap_or_default();
        assert!(methods == "*" || methods.contains("PUT"), "any method: {answer:?}");
        let headers = answer.header("access-control-allow-headers").unwrap_or_default();
        assert!(headers == "*" || headers.contains("x-any"), "any header: {answer:?}");
        let refused = gate.send(&Request::get("/migrate/tier2").header("Origin", origin)).expect(401);
        assert_eq!(refused.header("access-control-allow-origin"), Some(origin));
    }
    assert_eq!(preflight("https://elsewhere.example").header("access-control-allow-origin"), None);
    backend.forget();
    gate.send(&Request::get("/health")).expect(200);
    assert_eq!(backend.only().target, "/health");
    gate.observe("/healthz").expect(200);
}

/// Buys a plan, and waits until it holds; the subscription's id.
#[track_caller]
fn buy(gate: &Gate, stripe: &Stripe, token: &str, plan: &str) -> String {
    let given = change(gate, "POST", "/v1/billing/checkout", token, &json!({ "plan": plan })).expect(200);
    at_checkout(stripe, &given, CheckoutOutcome::Pay);
    await_plan(gate, token, plan);
    let shown = ask(gate, "/v1/billing", token).expect(200).json();
    shown["subscriptions"][0]["id"].as_str().unwrap_or_else(|| panic!("{shown:#}")).to_owned()
}

#[track_caller]
fn await_plan(gate: &Gate, token: &str, plan: &str) {
    eventually(&format!("the plan is {plan}"), || {
        let me = ask(gate, "/v1/me", token).expect(200).json();
        (me["plan"]["name"] == plan).then_some(())
    });
}

/// A gateway hears of a change a moment after the control plane has it.
#[track_caller]
fn await_status(gate: &Gate, key: &Key, target: &str, status: u16) {
    eventually(&format!("{target} is answered {status}"), || (gate.get(target, key).status == status).then_some(()));
}

/// Row 2.6, 2.1: Checkout for what is sold, 400 for what is not; the portal once there is a customer. A key opens neither.
#[test]
fn users_buy_what_is_sold_and_manage_it_in_the_portal() {
    let backend = Backend::start();
    let (gate, stripe) = start_selling(&backend);
    let ada = token("ada", Some("Ada Lovelace"));
    let key = own_key(&gate, &ada, "cli");
    let portal = || change(&gate, "POST", "/v1/billing/portal", &ada, &json!({}));
    let advice = portal().problem(400, "no_customer");
    assert!(advice["detail"].as_str().is_some_and(|detail| detail.contains("checkout")), "{advice:#}");
    for plan in ["enterprise", "free", "gold"] {
        let refused = change(&gate, "POST", "/v1/billing/checkout", &ada, &json!({ "plan": plan }));
        let detail = refused.problem(400, "not_for_sale")["detail"].as_str().expect("a detail").to_owned();
        assert!(detail.contains("pro") && detail.contains("unlimited"), "{detail}");
    }
    for call in ["checkout", "portal", "cancel"] {
        let request = Request::json("POST", &format!("/tollgate/v1/billing/{call}"), &json!({ "plan": "pro" }));
        gate.send(&request.key(&key.raw)).problem(403, "not_allowed");
    }
    buy(&gate, &stripe, &ada, "pro");
    let opened = portal().expect(200).json();
    assert!(opened["portal_url"].as_str().is_some_and(|url| url.starts_with(&stripe.fake().url())), "{opened:#}");
    let bob = token("bob", None);
    change(&gate, "POST", "/v1/billing/portal", &bob, &json!({})).problem(400, "no_customer");
}

/// Row 2.7: the price decides the plan, a status that is not active means Free, a price of something else means nothing;
/// errors of signature and payload are 400.
#[test]
fn the_webhook_maps_prices_to_plans_and_a_lapsed_status_to_free() {
    let backend = Backend::start();
    let (gate, stripe) = start_selling(&backend);
    let ada = token("ada", None);
    let subscription = buy(&gate, &stripe, &ada, "pro");
    let act = |action: Action| act(&stripe, &subscription, &action);
    act(Action::ChangePrice("price_unlimited".into()));
    await_plan(&gate, &ada, "unlimited");
    act(Action::ChangePrice("price_other".into()));
    eventually("somebody is told", || {
        let noted = |event: &Value| event["note"].as_str().is_some_and(|note| note.contains("price_other"));
        gate.events().iter().any(noted).then_some(())
    });
    await_plan(&gate, &ada, "unlimited");
    act(Action::ChangePrice("price_pro".into()));
    await_plan(&gate, &ada, "pro");
    act(Action::CancelNow);
    await_plan(&gate, &ada, "free");

    let now = i64::try_from(now_secs()).expect("a time of this age");
    let secret = stripe.fake().webhook_secret();
    let post = |body: &str, signature: &str| {
        gate.send(&Request::post("/tollgate/stripe/webhook", body.as_bytes()).header("stripe-signature", signature))
    };
    post("{}", &sign(b"[]", &secret, now)).problem(400, "invalid_signature");
    post("{", &sign(b"{", &secret, now)).problem(400, "invalid_event");
}

/// Row 2.T: upgrade gives the LLM and a period of its own, cancellation takes both away and leaves Free with what was used.
#[test]
fn an_upgrade_opens_the_llm_and_a_cancellation_ends_in_free() {
    let backend = Backend::start();
    let (gate, stripe) = start_selling(&backend);
    let ada = token("ada", None);
    let key = own_key(&gate, &ada, "cli");
    gate.get("/migrate/tier1", &key).expect(200);
    gate.get("/migrate/tier2", &key).problem(402, "upgrade_required");
    // What was used before a period was paid for does not count in it; Stripe's periods begin with a second.
    gate.await_ledger();
    let used_at = now_secs();
    eventually("the second is over", || (now_secs() > used_at).then_some(()));
    buy(&gate, &stripe, &ada, "pro");
    await_status(&gate, &key, "/migrate/tier2", 200);
    let quota = |used: u64, limit: u64| {
        eventually(&format!("{used} of {limit} migrations are used"), || {
            let quota = gate.get("/tollgate/v1/quota", &key).expect(200).json();
            let meter = &quota["meters"]["migrations"];
            (meter["used"] == used && meter["limit"] == limit).then_some(())
        });
    };
    quota(1, 50);
    let ended = change(&gate, "POST", "/v1/billing/cancel", &ada, &json!({})).expect(200).json();
    assert!(ended["ends_at"].is_string(), "with the period that is paid for: {ended:#}");
    gate.get("/migrate/tier3", &key).expect(200);
    let ended = change(&gate, "POST", "/v1/billing/cancel", &ada, &json!({ "at": "now" })).expect(200).json();
    assert_eq!(ended["status"], "canceled", "{ended:#}");
    await_status(&gate, &key, "/migrate/tier2", 402);
    gate.get("/migrate/tier1", &key).expect(200);
    quota(3, 5);
    assert_eq!(ask(&gate, "/v1/me", &ada).expect(200).json()["plan"]["name"], "free");
    change(&gate, "POST", "/v1/billing/cancel", &ada, &json!({})).problem(409, "no_subscription");
}
