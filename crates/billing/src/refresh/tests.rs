use serde_json::{Value, json};
use tollgate_domain::{DAY_US, Plan, PlanName};

use super::*;

const START: i64 = 1_767_225_600;
const END: i64 = START + 31 * 86_400;
const HEED_BOTH: Rules = Rules { on_dispute: OnDispute::Suspend, on_refund: OnRefund::Suspend };
const HEED_NONE: Rules = Rules { on_dispute: OnDispute::Keep, on_refund: OnRefund::Keep };

fn plans() -> PlanTable {
    let plan = |name: &str, rank, prices: &[&str]| Plan {
        rank,
        stripe_prices: prices.iter().map(|price| (*price).to_owned()).collect(),
        ..Plan::unlimited(PlanName::new(name).expect("a name"))
    };
    PlanTable::new([plan("pro", 1, &["price_pro"]), plan("team", 2, &["price_team"])], None).with_grace(7 * DAY_US)
}

/// A subscription in today's shape, with what differs.
fn listed(differs: &Value) -> Value {
    let mut subscription = json!({
        "id": "sub_1", "object": "subscription", "status": "active", "customer": "cus_1", "created": START,
        "cancel_at": null, "cancel_at_period_end": false, "trial_end": null, "livemode": false, "metadata": {},
        "items": { "object": "list", "has_more": false, "data": [
            { "id": "si_1", "current_period_start": START, "current_period_end": END, "price": { "id": "price_pro" } },
        ] },
        "latest_invoice": { "id": "in_1", "status": "paid", "amount_paid": 2_900 },
    });
    merge(&mut subscription, differs);
    subscription
}

fn merge(whole: &mut Value, differs: &Value) {
    let differs = differs.as_object().expect("members");
    whole.as_object_mut().expect("members").extend(differs.clone());
}

fn read_of(subscriptions: &[Value]) -> Read {
    let read = |value: &Value| serde_json::from_value(value.clone()).expect("a subscription, whatever its shape");
    Read { subscriptions: subscriptions.iter().map(read).collect(), ..Read::default() }
}

