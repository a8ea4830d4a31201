//! Random use, refunds, credits and openings of periods against a model that keeps every line: what Stripe is told is what
//! was used since the first subscription, to the unit, never more, and each period counts from its opening.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tollgate_domain::{DAY_US, MeterName, Period, Timestamp, UsageBatch, UsageLine, UsageTally};
use tollgate_store::{
    AdminStore, BilledPeriod, BilledUse, Credit, Credited, Fence, Fenced, SendOutcome, SendState, UsageEvent,
};

use crate::backend;
use crate::fixture::{account_id, audit, calls, event, make_account, make_key, march, meter, node};
use crate::stripe::{day, facts, fence, paid, subscription, take};

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// Calls of a key, some of them given back; in the period before, where it is still heard of late.
    Call { key: u8, units: u64, refunded: u64, late: bool },
    /// Tokens that were reported.
    Report { units: u64 },
    /// Units that an operator gives back of the open period.
    Credit { of_tokens: bool, units: Option<u64> },
    /// A paid invoice opens a period.
    Open,
    /// A trial opens one.
    Try,
    /// Sends are planned.
    Plan { limit: u32 },
    /// Stripe takes a send, answers with an error, or refuses it for good.
    Send { outcome: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..3_u8, 0..40_u64, 0..40_u64, any::<bool>())
            .prop_map(|(key, units, refunded, late)| Step::Call { key, units, refunded: refunded.min(units), late }),
        3 => (1..900_u64).prop_map(|units| Step::Report { units }),
        1 => (any::<bool>(), prop::option::of(1..30_u64)).prop_map(|(of_tokens, units)| Step::Credit { of_tokens, units }),
        2 => Just(Step::Open),
        1 => Just(Step::Try),
        4 => (1..4_u32).prop_map(|limit| Step::Plan { limit }),
        4 => (0..4_u8).prop_map(|outcome| Step::Send { outcome }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    // Minutes that pass, and what happens then.
    prop::collection::vec((1..2_000_i64, step()), 0..40)
}

/// A line of the ledger, as the model keeps it.
struct Used {
    meter: Option<MeterName>,
    period: Period,
    at: Timestamp,
    units: i64,
}

struct Model<'s> {
    store: &'s dyn AdminStore,
    fence: Fence,
    now: Timestamp,
    lines: Vec<Used>,
    /// The period that is open, and the one before.
    open: Period,
    before: Period,
    /// When the first subscription was made.
    billed_since: Option<Timestamp>,
    /// When the open period was opened by a paid invoice.
    counts_from: Option<Timestamp>,
    /// What an operator gave back of use that was carried over: it stands in the period that was open then, and not in the
    /// one it was used in, so that it is not told from any later one's that overlaps one of the two.
    credited: BTreeSet<Option<MeterName>>,
    batches: u64,
}

fn quotas() -> [Option<MeterName>; 2] {
    [None, Some(meter("tokens"))]
}

fn billed() -> Vec<BilledUse> {
    let use_of = |meter: Option<MeterName>| BilledUse { event_name: format!("{meter:?}"), meter };
    quotas().map(use_of).into()
}

