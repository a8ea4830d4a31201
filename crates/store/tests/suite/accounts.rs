//! Accounts: made once an e-mail, found, listed, planned, banned, deleted.

use std::sync::Arc;

use tollgate_domain::{Account, Ban, IpRules};
use tollgate_store::{AuditQuery, CreateAccount, CreateKey, NewAccount, NewKey, Store};

use crate::fixture::{
    account_id, at, audit, batch, calls, make_account, make_key, march, new_account, new_key, plan, store_new,
};

crate::backend::on_every_backend! {
    an_account_reads_back_as_it_was_made,
    an_email_belongs_to_one_account_whatever_its_case,
    concurrent_creates_of_one_email_make_one_account,
    accounts_are_listed_in_pages,
    a_plan_is_set_and_lifted,
    a_ban_is_set_and_lifted,
    deletion_erases_email_and_name_revokes_keys_and_keeps_the_ledger,
    an_email_is_free_again_after_deletion,
    nothing_changes_an_account_that_is_not_there,
    the_store_answers_a_ping,
}

async fn the_store_answers_a_ping(store: Arc<dyn Store>) {
    store.ping().await.expect("it is open");
}

async fn an_account_reads_back_as_it_was_made(store: Arc<dyn Store>) {
    let new = NewAccount { assigned_plan: Some(plan("pro")), email: "Ada@Example.com".into(), ..new_account(1) };
    let made = store.create_account(&new, &audit("account.create")).await.expect("the store answers");
    let expected = Account {
        id: new.id,
        email: "Ada@Example.com".into(),
        name: Some("Owner 1".into()),
        subject: None,
        created_at: at(0),
        assigned_plan: Some(plan("pro")),
        ban: None,
        deleted_at: None,
        rolling_anchor: at(0),
        assigned_until: None,
        stripe_customer: None,
        stripe_subscription: None,
        subscriptions: Vec::new(),
    };
    assert_eq!(made, CreateAccount::Created(expected.clone()));
    assert_eq!(store.account(new.id).await.expect("the store answers"), Some(expected.clone()));
    assert_eq!(store.account_by_email("aDA@exampLE.com").await.expect("the store answers"), Some(expected));
    assert_eq!(store.account(account_id(2)).await.expect("the store answers"), None);
    assert_eq!(store.account_by_email("").await.expect("the store answers"), None);
}

async fn an_email_belongs_to_one_account_whatever_its_case(store: Arc<dyn Store>) {
    for (number, first, second) in
        [(1, "Ada@example.com", "ADA@EXAMPLE.COM"), (3, "äpfel@example.com", "ÄPFEL@example.com")]
    {
        let first = NewAccount { email: first.into(), ..new_account(number) };
        store.create_account(&first, &audit("account.create")).await.expect("the store answers");
        let second = NewAccount { email: second.into(), ..new_account(number + 1) };
        let found = store.create_account(&second, &audit("account.create")).await.expect("the store answers");
        assert!(matches!(found, CreateAccount::Exists(account) if account.id == first.id), "{}", second.email);
        assert_eq!(store.account(second.id).await.expect("the store answers"), None, "nothing was changed");
    }
    let trail = store.audit(&AuditQuery { limit: 10, ..AuditQuery::default() }).await.expect("the store answers");
    assert_eq!(trail.len(), 2, "only what was made is told of");
}

async fn concurrent_creates_of_one_email_make_one_account(store: Arc<dyn Store>) {
    let tasks: Vec<_> = (1..=16)
        .map(|number| {
            let store = Arc::clone(&store);
            let new = NewAccount { email: "same@example.com".into(), ..new_account(number) };
            tokio::spawn(async move { store.create_account(&new, &audit("account.create")).await })
        })
        .collect();
    let mut created = 0;
    for task in tasks {
        let outcome = task.await.expect("no panic").expect("the store answers");
        created += u32::from(matches!(outcome, CreateAccount::Created(_)));
    }
    assert_eq!(created, 1);
    assert_eq!(store.accounts(None, 100).await.expect("the store answers").items.len(), 1);
}

async fn accounts_are_listed_in_pages(store: Arc<dyn Store>) {
    for number in 1..=5 {
        make_account(&*store, number).await;
    }
    store.delete_account(account_id(4), at(1), &audit("account.delete")).await.expect("the store answers");
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.accounts(after, 2).await.expect("the store answers");
        assert!(page.items.len() <= 2);
        seen.extend(page.items.iter().map(|account| account.id));
        after = seen.last().copied();
        if !page.has_more {
            break;
        }
    }
    assert_eq!(seen, [1, 2, 3, 5].map(account_id));
    let whole = store.accounts(None, 4).await.expect("the store answers");
    assert_eq!((whole.items.len(), whole.has_more), (4, false), "a page that just fits is the last");
}

