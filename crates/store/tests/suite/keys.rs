//! Keys: made within the plan's bound, found by hash, listed, revoked.

use std::sync::Arc;

use tollgate_domain::{Bucket, Glob, IpRules, Key, KeyLimits, Rate, Unit};
use tollgate_store::{AdminStore, AuditQuery, Change, CreateKey, KeyPatch, KeyWithAccount, NewKey, Store};

use crate::fixture::{account_id, at, audit, hash, key_id, make_account, make_key, new_key, told};

crate::backend::on_every_backend! {
    a_key_reads_back_with_all_its_attributes_and_its_account,
    an_unknown_hash_finds_nothing,
    only_active_keys_count_against_max_keys,
    concurrent_creates_never_pass_max_keys,
    a_key_needs_an_account_that_is_not_deleted,
    a_hash_is_stored_once,
    keys_are_listed_in_pages_of_one_account_or_of_all,
    a_revocation_is_final_and_told_of_once,
    a_key_is_changed_as_asked_by_its_own_account,
}

async fn a_key_reads_back_with_all_its_attributes_and_its_account(store: Arc<dyn Store>) {
    let account = make_account(&*store, 1).await;
    let bucket = Bucket::new(Rate { count: 7, per: Unit::Hour }, 3).expect("in bounds");
    let new = NewKey {
        expires_at: Some(at(1_000)),
        scopes: ["events", "reports-*"].map(|scope| Glob::new(scope).expect("a good glob")).to_vec(),
        read_only: true,
        ip_rules: IpRules {
            allow: vec!["10.0.0.0/8".parse().expect("a net"), "2001:db8::/32".parse().expect("a net")],
            deny: vec!["10.1.2.3/32".parse().expect("a net")],
        },
        limits: KeyLimits { bucket: Some(bucket), cap: Some(1 << 53) },
        ..new_key(1, account.id)
    };
    let expected = Key {
        id: new.id,
        account: account.id,
        lineage: new.id,
        hashed: new.hashed.clone(),
        name: Some("key 1".into()),
        created_at: at(0),
        expires_at: Some(at(1_000)),
        revoked_at: None,
        superseded: None,
        scopes: new.scopes.clone(),
        read_only: true,
        ip_rules: new.ip_rules.clone(),
        limits: new.limits,
        last_used_at: None,
    };
    let made = store.create_key(&new, None, &audit("key.create")).await.expect("the store answers");
    assert_eq!(made, CreateKey::Created(expected.clone()));
    assert_eq!(store.key(new.id).await.expect("the store answers"), Some(expected.clone()));
    let found = store.find_key(&new.hashed.hash).await.expect("the store answers");
    assert_eq!(found, Some(KeyWithAccount { key: expected, account }));
}

async fn an_unknown_hash_finds_nothing(store: Arc<dyn Store>) {
    assert_eq!(store.find_key(&hash(9)).await.expect("the store answers"), None);
    assert_eq!(store.key(key_id(9)).await.expect("the store answers"), None);
    assert_eq!(store.revoke_key(key_id(9), at(1), &audit("key.revoke")).await.expect("the store answers"), None);
}

async fn only_active_keys_count_against_max_keys(store: Arc<dyn Store>) {
    let id = make_account(&*store, 1).await.id;
    make_account(&*store, 2).await;
    make_key(&*store, 100, account_id(2)).await;
    make_key(&*store, 1, id).await;
    make_key(&*store, 2, id).await;
    store.revoke_key(key_id(2), at(0), &audit("key.revoke")).await.expect("the store answers");
    let expiring = NewKey { expires_at: Some(at(50)), ..new_key(3, id) };
    store.create_key(&expiring, None, &audit("key.create")).await.expect("the store answers");
    make_key(&*store, 4, id).await;
    let successor = new_key(5, id);
    store.rotate_key(key_id(4), &successor, at(1_000), &audit("key.rotate")).await.expect("the store answers");

    // Active before the expiry: 1, 3 and 5. Revoked is 2, in its grace is 4.
    let early = store.create_key(&new_key(6, id), Some(3), &audit("key.create")).await.expect("the store answers");
    assert_eq!(early, CreateKey::LimitReached { active: 3 });
    let later = NewKey { created_at: at(50), ..new_key(6, id) };
    let late = store.create_key(&later, Some(3), &audit("key.create")).await.expect("the store answers");
    assert!(matches!(late, CreateKey::Created(_)), "{late:?}");
    let none = store.create_key(&new_key(7, id), Some(0), &audit("key.create")).await.expect("the store answers");
    assert!(matches!(none, CreateKey::LimitReached { .. }), "{none:?}");
    assert_eq!(store.key(key_id(7)).await.expect("the store answers"), None, "nothing was changed");
}

