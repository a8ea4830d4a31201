//! One debit through a handle: at one, a thousand and a million accounts, and with two threads on one account.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Barrier;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tollgate_domain::limit::{Bucket, Debit, LimitSet, Outcome, Quota, Seed, Spending, Window};
use tollgate_domain::{AccountId, DAY_US, Period, Rate, Timestamp, Unit};
use tollgate_limiter::{Handle, InProcess, Limiter, Subject};

const START: Timestamp = Timestamp::from_secs(1_772_323_200);
/// Another account each call, far apart in memory, as the next request's usually is.
const STRIDE: usize = 7_919;

fn limits(windows: &[(u64, Unit)]) -> LimitSet {
    let rate = Rate { count: 1_000_000, per: Unit::Second };
    LimitSet {
        bucket: Some(Bucket::new(rate, 1_000_000_000).expect("in bounds")),
        windows: windows.iter().map(|(limit, length)| Window { limit: *limit, length: *length }).collect(),
        quota: Quota { limit: Some(1 << 50) },
    }
}

fn one(limits: &LimitSet) -> Debit<'_> {
    Debit { limits, key: None, meter: None, period: Period { start: START, end: START + 31 * DAY_US }, cost: 1 }
}

fn ready<T>(answer: impl Future<Output = T>) -> T {
    match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("the in-process limiter waited"),
    }
}

fn seeded(limiter: &InProcess, number: usize, limits: &LimitSet) -> Handle {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&u64::try_from(number).expect("an account's number").to_be_bytes());
    let handle = limiter.open(Subject::Account(AccountId::new(START, random)));
    let seed =
        Seed { since: Timestamp::EPOCH, account: Spending::default(), key: None, meter: None, ledger_position: 0 };
    assert_eq!(ready(limiter.seed(&handle, limiter.ticket(), &one(limits), &seed, START)), Ok(true));
    handle
}

fn debit(limiter: &InProcess, handle: &Handle, debit: &Debit<'_>, now: Timestamp) -> Outcome {
    ready(limiter.debit(handle, debit, now)).expect("it answers")
}

fn by_number_of_accounts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("debit");
    let plans = [("bucket_quota", limits(&[])), ("bucket_window_quota", limits(&[(1 << 50, Unit::Day)]))];
    for (name, limits) in &plans {
        for accounts in [1, 1_000, 1_000_000] {
            let limiter = InProcess::default();
            let handles: Vec<Handle> = (0..accounts).map(|number| seeded(&limiter, number, limits)).collect();
            let (mut next, mut now) = (0, START);
            group.bench_function(BenchmarkId::new(*name, accounts), |bencher| {
                bencher.iter(|| {
                    next = (next + STRIDE) % handles.len();
                    now = now + 1;
                    black_box(debit(&limiter, &handles[next], black_box(&one(limits)), now))
                });
            });
        }
    }
    group.finish();
}

/// Time a call of each of so many threads takes, all on one account.
fn time_on_one_account(limiter: &InProcess, handle: &Handle, limits: &LimitSet, threads: u32, calls: u64) -> Duration {
    let barrier = Barrier::new(usize::try_from(threads).expect("a few"));
    let calls = i64::try_from(calls).expect("fits");
    let work = || {
        barrier.wait();
        let started = Instant::now();
        for call in 0..calls {
            black_box(debit(limiter, handle, black_box(&one(limits)), START + call));
        }
        started.elapsed()
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().map(|thread| thread.join().expect("no thread panics")).max().unwrap_or_default()
    })
}

fn contended(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("debit_one_account");
    for threads in [1, 2] {
        let limiter = InProcess::default();
        let limits = limits(&[]);
        let handle = seeded(&limiter, 0, &limits);
        group.bench_function(BenchmarkId::new("threads", threads), |bencher| {
            bencher.iter_custom(|calls| time_on_one_account(&limiter, &handle, &limits, threads, calls));
        });
    }
    group.finish();
}

/// A handle by search, as the first call of a key's record or a client's every call needs it.
fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    for accounts in [1_000, 1_000_000] {
        let limiter = InProcess::default();
        let limits = limits(&[]);
        let subject = |number: usize| {
            let mut random = [0; 10];
            random[2..].copy_from_slice(&u64::try_from(number).expect("an account's number").to_be_bytes());
            Subject::Account(AccountId::new(START, random))
        };
        let kept: Vec<Handle> = (0..accounts).map(|number| seeded(&limiter, number, &limits)).collect();
        let mut next = 0;
        group.bench_function(BenchmarkId::new("known", accounts), |bencher| {
            bencher.iter(|| {
                next = (next + STRIDE) % kept.len();
                black_box(limiter.open(subject(next)))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, by_number_of_accounts, contended, open);
criterion_main!(benches);
