//! `/login`: the page that a mailed link opens.

use axum::body::Body;
use http::Request;
use serde_json::json;

use crate::harness::{Answer, Plane};

async fn link(plane: &Plane) -> String {
    plane.call("POST", "/v1/session/link", Some(&json!({ "email": "o'ada&b@example.com" })), &[]).await.expect(202);
    plane.post.next().await.token()
}

async fn press(plane: &Plane, token: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder()
        .method("POST")
        .uri("/login")
        .header("host", "api.example.com")
        .header("content-type", "application/x-www-form-urlencoded");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    plane.send(request.body(Body::from(format!("token={token}"))).expect("a good request")).await
}

#[tokio::test]
async fn looking_at_the_page_does_not_use_the_link_up_and_the_button_does() {
    let plane = Plane::start().await;
    let token = link(&plane).await;
    for _ in 0..3 {
        let page = plane.customer(&format!("/login?token={token}&utm_source=mail"), &[]).await;
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
        assert_eq!(page.header("cache-control"), "no-store");
        assert!(page.header("content-security-policy").contains("default-src 'none'"));
        assert!(page.expect(200).as_str().expect("a page").contains(&format!("value=\"{token}\"")));
    }
    let page = press(&plane, &token, &[("sec-fetch-site", "same-origin")]).await;
    assert!(page.header("set-cookie").starts_with("tollgate_session="));
    let page = page.expect(200);
    assert!(page.as_str().expect("a page").contains("o&#39;ada&amp;b@example.com"), "{page}");
    let again = press(&plane, &token, &[]).await;
    assert_eq!(again.header("set-cookie"), "");
    assert!(again.expect(403).as_str().expect("a page").contains("used or expired"));
}

#[tokio::test]
async fn another_site_cannot_press_the_button() {
    let plane = Plane::start().await;
    let token = link(&plane).await;
    for foreign in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "https://api.example.com:444"),
    ] {
        let page = press(&plane, &token, &[foreign]).await;
        assert_eq!(page.header("set-cookie"), "", "{foreign:?}");
        page.expect(403);
    }
    press(&plane, &token, &[("origin", "https://api.example.com")]).await.expect(200);
}

#[tokio::test]
async fn what_a_link_carries_is_never_part_of_the_page_s_code() {
    let plane = Plane::start().await;
    let page = plane.customer("/login?token=%22%3E%3Cscript%3E", &[]).await.expect(200);
    let page = page.as_str().expect("a page");
    assert!(page.contains("&quot;&gt;&lt;script&gt;") && !page.contains("<script"), "{page}");
    plane.customer("/login", &[]).await.expect(200);
    plane.customer(&format!("/login?token={}", "a".repeat(5_000)), &[]).await.expect(200);
    let json = plane.call("POST", "/login", Some(&json!({ "token": "x" })), &[]).await;
    json.problem(415, "unsupported_media_type");
}
