//! A ledger of which some sums were changed by another program, and what is to be said of it. How the database is opened,
//! and the statements run, is its own.

use tollgate_domain::{
    AccountId, HOUR_US, KeyId, MeterName, NodeId, Period, RouteName, SECOND_US, StatusClass, Timestamp, UsageBatch,
    UsageKey, UsageLine, UsageTally,
};
use tollgate_store::{AdminStore, NewAccount, NewAudit, SumDifference, SumOf, UsageEvent};

fn account(number: u8) -> AccountId {
    AccountId::new(Timestamp::EPOCH, [number; 10])
}

fn period() -> Period {
    Period::calendar_month(Timestamp::EPOCH)
}

fn hour(hours: i64) -> Timestamp {
    Timestamp::from_micros(hours * HOUR_US)
}

fn tokens() -> MeterName {
    MeterName::new("tokens").expect("a good name")
}

/// Four accounts; each calls in four hours, ten units each, and reports tokens.
pub(crate) async fn fill(store: &dyn AdminStore) {
    for number in 1..=4 {
        let new = NewAccount {
            id: account(number),
            email: format!("{number}@example.com"),
            name: None,
            assigned_plan: None,
            created_at: Timestamp::EPOCH,
        };
        let audit = NewAudit {
            actor: "operator".into(),
            action: "test",
            at: Timestamp::EPOCH,
            detail: serde_json::Value::Null,
        };
        store.create_account(&new, &audit).await.expect("the store answers");
    }
    for sequence in 1..=4_u8 {
        let line = |number| UsageLine {
            key: UsageKey {
                account: account(number),
                key: KeyId::new(Timestamp::EPOCH, [number; 10]),
                route: RouteName::new("events").expect("a good name"),
                status: StatusClass::Success,
                period: period(),
                meter: None,
                detached: false,
            },
            tally: UsageTally { calls: 10, units_debited: 10, units_charged: 10, ..UsageTally::default() },
        };
        let end = hour(i64::from(sequence));
        let batch = UsageBatch {
            node: NodeId::new(Timestamp::EPOCH, [9; 10]),
            sequence: sequence.into(),
            start: end.plus_micros(-SECOND_US),
            end,
            lines: (1..=4).map(line).collect(),
            requests: Vec::new(),
        };
        assert!(store.store_batch(&batch).await.expect("the store answers"));
    }
    for number in 1..=4 {
        let event = UsageEvent {
            id: "evt".into(),
            account: account(number),
            key: None,
            meters: [(tokens(), 70)].into(),
            at: hour(2),
            period: period(),
            dimensions: [].into(),
            metadata: serde_json::Value::Null,
        };
        store.record_events(&[event], hour(3)).await.expect("the store answers");
    }
}

/// Statements that make sums and lines differ.
pub(crate) fn statements() -> String {
    format!(
        "UPDATE usage_periods SET units_charged = units_charged + 5 WHERE account = '{}' AND meter = ''; \
         DELETE FROM usage_hours WHERE account = '{}' AND hour_us < {}; \
         UPDATE usage_lines SET units_refunded = 1 WHERE account = '{}' AND meter = 'tokens';",
        account(1),
        account(2),
        hour(3).as_micros(),
        account(4)
    )
}

/// That nothing differs.
pub(crate) async fn check_whole(store: &dyn AdminStore) {
    let told = store.sum_differences(Timestamp::EPOCH, None, 100).await.expect("the store answers");
    assert_eq!(told, (vec![], None));
}

/// That what [`statements`] changed is said, page by page, and nothing else.
pub(crate) async fn check_planted(store: &dyn AdminStore) {
    let difference = |number, meter, of, lines, sum| SumDifference { account: account(number), meter, of, lines, sum };
    let of_period = SumOf::Period(period());
    let first = vec![difference(1, None, of_period, 40, 45)];
    let second = vec![
        difference(2, None, SumOf::Hour(hour(1)), 10, 0),
        difference(2, None, SumOf::Hour(hour(2)), 10, 0),
        difference(2, Some(tokens()), SumOf::Hour(hour(2)), 70, 0),
    ];
    let fourth = vec![
        difference(4, Some(tokens()), of_period, 69, 70),
        difference(4, Some(tokens()), SumOf::Hour(hour(2)), 69, 70),
    ];
    let pages = [(None, first), (Some(1), second.clone()), (Some(2), vec![]), (Some(3), fourth.clone())];
    for (after, expected) in pages {
        let told = store.sum_differences(Timestamp::EPOCH, after.map(account), 1).await.expect("the store answers");
        let last = after.unwrap_or(0) + 1;
        assert_eq!(told, (expected, (last < 4).then(|| account(last))), "after {after:?}");
    }
    let told = store.sum_differences(hour(1).plus_micros(1), Some(account(1)), 2).await.expect("the store answers");
    assert_eq!(told, (second[1..].to_vec(), Some(account(3))), "hours from then on");
    let told = store.sum_differences(hour(9), Some(account(2)), 9).await.expect("the store answers");
    assert_eq!(told, (fourth[..1].to_vec(), None), "every period, whenever it was");
}
