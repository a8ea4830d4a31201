//! The outbox: exactly what a fleet must hear of, from the moment that it is so until somebody says that it was told.

use std::sync::Arc;
use std::time::Duration;

use tollgate_domain::{AccountId, Ban, Charged, PlanTable, UsageLine, UsageTally};
use tollgate_store::{Change, ImportedAccount, ImportedKey, NewKey, OutboxEntry, Store};

use crate::fixture::{
    account_id, at, audit, batch, calls, hash, key_id, make_account, make_key, march, new_account, new_key, plan,
    store_new, told,
};

crate::backend::on_every_backend! {
    every_change_is_told_of_once,
    what_changes_nothing_is_not_told_of,
    an_import_tells_of_what_it_reports,
    only_what_was_told_is_taken_out,
    use_that_the_limiter_did_not_count_is_told_with_its_place,
    use_of_a_rotated_key_is_told_by_its_chain,
    a_batch_that_is_given_up_half_way_tells_of_nothing,
}

fn account(number: u8) -> Change {
    Change::Account(account_id(number))
}

fn key(number: u8) -> Change {
    Change::Key(hash(number))
}

async fn every_change_is_told_of_once(store: Arc<dyn Store>) {
    let store = &*store;
    let id = make_account(store, 1).await.id;
    assert_eq!(told(store).await, [account(1)]);
    make_key(store, 1, id).await;
    assert_eq!(told(store).await, [key(1)]);
    let successor = new_key(2, id);
    store.rotate_key(key_id(1), &successor, at(10), &audit("key.rotate")).await.expect("the store answers");
    assert_eq!(told(store).await, [key(1), key(2)]);
    store.revoke_key(key_id(2), at(1), &audit("key.revoke")).await.expect("the store answers");
    assert_eq!(told(store).await, [key(2)]);
    let pro = plan("pro");
    for plan in [Some(&pro), None] {
        store.assign_plan(id, plan, None, &audit("account.plan")).await.expect("the store answers");
        assert_eq!(told(store).await, [account(1)]);
    }
    let ban = Ban { at: at(1), reason: None };
    for ban in [Some(&ban), None] {
        store.set_ban(id, ban, &audit("account.ban")).await.expect("the store answers");
        assert_eq!(told(store).await, [account(1)]);
    }
    store.delete_account(id, at(2), &audit("account.delete")).await.expect("the store answers");
    assert_eq!(told(store).await, [account(1), key(1), key(2)]);
}

async fn what_changes_nothing_is_not_told_of(store: Arc<dyn Store>) {
    let store = &*store;
    let id = make_account(store, 1).await.id;
    make_key(store, 1, id).await;
    store.revoke_key(key_id(1), at(1), &audit("key.revoke")).await.expect("the store answers");
    told(store).await;
    let nobody: AccountId = account_id(9);
    let duplicate = NewKey { id: key_id(7), ..new_key(1, id) };
    let late = NewKey { created_at: at(2), ..new_key(3, id) };
    store.create_account(&new_account(1), &audit("account.create")).await.expect("the store answers");
    store.create_key(&duplicate, None, &audit("key.create")).await.expect("the store answers");
    store.create_key(&new_key(2, id), Some(0), &audit("key.create")).await.expect("the store answers");
    store.create_key(&new_key(2, nobody), None, &audit("key.create")).await.expect("the store answers");
    store.rotate_key(key_id(1), &late, at(9), &audit("key.rotate")).await.expect("the store answers");
    store.revoke_key(key_id(1), at(2), &audit("key.revoke")).await.expect("the store answers");
    store.assign_plan(nobody, None, None, &audit("account.plan")).await.expect("the store answers");
    store.set_ban(nobody, None, &audit("account.ban")).await.expect("the store answers");
    store.delete_account(nobody, at(2), &audit("account.delete")).await.expect("the store answers");
    store_new(store, &batch(1, at(10), vec![calls(1, 1, 5)])).await;
    assert_eq!(told(store).await, []);
}

