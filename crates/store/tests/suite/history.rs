//! What is told of the past: for every step and group the same as the ledger, and nothing of anybody else's.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_domain::{
    AccountId, DAY_US, HOUR_US, MeterName, Period, StatusClass, Timestamp, UsageKey, UsageLine, UsageTally,
};
use tollgate_store::{
    AdminStore, Credit, ExportRow, GroupBy, HistoryQuery, HistoryRow, LedgerLine, PeriodUse, Step, UsageEvent,
};

use crate::fixture::{
    account_id, april, at, audit, batch, event, hour, key_id, make_account, march, meter, route, store_new,
};

crate::backend::on_every_backend! {
    histories_add_up_to_the_ledger_for_every_step_and_group,
    a_history_holds_no_more_rows_than_asked_for,
    an_export_is_the_ledger_page_by_page,
    lines_are_told_page_by_page,
    nothing_of_another_account_is_told,
    quotas_that_changed_are_told_in_order_of_change,
}

/// One thing that was counted.
#[derive(Clone, Debug)]
struct Counted {
    at: Timestamp,
    account: u8,
    meter: Option<&'static str>,
    key: Option<u8>,
    route: &'static str,
    status: &'static str,
    dimensions: BTreeMap<String, String>,
    calls: u64,
    charged: u64,
    refunded: u64,
}

const ROUTES: [&str; 2] = ["events", "reports"];
const STATUSES: [StatusClass; 2] = [StatusClass::Success, StatusClass::ServerError];
const METERS: [Option<&str>; 3] = [None, Some("tokens"), Some("images")];

/// Numbers that look random and are the same each time.
fn numbers() -> impl FnMut(u64) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

fn pick<T: Copy>(of: &[T], number: u64) -> T {
    of[usize::try_from(number).expect("a small number") % of.len()]
}

/// Fills a store with calls, meters, events and credits of two accounts over two months; all of it.
async fn fill(store: &dyn AdminStore) -> Vec<Counted> {
    let mut number = numbers();
    let mut counted = Vec::new();
    for account in [1, 2] {
        make_account(store, account).await;
    }
    for sequence in 1..=40 {
        let end = hour(i64::try_from(number(60 * 24)).expect("a small number")).plus_micros(HOUR_US / 3);
        let mut lines = Vec::new();
        for _ in 0..10 {
            let (route_name, status) = (pick(&ROUTES, number(2)), pick(&STATUSES, number(2)));
            let (account, key) = (1 + u8::from(number(4) == 0), 1 + u8::from(number(2) == 0));
            let meter_name = pick(&METERS, number(3));
            let (calls, charged, refunded) = (number(5), number(50), number(20));
            lines.push(UsageLine {
                key: UsageKey {
                    account: account_id(account),
                    key: key_id(key),
                    route: route(route_name),
                    status,
                    period: march(),
                    meter: meter_name.map(meter),
                    detached: false,
                },
                tally: UsageTally { calls, units_charged: charged, units_refunded: refunded, ..UsageTally::default() },
            });
            counted.push(Counted {
                at: end,
                account,
                meter: meter_name,
                key: Some(key),
                route: route_name,
                status: status.as_str(),
                dimensions: BTreeMap::new(),
                calls,
                charged,
                refunded,
            });
        }
        store_new(store, &batch(sequence, end, lines)).await;
    }
    fill_with_events(store, &mut number, &mut counted).await;
    let credit =
        Credit { account: account_id(1), meter: Some(meter("tokens")), period: march(), units: Some(3), at: hour(30) };
    store.credit(&credit, &audit("account.credit")).await.expect("the store answers");
    let nothing = Counted { key: None, route: "", status: "", calls: 0, charged: 0, ..counted[0].clone() };
    counted.push(Counted { at: hour(30), account: 1, meter: Some("tokens"), refunded: 3, ..nothing });
    counted
}

async fn fill_with_events(store: &dyn AdminStore, number: &mut impl FnMut(u64) -> u64, counted: &mut Vec<Counted>) {
    let mut events = Vec::new();
    for id in 0..120 {
        let account = 1 + u8::from(number(4) == 0);
        let mut dimensions = BTreeMap::new();
        if number(4) > 0 {
            dimensions.insert("model".to_owned(), pick(&["small", "large", ""], number(3)).to_owned());
        }
        if number(2) > 0 {
            dimensions.insert("region".to_owned(), pick(&["eu", "us"], number(2)).to_owned());
        }
        let key = (number(2) == 0).then_some(1);
        let units = [("tokens", number(100)), ("images", number(3))];
        let reported = UsageEvent {
            key: key.map(key_id),
            at: hour(i64::try_from(number(60 * 24)).expect("a small number")).plus_micros(1),
            dimensions: dimensions.clone(),
            ..event(account, &format!("e{id}"), &units[..=usize::from(number(2) == 0)])
        };
        for (name, charged) in &reported.meters {
            let name = pick(&METERS[1..], u64::from(name.as_str() == "images"));
            counted.push(Counted {
                at: reported.at,
                account,
                meter: name,
                key,
                route: "",
                status: "",
                dimensions: dimensions.clone(),
                calls: 1,
                charged: *charged,
                refunded: 0,
            });
        }
        events.push(reported);
    }
    store.record_events(&events, hour(1_500)).await.expect("the store answers");
}

