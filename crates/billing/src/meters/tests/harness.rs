//! A deployment that bills use: processes that come and go over one store, the stand-in of Stripe, and its clock for all.

use std::future::poll_fn;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tollgate_config::BilledMeter;
use tollgate_domain::{
    Account, KeyId, MeterName, NodeId, Period, Plan, PlanName, PlanTable, RouteName, StatusClass, Timestamp,
    UsageBatch, UsageKey, UsageLine, UsageTally, entitlement,
};
use tollgate_fake_stripe::{FakeConfig, FakeStripe, Fault, FaultKind, NewPrice, Seed, When};
use tollgate_store::{BILLING_LEASE, Billing as _, Credit, History as _, MeterSend, Store as _};

use crate::testing::{Parts, settings};
use crate::{Billing, MeterPass};

/// What Stripe's meters call their events.
pub(crate) const CALLS: &str = "api_calls";
pub(crate) const TOKENS: &str = "tokens_used";
/// Where meters are told.
pub(crate) const METER_EVENTS: &str = "/v1/billing/meter_events";
/// How much longer than a lease a new process waits for it.
const LEASE_OVER: Duration = Duration::from_secs(11);

/// The deployment.
pub(crate) struct Books {
    parts: Parts,
    pub(crate) billing: Arc<Billing>,
    processes: AtomicU64,
    batches: AtomicU64,
    made: AtomicU64,
}

impl Deref for Books {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

pub(crate) fn tokens() -> MeterName {
    MeterName::new("tokens").expect("a good name")
}

pub(crate) fn plans() -> PlanTable {
    let named = |name: &str| Plan::unlimited(PlanName::new(name).expect("a good name"));
    let free = Plan { api: false, ..named("free") };
    let pro = Plan { rank: 1, stripe_prices: vec!["price_pro".into()].into_iter().collect(), ..named("pro") };
    PlanTable::new([free, pro, named("public")], PlanName::new("free")).with_grace(7 * 86_400_000_000)
}

impl Books {
    pub(crate) async fn open() -> Self {
        Self::with(FakeConfig::default()).await
    }

    pub(crate) async fn with(config: FakeConfig) -> Self {
        let fake = FakeStripe::start(config).expect("a stand-in");
        // No period begins at a whole minute.
        fake.advance(Duration::from_secs(9 * 86_400 + 12_345));
        fake.price(NewPrice { id: "price_pro", product: "Pro", unit_amount: 2_900, ..NewPrice::default() });
        for (id, metered) in [("price_calls", CALLS), ("price_tokens", TOKENS)] {
            fake.price(NewPrice { id, product: id, unit_amount: 1, metered: Some(metered), ..NewPrice::default() });
        }
        let parts = Parts::of(fake).await;
        let billing = process(&parts, 0);
        let (processes, batches, made) = Default::default();
        Self { parts, billing, processes, batches, made }
    }

    /// Another process takes over, as after a crash of the one before.
    pub(crate) fn start_over(&mut self) {
        let number = self.processes.fetch_add(1, Ordering::Relaxed) + 1;
        self.billing = process(&self.parts, number);
        self.fake.advance(LEASE_OVER);
    }

    pub(crate) async fn account(&self) -> Account {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        self.parts.account(u8::try_from(number).expect("few accounts")).await
    }

    /// An account that pays for a plan and for its use, and is known to.
    pub(crate) async fn subscriber(&self) -> Account {
        let account = self.account().await;
        let id = account.id.to_string();
        let metadata = [("tollgate_account", id.as_str())];
        let prices = &["price_pro", "price_calls", "price_tokens"];
        let seed = Seed { email: &account.email, prices, metadata: &metadata, ..Seed::default() };
        let seeded = self.fake.seed(seed).expect("it is sold");
        self.billing.refresh_customer(&seeded.customer).await.expect("Stripe answers");
        self.again(&account).await
    }

    /// The account's quota period that is open now.
    pub(crate) async fn period(&self, account: &Account) -> Period {
        let account = self.again(account).await;
        let now = self.now();
        entitlement(&account, &plans(), now).period_basis(&account).period_at(now)
    }

    /// Reads everybody afresh, as webhooks would have it done when periods begin.
    pub(crate) async fn tell_periods(&self) {
        let page = self.store.billed_accounts(None, 1_000).await.expect("the store answers");
        for (account, _) in page.items {
            let customer = account.stripe_customer.expect("it has one");
            self.billing.refresh_customer(&customer).await.expect("Stripe answers");
        }
    }

    /// A gateway tells of use now.
    pub(crate) async fn use_units(&self, account: &Account, meter: Option<&MeterName>, units: u64) {
        let period = self.period(account).await;
        self.use_in(account, meter, units, period, self.now()).await;
    }

