//! The client against small servers that answer as an admin API, or something else, would.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Path as PathSegment, Query};
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::{any, get};
use parking_lot::Mutex;
use serde_json::json;

use super::*;

/// `main` installs it once; tests share one process, and the first of them wins.
pub(crate) fn install_crypto_provider() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

pub(crate) async fn serve(router: Router) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    Url::parse(&format!("http://{address}")).expect("a URL")
}

fn client(base: Url, token: Token) -> AdminClient {
    install_crypto_provider();
    AdminClient::new(base, token).expect("a client")
}

fn known() -> Token {
    Token::Known("right".to_owned())
}

fn problem(status: u16, body: &'static str) -> Router {
    let status = StatusCode::from_u16(status).expect("a status");
    Router::new().fallback(any(move || async move {
        (status, [("content-type", "application/problem+json")], body).into_response()
    }))
}

#[tokio::test]
async fn every_failure_says_what_to_look_at() {
    let refused = r##"{"status":422,"code":"invalid_fields","detail":"there is no plan `gold`; there are free, pro",
        "errors":[{"pointer":"#/plan","detail":"there is no plan `gold`; there are free, pro"}]}"##;
    let several = r##"{"status":422,"code":"invalid_fields","detail":"2 things are wrong with this request",
        "errors":[{"pointer":"#/rate","detail":"no\nslash"},{"parameter":"limit","detail":"too large"}]}"##;
    let internal = r#"{"status":500,"code":"internal","detail":"Internal error","request_id":"r7"}"#;
    let unauthorized = r#"{"status":401,"code":"unauthorized","detail":"The operator's token is missing or wrong"}"#;
    for (status, body, expected) in [
        (422, refused, "plan: there is no plan `gold`; there are free, pro"),
        (422, several, "2 things are wrong with this request\n  rate: no\\u{a}slash\n  limit: too large"),
        (500, internal, "Internal error (internal; the server's log has the cause of request r7)"),
        (401, unauthorized, "refused the operator's token"),
        (200, "<html>", "does another program listen there?"),
        (404, "not here", "answered 404, but not as an admin API does"),
        (302, "", "answered 302"),
    ] {
        let base = serve(problem(status, body)).await;
        let error = client(base, known()).get(&["accounts"]).await.expect_err(body);
        assert!(error.to_string().contains(expected), "{status} {body}: {error}");
    }
}

#[tokio::test]
async fn nothing_at_the_address_is_said_plainly() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    drop(listener);
    let base = Url::parse(&format!("http://{address}")).expect("a URL");
    let missing = Token::read(Path::new("/nonexistent/admin-token"));
    for token in [known(), missing] {
        let error = client(base.clone(), token).get(&["accounts"]).await.expect_err("nothing is there").to_string();
        let expected = format!("nothing answers at http://{address}: is `tollgate up` running with this config?");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[tokio::test]
async fn a_missing_token_names_the_file_it_should_be_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin-token");
    let unauthorized = r#"{"status":401,"code":"unauthorized","detail":"no"}"#;
    for content in [None, Some("\n")] {
        if let Some(content) = content {
            std::fs::write(&path, content).expect("written");
        }
        let client = client(serve(problem(401, unauthorized)).await, Token::read(&path));
        let error = client.get(&["accounts"]).await.expect_err("no token").to_string();
        assert!(error.contains("no operator's token") && error.contains(&path.display().to_string()), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let router = Router::new().fallback(any(std::future::pending::<()>));
    let client = client(serve(router).await, known());
    let called = client.call(Method::GET, &["accounts"], &[], None, Duration::from_millis(50)).await;
    assert!(matches!(called, Err(ClientError::TimedOut { .. })), "{called:?}");
}

#[tokio::test]
async fn references_are_escaped_and_the_token_is_sent() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = seen.clone();
    let router = Router::new().route(
        "/admin/v1/accounts/{reference}/ban",
        any(move |PathSegment(reference): PathSegment<String>, headers: HeaderMap| async move {
            let token = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
            record.lock().push((reference, token.to_owned()));
            Json(json!({}))
        }),
    );
    let client = client(serve(router).await, known());
    for reference in ["ada@example.com", "a/b%2F?c#d@example.com", "zoë@example.com"] {
        client.post(&["accounts", reference, "ban"], &json!({})).await.expect(reference);
        assert_eq!(seen.lock().pop(), Some((reference.to_owned(), "Bearer right".to_owned())));
    }
}

#[tokio::test]
async fn all_pages_of_a_listing_are_fetched() {
    let router = Router::new().route(
        "/admin/v1/keys",
        get(|Query(query): Query<Vec<(String, String)>>| async move {
            let value = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            assert_eq!((value("account").as_deref(), value("limit").as_deref()), (Some("acc_1"), Some("200")));
            let page: u64 = value("cursor").map_or(0, |cursor| cursor.parse().expect("a cursor"));
            let next = (page < 2).then(|| (page + 1).to_string());
            Json(json!({ "items": [{ "page": page }], "next_cursor": next }))
        }),
    );
    let client = client(serve(router).await, known());
    let keys = client.list(&["keys"], &[("account", "acc_1")]).await.expect("three pages");
    assert_eq!(keys, [json!({ "page": 0 }), json!({ "page": 1 }), json!({ "page": 2 })]);
}

#[tokio::test]
async fn a_base_with_a_path_is_kept_and_credentials_are_not_shown() {
    let client = client(Url::parse("http://user:secret@admin.internal:1/behind/").expect("a URL"), known());
    assert_eq!(client.address(&["keys"], &[]).path(), "/behind/admin/v1/keys");
    assert_eq!(client.shown(), "http://admin.internal:1/behind");
}