async fn concurrent_creates_never_pass_max_keys(store: Arc<dyn Store>) {
    let id = make_account(&*store, 1).await.id;
    let tasks: Vec<_> = (1..=32)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.create_key(&new_key(number, id), Some(5), &audit("key.create")).await })
        })
        .collect();
    let mut created = 0;
    for task in tasks {
        match task.await.expect("no panic").expect("the store answers") {
            CreateKey::Created(_) => created += 1,
            CreateKey::LimitReached { active } => assert_eq!(active, 5),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(created, 5);
    let page = store.keys(Some(id), None, 100).await.expect("the store answers");
    assert_eq!(page.items.len(), 5);
    let query = AuditQuery { account: Some(id), before: None, limit: 100 };
    let trail = store.audit(&query).await.expect("the store answers");
    assert_eq!(trail.iter().filter(|entry| entry.action == "key.create").count(), 5, "a refusal leaves no line");
}

async fn a_key_needs_an_account_that_is_not_deleted(store: Arc<dyn Store>) {
    let id = make_account(&*store, 1).await.id;
    store.delete_account(id, at(1), &audit("account.delete")).await.expect("the store answers");
    for account in [id, account_id(2)] {
        let made = store.create_key(&new_key(1, account), None, &audit("key.create")).await.expect("the store answers");
        assert_eq!(made, CreateKey::NoAccount);
    }
}

async fn a_hash_is_stored_once(store: Arc<dyn Store>) {
    let id = make_account(&*store, 1).await.id;
    let first = make_key(&*store, 1, id).await;
    let second = NewKey { hashed: first.hashed.clone(), ..new_key(2, id) };
    let made = store.create_key(&second, None, &audit("key.create")).await.expect("the store answers");
    assert_eq!(made, CreateKey::Duplicate);
    let found = store.find_key(&first.hashed.hash).await.expect("the store answers").expect("it is found");
    assert_eq!(found.key, first, "nothing was changed");
}

async fn keys_are_listed_in_pages_of_one_account_or_of_all(store: Arc<dyn Store>) {
    for account in [1, 2] {
        make_account(&*store, account).await;
    }
    for (key, account) in [(1, 1), (2, 2), (3, 1), (4, 1), (5, 2)] {
        make_key(&*store, key, account_id(account)).await;
    }
    for (account, expected) in
        [(None, vec![1, 2, 3, 4, 5]), (Some(1), vec![1, 3, 4]), (Some(2), vec![2, 5]), (Some(3), vec![])]
    {
        let mut seen = Vec::new();
        loop {
            let after = seen.last().copied();
            let page = store.keys(account.map(account_id), after, 2).await.expect("the store answers");
            seen.extend(page.items.iter().map(|key| key.id));
            if !page.has_more {
                break;
            }
        }
        assert_eq!(seen, expected.into_iter().map(key_id).collect::<Vec<_>>(), "{account:?}");
    }
}

async fn a_revocation_is_final_and_told_of_once(store: Arc<dyn Store>) {
    let id = make_account(&*store, 1).await.id;
    let key = make_key(&*store, 1, id).await;
    let expected = Some(Key { revoked_at: Some(at(5)), ..key.clone() });
    for revoked_at in [at(5), at(9)] {
        let revoked = store.revoke_key(key.id, revoked_at, &audit("key.revoke")).await.expect("the store answers");
        assert_eq!(revoked, expected);
    }
    let query = AuditQuery { account: Some(id), before: None, limit: 100 };
    let trail = store.audit(&query).await.expect("the store answers");
    assert_eq!(trail.iter().filter(|entry| entry.action == "key.revoke").count(), 1);
}

async fn update(store: &dyn AdminStore, account: u8, key: u8, patch: &KeyPatch) -> Option<Key> {
    store.update_key(account_id(account), key_id(key), patch, &audit("key.update")).await.expect("the store answers")
}

async fn a_key_is_changed_as_asked_by_its_own_account(store: Arc<dyn AdminStore>) {
    let store = &*store;
    for account in [1, 2] {
        make_account(store, account).await;
    }
    let made = make_key(store, 1, account_id(1)).await;
    told(store).await;
    let patch = KeyPatch {
        name: Some(None),
        scopes: Some(vec![Glob::new("events*").expect("a good glob")]),
        read_only: Some(true),
        ip_rules: Some(IpRules { allow: vec!["10.0.0.0/8".parse().expect("a network")], deny: Vec::new() }),
        expires_at: Some(Some(at(100))),
        cap: Some(Some(7)),
    };
    assert_eq!(update(store, 2, 1, &patch).await, None, "it is not theirs");
    assert_eq!(update(store, 1, 9, &patch).await, None);
    assert_eq!(update(store, 1, 1, &KeyPatch::default()).await, Some(made.clone()));
    assert_eq!(told(store).await, [], "nothing was changed");
    let read = async || store.key(key_id(1)).await.expect("the store answers");
    assert_eq!(read().await, Some(made.clone()));

    let changed = update(store, 1, 1, &patch).await.expect("it is there");
    let expected = Key {
        name: None,
        scopes: patch.scopes.clone().expect("it is given"),
        read_only: true,
        ip_rules: patch.ip_rules.clone().expect("it is given"),
        expires_at: Some(at(100)),
        limits: KeyLimits { cap: Some(7), ..made.limits },
        ..made
    };
    assert_eq!(changed, expected);
    assert_eq!(read().await, Some(expected.clone()));
    assert_eq!(told(store).await, [Change::Key(hash(1))]);
    let back = KeyPatch { expires_at: Some(None), cap: Some(None), ..KeyPatch::default() };
    let changed = update(store, 1, 1, &back).await.expect("it is there");
    assert_eq!(changed, Key { expires_at: None, limits: KeyLimits::default(), ..expected });

    store.revoke_key(key_id(1), at(0), &audit("key.revoke")).await.expect("the store answers");
    told(store).await;
    let revoked = update(store, 1, 1, &patch).await.expect("it is there");
    assert_eq!((revoked.expires_at, revoked.limits.cap), (None, None), "one that does not work stays as it is");
    assert_eq!(told(store).await, []);
}
