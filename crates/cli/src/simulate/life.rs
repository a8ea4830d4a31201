//! One life of a subscription: played at a stand-in for Stripe, told to the real inbox, and looked at after each step.
//!
//! What happens at Stripe depends on the story alone. How it is told depends on the [`Telling`]: in order and once, or
//! shuffled, doubled and late. That both end alike is what a simulation shows.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use async_trait::async_trait;
use serde_json::Value;
use tollgate_billing::{Billing, BillingDeps};
use tollgate_config::Live;
use tollgate_domain::{
    Access, Account, AccountId, Clock, Entitlement, Lapse, NoAccess, Plan, SECOND_US, Source, Subscription,
    SubscriptionStatus, Timestamp, entitlement,
};
use tollgate_fake_stripe::{Action, AfterRetries, Card, FakeConfig, FakeStripe, Seed, SignedEvent, sign};
use tollgate_store::{Change, ChangeSink, CreateAccount, EventState, NewAccount, NewAudit, SqliteStore, Store};

use super::random::Random;
use super::sold::{Sold, make_prices};
use crate::args::{Step, Story};

/// Where every life begins.
const EMAIL: &str = "ada@example.com";
/// How long Stripe's retries may go on before it must have given up.
const RETRIES_MAX: usize = 20;
/// How long after the step before a payment is taken back.
const TAKEN_BACK_AFTER: Duration = Duration::from_mins(1);
/// The most that events are told at once.
const COPIES_MAX: u64 = 3;

/// How events are told.
#[derive(Clone, Debug)]
pub(super) enum Telling {
    /// In order, each once.
    Plain,
    /// Shuffled, each up to three times, some not before later ones, by this seed.
    Shuffled(u64),
}

/// How things stand after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// When it is looked at.
    pub(super) at: Timestamp,
    /// The subscription's status at Stripe; empty before there is one.
    pub(super) status: String,
    /// The plan in force.
    pub(super) plan: Option<String>,
    /// What a call of the customer's is answered with.
    pub(super) call: u16,
    /// Why.
    pub(super) why: String,
    /// Until when, if nothing is done.
    pub(super) until: Option<Timestamp>,
}

/// A life as it was lived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lived {
    pub(super) moments: Vec<Moment>,
    /// Events that Stripe told of.
    pub(super) events: usize,
    /// How often it told of them.
    pub(super) told: usize,
}

/// Lives a story.
///
/// # Errors
/// A step cannot follow the one before it, or some part does not work.
pub(super) async fn live(story: &Story, sold: &Sold, plan: &Arc<Plan>, telling: &Telling) -> anyhow::Result<Lived> {
    let mut world = World::new(story, sold, telling).await?;
    let mut moments = Vec::with_capacity(story.0.len());
    for (index, step) in story.0.iter().enumerate() {
        world.take(step, sold, plan).with_context(|| format!("step {} (`{step}`)", index + 1))?;
        world.tell(index + 1 == story.0.len()).await?;
        moments.push(world.look().await?);
    }
    Ok(Lived { moments, events: world.events, told: world.told })
}

/// The clock of the stand-in.
struct StripeClock(Arc<FakeStripe>);

impl Clock for StripeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.0.now())
    }
}

/// There are no gateways.
struct NoGateways;

#[async_trait]
impl ChangeSink for NoGateways {
    async fn publish(&self, _: &Change) {}

    async fn resync(&self) {}
}

struct World {
    stripe: Arc<FakeStripe>,
    billing: Arc<Billing>,
    store: Arc<SqliteStore>,
    live: Arc<Live>,
    account: AccountId,
    customer: Option<String>,
    subscription: Option<String>,
    random: Option<Random>,
    /// Events that are told later than they might be.
    late: Vec<SignedEvent>,
    events: usize,
    told: usize,
}

