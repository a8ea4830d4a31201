//! Differences that are planted between the books: each is found, none is made up, and those are mended that are ours.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tollgate_domain::{Account, Ban, Period};
use tollgate_fake_stripe::{Action, FaultKind, NewPrice, Seed, When};
use tollgate_store::{Billing as _, Change, NewEvent, Outcome, Settled, Store as _};

use super::*;
use crate::meters::tests::harness::{Books as Deployment, CALLS, METER_EVENTS, TOKENS, tokens};

/// A limiter that counts what it is said to.
#[derive(Default)]
struct Limiter(Mutex<HashMap<AccountId, u64>>);

#[async_trait]
impl Standing for Limiter {
    async fn used(&self, account: AccountId, meter: Option<&MeterName>, _: Period) -> Option<u64> {
        meter.is_none().then(|| self.0.lock().expect("no test panics while it holds this").get(&account).copied())?
    }
}

impl Deployment {
    async fn compare(&self, fix: bool) -> Report {
        self.compare_with(fix, &NoStanding).await
    }

    async fn compare_with(&self, fix: bool, limiter: &dyn Standing) -> Report {
        self.billing.reconcile_patiently(fix, limiter, Duration::from_millis(1)).await.expect("the store answers")
    }

    /// Everything that Stripe has told so far has arrived.
    fn all_arrived(&self) {
        for event in self.fake.take_events() {
            self.fake.mark_delivered(&event.id);
        }
    }

    /// A deployment whose books agree, with accounts that pay and use.
    async fn in_order(accounts: usize) -> (Self, Vec<Account>) {
        let books = Self::open().await;
        let mut paying = Vec::new();
        for _ in 0..accounts {
            let account = books.subscriber().await;
            books.use_units(&account, None, 10).await;
            books.use_units(&account, Some(&tokens()), 500).await;
            paying.push(account);
        }
        books.settle().await;
        books.fake.advance(Duration::from_hours(2));
        books.all_arrived();
        let report = books.compare(false).await;
        assert!(report.is_clean(), "{report:#?}");
        (books, paying)
    }

    fn event(&self, id: &str, customer: &str) -> NewEvent {
        NewEvent {
            id: id.into(),
            kind: "invoice.paid".into(),
            subject: customer.into(),
            object: "in_1".into(),
            account: None,
            created_at: self.now(),
            received_at: self.now(),
            payload: "{}".into(),
        }
    }

    async fn dead_event(&self, id: &str) {
        let event = self.event(id, "cus_nobody");
        self.store.receive_event(&event).await.expect("the store answers");
        let fence = self.billing.fence().await.expect("the store answers").expect("nobody else works");
        let dead = Settled { id: id.into(), outcome: Outcome::Dead { note: "whose is it?".into() } };
        self.store.settle_events(fence, &[dead], self.now()).await.expect("the store answers");
    }
}

fn kinds(report: &Report) -> Vec<DifferenceKind> {
    report.differences.iter().map(|difference| difference.kind).collect()
}

fn left(report: &Report) -> Vec<DifferenceKind> {
    let left = report.differences.iter().filter(|difference| difference.mending != Mending::Mended);
    left.map(|difference| difference.kind).collect()
}

fn customer(account: &Account) -> &str {
    account.stripe_customer.as_deref().expect("it has one")
}

async fn subscription(books: &Deployment, account: &Account) -> String {
    books.again(account).await.subscriptions[0].id.to_string()
}

#[tokio::test]
async fn books_that_agree_have_no_differences() {
    let (books, accounts) = Deployment::in_order(3).await;
    let report = books.compare(false).await;
    assert_eq!((report.looked.subscriptions, report.looked.customers, report.looked.periods), (3, 3, 6));
    assert_eq!(report.looked.quotas, 6);
    let limiter = Limiter::default();
    limiter.0.lock().expect("free").extend(accounts.iter().map(|account| (account.id, 10)));
    assert!(books.compare_with(false, &limiter).await.is_clean());
    assert!(report.to_string().starts_with("0 differences left, 0 mended"), "{report}");
}