impl Model<'_> {
    async fn run(&mut self, step: &Step) {
        match step {
            Step::Call { key, units, refunded, late } => {
                let period = if *late { self.before } else { self.open };
                self.call(*key, *units, *refunded, period).await;
            }
            Step::Report { units } => self.report(*units).await,
            Step::Credit { of_tokens, units } => {
                let of = if *of_tokens { Some(meter("tokens")) } else { None };
                self.credit(of, *units).await;
            }
            Step::Open => self.open(true).await,
            Step::Try => self.open(false).await,
            Step::Plan { limit } => {
                let before = self.told().await;
                self.plan(*limit).await;
                self.check_plan(&before).await;
            }
            Step::Send { outcome } => self.send(*outcome).await,
        }
    }

    fn note(&mut self, meter: Option<MeterName>, period: Period, units: i64) {
        self.lines.push(Used { meter, period, at: self.now, units });
    }

    async fn call(&mut self, key: u8, units: u64, refunded: u64, period: Period) {
        self.batches += 1;
        let mut line: UsageLine = calls(1, key, units);
        line.key.period = period;
        line.tally = UsageTally { units_refunded: refunded, ..line.tally };
        let (sequence, now) = (self.batches, self.now);
        let batch = UsageBatch { node: node(1), sequence, start: now, end: now, lines: vec![line], requests: vec![] };
        assert!(self.store.store_batch(&batch).await.expect("the store answers"));
        self.note(None, period, signed(units) - signed(refunded));
    }

    async fn report(&mut self, units: u64) {
        let id = format!("evt_{}", self.lines.len());
        let event = UsageEvent { at: self.now, period: self.open, ..event(1, &id, &[("tokens", units)]) };
        self.store.record_events(&[event], self.now).await.expect("the store answers");
        self.note(Some(meter("tokens")), self.open, signed(units));
    }

    async fn credit(&mut self, of: Option<MeterName>, units: Option<u64>) {
        let credit = Credit { account: account_id(1), meter: of.clone(), period: self.open, units, at: self.now };
        let credited = self.store.credit(&credit, &audit("usage.credit")).await.expect("the store answers");
        if let Credited::Credited { units, .. } = credited
            && units > 0
        {
            self.note(of.clone(), self.open, -signed(units));
            self.credited.insert(of);
        }
    }

    async fn open(&mut self, is_paid: bool) {
        let opened = Period { start: self.now, end: self.now.plus_micros(30 * DAY_US) };
        let said = facts(1, vec![subscription("sub_1", "price_pro", opened)]);
        let said = if is_paid { paid(said) } else { said };
        take(self.store, self.fence, &said, self.now).await;
        self.before = std::mem::replace(&mut self.open, opened);
        self.billed_since.get_or_insert(self.now);
        self.counts_from = is_paid.then_some(self.now);
        // Nothing that happens from now on happens in the instant it was opened.
        self.now = self.now.plus_micros(1);
    }

    async fn plan(&self, limit: u32) -> u64 {
        match self
            .store
            .plan_sends(self.fence, &billed(), day(-99), self.now, 0, limit)
            .await
            .expect("the store answers")
        {
            Fenced::Done(planned) => planned,
            Fenced::Lost => panic!("the lease is held"),
        }
    }

    /// What of each quota and period is to be billed.
    fn owed(&self) -> BTreeMap<(Option<MeterName>, Period), i64> {
        let mut owed = BTreeMap::new();
        let Some(billed_since) = self.billed_since else { return owed };
        for line in &self.lines {
            let is_billed = line.period.start >= billed_since || line.at >= billed_since;
            let units = owed.entry((line.meter.clone(), line.period)).or_default();
            *units += if is_billed { line.units } else { 0 };
        }
        owed
    }

    async fn told(&self) -> Vec<BilledPeriod> {
        self.store.billed_periods(&billed(), day(-99), None, 1_000).await.expect("the store answers").items
    }

    /// That what was planned since is no more than what is owed.
    async fn check_plan(&self, before: &[BilledPeriod]) {
        for now in self.told().await {
            let is_same = |known: &&BilledPeriod| (&known.meter, known.period) == (&now.meter, now.period);
            let planned_before = before.iter().find(is_same).map_or(0, |known| known.planned);
            assert!(
                now.planned == planned_before || signed(now.planned) <= now.ledger,
                "more was planned than is owed: {now:?}"
            );
        }
    }

    /// That ledger and sends stand as the model says.
    async fn check(&self) {
        let told: BTreeMap<_, _> =
            self.told().await.into_iter().map(|known| ((known.meter.clone(), known.period), known)).collect();
        let ledger: BTreeMap<_, _> = told.iter().map(|(of, known)| (of.clone(), known.ledger)).collect();
        assert_eq!(ledger, self.owed());
        let mut identifiers = BTreeSet::new();
        for ((meter, period), known) in &told {
            let sends = self.store.sends_of(account_id(1), meter.as_ref(), *period).await.expect("the store answers");
            let sum = |states: &[SendState]| {
                sends.iter().filter(|send| states.contains(&send.state)).map(|send| send.units).sum::<u64>()
            };
            assert_eq!(sum(&[SendState::Pending, SendState::Sent, SendState::Failed]), known.planned);
            assert_eq!((sum(&[SendState::Sent]), sum(&[SendState::Failed])), (known.sent, known.failed));
            assert!(sends.iter().filter(|send| send.state == SendState::Pending).count() <= 1, "one is under way");
            for send in sends {
                assert!(period.contains(send.at) && send.at <= self.now && send.units > 0, "{send:?}");
                assert!(identifiers.insert(send.identifier.clone()), "{send:?} is told apart");
            }
        }
        let Some(from) = self.counts_from else { return };
        for meter in quotas().into_iter().filter(|meter| !self.credited.contains(meter)) {
            let used = self.store.used(account_id(1), meter.as_ref(), self.open).await.expect("the store answers");
            let since = self.lines.iter().filter(|line| line.at >= from && line.period.overlaps(&self.open));
            let since: i64 = since.filter(|line| line.meter == meter).map(|line| line.units).sum();
            assert_eq!(signed(used), since, "what was used of {meter:?} since it was opened");
        }
    }

    async fn send(&self, outcome: u8) {
        let due = self.store.due_sends(self.now, 1).await.expect("the store answers");
        let Some(send) = due.first() else { return };
        let note = String::from("a reason");
        let outcome = match outcome {
            0 => SendOutcome::Failed { note },
            1 => SendOutcome::Retry { at: self.now.plus_micros(1), note },
            _ => SendOutcome::Sent,
        };
        let settled = [(send.identifier.clone(), outcome)];
        self.store.settle_sends(self.fence, &settled, self.now).await.expect("the store answers");
    }

    /// Stripe takes all that is left: then it was told of all that is owed.
    async fn settle_all(&mut self) {
        let planned_before: BTreeMap<_, _> =
            self.told().await.into_iter().map(|known| ((known.meter, known.period), known.planned)).collect();
        self.now = self.now.plus_micros(2);
        loop {
            let due = self.store.due_sends(self.now, 1_000).await.expect("the store answers");
            let settled: Vec<_> = due.into_iter().map(|send| (send.identifier, SendOutcome::Sent)).collect();
            self.store.settle_sends(self.fence, &settled, self.now).await.expect("the store answers");
            if self.plan(100).await == 0 {
                break;
            }
        }
        for known in self.told().await {
            let before = planned_before.get(&(known.meter.clone(), known.period)).copied().unwrap_or(0);
            assert_eq!(signed(known.planned), known.ledger.max(signed(before)), "{known:?}");
            assert_eq!(known.sent + known.failed, known.planned);
        }
    }
}