impl World {
    async fn new(story: &Story, sold: &Sold, telling: &Telling) -> anyhow::Result<Self> {
        let gives_up = story.0.contains(&Step::Unpaid);
        let config = FakeConfig {
            after_retries: if gives_up { AfterRetries::Unpaid } else { AfterRetries::Cancel },
            ..FakeConfig::default()
        };
        let stripe = Arc::new(FakeStripe::start(config).context("no stand-in for Stripe")?);
        make_prices(&sold.policy.plans, &stripe);
        let store = Arc::new(SqliteStore::open_in_memory().await?);
        let now = Timestamp::from_secs(stripe.now());
        let live = Arc::new(Live::new(sold.policy.clone(), "simulation".into(), now));
        let billing = Billing::new(BillingDeps {
            store: Arc::clone(&store) as _,
            live: Arc::clone(&live),
            stripe: sold.settings_for(&stripe)?,
            public_base: "https://api.example.com/tollgate".into(),
            changes: Arc::new(NoGateways),
            clock: Arc::new(StripeClock(Arc::clone(&stripe))),
            holder: "simulation".into(),
        })?;
        let new = NewAccount {
            id: AccountId::new(now, [0; 10]),
            email: EMAIL.into(),
            name: None,
            assigned_plan: None,
            created_at: now,
        };
        let audit = NewAudit { actor: "simulation".into(), action: "account.create", at: now, detail: Value::Null };
        let account = match store.create_account(&new, &audit).await? {
            CreateAccount::Created(account) | CreateAccount::Exists(account) => account.id,
        };
        let random = match telling {
            Telling::Plain => None,
            Telling::Shuffled(seed) => Some(Random::new(*seed)),
        };
        Ok(Self {
            stripe,
            billing,
            store,
            live,
            account,
            customer: None,
            subscription: None,
            random,
            late: Vec::new(),
            events: 0,
            told: 0,
        })
    }

    /// Lets a step happen at Stripe.
    fn take(&mut self, step: &Step, sold: &Sold, plan: &Arc<Plan>) -> anyhow::Result<()> {
        let status = self.status();
        let status = status.as_deref();
        match (step, status) {
            (Step::Wait(span), _) => {
                let seconds = u64::try_from(span.micros / SECOND_US).unwrap_or_default();
                self.stripe.advance(Duration::from_secs(seconds));
                Ok(())
            }
            (Step::Trial, None) => self.begin(plan, sold.trial_days()),
            (Step::Active, None) => self.begin(plan, 0),
            (Step::Trial | Step::Active, Some("canceled" | "incomplete_expired")) => {
                self.begin(plan, if *step == Step::Trial { sold.trial_days() } else { 0 })
            }
            (_, None) => bail!("there is no subscription yet: begin with `trial` or `active`"),
            (Step::Active, Some("trialing")) => self.act(&Action::EndTrial),
            (Step::PastDue, Some("trialing" | "active")) => self.fail(),
            (Step::Recovered, Some("past_due" | "unpaid")) => self.recover(),
            (Step::Canceled, Some(status)) if status != "canceled" => self.act(&Action::CancelNow),
            (Step::Paused, Some("trialing" | "active")) => self.act(&Action::Pause),
            (Step::Resumed, Some("paused")) => self.act(&Action::Resume),
            (Step::Unpaid, Some("trialing" | "active")) => self.fail().and_then(|()| self.give_up()),
            (Step::Unpaid, Some("past_due")) => self.give_up(),
            (Step::Refunded, _) => self.take_back(&Action::Refund(None)),
            (Step::Disputed, _) => self.take_back(&Action::Dispute),
            (Step::DisputeWon, _) => self.act(&Action::DisputeWon),
            (Step::Upgraded(to), Some("trialing" | "active")) => self.change(sold, to, std::cmp::Ordering::Greater),
            (Step::Downgraded(to), Some("trialing" | "active")) => self.change(sold, to, std::cmp::Ordering::Less),
            (_, Some(status)) => bail!("it cannot follow: the subscription is {status}"),
        }
    }

    fn begin(&mut self, plan: &Arc<Plan>, trial_days: u32) -> anyhow::Result<()> {
        let price = plan.stripe_prices.first().context("the plan has no price")?;
        let account = self.account.to_string();
        let customer = self.customer.take();
        let seed = Seed {
            email: EMAIL,
            customer: customer.as_deref(),
            prices: &[price.as_str()],
            trial_days,
            metadata: &[("tollgate_account", account.as_str())],
            card: Card::Good,
            ..Seed::default()
        };
        let seeded = self.stripe.seed(seed).map_err(|error| anyhow!("{}", error.body()))?;
        self.customer = Some(seeded.customer);
        self.subscription = Some(seeded.subscription);
        Ok(())
    }

