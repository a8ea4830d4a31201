//! What Stripe has told: stored once, found again, settled, put back, thrown away when its time is over.

use std::sync::Arc;

use tollgate_domain::Timestamp;
use tollgate_store::{
    AdminStore, AuditQuery, BILLING_LEASE, Billing, EventQuery, EventState, Fence, Fenced, InboxEvent, InboxState,
    NewEvent, Outcome, Page, Settled,
};

use crate::fixture::{account_id, at, at_once, audit, make_account};
use crate::stripe::{day, done, facts, fence, received, take};

crate::backend::on_every_backend! {
    an_event_is_stored_once,
    an_event_that_many_tell_at_once_is_new_to_one,
    events_are_listed_newest_first_page_by_page,
    lists_are_filtered,
    due_events_come_in_order_and_by_subject,
    an_event_is_settled_once,
    attempts_are_counted_where_they_count,
    the_state_counts_what_waits_and_what_was_given_up,
    an_event_is_replayed_whatever_became_of_it,
    only_what_was_heeded_is_thrown_away,
    nothing_is_settled_without_the_lease,
}

async fn receive(store: &dyn Billing, event: &NewEvent) {
    assert!(store.receive_event(event).await.expect("the store answers"), "it is new");
}

async fn settle(store: &dyn Billing, fence: Fence, id: &str, outcome: Outcome, now: Timestamp) {
    let settled = [Settled { id: id.into(), outcome }];
    assert_eq!(store.settle_events(fence, &settled, now).await.expect("the store answers"), Fenced::Done(()));
}

async fn find(store: &dyn Billing, id: &str) -> InboxEvent {
    store.inbox_event(id).await.expect("the store answers").expect("it is there")
}

fn ids(events: &[InboxEvent]) -> Vec<&str> {
    events.iter().map(|event| &*event.event.id).collect()
}

async fn an_event_is_stored_once(store: Arc<dyn AdminStore>) {
    let event = NewEvent { account: Some(account_id(1)), ..received("evt_1", at(5)) };
    receive(&*store, &event).await;
    let changed = NewEvent { payload: "{}".into(), received_at: at(9), ..event.clone() };
    assert!(!store.receive_event(&changed).await.expect("the store answers"), "it is known");
    let expected =
        InboxEvent { event, state: EventState::Pending, attempts: 0, due_at: at(5), settled_at: None, note: None };
    assert_eq!(find(&*store, "evt_1").await, expected, "it is as it was told first");
    assert_eq!(store.inbox_event("evt_2").await.expect("the store answers"), None);
}

async fn an_event_that_many_tell_at_once_is_new_to_one(store: Arc<dyn AdminStore>) {
    let outcomes = at_once(32, |number| {
        let store = Arc::clone(&store);
        async move { store.receive_event(&received("evt_1", at(i64::from(number)))).await }
    })
    .await;
    assert_eq!(outcomes.iter().filter(|is_new| **is_new).count(), 1);
    let all = store.inbox(&EventQuery::default(), 100).await.expect("the store answers");
    assert_eq!(ids(&all.items), ["evt_1"]);
}

async fn events_are_listed_newest_first_page_by_page(store: Arc<dyn AdminStore>) {
    for (id, secs) in [("evt_b", 5), ("evt_a", 5), ("evt_c", 4), ("evt_d", 6), ("evt_e", 1)] {
        receive(&*store, &received(id, at(secs))).await;
    }
    let mut before = None;
    let mut pages = Vec::new();
    loop {
        let query = EventQuery { before: before.clone(), ..EventQuery::default() };
        let Page { items, has_more } = store.inbox(&query, 2).await.expect("the store answers");
        before = items.last().map(|last| (last.event.received_at, last.event.id.clone()));
        pages.push(items.into_iter().map(|event| event.event.id).collect::<Vec<_>>());
        if !has_more {
            break;
        }
    }
    assert_eq!(pages, [vec!["evt_d", "evt_b"], vec!["evt_a", "evt_c"], vec!["evt_e"]]);
}

