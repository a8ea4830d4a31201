//! Measures the store on this machine: `cargo run -p tollgate-store --example measure [KEYS] [POSTGRES]`. It prints
//! figures and judges none. With the URL of an empty `PostgreSQL` database it measures that one too, after a copy of
//! the file into it.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tollgate_domain::{
    AccountId, DAY_US, HOUR_US, KeyHash, KeyId, MeterName, NodeId, Period, PlanTable, RouteName, SECOND_US,
    StatusClass, Timestamp, UsageBatch, UsageKey, UsageLine, UsageTally,
};
use tollgate_store::{
    AdminStore, CopyStep, GroupBy, HistoryQuery, ImportedKey, NewAudit, PostgresSettings, PostgresStore, SeedQuery,
    SqliteStore, Step, Store, UsageEvent, copy,
};

/// Keys that are made unless the command line says otherwise.
const KEYS: u64 = 100_000;
/// Keys imported at once.
const KEYS_AT_ONCE: u64 = 10_000;
/// Keys looked up.
const LOOKUPS: u64 = 5_000;
/// Lines of a large batch.
const LINES: u64 = 20_000;
/// Large batches.
const LARGE_BATCHES: u32 = 5;
/// Batches of one line: a day of one busy key.
const SMALL_BATCHES: u64 = 2_000;

/// Hours of a long past.
const HOURS: u64 = 50 * 24;
/// Sums of each of its hours.
const SUMS_AN_HOUR: u64 = 104;
/// Events in it.
const EVENTS: u64 = 20_000;

const NOW: Timestamp = Timestamp::from_secs(1_772_366_400);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let keys = arguments.next().map_or(Ok(KEYS), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tollgate.db");
    let store = SqliteStore::open(&path).await?;
    import(&store, 0, keys).await?;
    measure(&store, keys, 1).await?;
    if let Some(url) = arguments.next() {
        let settings = PostgresSettings::new(url);
        copy_to(&store, settings.clone()).await?;
        let server = PostgresStore::open(settings).await?;
        import(&server, keys, KEYS_AT_ONCE).await?;
        measure(&server, keys, 3).await?;
        server.close().await;
    }
    store.close().await;
    println!("the file holds {} MiB", std::fs::metadata(&path)?.len() >> 20);
    Ok(())
}

async fn measure(store: &dyn AdminStore, keys: u64, first_node: u8) -> Result<(), Box<dyn std::error::Error>> {
    find(store, keys).await?;
    large_batches(store, first_node).await?;
    small_batches(store, first_node).await?;
    seed(store).await?;
    long_past(store, first_node).await
}

async fn copy_to(store: &SqliteStore, settings: PostgresSettings) -> Result<(), Box<dyn std::error::Error>> {
    let target = PostgresStore::open_for_copy(settings).await?;
    let began = Instant::now();
    let mut compared = None;
    let report = copy(store, &target, &mut |progress| {
        if progress.step == CopyStep::Compare {
            compared.get_or_insert_with(|| began.elapsed());
        }
    })
    .await?;
    let rows = report.tables.iter().map(|table| table.rows).sum();
    rate("rows copied", rows, compared.unwrap_or_default());
    rate("rows copied and compared", rows, began.elapsed());
    for table in report.tables {
        println!("  {}: {} rows {:?}", table.name, table.rows, table.sums);
    }
    target.close().await;
    Ok(())
}

fn random(number: u64) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes
}

fn account(number: u64) -> AccountId {
    AccountId::new(NOW, random(number))
}

fn key(number: u64) -> KeyId {
    KeyId::new(NOW, random(number))
}

