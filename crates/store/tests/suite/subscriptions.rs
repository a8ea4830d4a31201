//! What Stripe says of customers: taken whole, told where it changed something, never of another's account.

use std::sync::Arc;

use tollgate_domain::{Access, Account, Ban, SubscriptionStatus, Timestamp, Withheld, WithheldCause, entitlement};
use tollgate_store::{
    AdminStore, Applied, AuditQuery, BILLING_LEASE, Change, CustomerFacts, EventState, Fence, Fenced, ImportedAccount,
    Linked, NewEvent, Store,
};

use crate::fixture::{account_id, at, at_once, audit, hash, make_account, make_key, plan, told};
use crate::stripe::{day, done, facts, fence, plans, read_at, received, subscription, take, thirty_days_from};

crate::backend::on_every_backend! {
    facts_are_part_of_the_account_wherever_it_is_read,
    facts_that_change_nothing_are_not_told,
    the_last_facts_count_whatever_came_before,
    of_several_subscriptions_the_highest_counts,
    facts_of_another_customer_are_not_taken,
    facts_are_taken_under_the_lease_alone,
    of_many_workers_only_the_holder_writes,
    a_customer_is_linked_to_one_account,
    one_account_of_many_gets_a_customer,
    accounts_with_a_customer_or_a_subscription_are_found,
    a_customer_that_moves_takes_its_subscriptions_along,
    an_operator_and_a_worker_do_not_undo_each_other,
    deletion_takes_out_what_tells_of_a_person,
}

/// The actions in the trail of an account, newest first.
async fn trail(store: &dyn Store, account: u8) -> Vec<String> {
    let query = AuditQuery { account: Some(account_id(account)), limit: 100, before: None };
    let lines = store.audit(&query).await.expect("the store answers");
    lines.into_iter().map(|line| line.action).collect()
}

async fn account(store: &dyn Store, number: u8) -> Account {
    store.account(account_id(number)).await.expect("the store answers").expect("it is there")
}

fn plan_of(account: &Account, now: Timestamp) -> String {
    match entitlement(account, &plans(), now).access {
        Access::Plan(plan) => plan.name.to_string(),
        other @ Access::None(_) => panic!("there is a default plan: {other:?}"),
    }
}

async fn facts_are_part_of_the_account_wherever_it_is_read(store: Arc<dyn AdminStore>) {
    let fence = fence(&*store).await;
    let known = make_account(&*store, 1).await;
    make_key(&*store, 1, known.id).await;
    make_account(&*store, 2).await;
    told(&*store).await;
    let mut failing = subscription("sub_b", "price_max", thirty_days_from(-3));
    failing.status = SubscriptionStatus::PastDue;
    failing.failing_since = Some(day(-1));
    failing.cancel_at = Some(day(27));
    let mut held = subscription("sub_a", "price_ünknown", thirty_days_from(-2));
    held.plan_price = None;
    held.trial_end = Some(day(-2));
    held.withheld = Some(Withheld { at: day(-1), cause: WithheldCause::Refund });
    held.items.clear();
    let said = CustomerFacts { settled: vec![done("evt_1")], ..facts(1, vec![failing.clone(), held.clone()]) };
    store.receive_event(&received("evt_1", at(0))).await.expect("the store answers");
    let (before, after, changes) = take(&*store, fence, &said, at(5)).await;
    assert_eq!(before, known);
    let expected =
        Account { stripe_customer: Some("cus_1".into()), subscriptions: vec![held, failing], ..known.clone() };
    assert_eq!(after, expected);
    assert_eq!(changes, [Change::Account(known.id)]);
    assert_eq!(told(&*store).await, changes);
    let by_key = store.find_key(&hash(1)).await.expect("the store answers").expect("it is there");
    let listed = store.accounts(None, 10).await.expect("the store answers");
    let by_email = store.account_by_email("owner1@example.com").await.expect("the store answers");
    let by_customer = store.account_of_customer("cus_1").await.expect("the store answers");
    for found in [Some(by_key.account), by_email, by_customer, Some(account(&*store, 1).await)] {
        assert_eq!(found.as_ref(), Some(&expected));
    }
    assert_eq!(listed.items[0], expected);
    assert_eq!(listed.items[1].subscriptions, [], "nothing is said of the other one");
    assert_eq!(trail(&*store, 1).await, ["subscription.update", "key.create", "account.create"]);
    let event = store.inbox_event("evt_1").await.expect("the store answers").expect("it is there");
    assert_eq!((event.state, event.event.account), (EventState::Done, Some(known.id)));
}

