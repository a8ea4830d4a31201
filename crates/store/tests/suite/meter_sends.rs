//! Metered use that Stripe is told of: each unit planned once, never more than was used, and how each send stands.

use std::collections::BTreeSet;
use std::sync::Arc;

use tollgate_domain::{MeterName, Period, SECOND_US, Timestamp, UsageBatch};
use tollgate_store::{
    AdminStore, BILLING_LEASE, BilledPeriod, BilledUse, Billing, Credit, Fence, Fenced, ImportedKey, MeterSend,
    NewAudit, SendOutcome, SendState, SentUse, UsageEvent,
};

use crate::fixture::{
    account_id, april, at, audit, calls, event, hash, key_id, make_account, march, meter, node, store_new,
};
use crate::stripe::{day, facts, fence, paid, plans, subscription, take, thirty_days_from};

crate::backend::on_every_backend! {
    use_is_planned_once,
    use_before_the_first_subscription_is_not_billed,
    what_was_imported_is_not_billed,
    a_period_that_goes_on_rests_between_sends,
    of_a_period_that_is_long_over_one_send_is_left,
    who_has_no_subscription_is_not_billed,
    what_is_given_back_lowers_the_next_send,
    what_an_opening_gave_back_is_billed_before_it,
    a_period_has_one_send_under_way,
    periods_that_are_over_come_first_and_few_at_a_time,
    only_what_is_billed_and_changed_is_planned,
    times_of_use_lie_in_the_period,
    sends_come_when_they_are_due,
    a_send_ends_once,
    what_stripe_was_told_is_summed_by_its_time,
    periods_are_listed_page_by_page,
    nothing_is_written_without_the_lease,
    batches_that_are_missing_are_named,
    planners_that_overlap_plan_nothing_twice,
}

fn billed() -> Vec<BilledUse> {
    vec![
        BilledUse { meter: None, event_name: "api_calls".into() },
        BilledUse { meter: Some(meter("tokens")), event_name: "llm_tokens".into() },
    ]
}

/// The beginning of everything.
fn ever() -> Timestamp {
    day(-100)
}

/// Accounts up to this number, subscribed since the start to a period from then.
async fn subscribed(store: &dyn AdminStore, accounts: u8) -> Fence {
    let fence = fence(store).await;
    for number in 1..=accounts {
        make_account(store, number).await;
        let of = subscription(&format!("sub_{number}"), "price_pro", thirty_days_from(0));
        take(store, fence, &paid(facts(number, vec![of])), at(0)).await;
    }
    fence
}

/// Calls, charged in this period; the sequence is the time.
async fn call(store: &dyn AdminStore, account: u8, at: Timestamp, period: Period, count: u64) {
    let mut line = calls(account, account, count);
    line.key.period = period;
    let sequence = u64::try_from(at.as_micros()).expect("after the epoch") + u64::from(account);
    let batch = UsageBatch { node: node(account), sequence, start: at, end: at, lines: vec![line], requests: vec![] };
    store_new(store, &batch).await;
}

async fn plan(store: &dyn Billing, fence: Fence, now: Timestamp) -> u64 {
    plan_resting(store, fence, now, 0).await
}

async fn plan_resting(store: &dyn Billing, fence: Fence, now: Timestamp, rest_us: i64) -> u64 {
    match store.plan_sends(fence, &billed(), ever(), now, rest_us, 100).await.expect("the store answers") {
        Fenced::Done(planned) => planned,
        Fenced::Lost => panic!("the lease is held"),
    }
}

async fn sends(store: &dyn Billing, account: u8, meter: Option<&MeterName>, period: Period) -> Vec<MeterSend> {
    store.sends_of(account_id(account), meter, period).await.expect("the store answers")
}

async fn units(store: &dyn Billing, account: u8, period: Period) -> Vec<u64> {
    sends(store, account, None, period).await.into_iter().map(|send| send.units).collect()
}

async fn settle(store: &dyn Billing, fence: Fence, identifier: &str, outcome: SendOutcome, now: Timestamp) {
    let settled = [(identifier.to_owned(), outcome)];
    assert_eq!(store.settle_sends(fence, &settled, now).await.expect("the store answers"), Fenced::Done(()));
}

/// Stripe takes all that is due.
async fn send_all(store: &dyn Billing, fence: Fence, now: Timestamp) {
    for send in store.due_sends(now, 1_000).await.expect("the store answers") {
        settle(store, fence, &send.identifier, SendOutcome::Sent, now).await;
    }
}

