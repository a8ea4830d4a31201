//! What stands in for Stripe beside a gate: a server of its own with real time, that sells the plans of [`SELLING`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use tollgate_fake_stripe::{
    Action, Card, Delivery, FakeConfig, FakeStripe, Interval, Mode as DeliveryMode, NewPrice, Seed,
};

use crate::fleet::Plan;
use crate::gate::Gate;
use crate::setup::Setup;
use crate::wait::eventually;

/// Plans that are sold, and no default one: who has not paid has no access.
pub const SELLING: &str = r#"
[plans.public]
rate = "6_000/minute"
[plans.pro]
rank = 1
rate = "60_000/minute"
burst = 6_000
quota = "1_000_000/month"
price = "29 USD/month"
stripe_prices = ["price_pro", "price_pro_year"]
[plans.team]
rank = 2
rate = "60_000/minute"
burst = 6_000
quota = "10_000_000/month"
price = "99 USD/month"
stripe_prices = ["price_team"]
[plans.comped]
rank = 1

[[routes]]
name = "events"
path = "/events/*"
"#;

/// The stand-in. It stops when this is dropped.
pub struct Stripe {
    fake: FakeStripe,
}

/// Somebody who pays.
#[derive(Clone, Debug)]
pub struct Payer {
    /// The customer at Stripe.
    pub customer: String,
    /// The subscription at Stripe.
    pub subscription: String,
}

impl Stripe {
    /// Starts it, with the prices of [`SELLING`] and nothing delivered yet.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        let fake = FakeStripe::start(FakeConfig::real_time()).expect("a free port on the loopback");
        for (id, product, unit_amount, interval) in [
            ("price_pro", "Pro", 2_900, Interval::Month),
            ("price_pro_year", "Pro", 29_000, Interval::Year),
            ("price_team", "Team", 9_900, Interval::Month),
            ("price_other", "Something else", 500, Interval::Month),
        ] {
            fake.price(NewPrice { id, product, unit_amount, currency: "usd", interval, ..NewPrice::default() });
        }
        Self { fake }
    }

    /// The stand-in itself.
    pub fn fake(&self) -> &FakeStripe {
        &self.fake
    }

    /// The lines of `[billing.stripe]` that reach it.
    pub fn lines(&self) -> String {
        let (url, key, secret) = (self.fake.url(), self.fake.api_key(), self.fake.webhook_secret());
        format!("secret_key = \"{key}\"\nwebhook_secrets = [\"{secret}\"]\nlivemode = false\napi_base = \"{url}\"")
    }

    /// A gate that sells, with so long a grace.
    #[must_use]
    pub fn sell(&self, setup: Setup, grace: &str) -> Setup {
        setup
            .set("gateway", "public_url = \"http://127.0.0.1:9\"")
            .set("billing.stripe", &self.lines())
            .set("billing.stripe", &format!("grace = \"{grace}\""))
            .policy(SELLING)
    }

    /// A fleet that sells, with so long a grace. Its policy is to be [`SELLING`].
    #[must_use]
    pub fn sell_by(&self, plan: Plan, grace: &str) -> Plan {
        let lines = format!("{}\ngrace = \"{grace}\"", self.lines());
        plan.set("gateway", "public_url = \"http://127.0.0.1:9\"").set("billing.stripe", &lines)
    }

    /// Has events delivered to the gate from now on, at once, as they happen.
    pub fn deliver_to(&self, gate: &Gate) {
        self.fake.add_endpoint(&format!("http://{}/stripe/webhook", gate.admin_address()), &["*"]);
        self.deliver(true);
    }

    /// The same, and to no other gate any more.
    ///
    /// # Panics
    /// When the stand-in refuses.
    pub fn deliver_only_to(&self, gate: &Gate) {
        let listed = self.fake.call("GET", "/v1/webhook_endpoints", &[("limit", "100")]).expect("a list");
        for endpoint in listed["data"].as_array().expect("a list") {
            let path = format!("/v1/webhook_endpoints/{}", endpoint["id"].as_str().expect("an id"));
            self.fake.call("DELETE", &path, &[]).expect("it is taken away");
        }
        self.deliver_to(gate);
    }

    /// The same through the gateway's listener, as Stripe reaches it from outside.
    pub fn deliver_through(&self, gate: &Gate) {
        self.fake.add_endpoint(&format!("http://{}/tollgate/stripe/webhook", gate.address()), &["*"]);
        self.deliver(true);
    }

    /// Whether events are delivered.
    pub fn deliver(&self, is_on: bool) {
        let mode = if is_on { DeliveryMode::On } else { DeliveryMode::Off };
        let retry_after = vec![Duration::from_millis(200); 20];
        self.fake.set_delivery(Delivery { mode, retry_after, ..Delivery::default() });
    }

    /// Somebody with this address who pays for this price; the account is named where there is one already.
    ///
    /// # Panics
    /// When the stand-in refuses.
    #[track_caller]
    pub fn payer(&self, email: &str, price: &str, account: Option<&str>) -> Payer {
        let metadata: Vec<(&str, &str)> = account.map(|account| ("tollgate_account", account)).into_iter().collect();
        let seed = Seed { email, prices: &[price], metadata: &metadata, card: Card::Good, ..Seed::default() };
        let made = self.fake.seed(seed).expect("a customer and a subscription");
        Payer { customer: made.customer, subscription: made.subscription }
    }

    /// Does something to a subscription.
    ///
    /// # Panics
    /// When the stand-in refuses.
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "a test reads as the story it tells")]
    pub fn act(&self, payer: &Payer, action: Action) {
        self.fake.act(&payer.subscription, &action).expect("it can be done");
    }

    /// Has this customer's card decline what falls due right now, without anybody's time moving on.
    ///
    /// # Panics
    /// When the stand-in refuses.
    #[track_caller]
    pub fn fail_now(&self, payer: &Payer) {
        self.act(payer, Action::CardFails);
        self.act(payer, Action::RenewNow);
    }

    /// How a subscription stands there.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn status(&self, payer: &Payer) -> String {
        let object = self.fake.object(&payer.subscription).expect("the subscription");
        object["status"].as_str().expect("a status").to_owned()
    }
}

impl Gate {
    /// The plan that holds for an account; none where it has none.
    #[track_caller]
    pub fn plan_of(&self, reference: &str) -> Option<String> {
        self.account(reference)["plan"]["effective"].as_str().map(str::to_owned)
    }

    /// Waits until this plan, or none, holds for an account; how long that took.
    #[track_caller]
    pub fn await_plan(&self, reference: &str, plan: Option<&str>) -> Duration {
        let began = Instant::now();
        let holds = || {
            let shown = self.cli(&["accounts", "show", reference, "--json"]);
            let shown = (shown.code == Some(0)).then(|| shown.json())?;
            (shown["plan"]["effective"].as_str() == plan).then_some(())
        };
        eventually(&format!("{reference} is on {plan:?}"), holds);
        began.elapsed()
    }

    /// How many events of the inbox are in each state.
    #[track_caller]
    pub fn inbox(&self) -> BTreeMap<String, usize> {
        let mut states = BTreeMap::new();
        for event in self.events() {
            *states.entry(event["state"].as_str().expect("a state").to_owned()).or_default() += 1;
        }
        states
    }

    /// Every event of the inbox.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        let listed = self.cli(&["webhooks", "list", "--json"]).done().json();
        listed.as_array().or_else(|| listed["items"].as_array()).unwrap_or_else(|| panic!("{listed:#}")).clone()
    }
}