fn beginning(step: Step, at: Timestamp) -> Timestamp {
    match step {
        Step::Hour => at.start_of_hour(),
        Step::Day => Timestamp::from_micros(at.as_micros() / DAY_US * DAY_US),
        Step::Month => Period::calendar_month(at).start,
    }
}

/// What a row of a history is told apart by.
type Point = (Timestamp, Option<MeterName>, Option<String>);

/// What a history must tell of what was counted.
fn expected(counted: &[Counted], asked: &HistoryQuery) -> Vec<HistoryRow> {
    let mut sums: BTreeMap<Point, (u64, i64, u64)> = BTreeMap::new();
    let of_events = matches!(asked.group_by, GroupBy::Dimension(_)) || !asked.dimensions.is_empty();
    let to = asked.to.plus_micros(HOUR_US - 1).start_of_hour();
    for one in counted {
        let is_event = one.route.is_empty() && one.calls == 1 && one.refunded == 0;
        let meter = one.meter.map(meter);
        let is_asked = account_id(one.account) == asked.account
            && one.at >= beginning(asked.step, asked.from)
            && one.at.start_of_hour() < to
            && (is_event || !of_events)
            && asked.meter.as_ref().is_none_or(|asked| *asked == meter)
            && asked.key.is_none_or(|asked| one.key.map(key_id) == Some(asked))
            && asked.route.as_ref().is_none_or(|asked| asked == one.route)
            && asked.dimensions.iter().all(|(name, value)| one.dimensions.get(name) == Some(value));
        if !is_asked {
            continue;
        }
        let group = match &asked.group_by {
            GroupBy::Nothing => None,
            GroupBy::Route => Some(one.route.to_owned()),
            GroupBy::Key => Some(one.key.map(|key| key_id(key).to_string()).unwrap_or_default()),
            GroupBy::Status => Some(one.status.to_owned()),
            GroupBy::Dimension(name) => Some(one.dimensions.get(name).cloned().unwrap_or_default()),
        };
        let sum = sums.entry((beginning(asked.step, one.at), meter, group)).or_default();
        sum.0 += one.calls;
        sum.1 +=
            i64::try_from(one.charged).expect("a small number") - i64::try_from(one.refunded).expect("a small number");
        sum.2 += one.refunded;
    }
    let row = |((at, meter, group), (calls, units, units_refunded))| HistoryRow {
        at,
        meter,
        group,
        calls,
        units,
        units_refunded,
    };
    sums.into_iter().map(row).collect()
}

fn whole(step: Step, group_by: GroupBy) -> HistoryQuery {
    HistoryQuery {
        account: account_id(1),
        from: hour(-48),
        to: hour(60 * 24),
        step,
        group_by,
        meter: None,
        key: None,
        route: None,
        dimensions: BTreeMap::new(),
    }
}

const STEPS: [Step; 3] = [Step::Hour, Step::Day, Step::Month];

fn groups() -> Vec<GroupBy> {
    let dimensions = ["model", "region", "other"].map(|name| GroupBy::Dimension(name.into()));
    [GroupBy::Nothing, GroupBy::Route, GroupBy::Key, GroupBy::Status].into_iter().chain(dimensions).collect()
}

