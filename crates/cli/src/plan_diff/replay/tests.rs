//! The replay against a simulation: the same calls, made one by one through the limiter that embedded gateways use.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use tollgate_domain::{AccountId, DAY_US, HOUR_US, PlanName, Rate, SECOND_US, Window, default_burst};
use tollgate_limiter::{InProcess, InProcessSettings, Limiter, Subject};

use super::*;

/// One call of the made-up past.
#[derive(Clone, Copy, Debug)]
struct Call {
    at: Timestamp,
    cost: u64,
    key: u8,
    /// Units of the meter it counts besides.
    tokens: Option<u64>,
}

fn start() -> Timestamp {
    Timestamp::parse("2026-03-02").expect("a date")
}

fn month() -> Period {
    Period::calendar_month(start())
}

fn key(number: u8) -> KeyId {
    KeyId::new(start(), [number; 10])
}

fn tokens() -> MeterName {
    MeterName::new("tokens").expect("a name")
}

/// Calls as the ledger has them: every batch of so long one line a key and meter, its time the batch's end. A length of
/// zero tells every call apart.
fn ledger(calls: &[Call], batch_us: i64) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let end = |at: Timestamp| match batch_us {
        0 => at,
        _ => Timestamp::from_micros((at.as_micros() / batch_us + 1) * batch_us),
    };
    let mut add = |at: Timestamp, key: KeyId, meter: Option<MeterName>, debited: u64, units: u64| {
        let place = i64::try_from(lines.len()).expect("few lines");
        let units = i64::try_from(units).expect("few units");
        let mut known = lines.iter_mut().rev().take_while(|line| line.at == at);
        if let Some(line) = known.find(|line| batch_us > 0 && line.key == Some(key) && line.meter == meter) {
            line.calls += 1;
            line.units_debited += debited;
            line.units += units;
            return;
        }
        let period = Period::calendar_month(at);
        let key = Some(key);
        lines.push(Line { at, place, meter, key, route: None, calls: 1, units_debited: debited, units, period });
    };
    for call in calls {
        add(end(call.at), key(call.key), None, call.cost, call.cost);
        if let Some(units) = call.tokens {
            add(end(call.at), key(call.key), Some(tokens()), 0, units);
        }
    }
    lines
}

fn terms(plan: Plan, rates_per_key: bool) -> Terms {
    Terms { plan: Some(Arc::new(plan)), rates_per_key, metered: <_>::default(), periods: None }
}

fn unlimited() -> Plan {
    Plan::unlimited(PlanName::new("old").expect("a name"))
}

fn verdict(old: &Terms, new: &Terms, lines: &[Line], from: Timestamp) -> Verdict {
    let (before, after): (Vec<Line>, Vec<Line>) = lines.iter().cloned().partition(|line| line.at < from);
    let mut replay = Replay::new(old, new, &before, from);
    for line in &after {
        replay.push(line);
    }
    replay.verdict()
}

/// Futures of the limiter in memory are ready at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the limiter in memory waits for nothing"),
    }
}

/// Calls and events that the limiter refuses, calls that count a meter asking for a unit of it.
fn simulate(calls: &[Call], terms: &Terms) -> (u64, u64) {
    let plan = terms.plan.as_ref().expect("a plan");
    let limiter = InProcess::new(InProcessSettings::default());
    let handles =
        [Subject::Account(AccountId::new(start(), [1; 10])), Subject::Account(AccountId::new(start(), [2; 10]))];
    let [of_calls, of_meter] = handles.map(|subject| limiter.open(subject));
    let (shared, own) = if terms.rates_per_key {
        let own = LimitSet { quota: Quota::default(), ..plan.limits.clone() };
        (LimitSet { bucket: None, windows: <_>::default(), ..plan.limits.clone() }, Some(own))
    } else {
        (plan.limits.clone(), None)
    };
    let nothing = LimitSet::default();
    let debit = |handle: &_, debit: &Debit<'_>, at: Timestamp| {
        let known = now(limiter.debit(handle, debit, at)).expect("it answers");
        if !matches!(known, Outcome::Unseeded) {
            return known;
        }
        let seed = Seed {
            since: Timestamp::from_micros(i64::MIN),
            account: Spending::default(),
            key: debit.key.map(|(key, _)| (key, Spending::default())),
            meter: debit.meter.map(|(meter, _)| (meter, Spending::default())),
            ledger_position: 0,
        };
        assert!(now(limiter.seed(handle, limiter.ticket(), debit, &seed, at)).expect("it answers"));
        now(limiter.debit(handle, debit, at)).expect("it answers")
    };
    let (mut refused, mut refused_events) = (0, 0);
    for call in calls {
        let period = Period::calendar_month(call.at);
        let own = own.as_ref().map(|own| (key(call.key), own));
        let asked = Debit { limits: &shared, key: own, meter: None, period, cost: call.cost };
        refused += u64::from(!matches!(debit(&of_calls, &asked, call.at), Outcome::Admitted(_)));
        let metered = call.tokens.zip(plan.meters.get(&tokens()));
        if let Some((units, quota)) = metered {
            let meter = Some((tokens().id(), *quota));
            let asked = Debit { limits: &nothing, key: None, meter, period, cost: units.min(1) };
            match debit(&of_meter, &asked, call.at) {
                Outcome::Admitted(_) => {
                    let rest = i64::try_from(units.saturating_sub(1)).expect("few units");
                    now(limiter.settle(&of_meter, Charged::Meter(tokens().id()), period, rest)).expect("it answers");
                }
                _ => refused_events += 1,
            }
        }
    }
    (refused, refused_events)
}

