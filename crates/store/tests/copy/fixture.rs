//! A database with some of everything in it, and what it tells.

use serde_json::json;
use tollgate_domain::{
    AccountId, Ban, HashedKey, IpRules, KeyHash, KeyId, KeyLimits, MaskedKey, MeterName, NodeId, Period, Plan,
    PlanName, PlanTable, RequestRow, RouteName, SECOND_US, StatusClass, Subscription, SubscriptionItem,
    SubscriptionStatus, Timestamp, UsageBatch, UsageKey, UsageLine, UsageTally, Withheld, WithheldCause,
};
use tollgate_store::{
    AdminStore, Applied, AuditQuery, BILLING_LEASE, BilledUse, Channel, Credit, CustomerFacts, EventQuery, Fenced,
    GroupBy, HistoryQuery, Idempotency, IdempotentAnswer, Identified, ImportedKey, Link, LinkPurpose, NewAccount,
    NewAudit, NewEvent, NewKey, NewNotice, NoticeKind, Outcome, SeedQuery, SendOutcome, Session, Settled, Step,
    UsageEvent,
};

/// Lines of the ledger, more than are copied at once.
pub(crate) const LINES: u64 = 4_501;
/// Keys, each of an account of its own.
const KEYS: u8 = 50;

pub(crate) fn new_audit() -> NewAudit {
    NewAudit { actor: "operator".into(), action: "test", at: Timestamp::EPOCH, detail: json!({ "by": "a test" }) }
}

pub(crate) fn key_id(number: u8) -> KeyId {
    KeyId::new(Timestamp::EPOCH, [number; 10])
}

fn account_id(number: u8) -> AccountId {
    AccountId::new(Timestamp::EPOCH, [number; 10])
}

fn hash(number: u8) -> KeyHash {
    KeyHash::from_bytes([number; 32])
}

fn period() -> Period {
    Period::calendar_month(Timestamp::EPOCH)
}

fn new_key(number: u8) -> NewKey {
    NewKey {
        id: key_id(number),
        account: account_id(number),
        hashed: HashedKey {
            hash: hash(number),
            masked: MaskedKey { prefix: "tg_live".into(), last_four: "abcd".into() },
        },
        name: (number != 3).then(|| "theirs".into()),
        created_at: Timestamp::EPOCH,
        expires_at: (number == 4).then_some(Timestamp::from_secs(1_000_000)),
        scopes: Vec::new(),
        read_only: number == 5,
        ip_rules: IpRules { allow: vec!["10.0.0.0/8".parse().expect("a network")], deny: Vec::new() },
        limits: KeyLimits { bucket: None, cap: Some(1 << 53) },
    }
}

fn batch(sequence: u64, lines: u64) -> UsageBatch {
    let line = |number: u64| UsageLine {
        key: UsageKey {
            account: account_id(u8::try_from(number % u64::from(KEYS)).expect("a small number")),
            key: key_id(u8::try_from(number % u64::from(KEYS)).expect("a small number")),
            route: RouteName::new("events").expect("a good name"),
            status: if number.is_multiple_of(3) { StatusClass::ClientError } else { StatusClass::Success },
            period: period(),
            meter: None,
            detached: false,
        },
        tally: UsageTally { calls: 1, units_debited: 1, units_charged: 1, ..UsageTally::default() },
    };
    let end = Timestamp::from_secs(i64::try_from(sequence).expect("a small number") * 3_600);
    let node = NodeId::new(Timestamp::EPOCH, [9; 10]);
    UsageBatch {
        node,
        sequence,
        start: end + -SECOND_US,
        end,
        lines: (0..lines).map(line).collect(),
        requests: vec![request(sequence, end)],
    }
}

/// A call that the request log keeps.
fn request(sequence: u64, at: Timestamp) -> RequestRow {
    RequestRow {
        request: format!("req_{sequence}"),
        at,
        account: account_id(8),
        key: key_id(8),
        route: RouteName::new("events").expect("a good name"),
        method: "GET".into(),
        path: "/events/é".into(),
        status: 200,
        duration_us: 5,
        units: 1,
        period: Some(period()),
        reason: None,
    }
}