async fn histories_add_up_to_the_ledger_for_every_step_and_group(store: Arc<dyn AdminStore>) {
    let store = &*store;
    let counted = fill(store).await;
    let ledger = store.lines(account_id(1), at(0), hour(2_000), None, 10_000).await.expect("the store answers");
    for step in STEPS {
        for group_by in groups() {
            let whole = whole(step, group_by);
            let of = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
            let cases = [
                whole.clone(),
                HistoryQuery { from: hour(40).plus_micros(7), to: hour(800).plus_micros(7), ..whole.clone() },
                HistoryQuery { meter: Some(None), ..whole.clone() },
                HistoryQuery { meter: Some(Some(meter("tokens"))), ..whole.clone() },
                HistoryQuery { key: Some(key_id(1)), ..whole.clone() },
                HistoryQuery { route: Some("reports".into()), ..whole.clone() },
                HistoryQuery { dimensions: of("region", "eu"), ..whole.clone() },
                HistoryQuery { from: hour(10), to: hour(10), ..whole.clone() },
                HistoryQuery { from: Timestamp::EPOCH, to: hour(-1_000), ..whole.clone() },
            ];
            for asked in cases {
                let told = store.history(&asked, 10_000).await.expect("the store answers");
                assert_eq!(told, expected(&counted, &asked), "{asked:?}");
            }
            if !matches!(whole.group_by, GroupBy::Dimension(_)) {
                let told = store.history(&whole, 10_000).await.expect("the store answers");
                let sum = |meter: &Option<MeterName>| {
                    let rows = told.iter().filter(|row| row.meter == *meter);
                    rows.fold((0, 0), |sum, row| (sum.0 + row.calls, sum.1 + row.units))
                };
                for meter in METERS.map(|name| name.map(meter)) {
                    let lines = ledger.iter().filter(|line| line.meter == meter);
                    let lines = lines.fold((0, 0), |sum, line| (sum.0 + line.calls, sum.1 + line.units));
                    assert_eq!(sum(&meter), lines, "{meter:?} of {whole:?}");
                    assert!(lines.0 > 0);
                }
            }
        }
    }
}

async fn a_history_holds_no_more_rows_than_asked_for(store: Arc<dyn AdminStore>) {
    let store = &*store;
    fill(store).await;
    for step in STEPS {
        for group_by in [GroupBy::Nothing, GroupBy::Key, GroupBy::Dimension("model".into())] {
            let asked = whole(step, group_by);
            let all = store.history(&asked, 10_000).await.expect("the store answers");
            for limit in [1, 3, all.len() - 1] {
                let some =
                    store.history(&asked, u32::try_from(limit).expect("small")).await.expect("the store answers");
                assert_eq!(some, all[..limit], "the first of {asked:?}");
            }
        }
    }
}

async fn an_export_is_the_ledger_page_by_page(store: Arc<dyn AdminStore>) {
    let store = &*store;
    let counted = fill(store).await;
    let (from, to) = (hour(24), hour(40 * 24));
    for account in [None, Some(account_id(1)), Some(account_id(2)), Some(account_id(3))] {
        let asked = |one: &&Counted| {
            (from..to).contains(&one.at.start_of_hour()) && account.is_none_or(|asked| asked == account_id(one.account))
        };
        let mut sums: BTreeMap<_, (u64, u64, u64)> = BTreeMap::new();
        for one in counted.iter().filter(asked) {
            let key = (one.at.start_of_hour(), account_id(one.account), one.meter, one.key, one.route, one.status);
            let sum = sums.entry(key).or_default();
            *sum = (sum.0 + one.calls, sum.1 + one.charged, sum.2 + one.refunded);
        }
        for limit in [1, 7, 10_000] {
            let mut told: Vec<ExportRow> = Vec::new();
            loop {
                let after = told.last().map(|row| row.place.clone());
                let page = store.export(account, from, to, after.as_deref(), limit).await.expect("the store answers");
                assert!(page.len() <= limit as usize);
                if page.is_empty() {
                    break;
                }
                told.extend(page);
            }
            assert!(told.iter().all(|row| ExportRow::is_place(&row.place)));
            let told: Vec<_> = told
                .into_iter()
                .map(|row| {
                    let key = (row.hour, row.account, row.meter, row.key, row.route, row.status);
                    (key, (row.calls, row.units_charged, row.units_refunded))
                })
                .collect();
            let expected: Vec<_> = sums
                .iter()
                .map(|((hour, account, name, key, route, status), sums)| {
                    let (route, status) = ((*route).to_owned(), (*status).to_owned());
                    ((*hour, *account, name.map(meter), key.map(key_id), route, status), *sums)
                })
                .collect();
            assert_eq!(told, expected, "{account:?} by {limit}");
        }
    }
    for place in ["", "x", "1.2.3.4.5.6", "9".repeat(40).as_str()] {
        assert!(!ExportRow::is_place(place), "{place}");
        assert_eq!(store.export(None, from, to, Some(place), 10).await.expect("the store answers"), []);
    }
}

async fn pages(store: &dyn AdminStore, account: AccountId, from: Timestamp, to: Timestamp) -> Vec<LedgerLine> {
    let mut told: Vec<LedgerLine> = Vec::new();
    loop {
        let after = told.last().map(|line| line.place);
        let page = store.lines(account, from, to, after, 7).await.expect("the store answers");
        if page.is_empty() {
            return told;
        }
        assert!(page.len() <= 7);
        told.extend(page);
    }
}

