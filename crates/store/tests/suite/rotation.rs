//! Rotation: one successor and one predecessor in grace at a time, and the use of both counts for both.

use std::sync::Arc;

use tollgate_domain::{Glob, Key, KeyLimits, KeyState, Supersession};
use tollgate_store::{NewKey, RotateKey, SeedQuery, Store};

use crate::fixture::{
    account_id, at, audit, batch, calls, hour, key_id, make_account, make_key, march, new_key, store_new,
};

crate::backend::on_every_backend! {
    a_successor_takes_over_everything_but_id_hash_and_time,
    one_predecessor_at_a_time,
    a_revoked_predecessor_is_in_nobodys_way,
    only_an_active_key_of_the_account_is_rotated,
    concurrent_rotations_make_one_successor,
    what_a_predecessor_used_counts_for_its_successor,
    a_successor_whose_hash_is_taken_changes_nothing,
}

async fn rotate(store: &dyn Store, old: u8, new: u8, now: i64, grace_until: i64) -> RotateKey {
    let new = NewKey { created_at: at(now), ..new_key(new, account_id(1)) };
    store.rotate_key(key_id(old), &new, at(grace_until), &audit("key.rotate")).await.expect("the store answers")
}

async fn a_successor_takes_over_everything_but_id_hash_and_time(store: Arc<dyn Store>) {
    let account = make_account(&*store, 1).await.id;
    let old = NewKey {
        name: Some("the old one".into()),
        expires_at: Some(at(9_000)),
        scopes: vec![Glob::new("events").expect("a good glob")],
        read_only: true,
        limits: KeyLimits { bucket: None, cap: Some(10) },
        ..new_key(1, account)
    };
    store.create_key(&old, None, &audit("key.create")).await.expect("the store answers");
    let RotateKey::Rotated { new, old: superseded } = rotate(&*store, 1, 2, 100, 200).await else {
        panic!("an active key is rotated");
    };
    let expected = Key {
        id: key_id(2),
        account,
        lineage: key_id(1),
        hashed: new_key(2, account).hashed,
        name: Some("the old one".into()),
        created_at: at(100),
        expires_at: Some(at(9_000)),
        revoked_at: None,
        superseded: None,
        scopes: old.scopes.clone(),
        read_only: true,
        ip_rules: old.ip_rules.clone(),
        limits: old.limits,
        last_used_at: None,
    };
    assert_eq!(new, expected);
    assert_eq!(superseded.superseded, Some(Supersession { by: key_id(2), grace_until: at(200) }));
    assert_eq!(superseded.state(at(199)), KeyState::InGrace);
    assert_eq!(superseded.state(at(200)), KeyState::RotatedOut);
    assert_eq!(store.key(key_id(1)).await.expect("the store answers"), Some(superseded), "it is stored so");
    assert_eq!(store.key(key_id(2)).await.expect("the store answers"), Some(expected), "it is stored so");
}

async fn one_predecessor_at_a_time(store: Arc<dyn Store>) {
    let account = make_account(&*store, 1).await.id;
    make_key(&*store, 1, account).await;
    assert!(matches!(rotate(&*store, 1, 2, 100, 200).await, RotateKey::Rotated { .. }));
    assert_eq!(rotate(&*store, 2, 3, 199, 300).await, RotateKey::PredecessorInGrace { grace_until: at(200) });
    assert_eq!(store.key(key_id(3)).await.expect("the store answers"), None, "nothing was changed");
    assert!(matches!(rotate(&*store, 2, 3, 200, 300).await, RotateKey::Rotated { .. }));
}

async fn a_revoked_predecessor_is_in_nobodys_way(store: Arc<dyn Store>) {
    let account = make_account(&*store, 1).await.id;
    make_key(&*store, 1, account).await;
    rotate(&*store, 1, 2, 100, 200).await;
    store.revoke_key(key_id(1), at(110), &audit("key.revoke")).await.expect("the store answers");
    assert!(matches!(rotate(&*store, 2, 3, 120, 300).await, RotateKey::Rotated { .. }));
}