async fn periods(store: &dyn Billing) -> Vec<BilledPeriod> {
    store.billed_periods(&billed(), ever(), None, 100).await.expect("the store answers").items
}

async fn use_is_planned_once(store: Arc<dyn AdminStore>) {
    let fence = subscribed(&*store, 1).await;
    let period = thirty_days_from(0);
    call(&*store, 1, at(50), period, 30).await;
    call(&*store, 1, at(90), period, 12).await;
    let tokens = UsageEvent { period, at: at(60), ..event(1, "evt", &[("tokens", 900), ("images", 2)]) };
    store.record_events(&[tokens], at(70)).await.expect("the store answers");
    assert_eq!(plan(&*store, fence, at(100)).await, 2, "calls and tokens; nobody bills images");
    assert_eq!(plan(&*store, fence, at(100)).await, 0);
    let planned = sends(&*store, 1, None, period).await;
    let expected = MeterSend {
        identifier: planned[0].identifier.clone(),
        account: account_id(1),
        customer: "cus_1".into(),
        meter: None,
        event_name: "api_calls".into(),
        period,
        units: 42,
        at: at(90),
        state: SendState::Pending,
        first_tried_at: None,
        sent_at: None,
        attempts: 0,
        note: None,
    };
    assert_eq!(planned, std::slice::from_ref(&expected));
    let of_tokens = sends(&*store, 1, Some(&meter("tokens")), period).await;
    assert_eq!((of_tokens[0].units, &*of_tokens[0].event_name, of_tokens[0].at), (900, "llm_tokens", at(70)));
    send_all(&*store, fence, at(110)).await;
    call(&*store, 1, at(120), period, 8).await;
    assert_eq!(plan(&*store, fence, at(130)).await, 1);
    let planned = sends(&*store, 1, None, period).await;
    assert_eq!((planned[1].units, planned[1].at), (8, at(120)));
    let identifiers: BTreeSet<_> = planned.iter().chain(&of_tokens).map(|send| &send.identifier).collect();
    assert_eq!(identifiers.len(), 3);
    for identifier in identifiers {
        assert!(identifier.starts_with("tg_") && identifier.len() == 43, "{identifier}");
    }
    // The same send has the same identifier wherever it is planned.
    assert_eq!(expected.identifier, "tg_4e9e6a0d9cbf4faa685b310b367aae6052221eaa");
}

async fn use_before_the_first_subscription_is_not_billed(store: Arc<dyn AdminStore>) {
    let fence = fence(&*store).await;
    make_account(&*store, 1).await;
    call(&*store, 1, at(50), march(), 100).await;
    let mut trial = subscription("sub_1", "price_pro", thirty_days_from(5));
    trial.trial_end = Some(day(35));
    take(&*store, fence, &facts(1, vec![trial]), day(5)).await;
    // Heard of late: calls since then were still charged in the month.
    call(&*store, 1, day(5), march(), 7).await;
    call(&*store, 1, day(6), thirty_days_from(5), 3).await;
    assert_eq!(plan(&*store, fence, day(7)).await, 2);
    assert_eq!((units(&*store, 1, march()).await, units(&*store, 1, thirty_days_from(5)).await), (vec![7], vec![3]));
    let known: Vec<_> = periods(&*store).await.into_iter().map(|known| (known.period, known.ledger)).collect();
    assert_eq!(known, [(march(), 7), (thirty_days_from(5), 3)]);
    // A second subscription does not move the beginning.
    let later = subscription("sub_2", "price_pro", thirty_days_from(8));
    take(&*store, fence, &facts(1, vec![later]), day(8)).await;
    assert_eq!(plan(&*store, fence, day(9)).await, 0);
    assert_eq!(periods(&*store).await[0].ledger, 7);
}

