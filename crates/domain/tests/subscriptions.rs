//! What payment gives: the transition table row by row, and what holds for any subscriptions, prices and times.
//!
//! The oracle beside it is written from the table in `docs/BILLING.md`, the other way round: it asks of each plan whether
//! anything gives it.

use proptest::prelude::*;
use tollgate_domain::{
    Access, Account, AccountId, Ban, DAY_US, Lapse, NoAccess, Period, Plan, PlanName, PlanTable, Source, Subscription,
    SubscriptionItem, SubscriptionStatus, Timestamp, Withheld, WithheldCause, entitlement,
};

const NOW: Timestamp = Timestamp::from_secs(1_773_144_000);
const GRACE_US: i64 = 7 * DAY_US;
const FOREVER: Timestamp = Timestamp::from_micros(i64::MAX);

fn name(text: &str) -> PlanName {
    PlanName::new(text).expect("a name")
}

/// `free` without the API, `basic` and `pro` (ranks 1 and 2), `also` (rank 2); each but `free` has a price of its name.
fn plans(default_plan: Option<&str>) -> PlanTable {
    let plan = |text: &str, rank: i64, api: bool| Plan {
        rank,
        api,
        stripe_prices: vec![format!("price_{text}")],
        ..Plan::unlimited(name(text))
    };
    let table = [plan("free", 0, false), plan("basic", 1, true), plan("pro", 2, true), plan("also", 2, true)];
    PlanTable::new(table, default_plan.map(name)).with_grace(GRACE_US)
}

fn account(subscriptions: Vec<Subscription>) -> Account {
    Account {
        id: AccountId::new(Timestamp::EPOCH, [1; 10]),
        email: "owner@example.com".into(),
        name: None,
        subject: None,
        created_at: Timestamp::EPOCH,
        assigned_plan: None,
        assigned_until: None,
        ban: None,
        deleted_at: None,
        rolling_anchor: Timestamp::EPOCH,
        stripe_customer: Some("cus_1".into()),
        stripe_subscription: None,
        subscriptions,
    }
}

fn days(days: i64) -> Timestamp {
    NOW.plus_micros(days * DAY_US)
}

fn subscription(status: SubscriptionStatus, price: &str) -> Subscription {
    Subscription {
        id: format!("sub_{price}").into(),
        status,
        created_at: days(-40),
        items: vec![SubscriptionItem {
            id: "si_1".into(),
            price: price.into(),
            period: Period { start: days(-10), end: days(20) },
        }],
        plan_price: Some(price).filter(|price| price.starts_with("price_")).map(Into::into),
        failing_since: None,
        cancel_at: None,
        trial_end: None,
        withheld: None,
    }
}

/// What an account with these has now: its plan, or why it has none.
fn standing(account: &Account, plans: &PlanTable) -> Result<String, Option<Lapse>> {
    match entitlement(account, plans, NOW).access {
        Access::Plan(plan) => Ok(plan.name.to_string()),
        Access::None(NoAccess::Lapsed(lapse)) => Err(Some(lapse)),
        Access::None(NoAccess::NoPlan | NoAccess::PlanWithoutApi(_)) => Err(None),
    }
}

#[test]
fn each_status_gives_what_the_table_says() {
    use SubscriptionStatus::{Active, Canceled, Incomplete, IncompleteExpired, PastDue, Paused, Trialing, Unpaid};
    // Status, failing since so many days, what it gives without a default plan.
    let table = [
        (Trialing, None, Ok("pro")),
        (Trialing, Some(-30), Ok("pro")),
        (Active, None, Ok("pro")),
        (Active, Some(-30), Ok("pro")),
        (PastDue, None, Ok("pro")),
        (PastDue, Some(0), Ok("pro")),
        (PastDue, Some(-6), Ok("pro")),
        (PastDue, Some(-7), Err(Lapse::GraceOver)),
        (PastDue, Some(-30), Err(Lapse::GraceOver)),
        (Incomplete, None, Err(Lapse::Incomplete)),
        (Unpaid, None, Err(Lapse::Unpaid)),
        (Unpaid, Some(-1), Err(Lapse::Unpaid)),
        (Paused, None, Err(Lapse::Paused)),
        (Canceled, None, Err(Lapse::Ended)),
        (IncompleteExpired, None, Err(Lapse::Ended)),
    ];
    for (status, failing_days, expected) in table {
        let facts = Subscription { failing_since: failing_days.map(days), ..subscription(status, "price_pro") };
        let account = account(vec![facts]);
        let without_default = standing(&account, &plans(None));
        assert_eq!(without_default, expected.map(str::to_owned).map_err(Some), "{status} {failing_days:?}");
        let given = if expected.is_ok() { "pro" } else { "basic" };
        assert_eq!(standing(&account, &plans(Some("basic"))), Ok(given.into()), "{status} {failing_days:?}");
        let free = entitlement(&account, &plans(Some("free")), NOW);
        assert_eq!(free.has_access(), expected.is_ok(), "{status} {failing_days:?}");
    }
}

