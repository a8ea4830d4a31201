//! Usage batches: stored once, whole, with every sum; never lost for an owner that is not known.

use std::sync::Arc;
use std::time::Duration;

use tollgate_domain::{StatusClass, UsageBatch, UsageKey, UsageLine, UsageTally};
use tollgate_store::{QuotaUsed, SeedQuery, Store};

use crate::fixture::{
    account_id, april, at, batch, calls, hour, key_id, make_account, make_key, march, node, route, store_new,
};

crate::backend::on_every_backend! {
    a_batch_is_stored_once_however_often_it_is_sent,
    concurrent_copies_of_a_batch_are_stored_once,
    a_batch_that_is_given_up_half_way_leaves_nothing,
    use_of_an_unknown_account_and_key_is_kept,
    a_keys_last_use_only_moves_forward,
    refunds_are_taken_off_and_periods_told_apart,
    a_batch_without_lines_is_stored,
    numbers_at_the_bound_add_up,
    lines_that_differ_in_route_and_status_are_one_sum,
}

async fn used(store: &dyn Store, account: u8, key: u8) -> QuotaUsed {
    store.quota_used(account_id(account), Some(key_id(key)), march()).await.expect("the store answers")
}

async fn debited(store: &dyn Store, account: u8) -> u64 {
    let query = SeedQuery {
        account: account_id(account),
        key: None,
        meter: None,
        since: hour(-1_000),
        resolution_us: 1,
        period: march(),
    };
    let seed = store.seed(&query).await.expect("the store answers");
    seed.account.debits.iter().map(|debited| debited.units).sum()
}

async fn a_batch_is_stored_once_however_often_it_is_sent(store: Arc<dyn Store>) {
    let first = batch(1, at(10), vec![calls(1, 1, 5)]);
    store_new(&*store, &first).await;
    for _ in 0..3 {
        assert!(!store.store_batch(&first).await.expect("the store answers"), "it is known");
    }
    assert_eq!(used(&*store, 1, 1).await, QuotaUsed { account: 5, key: 5, calls: 5 });
    store_new(&*store, &batch(2, at(11), vec![calls(1, 1, 5)])).await;
    let other_node = UsageBatch { node: node(2), ..first };
    store_new(&*store, &other_node).await;
    assert_eq!(used(&*store, 1, 1).await, QuotaUsed { account: 15, key: 15, calls: 15 });
}

async fn concurrent_copies_of_a_batch_are_stored_once(store: Arc<dyn Store>) {
    let batch = batch(1, at(10), (0..50).map(|key| calls(1, key, 2)).collect());
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (store, batch) = (Arc::clone(&store), batch.clone());
            tokio::spawn(async move { store.store_batch(&batch).await })
        })
        .collect();
    let mut new = 0;
    for task in tasks {
        new += u32::from(task.await.expect("no panic").expect("the store answers"));
    }
    assert_eq!(new, 1);
    assert_eq!(used(&*store, 1, 1).await, QuotaUsed { account: 100, key: 2, calls: 100 });
}

async fn a_batch_that_is_given_up_half_way_leaves_nothing(store: Arc<dyn Store>) {
    let batch = batch(1, at(10), (0..=255).map(|key| calls(1, key, 1)).collect());
    let mut stored = false;
    for micros in (0..20_000).step_by(500) {
        let given_up = tokio::time::timeout(Duration::from_micros(micros), store.store_batch(&batch)).await;
        let now_used = used(&*store, 1, 1).await.account;
        assert!(now_used == 0 || now_used == 256, "all or nothing: {now_used}");
        stored |= given_up.is_ok_and(|outcome| outcome.expect("the store answers"));
        assert!(!stored || now_used == 256, "what was told to be stored is stored");
    }
    store.store_batch(&batch).await.expect("the store answers");
    assert_eq!(used(&*store, 1, 1).await.account, 256);
    assert_eq!(debited(&*store, 1).await, 256);
}