    /// The card fails, and the next period or the trial's end is to be paid.
    fn fail(&self) -> anyhow::Result<()> {
        self.act(&Action::CardFails)?;
        let is_trial = self.status().as_deref() == Some("trialing");
        self.act(if is_trial { &Action::EndTrial } else { &Action::Renew })
    }

    /// Nobody takes a payment back in the second in which its period began: then it would be the period's before.
    fn take_back(&self, action: &Action) -> anyhow::Result<()> {
        self.stripe.advance(TAKEN_BACK_AFTER);
        self.act(action)
    }

    /// The card works again, and every open invoice is paid.
    fn recover(&self) -> anyhow::Result<()> {
        self.act(&Action::CardRecovers)?;
        self.act(&Action::PayOpenInvoice)?;
        while self.status().is_some_and(|status| status != "active") {
            self.act(&Action::PayOpenInvoice)?;
        }
        Ok(())
    }

    /// Time passes until Stripe tries no more.
    fn give_up(&self) -> anyhow::Result<()> {
        for _ in 0..RETRIES_MAX {
            if self.status().as_deref() == Some("unpaid") {
                return Ok(());
            }
            let Some(next) = self.stripe.next_due() else { break };
            self.stripe.advance_to(next);
        }
        match self.status().as_deref() {
            Some("unpaid") => Ok(()),
            status => bail!("Stripe did not give up: the subscription is {}", status.unwrap_or("gone")),
        }
    }

    fn change(&self, sold: &Sold, to: &str, expected: std::cmp::Ordering) -> anyhow::Result<()> {
        let to = sold.plan(Some(to))?;
        let facts = self.subscription.as_deref().and_then(|id| self.stripe.object(id)).unwrap_or_default();
        let items = facts["items"]["data"].as_array().cloned().unwrap_or_default();
        let mut prices = items.iter().filter_map(|item| item["price"]["id"].as_str());
        let from = prices.find_map(|price| sold.policy.plans.of_price(price));
        let from = from.context("the subscription is for no plan")?;
        if to.rank.cmp(&from.rank) != expected {
            let word = if expected == std::cmp::Ordering::Greater { "higher" } else { "lower" };
            bail!("the rank of `{}` ({}) is not {word} than that of `{}` ({})", to.name, to.rank, from.name, from.rank);
        }
        let price = to.stripe_prices.first().context("the plan has no price")?;
        self.act(&Action::ChangePrice(price.clone()))
    }

    fn act(&self, action: &Action) -> anyhow::Result<()> {
        let subscription = self.subscription.as_deref().context("there is no subscription yet")?;
        self.stripe.act(subscription, action).map_err(|error| {
            let body = error.body();
            anyhow!("{}", body["error"]["message"].as_str().map_or_else(|| body.to_string(), str::to_owned))
        })
    }

    fn status(&self) -> Option<String> {
        let facts = self.stripe.object(self.subscription.as_deref()?)?;
        facts["status"].as_str().map(str::to_owned)
    }

    /// Tells what happened to the inbox, and has it worked off. At the end nothing is left to tell.
    async fn tell(&mut self, is_last: bool) -> anyhow::Result<()> {
        let fresh = self.stripe.take_events();
        self.events += fresh.len();
        let due = match &mut self.random {
            None => fresh,
            Some(random) => {
                let mut due = std::mem::take(&mut self.late);
                due.extend(fresh);
                self.late = if is_last { Vec::new() } else { held_back(&mut due, random) };
                doubled(due, random)
            }
        };
        let secret = self.stripe.webhook_secret();
        for event in &due {
            // What is late is signed when it is sent, as Stripe does.
            let signature = sign(event.body.as_bytes(), &secret, self.stripe.now());
            let received = self.billing.receive(Some(&signature), event.body.as_bytes()).await;
            received.with_context(|| format!("the inbox refused {} ({})", event.id, event.kind))?;
            self.told += 1;
        }
        self.billing.work_once().await?;
        let inbox = self.store_state().await?;
        if let Some((kind, note)) = inbox {
            bail!("an event ({kind}) was not heeded: {note}");
        }
        Ok(())
    }

