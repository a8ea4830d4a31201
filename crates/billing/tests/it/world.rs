//! The parts that every test needs: a fake Stripe, a store in memory, billing between them, all on the fake's clock.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tollgate_billing::{Billing, BillingDeps, Received, Rejected, Worked};
use tollgate_config::{Live, OnDispute, OnRefund, Policy, Secret, StripeConfig};
use tollgate_domain::{
    Account, AccountId, Clock, DAY_US, Entitlement, Plan, PlanName, PlanTable, Timestamp, entitlement,
};
use tollgate_fake_stripe::{Action, FakeConfig, FakeStripe, NewPrice, Seed, Seeded, SignedEvent, sign};
use tollgate_store::{
    Billing as _, Change, ChangeSink, CreateAccount, EventQuery, InboxEvent, NewAccount, NewAudit, SqliteStore,
    Store as _,
};

/// How long access lasts after a failed charge, in days.
pub(crate) const GRACE_DAYS: i64 = 7;

/// What happens to a world before its first event.
pub(crate) struct Settings {
    pub(crate) fake: FakeConfig,
    pub(crate) on_dispute: OnDispute,
    pub(crate) on_refund: OnRefund,
    pub(crate) livemode: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { fake: FakeConfig::default(), on_dispute: OnDispute::Suspend, on_refund: OnRefund::Keep, livemode: false }
    }
}

/// One deployment and its Stripe.
pub(crate) struct World {
    pub(crate) fake: Arc<FakeStripe>,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) billing: Arc<Billing>,
    pub(crate) live: Arc<Live>,
    pub(crate) heard: Arc<Heard>,
    settings: StripeConfig,
}

/// The fake's time.
struct FakeClock(Arc<FakeStripe>);

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.0.now())
    }
}

/// What the gateways heard.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<Change>>);

impl Heard {
    /// What they heard since this was asked last.
    pub(crate) fn take(&self) -> Vec<Change> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[async_trait]
impl ChangeSink for Heard {
    async fn publish(&self, change: &Change) {
        self.0.lock().unwrap().push(*change);
    }

    async fn resync(&self) {}
}

/// `pro` and `team`, ranks 1 and 2, no default.
pub(crate) fn policy() -> Policy {
    let plan = |name: &str, rank: i64| Plan {
        rank,
        stripe_prices: vec![format!("price_{name}")],
        ..Plan::unlimited(PlanName::new(name).unwrap())
    };
    let plans = PlanTable::new([plan("pro", 1), plan("team", 2)], None).with_grace(GRACE_DAYS * DAY_US);
    Policy { plans, ..Policy::default() }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let fake = Arc::new(FakeStripe::start(settings.fake).unwrap());
        for (id, unit_amount) in [("price_pro", 2_900), ("price_team", 9_900), ("price_else", 500)] {
            fake.price(NewPrice { id, product: id, unit_amount, ..NewPrice::default() });
        }
        let store = Arc::new(SqliteStore::open_in_memory().await.unwrap());
        let live = Arc::new(Live::new(policy(), "hash".into(), Timestamp::from_secs(fake.now())));
        let mut stripe = StripeConfig::new(Secret::new(fake.api_key()), vec![Secret::new(fake.webhook_secret())]);
        stripe.livemode = settings.livemode;
        stripe.api_base = fake.url().parse().unwrap();
        stripe.on_dispute = settings.on_dispute;
        stripe.on_refund = settings.on_refund;
        let heard = Arc::default();
        let billing = billing(&fake, &store, &live, &heard, &stripe, "one");
        Self { fake, store, billing, live, heard, settings: stripe }
    }

    /// Another process of the same deployment.
    pub(crate) fn another(&self, holder: &str) -> Arc<Billing> {
        billing(&self.fake, &self.store, &self.live, &self.heard, &self.settings, holder)
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.fake.now())
    }

    pub(crate) fn advance_days(&self, days: u64) {
        self.fake.advance(std::time::Duration::from_hours(days * 24));
    }

    /// Signs a body now, and hands it in.
    pub(crate) async fn hand_in(&self, body: &str) -> Result<Received, Rejected> {
        let signature = sign(body.as_bytes(), &self.fake.webhook_secret(), self.fake.now());
        self.billing.receive(Some(&signature), body.as_bytes()).await
    }

    /// Hands an event in, signed now: it was sent late.
    pub(crate) async fn deliver(&self, event: &SignedEvent) -> Received {
        self.hand_in(&event.body).await.unwrap()
    }

    /// Hands in all that happened since, and works it off.
    pub(crate) async fn catch_up(&self) -> Worked {
        for event in self.fake.take_events() {
            self.deliver(&event).await;
        }
        self.billing.work_once().await.unwrap()
    }

    /// A customer that names its account, with a subscription.
    pub(crate) fn subscribe(&self, account: AccountId, prices: &[&str]) -> Seeded {
        let id = account.to_string();
        let metadata = [("tollgate_account", id.as_str())];
        self.fake.seed(Seed { email: "payer@example.com", prices, metadata: &metadata, ..Seed::default() }).unwrap()
    }

    pub(crate) fn act(&self, made: &Seeded, action: &Action) {
        self.fake.act(&made.subscription, action).unwrap();
    }

    pub(crate) async fn account(&self, email: &str) -> Account {
        let now = self.now();
        let random = email.bytes().chain([0; 10]).take(10).collect::<Vec<u8>>().try_into().unwrap();
        let new = NewAccount {
            id: AccountId::new(now, random),
            email: email.into(),
            name: None,
            assigned_plan: None,
            created_at: now,
        };
        let audit = NewAudit { actor: "test".into(), action: "account.create", at: now, detail: serde_json::json!({}) };
        match self.store.create_account(&new, &audit).await.unwrap() {
            CreateAccount::Created(account) | CreateAccount::Exists(account) => account,
        }
    }

    pub(crate) async fn read(&self, account: AccountId) -> Account {
        self.store.account(account).await.unwrap().unwrap()
    }

    pub(crate) async fn entitled(&self, account: AccountId) -> Entitlement {
        let account = self.read(account).await;
        entitlement(&account, &self.live.policy().plans, self.now())
    }

    /// The plan an account has now.
    pub(crate) async fn plan(&self, account: AccountId) -> Option<String> {
        let entitlement = self.entitled(account).await;
        entitlement.has_access().then(|| entitlement.plan().unwrap().name.to_string())
    }

    pub(crate) async fn events(&self) -> Vec<InboxEvent> {
        self.store.inbox(&EventQuery::default(), 1_000).await.unwrap().items
    }
}

fn billing(
    fake: &Arc<FakeStripe>,
    store: &Arc<SqliteStore>,
    live: &Arc<Live>,
    heard: &Arc<Heard>,
    stripe: &StripeConfig,
    holder: &str,
) -> Arc<Billing> {
    Billing::new(BillingDeps {
        store: Arc::clone(store) as _,
        live: Arc::clone(live),
        stripe: stripe.clone(),
        public_base: "https://api.example.com/tollgate".into(),
        changes: Arc::clone(heard) as _,
        clock: Arc::new(FakeClock(Arc::clone(fake))),
        holder: holder.into(),
    })
    .unwrap()
}
