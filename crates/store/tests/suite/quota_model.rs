//! A limiter that lost its memory and asks the ledger must stand where one stands that has seen every call.

use proptest::prelude::*;
use tollgate_domain::limit::{AccountState, Debit, LimitSet, Outcome};
use tollgate_domain::{DAY_US, Period, PeriodBasis, Quota, QuotaPeriod, SECOND_US, Timestamp, UsageBatch};
use tollgate_store::{SeedQuery, Store};

use crate::backend;
use crate::fixture::{account_id, at, batch, calls};

/// So high that no call is refused: what is compared is the count.
const LIMIT: u64 = 1 << 40;

fn limits() -> LimitSet {
    LimitSet { quota: Quota { limit: Some(LIMIT) }, ..LimitSet::default() }
}

fn definition(choice: u8) -> PeriodBasis {
    let definition = if choice == 0 { QuotaPeriod::Calendar } else { QuotaPeriod::Rolling30Days };
    PeriodBasis { definition, subscription: None, rolling_anchor: at(i64::from(choice) * 11 * 86_400) }
}

/// Units used in the open period, after a call that costs so much, and the period it was charged in.
fn call(state: &mut AccountState, period: Period, cost: u64, now: Timestamp) -> (u64, Period) {
    let limits = limits();
    match state.debit(&Debit { limits: &limits, key: None, meter: None, period, cost }, now) {
        Outcome::Admitted(admitted) => (admitted.standing[0].used, admitted.period),
        other => panic!("{other:?}"),
    }
}

async fn reseeded(store: &dyn Store, period: Period, now: Timestamp) -> AccountState {
    let query = SeedQuery { account: account_id(1), key: None, meter: None, since: now, resolution_us: 1, period };
    let seed = store.seed(&query).await.expect("the store answers");
    let limits = limits();
    let mut state = AccountState::default();
    state.seed(&Debit { limits: &limits, key: None, meter: None, period, cost: 0 }, &seed, now);
    state
}

/// Days that pass before a call, its cost, and how periods are laid from it on.
async fn check(calls_made: Vec<(i64, u64, u8)>) {
    let opened = backend::sqlite_in_memory().await.expect("memory is always there");
    let store = &*opened.store;
    let mut now = at(0);
    let mut memory: Option<AccountState> = None;
    let changes = calls_made.windows(2).filter(|pair| pair[0].2 != pair[1].2).count();
    for (sequence, (days, cost, choice)) in (1..).zip(calls_made) {
        // Batches of a node end one after another.
        now = now.plus_micros(days * DAY_US + SECOND_US);
        let period = definition(choice).period_at(now);
        let memory = memory.get_or_insert_with(|| AccountState::fresh(&limits(), period, now));
        let mut after_a_crash = reseeded(store, period, now).await;
        let (expected, charged_in) = call(memory, period, cost, now);
        let (told, told_in) = call(&mut after_a_crash, period, cost, now);
        assert!(told >= expected, "a quota is never given twice: {told} of {expected}");
        if changes <= 1 {
            assert_eq!((told, told_in), (expected, charged_in), "call {sequence}");
        }
        let mut line = calls(1, 1, cost);
        line.key.period = charged_in;
        let batch: UsageBatch = batch(sequence, now, vec![line]);
        assert!(store.store_batch(&batch).await.expect("the store answers"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_definition_that_changes_at_most_once_is_followed_to_the_unit(
        before in prop::collection::vec((0..9_i64, 1..100_u64), 0..12),
        after in prop::collection::vec((0..9_i64, 1..100_u64), 0..12),
        choices in (0..3_u8, 0..3_u8),
    ) {
        let first = before.into_iter().map(|(days, cost)| (days, cost, choices.0));
        let second = after.into_iter().map(|(days, cost)| (days, cost, choices.1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(check(first.chain(second).collect()));
    }

    #[test]
    fn a_definition_that_changes_often_never_gives_quota_twice(
        calls_made in prop::collection::vec((0..9_i64, 1..100_u64, 0..3_u8), 0..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(check(calls_made));
    }
}
