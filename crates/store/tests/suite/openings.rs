//! Quota periods that a paid invoice opens before the one before is over: they begin at zero, whatever order the news
//! came in, and nothing else does.

use std::sync::Arc;

use tollgate_domain::{
    Charged, KeyId, Period, Subscription, SubscriptionStatus, Timestamp, UsageBatch, UsageLine, Withheld, WithheldCause,
};
use tollgate_store::{AdminStore, AuditQuery, BilledUse, Change, Credit, CustomerFacts, Fence, SeedQuery, UsageEvent};

use crate::fixture::{
    account_id, april, at, audit, calls, event, key_id, make_account, make_key, march, meter, new_key, node, store_new,
    told,
};
use crate::stripe::{day, facts, fence, paid, subscription, take, thirty_days_from};

crate::backend::on_every_backend! {
    a_paid_period_begins_at_zero,
    what_is_told_twice_is_given_back_once,
    a_period_that_is_paid_later_begins_at_zero_then,
    a_period_that_nobody_paid_takes_use_over,
    a_change_of_plan_within_a_period_keeps_its_use,
    a_renewal_gives_nothing_back,
    what_an_operator_gave_back_is_not_given_back_again,
    an_opening_within_an_opened_period_counts_from_the_last,
    a_period_that_is_lost_and_found_again_keeps_what_was_used_meanwhile,
    what_is_reported_late_stays_where_it_was_charged,
    a_rotated_keys_use_is_given_back_to_its_chain,
}

/// A store with the account that every test is about, which has used nothing yet.
struct Setting {
    store: Arc<dyn AdminStore>,
    fence: Fence,
    batches: u64,
}

impl Setting {
    async fn make(store: Arc<dyn AdminStore>) -> Self {
        make_account(&*store, 1).await;
        make_key(&*store, 1, account_id(1)).await;
        let fence = fence(&*store).await;
        told(&*store).await;
        Self { store, fence, batches: 0 }
    }

    /// Calls of a key, charged in this period.
    async fn call(&mut self, at: Timestamp, period: Period, key: u8, count: u64) {
        self.batches += 1;
        let mut line: UsageLine = calls(1, key, count);
        line.key.period = period;
        let batch = UsageBatch {
            node: node(1),
            sequence: self.batches,
            start: at,
            end: at,
            lines: vec![line],
            requests: Vec::new(),
        };
        store_new(&*self.store, &batch).await;
    }

    async fn report(&self, id: &str, at: Timestamp, period: Period, tokens: u64) {
        let event = UsageEvent { at, period, ..event(1, id, &[("tokens", tokens)]) };
        self.store.record_events(&[event], at).await.expect("the store answers");
    }

    async fn take(&self, said: &CustomerFacts, now: Timestamp) -> Vec<Change> {
        take(&*self.store, self.fence, said, now).await.2
    }

    async fn used(&self, period: Period) -> u64 {
        self.store.used(account_id(1), None, period).await.expect("the store answers")
    }

    async fn tokens_used(&self, period: Period) -> u64 {
        self.store.used(account_id(1), Some(&meter("tokens")), period).await.expect("the store answers")
    }

    /// What is used of calls as a limiter finds it that knew nothing: by the account, and by a key and its chain.
    async fn seeded(&self, key: KeyId, period: Period) -> (u64, u64, u64) {
        let query = SeedQuery {
            account: account_id(1),
            key: Some(key),
            meter: Some(meter("tokens")),
            since: at(0),
            resolution_us: 1,
            period,
        };
        let seed = self.store.seed(&query).await.expect("the store answers");
        let used = |quota: Option<tollgate_domain::limit::QuotaUse>| quota.map_or(0, |quota| quota.used);
        let of_key = seed.key.map_or(0, |(_, spending)| used(spending.quota));
        let of_meter = seed.meter.map_or(0, |(_, spending)| used(spending.quota));
        (used(seed.account.quota), of_key, of_meter)
    }