fn some_plan() -> impl Strategy<Value = Plan> {
    let rate = prop::option::of(prop::sample::select(vec!["5/second", "60/minute", "20/minute", "100/hour"]));
    let burst = prop::option::of(1_u64..30);
    let windows = prop::sample::subsequence(vec!["30/minute", "40/hour", "60/day", "90/30d"], 0..3);
    let quota = prop::option::of(0_u64..120);
    let meter = prop::option::of(0_u64..200);
    (rate, burst, windows, quota, meter).prop_map(|(rate, burst, windows, quota, meter)| {
        let mut plan = Plan::unlimited(PlanName::new("new").expect("a name"));
        plan.limits.bucket = rate.map(|rate| {
            let rate = Rate::parse(rate).expect("a rate");
            Bucket::new(rate, burst.unwrap_or_else(|| default_burst(rate))).expect("in bounds")
        });
        let windows =
            windows.into_iter().map(|window| Window::new(Rate::parse(window).expect("a rate")).expect("in bounds"));
        plan.limits.windows = windows.collect();
        plan.limits.quota = Quota { limit: quota };
        plan.meters.extend(meter.map(|limit| (tokens(), Quota { limit: Some(limit) })));
        plan
    })
}

/// Bursts with pauses of every length between them, over some weeks.
fn some_calls() -> impl Strategy<Value = Vec<Call>> {
    let pause = prop_oneof![
        6 => 0_i64..400_000,
        3 => 0_i64..20 * SECOND_US,
        1 => 0_i64..3 * HOUR_US,
        1 => 0_i64..8 * DAY_US,
    ];
    let call = (pause, prop_oneof![8 => Just(1_u64), 1 => 0_u64..5], 1_u8..4, prop::option::weighted(0.3, 0_u64..9));
    prop::collection::vec(call, 1..160).prop_map(|calls| {
        let mut at = start();
        let calls = calls.into_iter().map(|(pause, cost, key, tokens)| {
            at = at + pause;
            Call { at, cost, key, tokens }
        });
        calls.collect()
    })
}