/// What the ten planted differences are about.
struct Planted {
    /// The number of the batch that never came.
    batch: u64,
    /// The subscription whose end was decided.
    ending: String,
    /// The customer whom no account is linked with.
    unlinked: String,
}

/// Plants ten differences of ten kinds.
async fn plant_ten(books: &Deployment, accounts: &[Account], limiter: &Limiter) -> Planted {
    // 1. A gateway numbered a batch that never came.
    let batch = books.lose_batch();
    // 2. The limiter counts more than the ledger.
    limiter.0.lock().expect("free").insert(accounts[1].id, 12);
    // 3. Use was given up, for its meter was away.
    books.switch_meter(TOKENS, "deactivate");
    books.use_units(&accounts[2], Some(&tokens()), 70).await;
    assert_eq!(books.pass().await.given_up, 1);
    books.switch_meter(TOKENS, "reactivate");
    // 4. Use that nobody planned to tell.
    books.use_units(&accounts[3], None, 5).await;
    books.fake.advance(Duration::from_hours(1));
    // 5. Somebody else tells Stripe's meter.
    let foreign =
        [("event_name", CALLS), ("payload[stripe_customer_id]", customer(&accounts[4])), ("payload[value]", "3")];
    books.fake.call("POST", METER_EVENTS, &foreign).expect("the meter takes it");
    // 6. A subscription's end was decided, and nobody told.
    let ending = subscription(books, &accounts[5]).await;
    books.fake.act(&ending, &Action::CancelAtPeriodEnd).expect("it can be cancelled");
    // 7. Somebody bought a plan beside Tollgate.
    let seed = Seed { email: "new@example.com", prices: &["price_pro"], ..Seed::default() };
    let unlinked = books.fake.seed(seed).expect("it is sold").customer;
    // 8. A banned account pays.
    let ban = Ban { at: books.now(), reason: None };
    books.store.set_ban(accounts[6].id, Some(&ban), &books.audit()).await.expect("the store answers");
    books.all_arrived();
    // 9. An event was given up.
    books.dead_event("evt_dead").await;
    // 10. An event never came.
    let touched = subscription(books, &accounts[7]).await;
    books.fake.act(&touched, &Action::Touch).expect("it can be touched");
    books.fake.advance(Duration::from_mins(10));
    Planted { batch, ending, unlinked }
}

