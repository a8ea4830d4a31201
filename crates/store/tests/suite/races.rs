//! Many callers at once: what is counted before it is changed is counted once, and nobody is left waiting for another.

use std::sync::Arc;

use tollgate_domain::{KeyState, PlanTable};
use tollgate_store::{CreateAccount, CreateKey, ImportedKey, NewAccount, NewKey, RotateKey, SeedQuery, Store};

use crate::fixture::{
    account_id, at, at_once, audit, batch, calls, hash, hour, key_id, make_account, make_key, march, new_account,
    new_key, node,
};

crate::backend::on_every_backend! {
    no_more_keys_are_made_than_the_plan_allows,
    one_account_is_made_of_one_address,
    a_key_is_rotated_once,
    a_deleted_account_keeps_no_key_that_works,
    keys_that_are_imported_twice_at_once_are_there_once,
    files_that_name_the_same_accounts_do_not_wait_for_each_other,
    batches_and_deletions_of_the_same_keys_do_not_wait_for_each_other,
    what_a_snapshot_holds_of_the_ledger_is_what_its_position_says,
}

async fn no_more_keys_are_made_than_the_plan_allows(store: Arc<dyn Store>) {
    let id = make_account(&*store, 1).await.id;
    let outcomes = at_once(24, |number| {
        let store = Arc::clone(&store);
        async move { store.create_key(&new_key(number, id), Some(5), &audit("key.create")).await }
    })
    .await;
    let made = outcomes.iter().filter(|outcome| matches!(outcome, CreateKey::Created(_))).count();
    let refused = outcomes.iter().filter(|outcome| **outcome == CreateKey::LimitReached { active: 5 }).count();
    assert_eq!((made, refused), (5, 19));
    assert_eq!(store.keys(Some(id), None, 100).await.expect("the store answers").items.len(), 5);
}

async fn one_account_is_made_of_one_address(store: Arc<dyn Store>) {
    let outcomes = at_once(16, |number| {
        let store = Arc::clone(&store);
        async move {
            let email = if number % 2 == 0 { "Owner@example.com" } else { "owner@EXAMPLE.com" };
            let new = NewAccount { email: email.into(), ..new_account(number) };
            store.create_account(&new, &audit("account.create")).await
        }
    })
    .await;
    let made: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            CreateAccount::Created(account) => Some(account),
            CreateAccount::Exists(_) => None,
        })
        .collect();
    assert_eq!(made.len(), 1);
    for outcome in &outcomes {
        let (CreateAccount::Created(account) | CreateAccount::Exists(account)) = outcome;
        assert_eq!(account, made[0], "everybody is told of the same one");
    }
}

async fn a_key_is_rotated_once(store: Arc<dyn Store>) {
    let id = make_account(&*store, 1).await.id;
    make_key(&*store, 1, id).await;
    let outcomes = at_once(12, |number| {
        let store = Arc::clone(&store);
        async move {
            let new = new_key(number + 1, id);
            store.rotate_key(key_id(1), &new, at(100), &audit("key.rotate")).await
        }
    })
    .await;
    let rotated = outcomes.iter().filter(|outcome| matches!(outcome, RotateKey::Rotated { .. })).count();
    assert_eq!(rotated, 1);
    assert_eq!(store.keys(Some(id), None, 100).await.expect("the store answers").items.len(), 2);
}

async fn a_deleted_account_keeps_no_key_that_works(store: Arc<dyn Store>) {
    let id = make_account(&*store, 1).await.id;
    for number in 1..=8 {
        make_key(&*store, number, id).await;
    }
    at_once(17, |number| {
        let store = Arc::clone(&store);
        async move {
            let new = NewKey { created_at: at(1), ..new_key(100 + number, id) };
            match number {
                1..=8 => drop(store.rotate_key(key_id(number), &new, at(100), &audit("key.rotate")).await?),
                9..=16 => drop(store.create_key(&new, None, &audit("key.create")).await?),
                _ => drop(store.delete_account(id, at(1), &audit("account.delete")).await?),
            }
            Ok(())
        }
    })
    .await;
    let keys = store.keys(Some(id), None, 100).await.expect("the store answers").items;
    for key in keys {
        assert_eq!(key.state(at(2)), KeyState::Revoked, "{:?}", key.name);
    }
}