fn one(read: &Read, before: &[Subscription], rules: Rules) -> (Subscription, Vec<Note>) {
    let mut facts = facts(read, before, &plans(), rules);
    assert_eq!(facts.subscriptions.len(), 1);
    (facts.subscriptions.remove(0), facts.notes)
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

#[test]
fn every_status_is_taken_as_it_is() {
    for status in SubscriptionStatus::ALL {
        let read = read_of(&[listed(&json!({ "status": status.as_str() }))]);
        let (subscription, notes) = one(&read, &[], HEED_BOTH);
        assert_eq!(subscription.status, status);
        assert_eq!(subscription.plan_price.as_deref(), Some("price_pro"));
        assert_eq!(subscription.items[0].period, Period { start: at(START), end: at(END) });
        assert_eq!(notes, []);
    }
}

#[test]
fn old_and_new_shapes_give_the_same_facts() {
    let new = listed(&json!({ "cancel_at_period_end": true }));
    let old = listed(&json!({
        "cancel_at_period_end": true, "current_period_start": START, "current_period_end": END,
        "items": { "data": [{ "id": "si_1", "plan": { "id": "price_pro" }, "price": { "id": "price_pro" } }] },
    }));
    let oldest = listed(&json!({
        "cancel_at_period_end": true, "current_period_start": START, "current_period_end": END,
        "items": { "data": [{ "id": "si_1", "plan": { "id": "price_pro" } }] },
    }));
    let fields_of_tomorrow = listed(&json!({
        "cancel_at_period_end": true, "metadata": 7, "pause_collection": "what", "livemode": "test", "trial_end": {},
        "billing_mode": { "type": "flexible" },
    }));
    let (expected, _) = one(&read_of(&[new]), &[], HEED_BOTH);
    assert_eq!(expected.cancel_at, Some(at(END)));
    for shape in [old, oldest, fields_of_tomorrow] {
        let (subscription, notes) = one(&read_of(std::slice::from_ref(&shape)), &[], HEED_BOTH);
        assert_eq!((subscription, notes), (expected.clone(), Vec::new()), "{shape}");
    }
}

#[test]
fn items_that_cannot_be_read_are_no_answer() {
    let shape = listed(&json!({ "items": { "data": "many" } }));
    assert!(serde_json::from_value::<objects::Subscription>(shape).is_err(), "a plan would be lost");
}

#[test]
fn when_it_ends_is_what_was_decided_or_the_end_of_its_period() {
    let table = [
        (json!({}), None),
        (json!({ "cancel_at_period_end": true }), Some(END)),
        (json!({ "cancel_at": START + 5 }), Some(START + 5)),
        (json!({ "cancel_at": START + 5, "cancel_at_period_end": true }), Some(START + 5)),
    ];
    for (differs, expected) in table {
        let (subscription, _) = one(&read_of(&[listed(&differs)]), &[], HEED_BOTH);
        assert_eq!(subscription.cancel_at, expected.map(at), "{differs}");
    }
}

#[test]
fn an_unknown_status_keeps_the_last_known_one() {
    let (before, _) = one(&read_of(&[listed(&json!({}))]), &[], HEED_BOTH);
    let read = read_of(&[listed(&json!({ "status": "dormant" }))]);
    let (subscription, notes) = one(&read, &[before], HEED_BOTH);
    assert_eq!(subscription.status, SubscriptionStatus::Active);
    let expected = Note::UnknownStatus { subscription: "sub_1".into(), status: "dormant".into() };
    assert_eq!(notes, [expected]);
    let (subscription, _) = one(&read, &[], HEED_BOTH);
    assert_eq!(subscription.status, SubscriptionStatus::Incomplete, "one that was never known gives nothing yet");
}

#[test]
fn an_unknown_price_keeps_the_plan_it_had() {
    let unknown = |price: &str| {
        listed(&json!({ "items": { "data": [
            { "id": "si_1", "current_period_start": START, "current_period_end": END, "price": { "id": price } },
        ] } }))
    };
    let (before, _) = one(&read_of(&[unknown("price_team")]), &[], HEED_BOTH);
    let read = read_of(&[unknown("price_new")]);
    let (subscription, notes) = one(&read, std::slice::from_ref(&before), HEED_BOTH);
    assert_eq!(subscription.plan(&plans()).map(|(plan, _)| plan.name.as_str()), Some("team"));
    assert_eq!(notes, [Note::UnknownPrice { subscription: "sub_1".into(), price: "price_new".into() }]);
    // And goes on keeping it, however often it is read.
    let (again, _) = one(&read, std::slice::from_ref(&subscription), HEED_BOTH);
    assert_eq!(again, subscription);
    let (never_known, _) = one(&read, &[], HEED_BOTH);
    assert_eq!(never_known.plan(&plans()), None);
    let (ended, notes) = {
        let mut ended = unknown("price_new");
        merge(&mut ended, &json!({ "status": "canceled" }));
        one(&read_of(&[ended]), &[before], HEED_BOTH)
    };
    assert_eq!((ended.status, notes), (SubscriptionStatus::Canceled, Vec::new()));
}

#[test]
fn a_metered_price_beside_the_plans_is_no_unknown_price() {
    let period = json!({ "current_period_start": START, "current_period_end": END });
    let item = |id: &str, price: &str| {
        let mut item = json!({ "id": id, "price": { "id": price } });
        merge(&mut item, &period);
        item
    };
    let read = read_of(&[listed(&json!({ "items": { "data": [
        item("si_1", "price_calls"), item("si_2", "price_pro"), item("si_3", "price_team"),
    ] } }))]);
    let (subscription, notes) = one(&read, &[], HEED_BOTH);
    assert_eq!(notes, []);
    assert_eq!(subscription.plan_price.as_deref(), Some("price_team"), "the highest of several");
}

#[test]
fn a_period_that_is_not_told_is_the_last_known_one() {
    let (before, _) = one(&read_of(&[listed(&json!({}))]), &[], HEED_BOTH);
    let bare = listed(&json!({ "items": { "data": [{ "id": "si_1", "price": { "id": "price_pro" } }] } }));
    let (subscription, notes) = one(&read_of(std::slice::from_ref(&bare)), std::slice::from_ref(&before), HEED_BOTH);
    assert_eq!(subscription.items, before.items);
    assert_eq!(notes, [Note::NoPeriod { subscription: "sub_1".into() }]);
    let (unknown, _) = one(&read_of(&[bare]), &[], HEED_BOTH);
    assert!(unknown.items[0].period.start < unknown.items[0].period.end, "a period is never empty");
    let empty = listed(&json!({ "items": { "data": [] } }));
    let (subscription, _) = one(&read_of(&[empty]), std::slice::from_ref(&before), HEED_BOTH);
    assert_eq!(subscription.items, before.items);
}

#[test]
fn one_that_stripe_does_not_list_any_more_has_ended() {
    let (mut running, _) = one(&read_of(&[listed(&json!({ "status": "past_due" }))]), &[], HEED_BOTH);
    running.failing_since = Some(at(START));
    running.withheld = Some(Withheld { at: at(START), cause: WithheldCause::Dispute });
    let (ended, notes) = one(&Read::default(), &[running], HEED_BOTH);
    assert_eq!((ended.status, ended.failing_since, ended.withheld), (SubscriptionStatus::Canceled, None, None));
    assert_eq!(notes, [Note::Vanished { subscription: "sub_1".into() }]);
    let (again, notes) = one(&Read::default(), std::slice::from_ref(&ended), HEED_BOTH);
    assert_eq!((again, notes), (ended, Vec::new()));
}

#[test]
fn grace_counts_from_the_oldest_invoice_that_is_open_after_a_failed_attempt() {
    let new = |id: &str, status: &str, attempts: u64, finalized_at: Option<i64>| {
        json!({ "id": id, "status": status, "attempt_count": attempts,
            "status_transitions": { "finalized_at": finalized_at },
            "parent": { "type": "subscription_details", "subscription_details": { "subscription": "sub_1" } } })
    };
    let old = |finalized_at: i64| {
        json!({ "id": "in_o", "status": "open", "attempt_count": 2, "subscription": "sub_1",
            "status_transitions": { "finalized_at": finalized_at } })
    };
    let others = json!({ "id": "in_x", "status": "open", "attempt_count": 1, "subscription": "sub_2",
        "status_transitions": { "finalized_at": START - 99 } });
    let table = [
        (vec![], None),
        (vec![new("in_1", "open", 1, Some(START + 10))], Some(START + 10)),
        (vec![new("in_1", "open", 1, Some(START + 20)), new("in_2", "open", 3, Some(START + 10))], Some(START + 10)),
        (vec![new("in_1", "open", 0, Some(START))], None),
        (vec![new("in_1", "void", 2, Some(START))], None),
        (vec![new("in_1", "uncollectible", 2, Some(START)), new("in_2", "open", 1, Some(START + 9))], Some(START + 9)),
        (vec![new("in_1", "open", 1, None)], None),
        (vec![others.clone()], None),
        (vec![others, old(START + 3)], Some(START + 3)),
    ];
    for (invoices, expected) in table {
        let mut read = read_of(&[listed(&json!({ "status": "past_due" }))]);
        read.open_invoices = serde_json::from_value(json!(invoices)).expect("invoices");
        let (subscription, _) = one(&read, &[], HEED_BOTH);
        assert_eq!(subscription.failing_since, expected.map(at), "{invoices:?}");
        // It means nothing of one that is not past due, and is not kept.
        read.subscriptions[0].status = "active".into();
        let (subscription, _) = one(&read, &[], HEED_BOTH);
        assert_eq!(subscription.failing_since, None);
    }
}

#[test]
fn a_later_event_does_not_move_the_beginning_of_grace() {
    let mut read = read_of(&[listed(&json!({ "status": "past_due" }))]);
    let invoice = |attempts: u64| {
        json!([{ "id": "in_1", "status": "open", "attempt_count": attempts, "subscription": "sub_1",
            "status_transitions": { "finalized_at": START + 7 } }])
    };
    let mut before = Vec::new();
    for attempts in 1..5 {
        read.open_invoices = serde_json::from_value(invoice(attempts)).expect("an invoice");
        let (subscription, _) = one(&read, &before, HEED_BOTH);
        assert_eq!(subscription.failing_since, Some(at(START + 7)));
        before = vec![subscription];
    }
}

/// What is withheld of a subscription whose payment was taken back so.
fn withheld(differs: &Value, reversals: &[(WithheldCause, i64)], rules: Rules) -> Option<Withheld> {
    let mut read = read_of(&[listed(differs)]);
    let reversal = |(cause, secs): &(WithheldCause, i64)| Reversal {
        subscription: "sub_1".into(),
        invoice: "in_0".into(),
        withheld: Withheld { at: at(*secs), cause: *cause },
    };
    read.reversals = Some(reversals.iter().map(reversal).collect());
    one(&read, &[], rules).0.withheld
}

#[test]
fn a_payment_taken_back_withholds_until_a_later_period_is_paid() {
    use WithheldCause::{Dispute, Refund};
    let held = |cause, secs| Some(Withheld { at: at(secs), cause });
    let open = json!({ "latest_invoice": { "id": "in_2", "status": "open" } });
    let draft = json!({ "latest_invoice": { "id": "in_2", "status": "draft" } });
    let late = json!({ "status": "past_due" });
    let bare = json!({ "latest_invoice": "in_2" });
    // What differs, what was taken back when, what is withheld. The period begins at START.
    let table = [
        (json!({}), vec![], None),
        (json!({}), vec![(Dispute, START + 5)], held(Dispute, START + 5)),
        (json!({}), vec![(Refund, START + 5)], held(Refund, START + 5)),
        (json!({}), vec![(Dispute, START + 5), (Refund, START + 9)], held(Refund, START + 9)),
        (json!({}), vec![(Refund, START + 5), (Dispute, START + 5)], held(Dispute, START + 5)),
        // A later period was paid.
        (json!({}), vec![(Dispute, START)], None),
        (json!({}), vec![(Dispute, START - 5)], None),
        (bare, vec![(Dispute, START - 5)], None),
        // A later period has begun and is not paid yet.
        (open, vec![(Dispute, START - 5)], Some(Withheld { at: at(START).plus_micros(1), cause: Dispute })),
        (draft, vec![(Refund, START)], Some(Withheld { at: at(START).plus_micros(1), cause: Refund })),
        (late, vec![(Dispute, START - 5)], Some(Withheld { at: at(START).plus_micros(1), cause: Dispute })),
    ];
    for (differs, reversals, expected) in table {
        assert_eq!(withheld(&differs, &reversals, HEED_BOTH), expected, "{differs} {reversals:?}");
        assert_eq!(withheld(&differs, &reversals, HEED_NONE), None);
    }
    let both = [(Dispute, START + 5), (Refund, START + 9)];
    let only_disputes = Rules { on_refund: OnRefund::Keep, ..HEED_BOTH };
    assert_eq!(withheld(&json!({}), &both, only_disputes), held(Dispute, START + 5));
    let only_refunds = Rules { on_dispute: OnDispute::Keep, ..HEED_BOTH };
    assert_eq!(withheld(&json!({}), &both, only_refunds), held(Refund, START + 9));
}

/// Stripe's clock has whole seconds: what was bought and taken back within one is withheld, and a later period is not for
/// the sake of an earlier one's payment.
#[test]
fn within_the_second_in_which_a_period_begins_it_counts_what_was_paid() {
    for (invoice, cause, expected) in [("in_1", WithheldCause::Refund, true), ("in_0", WithheldCause::Dispute, false)] {
        let mut read = read_of(&[listed(&json!({}))]);
        let withheld = Withheld { at: at(START), cause };
        read.reversals = Some(vec![Reversal { subscription: "sub_1".into(), invoice: invoice.into(), withheld }]);
        let (subscription, _) = one(&read, &[], HEED_BOTH);
        assert_eq!(subscription.withheld.map(|withheld| withheld.cause), expected.then_some(cause), "{invoice}");
        assert_eq!(subscription.gives(&plans(), at(START + 1)).is_err(), expected, "{invoice}");
    }
}

#[test]
fn what_is_withheld_gives_nothing_and_nothing_more() {
    let plans = plans();
    let reversal = [(WithheldCause::Dispute, START + 5)];
    let mut read = read_of(&[listed(&json!({})), listed(&json!({ "id": "sub_2" }))]);
    read.reversals = Some(vec![Reversal {
        subscription: "sub_1".into(),
        invoice: "in_0".into(),
        withheld: Withheld { at: at(reversal[0].1), cause: reversal[0].0 },
    }]);
    let facts = facts(&read, &[], &plans, HEED_BOTH);
    let gives: Vec<bool> =
        facts.subscriptions.iter().map(|facts| facts.gives(&plans, at(START + 10)).is_ok()).collect();
    assert_eq!(gives, [false, true], "the other subscription is not the disputed one");
}

#[test]
fn what_was_not_asked_stays_withheld_as_far_as_the_rules_still_withhold() {
    let (before, _) = one(&read_of(&[listed(&json!({}))]), &[], HEED_BOTH);
    let kept = Withheld { at: at(START + 5), cause: WithheldCause::Dispute };
    let before = [Subscription { withheld: Some(kept), ..before }];
    let read = read_of(&[listed(&json!({}))]);
    assert_eq!(one(&read, &before, HEED_BOTH).0.withheld, Some(kept));
    assert_eq!(one(&read, &before, HEED_NONE).0.withheld, None);
    let asked = Read { reversals: Some(Vec::new()), ..read };
    assert_eq!(one(&asked, &before, HEED_BOTH).0.withheld, None, "it was won");
}

#[test]
fn a_period_was_opened_by_a_paid_invoice_only_if_something_was_paid() {
    let paid = json!({ "id": "in_1", "status": "paid", "amount_paid": 1 });
    let table = [
        (json!({ "latest_invoice": paid }), true),
        (json!({ "latest_invoice": paid, "status": "trialing" }), false),
        (json!({ "latest_invoice": { "id": "in_1", "status": "paid", "amount_paid": 0 } }), false),
        (json!({ "latest_invoice": { "id": "in_1", "status": "open", "amount_paid": 0 } }), false),
        (json!({ "latest_invoice": "in_1" }), false),
        (json!({ "latest_invoice": null }), false),
    ];
    for (differs, is_paid) in table {
        let facts = facts(&read_of(&[listed(&differs)]), &[], &plans(), HEED_BOTH);
        let expected = if is_paid { vec![at(START)] } else { vec![] };
        assert_eq!(facts.paid_periods, expected, "{differs}");
    }
}

#[test]
fn facts_do_not_depend_on_the_order_in_which_stripe_lists() {
    let listed: Vec<Value> = ["sub_3", "sub_1", "sub_2"].map(|id| listed(&json!({ "id": id }))).into();
    let mut turned = listed.clone();
    turned.reverse();
    let one = facts(&read_of(&listed), &[], &plans(), HEED_BOTH);
    assert_eq!(one, facts(&read_of(&turned), &[], &plans(), HEED_BOTH));
    assert_eq!(one.paid_periods, [at(START)]);
}