async fn what_was_imported_is_not_billed(store: Arc<dyn AdminStore>) {
    let fence = subscribed(&*store, 1).await;
    let opened = thirty_days_from(0);
    call(&*store, 1, at(50), opened, 30).await;
    // Into the period that is paid for, after it began.
    let key = ImportedKey {
        id: key_id(1),
        hash: hash(1),
        email: "owner1@example.com".into(),
        account_id_if_new: account_id(2),
        plan: None,
        name: None,
        revoked: false,
        cap: None,
        used: 1_000,
        cycle_start: None,
        expires_at: None,
    };
    let report = store.import_keys(&[key], &plans(), at(60), &audit("keys.import")).await.expect("the store answers");
    assert_eq!((report.keys_created, report.accounts_created), (1, 0));
    let used = store.used(account_id(1), None, opened).await.expect("the store answers");
    assert_eq!(used, 1_030, "it counts in the quota");
    assert_eq!(plan(&*store, fence, at(70)).await, 1);
    assert_eq!(units(&*store, 1, opened).await, [30]);
    let known = periods(&*store).await;
    assert_eq!((known[0].ledger, known[0].planned), (30, 30));
    send_all(&*store, fence, at(80)).await;
    call(&*store, 1, at(90), opened, 5).await;
    assert_eq!(plan(&*store, fence, at(100)).await, 1);
    assert_eq!(units(&*store, 1, opened).await, [30, 5]);
}

/// The first use is told at once, what follows at ever longer intervals, and what is left when the period ends at once.
async fn a_period_that_goes_on_rests_between_sends(store: Arc<dyn AdminStore>) {
    const MINUTE: i64 = 60;
    let fence = subscribed(&*store, 1).await;
    let period = Period { start: at(0), end: at(102 * MINUTE) };
    let mut planned_at = Vec::new();
    for minute in 1..=103 {
        let now = at(minute * MINUTE);
        if minute < 102 {
            call(&*store, 1, now, period, 1).await;
        }
        if plan_resting(&*store, fence, now, 5 * MINUTE * SECOND_US).await == 1 {
            planned_at.push(minute);
        }
        send_all(&*store, fence, now).await;
    }
    assert_eq!(
        planned_at,
        [1, 2, 3, 5, 9, 14, 19, 24, 29, 34, 39, 44, 49, 54, 59, 64, 69, 74, 79, 84, 89, 94, 99, 102]
    );
    assert_eq!(units(&*store, 1, period).await.iter().sum::<u64>(), 101, "all of it was told");
}

async fn of_a_period_that_is_long_over_one_send_is_left(store: Arc<dyn AdminStore>) {
    let fence = subscribed(&*store, 2).await;
    let (over, open) = (Period { start: day(0), end: day(5) }, Period { start: day(5), end: day(35) });
    for (day_of, account, period, count) in
        [(1, 1, over, 10), (2, 1, over, 20), (3, 1, over, 5), (3, 2, over, 7), (6, 1, open, 1), (7, 1, open, 2)]
    {
        call(&*store, account, day(day_of), period, count).await;
        assert_eq!(plan(&*store, fence, day(day_of)).await, 1);
        if count != 5 {
            send_all(&*store, fence, day(day_of)).await;
            continue;
        }
        let [.., failed] = &*sends(&*store, account, None, period).await else { panic!("it was planned") };
        let outcome = SendOutcome::Failed { note: "no such meter".into() };
        settle(&*store, fence, &failed.identifier, outcome, day(day_of)).await;
    }
    let before = periods(&*store).await;
    let fold = async |ended_before| store.fold_sends(fence, ended_before).await.expect("the store answers");
    assert_eq!(fold(over.end).await, Fenced::Done(0), "it ended then, not before");
    assert_eq!(fold(day(6)).await, Fenced::Done(1), "of the other account there is one");
    assert_eq!(fold(day(6)).await, Fenced::Done(0));
    assert_eq!(units(&*store, 1, over).await, [30, 5], "what was given up stays to be seen");
    assert_eq!(units(&*store, 2, over).await, [7]);
    assert_eq!(units(&*store, 1, open).await, [1, 2]);
    assert_eq!(periods(&*store).await, before, "the sums are the same");
    // What comes late is told apart from all that ever was.
    let known: BTreeSet<_> = sends(&*store, 1, None, over).await.into_iter().map(|send| send.identifier).collect();
    call(&*store, 1, day(8), over, 3).await;
    assert_eq!(plan(&*store, fence, day(8)).await, 1);
    let now = sends(&*store, 1, None, over).await;
    assert_eq!(now.iter().map(|send| send.units).collect::<Vec<_>>(), [30, 5, 3]);
    assert!(!known.contains(&now[2].identifier), "{now:?}");
    assert_eq!(store.fold_sends(Fence(fence.0 - 1), day(6)).await.expect("the store answers"), Fenced::Lost);
}