/// Fills an empty store.
pub(crate) async fn fill(store: &dyn AdminStore) {
    for number in 0..KEYS {
        let account = NewAccount {
            id: account_id(number),
            email: format!("ównër{number}@example.com"),
            name: None,
            assigned_plan: None,
            created_at: Timestamp::from_micros(-1),
        };
        store.create_account(&account, &new_audit()).await.expect("the store answers");
        store.create_key(&new_key(number), None, &new_audit()).await.expect("the store answers");
    }
    let successor = NewKey { id: key_id(100), hashed: new_key(100).hashed, ..new_key(1) };
    let grace = Timestamp::from_secs(500);
    store.rotate_key(key_id(1), &successor, grace, &new_audit()).await.expect("the store answers");
    let ban = Ban { at: Timestamp::from_secs(3), reason: Some("a \"reason\"\nof two lines".into()) };
    store.set_ban(account_id(6), Some(&ban), &new_audit()).await.expect("the store answers");
    store.delete_account(account_id(7), Timestamp::from_secs(5), &new_audit()).await.expect("the store answers");
    let imported = ImportedKey {
        id: key_id(101),
        hash: hash(101),
        email: "import@example.com".into(),
        account_id_if_new: account_id(101),
        plan: None,
        name: None,
        revoked: false,
        cap: None,
        used: 38,
        cycle_start: None,
        expires_at: None,
    };
    let plans = PlanTable::default();
    store.import_keys(&[imported], &plans, Timestamp::EPOCH, &new_audit()).await.expect("the store answers");
    for (sequence, lines) in (1..).zip([2_500, LINES - 2_505]) {
        store.store_batch(&batch(sequence, lines)).await.expect("the store answers");
    }
    fill_with_customers(store).await;
    fill_with_billing(store).await;
    for key in ["answered", "open"] {
        store.reserve_idempotency("scope", key, "hash", Timestamp::EPOCH).await.expect("the store answers");
    }
    store.complete_idempotency("scope", "answered", &answer()).await.expect("the store answers");
}

/// What customers leave behind.
async fn fill_with_customers(store: &dyn AdminStore) {
    let who = Identified {
        subject: "sübject".into(),
        email: "ównër8@example.com".into(),
        email_verified: true,
        name: None,
        account_id_if_new: account_id(120),
        at: Timestamp::EPOCH,
    };
    store.identify(&who, &new_audit()).await.expect("the store answers");
    store.shared_secret("csrf", &[7; 32]).await.expect("the store answers");
    let link = Link {
        purpose: LinkPurpose::NewEmail,
        email: "new@example.com".into(),
        account: Some(account_id(8)),
        created_at: Timestamp::EPOCH,
        expires_at: Timestamp::from_secs(900),
    };
    for number in [1, 2] {
        store.create_link(&[number; 32], &link, 5).await.expect("the store answers");
    }
    store.take_link(&[2; 32], Timestamp::EPOCH).await.expect("the store answers").expect("it opens");
    let session =
        Session { account: account_id(8), created_at: Timestamp::EPOCH, expires_at: Timestamp::from_secs(900) };
    store.create_session(&[1; 32], &session).await.expect("the store answers");
    store.record_events(&[event()], Timestamp::from_secs(9)).await.expect("the store answers");
    let credit = Credit {
        account: account_id(8),
        meter: Some(tokens()),
        period: period(),
        units: Some(3),
        at: Timestamp::from_secs(10),
    };
    store.credit(&credit, &new_audit()).await.expect("the store answers");
    for channel in [Channel::Mail, Channel::Webhook] {
        store.add_notice(&notice(channel)).await.expect("the store answers");
    }
}

/// What Stripe told and was told: a period that was opened early, with what it gave back; three events, three sends.
async fn fill_with_billing(store: &dyn AdminStore) {
    let now = Timestamp::from_secs(10_001);
    let held = store.hold_lease(BILLING_LEASE, "one", now, Timestamp::from_secs(10_900)).await;
    let fence = held.expect("the store answers").expect("nobody holds it");
    for (id, settled) in [("evt_1", true), ("evt_2", false), ("evt_é", false)] {
        store.receive_event(&stripe_event(id)).await.expect("the store answers");
        let facts = CustomerFacts {
            account: account_id(10),
            customer: "cus_10".into(),
            subscriptions: vec![subscription()],
            paid_periods: vec![opened().start],
            settled: settled
                .then(|| Settled { id: id.into(), outcome: Outcome::Done { note: Some("ä note".into()) } })
                .into_iter()
                .collect(),
        };
        let audit = NewAudit { actor: "stripe".into(), action: "subscription.update", at: now, detail: json!(null) };
        let applied = store.apply_facts(fence, &facts, &plans(), &audit).await.expect("the store answers");
        assert!(matches!(applied, Fenced::Done(Applied::Applied { .. })), "{applied:?}");
    }
    let billed = [BilledUse { meter: None, event_name: "api_calls".into() }];
    for expected in [1, 2] {
        let planned = store.plan_sends(fence, &billed, Timestamp::EPOCH, now, 0, 10).await.expect("the store answers");
        assert_eq!(planned, Fenced::Done(expected));
        let due = store.due_sends(now, 10).await.expect("the store answers");
        let tries: Vec<_> = due.iter().map(|send| (send.identifier.clone(), send.at)).collect();
        store.note_tries(fence, &tries, now).await.expect("the store answers");
        let settled: Vec<_> = due.iter().map(|send| (send.identifier.clone(), SendOutcome::Sent)).collect();
        store.settle_sends(fence, &settled, now).await.expect("the store answers");
        store.store_batch(&late_batch()).await.expect("the store answers");
    }
}