#[test]
fn grace_ends_to_the_microsecond_and_says_so_before() {
    let since = days(-1);
    let facts = Subscription { failing_since: Some(since), ..subscription(SubscriptionStatus::PastDue, "price_pro") };
    let account = account(vec![facts]);
    let over = since.plus_micros(GRACE_US);
    let before = entitlement(&account, &plans(None), over.plus_micros(-1));
    assert!(before.has_access());
    assert_eq!(before.until, over);
    let after = entitlement(&account, &plans(None), over);
    assert_eq!(after.access, Access::None(NoAccess::Lapsed(Lapse::GraceOver)));
    let none_of_it = plans(None).with_grace(0);
    assert_eq!(entitlement(&account, &none_of_it, since).access, Access::None(NoAccess::Lapsed(Lapse::GraceOver)));
}

#[test]
fn a_ban_is_not_asked_for_and_changes_no_entitlement() {
    let mut banned = account(vec![subscription(SubscriptionStatus::Active, "price_pro")]);
    let before = entitlement(&banned, &plans(None), NOW);
    banned.ban = Some(Ban { at: NOW, reason: None });
    assert_eq!(entitlement(&banned, &plans(None), NOW), before, "it is decided on before, and outlives any payment");
}

#[test]
fn the_highest_of_several_wins_and_of_equals_the_youngest() {
    use SubscriptionStatus::{Active, Canceled, PastDue};
    let basic = subscription(Active, "price_basic");
    let pro = subscription(Active, "price_pro");
    let also = Subscription { created_at: days(-5), ..subscription(Active, "price_also") };
    let ended = Subscription { status: Canceled, ..pro.clone() };
    let late = Subscription { failing_since: Some(days(-2)), ..subscription(PastDue, "price_pro") };
    let table = [
        (vec![basic.clone(), pro.clone()], "pro"),
        (vec![pro.clone(), basic.clone()], "pro"),
        (vec![basic.clone(), ended], "basic"),
        (vec![pro.clone(), also.clone()], "also"),
        (vec![also, pro], "also"),
        (vec![basic, late.clone()], "pro"),
    ];
    for (subscriptions, expected) in table {
        assert_eq!(standing(&account(subscriptions.clone()), &plans(None)), Ok(expected.into()), "{subscriptions:?}");
    }
    let both = account(vec![subscription(Active, "price_basic"), late]);
    assert_eq!(entitlement(&both, &plans(None), NOW).until, days(5), "then the higher one may be over");
}

#[test]
fn an_operators_plan_wins_until_it_ends() {
    let mut given = account(vec![subscription(SubscriptionStatus::Active, "price_pro")]);
    given.assigned_plan = Some(name("basic"));
    assert_eq!(standing(&given, &plans(None)), Ok("basic".into()));
    given.assigned_until = Some(days(3));
    let now = entitlement(&given, &plans(None), NOW);
    assert_eq!((now.source, now.until), (Source::Operator, days(3)));
    assert_eq!(entitlement(&given, &plans(None), days(3)).source, Source::Subscription);
    given.subscriptions.clear();
    assert_eq!(entitlement(&given, &plans(Some("free")), days(3)).source, Source::Default);
    assert_eq!(entitlement(&given, &plans(None), days(3)).source, Source::Nothing);
}

