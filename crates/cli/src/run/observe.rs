//! The metrics listener: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever keeps the process alive.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus::{Encoder, TextEncoder};
use tokio::sync::watch;
use tollgate_config::Live;
use tollgate_gateway::metrics::Metrics;
use tollgate_store::Store;

/// How long the store may take to say it is there.
const PING_MAX: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Observed {
    metrics: Arc<Metrics>,
    store: Arc<dyn Store>,
    stopping: watch::Receiver<bool>,
}

/// The listener's pages. `stopping` turns true when the process takes no more requests.
pub(crate) fn router(metrics: Arc<Metrics>, store: Arc<dyn Store>, stopping: watch::Receiver<bool>) -> Router {
    metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(Observed { metrics, store, stopping })
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
    match encoder.encode(&observed.metrics.registry().gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// 200 while calls can be served: the listeners are up, the configuration is in force, the store answers.
async fn ready(State(observed): State<Observed>) -> impl IntoResponse {
    if *observed.stopping.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    match tokio::time::timeout(PING_MAX, observed.store.ping()).await {
        Ok(Ok(())) => (StatusCode::OK, "ready\n"),
        Ok(Err(_)) | Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n"),
    }
}