async fn facts_that_change_nothing_are_not_told(store: Arc<dyn AdminStore>) {
    let fence = fence(&*store).await;
    make_account(&*store, 1).await;
    let (one, other) = (
        subscription("sub_1", "price_pro", thirty_days_from(-3)),
        subscription("sub_2", "price_max", thirty_days_from(-4)),
    );
    take(&*store, fence, &facts(1, vec![one.clone(), other.clone()]), at(5)).await;
    told(&*store).await;
    let lines = trail(&*store, 1).await;
    for (order, id) in [([one.clone(), other.clone()], "evt_1"), ([other, one], "evt_2")] {
        store.receive_event(&received(id, at(6))).await.expect("the store answers");
        let again = CustomerFacts { settled: vec![done(id)], ..facts(1, order.into()) };
        let (before, after, changes) = take(&*store, fence, &again, at(7)).await;
        assert_eq!((before, changes), (after, Vec::new()));
        let event = store.inbox_event(id).await.expect("the store answers").expect("it is there");
        assert_eq!(event.state, EventState::Done, "what brought nothing new is heeded too");
    }
    assert_eq!(told(&*store).await, []);
    assert_eq!(trail(&*store, 1).await, lines);
    let page = store.billed_accounts(None, 10).await.expect("the store answers");
    assert_eq!(page.items[0].1, Some(at(7)), "when it was read is remembered");
}

async fn the_last_facts_count_whatever_came_before(store: Arc<dyn AdminStore>) {
    let fence = fence(&*store).await;
    make_account(&*store, 1).await;
    let active = subscription("sub_1", "price_pro", thirty_days_from(-3));
    let mut ended = active.clone();
    ended.status = SubscriptionStatus::Canceled;
    let other = subscription("sub_2", "price_max", thirty_days_from(-1));
    for (turn, (said, plan)) in (0..).zip([
        (vec![active.clone()], "pro"),
        (vec![ended.clone()], "free"),
        (vec![ended.clone(), other.clone()], "max"),
        (vec![other], "max"),
        (vec![], "free"),
        (vec![active], "pro"),
    ]) {
        let (_, after, changes) = take(&*store, fence, &facts(1, said.clone()), at(turn)).await;
        assert_eq!(changes, [Change::Account(account_id(1))], "turn {turn}");
        assert_eq!((after.subscriptions.len(), &*plan_of(&after, at(turn))), (said.len(), plan), "turn {turn}");
        assert_eq!(account(&*store, 1).await, after, "turn {turn}");
    }
}

async fn of_several_subscriptions_the_highest_counts(store: Arc<dyn AdminStore>) {
    let fence = fence(&*store).await;
    make_account(&*store, 1).await;
    let said: Vec<_> = (0..40)
        .map(|number| {
            let price = if number == 17 { "price_max" } else { "price_pro" };
            subscription(&format!("sub_{number:02}"), price, thirty_days_from(-number))
        })
        .collect();
    let (_, after, _) = take(&*store, fence, &facts(1, said.clone()), at(1)).await;
    assert_eq!(after.subscriptions, said);
    assert_eq!(account(&*store, 1).await, after);
    assert_eq!(plan_of(&after, at(1)), "max");
}

async fn facts_of_another_customer_are_not_taken(store: Arc<dyn AdminStore>) {
    let fence = fence(&*store).await;
    for number in 1..=3 {
        make_account(&*store, number).await;
    }
    take(&*store, fence, &facts(1, Vec::new()), at(1)).await;
    store.delete_account(account_id(3), at(1), &audit("account.delete")).await.expect("the store answers");
    store.receive_event(&received("evt_1", at(1))).await.expect("the store answers");
    told(&*store).await;
    let said = |account, customer: &str| CustomerFacts {
        customer: customer.into(),
        settled: vec![done("evt_1")],
        ..facts(account, vec![subscription("sub_1", "price_pro", thirty_days_from(-1))])
    };
    for (said, expected) in [
        (said(1, "cus_9"), Applied::OtherCustomer { customer: "cus_1".into() }),
        (said(2, "cus_1"), Applied::OtherAccount(account_id(1))),
        (said(3, "cus_3"), Applied::NoAccount),
        (said(4, "cus_4"), Applied::NoAccount),
    ] {
        let applied = store.apply_facts(fence, &said, &plans(), &read_at(at(2))).await.expect("the store answers");
        assert_eq!(applied, Fenced::Done(expected));
    }
    assert_eq!(told(&*store).await, []);
    let event = store.inbox_event("evt_1").await.expect("the store answers").expect("it is there");
    assert_eq!(event.state, EventState::Pending, "whoever asked settles it otherwise");
    for number in 1..=3 {
        assert_eq!(account(&*store, number).await.subscriptions, []);
    }
}

