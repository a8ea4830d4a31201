//! The example file of the API that is sold as a service against its document's rows. Each test names the rows it shows.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate_e2e::{
    Answer, Backend, Gate, Key, Request, Setup, Signer, Stripe, epoch_secs, eventually, eventually_within, now_secs,
};
use tollgate_fake_stripe::{Action, CheckoutOutcome, sign};

use crate::support::{act, at_checkout, example, named, selling};

const THING: &str = "/api/v1/things";
/// Stands for what the backend signs its users' tokens with.
const BACKEND: Signer = Signer::Secret("what-the-backend-of-the-saas-signs-its-tokens-with");
/// Metered use is told once a minute, and later where the machine is busy.
const TOLD: Duration = Duration::from_mins(2);

/// The gate with what stands in for Stripe, which sends its events.
struct Shop {
    gate: Gate,
    stripe: Stripe,
    _backend: Backend,
}

impl Shop {
    fn start() -> Self {
        Self::with(|text| text)
    }

    /// With the file changed.
    fn with(change: impl FnOnce(String) -> String) -> Self {
        let (backend, stripe) = (Backend::start(), Stripe::start());
        let text = change(selling("saas", &stripe));
        let gate = start(&backend, &text);
        let parameters =
            [("display_name", "Calls"), ("event_name", "api_calls"), ("default_aggregation[formula]", "sum")];
        stripe.fake().call("POST", "/v1/billing/meters", &parameters).expect("a meter");
        stripe.deliver_through(&gate);
        Self { gate, stripe, _backend: backend }
    }

    /// Somebody who has signed up with the backend.
    fn user(&self, name: &str) -> User<'_> {
        let claims = json!({ "sub": name, "email": format!("{name}@example.com"), "exp": now_secs() + 3_600 });
        let user = User { shop: self, token: BACKEND.token(&claims), email: format!("{name}@example.com") };
        user.get("/v1/me").expect(200);
        user
    }

    fn call(&self, key: &Key) -> u16 {
        self.gate.get(THING, key).status
    }
}

fn start(backend: &Backend, text: &str) -> Gate {
    let Signer::Secret(secret) = BACKEND else { panic!("it is a secret") };
    Setup::new(backend).whole_file(text.replace("${JWT_SECRET}", secret)).start()
}

struct User<'a> {
    shop: &'a Shop,
    token: String,
    email: String,
}

impl User<'_> {
    #[track_caller]
    fn get(&self, target: &str) -> Answer {
        self.shop.gate.send(&Request::get(&format!("/tollgate{target}")).bearer(&self.token))
    }

    #[track_caller]
    fn post(&self, target: &str, body: &Value) -> Answer {
        self.shop.gate.send(&Request::json("POST", &format!("/tollgate{target}"), body).bearer(&self.token))
    }

    #[track_caller]
    fn buy(&self, plan: &str) -> String {
        let given = self.post("/v1/billing/checkout", &json!({ "plan": plan })).expect(200);
        at_checkout(&self.shop.stripe, &given, CheckoutOutcome::Pay);
        self.shop.gate.await_plan(&self.email, Some(plan));
        self.subscription()["id"].as_str().expect("an id").to_owned()
    }

    #[track_caller]
    fn key(&self) -> Key {
        Key::of(&self.post("/v1/keys", &json!({})).expect(201).json())
    }

    /// The youngest subscription, as its owner sees it.
    #[track_caller]
    fn subscription(&self) -> Value {
        let shown = self.get("/v1/billing").expect(200).json();
        assert!(shown["subscriptions"][0].is_object(), "{shown:#}");
        shown["subscriptions"][0].clone()
    }

    #[track_caller]
    fn await_status(&self, status: &str) {
        eventually(&format!("the subscription is {status}"), || {
            (self.subscription()["status"] == status).then_some(())
        });
    }
}

#[track_caller]
fn seconds(instant: &Value) -> f64 {
    instant.as_str().and_then(epoch_secs).unwrap_or_else(|| panic!("no instant: {instant}"))
}