async fn a_plan_is_set_and_lifted(store: Arc<dyn Store>) {
    let account = make_account(&*store, 1).await;
    let id = account.id;
    let team = plan("team");
    let planned = store.assign_plan(id, Some(&team), None, &audit("account.plan")).await.expect("the store answers");
    assert_eq!(planned, Some(Account { assigned_plan: Some(team), ..account.clone() }));
    let lifted = store.assign_plan(id, None, None, &audit("account.plan")).await.expect("the store answers");
    assert_eq!(lifted, Some(account));
}

async fn a_ban_is_set_and_lifted(store: Arc<dyn Store>) {
    let account = make_account(&*store, 1).await;
    for ban in [Ban { at: at(5), reason: Some("abuse".into()) }, Ban { at: at(6), reason: None }] {
        let banned = store.set_ban(account.id, Some(&ban), &audit("account.ban")).await.expect("the store answers");
        assert_eq!(banned, Some(Account { ban: Some(ban), ..account.clone() }));
    }
    let lifted = store.set_ban(account.id, None, &audit("account.unban")).await.expect("the store answers");
    assert_eq!(lifted, Some(account));
}

async fn deletion_erases_email_and_name_revokes_keys_and_keeps_the_ledger(store: Arc<dyn Store>) {
    let account = make_account(&*store, 1).await;
    let at_home = IpRules { allow: vec!["203.0.113.7/32".parse().expect("a net")], ..IpRules::default() };
    let at_home = NewKey { ip_rules: at_home, ..new_key(1, account.id) };
    let made = store.create_key(&at_home, None, &audit("key.create")).await.expect("the store answers");
    let CreateKey::Created(first) = made else { panic!("{made:?}") };
    let keys = [first, make_key(&*store, 2, account.id).await];
    let other = make_key(&*store, 3, make_account(&*store, 2).await.id).await;
    store.revoke_key(keys[1].id, at(1), &audit("key.revoke")).await.expect("the store answers");
    store_new(&*store, &batch(1, at(2), vec![calls(1, 1, 7)])).await;

    let deleted = store.delete_account(account.id, at(9), &audit("account.delete")).await.expect("the store answers");
    let (before, its_keys) = deleted.expect("it was there");
    assert_eq!(before, account);
    assert_eq!(its_keys.iter().map(|key| key.id).collect::<Vec<_>>(), keys.each_ref().map(|key| key.id));

    let after = store.account(account.id).await.expect("the store answers").expect("it keeps its id");
    assert_eq!((&*after.email, after.name.as_deref(), after.deleted_at), ("", None, Some(at(9))));
    let revoked = [at(9), at(1)].map(Some);
    for (key, revoked_at) in keys.iter().zip(revoked) {
        let found = store.find_key(&key.hashed.hash).await.expect("the store answers").expect("it is found");
        assert_eq!((found.key.revoked_at, found.account.deleted_at), (revoked_at, Some(at(9))));
        assert_eq!((found.key.name, found.key.ip_rules), (None, IpRules::default()));
    }
    let others = store.key(other.id).await.expect("the store answers");
    assert_eq!(others, Some(other), "another account's keys are as they were");
    let used = store.quota_used(account.id, None, march()).await.expect("the store answers");
    assert_eq!(used.account, 7, "the ledger stays");
    assert_eq!(store.account_by_email(&account.email).await.expect("the store answers"), None);
    let again = store.delete_account(account.id, at(10), &audit("account.delete")).await.expect("the store answers");
    assert_eq!(again, None, "there is nothing left to delete");
}

async fn an_email_is_free_again_after_deletion(store: Arc<dyn Store>) {
    for number in 1..=3 {
        let new = NewAccount { email: "again@example.com".into(), ..new_account(number) };
        let made = store.create_account(&new, &audit("account.create")).await.expect("the store answers");
        assert!(matches!(made, CreateAccount::Created(_)), "{number}");
        store.delete_account(new.id, at(1), &audit("account.delete")).await.expect("the store answers");
    }
}

async fn nothing_changes_an_account_that_is_not_there(store: Arc<dyn Store>) {
    make_account(&*store, 1).await;
    store.delete_account(account_id(1), at(1), &audit("account.delete")).await.expect("the store answers");
    let ban = Ban { at: at(2), reason: None };
    for id in [account_id(1), account_id(2)] {
        let plan = plan("pro");
        assert_eq!(
            store.assign_plan(id, Some(&plan), None, &audit("account.plan")).await.expect("the store answers"),
            None
        );
        assert_eq!(store.set_ban(id, Some(&ban), &audit("account.ban")).await.expect("the store answers"), None);
        assert_eq!(store.delete_account(id, at(3), &audit("account.delete")).await.expect("the store answers"), None);
    }
    let trail = store.audit(&AuditQuery { limit: 10, ..AuditQuery::default() }).await.expect("the store answers");
    let told: Vec<_> = trail.iter().map(|entry| &*entry.action).collect();
    assert_eq!(told, ["account.delete", "account.create"]);
}