/// Ten differences of ten kinds: ten are found, those are mended that are said to be, and the second run finds the rest.
#[tokio::test]
async fn ten_planted_differences_are_ten_and_what_is_ours_is_mended() {
    use DifferenceKind::{
        BannedAccountPays, DeadEvent, FailedSend, LimiterUse, MissingBatch, StripeUse, SubscriptionFacts,
        UndeliveredEvent, UnlinkedCustomer, UnplannedUse,
    };
    let (books, accounts) = Deployment::in_order(8).await;
    let limiter = Limiter::default();

    let Planted { batch, ending, unlinked } = plant_ten(&books, &accounts, &limiter).await;
    let mut expected = vec![
        MissingBatch,
        LimiterUse,
        FailedSend,
        UnplannedUse,
        StripeUse,
        SubscriptionFacts,
        UnlinkedCustomer,
        BannedAccountPays,
        DeadEvent,
        UndeliveredEvent,
    ];
    expected.sort();
    let report = books.compare_with(false, &limiter).await;
    assert_eq!(kinds(&report), expected, "{report:#?}");
    assert!(report.unread.is_empty() && report.left() == 10, "{report:#?}");
    let found = |kind| {
        let difference = report.differences.iter().find(|difference| difference.kind == kind);
        difference.unwrap_or_else(|| panic!("{kind} was planted"))
    };
    let units = |kind| (found(kind).expected.clone(), found(kind).found.clone());
    let figures = |expected, found| (Some(Figure::Units(expected)), Some(Figure::Units(found)));
    assert_eq!(units(LimiterUse), figures(10, 12));
    assert_eq!(units(FailedSend), figures(70, 0));
    assert_eq!(units(UnplannedUse), figures(15, 10));
    assert_eq!(units(StripeUse), figures(10, 13));
    assert!(found(MissingBatch).subject.as_deref().is_some_and(|of| of.ends_with(&format!("/{batch}"))));
    let facts = found(SubscriptionFacts);
    assert_eq!(facts.subject.as_deref(), Some(ending.as_str()));
    assert!(facts.found.as_ref().is_some_and(|found| found.to_string() == "cancel_at -"), "{facts:?}");
    assert_eq!(found(UnlinkedCustomer).subject.as_deref(), Some(unlinked.as_str()));

    let paid_before = books.fake.requests().len();
    let report = books.compare_with(true, &limiter).await;
    assert_eq!(kinds(&report), expected, "{report:#?}");
    let beyond = vec![MissingBatch, LimiterUse, StripeUse, BannedAccountPays, DeadEvent];
    assert_eq!(left(&report), beyond, "{report:#?}");
    let written = books.fake.requests().into_iter().skip(paid_before).filter(|request| request.method != "GET");
    let elsewhere: Vec<_> = written.filter(|request| !request.path.starts_with(METER_EVENTS)).collect();
    assert!(elsewhere.is_empty(), "nothing about money was changed: {elsewhere:?}");
    assert_eq!(books.told(&accounts[2], TOKENS).await, 570);
    assert_eq!(books.told(&accounts[3], CALLS).await, 15);
    assert!(books.store.account_by_email("new@example.com").await.expect("the store answers").is_some());

    let report = books.compare_with(false, &limiter).await;
    assert_eq!(kinds(&report), beyond, "{report:#?}");
}

#[tokio::test]
async fn what_stripe_says_of_subscriptions_is_compared_both_ways() {
    use DifferenceKind::{SubscriptionFacts, UnknownSubscription, VanishedSubscription};
    let (books, accounts) = Deployment::in_order(4).await;
    // A card fails; another subscription is bought; one ends at once; one is known that never was.
    let failing = subscription(&books, &accounts[0]).await;
    books.fake.card(customer(&accounts[0]), tollgate_fake_stripe::Card::Declines);
    let period = books.period(&accounts[0]).await;
    books.fake.advance_to(period.end.as_secs() + 60);
    for account in &accounts[1..] {
        books.billing.refresh_customer(customer(account)).await.expect("Stripe answers");
    }
    let more = Seed { customer: Some(customer(&accounts[1])), prices: &["price_pro"], ..Seed::default() };
    let more = books.fake.seed(more).expect("it is sold");
    let ended = subscription(&books, &accounts[2]).await;
    books.fake.act(&ended, &Action::CancelNow).expect("it can be cancelled");
    plant_subscription(&books, &accounts[3], "sub_of_a_dream").await;
    books.all_arrived();

    let report = books.compare(false).await;
    let of = |id: &str| {
        let difference = report.differences.iter().find(|difference| difference.subject.as_deref() == Some(id));
        difference.unwrap_or_else(|| panic!("{id} differs: {report:#?}"))
    };
    assert_eq!(of(&more.subscription).kind, UnknownSubscription);
    assert_eq!(of("sub_of_a_dream").kind, VanishedSubscription);
    assert_eq!(of(&ended).kind, SubscriptionFacts);
    assert_eq!(of(&failing).kind, SubscriptionFacts);
    let expected = of(&failing).expected.as_ref().expect("facts").to_string();
    assert!(expected.contains("status past_due") && expected.contains("failing_since 2"), "{expected}");

    let report = books.compare(true).await;
    assert_eq!(left(&report), Vec::new(), "{report:#?}");
    let report = books.compare(false).await;
    assert!(report.is_clean(), "{report:#?}");
}