proptest! {
    #[test]
    fn who_is_named_is_who_the_limiter_refuses(calls in some_calls(), plan in some_plan(), rates_per_key: bool) {
        let (old, new) = (terms(unlimited(), rates_per_key), terms(plan, rates_per_key));
        let (refused, refused_events) = simulate(&calls, &new);
        match verdict(&old, &new, &ledger(&calls, 0), start()) {
            Verdict::More { refused: named, calls_before, .. } => {
                let is_event = |limit: &&Refusals| limit.limit.starts_with("meter ");
                let events: u64 = named.iter().filter(is_event).map(|limit| limit.calls).sum();
                let all: u64 = named.iter().map(|limit| limit.calls).sum();
                prop_assert!(refused + refused_events > 0, "named, and not refused: {:?}", named);
                prop_assert_eq!(calls_before, 0);
                prop_assert_eq!(events, refused_events, "{:?}", named);
                // A wider burst, where that is told, may let in a large call and refuse the small ones after it.
                if new.plan.as_ref().is_some_and(|plan| plan.limits.bucket.is_none()) {
                    prop_assert_eq!(all - events, refused, "{:?}", named);
                }
            }
            other => prop_assert_eq!((refused, refused_events), (0, 0), "{:?}", other),
        }
    }

    #[test]
    fn batches_hide_nothing_but_bursts_of_a_quarter_of_a_second(calls in some_calls(), plan in some_plan()) {
        let (old, new) = (terms(unlimited(), false), terms(plan, false));
        let (refused, refused_events) = simulate(&calls, &new);
        let found = verdict(&old, &new, &ledger(&calls, RESOLUTION_US), start());
        let limits = &new.plan.as_ref().expect("a plan").limits;
        if let Verdict::More { certain: true, refused: named, .. } = &found
            && limits.windows.is_empty()
        {
            prop_assert!(refused + refused_events > 0, "named for certain, and not refused: {:?}", named);
        }
        if limits.bucket.is_none() && limits.windows.is_empty() {
            let is_named = matches!(found, Verdict::More { .. });
            prop_assert_eq!(is_named, refused + refused_events > 0, "{:?}", found);
        }
    }

    #[test]
    fn the_same_limits_change_nothing(calls in some_calls(), plan in some_plan(), rates_per_key: bool) {
        let terms = terms(plan, rates_per_key);
        prop_assert_eq!(verdict(&terms, &terms, &ledger(&calls, RESOLUTION_US), start()), Verdict::Same);
        prop_assert!(terms.decides_as(&terms));
    }

    #[test]
    fn what_was_used_before_the_replay_counts(calls in some_calls(), plan in some_plan()) {
        // A replay that begins later finds the account as the ledger leaves it: quota and windows to the unit.
        let plan = Plan { limits: LimitSet { bucket: None, ..plan.limits }, ..plan };
        let (old, new) = (terms(unlimited(), false), terms(plan, false));
        let (refused, _) = simulate(&calls, &new);
        prop_assume!(refused == 0);
        let from = calls[calls.len() / 2].at;
        let found = verdict(&old, &new, &ledger(&calls, 0), from);
        let of_calls = match &found {
            Verdict::More { refused, .. } => refused.iter().any(|limit| !limit.limit.starts_with("meter ")),
            _ => false,
        };
        prop_assert!(!of_calls, "nothing was refused on the way, so nothing may be: {:?}", found);
    }
}

fn with_quota(limit: Option<u64>) -> Terms {
    let mut plan = unlimited();
    plan.limits.quota = Quota { limit };
    terms(plan, false)
}

fn line(seconds: i64, calls: u64, debited: u64, units: i64) -> Line {
    let at = start() + seconds * SECOND_US;
    Line {
        at,
        place: seconds,
        meter: None,
        key: Some(key(1)),
        route: None,
        calls,
        units_debited: debited,
        units,
        period: month(),
    }
}

fn refusals(limit: &str, calls: u64, units: u64, seconds: i64) -> Refusals {
    Refusals { limit: limit.to_owned(), calls, units, first_at: start() + seconds * SECOND_US }
}

#[test]
fn refusals_are_counted_in_calls_and_units_and_by_limit() {
    let lines = [line(1, 4, 4, 4), line(2, 2, 10, 10), line(3, 1, 1, 1)];
    let expected = Verdict::More { refused: vec![refusals("month", 2, 10, 2)], calls_before: 0, certain: true };
    assert_eq!(verdict(&with_quota(None), &with_quota(Some(5)), &lines, start()), expected);
}

#[test]
fn what_was_given_back_is_free_again_and_what_was_imported_is_not() {
    let refunded = [line(1, 4, 4, 0), line(2, 4, 4, 4)];
    assert_eq!(verdict(&with_quota(None), &with_quota(Some(4)), &refunded, start()), Verdict::Same);
    let imported = [
        Line { key: None, ..line(1, 0, 0, 3) },
        line(2, 4, 4, 4),
        Line { key: None, ..line(3, 0, 0, -3) },
        line(4, 3, 3, 3),
    ];
    let expected = Verdict::More { refused: vec![refusals("month", 3, 3, 2)], calls_before: 0, certain: true };
    assert_eq!(verdict(&with_quota(None), &with_quota(Some(4)), &imported, start()), expected);
}