fn hash(number: u64) -> KeyHash {
    let mut bytes = [0; 32];
    for (part, chunk) in (1_u64..).zip(bytes.chunks_mut(8)) {
        chunk.copy_from_slice(&(number + part).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    }
    KeyHash::from_bytes(bytes)
}

async fn import(store: &dyn Store, from: u64, keys: u64) -> Result<(), Box<dyn std::error::Error>> {
    let audit = NewAudit { actor: "measure".into(), action: "keys.import", at: NOW, detail: serde_json::Value::Null };
    let began = Instant::now();
    for first in (from..from + keys).step_by(usize::try_from(KEYS_AT_ONCE)?) {
        let lines: Vec<ImportedKey> = (first..(from + keys).min(first + KEYS_AT_ONCE))
            .map(|number| ImportedKey {
                id: key(number),
                hash: hash(number),
                email: format!("owner{number}@example.com"),
                account_id_if_new: account(number),
                plan: None,
                name: None,
                revoked: false,
                cap: None,
                used: 1,
                cycle_start: None,
                expires_at: None,
            })
            .collect();
        store.import_keys(&lines, &PlanTable::default(), NOW, &audit).await?;
    }
    rate("keys imported, each with its account and its use", keys, began.elapsed());
    Ok(())
}

async fn find(store: &dyn Store, keys: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut times = Vec::new();
    for number in 0..LOOKUPS {
        let hash = hash(number.wrapping_mul(7_919) % keys);
        let began = Instant::now();
        let found = store.find_key(&hash).await?;
        times.push(began.elapsed());
        assert!(found.is_some(), "every key was imported");
    }
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 100];
    println!("find_key among {keys}: median {:?}, 99th percentile {:?}", at(50), at(99));
    Ok(())
}

fn batch(node: u8, sequence: u64, end: Timestamp, lines: u64) -> UsageBatch {
    let line = |number| UsageLine {
        key: UsageKey {
            account: account(number),
            key: key(number),
            route: RouteName::new("events-id").expect("a good name"),
            status: StatusClass::Success,
            period: Period::calendar_month(NOW),
            meter: None,
            detached: false,
        },
        tally: UsageTally { calls: 1, units_debited: 1, units_charged: 1, ..UsageTally::default() },
    };
    let node = NodeId::new(NOW, [node; 10]);
    UsageBatch {
        node,
        sequence,
        start: end + -SECOND_US,
        end,
        lines: (0..lines).map(line).collect(),
        requests: Vec::new(),
    }
}

async fn large_batches(store: &dyn Store, first_node: u8) -> Result<(), Box<dyn std::error::Error>> {
    let batches: Vec<_> = (1..=LARGE_BATCHES)
        .map(|sequence| batch(first_node, sequence.into(), NOW + i64::from(sequence) * SECOND_US, LINES))
        .collect();
    let began = Instant::now();
    for batch in &batches {
        store.store_batch(batch).await?;
    }
    rate(&format!("lines stored in batches of {LINES}"), u64::from(LARGE_BATCHES) * LINES, began.elapsed());
    Ok(())
}

async fn small_batches(store: &dyn Store, first_node: u8) -> Result<(), Box<dyn std::error::Error>> {
    let step_us = DAY_US / i64::try_from(SMALL_BATCHES)?;
    let began = Instant::now();
    let mut end = NOW + -DAY_US;
    for sequence in 1..=SMALL_BATCHES {
        end = end + step_us;
        store.store_batch(&batch(first_node + 1, sequence, end, 1)).await?;
    }
    rate("batches stored of one line", SMALL_BATCHES, began.elapsed());
    Ok(())
}

async fn seed(store: &dyn Store) -> Result<(), Box<dyn std::error::Error>> {
    for (what, resolution_us) in [("exactly", 1), ("at a 256th of a day", DAY_US / 256), ("by the hour", HOUR_US)] {
        let query = SeedQuery {
            account: account(0),
            key: Some(key(0)),
            meter: None,
            since: NOW + -DAY_US,
            resolution_us,
            period: Period::calendar_month(NOW),
        };
        let began = Instant::now();
        let seed = store.seed(&query).await?;
        println!("seed of a day {what}: {} groups in {:?}", seed.account.debits.len(), began.elapsed());
    }
    Ok(())
}

