//! What the shared limiter costs, measured in one run: `cargo run --release --example shared -- redis://127.0.0.1:6379`.
//!
//! It fills the Redis it is given with accounts of its own, and leaves them there to expire: give it one to itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate_domain::limit::{Bucket, Debit, LimitSet, Outcome, Quota, Seed, Spending, Window};
use tollgate_domain::{AccountId, DAY_US, NodeId, Period, Rate, Timestamp, Unit};
use tollgate_limiter::{InProcess, Limiter, Mode, RedisLimiter, RedisSettings, Subject, Topology};

const TASKS: usize = 64;
const RUN_FOR: Duration = Duration::from_secs(3);

#[expect(clippy::disallowed_methods, reason = "there is no clock to be injected where the real one is measured")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Timestamp::from_micros(i64::try_from(since.as_micros()).expect("before the year 294247"))
}

fn account(number: u64) -> Subject {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    Subject::Account(AccountId::new(now(), random))
}

fn roomy(windows: &[Unit]) -> LimitSet {
    let rate = Rate { count: 1_000_000, per: Unit::Second };
    LimitSet {
        bucket: Some(Bucket::new(rate, 1_000_000_000).expect("in bounds")),
        windows: windows.iter().map(|length| Window { limit: 1 << 50, length: *length }).collect(),
        quota: Quota { limit: Some(1 << 50) },
    }
}

fn one(limits: &LimitSet) -> Debit<'_> {
    let day = now().as_micros().div_euclid(DAY_US) * DAY_US;
    let period = Period { start: Timestamp::from_micros(day), end: Timestamp::from_micros(day + 31 * DAY_US) };
    Debit { limits, key: None, meter: None, period, cost: 1 }
}

async fn seeded<L: Limiter>(limiter: &L, subject: Subject, limits: &LimitSet) -> L::Handle {
    let handle = limiter.open(subject);
    let since = Timestamp::from_micros(i64::MIN);
    let seed = Seed { since, account: Spending::default(), key: None, meter: None, ledger_position: 0 };
    for _ in 0..100 {
        if limiter.seed(&handle, limiter.ticket(), &one(limits), &seed, now()).await == Ok(true) {
            return handle;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("Redis does not answer");
}

/// Calls of so many tasks on one account for a while: calls a second, and commands a call.
async fn storm<L: Limiter>(name: &str, limiter: &Arc<L>, limits: &LimitSet, tasks: usize) -> f64 {
    let subject = account(u64::MAX);
    let handle = seeded(&**limiter, subject, limits).await;
    let limits = Arc::new(limits.clone());
    let commands = limiter.health().commands;
    let began = Instant::now();
    let running: Vec<_> = (0..tasks)
        .map(|_| {
            let (limiter, limits, handle) = (Arc::clone(limiter), Arc::clone(&limits), handle.clone());
            tokio::spawn(async move {
                let debit = one(&limits);
                let (mut calls, mut failed) = (0_u32, 0_u32);
                while began.elapsed() < RUN_FOR {
                    match limiter.debit(&handle, &debit, now()).await {
                        Ok(Outcome::Admitted(_)) => calls += 1,
                        _ => failed += 1,
                    }
                    if calls % 64 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                (calls, failed)
            })
        })
        .collect();
    let (mut calls, mut failed) = (0, 0);
    for task in running {
        let (did, did_not) = task.await.expect("no task panics");
        (calls, failed) = (calls + did, failed + did_not);
    }
    let took = began.elapsed().as_secs_f64();
    let commands = u32::try_from(limiter.health().commands - commands).unwrap_or(u32::MAX);
    let a_second = f64::from(calls) / took;
    say(&format!(
        "{name}, {tasks} tasks: {a_second:.0} calls/s, {:.4} commands a call, {failed} failed",
        f64::from(commands) / f64::from(calls.max(1))
    ));
    a_second
}

#[expect(clippy::print_stdout, reason = "it is a program that tells what it measured")]
fn say(text: &str) {
    println!("{text}");
}

async fn memory(client: &redis::Client) -> i64 {
    let mut connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
    let info: String = redis::cmd("INFO").arg("memory").query_async(&mut connection).await.expect("it tells");
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("it is there");
    line.trim().parse().expect("a number")
}

async fn bytes_an_account(
    client: &redis::Client,
    limiter: &Arc<RedisLimiter>,
    name: &str,
    limits: &LimitSet,
    from: u64,
    count: u64,
    calls: u64,
) {
    let before = memory(client).await;
    let running: Vec<_> = (0..TASKS as u64)
        .map(|task| {
            let (limiter, limits) = (Arc::clone(limiter), limits.clone());
            tokio::spawn(async move {
                for number in (from + task..from + count).step_by(TASKS) {
                    let handle = seeded(&*limiter, account(number), &limits).await;
                    for _ in 0..calls {
                        drop(limiter.debit(&handle, &one(&limits), now()).await);
                        if calls > 2 {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                    }
                }
            })
        })
        .collect();
    for task in running {
        task.await.expect("no task panics");
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let bytes = (memory(client).await - before) / i64::try_from(count).expect("small");
    say(&format!("{name}: {bytes} bytes an account ({count} accounts, {calls} calls each)"));
}

#[tokio::main]
async fn main() {
    let url = std::env::args().nth(1).expect("the URL of a Redis to itself");
    let accounts = std::env::args().nth(2).and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let limits = roomy(&[]);
    let settings = |mode| RedisSettings {
        timeout: Duration::from_secs(2),
        ..RedisSettings::new(Topology::Single(url.clone()), mode, NodeId::new(now(), [7; 10]))
    };
    let exact = Arc::new(RedisLimiter::new(&settings(Mode::Exact)).expect("a URL"));
    let ttl = Duration::from_millis(500);
    let leased = Arc::new(RedisLimiter::new(&settings(Mode::Leased { ttl })).expect("a URL"));
    let memory_rate = storm("in-process", &Arc::new(InProcess::default()), &limits, TASKS).await;
    let exact_rate = storm("exact", &exact, &limits, TASKS).await;
    storm("exact", &exact, &limits, 1).await;
    storm("exact, two windows", &exact, &roomy(&[Unit::Minute, Unit::Day]), TASKS).await;
    let leased_rate = storm("leased", &leased, &limits, TASKS).await;
    leased.close().await;
    say(&format!(
        "in-process / exact: {:.1}, in-process / leased: {:.2}",
        memory_rate / exact_rate,
        memory_rate / leased_rate
    ));
    let client = redis::Client::open(url.as_str()).expect("a URL");
    bytes_an_account(&client, &exact, "bucket and quota, exact", &limits, 0, accounts, 2).await;
    bytes_an_account(&client, &leased, "bucket and quota, leased", &limits, 1 << 32, accounts, 2).await;
    let windowed = roomy(&[Unit::Day]);
    bytes_an_account(&client, &exact, "and a window with one slice", &windowed, 2 << 32, accounts / 10, 2).await;
    let full = roomy(&[Unit::Second]);
    bytes_an_account(&client, &exact, "and a full window of a second", &full, 3 << 32, 64, 260).await;
}