async fn who_has_no_subscription_is_not_billed(store: Arc<dyn AdminStore>) {
    let fence = fence(&*store).await;
    for number in 1..=2 {
        make_account(&*store, number).await;
        call(&*store, number, at(50), march(), 100).await;
    }
    take(&*store, fence, &facts(1, Vec::new()), at(60)).await;
    assert_eq!(plan(&*store, fence, at(70)).await, 0);
    assert_eq!(periods(&*store).await, []);
}

async fn what_is_given_back_lowers_the_next_send(store: Arc<dyn AdminStore>) {
    let fence = subscribed(&*store, 1).await;
    let period = thirty_days_from(0);
    call(&*store, 1, at(50), period, 100).await;
    assert_eq!(plan(&*store, fence, at(60)).await, 1);
    send_all(&*store, fence, at(60)).await;
    let credit = Credit { account: account_id(1), meter: None, period, units: Some(30), at: at(70) };
    store.credit(&credit, &audit("usage.credit")).await.expect("the store answers");
    assert_eq!(plan(&*store, fence, at(80)).await, 0, "nothing is taken back from Stripe");
    let known = periods(&*store).await;
    assert_eq!((known[0].ledger, known[0].planned, known[0].sent), (70, 100, 100));
    call(&*store, 1, at(90), period, 20).await;
    assert_eq!(plan(&*store, fence, at(100)).await, 0);
    call(&*store, 1, at(110), period, 25).await;
    assert_eq!(plan(&*store, fence, at(120)).await, 1);
    assert_eq!(units(&*store, 1, period).await, [100, 15]);
}

async fn what_an_opening_gave_back_is_billed_before_it(store: Arc<dyn AdminStore>) {
    let fence = subscribed(&*store, 1).await;
    let (first, second) = (thirty_days_from(0), thirty_days_from(5));
    call(&*store, 1, day(1), first, 40).await;
    assert_eq!(plan(&*store, fence, day(1)).await, 1);
    send_all(&*store, fence, day(1)).await;
    call(&*store, 1, day(3), first, 60).await;
    call(&*store, 1, day(5).plus_micros(9), first, 5).await;
    let mut moved = subscription("sub_1", "price_max", second);
    moved.created_at = day(0);
    take(&*store, fence, &paid(facts(1, vec![moved])), day(6)).await;
    call(&*store, 1, day(7), second, 11).await;
    assert_eq!(plan(&*store, fence, day(8)).await, 2);
    let planned = sends(&*store, 1, None, first).await;
    assert_eq!((planned[1].units, planned[1].at), (60, day(5).plus_micros(-SECOND_US)));
    assert_eq!(plan(&*store, fence, day(8)).await, 0, "the rest waits until Stripe has that");
    send_all(&*store, fence, day(8)).await;
    assert_eq!(plan(&*store, fence, day(9)).await, 1);
    let planned = sends(&*store, 1, None, first).await;
    assert_eq!(planned[2].units, 5);
    assert!(second.contains(planned[2].at), "{:?}", planned[2].at);
    assert_eq!(units(&*store, 1, second).await, [11]);
    let known: Vec<_> = periods(&*store).await.into_iter().map(|known| (known.ledger, known.planned)).collect();
    assert_eq!(known, [(105, 105), (11, 11)]);
}

async fn a_period_has_one_send_under_way(store: Arc<dyn AdminStore>) {
    let fence = subscribed(&*store, 1).await;
    let period = thirty_days_from(0);
    call(&*store, 1, at(50), period, 10).await;
    assert_eq!(plan(&*store, fence, at(60)).await, 1);
    call(&*store, 1, at(70), period, 5).await;
    assert_eq!(plan(&*store, fence, at(80)).await, 0);
    let [first] = &*sends(&*store, 1, None, period).await else { panic!("there is one") };
    settle(&*store, fence, &first.identifier, SendOutcome::Failed { note: "no such meter".into() }, at(90)).await;
    assert_eq!(plan(&*store, fence, at(100)).await, 1, "one that was given up is under way no more");
    assert_eq!(units(&*store, 1, period).await, [10, 5]);
    let known = periods(&*store).await;
    assert_eq!((known[0].ledger, known[0].planned, known[0].sent, known[0].failed), (15, 15, 0, 10));
}

