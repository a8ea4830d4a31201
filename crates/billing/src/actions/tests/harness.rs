//! The desk: billing, a store in memory, the stand-in of Stripe, and one clock for all three.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tollgate_config::{Live, Policy, ProrationBehavior, Secret, StripeConfig};
use tollgate_domain::{Account, AccountId, Ban, Clock, Plan, PlanName, PlanTable, Price, Timestamp};
use tollgate_fake_stripe::{CheckoutOutcome, FakeConfig, FakeStripe, Fault, FaultKind, Interval, NewPrice, When};
use tollgate_store::{AdminStore, Change, ChangeSink, CreateAccount, NewAccount, NewAudit, SqliteStore, Store};
use url::Url;

use crate::{Billing, BillingDeps};

/// Where this deployment is reached.
pub(crate) const BASE: &str = "https://api.example.com/tollgate";

/// Everything an action stands on.
pub(crate) struct Desk {
    pub(crate) fake: Arc<FakeStripe>,
    pub(crate) billing: Arc<Billing>,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) heard: Arc<Heard>,
    made: AtomicU8,
}

/// The stand-in's time.
struct FakeClock(Arc<FakeStripe>);

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.0.now())
    }
}

/// Remembers what gateways would have been told.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<Change>>);

impl Heard {
    pub(crate) fn of(&self, account: AccountId) -> bool {
        self.0.lock().expect("no test panics while it holds this").contains(&Change::Account(account))
    }
}

#[async_trait]
impl ChangeSink for Heard {
    async fn publish(&self, change: &Change) {
        self.0.lock().expect("no test panics while it holds this").push(*change);
    }

    async fn resync(&self) {}
}

/// A plan that costs this by the month, bought by these prices.
pub(crate) fn plan(name: &str, rank: i64, price: Option<&str>, stripe_prices: &[&str]) -> Plan {
    Plan {
        rank,
        price: price.map(|price| Price::parse(price).expect("a good price")),
        stripe_prices: stripe_prices.iter().map(ToString::to_string).collect(),
        ..Plan::unlimited(PlanName::new(name).expect("a good name"))
    }
}

/// What these tests sell: two plans by the month and by the year, one by use alone; one that nobody sells.
fn plans() -> PlanTable {
    let free = Plan { api: false, ..plan("free", 0, None, &[]) };
    let pro = plan("pro", 1, Some("29 USD/month"), &["price_pro", "price_pro_year"]);
    let team = plan("team", 2, Some("99 USD/month"), &["price_team", "price_team_year"]);
    let by_use = plan("by-use", 1, None, &["price_by_use"]);
    let enterprise = plan("enterprise", 9, Some("499 USD/month"), &[]);
    let public = plan("public", 0, None, &[]);
    PlanTable::new([free, pro, team, by_use, enterprise, public], PlanName::new("free")).with_grace(7 * 86_400_000_000)
}

/// `[billing.stripe]` for a stand-in.
pub(crate) fn settings(fake: &FakeStripe) -> StripeConfig {
    let mut stripe = StripeConfig::new(Secret::new(fake.api_key()), vec![Secret::new(fake.webhook_secret())]);
    stripe.livemode = false;
    stripe.api_base = Url::parse(&fake.url()).expect("a good address");
    stripe
}

impl Desk {
    pub(crate) async fn open() -> Self {
        Self::with(|_| {}).await
    }

    /// One with these settings.
    pub(crate) async fn with(set: impl FnOnce(&mut StripeConfig)) -> Self {
        let fake = Arc::new(FakeStripe::start(FakeConfig::default()).expect("a stand-in"));
        for (id, product, unit_amount, interval) in [
            ("price_pro", "Pro", 2_900, Interval::Month),
            ("price_pro_year", "Pro", 29_000, Interval::Year),
            ("price_team", "Team", 9_900, Interval::Month),
            ("price_team_year", "Team", 99_000, Interval::Year),
        ] {
            fake.price(NewPrice { id, product, unit_amount, interval, ..NewPrice::default() });
        }
        let metered = Some("api_calls");
        fake.price(NewPrice { id: "price_by_use", product: "Use", unit_amount: 1, metered, ..NewPrice::default() });
        let mut stripe = settings(&fake);
        set(&mut stripe);
        let clock: Arc<dyn Clock> = Arc::new(FakeClock(Arc::clone(&fake)));
        let store = Arc::new(SqliteStore::open_in_memory().await.expect("a store"));
        let heard = Arc::new(Heard::default());
        let policy = Policy { plans: plans(), ..Policy::default() };
        let billing = Billing::new(BillingDeps {
            store: Arc::clone(&store) as Arc<dyn AdminStore>,
            live: Arc::new(Live::new(policy, "hash-of-the-tests".into(), clock.now())),
            stripe,
            public_base: BASE.into(),
            changes: Arc::clone(&heard) as Arc<dyn ChangeSink>,
            clock,
            holder: "desk".into(),
        });
        let billing = billing.expect("a client");
        Self { fake, billing, store, heard, made: AtomicU8::new(0) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.fake.now())
    }

