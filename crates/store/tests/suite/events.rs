//! Reported use and credits: counted once, as meters of their own, never below zero, and told to the gateways.

use std::sync::Arc;

use serde_json::json;
use tollgate_domain::limit::QuotaUse;
use tollgate_domain::{Charged, Timestamp, UsageKey, UsageLine, UsageTally};
use tollgate_store::{
    AdminStore, AuditQuery, Change, Credit, Credited, EventOutcome, QuotaUsed, SeedQuery, UsageEvent,
};

use crate::fixture::{
    account_id, april, at, at_once, audit, batch, calls, event, hour, key_id, make_account, march, meter, store_new,
    told,
};

crate::backend::on_every_backend! {
    an_event_counts_once_however_often_it_is_sent,
    an_event_sent_at_once_by_many_counts_once,
    an_event_with_another_content_is_a_conflict,
    events_of_two_accounts_share_no_ids,
    meters_are_told_apart_from_calls_and_from_each_other,
    a_detached_line_of_a_meter_is_told_as_one,
    a_credit_lowers_what_is_used_but_never_below_zero,
    a_credit_is_an_entry_with_its_audit_line_and_its_news,
    credits_at_once_give_nothing_back_twice,
}

use EventOutcome::{Conflict, Known, Recorded};

async fn record(store: &dyn AdminStore, events: &[UsageEvent]) -> Vec<EventOutcome> {
    store.record_events(events, at(10)).await.expect("the store answers").0
}

async fn used(store: &dyn AdminStore, account: u8, name: &str) -> u64 {
    let meter = (name != "calls").then(|| meter(name));
    store.used(account_id(account), meter.as_ref(), march()).await.expect("the store answers")
}

fn of_meter(name: &str, account: u8, units: i64, position: u64) -> Change {
    let of = Charged::Meter(meter(name).id());
    Change::Usage { account: account_id(account), of, period: march(), units, position }
}

async fn an_event_counts_once_however_often_it_is_sent(store: Arc<dyn AdminStore>) {
    let store = &*store;
    let both = event(1, "e1", &[("tokens", 70), ("images", 2)]);
    let nothing = event(1, "e2", &[("tokens", 0)]);
    let sent = [both.clone(), nothing.clone(), both.clone()];
    let (outcomes, changes) = store.record_events(&sent, at(10)).await.expect("the store answers");
    assert_eq!(outcomes, [Recorded, Recorded, Known]);
    let expected = [of_meter("images", 1, 2, 1), of_meter("tokens", 1, 70, 2)];
    assert_eq!(changes, expected, "what charges nothing is not told of");
    assert_eq!(told(store).await, expected);
    let later = UsageEvent { at: at(99), period: april(), ..both };
    for _ in 0..3 {
        let again = store.record_events(&[later.clone(), nothing.clone()], at(99)).await.expect("the store answers");
        assert_eq!(again, (vec![Known, Known], Vec::new()));
    }
    assert_eq!((used(store, 1, "tokens").await, used(store, 1, "images").await), (70, 2));
    assert_eq!(used(store, 1, "calls").await, 0);
    assert_eq!(record(store, &[]).await, []);
}

async fn an_event_sent_at_once_by_many_counts_once(store: Arc<dyn AdminStore>) {
    let outcomes = at_once(12, |number| {
        let store = Arc::clone(&store);
        // Each sends the same ones, in another order.
        let mut events: Vec<_> = (1..=6)
            .flat_map(|account| (0..5).map(move |id| event(account, &format!("e{id}"), &[("tokens", 1)])))
            .collect();
        events.rotate_left(usize::from(number) * 2);
        async move { store.record_events(&events, at(10)).await }
    })
    .await;
    let recorded = outcomes.iter().flat_map(|(outcomes, _)| outcomes).filter(|outcome| **outcome == Recorded).count();
    assert_eq!(recorded, 30);
    for account in 1..=6 {
        assert_eq!(used(&*store, account, "tokens").await, 5);
    }
}