    /// What is to be billed of calls in each period of the account.
    async fn billed(&self) -> Vec<(Period, i64)> {
        let billed = [BilledUse { meter: None, event_name: "api_calls".into() }];
        let page = self.store.billed_periods(&billed, at(-1_000_000), None, 100).await.expect("the store answers");
        page.items.into_iter().map(|known| (known.period, known.ledger)).collect()
    }
}

fn pro(days: i64) -> Subscription {
    subscription("sub_1", "price_pro", thirty_days_from(days))
}

/// Units that were given back of calls, or of tokens, by key.
fn credited(changes: &[Change]) -> Vec<(Charged, Period, i64)> {
    let usage = changes.iter().filter_map(|change| match *change {
        Change::Usage { of, period, units, .. } => Some((of, period, units)),
        Change::Key(_) | Change::Account(_) => None,
    });
    usage.collect()
}

fn of_key(key: u8) -> Charged {
    Charged::Calls { key: Some(key_id(key)) }
}

async fn a_paid_period_begins_at_zero(store: Arc<dyn AdminStore>) {
    let mut setting = Setting::make(store).await;
    make_key(&*setting.store, 2, account_id(1)).await;
    setting.call(at(60), march(), 1, 100).await;
    setting.call(day(2), march(), 2, 20).await;
    setting.report("before", day(3), march(), 40).await;
    // Paid on the fifth day; heard of two hours later.
    setting.call(day(5), march(), 1, 7).await;
    setting.report("since", day(5).plus_micros(1), march(), 3).await;
    told(&*setting.store).await;
    let opened = thirty_days_from(5);
    assert_eq!(setting.used(opened).await, 127, "use is carried over");
    let changes = setting.take(&paid(facts(1, vec![pro(5)])), day(5).plus_micros(7_200_000_000)).await;
    assert_eq!((setting.used(opened).await, setting.tokens_used(opened).await), (7, 3));
    let mut given = credited(&changes);
    given.sort_by_key(|(_, _, units)| *units);
    let tokens = Charged::Meter(meter("tokens").id());
    assert_eq!(given, [(of_key(1), march(), -100), (tokens, march(), -40), (of_key(2), march(), -20)]);
    assert_eq!(changes.last(), Some(&Change::Account(account_id(1))), "the quota is given back before it moves on");
    assert_eq!(changes.len(), 4);
    assert_eq!(told(&*setting.store).await, changes);
    assert_eq!(setting.seeded(key_id(1), opened).await, (7, 7, 3));
    assert_eq!(setting.seeded(key_id(2), opened).await, (7, 0, 3), "a key's own cap begins anew too");
    setting.call(day(6), opened, 2, 5).await;
    assert_eq!(setting.used(opened).await, 12);
    assert_eq!(setting.seeded(key_id(2), opened).await, (12, 5, 3));
    let quota = setting.store.quota_used(account_id(1), Some(key_id(1)), opened).await.expect("the store answers");
    assert_eq!((quota.account, quota.key), (12, 7));
    let trail = AuditQuery { account: Some(account_id(1)), limit: 1, before: None };
    let line = setting.store.audit(&trail).await.expect("the store answers").remove(0);
    assert_eq!((&*line.action, &*line.actor), ("quota.open", "stripe"));
    assert_eq!(line.detail["credited"][0]["units"], 120, "{}", line.detail);
}

async fn what_is_told_twice_is_given_back_once(store: Arc<dyn AdminStore>) {
    let mut setting = Setting::make(store).await;
    setting.call(at(60), march(), 1, 100).await;
    let said = paid(facts(1, vec![pro(5)]));
    setting.take(&said, day(5)).await;
    setting.call(day(6), march(), 1, 4).await;
    for again in 6..9 {
        let changes = setting.take(&said, day(again)).await;
        assert_eq!(changes, []);
        assert_eq!(setting.used(thirty_days_from(5)).await, 4);
    }
}

