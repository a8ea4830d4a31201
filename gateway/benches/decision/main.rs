//! One decision in process: read the key, hash it, look it up, check access, debit, write the limit headers.
//!
//! Shown at 1 000 and 1 000 000 known keys, and at 10 and 10 000 routes, so that a run tells how far apart they are.
//! What is measured is CPU time of the one thread that decides, so that a busy machine disturbs it little.
//! `cargo bench -p tollgate-gateway --bench decision`

mod made_up;

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use cpu_time::ThreadTime;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tollgate_config::{KeysConfig, OnLimiterDown};
use tollgate_domain::Clock;
use tollgate_gateway::SystemClock;
use tollgate_gateway::credential::KeyReader;
use tollgate_gateway::decision::{Call, Decider, DeciderParts, Verdict};
use tollgate_gateway::directory::{Directory, DirectoryParts};
use tollgate_gateway::limit_headers::{self, Forms};
use tollgate_gateway::metrics::Metrics;
use tollgate_gateway::snapshot::Snapshot;
use tollgate_gateway::usage::UsageRecorder;
use tollgate_limiter::{InProcess, InProcessSettings};
use tollgate_store::{Direct, Feed, Store, UsageSink};

use made_up::MadeUpKeys;

/// The binary's allocator: where it puts a million keys is part of what a decision costs.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Its options, too.
#[expect(unsafe_code, reason = "the allocator reads its options from the one symbol of this name")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8; 31] = b"thp:always,percpu_arena:percpu\0";

/// Calls that are made ready at a time, outside of what is measured. A gateway decides on a head that it has just read
/// from a socket, so these heads must still be in the processor's cache when their turn comes; what it remembers of
/// the keys is as cold as it would be. Thousands at a time would be cold themselves and hide the difference.
const CALLS_AT_A_TIME: u64 = 64;

struct Bench {
    decider: Decider<InProcess>,
    snapshot: Arc<Snapshot>,
    clock: Arc<dyn Clock>,
    keys: Vec<String>,
    path: String,
}

/// A gate with so many keys, each of its own account and each used once, so many routes, and these windows.
fn gate(key_count: usize, route_count: usize, windows: &str) -> Bench {
    let mut text = format!(
        "[plans.pro]\nrate = \"6_000_000/minute\"\nburst = 100_000\nwindows = [{windows}]\nquota = \"1_000_000_000/month\"\n",
    );
    for route in 0..route_count {
        writeln!(text, "[[routes]]\nname = \"r{route}\"\npath = \"/area{}/thing{route}/{{id}}\"", route % 97)
            .expect("writing to memory");
    }
    let loaded =
        tollgate_config::parse(&text, std::path::Path::new("bench.toml"), &|_: &str| None).expect("a good file");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (store, keys) = MadeUpKeys::new(key_count, clock.now());
    let store: Arc<dyn Store> = Arc::new(store);
    let metrics = Arc::new(Metrics::default());
    let limiter = Arc::new(InProcess::new(InProcessSettings::default()));
    let direct = Arc::new(Direct(Arc::clone(&store)));
    let usage = UsageRecorder::new(Arc::clone(&direct) as Arc<dyn UsageSink>, Arc::clone(&metrics));
    let directory = Arc::new(Directory::new(DirectoryParts {
        store,
        records: direct,
        feed: Arc::new(Feed::always()),
        stale_keys_for: Duration::from_hours(1),
        limiter: Arc::clone(&limiter),
        usage,
        metrics: Arc::clone(&metrics),
        clock: Arc::clone(&clock),
    }));
    let policy = Arc::new(loaded.config.policy);
    let decider = Decider::new(DeciderParts {
        snapshot: Snapshot::new(Arc::clone(&policy), 0, false),
        directory,
        limiter,
        keys: KeyReader::new(&KeysConfig::default()),
        metrics,
        clock: Arc::clone(&clock),
        mount: None,
        max_body: tollgate_config::ByteLimit::Unlimited,
        enforce: true,
        on_limiter_down: OnLimiterDown::Local,
    });
    let snapshot = decider.snapshot();
    let path = format!("/area{}/thing{}/7", (route_count - 1) % 97, route_count - 1);
    let bench = Bench { decider, snapshot, clock, keys, path };
    runtime.block_on(async {
        for key in &bench.keys {
            let headers = headers(key);
            assert!(matches!(bench.decide(&headers).await, Verdict::Forward(_)), "every key is let in");
        }
    });
    bench
}

fn headers(key: &str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(http::header::HOST, HeaderValue::from_static("api.example.com"));
    headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(http::header::USER_AGENT, HeaderValue::from_static("bench/1"));
    headers.insert(HeaderName::from_static("x-api-key"), HeaderValue::from_str(key).expect("a key is visible ASCII"));
    headers
}

impl Bench {
    async fn decide(&self, headers: &HeaderMap) -> Verdict<InProcess> {
        let call = Call {
            method: &Method::GET,
            path: &self.path,
            query: None,
            headers,
            client: std::net::Ipv4Addr::LOCALHOST.into(),
            body_length: None,
            now: self.clock.now(),
        };
        self.decider.decide(&self.snapshot, &call).await
    }

    /// The whole of what is measured: the decision and the headers of the answer it leads to.
    fn decide_and_write(&self, headers: &HeaderMap, answer: &mut HeaderMap) {
        let verdict = self.decide(headers).now_or_never().expect("a cached key is decided without waiting");
        let Verdict::Forward(passage) = verdict else { panic!("every key is let in") };
        let standing = passage.standing.as_ref().expect("a keyed call has a standing");
        limit_headers::write(standing, Forms { draft: true, legacy: true }, |name, value| {
            answer.insert(name, value);
        });
        black_box(&passage.route);
    }
}

/// CPU time of the measuring thread, shown like wall time.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = ThreadTime;
    type Value = Duration;

    fn start(&self) -> ThreadTime {
        ThreadTime::now()
    }

    fn end(&self, start: ThreadTime) -> Duration {
        start.elapsed()
    }

    fn add(&self, left: &Duration, right: &Duration) -> Duration {
        *left + *right
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn decisions(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("decision");
    let cases = [
        (1_000, 10, "bucket and quota", ""),
        (1_000_000, 10, "bucket and quota", ""),
        (1_000, 10_000, "bucket and quota", ""),
        (1_000, 10, "bucket, day and quota", "\"1_000_000_000/day\""),
        (1_000_000, 10, "bucket, day and quota", "\"1_000_000_000/day\""),
    ];
    for (keys, routes, limits, windows) in cases {
        let bench = gate(keys, routes, windows);
        let mut next = 0_usize;
        group.bench_function(format!("{keys} keys, {routes} routes, {limits}"), |bencher| {
            bencher.iter_batched_ref(
                || {
                    // A step that is coprime to the count visits every key, far from the one before.
                    next = (next + 618_033) % bench.keys.len();
                    (headers(&bench.keys[next]), HeaderMap::with_capacity(16))
                },
                |(headers, answer)| bench.decide_and_write(headers, answer),
                BatchSize::NumIterations(CALLS_AT_A_TIME),
            );
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = decisions
}
criterion_main!(benches);
