//! `/v1/session`: links, signing in, sessions, and how they end.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use serde_json::{Value, json};
use tollgate_config::{PortalConfig, Settings};

use crate::harness::{Answer, Plane};

async fn ask(plane: &Plane, email: &str) -> Value {
    plane.call("POST", "/v1/session/link", Some(&json!({ "email": email })), &[]).await.expect(202)
}

async fn open(plane: &Plane, token: &str) -> Answer {
    plane.call("POST", "/v1/session", Some(&json!({ "token": token })), &[]).await
}

#[tokio::test]
async fn a_mailed_link_signs_in_once_and_makes_the_account() {
    let plane = Plane::start().await;
    assert_eq!(ask(&plane, "ada@example.com").await, json!({ "sent": true }));
    let letter = plane.post.next().await;
    assert_eq!(letter.to, "ada@example.com");
    assert!(letter.text.contains("http://127.0.0.1:8081/login?token="), "{}", letter.text);
    let answer = open(&plane, &letter.token()).await;
    let cookie = answer.header("set-cookie").to_owned();
    for part in ["tollgate_session=", "; Path=/;", "Max-Age=86400", "HttpOnly", "Secure", "SameSite=Lax"] {
        assert!(cookie.contains(part), "{part} in {cookie}");
    }
    let session = answer.expect(200);
    assert_eq!(session["email"], "ada@example.com");
    assert_eq!(session["expires_at"], "2026-03-11T12:00:00Z");
    assert_eq!(session.as_object().expect("an object").len(), 4);
    open(&plane, &letter.token()).await.problem(403, "invalid_link");
    let cookie = cookie.split(';').next().expect("a pair");
    let shown = plane.customer("/v1/session", &[("cookie", cookie)]).await.expect(200);
    assert_eq!(shown, session);
    let me = plane.customer("/v1/me", &[("cookie", cookie)]).await.expect(200);
    assert_eq!((&me["name"], &me["key"]), (&json!("ada"), &Value::Null));
    // The same address in another case is the same account.
    ask(&plane, "ADA@example.com").await;
    let token = plane.post.next().await.token();
    assert_eq!(open(&plane, &token).await.expect(200)["account"], session["account"]);
}

#[tokio::test]
async fn a_cookie_lasts_as_long_as_is_configured_however_long_signing_in_takes() {
    for secs in [86_400, 90] {
        let portal = PortalConfig { session: Duration::from_secs(secs), ..Settings::default().portal };
        let plane = Plane::with(Settings { portal, ..Settings::default() }).await;
        ask(&plane, "ada@example.com").await;
        let token = plane.post.next().await.token();
        plane.clock.tick(1);
        let answer = open(&plane, &token).await;
        let cookie = answer.header("set-cookie").to_owned();
        assert!(cookie.contains(&format!("; Max-Age={secs};")), "{cookie}");
        answer.expect(200);
    }
}

#[tokio::test]
async fn a_link_expires_and_what_is_no_link_opens_nothing() {
    let plane = Plane::start().await;
    ask(&plane, "ada@example.com").await;
    let token = plane.post.next().await.token();
    plane.clock.advance_secs(15 * 60);
    open(&plane, &token).await.problem(403, "invalid_link");
    for bad in ["", "x", &"0".repeat(64), &token[..63], &format!("{token}0"), "é"] {
        open(&plane, bad).await.problem(403, "invalid_link");
    }
    assert_eq!(plane.get("/accounts").await.expect(200)["items"], json!([]), "nobody was signed up");
}

#[tokio::test]
async fn every_address_is_answered_alike_whatever_becomes_of_the_mail() {
    let portal = PortalConfig { signup: false, ..PortalConfig::default() };
    let plane = Plane::with(Settings { portal, ..Settings::default() }).await;
    plane.key("ada@example.com", "pro").await;
    let sent = json!({ "sent": true });
    assert_eq!(ask(&plane, "nobody@example.com").await, sent);
    assert!(plane.post.is_quiet().await, "nobody may sign up");
    for _ in 0..5 {
        assert_eq!(ask(&plane, "ada@example.com").await, sent);
        plane.post.next().await;
    }
    assert_eq!(ask(&plane, "Ada@Example.com").await, sent);
    assert!(plane.post.is_quiet().await, "five an hour are enough");
    plane.clock.advance_secs(3_601);
    plane.post.is_closed.store(true, Ordering::SeqCst);
    assert_eq!(ask(&plane, "ada@example.com").await, sent, "the answer does not wait for the mail");
    tokio::time::sleep(Duration::from_millis(100)).await;
    for (body, pointers) in [
        (json!({}), vec!["#/email"]),
        (json!({ "email": "nobody" }), vec!["#/email"]),
        (json!({ "email": 5, "name": "x" }), vec!["#/email", "#/name"]),
    ] {
        let answer = plane.call("POST", "/v1/session/link", Some(&body), &[]).await;
        assert_eq!(answer.pointers(), pointers, "{body}");
    }
}