/// Row 4.T, and 4.2, 4.3, 4.5, 4.6 on the way: the whole flow.
#[test]
fn sign_up_customer_subscription_key_call_usage_failed_payment_status() {
    // The grace is shortened so that its end can be waited for.
    let shop = Shop::with(|text| text.replace("grace = \"7d\"", "grace = \"3s\""));
    // Sign-up.
    let ada = shop.user("ada");
    assert_eq!(ada.get("/v1/me").expect(200).json()["plan"]["name"], "free");
    // Customer and subscription.
    let subscription = ada.buy("pro");
    let at_stripe = shop.stripe.fake().object(&subscription).expect("the subscription");
    let customer = at_stripe["customer"].as_str().expect("a customer").to_owned();
    let trial = ada.subscription();
    assert_eq!(trial["status"], "trialing", "{trial:#}");
    // The key, which no webhook made, is shown once.
    assert_eq!(ada.get("/v1/keys").expect(200).json()["items"], json!([]));
    let key = ada.key();
    assert!(key.raw.starts_with("saas_live_"), "{}", key.raw);
    assert!(!ada.get("/v1/keys").expect(200).text().contains(&key.raw));
    // Calls.
    for _ in 0..7 {
        assert_eq!(shop.call(&key), 200);
    }
    // Usage, here and at Stripe's meter.
    shop.gate.await_ledger();
    assert_eq!(ada.get("/v1/usage?step=month").expect(200).json()["totals"]["calls"]["units"], 7);
    let told = || shop.stripe.fake().meter_total(&customer, "api_calls", 0, i64::MAX / 2);
    let all_told = eventually_within(TOLD, || (told() == 7).then_some(()));
    assert!(all_told.is_some(), "{} of 7 calls were told", told());
    // The payment fails: the status says so, and access lasts for the grace.
    act(&shop.stripe, &subscription, &Action::CardFails);
    act(&shop.stripe, &subscription, &Action::EndTrial);
    ada.await_status("past_due");
    let trouble = ada.subscription()["trouble"].clone();
    assert!(trouble.as_str().is_some_and(|text| text.contains("portal")), "what to do is said: {trouble}");
    shop.gate.await_plan(&ada.email, Some("free"));
    // Whoever does not pay is Free, not shut out: a hundred calls a month.
    let quota = shop.gate.account(&ada.email)["quota"].clone();
    assert_eq!(quota["limit"], 100, "{quota:#}");
    assert_eq!(shop.call(&key), 200);
    // It is paid: the plan is back with the same key.
    act(&shop.stripe, &subscription, &Action::CardRecovers);
    act(&shop.stripe, &subscription, &Action::PayOpenInvoice);
    shop.gate.await_plan(&ada.email, Some("pro"));
    ada.await_status("active");
    assert_eq!(shop.call(&key), 200);
}

/// Row 4.1: what each call was, for as long as it is kept: endpoint, method, status, time, moment, period, key, account.
#[test]
fn each_call_is_kept_with_what_the_table_asks() {
    let shop = Shop::start();
    let ada = shop.user("ada");
    ada.buy("pro");
    let key = ada.key();
    let answer = shop.gate.get(THING, &key).expect(200);
    let request = answer.header("x-request-id").expect("a name").to_owned();
    let kept = eventually("the request is kept", || {
        let printed = shop.gate.cli(&["explain", &request, "--json"]);
        (printed.code == Some(0)).then(|| printed.json())
    });
    let told = &kept["request"];
    assert_eq!(
        (&told["path"], &told["method"], &told["status"]),
        (&THING.into(), &"GET".into(), &200.into()),
        "{kept:#}"
    );
    assert!(told["duration_ms"].as_f64().is_some_and(|time| time > 0.0) && told["at"].is_string(), "{kept:#}");
    assert_eq!(
        (&kept["key"]["id"], &kept["account"]["email"]),
        (&key.id.into(), &ada.email.clone().into()),
        "{kept:#}"
    );
    // The quota's period is the subscription's, which is on trial.
    let period = ada.subscription()["period"].clone();
    assert_eq!(told["period"], period, "{kept:#}");
}

/// Row 4.2: a trial of two weeks, an end with the period or now, 409 without a subscription, a change charged at once, and
/// signatures that are looked at.
#[test]
fn a_subscription_is_tried_changed_and_ended_and_without_one_there_is_advice() {
    let shop = Shop::start();
    let ada = shop.user("ada");
    for call in ["cancel", "reactivate"] {
        let advice = ada.post(&format!("/v1/billing/{call}"), &json!({})).problem(409, "no_subscription");
        assert!(advice["detail"].as_str().is_some_and(|detail| detail.contains("checkout")), "{advice:#}");
    }
    let subscription = ada.buy("pro");
    let trial = ada.subscription();
    let days = (seconds(&trial["trial_end"]) - seconds(&trial["created_at"])) / 86_400.0;
    assert!((13.9..=14.1).contains(&days), "{trial:#}");
    act(&shop.stripe, &subscription, &Action::EndTrial);
    ada.await_status("active");

    let paid = || -> i64 {
        let list = shop.stripe.fake().call("GET", "/v1/invoices", &[("subscription", &subscription)]).expect("a list");
        let invoices = list["data"].as_array().expect("data").clone();
        invoices.iter().filter_map(|invoice| invoice["amount_paid"].as_i64()).sum()
    };
    assert_eq!(paid(), 2_900);
    let preview = ada.post("/v1/billing/preview", &json!({ "plan": "team" })).expect(200).json();
    let changed = ada.post("/v1/billing/change", &json!({ "plan": "team" })).expect(200).json();
    assert_eq!(
        (&changed["subscription"]["plan"], &changed["subscription"]["subscription"]),
        (&"team".into(), &subscription.clone().into())
    );
    let due = preview["amount_due_now"].as_i64().unwrap_or_else(|| panic!("{preview:#}"));
    assert!((paid() - 2_900 - due).abs() <= 1 && due > 6_800, "charged at once: {} after {preview:#}", paid());

    let ended = ada.post("/v1/billing/cancel", &json!({ "at": "period_end" })).expect(200).json();
    for (field, expected) in [("subscription", json!(subscription)), ("status", json!("active"))] {
        assert_eq!(ended[field], expected, "{ended:#}");
    }
    assert_eq!(ended["ends_at"], ada.subscription()["period"]["end"], "{ended:#}");
    shop.gate.await_plan(&ada.email, Some("team"));
    let ended = ada.post("/v1/billing/cancel", &json!({ "at": "now" })).expect(200).json();
    assert_eq!(ended["status"], "canceled", "{ended:#}");
    shop.gate.await_plan(&ada.email, Some("free"));

    let now = i64::try_from(now_secs()).expect("a time of this age");
    let forged =
        Request::post("/tollgate/stripe/webhook", "{}").header("stripe-signature", &sign(b"{}", "whsec_x", now));
    shop.gate.send(&forged).problem(400, "invalid_signature");
}