#[test]
fn what_is_withheld_comes_back_with_the_next_period_or_when_it_is_lifted() {
    let causes = [(WithheldCause::Dispute, Lapse::Disputed), (WithheldCause::Refund, Lapse::Refunded)];
    for (cause, lapse) in causes {
        for status in [SubscriptionStatus::Active, SubscriptionStatus::Trialing, SubscriptionStatus::PastDue] {
            let mut facts = subscription(status, "price_pro");
            facts.withheld = Some(Withheld { at: days(-1), cause });
            assert_eq!(standing(&account(vec![facts.clone()]), &plans(None)), Err(Some(lapse)), "{status}");
            facts.items[0].period = Period { start: days(-1), end: days(29) };
            assert_eq!(standing(&account(vec![facts.clone()]), &plans(None)), Ok("pro".into()), "a later period");
            facts.items[0].period.start = days(-2);
            facts.withheld = None;
            assert_eq!(standing(&account(vec![facts]), &plans(None)), Ok("pro".into()), "lifted");
        }
        let mut over = subscription(SubscriptionStatus::Canceled, "price_pro");
        over.withheld = Some(Withheld { at: days(-1), cause });
        assert_eq!(standing(&account(vec![over]), &plans(None)), Err(Some(Lapse::Ended)));
    }
}

#[test]
fn a_price_that_no_plan_has_gives_what_the_last_known_one_gave() {
    let plans = plans(None);
    let before = subscription(SubscriptionStatus::Active, "price_pro");
    let mut after = before.clone();
    after.items[0].price = "new".into();
    after.plan_price = None;
    let followed = after.clone().following(Some(&before), &plans);
    assert_eq!(standing(&account(vec![followed.clone()]), &plans), Ok("pro".into()));
    assert_eq!(followed.clone().following(Some(&followed), &plans), followed);
    let unknown = after.following(None, &plans);
    assert_eq!(standing(&account(vec![unknown]), &plans), Err(Some(Lapse::UnknownPrice)));
}

fn any_status() -> impl Strategy<Value = SubscriptionStatus> {
    proptest::sample::select(&SubscriptionStatus::ALL[..])
}

fn any_item() -> impl Strategy<Value = SubscriptionItem> {
    let price = proptest::sample::select(&["price_basic", "price_pro", "price_also", "metered", "gone"][..]);
    (price, -40_i64..0, 1_i64..400, 0..1_000_u32).prop_map(|(price, start, length, id)| SubscriptionItem {
        id: format!("si_{id}").into(),
        price: price.into(),
        period: Period { start: days(start), end: days(start + length) },
    })
}

fn any_subscription() -> impl Strategy<Value = Subscription> {
    let withheld = (-40_i64..10, any::<bool>()).prop_map(|(at, is_dispute)| Withheld {
        at: days(at),
        cause: if is_dispute { WithheldCause::Dispute } else { WithheldCause::Refund },
    });
    let last_price = proptest::option::of(proptest::sample::select(&["price_basic", "price_pro"][..]));
    let items = proptest::collection::vec(any_item(), 1..4);
    let failing = proptest::option::of(-20_i64..5);
    (any_status(), items, failing, proptest::option::of(withheld), last_price, -400_i64..-40, 0..1_000_u32).prop_map(
        |(status, items, failing, withheld, last_price, created, id)| {
            let facts = Subscription {
                id: format!("sub_{id}").into(),
                status,
                created_at: days(created),
                items,
                plan_price: last_price.map(Into::into),
                failing_since: failing.map(days),
                cancel_at: None,
                trial_end: None,
                withheld,
            };
            let before = facts.clone();
            facts.following(Some(&before), &plans(None))
        },
    )
}