async fn an_import_tells_of_what_it_reports(store: Arc<dyn Store>) {
    let store = &*store;
    let line = |number: u8| ImportedKey {
        id: key_id(number),
        hash: hash(number),
        email: "a@example.com".into(),
        account_id_if_new: account_id(1),
        plan: Some(plan("pro")),
        name: None,
        revoked: false,
        cap: None,
        used: 40,
        cycle_start: None,
        expires_at: None,
    };
    let (plans, keys) = (PlanTable::default(), [line(1), line(2)]);
    let report = store.import_keys(&keys, &plans, at(0), &audit("keys.import")).await.expect("the store answers");
    let usage = |number, position| Change::Usage {
        account: account_id(1),
        of: Charged::Calls { key: Some(key_id(number)) },
        period: march(),
        units: 40,
        position,
    };
    let expected = [key(1), key(2), account(1), usage(1, 1), usage(2, 2)];
    assert_eq!(report.changes, expected, "each entry by its own place, so that each is counted");
    assert_eq!(told(store).await, expected);
    let known = ImportedAccount {
        id: account_id(5),
        email: "A@example.com".into(),
        name: None,
        plan: None,
        stripe_customer: None,
        stripe_subscription: None,
    };
    store.import_accounts(&[known], at(0), &audit("accounts.import")).await.expect("the store answers");
    assert_eq!(told(store).await, [account(1)]);
}

async fn only_what_was_told_is_taken_out(store: Arc<dyn Store>) {
    let store = &*store;
    let id = make_account(store, 1).await.id;
    for number in 1..=200 {
        make_key(store, number, id).await;
    }
    let first: Vec<OutboxEntry> = store.outbox(150).await.expect("the store answers");
    assert_eq!(first.len(), 150, "no more than was asked for");
    assert_eq!((first[0].change, first[149].change), (account(1), key(149)), "the oldest first");
    make_key(store, 201, id).await;
    let ids: Vec<i64> = first.iter().map(|entry| entry.id).rev().collect();
    for _ in 0..2 {
        store.clear_outbox(&ids).await.expect("what is out already is nobody's loss");
    }
    store.clear_outbox(&[]).await.expect("nothing is to be done");
    let rest: Vec<Change> = (150..=201).map(key).collect();
    assert_eq!(told(store).await, rest);
    assert_eq!(told(store).await, []);
}

fn detached(line: UsageLine, refunded: u64) -> UsageLine {
    let mut line = line;
    line.key.detached = true;
    line.tally.units_refunded = refunded;
    line
}

async fn use_that_the_limiter_did_not_count_is_told_with_its_place(store: Arc<dyn Store>) {
    let store = &*store;
    let lines = vec![
        calls(1, 1, 7),
        detached(calls(1, 1, 5), 2),
        detached(calls(1, 2, 3), 3),
        detached(UsageLine { tally: UsageTally { calls: 9, ..UsageTally::default() }, ..calls(1, 1, 0) }, 0),
        detached(calls(2, 3, 0), 4),
    ];
    let batch = batch(1, at(10), lines);
    for _ in 0..2 {
        store.store_batch(&batch).await.expect("the store answers");
    }
    let usage = |account, key, units, position| Change::Usage {
        account: account_id(account),
        of: Charged::Calls { key: Some(key_id(key)) },
        period: march(),
        units,
        position,
    };
    assert_eq!(told(store).await, [usage(1, 1, 3, 2), usage(2, 3, -4, 5)]);
    let used = store.quota_used(account_id(1), None, march()).await.expect("the store answers");
    assert_eq!((used.account, used.calls), (7 + 5 + 3 - 2 - 3, 7 + 5 + 3 + 9), "the ledger has them all the same");
}

async fn use_of_a_rotated_key_is_told_by_its_chain(store: Arc<dyn Store>) {
    let store = &*store;
    let id = make_account(store, 1).await.id;
    make_key(store, 1, id).await;
    store.rotate_key(key_id(1), &new_key(2, id), at(9), &audit("key.rotate")).await.expect("the store answers");
    told(store).await;
    let lines = (1..=3).map(|key| detached(calls(1, key, 5), 0)).collect();
    store.store_batch(&batch(1, at(10), lines)).await.expect("the store answers");
    let of = told(store).await.into_iter().map(|change| match change {
        Change::Usage { of, .. } => of,
        other => panic!("{other:?}"),
    });
    let expected = [1, 1, 3].map(|key| Charged::Calls { key: Some(key_id(key)) });
    assert_eq!(of.collect::<Vec<_>>(), expected, "one that is not known is by itself");
}

async fn a_batch_that_is_given_up_half_way_tells_of_nothing(store: Arc<dyn Store>) {
    let store = &*store;
    let batch = batch(1, at(10), (0..=255).map(|key| detached(calls(1, key, 1), 0)).collect());
    for micros in (0..10_000).step_by(500) {
        drop(tokio::time::timeout(Duration::from_micros(micros), store.store_batch(&batch)).await);
        let entries = store.outbox(1_000).await.expect("the store answers").len();
        assert!(entries == 0 || entries == 256, "all or nothing: {entries}");
    }
    store.store_batch(&batch).await.expect("the store answers");
    assert_eq!(told(store).await.len(), 256);
}
