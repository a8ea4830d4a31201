//! The example file of `ReleaseRadar` against its two documents' acceptance lists. Each test names the rows it shows.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use tollgate_e2e::{
    Backend, Behaviour, Customer, Gate, Key, Mailbox, Request, Setup, Side, Stripe, eventually, now_secs,
};
use tollgate_fake_stripe::{Action, CheckoutOutcome, sign};

use crate::support::{act, at_checkout, example, foreign_key, import_keys, selling, sha256};

const SEARCH: &str = "/events/search?q=earnings&limit=3";
const SITE: &str = "https://releaseradar.example";

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn start(backend: &Backend) -> Gate {
    backend.on(
        "/events/public",
        Behaviour::status(200).header("Content-Type", "application/json").bytes("{\"events\":[]}"),
    );
    Setup::new(backend).whole_file(example("releaseradar")).start()
}

fn detail(gate: &Gate, request: &Request, status: u16) -> String {
    let answer = gate.send(request).expect(status);
    answer.json()["detail"].as_str().expect("a detail").to_owned()
}

/// 0.1, 0.2, 0.4, 0.10
#[test]
fn keys_are_for_pro_and_team_and_everything_but_the_feed_needs_one() {
    let backend = Backend::start();
    let gate = start(&backend);
    let keys = ["free", "pro", "team"].map(|plan| gate.key(&format!("{plan}@example.com"), plan));
    let closed = [SEARCH, "/events/42", "/impact/score", "/portfolio/estimate", "/companies/acme", "/anything-else"];
    for target in closed {
        assert_eq!(detail(&gate, &Request::get(target), 401), "Missing x-api-key");
        assert_eq!(detail(&gate, &Request::get(target).key("rr_live_wrong"), 403), "Invalid or revoked API key");
        assert_eq!(detail(&gate, &Request::get(target).key(&keys[0].raw), 402), "Upgrade required for this endpoint");
    }
    assert_eq!(backend.count(), 0);
    for target in closed {
        for key in &keys[1..] {
            gate.get(target, key).expect(200);
        }
    }
    gate.send(&Request::post("/impact/score", "{}").key(&keys[1].raw)).expect(200);
    for target in ["/events/public", "/auth/login", "/auth", "/pricing", "/pricing/plans"] {
        gate.send(&Request::get(target)).expect(200);
    }
    let cookie = Request::post("/auth/login", "{}").header("Cookie", "session=1").header("Authorization", "Bearer x");
    gate.send(&cookie).expect(200);
    assert_eq!(backend.last().header("cookie"), Some("session=1"), "as they are");
    assert_eq!(backend.last().header("authorization"), Some("Bearer x"));
}

/// 0.3, 0.10: lapsed is 402, revoked is 403
#[test]
fn a_key_is_shown_once_kept_as_a_hash_and_follows_its_account() {
    let backend = Backend::start();
    let mut gate = start(&backend);
    let key = gate.key("ada@example.com", "pro");
    assert!(key.raw.starts_with("rr_live_"), "{}", key.raw);
    gate.get(SEARCH, &key).expect(200);
    gate.cli(&["accounts", "set-plan", "ada@example.com", "--auto"]).done();
    assert_eq!(detail(&gate, &Request::get(SEARCH).key(&key.raw), 402), "Upgrade required for this endpoint");
    gate.cli(&["accounts", "set-plan", "ada@example.com", "team"]).done();
    gate.get(SEARCH, &key).expect(200);
    gate.await_ledger();
    let listed = gate.cli(&["keys", "list", "--json"]).done().json();
    for field in ["state", "created_at", "last_used_at", "masked"] {
        assert!(listed[0][field].is_string(), "no {field}: {listed:#}");
    }
    gate.cli(&["keys", "revoke", &key.id]).done();
    assert_eq!(detail(&gate, &Request::get(SEARCH).key(&key.raw), 403), "Invalid or revoked API key");
    gate.stop();
    assert!(!gate.stores_hold(key.raw.as_bytes()), "no raw key at rest");
    assert!(gate.stores_hold(&hex::decode(sha256(&key.raw)).expect("hexadecimal digits")), "its SHA-256 is");
}