async fn only_an_active_key_of_the_account_is_rotated(store: Arc<dyn Store>) {
    let account = make_account(&*store, 1).await.id;
    make_account(&*store, 2).await;
    make_key(&*store, 1, account).await;
    rotate(&*store, 1, 2, 100, 200).await;
    make_key(&*store, 3, account).await;
    store.revoke_key(key_id(3), at(50), &audit("key.revoke")).await.expect("the store answers");
    let expired = NewKey { expires_at: Some(at(100)), ..new_key(4, account) };
    store.create_key(&expired, None, &audit("key.create")).await.expect("the store answers");
    make_key(&*store, 5, account_id(2)).await;

    for (old, expected) in [(1, Some(KeyState::InGrace)), (3, Some(KeyState::Revoked)), (4, Some(KeyState::Expired))] {
        let outcome = rotate(&*store, old, 9, 150, 300).await;
        assert!(matches!(&outcome, RotateKey::NotActive(key) if Some(key.state(at(150))) == expected), "{outcome:?}");
    }
    for old in [5, 6] {
        assert_eq!(rotate(&*store, old, 9, 150, 300).await, RotateKey::NoKey, "another account's, or none");
    }
    assert_eq!(store.key(key_id(9)).await.expect("the store answers"), None);
}

async fn concurrent_rotations_make_one_successor(store: Arc<dyn Store>) {
    let account = make_account(&*store, 1).await.id;
    make_key(&*store, 1, account).await;
    let tasks: Vec<_> = (2..=17)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { rotate(&*store, 1, number, 100, 200).await })
        })
        .collect();
    let mut rotated = 0;
    for task in tasks {
        rotated += u32::from(matches!(task.await.expect("no panic"), RotateKey::Rotated { .. }));
    }
    assert_eq!(rotated, 1);
    assert_eq!(store.keys(Some(account), None, 100).await.expect("the store answers").items.len(), 2);
}

async fn what_a_predecessor_used_counts_for_its_successor(store: Arc<dyn Store>) {
    let account = make_account(&*store, 1).await.id;
    make_key(&*store, 1, account).await;
    make_key(&*store, 9, account).await;
    store_new(&*store, &batch(1, at(10), vec![calls(1, 1, 5), calls(1, 9, 100)])).await;
    rotate(&*store, 1, 2, 100, 200).await;
    store_new(&*store, &batch(2, at(150), vec![calls(1, 1, 3), calls(1, 2, 4)])).await;
    rotate(&*store, 2, 3, 300, 300).await;

    for key in [1, 2, 3] {
        let used = store.quota_used(account, Some(key_id(key)), march()).await.expect("the store answers");
        assert_eq!((used.account, used.key), (112, 12), "key {key}");
        for resolution_us in [1, hour(1) - hour(0)] {
            let query = SeedQuery {
                account,
                key: Some(key_id(key)),
                meter: None,
                since: hour(-100),
                resolution_us,
                period: march(),
            };
            let seed = store.seed(&query).await.expect("the store answers");
            let (_, spending) = seed.key.expect("the key was asked for");
            assert_eq!(spending.debits.iter().map(|debited| debited.units).sum::<u64>(), 12, "key {key}");
            assert_eq!(spending.quota.map(|quota| quota.used), Some(12), "key {key}");
        }
    }
}

async fn a_successor_whose_hash_is_taken_changes_nothing(store: Arc<dyn Store>) {
    let account = make_account(&*store, 1).await.id;
    let old = make_key(&*store, 1, account).await;
    let taken = make_key(&*store, 2, account).await;
    let new = NewKey { hashed: taken.hashed.clone(), created_at: at(100), ..new_key(3, account) };
    let error = store.rotate_key(old.id, &new, at(200), &audit("key.rotate")).await.expect_err("the hash is taken");
    assert!(error.to_string().contains("stored already"), "{error}");
    assert_eq!(store.key(old.id).await.expect("the store answers"), Some(old));
}
