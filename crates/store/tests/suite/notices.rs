//! What customers are told: kept once, given to one process at a time, tried again when it failed.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;
use tollgate_domain::{AccountId, SECOND_US, Timestamp};
use tollgate_store::{AdminStore, Channel, KeyPatch, NewKey, NewNotice, NoticeKind, PendingNotice};

use crate::fixture::{account_id, at, at_once, audit, key_id, make_account, make_key, meter, new_key};

crate::backend::on_every_backend! {
    a_notice_is_kept_once,
    a_notice_is_given_to_one_of_many_that_ask_at_once,
    a_notice_is_due_on_each_channel_that_it_is_wanted_on,
    a_notice_that_failed_is_due_again,
    keys_that_expire_soon_are_told_in_order,
}

const HOLD_US: i64 = 60 * SECOND_US;

fn quota_used(account: AccountId, name: Option<&str>, percent: u32) -> NewNotice {
    NewNotice {
        account,
        kind: NoticeKind::QuotaUsed { meter: name.map(meter), percent },
        of: at(0),
        detail: json!({ "used": 75, "text": "\u{0} é" }),
        at: at(1),
        mail: true,
        webhook: true,
    }
}

async fn add(store: &dyn AdminStore, notice: &NewNotice) -> bool {
    store.add_notice(notice).await.expect("the store answers")
}

async fn claim(store: &dyn AdminStore, channel: Channel, now: Timestamp, limit: u32) -> Vec<PendingNotice> {
    let claimed = store.claim_notices(channel, now, HOLD_US, limit).await.expect("the store answers");
    claimed.into_iter().map(|(pending, _)| pending).collect()
}

async fn a_notice_is_kept_once(store: Arc<dyn AdminStore>) {
    let (one, other) = (make_account(&*store, 1).await, make_account(&*store, 2).await);
    let first = quota_used(one.id, None, 75);
    let added = at_once(8, |_| {
        let (store, notice) = (Arc::clone(&store), first.clone());
        async move { store.add_notice(&notice).await }
    })
    .await;
    assert_eq!(added.iter().filter(|added| **added).count(), 1);
    let store = &*store;
    assert!(
        !add(store, &NewNotice { detail: json!(null), at: at(99), ..first.clone() }).await,
        "whatever else it says"
    );
    let expires = |key| NewNotice { kind: NoticeKind::KeyExpires { key: key_id(key) }, ..first.clone() };
    for another in [
        NewNotice { of: at(5), ..first.clone() },
        quota_used(one.id, None, 90),
        quota_used(one.id, Some("tokens"), 75),
        quota_used(other.id, None, 75),
        expires(1),
        expires(2),
    ] {
        assert!(add(store, &another).await, "{another:?}");
        assert!(!add(store, &another).await);
    }
    assert!(!add(store, &quota_used(account_id(9), None, 75)).await, "there is nobody to tell");
    let claimed = store.claim_notices(Channel::Mail, at(1), HOLD_US, 100).await.expect("the store answers");
    assert_eq!(claimed.len(), 7);
    assert_eq!((&claimed[0].0.notice, &claimed[0].1, claimed[0].0.failures), (&first, &one, 0));
    assert_eq!(claimed[6].0.notice, expires(2), "oldest first");
}

async fn a_notice_is_given_to_one_of_many_that_ask_at_once(store: Arc<dyn AdminStore>) {
    let account = make_account(&*store, 1).await.id;
    for percent in 1..=40 {
        add(&*store, &quota_used(account, None, percent)).await;
    }
    let claimed = at_once(8, |_| {
        let store = Arc::clone(&store);
        async move { store.claim_notices(Channel::Webhook, at(2), HOLD_US, 10).await }
    })
    .await;
    let ids: Vec<i64> = claimed.iter().flatten().map(|(pending, _)| pending.id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "none is given to two");
    let rest = claim(&*store, Channel::Webhook, at(2), 100).await;
    assert_eq!(ids.len() + rest.len(), 40, "none is lost");
    let held_until = at(2).plus_micros(HOLD_US);
    assert_eq!(claim(&*store, Channel::Webhook, held_until + -1, 100).await, []);
    assert_eq!(claim(&*store, Channel::Webhook, held_until, 100).await.len(), 40, "whoever held them is gone");
}