async fn facts_are_taken_under_the_lease_alone(store: Arc<dyn AdminStore>) {
    let known = make_account(&*store, 1).await;
    let first = fence(&*store).await;
    let second = store.hold_lease(BILLING_LEASE, "two", day(1), day(2)).await.expect("the store answers");
    store.receive_event(&received("evt_1", at(0))).await.expect("the store answers");
    told(&*store).await;
    let lines = trail(&*store, 1).await;
    let said = CustomerFacts {
        settled: vec![done("evt_1")],
        ..facts(1, vec![subscription("sub_1", "price_pro", thirty_days_from(-1))])
    };
    let late = store.apply_facts(first, &said, &plans(), &read_at(at(2))).await.expect("the store answers");
    assert_eq!(late, Fenced::Lost);
    assert_eq!(account(&*store, 1).await, known);
    assert_eq!((told(&*store).await, trail(&*store, 1).await), (vec![], lines));
    let event = store.inbox_event("evt_1").await.expect("the store answers").expect("it is there");
    assert_eq!(event.state, EventState::Pending);
    let (_, after, _) = take(&*store, second.expect("its time was over"), &said, at(3)).await;
    assert_eq!(after.subscriptions.len(), 1);
}

/// Workers that do not know that their time is over write facts of their own: what is there in the end is what the last
/// holder wrote.
async fn of_many_workers_only_the_holder_writes(store: Arc<dyn AdminStore>) {
    make_account(&*store, 1).await;
    let worker = |number: u8| {
        let store = Arc::clone(&store);
        async move {
            let mut written = Vec::new();
            for turn in 0..6_i64 {
                let now = at(turn * 10);
                let holder = format!("worker {number}");
                let Some(fence) = store.hold_lease(BILLING_LEASE, &holder, now, now.plus_micros(1)).await? else {
                    continue;
                };
                let id = format!("sub_{number}_{turn}");
                let said = facts(1, vec![subscription(&id, "price_pro", thirty_days_from(-1))]);
                if let Fenced::Done(Applied::Applied { .. }) =
                    store.apply_facts(fence, &said, &plans(), &read_at(now)).await?
                {
                    written.push((fence, id));
                }
            }
            Ok(written)
        }
    };
    let written: Vec<(Fence, String)> = at_once(6, worker).await.into_iter().flatten().collect();
    let found = account(&*store, 1).await.subscriptions;
    let last = written.iter().map(|(fence, _)| fence.0).max().expect("somebody wrote");
    let of_last: Vec<_> = written.iter().filter(|(fence, _)| fence.0 == last).map(|(_, id)| &**id).collect();
    assert_eq!(found.len(), 1);
    assert!(of_last.contains(&&*found[0].id), "{found:?} is not of {of_last:?}");
}

async fn a_customer_is_linked_to_one_account(store: Arc<dyn AdminStore>) {
    for number in 1..=3 {
        make_account(&*store, number).await;
    }
    store.delete_account(account_id(3), at(1), &audit("account.delete")).await.expect("the store answers");
    told(&*store).await;
    let link = async |account, customer| {
        let linked = store.link_customer(account_id(account), customer, &audit("customer.link")).await;
        linked.expect("the store answers")
    };
    let Linked::Linked(linked) = link(1, "cus_1").await else { panic!("it is nobody's yet") };
    assert_eq!(linked.stripe_customer.as_deref(), Some("cus_1"));
    assert_eq!(account(&*store, 1).await, linked);
    assert_eq!(told(&*store).await, [Change::Account(account_id(1))]);
    assert_eq!(link(1, "cus_1").await, Linked::Linked(linked.clone()), "again changes nothing");
    assert_eq!(link(1, "cus_2").await, Linked::OtherCustomer { customer: "cus_1".into() });
    assert_eq!(link(2, "cus_1").await, Linked::OtherAccount(account_id(1)));
    assert_eq!(link(3, "cus_3").await, Linked::NoAccount);
    assert_eq!(link(4, "cus_4").await, Linked::NoAccount);
    assert_eq!(told(&*store).await, []);
    assert_eq!(trail(&*store, 1).await, ["customer.link", "account.create"]);
    store.delete_account(account_id(1), at(1), &audit("account.delete")).await.expect("the store answers");
    assert_eq!(store.account_of_customer("cus_1").await.expect("the store answers"), None);
    assert!(matches!(link(2, "cus_1").await, Linked::Linked(_)), "a deleted account keeps no customer from another");
}