/// 0.5, 1.C, 1.T: a hundred rapid calls give some 429
#[test]
fn rates_are_the_plans() {
    let backend = Backend::start();
    let gate = start(&backend);
    let (pro, team) = (gate.key("pro@example.com", "pro"), gate.key("team@example.com", "team"));
    let count = |request: &Request| {
        let mut connection = gate.connect();
        let mut began = None;
        let mut passed = 0;
        let mut codes = Vec::new();
        for _ in 0..100 {
            let answer = connection.send(request).expect("an answer");
            began.get_or_insert_with(Instant::now);
            if answer.status == 200 {
                passed += 1;
            } else {
                codes.push(answer.problem(429, "rate_limited")["detail"].to_string());
                assert!(answer.number("retry-after") >= 1);
            }
        }
        assert!(codes.iter().all(|detail| detail == "\"Rate limit exceeded\""));
        (passed, began.expect("a first call").elapsed().as_millis())
    };
    let (passed, millis) = count(&Request::get(SEARCH).key(&pro.raw));
    assert!((60..=61 + millis / 100).contains(&passed), "pro: {passed} in {millis} ms");
    let (passed, _) = count(&Request::get(SEARCH).key(&team.raw));
    assert_eq!(passed, 100, "3 000 a minute with a burst of 300");
    // 30 a minute by address: a burst of 10, then one every two seconds.
    let (passed, millis) = count(&Request::get("/events/public"));
    assert!((10..=11 + millis / 2_000).contains(&passed), "public: {passed} in {millis} ms");
}

/// 0.7, 1.H
#[test]
fn only_the_marketing_site_may_call_from_a_browser() {
    let backend = Backend::start();
    let gate = start(&backend);
    let key = gate.key("ada@example.com", "pro");
    let preflight = |origin: &str| {
        let request = Request::new("OPTIONS", SEARCH).header("Origin", origin);
        gate.send(
            &request
                .header("Access-Control-Request-Method", "GET")
                .header("Access-Control-Request-Headers", "x-api-key"),
        )
    };
    let answer = preflight(SITE).expect(204);
    assert_eq!(answer.header("access-control-allow-origin"), Some(SITE));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST, OPTIONS"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("content-type, x-api-key"));
    assert_eq!(preflight("https://evil.example").header("access-control-allow-origin"), None);
    for request in [Request::get(SEARCH).key(&key.raw), Request::get(SEARCH), Request::get("/events/public")] {
        let answer = gate.send(&request.header("Origin", SITE));
        assert_eq!(answer.header("access-control-allow-origin"), Some(SITE));
    }
}

/// 0.9
#[test]
fn the_smoke_script_passes_and_fails_loudly() {
    let backend = Backend::start();
    let gate = start(&backend);
    let (pro, free) = (gate.key("pro@example.com", "pro"), gate.key("free@example.com", "free"));
    let url = format!("http://{}", gate.address());
    let smoke = |arguments: &[&str], key: Option<&Key>| {
        let mut command = Command::new(root().join("deploy/smoke.sh"));
        command.args(arguments).env_remove("RR_TEST_KEY").env_remove("SMOKE_PATH");
        if let Some(key) = key {
            command.env("RR_TEST_KEY", &key.raw);
        }
        let ran = command.output().expect("the script runs");
        (ran.status.code(), String::from_utf8_lossy(&ran.stderr).into_owned())
    };
    assert_eq!(smoke(&[&pro.raw, &url], None).0, Some(0));
    assert_eq!(smoke(&["", &url], Some(&pro)).0, Some(0));
    let (code, said) = smoke(&[&free.raw, &url], None);
    assert!(code == Some(1) && said.contains("402"), "{said}");
    assert_eq!(smoke(&[], None).0, Some(2));
}

/// 1.A, 1.T: the quota ends in 429
#[test]
fn existing_keys_come_over_with_limit_use_and_cycle() {
    let backend = Backend::start();
    let gate = start(&backend);
    let header = "key_hash,email,plan,status,limit,used,cycle_start";
    let cycle = days_ago(&gate, 10);
    let row = |number: usize, email: &str, used: u64, cycle: &str| {
        format!("{},{email},pro,active,10000,{used},{cycle}", sha256(&foreign_key(number)))
    };
    let rows = [
        row(1, "ada@example.com", 9_998, &cycle),
        row(2, "old@example.com", 9_998, &days_ago(&gate, 40)),
        row(3, "new@example.com", 0, ""),
    ];
    import_keys(&gate, header, rows.into_iter());
    let call = |number: usize| gate.send(&Request::get(SEARCH).key(&foreign_key(number)));
    assert_eq!([call(1).status, call(1).status], [200; 2]);
    assert_eq!(call(1).problem(429, "quota_exceeded")["detail"], "Monthly API quota exceeded");
    assert_eq!(
        call(2).expect(200).number("x-ratelimit-remaining"),
        59,
        "a cycle of long ago is over: the burst is tightest"
    );
    assert_eq!(gate.used("old@example.com"), 1);
    assert_eq!(gate.used("new@example.com"), 0);
}