/// Row 4.4: the plans with their limits, and what happens beyond them.
#[test]
fn plans_have_the_documents_limits() {
    let shop = Shop::start();
    let plans = shop.gate.send(&Request::get("/tollgate/v1/plans")).expect(200).json()["plans"].clone();
    for (plan, quota, amount) in [
        ("free", json!(100), "0"),
        ("pro", json!(10_000), "29"),
        ("team", json!(100_000), "99"),
        ("enterprise", json!("unlimited"), "499"),
    ] {
        let shown = named(&plans, "name", plan);
        let limit = &shown["limits"]["quota"];
        assert_eq!(limit.get("limit").unwrap_or(limit), &quota, "{shown:#}");
        assert_eq!(shown["price"]["amount"], amount, "{shown:#}");
    }
    let free = shop.user("bob").key();
    let codes: Vec<u16> = (0..12).map(|_| shop.call(&free)).collect();
    assert_eq!(codes[..10], [200; 10], "ten a minute");
    assert!(codes[10..].contains(&429), "{codes:?}");
    let ada = shop.user("ada");
    ada.buy("enterprise");
    let key = ada.key();
    assert!((0..150).all(|_| shop.call(&key) == 200), "unlimited");
}

/// Row 4.7: a deployment is of one mode, and heeds nothing of the other.
#[test]
fn an_event_of_the_other_mode_is_refused_and_a_key_of_the_other_mode_is_no_config() {
    let shop = Shop::start();
    let now = i64::try_from(now_secs()).expect("a time of this age");
    let event = json!({
        "id": "evt_live", "object": "event", "type": "invoice.paid", "created": now, "livemode": true,
        "data": { "object": { "id": "in_1", "object": "invoice", "customer": "cus_1" } },
    });
    let body = event.to_string();
    let signature = sign(body.as_bytes(), &shop.stripe.fake().webhook_secret(), now);
    let request = Request::post("/tollgate/stripe/webhook", body).header("stripe-signature", &signature);
    shop.gate.send(&request).problem(400, "other_mode");
    let live = example("saas").replace("livemode = false", "livemode = true").replace("${JWT_SECRET}", &"s".repeat(40));
    let path = shop.gate.folder().join("live.toml");
    std::fs::write(&path, live).expect("the file can be written");
    let path = path.to_str().expect("temporary paths are text");
    shop.gate.cli(&["check", path]).exits(1).says("livemode");
}

/// Row 4.8: what Stripe needs is shown first, then made from the plan table, once.
#[test]
fn stripe_is_set_up_from_the_plans() {
    let shop = Shop::start();
    let webhooks = || {
        let list = shop.stripe.fake().call("GET", "/v1/webhook_endpoints", &[]).expect("a list");
        list["data"].as_array().expect("data").clone()
    };
    let before = webhooks();
    let shown = shop.gate.cli(&["stripe", "setup"]).done();
    let told = shown.stdout + &shown.stderr;
    assert!(told.contains("https://api.saas.example/tollgate/stripe/webhook"), "{told}");
    assert_eq!(webhooks(), before, "shown, not made");
    let made = shop.gate.cli(&["stripe", "setup", "--yes"]).done();
    assert!((made.stdout + &made.stderr).contains("whsec_"), "the endpoint's secret is shown");
    let ours: Vec<Value> =
        webhooks().into_iter().filter(|one| one["url"] == "https://api.saas.example/tollgate/stripe/webhook").collect();
    let [endpoint] = ours.as_slice() else { panic!("{ours:#?}") };
    let kinds = endpoint["enabled_events"].as_array().expect("events");
    for kind in ["checkout.session.completed", "customer.subscription.updated", "invoice.payment_failed"] {
        assert!(kinds.iter().any(|one| one == kind || one == "*"), "no {kind} in {endpoint:#}");
    }
    let again = shop.gate.cli(&["stripe", "setup", "--yes"]).done();
    assert!(!(again.stdout + &again.stderr).contains("whsec_"), "what is there is not made twice");
    assert_eq!(webhooks().len(), before.len() + 1);
}