async fn lists_are_filtered(store: Arc<dyn AdminStore>) {
    let fence = fence(&*store).await;
    for number in 0..6_u8 {
        let event = NewEvent {
            kind: if number % 2 == 0 { "invoice.paid" } else { "charge.refunded" }.into(),
            account: (number >= 3).then(|| account_id(1)),
            ..received(&format!("evt_{number}"), at(i64::from(number)))
        };
        receive(&*store, &event).await;
    }
    settle(&*store, fence, "evt_4", Outcome::Done { note: None }, at(9)).await;
    let all = EventQuery::default();
    let kind = Some("invoice.paid".to_owned());
    let account = Some(account_id(1));
    let pending = Some(EventState::Pending);
    for (query, expected) in [
        (EventQuery { state: Some(EventState::Done), ..all.clone() }, vec!["evt_4"]),
        (EventQuery { kind: kind.clone(), ..all.clone() }, vec!["evt_4", "evt_2", "evt_0"]),
        (EventQuery { account, ..all.clone() }, vec!["evt_5", "evt_4", "evt_3"]),
        (EventQuery { state: pending, kind: kind.clone(), ..all.clone() }, vec!["evt_2", "evt_0"]),
        (EventQuery { state: pending, kind: kind.clone(), account, ..all.clone() }, vec![]),
        (EventQuery { state: pending, account, before: Some((at(5), "evt_5".into())), ..all.clone() }, vec!["evt_3"]),
        (EventQuery { account: Some(account_id(2)), ..all }, vec![]),
    ] {
        let found = store.inbox(&query, 10).await.expect("the store answers");
        assert_eq!(ids(&found.items), expected, "{query:?}");
        assert!(!found.has_more, "{query:?}");
    }
}

async fn due_events_come_in_order_and_by_subject(store: Arc<dyn AdminStore>) {
    let fence = fence(&*store).await;
    for (id, subject, secs) in
        [("evt_1", "cus_1", 3), ("evt_2", "cus_2", 1), ("evt_3", "cus_1", 2), ("evt_4", "cus_1", 9)]
    {
        receive(&*store, &NewEvent { subject: subject.into(), ..received(id, at(secs)) }).await;
    }
    let due = store.due_events(at(3), 10).await.expect("the store answers");
    assert_eq!(ids(&due), ["evt_2", "evt_3", "evt_1"]);
    let due = store.due_events(at(3), 2).await.expect("the store answers");
    assert_eq!(ids(&due), ["evt_2", "evt_3"]);
    let due = store.due_events_of("cus_1", at(3), 10).await.expect("the store answers");
    assert_eq!(ids(&due), ["evt_3", "evt_1"]);
    settle(&*store, fence, "evt_3", Outcome::Retry { at: at(8), note: "later".into(), counted: true }, at(4)).await;
    settle(&*store, fence, "evt_2", Outcome::Done { note: None }, at(4)).await;
    settle(&*store, fence, "evt_1", Outcome::Dead { note: "never".into() }, at(4)).await;
    assert_eq!(store.due_events(at(7), 10).await.expect("the store answers"), []);
    let due = store.due_events(at(9), 10).await.expect("the store answers");
    assert_eq!(ids(&due), ["evt_3", "evt_4"]);
}

async fn an_event_is_settled_once(store: Arc<dyn AdminStore>) {
    let fence = fence(&*store).await;
    for id in ["evt_1", "evt_2", "evt_3"] {
        receive(&*store, &received(id, at(1))).await;
    }
    let unknown_price = Some("the price price_1 names no plan".to_owned());
    settle(&*store, fence, "evt_1", Outcome::Done { note: unknown_price.clone() }, at(4)).await;
    settle(&*store, fence, "evt_1", Outcome::Dead { note: "too late".into() }, at(5)).await;
    let settled = find(&*store, "evt_1").await;
    assert_eq!((settled.state, settled.settled_at, settled.note), (EventState::Done, Some(at(4)), unknown_price));
    assert_eq!((settled.attempts, settled.event.account), (0, None));
    make_account(&*store, 1).await;
    let mut read = facts(1, Vec::new());
    read.settled = vec![done("evt_2"), Settled { id: "evt_3".into(), outcome: Outcome::Dead { note: "no".into() } }];
    take(&*store, fence, &read, at(6)).await;
    for (id, state, note) in [("evt_2", EventState::Done, None), ("evt_3", EventState::Dead, Some("no"))] {
        let settled = find(&*store, id).await;
        assert_eq!((settled.state, settled.settled_at, settled.note.as_deref()), (state, Some(at(6)), note), "{id}");
        assert_eq!(settled.event.account, Some(account_id(1)), "{id}");
    }
}

async fn attempts_are_counted_where_they_count(store: Arc<dyn AdminStore>) {
    let fence = fence(&*store).await;
    receive(&*store, &received("evt_1", at(1))).await;
    let retry = |secs: i64, counted| Outcome::Retry { at: at(secs), note: format!("at {secs}"), counted };
    for (number, (counted, attempts)) in (1..).zip([(true, 1), (false, 1), (true, 2)]) {
        settle(&*store, fence, "evt_1", retry(number * 10, counted), at(number)).await;
        let known = find(&*store, "evt_1").await;
        assert_eq!((known.state, known.attempts, known.due_at), (EventState::Pending, attempts, at(number * 10)));
        assert_eq!((known.settled_at, known.note), (None, Some(format!("at {}", number * 10))));
    }
    settle(&*store, fence, "evt_1", Outcome::Dead { note: "given up".into() }, at(40)).await;
    assert_eq!(find(&*store, "evt_1").await.attempts, 3);
}