    /// A gateway tells of use of a period, of a batch that ended then.
    pub(crate) async fn use_in(
        &self,
        account: &Account,
        meter: Option<&MeterName>,
        units: u64,
        period: Period,
        end: Timestamp,
    ) {
        let key = UsageKey {
            account: account.id,
            key: KeyId::new(Timestamp::EPOCH, [1; 10]),
            route: RouteName::new("reports").expect("a good name"),
            status: StatusClass::Success,
            period,
            meter: meter.cloned(),
            detached: false,
        };
        let debited = if meter.is_some() { 0 } else { units };
        let tally = UsageTally { calls: 1, units_debited: debited, units_charged: units, ..UsageTally::default() };
        let batch = UsageBatch {
            node: NodeId::new(Timestamp::EPOCH, [1; 10]),
            sequence: self.lose_batch(),
            start: end,
            end,
            lines: vec![UsageLine { key, tally }],
            requests: Vec::new(),
        };
        assert!(self.store.store_batch(&batch).await.expect("the store answers"), "its number is new");
    }

    /// The number of the gateway's next batch. Where none is stored under it, it is lost.
    pub(crate) fn lose_batch(&self) -> u64 {
        self.batches.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) async fn credit(&self, account: &Account, meter: Option<&MeterName>, units: u64, period: Period) {
        let (meter, units) = (meter.cloned(), Some(units));
        let credit = Credit { account: account.id, meter, period, units, at: self.now() };
        self.store.credit(&credit, &self.audit()).await.expect("the store answers");
    }

    /// One pass, of the process that runs now.
    pub(crate) async fn pass(&self) -> MeterPass {
        let fence = self.billing.fence().await.expect("the store answers").expect("nobody else works");
        self.billing.meter_once(fence, self.now()).await.expect("the store answers")
    }

    /// A pass that is killed after being woken so many times, if it is not done by then.
    pub(crate) async fn killed_pass(&self, steps: u32) -> bool {
        let mut left = steps;
        let mut pass = pin!(self.pass());
        poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(false);
            }
            left -= 1;
            pass.as_mut().poll(context).map(|_| true)
        })
        .await
    }

    /// Passes, with time between them, until all that is used was told, or nothing more is.
    pub(crate) async fn settle(&self) {
        let mut idle = 0;
        for _ in 0..40 {
            let is_idle = self.pass().await == MeterPass::default() && self.pending().await == 0;
            idle = if is_idle { idle + 1 } else { 0 };
            // At first a period may only have been resting.
            if idle == 2 {
                return;
            }
            self.fake.advance(Duration::from_mins(20));
        }
        panic!("not all was told in thirteen hours: {:?}", self.sends().await);
    }

    async fn pending(&self) -> usize {
        let far = self.now().plus_micros(90 * 86_400_000_000);
        self.store.due_sends(far, 1_000).await.expect("the store answers").len()
    }

    async fn sends(&self) -> Vec<MeterSend> {
        let far = self.now().plus_micros(90 * 86_400_000_000);
        self.store.due_sends(far, 1_000).await.expect("the store answers")
    }

    /// Units that the ledger bills of everything that an account ever used.
    pub(crate) async fn used(&self, account: &Account, meter: Option<&MeterName>, period: Period) -> i64 {
        let used = self.store.used(account.id, meter, period).await.expect("the store answers");
        i64::try_from(used).expect("few units")
    }

    /// Units that Stripe has of it, whenever they were used.
    pub(crate) async fn told(&self, account: &Account, event_name: &str) -> i64 {
        let customer = self.again(account).await.stripe_customer.expect("it has one");
        self.fake.meter_total(&customer, event_name, 0, i64::MAX)
    }

    /// Units that Stripe has of it, used in a period.
    pub(crate) async fn told_in(&self, account: &Account, event_name: &str, period: Period) -> i64 {
        let customer = self.again(account).await.stripe_customer.expect("it has one");
        let (from, to) = (period.start.as_secs(), period.end.as_secs());
        self.fake.meter_total(&customer, event_name, from, to)
    }

    pub(crate) fn inject(&self, path_prefix: &str, kind: FaultKind, when: When) {
        self.fake.inject(Fault { method: Some("POST".into()), path_prefix: path_prefix.into(), kind, when });
    }

    /// Switches Stripe's meter of these events on or off: `reactivate`, `deactivate`.
    pub(crate) fn switch_meter(&self, event_name: &str, how: &str) {
        let meters = self.fake.call("GET", "/v1/billing/meters", &[]).expect("a list");
        let meters = meters["data"].as_array().expect("a list");
        let meter = meters.iter().find(|meter| meter["event_name"] == event_name).expect("it was made");
        let path = format!("/v1/billing/meters/{}/{how}", meter["id"].as_str().expect("an id"));
        self.fake.call("POST", &path, &[]).expect("it can be switched");
    }

    /// How often meters were told of an event.
    pub(crate) fn asked(&self) -> usize {
        self.fake.requests().iter().filter(|request| request.path.starts_with(METER_EVENTS)).count()
    }

    pub(crate) async fn hold_elsewhere(&self) {
        let (now, until) = (self.now(), self.now().plus_micros(3_600_000_000));
        self.fake.advance(LEASE_OVER);
        let held = self.store.hold_lease(BILLING_LEASE, "elsewhere", self.now().max(now), until).await;
        held.expect("the store answers").expect("it is free");
    }
}

fn process(parts: &Parts, number: u64) -> Arc<Billing> {
    let mut stripe = settings(&parts.fake);
    stripe.meters = [(BilledMeter::Calls, CALLS.to_owned()), (BilledMeter::Named(tokens()), TOKENS.to_owned())].into();
    parts.process(plans(), stripe, &format!("process-{number}"))
}