async fn a_period_that_is_paid_later_begins_at_zero_then(store: Arc<dyn AdminStore>) {
    let mut setting = Setting::make(store).await;
    setting.call(at(60), march(), 1, 100).await;
    let opened = thirty_days_from(5);
    let unpaid = facts(1, vec![pro(5)]);
    let changes = setting.take(&unpaid, day(5)).await;
    assert_eq!(changes, [Change::Account(account_id(1))]);
    setting.call(day(6), opened, 1, 9).await;
    assert_eq!(setting.used(opened).await, 109, "nobody has paid yet");
    assert_eq!(setting.take(&unpaid, day(6)).await, []);
    let changes = setting.take(&paid(unpaid.clone()), day(7)).await;
    assert_eq!(credited(&changes), [(of_key(1), march(), -100)]);
    assert_eq!((changes.len(), told(&*setting.store).await.last()), (1, changes.last()));
    assert_eq!(setting.used(opened).await, 9, "what was used since stays");
    assert_eq!(setting.take(&paid(unpaid), day(8)).await, []);
    assert_eq!(setting.used(opened).await, 9);
}

async fn a_period_that_nobody_paid_takes_use_over(store: Arc<dyn AdminStore>) {
    let mut setting = Setting::make(store).await;
    setting.call(at(60), march(), 1, 100).await;
    let mut trial = pro(5);
    trial.status = SubscriptionStatus::Trialing;
    for now in [5, 6] {
        setting.take(&facts(1, vec![trial.clone()]), day(now)).await;
        assert_eq!(setting.used(thirty_days_from(5)).await, 100);
    }
    // The first paid period begins where the trial ends: nothing overlaps it but the month it began in.
    let mut active = pro(35);
    active.created_at = day(5);
    setting.call(day(34), thirty_days_from(5), 1, 50).await;
    setting.take(&paid(facts(1, vec![active])), day(35)).await;
    assert_eq!(setting.used(thirty_days_from(35)).await, 0);
    assert_eq!(setting.used(thirty_days_from(5)).await, 150, "what is over stays as it was");
}

async fn a_change_of_plan_within_a_period_keeps_its_use(store: Arc<dyn AdminStore>) {
    let mut setting = Setting::make(store).await;
    let opened = thirty_days_from(0);
    setting.take(&paid(facts(1, vec![pro(0)])), at(1)).await;
    setting.call(day(2), opened, 1, 50).await;
    let higher = subscription("sub_1", "price_max", opened);
    let changes = setting.take(&paid(facts(1, vec![higher])), day(3)).await;
    assert_eq!(changes, [Change::Account(account_id(1))]);
    assert_eq!(setting.used(opened).await, 50);
}

async fn a_renewal_gives_nothing_back(store: Arc<dyn AdminStore>) {
    let mut setting = Setting::make(store).await;
    setting.take(&paid(facts(1, vec![pro(0)])), at(1)).await;
    setting.call(day(2), thirty_days_from(0), 1, 50).await;
    let mut renewed = pro(30);
    renewed.created_at = day(0);
    let changes = setting.take(&paid(facts(1, vec![renewed])), day(30).plus_micros(1)).await;
    assert_eq!(changes, [Change::Account(account_id(1))]);
    assert_eq!((setting.used(thirty_days_from(0)).await, setting.used(thirty_days_from(30)).await), (50, 0));
}

async fn what_an_operator_gave_back_is_not_given_back_again(store: Arc<dyn AdminStore>) {
    let mut setting = Setting::make(store).await;
    setting.call(at(60), march(), 1, 100).await;
    let credit = |units, at| Credit { account: account_id(1), meter: None, period: march(), units: Some(units), at };
    let give = async |units, at| setting.store.credit(&credit(units, at), &audit("usage.credit")).await;
    give(30, day(1)).await.expect("the store answers");
    // This one is given after the opening, of what was used before it.
    give(25, day(6)).await.expect("the store answers");
    let changes = setting.take(&paid(facts(1, vec![pro(5)])), day(7)).await;
    assert_eq!(credited(&changes).iter().map(|(_, _, units)| units).sum::<i64>(), -45);
    let opened = thirty_days_from(5);
    assert_eq!(setting.used(opened).await, 0);
    setting.call(day(8), opened, 1, 5).await;
    assert_eq!((setting.used(opened).await, setting.seeded(key_id(1), opened).await.0), (5, 5), "nothing is free");
}