/// Makes an account know of a subscription that Stripe never had.
async fn plant_subscription(books: &Deployment, account: &Account, id: &str) {
    let account = books.again(account).await;
    let mut subscriptions = account.subscriptions.clone();
    let dream = tollgate_domain::Subscription { id: id.into(), ..subscriptions[0].clone() };
    subscriptions.push(dream);
    let facts = tollgate_store::CustomerFacts {
        account: account.id,
        customer: customer(&account).into(),
        subscriptions,
        paid_periods: Vec::new(),
        settled: Vec::new(),
    };
    let fence = books.billing.fence().await.expect("the store answers").expect("nobody else works");
    let plans = crate::meters::tests::harness::plans();
    books.store.apply_facts(fence, &facts, &plans, &books.audit()).await.expect("the store answers");
}

#[tokio::test]
async fn whoever_pays_for_nothing_is_named() {
    use DifferenceKind::{DeletedAccountPays, UnknownPrice, VanishedCustomer};
    let (books, accounts) = Deployment::in_order(2).await;
    // Deleted here, and paying on.
    books.store.delete_account(accounts[0].id, books.now(), &books.audit()).await.expect("the store answers");
    // On a price that no plan has.
    books.fake.price(NewPrice { id: "price_gold", product: "Gold", unit_amount: 1, ..NewPrice::default() });
    let id = accounts[1].id.to_string();
    let metadata = [("tollgate_account", id.as_str())];
    let seed = Seed {
        customer: Some(customer(&accounts[1])),
        prices: &["price_gold"],
        metadata: &metadata,
        ..Seed::default()
    };
    books.fake.seed(seed).expect("it is sold");
    books.tell_periods().await;
    // Linked with nobody.
    let lonely = books.account().await;
    books.store.link_customer(lonely.id, "cus_of_a_dream", &books.audit()).await.expect("the store answers");
    books.all_arrived();

    for fix in [false, true] {
        let report = books.compare(fix).await;
        assert_eq!(kinds(&report), [VanishedCustomer, UnknownPrice, DeletedAccountPays], "{report:#?}");
        assert_eq!(report.mended(), 0, "a person decides");
        let ids: Vec<_> = report.differences.iter().map(|difference| difference.account.clone()).collect();
        assert_eq!(ids, [Some(lonely.id.to_string()), None, Some(accounts[0].id.to_string())]);
        assert_eq!(report.differences[1].subject.as_deref(), Some("price_gold"));
    }
}

#[tokio::test]
async fn more_told_than_used_counts_once_the_period_is_over() {
    let (books, accounts) = Deployment::in_order(1).await;
    let period = books.period(&accounts[0]).await;
    books.credit(&accounts[0], None, 4, period).await;
    books.fake.advance(Duration::from_hours(2));
    assert!(books.compare(false).await.is_clean(), "what is used next makes up for it");
    books.fake.advance_to(period.end.as_secs() + 60);
    books.tell_periods().await;
    books.all_arrived();
    let report = books.compare(true).await;
    assert_eq!(kinds(&report), [DifferenceKind::OverBilled], "{report:#?}");
    let over = &report.differences[0];
    assert_eq!((over.expected.clone(), over.found.clone()), (Some(Figure::Units(6)), Some(Figure::Units(10))));
    assert_eq!((over.mending, over.remedy), (Mending::Left, None));
}

#[tokio::test]
async fn use_that_does_not_arrive_is_told_again() {
    let (books, accounts) = Deployment::in_order(1).await;
    books.inject(METER_EVENTS, FaultKind::Status(500), When::Rate(1.0));
    books.use_units(&accounts[0], None, 5).await;
    books.pass().await;
    books.fake.advance(Duration::from_mins(40));
    let report = books.compare(true).await;
    assert_eq!(kinds(&report), [DifferenceKind::UnsentUse], "{report:#?}");
    assert_eq!(report.differences[0].mending, Mending::UnderWay);
    books.fake.clear_faults();
    let report = books.compare(true).await;
    assert_eq!((kinds(&report), report.mended()), (vec![DifferenceKind::UnsentUse], 1), "{report:#?}");
    books.fake.advance(Duration::from_hours(2));
    assert!(books.compare(false).await.is_clean());
}

