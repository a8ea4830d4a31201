//! What is thrown away and what stays: the request log, sums by the hour, sign-ins, and what identifies a person.

use std::sync::Arc;

use serde_json::json;
use tollgate_domain::{DAY_US, Timestamp, UsageBatch};
use tollgate_store::{
    AdminStore, AuditQuery, Channel, EventOutcome, GroupBy, HistoryQuery, Identified, Link, LinkPurpose, NewNotice,
    NoticeKind, Pruned, Session, Step, SubjectAccount, UsageEvent,
};

use crate::fixture::{
    account_id, at, audit, batch, calls, event, key_id, make_account, make_key, march, meter, node, request, store_new,
};

crate::backend::on_every_backend! {
    a_request_is_kept_with_its_batch_once,
    what_a_request_says_is_kept_within_bounds,
    what_is_old_is_thrown_away_some_thousands_at_a_time,
    sums_that_limits_are_rebuilt_from_stay,
    a_deleted_account_leaves_nothing_that_identifies_a_person,
    what_comes_after_a_deletion_leaves_nothing_either,
}

async fn a_request_is_kept_with_its_batch_once(store: Arc<dyn AdminStore>) {
    let store = &*store;
    let refused = tollgate_domain::RequestRow {
        status: 429,
        units: 0,
        period: None,
        reason: Some("window".into()),
        ..request(1, "req_2", at(3))
    };
    let first = UsageBatch {
        requests: vec![request(1, "req_1", at(2)), refused.clone()],
        ..batch(1, at(5), vec![calls(1, 1, 1)])
    };
    store_new(store, &first).await;
    assert!(!store.store_batch(&first).await.expect("the store answers"), "it is known");
    let read = async |id| store.request(id).await.expect("the store answers");
    assert_eq!(read("req_1").await, Some((node(1), request(1, "req_1", at(2)))));
    assert_eq!(read("req_2").await, Some((node(1), refused)));
    assert_eq!(read("req_3").await, None);
    let only = UsageBatch { node: node(2), requests: vec![request(2, "req_1", at(9))], ..batch(1, at(9), Vec::new()) };
    store_new(store, &only).await;
    assert_eq!(read("req_1").await, Some((node(2), request(2, "req_1", at(9)))), "the newest of an id that came twice");
}

async fn what_a_request_says_is_kept_within_bounds(store: Arc<dyn AdminStore>) {
    let store = &*store;
    let long = tollgate_domain::RequestRow {
        path: format!("/{}", "é".repeat(400)),
        method: "\0GET".into(),
        duration_us: u64::MAX,
        units: u64::MAX,
        ..request(1, "req_1", at(2))
    };
    let many = (0..3_000).map(|number| request(1, &format!("many_{number}"), at(3)));
    let twice = [long.clone(), long];
    store_new(store, &UsageBatch { requests: twice.into_iter().chain(many).collect(), ..batch(1, at(5), Vec::new()) })
        .await;
    let (_, kept) = store.request("req_1").await.expect("the store answers").expect("it is kept");
    assert_eq!((kept.path.len(), &*kept.method), (255, "GET"));
    assert_eq!((kept.duration_us, kept.units), (i64::MAX as u64, i64::MAX as u64));
    assert!(store.request("many_2999").await.expect("the store answers").is_some());
}

fn days(days: i64) -> Timestamp {
    at(0).plus_micros(days * DAY_US)
}

