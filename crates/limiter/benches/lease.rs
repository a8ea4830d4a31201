//! A call that is decided from what the node holds: nothing is asked, nothing is waited for.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use criterion::{Criterion, criterion_group, criterion_main};
use tollgate_domain::limit::{Bucket, BucketState, Debit, LimitSet, Quota, QuotaState, Reading, Window, WindowReading};
use tollgate_domain::{AccountId, DAY_US, Period, Rate, Timestamp, Unit};
use tollgate_limiter::lease::{LeaseEntry, LeaseSettings, Leases, Tokio};
use tollgate_limiter::protocol::{LeaseAsk, LeaseReply, LeaseServer, LeaseVerdict};
use tollgate_limiter::{LimiterDown, Subject};

const START: Timestamp = Timestamp::from_secs(1_772_323_200);
const PERIOD: Period = Period { start: START, end: Timestamp::from_secs(1_772_323_200 + 31 * 86_400) };

/// Grants whatever is wished for, and more.
struct Generous;

impl LeaseServer for Generous {
    async fn lease(&self, ask: LeaseAsk<'_>) -> Result<LeaseReply, LimiterDown> {
        let bucket = ask.limits.bucket.map(|spec| BucketState::full(spec, START));
        let windows = ask.limits.windows.iter().map(|_| WindowReading { total: 0, room_at: None }).collect();
        Ok(LeaseReply {
            verdict: LeaseVerdict::Granted { spare: 1 << 40 },
            epoch: 1,
            kept: ask.keep,
            redis_now: START,
            reading: Reading { bucket, windows, quota: QuotaState { period: PERIOD, used: 0, ledger_position: 0 } },
            outstanding_others: 0,
        })
    }
}

fn ready<T>(answer: impl Future<Output = T>) -> T {
    match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("the stand-in answers at once"),
    }
}

fn local_spends(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let bucket = Bucket::new(Rate { count: 1_000_000, per: Unit::Second }, 1_000_000_000).expect("in bounds");
    let plain = LimitSet { bucket: Some(bucket), quota: Quota { limit: Some(1 << 50) }, ..LimitSet::default() };
    let window = Window { limit: 1 << 50, length: Unit::Day };
    let with_window = LimitSet { windows: std::iter::once(window).collect(), ..plain.clone() };
    let mut group = criterion.benchmark_group("lease_spend");
    for (name, limits) in [("bucket_quota", plain), ("bucket_window_quota", with_window)] {
        // A lease that outlives the measuring, so that only spends are measured.
        let settings = LeaseSettings { ttl: std::time::Duration::from_mins(1) };
        let leases = Leases::new(Generous, Tokio::new(runtime.handle().clone()), settings);
        let subject = Subject::Account(AccountId::new(START, [1; 10]));
        let entry = Arc::new(LeaseEntry::new(subject));
        let debit = Debit { limits: &limits, key: None, meter: None, period: PERIOD, cost: 1 };
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(ready(leases.debit(&entry, black_box(&debit)))));
        });
        assert!(PERIOD.end - START > DAY_US && entry.is_held());
    }
    group.finish();
}

criterion_group!(benches, local_spends);
criterion_main!(benches);
