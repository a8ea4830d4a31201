//! The sample backend: a small HTTP service that knows nothing of keys, plans or the gate in front of it.
//!
//! Its answers are computed from the few records below. It keeps no state.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;

use axum::Json;
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Path, Query, Request};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde::Deserialize;
use serde_json::{Value, json};

/// The most events one answer lists.
const EVENTS_MAX: usize = 50;

/// Something a listed company published.
struct Event {
    id: u32,
    ticker: &'static str,
    kind: &'static str,
    title: &'static str,
    published: &'static str,
    /// How far the share moved on the day, in hundredths of a percent.
    moved_basis_points: i32,
}

struct Company {
    ticker: &'static str,
    name: &'static str,
}

const COMPANIES: [Company; 3] = [
    Company { ticker: "ACME", name: "Acme Corporation" },
    Company { ticker: "GLBX", name: "Globex" },
    Company { ticker: "INIT", name: "Initech" },
];

const EVENTS: [Event; 6] = [
    Event {
        id: 1,
        ticker: "ACME",
        kind: "earnings",
        title: "Acme reports third-quarter earnings",
        published: "2025-10-14",
        moved_basis_points: 310,
    },
    Event {
        id: 2,
        ticker: "GLBX",
        kind: "release",
        title: "Globex releases version 4 of its planner",
        published: "2025-10-16",
        moved_basis_points: 45,
    },
    Event {
        id: 3,
        ticker: "INIT",
        kind: "earnings",
        title: "Initech lowers its earnings forecast",
        published: "2025-10-21",
        moved_basis_points: -620,
    },
    Event {
        id: 4,
        ticker: "ACME",
        kind: "recall",
        title: "Acme recalls a batch of rocket skates",
        published: "2025-10-23",
        moved_basis_points: -180,
    },
    Event {
        id: 5,
        ticker: "GLBX",
        kind: "earnings",
        title: "Globex reports record earnings",
        published: "2025-10-28",
        moved_basis_points: 540,
    },
    Event {
        id: 6,
        ticker: "INIT",
        kind: "release",
        title: "Initech releases a new report cover sheet",
        published: "2025-10-30",
        moved_basis_points: 5,
    },
];

/// The backend's routes.
pub(crate) fn router() -> Router {
    Router::new()
        .route("/events/public", get(public_events))
        .route("/events/search", get(search_events))
        .route("/events/{id}", get(one_event))
        .route("/impact/score", get(impact_score))
        .route("/portfolio/estimate", get(portfolio_estimate))
        .route("/companies", get(companies))
        .route("/companies/{ticker}", get(one_company))
        .route("/auth", any(own_page))
        .route("/auth/{*rest}", any(own_page))
        .route("/pricing", any(own_page))
        .route("/pricing/{*rest}", any(own_page))
        .route("/echo", any(echo))
        .route("/echo/{*rest}", any(echo))
        .fallback(|uri: Uri| async move { not_found(&format!("nothing at {}", uri.path())) })
}

#[derive(Deserialize)]
struct Search {
    #[serde(default)]
    q: String,
    limit: Option<usize>,
}

#[derive(Deserialize)]
struct Impact {
    event: Option<u32>,
}

#[derive(Deserialize)]
struct Portfolio {
    #[serde(default)]
    tickers: String,
}

async fn public_events() -> Json<Value> {
    Json(event_list(EVENTS.iter().rev(), EVENTS_MAX))
}

async fn search_events(Query(search): Query<Search>) -> Json<Value> {
    let wanted = search.q.to_lowercase();
    let hits = EVENTS.iter().filter(|event| event.title.to_lowercase().contains(&wanted) || event.kind == wanted);
    Json(event_list(hits, search.limit.unwrap_or(EVENTS_MAX).min(EVENTS_MAX)))
}

async fn one_event(Path(id): Path<String>) -> Response {
    let event = id.parse().ok().and_then(event_of_id);
    event.map_or_else(|| not_found(&format!("no event {id}")), |event| Json(event_json(event)).into_response())
}

/// An event's weight from 0 to 100: how far the share moved, five percent and more being all of it.
async fn impact_score(Query(impact): Query<Impact>) -> Response {
    let id = impact.event.unwrap_or(1);
    let Some(event) = event_of_id(id) else { return not_found(&format!("no event {id}")) };
    let score = (event.moved_basis_points.abs() / 5).min(100);
    Json(json!({ "event": event.id, "ticker": event.ticker, "score": score })).into_response()
}

/// How the named companies' events moved a portfolio that holds them in equal parts.
async fn portfolio_estimate(Query(portfolio): Query<Portfolio>) -> Json<Value> {
    let tickers: Vec<&str> = portfolio.tickers.split(',').map(str::trim).filter(|text| !text.is_empty()).collect();
    let known: Vec<&str> = COMPANIES
        .iter()
        .map(|company| company.ticker)
        .filter(|ticker| tickers.is_empty() || tickers.contains(ticker))
        .collect();
    let moved: i32 =
        EVENTS.iter().filter(|event| known.contains(&event.ticker)).map(|event| event.moved_basis_points).sum();
    let mean = moved / i32::try_from(known.len()).unwrap_or(i32::MAX).max(1);
    Json(json!({ "tickers": known, "moved_basis_points": mean }))
}