#[tokio::test]
async fn where_nothing_can_be_mailed_that_is_said_and_nothing_is_changed() {
    let advice_is_given = |problem: &Value| problem["detail"].as_str().is_some_and(|detail| detail.contains("[mail]"));
    let plane = Plane::without_mail().await;
    let answer = plane.call("POST", "/v1/session/link", Some(&json!({ "email": "ada@example.com" })), &[]).await;
    assert!(advice_is_given(&answer.problem(503, "mail_unavailable")));
    assert_eq!(plane.get("/accounts").await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn the_cookie_belongs_to_the_path_that_the_gateway_serves_us_under() {
    let plane = Plane::start().await;
    ask(&plane, "ada@example.com").await;
    let body = json!({ "token": plane.post.next().await.token() });
    let answer = plane.call("POST", "/v1/session", Some(&body), &[("x-tollgate-mount", "/tollgate")]).await;
    assert!(answer.header("set-cookie").contains("; Path=/tollgate;"), "{}", answer.header("set-cookie"));
}

#[tokio::test]
async fn a_session_ends_by_sign_out_by_time_by_ban_and_by_deletion() {
    let plane = Plane::start().await;
    let me = async |cookie: &str| plane.customer("/v1/me", &[("cookie", cookie)]).await;
    let ada = plane.sign_in("ada@example.com").await;
    let elsewhere = plane.sign_in("ada@example.com").await;
    let answer = plane.call("DELETE", "/v1/session", None, &ada.headers()).await;
    assert!(answer.header("set-cookie").starts_with("tollgate_session=; "), "{}", answer.header("set-cookie"));
    answer.expect(204);
    me(&ada.cookie).await.problem(401, "missing_key");
    me(&elsewhere.cookie).await.expect(200);
    plane.post(&format!("/accounts/{}/ban", ada.account), json!({})).await.expect(200);
    me(&elsewhere.cookie).await.problem(403, "account_disabled");
    plane.call("POST", "/v1/keys", None, &elsewhere.headers()).await.problem(403, "account_disabled");
    ask(&plane, "ada@example.com").await;
    open(&plane, &plane.post.next().await.token()).await.problem(403, "account_disabled");
    plane.post(&format!("/accounts/{}/unban", ada.account), json!({})).await.expect(200);
    me(&elsewhere.cookie).await.expect(200);
    plane.operator("DELETE", &format!("/accounts/{}", ada.account), None).await.expect(200);
    me(&elsewhere.cookie).await.problem(401, "missing_key");
    let bob = plane.sign_in("bob@example.com").await;
    plane.clock.advance_secs(24 * 3_600);
    me(&bob.cookie).await.problem(401, "missing_key");
}

#[tokio::test]
async fn a_forged_cookie_proves_nothing() {
    let plane = Plane::start().await;
    let ada = plane.sign_in("ada@example.com").await;
    let value = ada.cookie.strip_prefix("tollgate_session=").expect("ours");
    let (id, signature) = value.split_once('.').expect("signed");
    let last = if signature.ends_with('0') { "1" } else { "0" };
    for forged in [
        String::new(),
        id.to_owned(),
        format!("{id}."),
        format!("{}.{signature}", "0".repeat(64)),
        format!("{id}.{}{last}", &signature[..63]),
        format!("{id}.{signature}.x"),
    ] {
        let cookie = format!("tollgate_session={forged}");
        plane.customer("/v1/me", &[("cookie", &cookie)]).await.problem(401, "missing_key");
    }
    let answer = plane.customer("/v1/session", &[]).await;
    assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"api\"");
    answer.problem(401, "sign_in_needed");
}

#[tokio::test]
async fn a_key_beside_a_session_must_be_of_the_same_account() {
    let plane = Plane::start().await;
    let ada = plane.sign_in("ada@example.com").await;
    let own = plane.key("ada@example.com", "free").await;
    let other = plane.key("bob@example.com", "pro").await;
    let raw = |key: &Value| key["key"].as_str().expect("a raw key").to_owned();
    let both = async |key: &str| plane.customer("/v1/me", &[("cookie", &ada.cookie), ("x-api-key", key)]).await;
    assert_eq!(both(&raw(&own)).await.expect(200)["account"], ada.account.as_str());
    both(&raw(&other)).await.problem(400, "bad_request");
    both("nonsense").await.problem(403, "invalid_key");
}

/// Asks for links as a gateway passes it on: from this peer, for this client.
async fn ask_from(plane: &Plane, peer: &str, client: &str, number: u32) -> Answer {
    let body = json!({ "email": format!("{number}@{client}.example") });
    let request = http::Request::post("/v1/session/link")
        .header("content-type", "application/json")
        .header("x-tollgate-client", client)
        .extension(ConnectInfo(SocketAddr::new(peer.parse().expect("an address"), 4711)));
    plane.send(request.body(Body::from(body.to_string())).expect("a good request")).await
}

#[tokio::test]
async fn an_address_asks_for_twenty_links_an_hour_whomever_they_are_mailed_to() {
    let plane = Plane::start().await;
    for number in 0..20 {
        ask_from(&plane, "127.0.0.1", "203.0.113.9", number).await.expect(202);
        plane.post.next().await;
    }
    let refused = ask_from(&plane, "127.0.0.1", "203.0.113.9", 20).await;
    let wait: u32 = refused.header("retry-after").parse().expect("seconds");
    assert!((3_500..=3_700).contains(&wait), "{wait}");
    refused.problem(429, "too_many_links");
    assert!(plane.post.is_quiet().await, "nothing was mailed");
    // Whoever is not behind a gateway cannot say to be somebody else.
    ask_from(&plane, "198.51.100.7", "203.0.113.9", 21).await.expect(202);
    ask_from(&plane, "10.0.0.2", "203.0.113.10", 22).await.expect(202);
    ask_from(&plane, "10.0.0.2", "203.0.113.9", 23).await.problem(429, "too_many_links");
    plane.clock.advance_secs(i64::from(wait));
    ask_from(&plane, "127.0.0.1", "203.0.113.9", 24).await.expect(202);
}