async fn periods_that_are_over_come_first_and_few_at_a_time(store: Arc<dyn AdminStore>) {
    let fence = subscribed(&*store, 4).await;
    for number in 1..=4 {
        call(&*store, number, day(i64::from(number)), thirty_days_from(0), 1).await;
    }
    let ended = Period { start: day(1), end: day(6) };
    call(&*store, 4, day(5), ended, 1).await;
    let mut planned = Vec::new();
    for _ in 0..4 {
        let done = store.plan_sends(fence, &billed(), ever(), day(7), 0, 2).await.expect("the store answers");
        let due = store.due_sends(day(7), 100).await.expect("the store answers");
        planned.push((done, due.iter().filter(|send| send.period == ended).count(), due.len()));
    }
    let done = Fenced::Done;
    assert_eq!(planned, [(done(2), 1, 2), (done(2), 1, 4), (done(1), 1, 5), (done(0), 1, 5)]);
}

async fn only_what_is_billed_and_changed_is_planned(store: Arc<dyn AdminStore>) {
    let fence = subscribed(&*store, 2).await;
    let period = thirty_days_from(0);
    call(&*store, 1, day(1), period, 1).await;
    call(&*store, 2, day(3), period, 2).await;
    let planned = store.plan_sends(fence, &[], ever(), day(4), 0, 100).await.expect("the store answers");
    assert_eq!(planned, Fenced::Done(0), "nothing is billed");
    let planned = store.plan_sends(fence, &billed()[1..], ever(), day(4), 0, 100).await.expect("the store answers");
    assert_eq!(planned, Fenced::Done(0), "tokens alone are billed");
    let planned = store.plan_sends(fence, &billed(), day(2), day(4), 0, 100).await.expect("the store answers");
    assert_eq!(planned, Fenced::Done(1));
    assert_eq!((units(&*store, 1, period).await, units(&*store, 2, period).await), (vec![], vec![2]));
    let listed = store.billed_periods(&billed(), day(2), None, 100).await.expect("the store answers").items;
    assert_eq!(listed.iter().map(|known| known.account).collect::<Vec<_>>(), [account_id(2)]);
    let none = store.billed_periods(&[], ever(), None, 100).await.expect("the store answers");
    assert_eq!((none.items, none.has_more), (vec![], false));
}

async fn times_of_use_lie_in_the_period(store: Arc<dyn AdminStore>) {
    let fence = subscribed(&*store, 4).await;
    let (last, short) = (day(30).plus_micros(-SECOND_US), Period { start: day(3), end: day(3).plus_micros(5) });
    for (account, period, used_at, now, expected) in [
        (1, thirty_days_from(0), day(4), day(5), day(4)),
        (2, thirty_days_from(0), day(33), day(34), last),
        (3, thirty_days_from(2), day(1), day(2), day(2)),
        (4, short, day(4), day(5), day(3)),
    ] {
        call(&*store, account, used_at, period, 1).await;
        plan(&*store, fence, now).await;
        assert_eq!(sends(&*store, account, None, period).await[0].at, expected, "of account {account}");
    }
    call(&*store, 1, day(9), april(), 1).await;
    plan(&*store, fence, day(8)).await;
    assert_eq!(sends(&*store, 1, None, april()).await[0].at, april().start, "a period that has not begun");
}

async fn sends_come_when_they_are_due(store: Arc<dyn AdminStore>) {
    let fence = subscribed(&*store, 3).await;
    let period = thirty_days_from(0);
    for number in 1..=3_u8 {
        call(&*store, number, at(i64::from(number)), period, u64::from(number)).await;
        plan(&*store, fence, at(i64::from(number) * 10)).await;
    }
    let due = async |now, limit| {
        let due = store.due_sends(now, limit).await.expect("the store answers");
        due.into_iter().map(|send| send.units).collect::<Vec<_>>()
    };
    assert_eq!((due(at(9), 10).await, due(at(20), 10).await, due(at(30), 2).await), (vec![], vec![1, 2], vec![1, 2]));
    let first = &sends(&*store, 1, None, period).await[0].identifier;
    settle(&*store, fence, first, SendOutcome::Retry { at: at(99), note: "500".into() }, at(30)).await;
    assert_eq!((due(at(98), 10).await, due(at(99), 10).await), (vec![2, 3], vec![2, 3, 1]));
}