async fn companies() -> Json<Value> {
    let companies: Vec<Value> = COMPANIES.iter().map(company_json).collect();
    Json(json!({ "companies": companies }))
}

async fn one_company(Path(ticker): Path<String>) -> Response {
    let company = COMPANIES.iter().find(|company| company.ticker.eq_ignore_ascii_case(&ticker));
    company.map_or_else(
        || not_found(&format!("no company {ticker}")),
        |company| Json(company_json(company)).into_response(),
    )
}

/// Pages that stay the backend's own business whatever stands in front of it.
async fn own_page(method: Method, uri: Uri) -> Json<Value> {
    Json(json!({ "served_by": "backend", "method": method.as_str(), "path": uri.path() }))
}

/// What arrived: method, target, headers, and how long the body was. The body is counted as it streams, never held.
async fn echo(request: Request) -> Response {
    let (head, body) = request.into_parts();
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        headers
            .entry(name.to_string())
            .and_modify(|values| *values = format!("{values}, {value}"))
            .or_insert_with(|| value.into_owned());
    }
    let Ok(body_bytes) = count_body(body).await else {
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": "the body broke off" }))).into_response();
    };
    Json(json!({
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "headers": headers,
        "body_bytes": body_bytes,
    }))
    .into_response()
}

async fn count_body(mut body: Body) -> Result<u64, axum::Error> {
    let mut bytes = 0_u64;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(bytes)
}

fn event_of_id(id: u32) -> Option<&'static Event> {
    EVENTS.iter().find(|event| event.id == id)
}

fn event_list(events: impl Iterator<Item = &'static Event>, limit: usize) -> Value {
    let events: Vec<Value> = events.take(limit).map(event_json).collect();
    json!({ "count": events.len(), "events": events })
}

fn event_json(event: &Event) -> Value {
    json!({
        "id": event.id,
        "ticker": event.ticker,
        "kind": event.kind,
        "title": event.title,
        "published": event.published,
    })
}

fn company_json(company: &Company) -> Value {
    let events: Vec<u32> = EVENTS.iter().filter(|event| event.ticker == company.ticker).map(|event| event.id).collect();
    json!({ "ticker": company.ticker, "name": company.name, "events": events })
}

fn not_found(what: &str) -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "error": what }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn call(request: reqwest::RequestBuilder) -> (u16, Value) {
        let answer = request.send().await.expect("the backend answers");
        (answer.status().as_u16(), answer.json().await.expect("the backend speaks JSON"))
    }

    #[tokio::test]
    async fn documented_paths_answer() {
        crate::client::tests::install_crypto_provider();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("a bound address"));
        let server = tokio::spawn(async move { axum::serve(listener, router()).await });
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        for (path, status, pointer, expected) in [
            ("/events/public", 200, "/count", json!(6)),
            ("/events/search?q=earnings&limit=2", 200, "/count", json!(2)),
            ("/events/search?q=EARNINGS", 200, "/count", json!(3)),
            ("/events/search?q=nothing", 200, "/events", json!([])),
            ("/events/3", 200, "/ticker", json!("INIT")),
            ("/events/99", 404, "/error", json!("no event 99")),
            ("/events/x", 404, "/error", json!("no event x")),
            ("/impact/score?event=5", 200, "/score", json!(100)),
            ("/impact/score?event=2", 200, "/score", json!(9)),
            ("/portfolio/estimate?tickers=ACME,GLBX", 200, "/moved_basis_points", json!(357)),
            ("/portfolio/estimate?tickers=NONE", 200, "/moved_basis_points", json!(0)),
            ("/companies", 200, "/companies/2/ticker", json!("INIT")),
            ("/companies/acme", 200, "/events", json!([1, 4])),
            ("/companies/none", 404, "/error", json!("no company none")),
            ("/auth/login", 200, "/path", json!("/auth/login")),
            ("/pricing", 200, "/served_by", json!("backend")),
            ("/pricing/plans", 200, "/path", json!("/pricing/plans")),
            ("/nowhere", 404, "/error", json!("nothing at /nowhere")),
        ] {
            let (got, body) = call(http.get(format!("{base}{path}"))).await;
            assert_eq!((got, body.pointer(pointer)), (status, Some(&expected)), "{path}: {body}");
        }
        let (status, body) = call(http.post(format!("{base}/echo/a?b=c")).header("x-seen", "yes").body("12345")).await;
        assert_eq!(status, 200);
        for (pointer, expected) in [
            ("/method", json!("POST")),
            ("/path", json!("/echo/a")),
            ("/query", json!("b=c")),
            ("/headers/x-seen", json!("yes")),
            ("/body_bytes", json!(5)),
        ] {
            assert_eq!(body.pointer(pointer), Some(&expected), "{pointer}");
        }
        server.abort();
    }
}
