use tollgate_domain::{AccountId, Period, SubscriptionItem};

use super::*;

const MADE: Timestamp = Timestamp::from_secs(1_767_225_600);

fn account(status: SubscriptionStatus, ends: Timestamp) -> Account {
    let item =
        SubscriptionItem { id: "si_1".into(), price: "price_pro".into(), period: Period { start: MADE, end: ends } };
    Account {
        id: AccountId::new(MADE, [1; 10]),
        email: "owner@example.com".into(),
        name: None,
        subject: None,
        created_at: MADE,
        assigned_plan: None,
        assigned_until: None,
        ban: None,
        deleted_at: None,
        rolling_anchor: MADE,
        stripe_customer: Some("cus_1".into()),
        stripe_subscription: None,
        subscriptions: vec![Subscription {
            id: "sub_1".into(),
            status,
            created_at: MADE,
            items: vec![item],
            plan_price: None,
            failing_since: None,
            cancel_at: None,
            trial_end: None,
            withheld: None,
        }],
    }
}

#[test]
fn a_subscription_is_asked_after_ten_minutes_past_its_period_and_then_every_hour() {
    let minute = |minutes: i64| MADE.plus_micros(30 * DAY_US + minutes * MINUTE_US);
    let ends = minute(0);
    // Read at, now, whether it is asked about.
    let table = [
        (minute(-60), minute(0), false),
        (minute(-60), minute(9), false),
        (minute(-60), minute(10), true),
        (minute(5), minute(10), true),
        (minute(10), minute(30), false),
        (minute(10), minute(69), false),
        (minute(10), minute(70), true),
    ];
    for (read_at, now, expected) in table {
        use SubscriptionStatus::{Active, PastDue, Trialing};
        for status in [Trialing, Active, PastDue] {
            assert_eq!(is_overdue(&account(status, ends), read_at, now), expected, "{status} {read_at} {now}");
        }
        for status in SubscriptionStatus::ALL.into_iter().filter(|one| ![Trialing, Active, PastDue].contains(one)) {
            assert!(!is_overdue(&account(status, ends), read_at, now), "{status}");
        }
    }
}

#[test]
fn rests_are_spread_by_at_most_a_tenth() {
    let rest = Duration::from_hours(24);
    for holder in ["", "one", "another-process-with-a-long-name"] {
        let jittered = jittered(rest, holder);
        assert!(rest <= jittered && jittered <= rest + rest / 10, "{holder}");
    }
    assert_ne!(jittered(rest, "one"), jittered(rest, "two"));
}