    pub(crate) fn audit(&self) -> NewAudit {
        NewAudit { actor: "test".into(), action: "test", at: self.now(), detail: serde_json::Value::Null }
    }

    /// A new account without a customer.
    pub(crate) async fn account(&self) -> Account {
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        let new = NewAccount {
            id: AccountId::new(self.now(), [number; 10]),
            email: format!("owner{number}@example.com"),
            name: Some(format!("Owner {number}")),
            assigned_plan: None,
            created_at: self.now(),
        };
        match self.store.create_account(&new, &self.audit()).await.expect("the store answers") {
            CreateAccount::Created(account) => account,
            CreateAccount::Exists(_) => panic!("the address is new"),
        }
    }

    /// The account as it stands now.
    pub(crate) async fn again(&self, account: &Account) -> Account {
        self.store.account(account.id).await.expect("the store answers").expect("it is there")
    }

    /// An account that has bought a plan, its facts in the store.
    pub(crate) async fn subscriber(&self, plan: &str, price: Option<&str>) -> Account {
        let account = self.account().await;
        let url = self.billing.checkout(&account, plan, price).await.expect("it is sold");
        self.pay(&url);
        self.told(&account).await
    }

    /// Takes over what webhooks would tell of an account.
    pub(crate) async fn told(&self, account: &Account) -> Account {
        let account = self.again(account).await;
        let customer = account.stripe_customer.as_deref().expect("a customer");
        self.billing.refresh_customer(customer).await.expect("Stripe answers");
        self.again(&account).await
    }

    pub(crate) fn pay(&self, checkout: &Url) {
        self.fake.checkout(session(checkout), CheckoutOutcome::Pay).expect("the page is open");
    }

    pub(crate) async fn ban(&self, account: &Account) -> Account {
        let ban = Ban { at: self.now(), reason: None };
        let banned = self.store.set_ban(account.id, Some(&ban), &self.audit()).await;
        banned.expect("the store answers").expect("it is there")
    }

    pub(crate) async fn assign(&self, account: &Account, plan: &str, until: Option<Timestamp>) -> Account {
        let plan = PlanName::new(plan).expect("a good name");
        let assigned = self.store.assign_plan(account.id, Some(&plan), until, &self.audit()).await;
        assigned.expect("the store answers").expect("it is there")
    }

    /// The plan in force by what the store knows.
    pub(crate) async fn plan_of(&self, account: &Account) -> String {
        let entitlement = tollgate_domain::entitlement(&self.again(account).await, &plans(), self.now());
        entitlement.plan().map(|plan| plan.name.to_string()).unwrap_or_default()
    }

    /// The customer's subscriptions at Stripe, the ended ones too.
    pub(crate) async fn held(&self, account: &Account) -> Vec<serde_json::Value> {
        let customer = self.again(account).await.stripe_customer.expect("a customer");
        self.fake.subscriptions_of(&customer)
    }

    /// The bodies of all writes to a path.
    pub(crate) fn asked(&self, path: &str) -> Vec<Vec<(String, String)>> {
        let asked = self.fake.requests().into_iter().filter(|request| request.method == "POST" && request.path == path);
        asked.map(|request| url::form_urlencoded::parse(request.body.as_bytes()).into_owned().collect()).collect()
    }

    /// How many things of a kind Stripe holds.
    pub(crate) fn count(&self, path: &str) -> usize {
        let listed = self.fake.call("GET", path, &[("limit", "100")]).expect("a list");
        listed["data"].as_array().map_or(0, Vec::len)
    }

    pub(crate) fn inject(&self, method: &str, path_prefix: &str, kind: FaultKind, times: u32) {
        let (method, path_prefix) = (Some(method.to_owned()), path_prefix.to_owned());
        self.fake.inject(Fault { method, path_prefix, kind, when: When::Next(times) });
    }

    pub(crate) fn proration(behavior: ProrationBehavior) -> impl FnOnce(&mut StripeConfig) {
        move |stripe| stripe.proration_behavior = behavior
    }
}

/// The id of a Checkout page.
pub(crate) fn session(url: &Url) -> &str {
    url.path_segments().and_then(Iterator::last).expect("a page has an id")
}

/// One field of a form.
pub(crate) fn value<'f>(form: &'f [(String, String)], key: &str) -> Option<&'f str> {
    form.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}