#[tokio::test]
async fn units_that_the_limiter_lacks_are_told_to_it() {
    let (books, accounts) = Deployment::in_order(1).await;
    let limiter = Limiter::default();
    limiter.0.lock().expect("free").insert(accounts[0].id, 3);
    let report = books.compare_with(true, &limiter).await;
    assert_eq!(kinds(&report), [DifferenceKind::LimiterUse], "{report:#?}");
    let heard = books.heard.all();
    let told = heard.into_iter().rev().find_map(|change| match change {
        Change::Usage { account, units, .. } => Some((account, units)),
        Change::Key(_) | Change::Account(_) => None,
    });
    assert_eq!(told, Some((accounts[0].id, 7)));
}

#[tokio::test]
async fn what_waits_too_long_is_named_and_worked_off() {
    let (books, accounts) = Deployment::in_order(1).await;
    let event = books.event("evt_waiting", customer(&accounts[0]));
    books.store.receive_event(&event).await.expect("the store answers");
    assert!(books.compare(false).await.is_clean(), "it is seconds old");
    books.fake.advance(Duration::from_mins(30));
    let report = books.compare(false).await;
    assert_eq!(kinds(&report), [DifferenceKind::WaitingEvent], "{report:#?}");
    let report = books.compare(true).await;
    assert!(report.is_clean(), "{report:#?}");
}

#[tokio::test]
async fn books_that_stripe_does_not_show_are_not_said_to_agree() {
    let (books, _) = Deployment::in_order(1).await;
    let hidden = tollgate_fake_stripe::Fault {
        method: Some("GET".into()),
        path_prefix: "/v1/subscriptions".into(),
        kind: FaultKind::Status(500),
        when: When::Rate(1.0),
    };
    books.fake.inject(hidden);
    let report = books.compare(false).await;
    assert_eq!((report.left(), report.is_clean()), (0, false));
    assert_eq!(report.unread.len(), 1, "{report:#?}");
}

/// Lists are read a hundred at a time; only whoever differs is read alone.
#[tokio::test]
async fn calls_grow_with_pages_and_not_with_accounts() {
    let books = Deployment::open().await;
    for number in 0..120 {
        let email = format!("many{number}@example.com");
        let seed = Seed { email: &email, prices: &["price_pro"], ..Seed::default() };
        let seeded = books.fake.seed(seed).expect("it is sold");
        books.billing.refresh_customer(&seeded.customer).await.expect("Stripe answers");
    }
    books.all_arrived();
    books.fake.clear_requests();
    let report = books.compare(false).await;
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!((report.looked.subscriptions, report.looked.customers), (120, 120));
    let asked = books.fake.requests().len();
    assert!(asked <= 5 && report.looked.calls == asked as u64, "{asked} calls, {} counted", report.looked.calls);
}

#[tokio::test]
async fn stripe_may_take_its_time_to_add_up() {
    let config = tollgate_fake_stripe::FakeConfig { meter_summary_lag_secs: 1_800, ..Default::default() };
    let books = Deployment::with(config).await;
    let account = books.subscriber().await;
    books.fake.advance(Duration::from_hours(1));
    books.all_arrived();
    books.use_units(&account, None, 9).await;
    books.pass().await;
    books.fake.advance(Duration::from_mins(5));
    assert!(books.compare(false).await.is_clean(), "it was told five minutes ago");
    books.fake.advance(Duration::from_mins(40));
    assert!(books.compare(false).await.is_clean());
}