async fn what_is_old_is_thrown_away_some_thousands_at_a_time(store: Arc<dyn AdminStore>) {
    let store = &*store;
    for sequence in 0..4 {
        let day = days(i64::try_from(sequence).expect("a small number"));
        let lines = (0..=254_u8).flat_map(|account| (0..10).map(move |key| calls(account, key, 1))).collect();
        let requests = (0..2_500).map(|number| request(1, &format!("{sequence}_{number}"), day + number)).collect();
        store_new(store, &UsageBatch { requests, ..batch(sequence + 1, day, lines) }).await;
    }
    let dimensioned =
        |id, at| UsageEvent { at, dimensions: [("model".into(), "x".into())].into(), ..event(1, id, &[("tokens", 1)]) };
    store
        .record_events(&[dimensioned("old", days(0)), dimensioned("new", days(3))], days(3))
        .await
        .expect("the store answers");
    for (number, expires_at) in [(1, days(1)), (2, days(300))] {
        let session = Session { account: account_id(1), created_at: at(0), expires_at };
        store.create_session(&[number; 32], &session).await.expect("the store answers");
    }
    let now = days(200);
    let mut pruned = Vec::new();
    loop {
        let bite = store.prune(days(3), days(3), now).await.expect("the store answers");
        if bite == Pruned::default() {
            break;
        }
        pruned.push(bite);
    }
    assert!(pruned.iter().all(|bite| bite.requests <= 6_000 && bite.hours <= 6_000), "{pruned:?}");
    assert!(pruned.len() > 1, "{pruned:?}");
    let sum = |part: fn(&Pruned) -> u64| pruned.iter().map(part).sum::<u64>();
    // Of each old day its 2 550 sums; of the events one sum and one dimension.
    assert_eq!((sum(|bite| bite.requests), sum(|bite| bite.hours), sum(|bite| bite.sign_ins)), (7_500, 7_652, 1));
    assert!(store.request("2_2499").await.expect("the store answers").is_none());
    assert!(store.request("3_0").await.expect("the store answers").is_some());
    assert!(store.session(&[2; 32], now).await.expect("the store answers").is_none(), "of no account");
    let exported = store.export(None, at(0), days(10), None, 10_000).await.expect("the store answers");
    assert_eq!(exported.len(), 2_551, "the newest day is whole");
    let lines = store.lines(account_id(1), at(0), days(10), None, 10_000).await.expect("the store answers");
    assert_eq!(lines.len(), 42, "the ledger stays");
    let asked = HistoryQuery { group_by: GroupBy::Dimension("model".into()), ..whole() };
    let told = store.history(&asked, 10).await.expect("the store answers");
    let told: Vec<_> = told.into_iter().map(|row| (row.at, row.group, row.units)).collect();
    assert_eq!(told, [(days(3) + -DAY_US / 2, Some("x".into()), 1)], "nothing is told of what lost its dimensions");
    let known = store.record_events(&[dimensioned("old", days(0))], now).await.expect("the store answers").0;
    assert_eq!(known, [EventOutcome::Known], "an event stays known");
    assert_eq!(store.used(account_id(1), None, march()).await.expect("the store answers"), 40);
}

fn whole() -> HistoryQuery {
    HistoryQuery {
        account: account_id(1),
        from: days(-1),
        to: days(10),
        step: Step::Day,
        group_by: GroupBy::Nothing,
        meter: None,
        key: None,
        route: None,
        dimensions: [].into(),
    }
}

async fn sums_that_limits_are_rebuilt_from_stay(store: Arc<dyn AdminStore>) {
    let store = &*store;
    for (sequence, day) in [(1, 0), (2, 3), (3, 30)] {
        store_new(store, &batch(sequence, days(day), vec![calls(1, 1, 1)])).await;
    }
    let pruned = store.prune(days(40), days(40), days(34)).await.expect("the store answers");
    assert_eq!(pruned.hours, 1, "what is 32 days old may go");
    let told = store.history(&whole(), 10).await.expect("the store answers");
    assert_eq!(told.len(), 1);
}

/// An account that has left traces everywhere.
async fn leave_traces(store: &dyn AdminStore) {
    let id = make_account(store, 1).await.id;
    make_key(store, 1, id).await;
    let who = Identified {
        subject: "subject-of-ada".into(),
        email: "owner1@example.com".into(),
        email_verified: true,
        name: None,
        account_id_if_new: account_id(50),
        at: at(0),
    };
    store.identify(&who, &audit("account.identify")).await.expect("the store answers");
    let links = [(1, "Owner1@example.com", None), (2, "new@example.com", Some(id))];
    for (number, email, account) in links {
        let link = Link {
            purpose: if account.is_some() { LinkPurpose::NewEmail } else { LinkPurpose::SignIn },
            email: email.into(),
            account,
            created_at: at(0),
            expires_at: at(900),
        };
        store.create_link(&[number; 32], &link, 5).await.expect("the store answers");
    }
    let session = Session { account: id, created_at: at(0), expires_at: at(900) };
    store.create_session(&[1; 32], &session).await.expect("the store answers");
    store.record_events(&[telling_event("e1")], at(1)).await.expect("the store answers");
    store.add_notice(&notice()).await.expect("the store answers");
    store_new(store, &telling_batch(1)).await;
}

