//! The desk: a deployment where plans are bought, changed and ended.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tollgate_config::{ProrationBehavior, StripeConfig};
use tollgate_domain::{Account, Ban, Plan, PlanName, PlanTable, Price, Timestamp};
use tollgate_fake_stripe::{CheckoutOutcome, FakeConfig, FakeStripe, Fault, FaultKind, Interval, NewPrice, When};
use tollgate_store::Store as _;
use url::Url;

use crate::Billing;
use crate::testing::{Parts, settings};

/// Everything an action stands on.
pub(crate) struct Desk {
    parts: Parts,
    pub(crate) billing: Arc<Billing>,
    made: AtomicU8,
}

impl Deref for Desk {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
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

impl Desk {
    pub(crate) async fn open() -> Self {
        Self::with(|_| {}).await
    }

    /// One with these settings.
    pub(crate) async fn with(set: impl FnOnce(&mut StripeConfig)) -> Self {
        let fake = FakeStripe::start(FakeConfig::default()).expect("a stand-in");
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
        let parts = Parts::of(fake).await;
        let billing = parts.process(plans(), stripe, "desk");
        Self { parts, billing, made: AtomicU8::new(0) }
    }

    /// A new account without a customer.
    pub(crate) async fn account(&self) -> Account {
        self.parts.account(self.made.fetch_add(1, Ordering::SeqCst)).await
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