fn signed(units: u64) -> i64 {
    i64::try_from(units).expect("a small number")
}

async fn check(store: &dyn AdminStore, steps: &[(i64, Step)]) {
    make_account(store, 1).await;
    for number in 1..=2 {
        make_key(store, number, account_id(1)).await;
    }
    let mut model = Model {
        store,
        fence: fence(store).await,
        now: day(0),
        lines: Vec::new(),
        open: march(),
        before: march(),
        billed_since: None,
        counts_from: None,
        credited: BTreeSet::new(),
        batches: 0,
    };
    // Without a customer nothing is billed; with one, once there is a subscription.
    take(store, model.fence, &facts(1, Vec::new()), model.now).await;
    for (minutes, step) in steps {
        model.now = model.now.plus_micros(minutes * 60_000_000);
        // An account falls back to the month where its period is over; the model has no part in that.
        if !model.open.contains(model.now) {
            break;
        }
        model.run(step).await;
        model.check().await;
    }
    model.settle_all().await;
    model.check().await;
    let differences = store.sum_differences(day(-99), None, 100).await.expect("the store answers");
    assert_eq!(differences, (vec![], None));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn stripe_is_told_what_is_owed_to_the_unit(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let opened = backend::sqlite_in_memory().await.expect("memory is always there");
            check(&*opened.store, &steps).await;
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stripe_is_told_what_is_owed_by_a_server_too() {
    let mut runner = TestRunner::deterministic();
    for _ in 0..12 {
        let steps = steps().new_tree(&mut runner).expect("steps are made").current();
        let Some(opened) = backend::postgres().await else { return };
        check(&*opened.store, &steps).await;
    }
}
