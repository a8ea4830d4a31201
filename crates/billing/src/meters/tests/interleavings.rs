//! Whatever goes wrong, whoever is killed, and in whatever order: what Stripe has is what the ledger has, to the unit.

use std::time::Duration;

use proptest::prelude::*;
use tollgate_domain::Account;
use tollgate_fake_stripe::{FaultKind, When};

use super::harness::{Books, CALLS, METER_EVENTS, TOKENS, tokens};
use crate::reconcile::NoStanding;

const ACCOUNTS: usize = 3;

/// Something that happens.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A gateway tells of use.
    Use { account: usize, is_tokens: bool, units: u64 },
    /// An operator gives units back, and more is used.
    CreditAndUse { account: usize, units: u64 },
    /// A pass that nobody disturbs.
    Pass,
    /// A pass whose process is killed somewhere in it; another takes over.
    Killed { steps: u32 },
    /// Time passes.
    Wait { minutes: u64 },
    /// Something goes wrong with the next calls.
    Fault { kind: FaultKind, calls: u32 },
    /// So many of the calls go wrong from now on.
    Trouble { kind: FaultKind, share: f64 },
    /// Nothing goes wrong any more.
    Calm,
}

fn fault() -> impl Strategy<Value = FaultKind> {
    prop_oneof![
        Just(FaultKind::Status(500)),
        Just(FaultKind::Status(429)),
        Just(FaultKind::Cut),
        Just(FaultKind::CutAfter),
        Just(FaultKind::Hang(Duration::from_millis(5))),
        Just(FaultKind::Late(Duration::from_millis(5))),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..ACCOUNTS, any::<bool>(), 1..1_000_u64)
            .prop_map(|(account, is_tokens, units)| Event::Use { account, is_tokens, units }),
        1 => (0..ACCOUNTS, 1..20_u64).prop_map(|(account, units)| Event::CreditAndUse { account, units }),
        3 => Just(Event::Pass),
        4 => (1..60_u32).prop_map(|steps| Event::Killed { steps }),
        4 => prop_oneof![3 => 1..40_u64, 1 => 1_380..1_600_u64, 1 => 1_440..3_000_u64]
            .prop_map(|minutes| Event::Wait { minutes }),
        3 => (fault(), 1..6_u32).prop_map(|(kind, calls)| Event::Fault { kind, calls }),
        1 => (fault(), 0.1..1.0).prop_map(|(kind, share)| Event::Trouble { kind, share }),
        1 => Just(Event::Calm),
    ]
}

impl Books {
    async fn happens(&mut self, accounts: &[Account], event: Event) {
        match event {
            Event::Use { account, is_tokens, units } => {
                self.use_units(&accounts[account], is_tokens.then(tokens).as_ref(), units).await;
            }
            Event::CreditAndUse { account, units } => {
                let account = &accounts[account];
                self.credit(account, None, units, self.period(account).await).await;
                self.use_units(account, None, units + 1).await;
            }
            Event::Pass => drop(self.pass().await),
            Event::Killed { steps } => {
                self.killed_pass(steps).await;
                self.start_over();
            }
            Event::Wait { minutes } => {
                self.fake.advance(Duration::from_mins(minutes));
                self.tell_periods().await;
            }
            Event::Fault { kind, calls } => self.inject(METER_EVENTS, kind, When::Next(calls)),
            Event::Trouble { kind, share } => self.inject(METER_EVENTS, kind, When::Rate(share)),
            Event::Calm => self.fake.clear_faults(),
        }
    }
}

async fn all_of_it_is_told_once(events: Vec<Event>) -> Result<(), TestCaseError> {
    let mut books = Books::open().await;
    let mut accounts = Vec::new();
    for _ in 0..ACCOUNTS {
        accounts.push(books.subscriber().await);
    }
    let mut used = [[0_i64; 2]; ACCOUNTS];
    for event in events {
        match event {
            Event::Use { account, is_tokens, units } => {
                used[account][usize::from(is_tokens)] += i64::try_from(units).expect("few units");
            }
            // Where fewer were used in the period, nothing is given back.
            Event::CreditAndUse { account, units } => {
                let units = i64::try_from(units).expect("few units");
                let period = books.period(&accounts[account]).await;
                let is_given = books.used(&accounts[account], None, period).await >= units;
                used[account][0] += 1 + if is_given { 0 } else { units };
            }
            _ => {}
        }
        books.happens(&accounts, event).await;
    }
    books.fake.clear_faults();
    books.settle().await;
    for (account, [calls, tokens]) in accounts.iter().zip(used) {
        prop_assert_eq!(books.told(account, CALLS).await, calls);
        prop_assert_eq!(books.told(account, TOKENS).await, tokens);
    }
    // The comparison of the books comes to the same, period by period.
    books.fake.advance(Duration::from_hours(2));
    let report =
        books.billing.reconcile_patiently(false, &NoStanding, Duration::ZERO).await.expect("the store answers");
    let metered = report.differences.iter().filter(|difference| difference.meter.is_some());
    prop_assert_eq!(metered.collect::<Vec<_>>(), Vec::<&crate::reconcile::Difference>::new());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_stripe_has_is_what_the_ledger_has(events in prop::collection::vec(event(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(all_of_it_is_told_once(events))?;
    }
}
