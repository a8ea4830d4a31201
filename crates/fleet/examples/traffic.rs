//! Measures the fleet's ways on this machine: `cargo run -p tollgate-fleet --example traffic redis://…`, on a Redis
//! that nothing else uses. It prints figures and judges none.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::watch;
use tollgate_domain::{
    AccountId, Charged, Clock, HashedKey, IpRules, KeyHash, KeyId, KeyLimits, MaskedKey, NodeId, Period, RouteName,
    StatusClass, Timestamp, UsageBatch, UsageKey, UsageLine, UsageTally,
};
use tollgate_fleet::{
    CacheSettings, CachedKeys, ChangeReader, Charges, FleetClock, FleetLink, LinkSettings, Relay, SpoolSettings,
    SpooledUsage, Topology, UsageIngest,
};
use tollgate_store::{
    Change, ChangeSink, Feed, KeyRecords, NewAccount, NewAudit, NewKey, SqliteSettings, SqliteStore, Store, UsageSink,
};

/// Keys made, read and revoked.
const KEYS: u64 = 500;
/// Gateways that hear of changes.
const GATEWAYS: usize = 3;
/// Callers that read keys at a time.
const CALLERS: u64 = 32;
/// Batches stored, and the lines in each.
const BATCHES: [(u64, u64); 2] = [(2_000, 1), (300, 500)];

const NOW: Timestamp = Timestamp::from_secs(1_772_366_400);

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        NOW
    }
}

struct NoCharges;

#[async_trait]
impl Charges for NoCharges {
    async fn charge(
        &self,
        _: AccountId,
        _: Charged,
        _: Period,
        _: i64,
        _: u64,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}

/// Counts changes.
#[derive(Default)]
struct Heard(AtomicU64);

#[async_trait]
impl ChangeSink for Heard {
    async fn publish(&self, _: &Change) {
        self.0.fetch_add(1, Ordering::Release);
    }