async fn an_opening_within_an_opened_period_counts_from_the_last(store: Arc<dyn AdminStore>) {
    let mut setting = Setting::make(store).await;
    setting.call(at(60), march(), 1, 100).await;
    setting.take(&paid(facts(1, vec![pro(5)])), day(5)).await;
    setting.call(day(6), march(), 1, 3).await;
    setting.call(day(7), thirty_days_from(5), 1, 40).await;
    let mut again = pro(10);
    again.created_at = day(5);
    let changes = setting.take(&paid(facts(1, vec![again])), day(10)).await;
    let mut given = credited(&changes);
    given.sort_by_key(|(_, period, _)| *period);
    assert_eq!(given, [(of_key(1), march(), -3), (of_key(1), thirty_days_from(5), -40)]);
    let opened = thirty_days_from(10);
    assert_eq!(setting.used(opened).await, 0);
    setting.call(day(11), opened, 1, 8).await;
    assert_eq!(setting.used(opened).await, 8);
    assert_eq!(setting.seeded(key_id(1), opened).await, (8, 8, 0));
    let expected = [(march(), 3), (thirty_days_from(5), 40), (opened, 8)];
    assert_eq!(setting.billed().await, expected, "all of it since the first subscription is billed");
}

async fn a_period_that_is_lost_and_found_again_keeps_what_was_used_meanwhile(store: Arc<dyn AdminStore>) {
    let mut setting = Setting::make(store).await;
    setting.call(at(60), march(), 1, 100).await;
    let said = paid(facts(1, vec![pro(5)]));
    setting.take(&said, day(5)).await;
    setting.call(day(6), thirty_days_from(5), 1, 10).await;
    let mut disputed = said.clone();
    disputed.subscriptions[0].withheld = Some(Withheld { at: day(7), cause: WithheldCause::Dispute });
    setting.take(&disputed, day(7)).await;
    assert_eq!(setting.used(march()).await, 10, "it falls back to the month, and takes along what was used since");
    setting.call(day(8), march(), 1, 6).await;
    setting.take(&said, day(9)).await;
    assert_eq!(setting.used(thirty_days_from(5)).await, 16);
}

async fn what_is_reported_late_stays_where_it_was_charged(store: Arc<dyn AdminStore>) {
    let mut setting = Setting::make(store).await;
    setting.call(at(60), march(), 1, 1).await;
    setting.report("old", day(-20), march(), 30).await;
    let opened = thirty_days_from(5);
    let said = facts(1, vec![pro(5)]);
    setting.take(&said, day(5)).await;
    // It happened before the period that was open when it was reported.
    setting.report("late", day(3), opened, 8).await;
    setting.take(&paid(said), day(6)).await;
    assert_eq!(setting.tokens_used(opened).await, 8);
    assert_eq!(setting.tokens_used(march()).await, 8, "the two overlap");
    assert_eq!(setting.tokens_used(april()).await, 8);
}

async fn a_rotated_keys_use_is_given_back_to_its_chain(store: Arc<dyn AdminStore>) {
    let mut setting = Setting::make(store).await;
    setting.call(at(60), march(), 1, 10).await;
    let successor = tollgate_store::NewKey { created_at: day(1), ..new_key(2, account_id(1)) };
    let rotated = setting.store.rotate_key(key_id(1), &successor, day(2), &audit("key.rotate")).await;
    rotated.expect("the store answers");
    setting.call(day(3), march(), 2, 20).await;
    let changes = setting.take(&paid(facts(1, vec![pro(5)])), day(5)).await;
    let mut given = credited(&changes);
    given.sort_by_key(|(_, _, units)| *units);
    assert_eq!(given, [(of_key(1), march(), -20), (of_key(1), march(), -10)], "limiters count by the first of a chain");
    assert_eq!(setting.seeded(key_id(2), thirty_days_from(5)).await, (0, 0, 0));
}