async fn a_notice_is_due_on_each_channel_that_it_is_wanted_on(store: Arc<dyn AdminStore>) {
    let store = &*store;
    let account = make_account(store, 1).await.id;
    add(store, &NewNotice { webhook: false, ..quota_used(account, None, 75) }).await;
    add(store, &NewNotice { mail: false, ..quota_used(account, None, 90) }).await;
    add(store, &NewNotice { mail: false, webhook: false, ..quota_used(account, None, 100) }).await;
    assert_eq!(claim(store, Channel::Mail, at(0), 10).await, [], "it is not due yet");
    for (channel, percent) in [(Channel::Mail, 75), (Channel::Webhook, 90)] {
        let claimed = claim(store, channel, at(1), 10).await;
        let [pending] = &claimed[..] else { panic!("one on each: {claimed:?}") };
        assert_eq!(pending.notice.kind, NoticeKind::QuotaUsed { meter: None, percent });
        store.settle_notice(pending.id, channel, None).await.expect("the store answers");
        assert_eq!(claim(store, channel, at(9_999), 10).await, [], "it was delivered");
    }
}

async fn a_notice_that_failed_is_due_again(store: Arc<dyn AdminStore>) {
    let store = &*store;
    let account = make_account(store, 1).await.id;
    add(store, &quota_used(account, Some("tokens"), 75)).await;
    for failures in 0..3_u32 {
        let now = at(100 * i64::from(failures) + 1);
        let claimed = claim(store, Channel::Mail, now, 10).await;
        assert_eq!(claimed.iter().map(|pending| pending.failures).collect::<Vec<_>>(), [failures]);
        let retry_at = Some(now.plus_micros(100 * SECOND_US));
        store.settle_notice(claimed[0].id, Channel::Mail, retry_at).await.expect("the store answers");
        assert_eq!(claim(store, Channel::Mail, now.plus_micros(99 * SECOND_US), 10).await, []);
    }
    assert_eq!(claim(store, Channel::Webhook, at(1), 10).await[0].failures, 0, "the other channel failed never");
}

async fn keys_that_expire_soon_are_told_in_order(store: Arc<dyn AdminStore>) {
    let store = &*store;
    let id = make_account(store, 1).await.id;
    for (number, expires_at) in [(1, Some(50)), (2, None), (3, Some(10)), (4, Some(49)), (5, Some(20)), (6, Some(30))] {
        let new = NewKey { expires_at: expires_at.map(at), ..new_key(number, id) };
        store.create_key(&new, None, &audit("key.create")).await.expect("the store answers");
    }
    store.revoke_key(key_id(5), at(1), &audit("key.revoke")).await.expect("the store answers");
    let successor = new_key(7, id);
    store.rotate_key(key_id(6), &successor, at(8), &audit("key.rotate")).await.expect("the store answers");
    make_key(store, 8, id).await;
    let patch = KeyPatch { expires_at: Some(Some(at(40))), ..KeyPatch::default() };
    store.update_key(id, key_id(8), &patch, &audit("key.update")).await.expect("the store answers");
    let expiring = async |now, after: Option<u8>, limit| {
        let keys = store.keys_expiring(at(now), at(50), after.map(key_id), limit).await.expect("the store answers");
        keys.into_iter().map(|key| key.id).collect::<Vec<_>>()
    };
    assert_eq!(expiring(5, None, 100).await, [3, 4, 6, 7, 8].map(key_id), "one in grace works, one revoked does not");
    assert_eq!(
        expiring(10, None, 100).await,
        [4, 7, 8].map(key_id),
        "what has expired, or was rotated out, is told no more"
    );
    assert_eq!(expiring(10, Some(4), 1).await, [7].map(key_id));
}