/// 1.B, 1.E
#[test]
fn cycles_are_thirty_days_rolling_from_the_imported_start() {
    let backend = Backend::start();
    let gate = start(&backend);
    let start = days_ago(&gate, 10);
    let row = format!("{},ada@example.com,pro,7,{start}", sha256(&foreign_key(1)));
    import_keys(&gate, "key_hash,email,plan,used,cycle_start", std::iter::once(row));
    let quota = gate.account("ada@example.com")["quota"].clone();
    assert_eq!((&quota["used"], &quota["limit"]), (&7.into(), &10_000.into()));
    assert_eq!(quota["period"]["start"], start);
    let ends_in = gate.send(&Request::get(SEARCH).key(&foreign_key(1))).expect(200);
    let state = ends_in.header("ratelimit").expect("limits").to_owned();
    let seconds: u64 = state.rsplit_once("t=").and_then(|(_, seconds)| seconds.parse().ok()).expect("the quota's end");
    let twenty_days = 20 * 86_400;
    assert!((twenty_days - 120..=twenty_days).contains(&seconds), "{state}");
    gate.cli(&["accounts", "set-plan", "ada@example.com", "team"]).done();
    let quota = gate.account("ada@example.com")["quota"].clone();
    assert_eq!(
        (&quota["used"], &quota["limit"]),
        (&8.into(), &100_000.into()),
        "a plan change re-limits and keeps the use"
    );
    let fresh = gate.key("bob@example.com", "pro");
    let account = gate.account(&fresh.account);
    assert_eq!(account["quota"]["period"]["start"], account["created_at"], "else from the account's creation");
}

/// 1.G
#[test]
fn a_call_is_one_line_that_names_plan_and_hash_and_never_the_key() {
    let backend = Backend::start();
    let gate = start(&backend);
    let key = gate.key("ada@example.com", "pro");
    gate.get(SEARCH, &key).expect(200);
    gate.send(&Request::get("/events/public")).expect(200);
    let line = gate.await_log("the call", |line| line.starts_with("GET /events/search 200 "));
    assert!(line.ends_with(&format!("ms plan=pro key={}", &sha256(&key.raw)[..8])), "{line}");
    let line = gate.await_log("the feed", |line| line.starts_with("GET /events/public 200 "));
    assert!(line.ends_with("ms plan=public key="), "{line}");
    assert!(!gate.log().contains(&key.raw));
    assert!(gate.metrics().count("tollgate_requests_total", &[("route", "events"), ("plan", "pro")]) >= 1);
}

/// An instant so many days before the gate started, to the second, as the program writes it.
fn days_ago(gate: &Gate, days: u64) -> String {
    let started = std::fs::metadata(gate.config()).and_then(|data| data.modified()).expect("the file has a time");
    let since_epoch = started.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    rfc3339(since_epoch - days * 86_400)
}