/// The rank that a subscription gives, by the words of the table alone.
fn gives_rank(facts: &Subscription, plans: &PlanTable, at: Timestamp) -> Option<i64> {
    let is_entitling = match facts.status.as_str() {
        "trialing" | "active" => true,
        "past_due" => facts.failing_since.is_none_or(|since| at < since.plus_micros(GRACE_US)),
        _ => false,
    };
    let rank = |item: &SubscriptionItem| plans.of_price(&item.price).map(|plan| plan.rank);
    let best = facts.items.iter().filter_map(rank).max();
    let of_last = || facts.plan_price.as_deref().and_then(|price| plans.of_price(price)).map(|plan| plan.rank);
    let best = best.or_else(of_last)?;
    // Where several items name plans of one rank, the first of them counts.
    let paid_by = facts.items.iter().find(|item| rank(item) == Some(best)).or(facts.items.first())?;
    let is_withheld = facts.withheld.is_some_and(|withheld| paid_by.period.start < withheld.at);
    (is_entitling && !is_withheld).then_some(best)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_subscriptions_give_what_the_table_says(
        subscriptions in proptest::collection::vec(any_subscription(), 0..5),
        assigned in proptest::option::of(proptest::sample::select(&["free", "basic", "removed"][..])),
        assigned_days in proptest::option::of(-3_i64..3),
        default_plan in proptest::option::of(proptest::sample::select(&["free", "basic"][..])),
        hours in -200_i64..200,
    ) {
        let plans = plans(default_plan);
        let at = NOW.plus_micros(hours * DAY_US / 24);
        let mut account = account(subscriptions);
        account.assigned_plan = assigned.map(name);
        account.assigned_until = assigned_days.map(days);
        let found = entitlement(&account, &plans, at);

        let is_assigned = assigned.is_some() && assigned_days.is_none_or(|until| at < days(until));
        let best = account.subscriptions.iter().filter_map(|facts| gives_rank(facts, &plans, at)).max();
        let expected_source = match (is_assigned, best, default_plan) {
            (true, _, _) if assigned != Some("removed") => Source::Operator,
            (false, Some(_), _) => Source::Subscription,
            (_, _, Some(_)) => Source::Default,
            (_, _, None) => Source::Nothing,
        };
        prop_assert_eq!(found.source, expected_source);
        let rank = match expected_source {
            Source::Operator => assigned.and_then(|plan| plans.get(plan)).map(|plan| plan.rank),
            Source::Subscription => best,
            Source::Default => plans.default_plan().map(|plan| plan.rank),
            Source::Nothing => None,
        };
        prop_assert_eq!(found.plan().map(|plan| plan.rank), rank);
        prop_assert_eq!(found.has_access(), found.plan().is_some_and(|plan| plan.api));
        prop_assert_eq!(found.subscription.is_some(), best.is_some());
    }

    #[test]
    fn nothing_changes_before_the_instant_it_names(
        subscriptions in proptest::collection::vec(any_subscription(), 0..4),
        assigned_days in proptest::option::of(-3_i64..3),
        ahead_hours in 0_i64..2_000,
    ) {
        let plans = plans(Some("free"));
        let mut account = account(subscriptions);
        account.assigned_plan = assigned_days.map(|_| name("basic"));
        account.assigned_until = assigned_days.map(days);
        let now = entitlement(&account, &plans, NOW);
        prop_assert!(NOW < now.until);
        let later = NOW.plus_micros(ahead_hours * DAY_US / 24).min(now.until.plus_micros(-1));
        let then = entitlement(&account, &plans, later);
        prop_assert_eq!(&then.access, &now.access);
        prop_assert_eq!(then.until, now.until);
    }

    #[test]
    fn the_order_of_subscriptions_is_of_no_account(
        mut subscriptions in proptest::collection::vec(any_subscription(), 0..5),
    ) {
        // Two of one id and age do not exist.
        subscriptions.sort_by(|one, other| one.id.cmp(&other.id));
        subscriptions.dedup_by(|one, other| one.id == other.id);
        let plans = plans(None);
        let there = entitlement(&account(subscriptions.clone()), &plans, NOW);
        subscriptions.reverse();
        prop_assert_eq!(entitlement(&account(subscriptions), &plans, NOW), there);
    }

    #[test]
    fn one_that_has_ended_gives_nothing_at_any_time(mut facts in any_subscription(), ahead in -400_i64..400) {
        for status in [SubscriptionStatus::Canceled, SubscriptionStatus::IncompleteExpired] {
            facts.status = status;
            prop_assert_eq!(facts.gives(&plans(None), days(ahead)), Err(Lapse::Ended));
        }
    }

    #[test]
    fn following_twice_is_following_once(facts in any_subscription(), before in any_subscription()) {
        let plans = plans(None);
        let once = facts.following(Some(&before), &plans);
        prop_assert_eq!(once.clone().following(Some(&once), &plans), once);
    }
}

#[test]
fn what_has_no_end_names_none() {
    let account = account(vec![subscription(SubscriptionStatus::Active, "price_pro")]);
    assert_eq!(entitlement(&account, &plans(None), NOW).until, FOREVER);
}