async fn an_event_with_another_content_is_a_conflict(store: Arc<dyn AdminStore>) {
    let store = &*store;
    let first = UsageEvent {
        key: Some(key_id(1)),
        dimensions: [("model".into(), "large".into())].into(),
        metadata: json!({ "b": [1, 0.1, null], "a": "\u{0} é" }),
        ..event(1, "e1", &[("tokens", 70)])
    };
    assert_eq!(record(store, std::slice::from_ref(&first)).await, [Recorded]);
    let others = [
        UsageEvent { key: None, ..first.clone() },
        UsageEvent { key: Some(key_id(2)), ..first.clone() },
        UsageEvent { meters: [(meter("tokens"), 71)].into(), ..first.clone() },
        UsageEvent { meters: [(meter("images"), 70)].into(), ..first.clone() },
        UsageEvent { dimensions: [].into(), ..first.clone() },
        UsageEvent { metadata: json!({ "a": "\u{0} é" }), ..first.clone() },
    ];
    for other in others {
        assert_eq!(record(store, &[other.clone(), first.clone()]).await, [Conflict, Known], "{other:?}");
    }
    assert_eq!(used(store, 1, "tokens").await, 70);
    let twice = [event(1, "e2", &[("tokens", 1)]), event(1, "e2", &[("tokens", 2)])];
    assert_eq!(record(store, &twice).await, [Recorded, Conflict], "in one call as well");
    assert_eq!(used(store, 1, "tokens").await, 71);
}

async fn events_of_two_accounts_share_no_ids(store: Arc<dyn AdminStore>) {
    let store = &*store;
    let events = [event(1, "e1", &[("tokens", 3)]), event(2, "e1", &[("tokens", 5)])];
    assert_eq!(record(store, &events).await, [Recorded, Recorded]);
    assert_eq!((used(store, 1, "tokens").await, used(store, 2, "tokens").await), (3, 5));
}

fn metered(name: &str, line: UsageLine) -> UsageLine {
    UsageLine { key: UsageKey { meter: Some(meter(name)), ..line.key }, ..line }
}

async fn meters_are_told_apart_from_calls_and_from_each_other(store: Arc<dyn AdminStore>) {
    let store = &*store;
    // A line of a meter that says it debited a bucket, which none has.
    let lines = vec![calls(1, 1, 5), metered("tokens", calls(1, 1, 40)), metered("images", calls(1, 2, 2))];
    store_new(store, &batch(1, at(5), lines)).await;
    record(store, &[event(1, "e1", &[("tokens", 3)]), event(2, "e1", &[("tokens", 9)])]).await;
    let whole = store.quota_used(account_id(1), Some(key_id(1)), march()).await.expect("the store answers");
    assert_eq!(whole, QuotaUsed { account: 5, key: 5, calls: 5 });
    for (name, expected) in [("calls", 5), ("tokens", 43), ("images", 2), ("pages", 0)] {
        assert_eq!(used(store, 1, name).await, expected, "{name}");
    }
    for (resolution_us, name) in [(1, "tokens"), (hour(1) - hour(0), "images")] {
        let query = SeedQuery {
            account: account_id(1),
            key: Some(key_id(1)),
            meter: Some(meter(name)),
            since: hour(-100),
            resolution_us,
            period: march(),
        };
        let seed = store.seed(&query).await.expect("the store answers");
        let quota = |used| Some(QuotaUse { period: march(), used });
        let debited: u64 = seed.account.debits.iter().map(|debited| debited.units).sum();
        assert_eq!((debited, seed.account.quota), (5, quota(5)));
        let (_, own) = seed.key.expect("it was asked for");
        assert_eq!((own.debits.iter().map(|debited| debited.units).sum::<u64>(), own.quota), (5, quota(5)));
        let (id, spent) = seed.meter.expect("it was asked for");
        let expected = if name == "tokens" { 43 } else { 2 };
        assert_eq!((id, spent.debits.len(), spent.quota), (meter(name).id(), 0, quota(expected)));
        assert_eq!(seed.ledger_position, 5);
    }
}

async fn a_detached_line_of_a_meter_is_told_as_one(store: Arc<dyn AdminStore>) {
    let store = &*store;
    let mut detached = metered("tokens", calls(1, 1, 7));
    detached.key.detached = true;
    detached.tally.units_refunded = 2;
    store_new(store, &batch(1, at(5), vec![metered("tokens", calls(1, 1, 1)), detached])).await;
    assert_eq!(told(store).await, [of_meter("tokens", 1, 5, 2)]);
}

fn credit(name: &str, units: Option<u64>) -> Credit {
    let meter = (name != "calls").then(|| meter(name));
    Credit { account: account_id(1), meter, period: march(), units, at: at(20) }
}

async fn give_back(store: &dyn AdminStore, credit: &Credit) -> Credited {
    store.credit(credit, &audit("account.credit")).await.expect("the store answers")
}