/// Seconds since the epoch as RFC 3339 (days to a date after Howard Hinnant's `civil_from_days`).
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_of_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_of_march + 2) / 5 + 1;
    let month = if month_of_march < 10 { month_of_march + 3 } else { month_of_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

/// The gate with what stands in for Stripe, which sends its events, and a mailbox for links to sign in with.
struct Shop {
    gate: Gate,
    stripe: Stripe,
    mailbox: Mailbox,
    _backend: Backend,
}

impl Shop {
    /// With this in place of the file's grace.
    fn with_grace(grace: &str) -> Self {
        let (backend, mailbox, stripe) = (Backend::start(), Mailbox::start(), Stripe::start());
        let whole = selling("releaseradar", &stripe).replace("grace = \"7d\"", &format!("grace = \"{grace}\""));
        let gate = Setup::new(&backend).whole_file(whole).mailing(&mailbox).start();
        stripe.deliver_through(&gate);
        Self { gate, stripe, mailbox, _backend: backend }
    }

    /// Somebody who has signed in, paid for Pro and made a key.
    fn subscriber(&self, email: &str) -> (Customer, Key) {
        let owner = Side::Mounted.sign_in(&self.gate, &self.mailbox, email);
        let given = owner.write("POST", "/v1/billing/checkout", &json!({ "plan": "pro" })).expect(200);
        at_checkout(&self.stripe, &given, CheckoutOutcome::Pay);
        self.gate.await_plan(&owner.account, Some("pro"));
        let key = Key::of(&owner.write("POST", "/v1/keys", &json!({})).expect(201).json());
        self.await_status(&key, 200);
        (owner, key)
    }

    fn subscription(owner: &Customer) -> String {
        let shown = owner.get("/v1/billing").expect(200).json();
        shown["subscriptions"][0]["id"].as_str().unwrap_or_else(|| panic!("{shown:#}")).to_owned()
    }

    #[track_caller]
    fn await_status(&self, key: &Key, status: u16) {
        eventually(&format!("calls are answered {status}"), || {
            (self.gate.get(SEARCH, key).status == status).then_some(())
        });
    }

    fn keys(owner: &Customer) -> Value {
        owner.get("/v1/keys").expect(200).json()["items"].clone()
    }
}

/// 0.1, 0.6, 0.10, 1.E: paid checkout and a changed price grant, the end takes away; the key stays the same
#[test]
fn payment_turns_a_key_on_and_its_end_turns_it_off() {
    let shop = Shop::with_grace("7d");
    let (owner, stripe) = (Side::Mounted.sign_in(&shop.gate, &shop.mailbox, "ada@example.com"), &shop.stripe);
    assert_eq!(owner.get("/v1/me").expect(200).json()["plan"]["name"], "free");
    owner.write("POST", "/v1/keys", &json!({})).problem(402, "upgrade_required");
    let given = owner.write("POST", "/v1/billing/checkout", &json!({ "plan": "pro" })).expect(200);
    at_checkout(stripe, &given, CheckoutOutcome::Pay);
    shop.gate.await_plan(&owner.account, Some("pro"));
    assert_eq!(Shop::keys(&owner), json!([]), "no event makes a key");
    let key = Key::of(&owner.write("POST", "/v1/keys", &json!({})).expect(201).json());
    shop.await_status(&key, 200);

    let limit = |plan: &str, limit: u64| {
        shop.gate.await_plan(&owner.account, Some(plan));
        let quota = shop.gate.account(&owner.account)["quota"].clone();
        assert_eq!(quota["limit"], limit, "{quota:#}");
        quota["used"].as_u64().expect("a count")
    };
    let used = limit("pro", 10_000);
    let subscription = Shop::subscription(&owner);
    act(&shop.stripe, &subscription, &Action::ChangePrice("price_team".into()));
    assert_eq!(limit("team", 100_000), used, "what was used stays");
    shop.gate.get(SEARCH, &key).expect(200);
    act(&shop.stripe, &subscription, &Action::CancelNow);
    shop.await_status(&key, 402);
    assert_eq!(detail(&shop.gate, &Request::get(SEARCH).key(&key.raw), 402), "Upgrade required for this endpoint");
    assert_eq!(owner.get("/v1/me").expect(200).json()["plan"]["name"], "free");
    assert_eq!(Shop::keys(&owner).as_array().map(Vec::len), Some(1), "nor replaces one");
}

/// 0.6, 0.10, 1.E: with no grace, as the documents have it, a failed payment disables at once; with the file's it does not
#[test]
fn a_failed_payment_disables_when_the_grace_is_over_and_paying_enables_the_same_key() {
    for (grace, while_open) in [("0s", 402), ("7d", 200)] {
        let shop = Shop::with_grace(grace);
        let (owner, key) = shop.subscriber("ada@example.com");
        let subscription = Shop::subscription(&owner);
        act(&shop.stripe, &subscription, &Action::CardFails);
        act(&shop.stripe, &subscription, &Action::RenewNow);
        eventually("the failure is known", || {
            let shown = owner.get("/v1/billing").expect(200).json()["subscriptions"][0].clone();
            (shown["status"] == "past_due" && shown["trouble"].is_string()).then_some(())
        });
        shop.await_status(&key, while_open);
        act(&shop.stripe, &subscription, &Action::CardRecovers);
        act(&shop.stripe, &subscription, &Action::PayOpenInvoice);
        eventually("the payment is known", || {
            let shown = owner.get("/v1/billing").expect(200).json()["subscriptions"][0].clone();
            (shown["status"] == "active").then_some(())
        });
        shop.await_status(&key, 200);
    }
}

/// 0.6: a bad signature is 400 and leaves nothing
#[test]
fn an_event_that_stripe_did_not_sign_is_400() {
    let shop = Shop::with_grace("7d");
    let (owner, key) = shop.subscriber("ada@example.com");
    let taken = shop.gate.events().len();
    let now = i64::try_from(now_secs()).expect("a time of this age");
    let body = json!({
        "id": "evt_forged", "object": "event", "type": "customer.subscription.deleted", "created": now, "livemode": false,
        "data": { "object": { "id": Shop::subscription(&owner), "object": "subscription", "status": "canceled" } },
    });
    let body = body.to_string();
    let secret = shop.stripe.fake().webhook_secret();
    for signature in [
        String::new(),
        sign(body.as_bytes(), "whsec_of_somebody_else", now),
        sign(format!("{body} ").as_bytes(), &secret, now),
        sign(body.as_bytes(), &secret, now - 3_600),
    ] {
        let request = Request::post("/tollgate/stripe/webhook", body.as_bytes());
        shop.gate.send(&request.header("stripe-signature", &signature)).problem(400, "invalid_signature");
    }
    assert!(shop.stripe.fake().deliveries_settled(std::time::Duration::from_secs(15)));
    assert!(shop.gate.events().iter().all(|event| event["id"] != "evt_forged"));
    assert!(taken > 0, "those that were signed are there");
    shop.gate.get(SEARCH, &key).expect(200);
}