async fn one_account_of_many_gets_a_customer(store: Arc<dyn AdminStore>) {
    for number in 1..=16 {
        make_account(&*store, number).await;
    }
    let fence = fence(&*store).await;
    let linked = at_once(16, |number| {
        let store = Arc::clone(&store);
        async move {
            if number % 2 == 0 {
                let linked = store.link_customer(account_id(number), "cus_1", &audit("customer.link")).await?;
                return Ok(matches!(linked, Linked::Linked(_)));
            }
            let said = CustomerFacts { customer: "cus_1".into(), ..facts(number, Vec::new()) };
            let applied = store.apply_facts(fence, &said, &plans(), &read_at(at(1))).await?;
            Ok(matches!(applied, Fenced::Done(Applied::Applied { .. })))
        }
    })
    .await;
    assert_eq!(linked.iter().filter(|is_linked| **is_linked).count(), 1);
    let all = store.accounts(None, 100).await.expect("the store answers").items;
    assert_eq!(all.iter().filter(|account| account.stripe_customer.is_some()).count(), 1);
}

fn imported(number: u8, customer: Option<&str>, subscription: Option<&str>) -> ImportedAccount {
    ImportedAccount {
        id: account_id(number),
        email: format!("owner{number}@example.com"),
        name: None,
        plan: None,
        stripe_customer: customer.map(Into::into),
        stripe_subscription: subscription.map(Into::into),
    }
}

async fn accounts_with_a_customer_or_a_subscription_are_found(store: Arc<dyn AdminStore>) {
    let fence = fence(&*store).await;
    let lines = [
        imported(1, Some("cus_1"), None),
        imported(2, None, Some("sub_2")),
        imported(3, None, None),
        imported(4, Some("cus_4"), Some("sub_4")),
        imported(5, Some("cus_5"), None),
        imported(6, None, None),
    ];
    store.import_accounts(&lines, at(0), &audit("import")).await.expect("the store answers");
    store.delete_account(account_id(4), at(1), &audit("account.delete")).await.expect("the store answers");
    take(&*store, fence, &facts(5, Vec::new()), at(2)).await;
    take(&*store, fence, &facts(6, Vec::new()), at(3)).await;
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store.billed_accounts(after, 2).await.expect("the store answers");
        after = page.items.last().map(|(account, _)| account.id);
        found.extend(page.items.into_iter().map(|(account, read_at)| (account.id, read_at)));
        if !page.has_more {
            break;
        }
    }
    let expected = [(1, None), (2, None), (5, Some(at(2))), (6, Some(at(3)))];
    assert_eq!(found, expected.map(|(number, read_at)| (account_id(number), read_at)));
    assert_eq!(
        store.account_of_customer("cus_1").await.expect("the store answers").map(|account| account.id),
        Some(account_id(1))
    );
    assert_eq!(store.account_of_customer("cus_4").await.expect("the store answers"), None);
}

async fn a_customer_that_moves_takes_its_subscriptions_along(store: Arc<dyn AdminStore>) {
    let fence = fence(&*store).await;
    for number in 1..=2 {
        make_account(&*store, number).await;
    }
    let said = vec![subscription("sub_1", "price_pro", thirty_days_from(-1))];
    take(&*store, fence, &facts(1, said.clone()), at(1)).await;
    // A file says that the first account is another customer's.
    store.import_accounts(&[imported(1, Some("cus_9"), None)], at(2), &audit("import")).await.expect("it answers");
    let moved = CustomerFacts { customer: "cus_1".into(), ..facts(2, said.clone()) };
    let (_, after, changes) = take(&*store, fence, &moved, at(3)).await;
    assert_eq!(after.subscriptions, said);
    assert_eq!(changes, [Change::Account(account_id(2)), Change::Account(account_id(1))]);
    assert_eq!(account(&*store, 1).await.subscriptions, []);
    assert_eq!(account(&*store, 2).await, after);
}