/// A past of so many hours, each with calls of so many keys, routes and status classes: one sum of each.
async fn long_past(store: &dyn AdminStore, first_node: u8) -> Result<(), Box<dyn std::error::Error>> {
    let began = Instant::now();
    for hour in 1..=HOURS {
        let end = NOW + -i64::try_from(hour)? * HOUR_US;
        let mut past = batch(first_node + 2, hour, end, SUMS_AN_HOUR);
        for (number, line) in (0_u64..).zip(&mut past.lines) {
            line.key.account = account(0);
            line.key.key = key(number / 4);
            line.key.route = RouteName::new(["events", "reports"][usize::from(number % 2 == 0)]).expect("a good name");
            line.key.status = [StatusClass::Success, StatusClass::ClientError][usize::from(number % 4 < 2)];
        }
        store.store_batch(&past).await?;
    }
    rate("sums of hours stored", HOURS * SUMS_AN_HOUR, began.elapsed());
    let began = Instant::now();
    for first in (0..EVENTS).step_by(1_000) {
        let events: Vec<UsageEvent> = (first..first + 1_000).map(event).collect();
        store.record_events(&events, NOW).await?;
    }
    rate("events recorded in calls of 1000", EVENTS, began.elapsed());
    let whole = HistoryQuery {
        account: account(0),
        from: NOW + -400 * DAY_US,
        to: NOW,
        step: Step::Day,
        group_by: GroupBy::Nothing,
        meter: None,
        key: None,
        route: None,
        dimensions: BTreeMap::new(),
    };
    let month = HistoryQuery { from: NOW + -30 * DAY_US, ..whole.clone() };
    for (what, asked) in [
        ("all by day", whole.clone()),
        ("all by month and route", HistoryQuery { step: Step::Month, group_by: GroupBy::Route, ..whole.clone() }),
        ("all of one key by day", HistoryQuery { key: Some(key(0)), ..whole.clone() }),
        ("30 days by day and key", HistoryQuery { group_by: GroupBy::Key, ..month.clone() }),
        ("30 days by hour", HistoryQuery { step: Step::Hour, ..month.clone() }),
        ("all by day and dimension", HistoryQuery { group_by: GroupBy::Dimension("model".into()), ..whole.clone() }),
        ("all by day of a dimension", HistoryQuery { dimensions: [("model".into(), "1".into())].into(), ..whole }),
    ] {
        let began = Instant::now();
        let rows = store.history(&asked, 1_000_000).await.map(|rows| rows.len());
        println!("history of {what}: {rows:?} rows in {:?}", began.elapsed());
    }
    let began = Instant::now();
    let rows = store.export(None, NOW + -DAY_US, NOW, None, 10_000).await?.len();
    println!("export of a day: {rows} rows in {:?}", began.elapsed());
    let began = Instant::now();
    let uses = store.uses_since(Timestamp::EPOCH, NOW, 1_000).await?.len();
    println!("uses of all that is open: {uses} in {:?}", began.elapsed());
    let began = Instant::now();
    let pruned = store.prune(NOW, NOW, NOW).await?;
    println!("{pruned:?} in {:?}", began.elapsed());
    Ok(())
}

fn event(number: u64) -> UsageEvent {
    let at = i64::try_from(number).expect("a small number")
        * (400 * DAY_US / i64::try_from(EVENTS).expect("a small number"));
    UsageEvent {
        id: format!("event-{number}"),
        account: account(0),
        key: None,
        meters: [(MeterName::new("tokens").expect("a good name"), 10)].into(),
        at: NOW + -at,
        period: Period::calendar_month(NOW),
        dimensions: [("model".into(), (number % 5).to_string()), ("region".into(), (number % 3).to_string())].into(),
        metadata: serde_json::Value::Null,
    }
}

fn rate(what: &str, count: u64, elapsed: Duration) {
    let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1);
    println!("{count} {what} in {elapsed:?}: {} a second", count.saturating_mul(1_000_000) / micros);
}