async fn the_state_counts_what_waits_and_what_was_given_up(store: Arc<dyn AdminStore>) {
    assert_eq!(store.inbox_state().await.expect("the store answers"), InboxState::default());
    let fence = fence(&*store).await;
    for number in 1..=6 {
        receive(&*store, &received(&format!("evt_{number}"), at(number))).await;
    }
    settle(&*store, fence, "evt_1", Outcome::Done { note: None }, at(9)).await;
    settle(&*store, fence, "evt_2", Outcome::Dead { note: "no".into() }, at(9)).await;
    settle(&*store, fence, "evt_3", Outcome::Retry { at: day(2), note: "no".into(), counted: true }, at(9)).await;
    let state = store.inbox_state().await.expect("the store answers");
    assert_eq!(state, InboxState { pending: 4, dead: 1, oldest_pending: Some(at(3)) });
}

async fn an_event_is_replayed_whatever_became_of_it(store: Arc<dyn AdminStore>) {
    let fence = fence(&*store).await;
    make_account(&*store, 1).await;
    for id in ["evt_1", "evt_2", "evt_3"] {
        receive(&*store, &received(id, at(1))).await;
    }
    let read = tollgate_store::CustomerFacts { settled: vec![done("evt_1")], ..facts(1, Vec::new()) };
    take(&*store, fence, &read, at(2)).await;
    settle(&*store, fence, "evt_2", Outcome::Dead { note: "no".into() }, at(2)).await;
    settle(&*store, fence, "evt_3", Outcome::Retry { at: day(2), note: "no".into(), counted: true }, at(2)).await;
    let replay = tollgate_store::NewAudit { at: at(7), ..audit("webhook.replay") };
    for (id, account) in [("evt_1", Some(account_id(1))), ("evt_2", None), ("evt_3", None)] {
        let replayed = store.replay_event(id, &replay).await.expect("the store answers").expect("it is there");
        assert_eq!((replayed.state, replayed.attempts, replayed.due_at), (EventState::Pending, 0, at(7)), "{id}");
        assert_eq!((replayed.settled_at, &replayed.note), (None, &None), "{id}");
        assert_eq!(find(&*store, id).await, replayed);
        let trail = store.audit(&AuditQuery { limit: 1, ..AuditQuery::default() }).await.expect("the store answers");
        assert_eq!((&*trail[0].action, trail[0].account), ("webhook.replay", account), "{id}");
    }
    assert_eq!(store.replay_event("evt_4", &replay).await.expect("the store answers"), None);
    let trail = store.audit(&AuditQuery { limit: 100, ..AuditQuery::default() }).await.expect("the store answers");
    assert_eq!(trail.iter().filter(|line| line.action == "webhook.replay").count(), 3, "nothing else is in the trail");
}

async fn only_what_was_heeded_is_thrown_away(store: Arc<dyn AdminStore>) {
    let fence = fence(&*store).await;
    for id in ["evt_1", "evt_2", "evt_3", "evt_4"] {
        receive(&*store, &received(id, at(1))).await;
    }
    settle(&*store, fence, "evt_1", Outcome::Done { note: None }, day(3)).await;
    settle(&*store, fence, "evt_2", Outcome::Done { note: None }, day(5)).await;
    settle(&*store, fence, "evt_3", Outcome::Dead { note: "no".into() }, day(3)).await;
    for (before, thrown_away) in [(day(3), 0), (day(4), 1), (day(5), 0), (day(900), 1), (day(900), 0)] {
        assert_eq!(store.prune_inbox(before).await.expect("the store answers"), thrown_away, "before {before:?}");
    }
    let left = store.inbox(&EventQuery::default(), 10).await.expect("the store answers");
    assert_eq!(ids(&left.items), ["evt_4", "evt_3"]);
}

async fn nothing_is_settled_without_the_lease(store: Arc<dyn AdminStore>) {
    receive(&*store, &received("evt_1", at(1))).await;
    let settled = [done("evt_1")];
    assert_eq!(store.settle_events(Fence(1), &settled, at(2)).await.expect("the store answers"), Fenced::Lost);
    let first = fence(&*store).await;
    let second = store.hold_lease(BILLING_LEASE, "two", day(1), day(2)).await.expect("the store answers");
    assert_eq!(store.settle_events(first, &settled, at(2)).await.expect("the store answers"), Fenced::Lost);
    assert_eq!(find(&*store, "evt_1").await.state, EventState::Pending);
    let second = second.expect("its time was over");
    assert_eq!(store.settle_events(second, &settled, at(2)).await.expect("the store answers"), Fenced::Done(()));
    assert_eq!(find(&*store, "evt_1").await.state, EventState::Done);
}