fn stripe_event(id: &str) -> NewEvent {
    NewEvent {
        id: id.into(),
        kind: "invoice.paid".into(),
        subject: "cus_10".into(),
        object: "in_1".into(),
        account: None,
        created_at: Timestamp::from_secs(10_000),
        received_at: Timestamp::from_secs(10_001),
        payload: json!({ "id": id, "a": "\u{0}é" }).to_string(),
    }
}

/// A period that begins while the calendar's month goes on.
fn opened() -> Period {
    Period { start: Timestamp::from_secs(5_000), end: Timestamp::from_secs(2_000_000) }
}

fn subscription() -> Subscription {
    Subscription {
        id: "sub_é".into(),
        status: SubscriptionStatus::Active,
        created_at: Timestamp::EPOCH,
        items: vec![SubscriptionItem { id: "si_1".into(), price: "price_pro".into(), period: opened() }],
        plan_price: Some("price_pro".into()),
        failing_since: None,
        cancel_at: None,
        trial_end: None,
        withheld: Some(Withheld { at: Timestamp::from_secs(9), cause: WithheldCause::Dispute }),
    }
}

fn plans() -> PlanTable {
    let name = PlanName::new("pro").expect("a good name");
    PlanTable::new([Plan { stripe_prices: vec!["price_pro".into()], ..Plan::unlimited(name) }], None)
}

/// Use in the period that was opened.
fn late_batch() -> UsageBatch {
    let mut batch = batch(40, 1);
    batch.node = NodeId::new(Timestamp::EPOCH, [8; 10]);
    batch.end = Timestamp::from_secs(10_001);
    batch.requests = Vec::new();
    batch.lines[0].key.account = account_id(10);
    batch.lines[0].key.key = key_id(10);
    batch.lines[0].key.period = opened();
    batch
}

/// What a store tells of billing.
async fn told_of_billing(store: &dyn AdminStore) -> Vec<String> {
    let billed = [BilledUse { meter: None, event_name: "api_calls".into() }];
    let told = vec![
        format!("{:?}", store.inbox(&EventQuery::default(), 10).await.expect("the store answers")),
        format!("{:?}", store.billed_accounts(None, 10).await.expect("the store answers")),
        format!(
            "{:?}",
            store.billed_periods(&billed, Timestamp::EPOCH, None, 10).await.expect("the store answers").items
        ),
        format!("{:?}", store.sends_of(account_id(10), None, period()).await.expect("the store answers")),
        format!("{:?}", store.sends_of(account_id(10), None, opened()).await.expect("the store answers")),
        format!("{:?}", store.sum_differences(Timestamp::EPOCH, None, 1_000).await.expect("the store answers")),
    ];
    assert!(told[0].contains("ä note") && told[1].contains("sub_é"), "{told:?}");
    assert!(told[2].contains("failed: 0") && told[3].contains("Sent") && told[4].contains("Sent"), "{told:?}");
    assert_eq!(told[5], "([], None)");
    told
}

fn tokens() -> MeterName {
    MeterName::new("tokens").expect("a good name")
}

fn event() -> UsageEvent {
    UsageEvent {
        id: "evënt".into(),
        account: account_id(8),
        key: Some(key_id(8)),
        meters: [(tokens(), 70)].into(),
        at: Timestamp::from_secs(8),
        period: period(),
        dimensions: [("model".into(), "large".into())].into(),
        metadata: json!({ "a": "\u{0}" }),
    }
}

fn notice(channel: Channel) -> NewNotice {
    NewNotice {
        account: account_id(8),
        kind: NoticeKind::QuotaUsed { meter: Some(tokens()), percent: if channel == Channel::Mail { 75 } else { 90 } },
        of: Timestamp::EPOCH,
        detail: json!({ "used": 75 }),
        at: Timestamp::EPOCH,
        mail: channel == Channel::Mail,
        webhook: channel == Channel::Webhook,
    }
}