    /// An event that was not heeded, if there is one, and why.
    async fn store_state(&self) -> anyhow::Result<Option<(String, String)>> {
        for state in [EventState::Pending, EventState::Dead] {
            let query = tollgate_store::EventQuery { state: Some(state), ..tollgate_store::EventQuery::default() };
            let left = tollgate_store::Billing::inbox(&*self.store, &query, 1).await?;
            if let Some(left) = left.items.into_iter().next() {
                return Ok(Some((left.event.kind, left.note.unwrap_or_else(|| state.as_str().to_owned()))));
            }
        }
        Ok(None)
    }

    /// How things stand now, as a gateway would find them.
    async fn look(&self) -> anyhow::Result<Moment> {
        let account = self.store.account(self.account).await?.context("the account is gone")?;
        let policy = self.live.policy();
        let at = Timestamp::from_secs(self.stripe.now());
        let entitlement = entitlement(&account, &policy.plans, at);
        let (why, until) = words(&account, &entitlement, &policy.plans, at);
        Ok(Moment {
            at,
            status: self.status().unwrap_or_default(),
            plan: entitlement.plan().map(|plan| plan.name.to_string()),
            call: if entitlement.has_access() { 200 } else { 402 },
            why,
            until,
        })
    }
}

/// Takes some of what is to be told out, to be told later. Something stays that makes the customer be read afresh.
fn held_back(due: &mut Vec<SignedEvent>, random: &mut Random) -> Vec<SignedEvent> {
    let speaks = |event: &SignedEvent| event.kind.starts_with("customer.subscription.");
    // Without such an event nothing tells of this step yet, and how things stand would depend on luck.
    let Some(kept) = due.iter().rposition(speaks) else { return Vec::new() };
    let kept = due.remove(kept);
    let late = due.extract_if(.., |_| random.below(3) == 0).collect();
    due.push(kept);
    late
}

/// Each up to three times, in any order.
fn doubled(due: Vec<SignedEvent>, random: &mut Random) -> Vec<SignedEvent> {
    let mut told: Vec<SignedEvent> = Vec::new();
    for event in due {
        let copies = 1 + random.below(COPIES_MAX);
        told.extend((0..copies).map(|_| event.clone()));
    }
    random.shuffle(&mut told);
    told
}

/// Why the customer may call or may not, and until when that holds if nothing is done.
fn words(
    account: &Account,
    entitlement: &Entitlement,
    plans: &tollgate_domain::PlanTable,
    now: Timestamp,
) -> (String, Option<Timestamp>) {
    let lapse = |lapse: Lapse| match lapse {
        Lapse::Incomplete => "the first payment has not succeeded",
        Lapse::GraceOver => "the payment failed, and the grace is over",
        Lapse::Unpaid => "the payment failed, and Stripe gave up",
        Lapse::Paused => "paused: the trial ended without a way to pay",
        Lapse::Ended => "the subscription ended",
        Lapse::Disputed => "the payment is disputed",
        Lapse::Refunded => "the payment was refunded",
        Lapse::UnknownPrice => "no plan has its price",
    };
    let lapsed = account.subscriptions.iter().rev().find_map(|facts| facts.gives(plans, now).err());
    match (&entitlement.access, entitlement.source) {
        (_, Source::Subscription) => match account.subscriptions.iter().find(|facts| facts.gives(plans, now).is_ok()) {
            Some(facts) => given(facts, plans),
            None => (String::new(), None),
        },
        (_, Source::Default) => match lapsed {
            Some(why) => (format!("default plan: {}", lapse(why)), None),
            None => ("default plan".to_owned(), None),
        },
        (Access::None(NoAccess::Lapsed(why)), _) => (lapse(*why).to_owned(), None),
        _ => ("nothing gives a plan".to_owned(), None),
    }
}

fn given(facts: &Subscription, plans: &tollgate_domain::PlanTable) -> (String, Option<Timestamp>) {
    let period_end = facts.plan(plans).map(|(_, period)| period.end);
    match (facts.status, facts.cancel_at) {
        (SubscriptionStatus::PastDue, _) => match facts.grace_until(plans) {
            Some(until) => ("the payment failed; in grace".to_owned(), Some(until)),
            None => ("past due, nothing open that failed".to_owned(), None),
        },
        (_, Some(at)) => ("paid; ends then".to_owned(), Some(at)),
        (SubscriptionStatus::Trialing, None) => ("in trial".to_owned(), facts.trial_end),
        (_, None) => ("paid".to_owned(), period_end),
    }
}