#[test]
fn a_call_asks_its_routes_meter_for_what_the_route_debits_and_an_event_for_one_unit() {
    let metered = RouteName::new("metered").expect("a name");
    let line = |seconds, route: Option<&RouteName>, calls, units| {
        let meter = Some(tokens());
        Line { meter, route: route.cloned(), units_debited: 0, ..line(seconds, calls, 0, units) }
    };
    let with_meter = |limit: Option<u64>| {
        let mut plan = unlimited();
        plan.meters.extend(limit.map(|limit| (tokens(), Quota { limit: Some(limit) })));
        let routes = MeteredRoutes::from([(metered.clone(), (tokens(), 7))]);
        Terms { metered: Arc::new(routes), ..terms(plan, false) }
    };
    let other = RouteName::new("other").expect("a name");
    // Ten calls of seven units, of which the answers then told three each.
    let told = [line(1, Some(&metered), 10, 30)];
    let cases: [(&[Line], u64, u64); 8] = [
        (&[line(1, Some(&metered), 3, 21)], 21, 0),
        (&[line(1, Some(&metered), 3, 21)], 20, 1),
        (&[line(1, Some(&metered), 3, 21)], 6, 3),
        (&[line(1, None, 3, 21)], 20, 0),
        (&[line(1, Some(&other), 3, 21)], 14, 1),
        (&told, 34, 0),
        (&told, 33, 1),
        (&told, 7, 9),
    ];
    for (lines, limit, expected) in cases {
        let found = verdict(&with_meter(None), &with_meter(Some(limit)), lines, start());
        let refused = match &found {
            Verdict::More { refused, .. } => refused.iter().map(|limit| limit.calls).sum(),
            Verdict::Same | Verdict::Less { .. } => 0,
        };
        assert_eq!(refused, expected, "{limit}: {found:?}");
    }
}

#[test]
fn who_stood_at_a_limit_is_refused_less_under_a_higher_one() {
    let lines = [line(1, 4, 4, 4), line(2, 1, 1, 1)];
    let expected = Verdict::Less { reached: vec![refusals("month", 1, 0, 2)] };
    assert_eq!(verdict(&with_quota(Some(5)), &with_quota(Some(6)), &lines, start()), expected);
    assert_eq!(verdict(&with_quota(Some(6)), &with_quota(Some(7)), &lines, start()), Verdict::Same);
    assert!(matches!(verdict(&with_quota(Some(5)), &with_quota(None), &lines, start()), Verdict::Less { .. }));
}

#[test]
fn without_access_everything_is_refused() {
    let nothing = Terms { plan: None, ..with_quota(None) };
    let lines = [line(1, 4, 8, 8), Line { key: None, ..line(2, 0, 0, 3) }];
    let expected = Verdict::More { refused: vec![refusals("access", 4, 8, 1)], calls_before: 0, certain: true };
    assert_eq!(verdict(&with_quota(None), &nothing, &lines, start()), expected);
}

#[test]
fn a_new_period_is_a_new_quota_and_a_changed_definition_lays_it_anew() {
    let next = month().end - start();
    let late = Line { period: Period::calendar_month(month().end), ..line(next / SECOND_US + 60, 4, 4, 4) };
    let lines = [line(5 * 86_400, 4, 4, 4), late];
    assert_eq!(verdict(&with_quota(None), &with_quota(Some(4)), &lines, start()), Verdict::Same);
    // In 30 days from the anchor on both fall into one period.
    let mut rolling = with_quota(Some(4));
    let basis =
        PeriodBasis { definition: QuotaPeriod::Rolling30Days, subscription: None, rolling_anchor: start() + DAY_US };
    rolling.periods = Some(basis);
    let expected = refusals("month", 4, 4, next / SECOND_US + 60);
    let found = verdict(&with_quota(None), &rolling, &lines, start());
    assert_eq!(found, Verdict::More { refused: vec![expected], calls_before: 0, certain: true });
}

#[test]
fn a_burst_within_a_quarter_of_a_second_is_named_with_doubt() {
    let mut plan = unlimited();
    plan.limits.bucket = Some(Bucket::new(Rate::parse("40/second").expect("a rate"), 10).expect("in bounds"));
    let new = terms(plan, false);
    for (calls, expected) in [(10, None), (11, Some(false)), (20, Some(false)), (21, Some(true))] {
        let found = verdict(&with_quota(None), &new, &[line(1, calls, calls, 1)], start());
        let certain = match found {
            Verdict::More { certain, .. } => Some(certain),
            Verdict::Same | Verdict::Less { .. } => None,
        };
        assert_eq!(certain, expected, "{calls}");
    }
}
