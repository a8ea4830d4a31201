//! A consumer against small servers: where the customer side is found, and what is said where it is not.

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::{any, get};
use parking_lot::Mutex;
use serde_json::json;

use super::*;
use crate::client::tests::{install_crypto_provider, serve};

fn me() -> Value {
    json!({ "account": "acc_1", "email": "ada@example.com", "name": null, "plan": null, "quota": null })
}

fn customer_side() -> Router {
    Router::new().route(
        "/v1/me",
        get(|headers: HeaderMap| async move {
            if headers.get("authorization").is_some_and(|value| value == "Bearer good") {
                return axum::Json(me()).into_response();
            }
            let problem = r#"{"status":403,"code":"invalid_key","detail":"Invalid or revoked API key"}"#;
            (axum::http::StatusCode::FORBIDDEN, problem).into_response()
        }),
    )
}

async fn find(router: Router, path: &str, key: &str) -> Result<String, ConsumerError> {
    install_crypto_provider();
    let server = serve(router).await;
    let url = server.join(path).expect("a URL");
    let found = Consumer::new(key).expect("a consumer").find(&url, None).await?;
    assert_eq!(found.me, me());
    Ok(found.base.path().to_owned())
}

#[tokio::test]
async fn the_customer_side_is_found_at_the_address_or_at_its_mount() {
    // A backend with a path of the same name, which is no customer side.
    let backend = || Router::new().route("/v1/me", get(|| async { axum::Json(json!({ "id": 7 })) }));
    for (router, path, expected) in [
        (customer_side(), "", "/"),
        (Router::new().nest("/tollgate", customer_side()), "", "/tollgate"),
        (Router::new().nest("/tollgate", customer_side()), "/tollgate", "/tollgate"),
        (Router::new().nest("/tollgate", customer_side()), "/tollgate/", "/tollgate/"),
        (backend().nest("/tollgate", customer_side()), "", "/tollgate"),
        (Router::new().nest("/behind/tollgate", customer_side()), "/behind", "/behind/tollgate"),
    ] {
        assert_eq!(find(router, path, "good").await.expect(expected), expected);
    }
}

#[tokio::test]
async fn what_went_wrong_is_told_by_the_most_telling_answer() {
    let page = || Router::new().fallback(any(|| async { "<html>" }));
    let down = Router::new().fallback(any(|| async { (StatusCode::BAD_GATEWAY, "") }));
    let elsewhere =
        Router::new().fallback(any(|| async { axum::response::Redirect::temporary("http://evil.example/") }));
    for (router, key, part, is_passing) in [
        (Router::new().nest("/tollgate", customer_side()), "bad", "says: Invalid or revoked API key", false),
        (customer_side(), "bad", "says: Invalid or revoked API key", false),
        (page(), "good", "answered 200, but not as Tollgate does", false),
        (down, "good", "answered 502", true),
        (elsewhere, "good", "answered 307", false),
    ] {
        let error = find(router, "", key).await.expect_err(part);
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(error.is_passing(), is_passing, "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_asked_once() {
    install_crypto_provider();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = Url::parse(&format!("http://{}", listener.local_addr().expect("bound"))).expect("a URL");
    drop(listener);
    let error = Consumer::new("good").expect("a consumer").find(&url, None).await.err().expect("nothing is there");
    assert!(error.is_passing() && error.to_string().contains("cannot be reached"), "{error}");
}

#[tokio::test]
async fn where_it_was_found_is_asked_first() {
    install_crypto_provider();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = seen.clone();
    let router = Router::new().fallback(any(move |uri: axum::http::Uri| async move {
        record.lock().push(uri.path().to_owned());
        axum::Json(me())
    }));
    let url = serve(router).await;
    let known = url.join("/mounted").expect("a URL");
    let found = Consumer::new("good").expect("a consumer").find(&url, Some(&known)).await.expect("found");
    assert_eq!((found.base, seen.lock().as_slice()), (known, ["/mounted/v1/me".to_owned()].as_slice()));
}

#[test]
fn keys_are_one_visible_word_and_clear_text_is_known() {
    install_crypto_provider();
    for key in ["", " ", "two words", "caf\u{e9}", "line\nbreak"] {
        assert!(Consumer::new(key).is_err(), "{key:?}");
    }
    for (url, expected) in [
        ("http://api.example.com", true),
        ("https://api.example.com", false),
        ("http://localhost:8080/tollgate", false),
        ("http://127.0.0.1:8080", false),
        ("http://[::1]:8080", false),
        ("http://10.0.0.1", true),
    ] {
        assert_eq!(is_in_the_clear(&Url::parse(url).expect(url)), expected, "{url}");
    }
}