fn imported(number: u8) -> ImportedKey {
    ImportedKey {
        id: key_id(number),
        hash: hash(number),
        email: format!("owner{}@example.com", number % 5),
        account_id_if_new: account_id(number),
        plan: None,
        name: None,
        revoked: false,
        cap: None,
        used: 10,
        cycle_start: None,
        expires_at: None,
    }
}

async fn keys_that_are_imported_twice_at_once_are_there_once(store: Arc<dyn Store>) {
    let reports = at_once(4, |_| {
        let store = Arc::clone(&store);
        async move {
            let lines: Vec<_> = (1..=20).map(imported).collect();
            store.import_keys(&lines, &PlanTable::default(), at(0), &audit("keys.import")).await
        }
    })
    .await;
    let sum = |part: fn(&tollgate_store::ImportReport) -> u64| reports.iter().map(part).sum::<u64>();
    assert_eq!((sum(|report| report.keys_created), sum(|report| report.keys_known)), (20, 60));
    assert_eq!(sum(|report| report.accounts_created), 5);
    let accounts = store.accounts(None, 100).await.expect("the store answers").items;
    let mut used = 0;
    for account in accounts {
        used += store.quota_used(account.id, None, march()).await.expect("the store answers").account;
    }
    assert_eq!(used, 200, "what was used is charged once");
}

async fn files_that_name_the_same_accounts_do_not_wait_for_each_other(store: Arc<dyn Store>) {
    for number in 1..=20 {
        make_account(&*store, number).await;
    }
    at_once(8, |number| {
        let store = Arc::clone(&store);
        async move {
            let line =
                |owner: u8| ImportedKey { email: format!("owner{owner}@example.com"), ..imported(number * 25 + owner) };
            let mut lines: Vec<_> = (1..=20).map(line).collect();
            if number % 2 == 0 {
                lines.reverse();
            }
            store.import_keys(&lines, &PlanTable::default(), at(0), &audit("keys.import")).await
        }
    })
    .await;
    assert_eq!(store.keys(None, None, 1_000).await.expect("the store answers").items.len(), 160);
}

async fn batches_and_deletions_of_the_same_keys_do_not_wait_for_each_other(store: Arc<dyn Store>) {
    for owner in 1..=10 {
        let id = make_account(&*store, owner).await.id;
        for key in 0..10 {
            make_key(&*store, owner * 20 + key, id).await;
        }
    }
    at_once(30, |number| {
        let store = Arc::clone(&store);
        async move {
            if number <= 10 {
                store.delete_account(account_id(number), at(5), &audit("account.delete")).await?;
            } else {
                let lines = (1..=10).flat_map(|owner| (0..10).map(move |key| calls(owner, owner * 20 + key, 1)));
                let mut lines: Vec<_> = lines.collect();
                if number % 2 == 0 {
                    lines.reverse();
                }
                store.store_batch(&batch(number.into(), at(number.into()), lines)).await?;
            }
            Ok(())
        }
    })
    .await;
    let keys = store.keys(None, None, 1_000).await.expect("the store answers").items;
    assert!(keys.iter().all(|key| key.revoked_at == Some(at(5)) && key.last_used_at == Some(at(30))));
}

async fn what_a_snapshot_holds_of_the_ledger_is_what_its_position_says(store: Arc<dyn Store>) {
    at_once(12, |number| {
        let store = Arc::clone(&store);
        async move {
            for turn in 1..=20 {
                if number <= 8 {
                    let lines = (1..=number).map(|key| calls(1, key, 1)).collect();
                    let mut batch = batch(turn, at(10), lines);
                    batch.node = node(number);
                    assert!(store.store_batch(&batch).await?, "it is new");
                    continue;
                }
                let query = SeedQuery {
                    account: account_id(1),
                    key: None,
                    meter: None,
                    since: hour(-1),
                    resolution_us: 1,
                    period: march(),
                };
                let seed = store.seed(&query).await?;
                let used = seed.account.quota.map_or(0, |quota| quota.used);
                assert_eq!(used, seed.ledger_position, "every line is one unit");
            }
            Ok(())
        }
    })
    .await;
}