async fn a_send_ends_once(store: Arc<dyn AdminStore>) {
    let fence = subscribed(&*store, 1).await;
    let period = thirty_days_from(0);
    call(&*store, 1, at(50), period, 10).await;
    plan(&*store, fence, at(60)).await;
    let known = async || sends(&*store, 1, None, period).await.remove(0);
    let identifier = known().await.identifier;
    for (tried_at, told_at) in [(at(61), at(40)), (at(71), at(41))] {
        let tries = [(identifier.clone(), told_at)];
        assert_eq!(store.note_tries(fence, &tries, tried_at).await.expect("the store answers"), Fenced::Done(()));
        let send = known().await;
        assert_eq!((send.first_tried_at, send.at, send.state), (Some(at(61)), told_at, SendState::Pending));
    }
    settle(&*store, fence, &identifier, SendOutcome::Retry { at: at(90), note: "timeout".into() }, at(72)).await;
    let send = known().await;
    assert_eq!((send.attempts, send.note.as_deref(), send.state), (1, Some("timeout"), SendState::Pending));
    settle(&*store, fence, &identifier, SendOutcome::Failed { note: "refused".into() }, at(91)).await;
    let send = known().await;
    assert_eq!((send.attempts, send.note.as_deref(), send.state), (2, Some("refused"), SendState::Failed));
    assert_eq!(store.due_sends(day(9), 10).await.expect("the store answers"), []);
    settle(&*store, fence, &identifier, SendOutcome::Retry { at: at(95), note: "by hand".into() }, at(92)).await;
    assert_eq!(store.due_sends(at(95), 10).await.expect("the store answers").len(), 1, "it is put back");
    settle(&*store, fence, &identifier, SendOutcome::Sent, at(96)).await;
    let sent = known().await;
    assert_eq!((sent.state, sent.sent_at, sent.note.as_deref()), (SendState::Sent, Some(at(96)), None));
    for outcome in [
        SendOutcome::Retry { at: at(99), note: "late".into() },
        SendOutcome::Failed { note: "late".into() },
        SendOutcome::Sent,
    ] {
        settle(&*store, fence, &identifier, outcome, at(99)).await;
        assert_eq!(known().await, sent, "what Stripe has stays so");
    }
    store.note_tries(fence, &[(identifier.clone(), at(1))], at(99)).await.expect("the store answers");
    assert_eq!(known().await, sent);
}

async fn what_stripe_was_told_is_summed_by_its_time(store: Arc<dyn AdminStore>) {
    let fence = subscribed(&*store, 1).await;
    let period = thirty_days_from(0);
    for (hour, outcome) in [(1, Some(SendOutcome::Sent)), (2, Some(SendOutcome::Sent)), (3, None), (4, None)] {
        let used_at = at(hour * 3_600);
        call(&*store, 1, used_at, period, 10 * u64::try_from(hour).expect("a small number")).await;
        plan(&*store, fence, used_at).await;
        let Some(send) = sends(&*store, 1, None, period).await.pop() else { panic!("one was planned") };
        if hour < 4 {
            store.note_tries(fence, &[(send.identifier.clone(), send.at)], used_at).await.expect("the store answers");
        }
        let outcome = outcome.unwrap_or(SendOutcome::Failed { note: "?".into() });
        settle(&*store, fence, &send.identifier, outcome, used_at.plus_micros(5)).await;
    }
    let told = async |from: i64, to: i64| {
        let stretch = Period { start: at(from * 3_600), end: at(to * 3_600) };
        store.sent_between(account_id(1), None, stretch).await.expect("the store answers")
    };
    let newest = |hour: i64| Some(at(hour * 3_600).plus_micros(5));
    assert_eq!(told(0, 9).await, SentUse { sent: 30, doubtful: 30, newest: newest(2) });
    assert_eq!(told(1, 2).await, SentUse { sent: 10, doubtful: 0, newest: newest(1) });
    assert_eq!(told(3, 4).await, SentUse { sent: 0, doubtful: 30, newest: None });
    assert_eq!(told(4, 9).await, SentUse::default(), "what was never tried is in no doubt");
    let stretch = Period { start: at(0), end: day(1) };
    let of_tokens = store.sent_between(account_id(1), Some(&meter("tokens")), stretch).await;
    assert_eq!(of_tokens.expect("the store answers"), SentUse::default());
}

