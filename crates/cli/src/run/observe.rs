//! The metrics listener: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever keeps the process alive.
//!
//! Parts that count by themselves are read when Prometheus asks, not before.

mod billing;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus::{Encoder, IntCounter, TextEncoder};
use tokio::sync::watch;
use tollgate_admin_api::BackgroundStats;
use tollgate_billing::BillingStats;
use tollgate_config::Live;
use tollgate_domain::Clock;
use tollgate_fleet::ChangeReader;
use tollgate_gateway::metrics::Metrics;
use tollgate_limiter::{Health, Limiter};
use tollgate_store::Store;

use super::Role;
use super::shared::{ControlSide, GatewaySide, Shared};

/// How long the store may take to say it is there.
const PING_MAX: Duration = Duration::from_secs(2);

type Reading = Box<dyn Fn(&Metrics) + Send + Sync>;

/// What is read of the process's parts when metrics are asked for.
pub(super) struct Readings {
    metrics: Arc<Metrics>,
    readings: Vec<Reading>,
}

impl Readings {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Self { metrics, readings: Vec::new() }
    }

    /// The shared limits, and who shares them.
    pub(super) fn of_shared(&mut self, shared: &Arc<Shared>) {
        let shared = Arc::clone(shared);
        self.readings.push(Box::new(move |metrics| {
            let Health { is_down, outages, commands, failures, units_leased } = shared.limiter.health();
            metrics.limiter_down.set(is_down.into());
            metrics.limiter_units_leased.set(signed(units_leased));
            catch_up(&metrics.limiter_outages, outages);
            catch_up(&metrics.limiter_commands, commands);
            catch_up(&metrics.limiter_failures, failures);
            metrics.nodes.reset();
            for node in shared.registry.last_known() {
                metrics.nodes.with_label_values(&[Role::of(node.facts.role).as_str()]).inc();
            }
        }));
    }

    /// A fleet's gateway: changes and the spool.
    pub(super) fn of_gateway(&mut self, side: &GatewaySide, reader: Arc<ChangeReader>) {
        let (usage, feed, clock) = (Arc::clone(&side.usage), Arc::clone(&side.feed), Arc::clone(&side.clock));
        self.readings.push(Box::new(move |metrics| {
            let spool = usage.stats();
            metrics.spool_batches.set(signed(spool.batches.load(Ordering::Relaxed)));
            metrics.spool_bytes.set(signed(spool.bytes.load(Ordering::Relaxed)));
            metrics.spool_oldest.set(usage.oldest_age().as_secs_f64());
            catch_up(&metrics.spool_rows_left_out, spool.requests_left_out.load(Ordering::Relaxed));
            metrics.spool_full.set(spool.is_refusing.load(Ordering::Relaxed).into());
            metrics.changes_live.set(feed.is_live(clock.now()).into());
            let changes = reader.stats();
            metrics.changes_lag.set(seconds(changes.lag_us.load(Ordering::Relaxed)));
            catch_up(&metrics.changes_resyncs, changes.resyncs.load(Ordering::Relaxed));
        }));
    }

    /// Notices, and what is thrown away.
    pub(super) fn of_background(&mut self, stats: Arc<BackgroundStats>) {
        self.readings.push(Box::new(move |metrics| {
            let BackgroundStats { notices, delivered, failed, given_up, pruned } = &*stats;
            for (result, count) in
                [("kept", notices), ("delivered", delivered), ("failed", failed), ("given_up", given_up)]
            {
                catch_up(&metrics.notices.with_label_values(&[result]), count.load(Ordering::Relaxed));
            }
            catch_up(&metrics.rows_pruned, pruned.load(Ordering::Relaxed));
        }));
    }

    /// What is done with Stripe.
    pub(super) fn of_billing(&mut self, stats: Arc<BillingStats>, clock: Arc<dyn Clock>) {
        self.readings.push(Box::new(move |metrics| billing::read(metrics, &stats, clock.now())));
    }

    /// A fleet's control plane: the outbox and the usage it stores.
    pub(super) fn of_control(&mut self, side: &ControlSide) {
        let (relay, ingest) = (Arc::clone(&side.relay), Arc::clone(&side.ingest));
        self.readings.push(Box::new(move |metrics| {
            metrics.outbox_pending.set(relay.stats().waiting.load(Ordering::Relaxed));
            let stored = ingest.stats();
            catch_up(&metrics.usage_ingested, stored.stored.load(Ordering::Relaxed));
            catch_up(&metrics.usage_dead, stored.dead.load(Ordering::Relaxed));
        }));
    }

    fn read(&self) {
        self.readings.iter().for_each(|reading| reading(&self.metrics));
    }
}

/// Brings a counter to a count that is kept elsewhere.
fn catch_up(counter: &IntCounter, count: u64) {
    counter.inc_by(count.saturating_sub(counter.get()));
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "a lag is short, and nobody reads its microseconds")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// Whether calls can be served.
#[derive(Clone)]
pub(super) struct Readiness {
    store: Arc<dyn Store>,
    stopping: watch::Receiver<bool>,
    /// A fleet's gateway serves on when the database goes away, so it must not be taken out of service for that: all of
    /// them would be, at once. It is ready when it has once heard of the database or of the fleet.
    fleet: Option<Arc<Shared>>,
    was_ready: Arc<AtomicBool>,
}

impl Readiness {
    /// `stopping` turns true when the process takes no more requests.
    pub(super) fn new(
        store: Arc<dyn Store>,
        shared: Option<&Arc<Shared>>,
        role: Role,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let fleet = shared.filter(|_| role == Role::Gateway).cloned();
        Self { store, stopping, fleet, was_ready: Arc::default() }
    }
}

#[derive(Clone)]
struct Observed {
    readings: Arc<Readings>,
    ready: Readiness,
}

/// The listener's pages.
pub(super) fn router(readings: Readings, ready: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(is_ready))
        .with_state(Observed { readings: Arc::new(readings), ready })
}

/// Shows which configuration is in force.
pub(crate) fn show_config(metrics: &Metrics, live: &Live) {
    let status = live.status();
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds since the epoch are exact in a double for longer than needed"
    )]
    metrics.config_in_force(&status.hash, status.loaded_at.as_secs() as f64);
}

async fn scrape(State(observed): State<Observed>) -> impl IntoResponse {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    observed.readings.read();
    match encoder.encode(&observed.readings.metrics.registry().gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// 200 while calls can be served: the listeners are up, the configuration is in force, the store answers.
async fn is_ready(State(observed): State<Observed>) -> impl IntoResponse {
    let Readiness { store, stopping, fleet, was_ready } = &observed.ready;
    if *stopping.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    if fleet.is_some() && was_ready.load(Ordering::Relaxed) {
        return (StatusCode::OK, "ready\n");
    }
    let answered = matches!(tokio::time::timeout(PING_MAX, store.ping()).await, Ok(Ok(())));
    let heard = fleet.as_ref().is_some_and(|shared| !shared.registry.last_known().is_empty());
    if !answered && !heard {
        return (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n");
    }
    was_ready.store(true, Ordering::Relaxed);
    (StatusCode::OK, "ready\n")
}