fn telling_event(id: &str) -> UsageEvent {
    UsageEvent {
        dimensions: [("person".into(), "ada".into())].into(),
        metadata: json!({ "of": "ada" }),
        ..event(1, id, &[("tokens", 5)])
    }
}

fn telling_batch(sequence: u64) -> UsageBatch {
    let requests =
        vec![request(1, &format!("req_{sequence}"), at(2)), request(2, &format!("theirs_{sequence}"), at(2))];
    UsageBatch { requests, ..batch(sequence, at(5), vec![calls(1, 1, 3)]) }
}

fn notice() -> NewNotice {
    NewNotice {
        account: account_id(1),
        kind: NoticeKind::KeyExpires { key: key_id(1) },
        of: at(5),
        detail: json!({ "email": "owner1@example.com" }),
        at: at(1),
        mail: true,
        webhook: true,
    }
}

/// Groups that a history tells by the person that events named.
async fn people(store: &dyn AdminStore) -> Vec<(String, i64)> {
    let asked = HistoryQuery { group_by: GroupBy::Dimension("person".into()), ..whole() };
    let told = store.history(&asked, 10).await.expect("the store answers");
    told.into_iter().map(|row| (row.group.unwrap_or_default(), row.units)).collect()
}

async fn a_deleted_account_leaves_nothing_that_identifies_a_person(store: Arc<dyn AdminStore>) {
    let store = &*store;
    make_account(store, 2).await;
    leave_traces(store).await;
    assert_eq!(people(store).await, [("ada".into(), 5)]);
    store
        .delete_account(account_id(1), at(10), &audit("account.delete"))
        .await
        .expect("the store answers")
        .expect("it is");

    let gone = store.account(account_id(1)).await.expect("the store answers").expect("its ledger has an owner");
    assert_eq!((gone.subject, &*gone.email, gone.name), (None, "", None));
    for number in [1, 2] {
        assert_eq!(store.take_link(&[number; 32], at(1)).await.expect("the store answers"), None, "link {number}");
    }
    assert_eq!(store.session(&[1; 32], at(1)).await.expect("the store answers"), None);
    for channel in [Channel::Mail, Channel::Webhook] {
        assert_eq!(store.claim_notices(channel, at(99), 1, 10).await.expect("the store answers"), []);
    }
    let (_, row) = store.request("req_1").await.expect("the store answers").expect("it is kept");
    assert_eq!((&*row.path, row.status), ("", 200));
    let (_, other) = store.request("theirs_1").await.expect("the store answers").expect("it is kept");
    assert_eq!(other.path, "/events/1", "the other's is as it was");
    assert_eq!(people(store).await, [(String::new(), 5)], "the units stay, without the person");
    assert_eq!(store.used(account_id(1), None, march()).await.expect("the store answers"), 3);
    let query = AuditQuery { limit: 100, ..AuditQuery::default() };
    let trail = format!("{:?}", store.audit(&query).await.expect("the store answers"));
    assert!(!trail.contains("ada") && !trail.contains("owner1@"), "{trail}");

    // The person may come back, as somebody new.
    let who = Identified {
        subject: "subject-of-ada".into(),
        email: "owner1@example.com".into(),
        email_verified: false,
        name: None,
        account_id_if_new: account_id(51),
        at: at(20),
    };
    let again = store.identify(&who, &audit("account.identify")).await.expect("the store answers");
    assert!(matches!(again, SubjectAccount::Created(account) if account.id == account_id(51)));
}

async fn what_comes_after_a_deletion_leaves_nothing_either(store: Arc<dyn AdminStore>) {
    let store = &*store;
    make_account(store, 1).await;
    store
        .delete_account(account_id(1), at(1), &audit("account.delete"))
        .await
        .expect("the store answers")
        .expect("it is");
    assert!(!store.add_notice(&notice()).await.expect("the store answers"));
    store_new(store, &telling_batch(1)).await;
    let (_, row) = store.request("req_1").await.expect("the store answers").expect("it is kept");
    assert_eq!(row.path, "");
    let recorded = store.record_events(&[telling_event("e1")], at(2)).await.expect("the store answers").0;
    assert_eq!(recorded, [EventOutcome::Recorded], "what was used is never lost");
    assert_eq!(people(store).await, [(String::new(), 5)]);
    let used = store.used(account_id(1), Some(&meter("tokens")), march()).await.expect("the store answers");
    assert_eq!(used, 5);
}