async fn lines_are_told_page_by_page(store: Arc<dyn AdminStore>) {
    let store = &*store;
    let counted = fill(store).await;
    for (from, to) in [(at(0), hour(2_000)), (hour(100), hour(300)), (hour(5), hour(5))] {
        let told = pages(store, account_id(1), from, to).await;
        let key = |line: &LedgerLine| (line.at, line.place);
        assert!(told.is_sorted_by(|one, next| key(one) < key(next)), "oldest first, each once");
        let mut told: Vec<_> =
            told.into_iter().map(|line| (line.at, line.meter, line.key, line.route, line.calls, line.units)).collect();
        let here = counted.iter().filter(|one| one.account == 1 && one.at >= from && one.at < to);
        let units =
            |one: &Counted| i64::try_from(one.charged).expect("small") - i64::try_from(one.refunded).expect("small");
        let route = |one: &Counted| Some(one.route.to_owned()).filter(|route| !route.is_empty());
        let mut expected: Vec<_> = here
            .map(|one| (one.at, one.meter.map(meter), one.key.map(key_id), route(one), one.calls, units(one)))
            .collect();
        told.sort();
        expected.sort();
        assert_eq!(told, expected);
    }
}

async fn nothing_of_another_account_is_told(store: Arc<dyn AdminStore>) {
    let store = &*store;
    fill(store).await;
    let theirs = store.lines(account_id(2), at(0), hour(2_000), None, 1).await.expect("the store answers");
    let place = Some(theirs[0].place);
    assert_eq!(store.lines(account_id(1), at(0), hour(2_000), place, 10).await.expect("the store answers"), []);
    let nobody = HistoryQuery { account: account_id(3), ..whole(Step::Day, GroupBy::Nothing) };
    for group_by in groups() {
        let asked = HistoryQuery { group_by, ..nobody.clone() };
        assert_eq!(store.history(&asked, 10).await.expect("the store answers"), []);
    }
    for name in METERS {
        let used = store.used(account_id(3), name.map(meter).as_ref(), march()).await.expect("the store answers");
        assert_eq!(used, 0);
    }
}

async fn quotas_that_changed_are_told_in_order_of_change(store: Arc<dyn AdminStore>) {
    let store = &*store;
    let of = |account, key: u8, units, period| UsageLine {
        key: UsageKey {
            account: account_id(account),
            key: key_id(key),
            route: route("events"),
            status: StatusClass::Success,
            period,
            meter: None,
            detached: false,
        },
        tally: UsageTally { calls: 1, units_charged: units, ..UsageTally::default() },
    };
    store_new(store, &batch(1, at(10), vec![of(1, 1, 5, march()), of(1, 2, 6, march())])).await;
    store_new(store, &batch(2, at(20), (2..=9).map(|account| of(account, 1, 1, march())).collect())).await;
    store_new(store, &batch(3, at(30), vec![of(1, 1, 7, march()), of(1, 1, 9, april())])).await;
    store.record_events(&[event(1, "e1", &[("tokens", 4)])], at(40)).await.expect("the store answers");
    let used = |account, name: Option<&str>, period, used, secs| PeriodUse {
        account: account_id(account),
        meter: name.map(meter),
        period,
        used,
        newest: at(secs),
    };
    let since = async |secs, now, limit| store.uses_since(at(secs), now, limit).await.expect("the store answers");
    let many: Vec<_> = (2..=9).map(|account| used(account, None, march(), 1, 20)).collect();
    let (calls, next) = (used(1, None, march(), 18, 30), used(1, None, april(), 9, 30));
    let tokens = used(1, Some("tokens"), march(), 4, 40);
    assert_eq!(
        since(11, at(50), 100).await,
        [many.clone(), vec![calls.clone(), next.clone(), tokens.clone()]].concat()
    );
    assert_eq!(since(11, at(50), 2).await, many, "what changed at one instant comes together");
    assert_eq!(since(21, at(50), 1).await, [calls.clone(), next.clone()]);
    assert_eq!(since(31, at(50), 1).await, [tokens]);
    assert_eq!(since(41, at(50), 1).await, []);
    assert_eq!(since(30, march().end, 10).await, [next], "what is over is not told");
    // One key's part changed at 10 s, the other's later: both are in the sum, whichever is asked for.
    assert_eq!(since(0, at(50), 1).await, [PeriodUse { newest: at(10), ..calls }]);
    let long_after = at(0).plus_micros(40 * DAY_US);
    assert_eq!(since(0, long_after, 10).await, [], "a period that began so long ago is over");
}