async fn a_credit_lowers_what_is_used_but_never_below_zero(store: Arc<dyn AdminStore>) {
    let store = &*store;
    make_account(store, 1).await;
    store_new(store, &batch(1, at(5), vec![calls(1, 1, 10), calls(2, 2, 99)])).await;
    record(store, &[event(1, "e1", &[("tokens", 7)])]).await;
    for (credit, expected, left) in [
        (credit("calls", Some(11)), Credited::MoreThanUsed { used: 10 }, 10),
        (credit("calls", Some(u64::MAX)), Credited::MoreThanUsed { used: 10 }, 10),
        (Credit { period: april(), ..credit("calls", Some(1)) }, Credited::MoreThanUsed { used: 0 }, 10),
        (
            credit("calls", Some(4)),
            Credited::Credited {
                units: 4,
                used_before: 10,
                change: Some(Change::Usage {
                    account: account_id(1),
                    of: Charged::Calls { key: None },
                    period: march(),
                    units: -4,
                    position: 4,
                }),
            },
            6,
        ),
        (credit("calls", Some(0)), Credited::Credited { units: 0, used_before: 6, change: None }, 6),
    ] {
        assert_eq!(give_back(store, &credit).await, expected);
        assert_eq!((used(store, 1, "calls").await, used(store, 1, "tokens").await), (left, 7), "{credit:?}");
    }
    let all = give_back(store, &credit("tokens", None)).await;
    let change = Some(of_meter("tokens", 1, -7, 5));
    assert_eq!(all, Credited::Credited { units: 7, used_before: 7, change });
    let nothing = Credited::Credited { units: 0, used_before: 0, change: None };
    assert_eq!(give_back(store, &credit("tokens", None)).await, nothing);
    assert_eq!((used(store, 1, "calls").await, used(store, 1, "tokens").await), (6, 0));
    let key = store.quota_used(account_id(1), Some(key_id(1)), march()).await.expect("the store answers");
    assert_eq!((key.account, key.key), (6, 10), "no key did it");
    assert_eq!(used(store, 2, "calls").await, 99, "the other account is as it was");
}

async fn a_credit_is_an_entry_with_its_audit_line_and_its_news(store: Arc<dyn AdminStore>) {
    let store = &*store;
    make_account(store, 1).await;
    store_new(store, &batch(1, at(5), vec![calls(1, 1, 10)])).await;
    told(store).await;
    give_back(store, &credit("calls", Some(20))).await;
    assert_eq!(told(store).await, [], "nothing was changed");
    let Credited::Credited { change: Some(change), .. } = give_back(store, &credit("calls", Some(3))).await else {
        panic!("it is given back")
    };
    assert_eq!(told(store).await, [change]);
    let lines = store.lines(account_id(1), at(0), at(100), None, 10).await.expect("the store answers");
    let entries: Vec<_> = lines.iter().map(|line| (line.place, line.at, line.key, line.units)).collect();
    assert_eq!(entries, [(1, at(5), Some(key_id(1)), 10), (2, at(20), None, -3)]);
    let query = AuditQuery { account: Some(account_id(1)), limit: 10, ..AuditQuery::default() };
    let trail = store.audit(&query).await.expect("the store answers");
    assert_eq!(trail.iter().filter(|entry| entry.action == "account.credit").count(), 1);
    // The gateway that is seeded afterwards finds it told already.
    let query = SeedQuery {
        account: account_id(1),
        key: None,
        meter: None,
        since: Timestamp::EPOCH,
        resolution_us: 1,
        period: march(),
    };
    let seed = store.seed(&query).await.expect("the store answers");
    assert_eq!((seed.ledger_position, seed.account.quota), (2, Some(QuotaUse { period: march(), used: 7 })));
}

async fn credits_at_once_give_nothing_back_twice(store: Arc<dyn AdminStore>) {
    make_account(&*store, 1).await;
    let tally = UsageTally { calls: 1, units_charged: 10, ..UsageTally::default() };
    store_new(&*store, &batch(1, at(5), vec![UsageLine { tally, ..calls(1, 1, 0) }])).await;
    let outcomes = at_once(8, |_| {
        let store = Arc::clone(&store);
        async move { store.credit(&credit("calls", Some(4)), &audit("account.credit")).await }
    })
    .await;
    let given = outcomes.iter().filter(|outcome| matches!(outcome, Credited::Credited { .. })).count();
    assert_eq!((given, used(&*store, 1, "calls").await), (2, 2));
}