async fn periods_are_listed_page_by_page(store: Arc<dyn AdminStore>) {
    let fence = subscribed(&*store, 3).await;
    for number in 1..=3 {
        for start in [0, 30] {
            call(&*store, number, day(start + 1), thirty_days_from(start), 4).await;
        }
        let tokens = UsageEvent { period: thirty_days_from(0), ..event(number, "evt", &[("tokens", 9)]) };
        store.record_events(&[tokens], day(2)).await.expect("the store answers");
    }
    plan(&*store, fence, day(32)).await;
    let all = periods(&*store).await;
    let keys: Vec<_> = all.iter().map(|known| (known.account, known.meter.clone(), known.period)).collect();
    assert!(keys.len() == 9 && keys.is_sorted(), "{keys:?}");
    assert!(all.iter().all(|known| known.ledger == i64::try_from(known.planned).expect("small") && known.sent == 0));
    assert_eq!((all[0].newest, all[1].newest, all[2].newest), (day(1), day(31), day(2)));
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let page = store.billed_periods(&billed(), ever(), after.as_ref(), 4).await.expect("the store answers");
        after = page.items.last().cloned();
        pages.extend(page.items);
        if !page.has_more {
            break;
        }
    }
    assert_eq!(pages, all);
}

async fn nothing_is_written_without_the_lease(store: Arc<dyn AdminStore>) {
    let first = subscribed(&*store, 1).await;
    let period = thirty_days_from(0);
    call(&*store, 1, at(50), period, 10).await;
    plan(&*store, first, at(60)).await;
    call(&*store, 1, at(70), period, 10).await;
    let before = sends(&*store, 1, None, period).await;
    let identifier = before[0].identifier.clone();
    store.hold_lease(BILLING_LEASE, "two", day(1), day(2)).await.expect("the store answers").expect("it was over");
    let sent = [(identifier.clone(), SendOutcome::Sent)];
    assert_eq!(store.settle_sends(first, &sent, at(80)).await.expect("the store answers"), Fenced::Lost);
    assert_eq!(store.note_tries(first, &[(identifier, at(1))], at(80)).await.expect("it answers"), Fenced::Lost);
    assert_eq!(store.plan_sends(first, &billed(), ever(), at(80), 0, 10).await.expect("it answers"), Fenced::Lost);
    assert_eq!(sends(&*store, 1, None, period).await, before);
}

async fn batches_that_are_missing_are_named(store: Arc<dyn AdminStore>) {
    assert_eq!(store.missing_batches(10).await.expect("the store answers"), []);
    make_account(&*store, 1).await;
    for (number, sequence) in [(1, 3), (1, 4), (1, 7), (1, 9), (2, 1), (2, 2), (3, 5)] {
        let batch = UsageBatch {
            node: node(number),
            sequence,
            start: at(0),
            end: at(1),
            lines: vec![calls(1, 1, 1)],
            requests: Vec::new(),
        };
        store_new(&*store, &batch).await;
    }
    let missing = store.missing_batches(10).await.expect("the store answers");
    assert_eq!(missing, [5, 6, 8].map(|number| (node(1).to_string(), number)));
    let few = store.missing_batches(2).await.expect("the store answers");
    assert_eq!(few, [5, 6].map(|number| (node(1).to_string(), number)));
}

async fn planners_that_overlap_plan_nothing_twice(store: Arc<dyn AdminStore>) {
    let fence = subscribed(&*store, 8).await;
    let period = thirty_days_from(0);
    let planned = crate::fixture::at_once(16, |number| {
        let store = Arc::clone(&store);
        async move {
            if number % 2 == 0 {
                let used_at = at(i64::from(number) * 10);
                let mut line = calls(number / 2, 1, 5);
                line.key.period = period;
                let lines = vec![line];
                let batch = UsageBatch {
                    node: node(number),
                    sequence: 1,
                    start: used_at,
                    end: used_at,
                    lines,
                    requests: Vec::new(),
                };
                return store.store_batch(&batch).await.map(|_| 0);
            }
            match store.plan_sends(fence, &billed(), ever(), at(500), 0, 100).await? {
                Fenced::Done(planned) => Ok(planned),
                Fenced::Lost => panic!("the lease is held"),
            }
        }
    })
    .await;
    let rest = plan(&*store, fence, at(501)).await;
    assert_eq!(planned.iter().sum::<u64>() + rest, 8);
    for number in 1..=8 {
        assert_eq!(units(&*store, number, period).await, [5]);
    }
    let deletion = NewAudit { at: at(502), ..audit("account.delete") };
    store.delete_account(account_id(1), at(502), &deletion).await.expect("the store answers");
    call(&*store, 1, at(503), period, 2).await;
    send_all(&*store, fence, at(504)).await;
    assert_eq!(plan(&*store, fence, at(505)).await, 1, "what a deleted account used is owed all the same");
}