async fn an_operator_and_a_worker_do_not_undo_each_other(store: Arc<dyn AdminStore>) {
    let fence = fence(&*store).await;
    make_account(&*store, 1).await;
    at_once(12, |number| {
        let store = Arc::clone(&store);
        async move {
            let now = at(i64::from(number));
            match number % 3 {
                0 => {
                    let ban = Ban { at: now, reason: None };
                    store.set_ban(account_id(1), Some(&ban), &audit("account.ban")).await.map(|_| ())
                }
                1 => {
                    let assigned = store
                        .assign_plan(account_id(1), Some(&plan("max")), Some(day(9)), &audit("account.plan"))
                        .await;
                    assigned.map(|_| ())
                }
                _ => {
                    let said = facts(1, vec![subscription("sub_1", "price_pro", thirty_days_from(-1))]);
                    store.apply_facts(fence, &said, &plans(), &read_at(now)).await.map(|_| ())
                }
            }
        }
    })
    .await;
    let found = account(&*store, 1).await;
    assert!(found.ban.is_some(), "a ban outlives what Stripe says");
    assert_eq!((found.assigned_plan, found.assigned_until), (Some(plan("max")), Some(day(9))));
    assert_eq!((found.subscriptions.len(), found.stripe_customer.as_deref()), (1, Some("cus_1")));
}

async fn deletion_takes_out_what_tells_of_a_person(store: Arc<dyn AdminStore>) {
    let fence = fence(&*store).await;
    for number in 1..=2 {
        make_account(&*store, number).await;
        make_key(&*store, number, account_id(number)).await;
        let said = facts(number, vec![subscription(&format!("sub_{number}"), "price_pro", thirty_days_from(-1))]);
        take(&*store, fence, &said, at(1)).await;
    }
    for (id, subject, account) in [
        ("evt_1", "cus_1", None),
        ("evt_2", "ch_1", Some(account_id(1))),
        ("evt_3", "cus_2", Some(account_id(2))),
        ("evt_4", "ch_4", None),
    ] {
        let event = NewEvent { subject: subject.into(), account, ..received(id, at(2)) };
        store.receive_event(&event).await.expect("the store answers");
    }
    let deleted = store.delete_account(account_id(1), at(3), &audit("account.delete")).await;
    let (before, _) = deleted.expect("the store answers").expect("it was there");
    assert_eq!(before.subscriptions.len(), 1, "whoever deletes it ends them at Stripe");
    let gone = account(&*store, 1).await;
    assert_eq!((gone.subscriptions, gone.email), (vec![], String::new()));
    for (id, is_erased) in [("evt_1", true), ("evt_2", true), ("evt_3", false), ("evt_4", false)] {
        let event = store.inbox_event(id).await.expect("the store answers").expect("it is there").event;
        assert_eq!(event.payload == "{}", is_erased, "{id}: {}", event.payload);
    }
    // Stripe may go on telling of a customer, and of what names an account.
    for (id, subject, account, is_erased) in [
        ("evt_5", "cus_1", None, true),
        ("evt_6", "ch_6", Some(account_id(1)), true),
        ("evt_7", "cus_2", Some(account_id(2)), false),
        ("evt_8", "ch_8", None, false),
    ] {
        let event = NewEvent { subject: subject.into(), account, ..received(id, at(4)) };
        assert!(store.receive_event(&event).await.expect("the store answers"), "{id}");
        let kept = store.inbox_event(id).await.expect("the store answers").expect("it is there").event;
        assert_eq!(kept.payload == "{}", is_erased, "{id}");
        assert_eq!((kept.subject, kept.account), (event.subject, event.account), "{id}");
    }
    let found = store.deleted_account_of_customer("cus_1").await.expect("the store answers");
    assert_eq!(found.map(|account| account.id), Some(account_id(1)), "whoever ends it at Stripe finds whose it was");
    assert_eq!(store.deleted_account_of_customer("cus_2").await.expect("the store answers"), None);
    for (number, name) in [(1, None), (2, Some("key 2".to_owned()))] {
        let keys = store.keys(Some(account_id(number)), None, 10).await.expect("the store answers").items;
        assert_eq!(keys[0].name, name, "what an owner called a key goes with the owner");
    }
    assert_eq!(account(&*store, 2).await.subscriptions.len(), 1);
}
