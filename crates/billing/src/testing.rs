//! What the tests' deployments are made of: billing over a store in memory, the stand-in of Stripe, and its clock for all
//! three.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tollgate_config::{Live, Policy, Secret, StripeConfig};
use tollgate_domain::{Account, AccountId, Clock, PlanTable, Timestamp};
use tollgate_fake_stripe::FakeStripe;
use tollgate_store::{AdminStore, Change, ChangeSink, CreateAccount, NewAccount, NewAudit, SqliteStore, Store as _};
use url::Url;

use crate::{Billing, BillingDeps};

/// Where a deployment is reached.
pub(crate) const BASE: &str = "https://api.example.com/tollgate";

/// A deployment's outside: Stripe, what gateways hear, and the store.
pub(crate) struct Parts {
    pub(crate) fake: Arc<FakeStripe>,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) heard: Arc<Heard>,
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
    /// All of it, the newest last.
    pub(crate) fn all(&self) -> Vec<Change> {
        self.0.lock().expect("no test panics while it holds this").clone()
    }

    pub(crate) fn of(&self, account: AccountId) -> bool {
        self.all().contains(&Change::Account(account))
    }
}

#[async_trait]
impl ChangeSink for Heard {
    async fn publish(&self, change: &Change) {
        self.0.lock().expect("no test panics while it holds this").push(*change);
    }

    async fn resync(&self) {}
}

/// `[billing.stripe]` for a stand-in.
pub(crate) fn settings(fake: &FakeStripe) -> StripeConfig {
    let mut stripe = StripeConfig::new(Secret::new(fake.api_key()), vec![Secret::new(fake.webhook_secret())]);
    stripe.livemode = false;
    stripe.api_base = Url::parse(&fake.url()).expect("a good address");
    stripe
}

impl Parts {
    pub(crate) async fn of(fake: FakeStripe) -> Self {
        let store = SqliteStore::open_in_memory().await.expect("a store");
        Self { fake: Arc::new(fake), store: Arc::new(store), heard: Arc::default() }
    }

    /// A process of the deployment.
    pub(crate) fn process(&self, plans: PlanTable, stripe: StripeConfig, holder: &str) -> Arc<Billing> {
        let policy = Policy { plans, ..Policy::default() };
        let billing = Billing::new(BillingDeps {
            store: Arc::clone(&self.store) as Arc<dyn AdminStore>,
            live: Arc::new(Live::new(policy, "hash-of-the-tests".into(), self.now())),
            stripe,
            public_base: BASE.into(),
            changes: Arc::clone(&self.heard) as Arc<dyn ChangeSink>,
            clock: Arc::new(FakeClock(Arc::clone(&self.fake))),
            holder: holder.into(),
        });
        billing.expect("a client")
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.fake.now())
    }

    pub(crate) fn audit(&self) -> NewAudit {
        NewAudit { actor: "test".into(), action: "test", at: self.now(), detail: serde_json::Value::Null }
    }

    /// The account of this number, which is new.
    pub(crate) async fn account(&self, number: u8) -> Account {
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

    /// An account as it stands now.
    pub(crate) async fn again(&self, account: &Account) -> Account {
        self.store.account(account.id).await.expect("the store answers").expect("it is there")
    }
}