    async fn resync(&self) {}
}

struct Bench {
    link: Arc<FleetLink>,
    store: Arc<dyn Store>,
    folder: tempfile::TempDir,
    stop: watch::Sender<bool>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("give the address of a Redis that nothing else uses")?;
    let folder = tempfile::tempdir()?;
    let settings = SqliteSettings { outbox: true };
    let store = Arc::new(SqliteStore::open_with(&folder.path().join("tollgate.db"), settings).await?);
    let link = FleetLink::new(&LinkSettings::new(Topology::Single(url), "measure"))?;
    let bench = Bench { link, store, folder, stop: watch::Sender::new(false) };
    make_keys(&*bench.store).await?;
    revoke(&bench).await?;
    find(&bench).await?;
    for (batches, lines) in BATCHES {
        ingest(&bench, batches, lines).await?;
    }
    bench.stop.send_replace(true);
    Ok(())
}

fn random(number: u64) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn hash(number: u64) -> KeyHash {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    KeyHash::from_bytes(bytes)
}

fn audit() -> NewAudit {
    NewAudit { actor: "operator".into(), action: "measure", at: NOW, detail: serde_json::Value::Null }
}

async fn make_keys(store: &dyn Store) -> Result<(), Box<dyn std::error::Error>> {
    let account = AccountId::new(NOW, [1; 10]);
    let new =
        NewAccount { id: account, email: "owner@example.com".into(), name: None, assigned_plan: None, created_at: NOW };
    store.create_account(&new, &audit()).await?;
    for number in 0..KEYS {
        let new = NewKey {
            id: KeyId::new(NOW, random(number)),
            account,
            hashed: HashedKey { hash: hash(number), masked: MaskedKey::default() },
            name: None,
            created_at: NOW,
            expires_at: None,
            scopes: Vec::new(),
            read_only: false,
            ip_rules: IpRules::default(),
            limits: KeyLimits::default(),
        };
        store.create_key(&new, None, &audit()).await?;
    }
    Ok(())
}

fn percentiles(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |hundredths: usize| times[(times.len() - 1) * hundredths / 100];
    println!("{what}: p50 {:?}, p99 {:?}, longest {:?}", at(50), at(99), at(100));
}

/// Revokes keys one after the other while gateways listen.
async fn revoke(bench: &Bench) -> Result<(), Box<dyn std::error::Error>> {
    let charges = Arc::new(NoCharges);
    let settings = CacheSettings::default();
    let relay = Relay::new(Arc::clone(&bench.link), Arc::clone(&bench.store), charges, None, settings);
    tokio::spawn(Arc::clone(&relay).run(bench.stop.subscribe()));
    relay.flushed().await;
    let heard: Vec<Arc<Heard>> = (0..GATEWAYS).map(|_| Arc::default()).collect();
    for sink in &heard {
        let clock = FleetClock::new(Arc::new(Fixed));
        let feed = Arc::new(Feed::silent());
        let reader = ChangeReader::new(Arc::clone(&bench.link), Arc::clone(sink) as _, feed, clock);
        tokio::spawn(reader.run(bench.stop.subscribe()));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (mut published, mut obeyed) = (Vec::new(), Vec::new());
    for number in 0..KEYS {
        bench.store.revoke_key(KeyId::new(NOW, random(number)), NOW, &audit()).await?;
        let start = Instant::now();
        relay.publish(&Change::Key(hash(number))).await;
        published.push(start.elapsed());
        let returned = Instant::now();
        while heard.iter().any(|sink| sink.0.load(Ordering::Acquire) <= number) {
            tokio::task::yield_now().await;
        }
        obeyed.push(returned.elapsed());
    }
    percentiles("a revocation's call waits for the fleet", published);
    percentiles("after its return the last of the gateways hears of it", obeyed);
    Ok(())
}

/// Reads keys that Redis knows, many callers at a time.
async fn find(bench: &Bench) -> Result<(), Box<dyn std::error::Error>> {
    let settings = CacheSettings { bound: Duration::from_secs(1), ..CacheSettings::default() };
    let keys = Arc::new(CachedKeys::new(Arc::clone(&bench.link), Arc::clone(&bench.store), settings));
    for _ in 0..2 {
        let start = Instant::now();
        let callers = (0..CALLERS).map(|caller| {
            let keys = Arc::clone(&keys);
            tokio::spawn(async move {
                for number in (caller..KEYS * 4).step_by(usize::try_from(CALLERS).expect("a small number")) {
                    keys.find_key(&hash(number % KEYS)).await.expect("Redis or the store answers");
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await?;
        }
        let stats = keys.stats();
        let (hits, misses) = (stats.hits.load(Ordering::Relaxed), stats.misses.load(Ordering::Relaxed));
        println!(
            "{} keys found in {:?} by {CALLERS} callers ({hits} hits, {misses} misses so far)",
            KEYS * 4,
            start.elapsed()
        );
    }
    Ok(())
}

/// Hands batches over and waits until they are in the ledger.
async fn ingest(bench: &Bench, batches: u64, lines: u64) -> Result<(), Box<dyn std::error::Error>> {
    let node = NodeId::new(NOW, random(lines));
    let stop = watch::Sender::new(false);
    let settings = SpoolSettings { folder: bench.folder.path().join("spool"), bytes_max: 1 << 30, node };
    let spool = SpooledUsage::open(&settings, Arc::clone(&bench.link))?;
    let sending = tokio::spawn(Arc::clone(&spool).run(stop.subscribe()));
    let ingest = UsageIngest::new(Arc::clone(&bench.link), Arc::clone(&bench.store), node);
    let ingesting = tokio::spawn(ingest.run(stop.subscribe()));
    let start = Instant::now();
    for sequence in 1..=batches {
        spool.take(&batch(node, sequence, lines)).await?;
    }
    let taken = start.elapsed();
    spool.settled(None).await;
    let stored = start.elapsed();
    println!("{batches} batches of {lines} lines: taken in {taken:?}, all stored after {stored:?}");
    let mut alone = Vec::new();
    for sequence in batches + 1..=batches + 50 {
        let start = Instant::now();
        spool.take(&batch(node, sequence, lines)).await?;
        spool.settled(None).await;
        alone.push(start.elapsed());
    }
    percentiles("one batch by itself, until its gateway knows that it is stored", alone);
    stop.send_replace(true);
    sending.await?;
    ingesting.await?;
    Ok(())
}

fn batch(node: NodeId, sequence: u64, lines: u64) -> UsageBatch {
    let line = |number| UsageLine {
        key: UsageKey {
            account: AccountId::new(NOW, random(number)),
            key: KeyId::new(NOW, random(number)),
            route: RouteName::new("events-id").expect("a good name"),
            status: StatusClass::Success,
            period: Period::calendar_month(NOW),
            meter: None,
            detached: false,
        },
        tally: UsageTally { calls: 1, units_debited: 1, units_charged: 1, ..UsageTally::default() },
    };
    UsageBatch {
        node,
        sequence,
        start: NOW,
        end: NOW + 250_000,
        lines: (0..lines).map(line).collect(),
        requests: Vec::new(),
    }
}