/// What a store tells of what customers did. It changes nothing but whose turn it is to deliver the notices.
async fn told_of_customers(store: &dyn AdminStore) -> Vec<String> {
    let query = HistoryQuery {
        account: account_id(8),
        from: Timestamp::EPOCH,
        to: Timestamp::from_secs(1_000_000),
        step: Step::Hour,
        group_by: GroupBy::Dimension("model".into()),
        meter: None,
        key: None,
        route: None,
        dimensions: [].into(),
    };
    let by_key = HistoryQuery { group_by: GroupBy::Key, ..query.clone() };
    let (from, to) = (query.from, query.to);
    let mut told = vec![
        format!("{:?}", store.shared_secret("csrf", &[9; 32]).await.expect("the store answers")),
        format!("{:?}", store.session(&[1; 32], Timestamp::EPOCH).await.expect("the store answers")),
        format!("{:?}", store.history(&query, 100).await.expect("the store answers")),
        format!("{:?}", store.history(&by_key, 100).await.expect("the store answers")),
        format!("{:?}", store.export(None, from, to, None, 1_000).await.expect("the store answers")),
        format!("{:?}", store.lines(account_id(8), from, to, None, 1_000).await.expect("the store answers")),
        format!("{:?}", store.request("req_1").await.expect("the store answers")),
        format!("{:?}", store.record_events(&[event()], Timestamp::EPOCH).await.expect("the store answers")),
    ];
    assert!(told[1].contains("sübject") && told[2].contains("large") && told[6].contains("/events"), "{told:?}");
    assert!(told[7].contains("Known") && told[3].contains("units: 70"), "{told:?}");
    for channel in [Channel::Mail, Channel::Webhook] {
        let claimed = store.claim_notices(channel, Timestamp::EPOCH, 0, 10).await.expect("the store answers");
        assert_eq!(claimed.len(), 1, "{claimed:?}");
        told.push(format!("{claimed:?}"));
    }
    let taken = store.take_link(&[2; 32], Timestamp::EPOCH).await.expect("the store answers");
    assert_eq!(taken, None, "one that was used stays used");
    told
}

fn answer() -> IdempotentAnswer {
    IdempotentAnswer { status: 201, body: json!({ "id": "key\u{0}" }), held_secret: true }
}

/// Goes on using it: the next batch, and the next line of the audit trail.
pub(crate) async fn store_more(store: &dyn AdminStore) {
    assert!(!store.store_batch(&batch(2, 1)).await.expect("the store answers"), "the batch is known");
    assert!(store.store_batch(&batch(3, 10)).await.expect("the store answers"), "the batch is new");
    assert!(!store.add_notice(&notice(Channel::Mail)).await.expect("the store answers"), "it is known");
    let later = NewNotice { of: Timestamp::from_secs(1), mail: false, ..notice(Channel::Mail) };
    assert!(store.add_notice(&later).await.expect("the store answers"), "it is new");
    store.set_ban(account_id(6), None, &new_audit()).await.expect("the store answers");
    assert!(!store.receive_event(&stripe_event("evt_2")).await.expect("the store answers"), "it is known");
    assert!(store.receive_event(&stripe_event("evt_3")).await.expect("the store answers"), "it is new");
}

/// That two stores tell the same of everything.
pub(crate) async fn check_same(one: &dyn AdminStore, other: &dyn AdminStore) {
    let said = async |store: &dyn AdminStore| {
        let mut said = told_of_customers(store).await;
        said.extend(told_of_billing(store).await);
        said.extend([
            format!("{:?}", store.accounts(None, 1_000).await.expect("the store answers")),
            format!("{:?}", store.keys(None, None, 1_000).await.expect("the store answers")),
            format!(
                "{:?}",
                store.audit(&AuditQuery { limit: 1_000, ..AuditQuery::default() }).await.expect("the store answers")
            ),
        ]);
        for number in (0..KEYS).chain([100, 101]) {
            let found = store.find_key(&hash(number)).await.expect("the store answers").expect("it is there");
            let query = SeedQuery {
                account: found.account.id,
                key: Some(found.key.id),
                meter: None,
                since: Timestamp::EPOCH,
                resolution_us: 1,
                period: period(),
            };
            let seed = store.seed(&query).await.expect("the store answers");
            let used = store.quota_used(found.account.id, Some(found.key.id), period()).await;
            said.push(format!("{found:?} {seed:?} {:?}", used.expect("the store answers")));
        }
        for (key, expected) in [("answered", Idempotency::Done(answer())), ("open", Idempotency::InProgress)] {
            let known = store.reserve_idempotency("scope", key, "hash", Timestamp::EPOCH).await;
            assert_eq!(known.expect("the store answers"), expected, "{key}");
        }
        said
    };
    let (one, other) = (said(one).await, said(other).await);
    assert!(one.iter().any(|line| line.contains("used: 38")), "something is told");
    assert_eq!(one, other);
}