async fn use_of_an_unknown_account_and_key_is_kept(store: Arc<dyn Store>) {
    store_new(&*store, &batch(1, at(10), vec![calls(7, 8, 5)])).await;
    assert_eq!(used(&*store, 7, 8).await, QuotaUsed { account: 5, key: 5, calls: 5 });
    assert_eq!(debited(&*store, 7).await, 5);
    assert_eq!(used(&*store, 8, 8).await, QuotaUsed::default(), "another account sees nothing of it");
}

async fn a_keys_last_use_only_moves_forward(store: Arc<dyn Store>) {
    let id = make_account(&*store, 1).await.id;
    for key in 1..=3 {
        make_key(&*store, key, id).await;
    }
    let refund = UsageLine { tally: UsageTally { units_refunded: 1, ..UsageTally::default() }, ..calls(1, 3, 0) };
    store_new(&*store, &batch(1, at(10), vec![calls(1, 1, 1), refund])).await;
    store_new(&*store, &batch(2, at(30), vec![calls(1, 1, 1), calls(1, 2, 1)])).await;
    store_new(&*store, &batch(3, at(20), vec![calls(1, 1, 1), calls(1, 2, 1)])).await;
    for (key, expected) in [(1, Some(at(30))), (2, Some(at(30))), (3, None)] {
        let key = store.key(key_id(key)).await.expect("the store answers").expect("it is there");
        assert_eq!(key.last_used_at, expected, "{:?}", key.name);
    }
}

async fn refunds_are_taken_off_and_periods_told_apart(store: Arc<dyn Store>) {
    let mut in_march = calls(1, 1, 10);
    in_march.tally.units_refunded = 4;
    let mut in_april = calls(1, 1, 6);
    in_april.key.period = april();
    store_new(&*store, &batch(1, at(10), vec![in_march, in_april])).await;
    for (period, account) in [(march(), 6), (april(), 6)] {
        let used = store.quota_used(account_id(1), None, period).await.expect("the store answers");
        assert_eq!(used.account, account, "{period:?}");
    }
    let mut refund = calls(1, 1, 0);
    refund.tally.units_refunded = 100;
    store_new(&*store, &batch(2, at(11), vec![refund])).await;
    let used = store.quota_used(account_id(1), Some(key_id(1)), march()).await.expect("the store answers");
    assert_eq!((used.account, used.key), (0, 0), "never below zero");
    let both = tollgate_domain::Period { start: march().start, end: april().end };
    let used = store.quota_used(account_id(1), None, both).await.expect("the store answers");
    assert_eq!(used.calls, 16, "every entry whose period overlaps");
}

async fn a_batch_without_lines_is_stored(store: Arc<dyn Store>) {
    store_new(&*store, &batch(1, at(10), Vec::new())).await;
    assert!(!store.store_batch(&batch(1, at(10), Vec::new())).await.expect("the store answers"));
}

async fn numbers_at_the_bound_add_up(store: Arc<dyn Store>) {
    store_new(&*store, &batch(1, at(10), vec![calls(1, 1, 1 << 53)])).await;
    store_new(&*store, &batch(2, at(11), vec![calls(1, 1, u64::MAX)])).await;
    let used = used(&*store, 1, 1).await;
    assert_eq!(used, QuotaUsed { account: 1 << 54, key: 1 << 54, calls: 1 << 54 }, "no number passes 2^53");
    assert_eq!(debited(&*store, 1).await, 1 << 54);
}

async fn lines_that_differ_in_route_and_status_are_one_sum(store: Arc<dyn Store>) {
    let lines = ["events", "reports", "events"].into_iter().zip([
        StatusClass::Success,
        StatusClass::Success,
        StatusClass::ServerError,
    ]);
    let lines = lines.map(|(name, status)| {
        let line = calls(1, 1, 2);
        UsageLine { key: UsageKey { route: route(name), status, ..line.key }, ..line }
    });
    let batch = batch(1, at(10), lines.chain([calls(1, 1, 3)]).collect());
    store_new(&*store, &batch).await;
    assert_eq!(used(&*store, 1, 1).await, QuotaUsed { account: 9, key: 9, calls: 9 });
}
