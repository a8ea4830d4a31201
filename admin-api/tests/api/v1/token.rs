//! Tokens of the backend's own, in the header or in a cookie.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tollgate_config::{AuthConfig, JwtConfig, JwtKeys, Secret, Settings};

use crate::harness::{NOON, Plane};

const SECRET: &str = "a secret that is long enough for HS256";

async fn plane() -> Plane {
    let jwt = JwtConfig {
        keys: JwtKeys::Secret(Secret::new(SECRET)),
        issuer: Some("https://backend.example".into()),
        audience: vec!["api".into()],
        leeway: Duration::from_mins(1),
        cookie: Some("backend".into()),
        name_claim: "name".into(),
    };
    Plane::with(Settings { auth: AuthConfig { jwt: Some(jwt) }, ..Settings::default() }).await
}

fn signed(header: &Value, claims: &Value, secret: &str) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(header), encode(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// A good token, but for these claims.
fn token(claims: &Value) -> String {
    let mut all = json!({
        "sub": "user-1", "email": "ada@example.com", "iss": "https://backend.example", "aud": "api",
        "exp": NOON.as_secs() + 600,
    });
    for (name, value) in claims.as_object().expect("an object") {
        all[name] = value.clone();
    }
    signed(&json!({ "alg": "HS256", "typ": "JWT" }), &all, SECRET)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[tokio::test]
async fn a_token_makes_the_account_at_first_sight_and_finds_it_after() {
    let plane = plane().await;
    let me = async |token: &str| plane.customer("/v1/me", &[("authorization", &bearer(token))]).await.expect(200);
    let first = me(&token(&json!({ "name": "Ada Lovelace" }))).await;
    assert_eq!((&first["email"], &first["name"]), (&json!("ada@example.com"), &json!("Ada Lovelace")));
    assert_eq!(first["plan"]["name"], "free", "the default plan");
    let second = me(&token(&json!({ "email": "other@example.com", "name": "X" }))).await;
    assert_eq!((&second["account"], &second["email"]), (&first["account"], &first["email"]));
    let unnamed = me(&token(&json!({ "sub": "user-2", "email": "grace.hopper@example.com" }))).await;
    assert_eq!(unnamed["name"], "grace.hopper");
    let session = plane.customer("/v1/session", &[("authorization", &bearer(&token(&json!({}))))]).await.expect(200);
    assert_eq!(session["expires_at"], "2026-03-10T12:10:00Z");
}

#[tokio::test]
async fn a_token_joins_an_account_by_a_verified_address_only() {
    let plane = plane().await;
    let by_link = plane.sign_in("ada@example.com").await;
    let me = async |claims: Value| plane.customer("/v1/me", &[("authorization", &bearer(&token(&claims)))]).await;
    me(json!({})).await.problem(403, "email_not_verified");
    me(json!({ "email_verified": false })).await.problem(403, "email_not_verified");
    let joined = me(json!({ "email_verified": true })).await.expect(200);
    assert_eq!(joined["account"], by_link.account.as_str());
    assert_eq!(me(json!({})).await.expect(200)["account"], by_link.account.as_str(), "the subject is known by now");
    me(json!({ "sub": "user-2" })).await.problem(403, "email_not_verified");
}

#[tokio::test]
async fn what_is_no_good_token_is_told_why() {
    let plane = plane().await;
    let none = signed(&json!({ "alg": "none" }), &json!({ "sub": "user-1" }), "");
    let foreign = signed(
        &json!({ "alg": "HS256" }),
        &json!({ "sub": "u", "email": "a@b.c", "iss": "https://backend.example", "aud": "api", "exp": NOON.as_secs() + 600 }),
        "another secret that is long enough too",
    );
    for (bad, why) in [
        (token(&json!({ "exp": NOON.as_secs() - 61 })), "expired"),
        (token(&json!({ "aud": "other" })), "audience"),
        (token(&json!({ "iss": "https://evil.example" })), "issuer"),
        (token(&json!({ "email": null })), "e-mail"),
        (token(&json!({ "email": "nobody" })), "e-mail"),
        (none, "algorithm"),
        (foreign, "signature"),
        ("nonsense".to_owned(), "JWT"),
    ] {
        let answer = plane.customer("/v1/me", &[("authorization", &bearer(&bad))]).await;
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"api\", error=\"invalid_token\"", "{why}");
        let problem = answer.problem(401, "invalid_token");
        assert!(problem["detail"].as_str().expect("words").contains(why), "{why}: {problem}");
        let cookie = format!("backend={bad}");
        plane.customer("/v1/me", &[("cookie", &cookie)]).await.problem(401, "invalid_token");
    }
    let accounts = plane.get("/accounts").await.expect(200);
    assert_eq!(accounts["items"], json!([]), "nobody was made");
}

#[tokio::test]
async fn a_write_needs_proof_that_it_was_meant_where_a_cookie_carries_the_token() {
    let plane = plane().await;
    let good = token(&json!({}));
    let (header, cookie) = (bearer(&good), format!("backend={good}"));
    let rename =
        async |headers: &[(&str, &str)]| plane.call("PATCH", "/v1/me", Some(&json!({ "name": "A" })), headers).await;
    rename(&[("authorization", &header)]).await.expect(200);
    rename(&[("cookie", &cookie)]).await.problem(403, "csrf");
    let session = plane.customer("/v1/session", &[("cookie", &cookie)]).await.expect(200);
    let csrf = session["csrf_token"].as_str().expect("a text");
    rename(&[("cookie", &cookie), ("x-csrf-token", csrf)]).await.expect(200);
    rename(&[("cookie", &cookie), ("x-csrf-token", csrf), ("x-csrf-token", csrf)]).await.problem(403, "csrf");
    let other = format!("backend={}", token(&json!({ "jti": "another" })));
    rename(&[("cookie", &other), ("x-csrf-token", csrf)]).await.problem(403, "csrf");
}

#[tokio::test]
async fn a_stale_cookie_does_no_harm_beside_a_good_proof_and_two_accounts_are_refused() {
    let plane = plane().await;
    let stale = format!("backend={}", token(&json!({ "exp": NOON.as_secs() - 3_600 })));
    let good = bearer(&token(&json!({})));
    plane.customer("/v1/me", &[("authorization", &good), ("cookie", &stale)]).await.expect(200);
    let bob = plane.sign_in("bob@example.com").await;
    let both = [("authorization", good.as_str()), ("cookie", bob.cookie.as_str())];
    plane.customer("/v1/me", &both).await.problem(400, "bad_request");
    let key = plane.key("grace@example.com", "pro").await;
    let both = [("authorization", good.as_str()), ("x-api-key", key["key"].as_str().expect("a raw key"))];
    plane.customer("/v1/me", &both).await.problem(400, "bad_request");
}

#[tokio::test]
async fn a_banned_account_s_token_is_refused_and_a_deleted_one_s_begins_anew() {
    let plane = plane().await;
    let header = bearer(&token(&json!({})));
    let me = async || plane.customer("/v1/me", &[("authorization", &header)]).await;
    let first = me().await.expect(200)["account"].as_str().expect("an id").to_owned();
    plane.post(&format!("/accounts/{first}/ban"), json!({})).await.expect(200);
    me().await.problem(403, "account_disabled");
    plane.operator("DELETE", &format!("/accounts/{first}"), None).await.expect(200);
    assert_ne!(me().await.expect(200)["account"], first.as_str());
}

#[tokio::test]
async fn whoever_proves_an_address_by_a_link_does_not_share_an_account_that_a_token_made_for_it() {
    let plane = plane().await;
    let eve = bearer(&token(&json!({ "sub": "eve", "email": "ada@example.com" })));
    let as_eve = async |path: &str| plane.customer(path, &[("authorization", &eve)]).await.expect(200);
    let claimed = as_eve("/v1/me").await["account"].clone();
    let plan = format!("/accounts/{}/plan", claimed.as_str().expect("an id"));
    plane.operator("PUT", &plan, Some(json!({ "plan": "pro" }))).await.expect(200);
    let body = json!({ "name": "eve's" });
    plane.call("POST", "/v1/keys", Some(&body), &[("authorization", &eve)]).await.expect(201);

    let ada = plane.sign_in("ada@example.com").await;
    assert_ne!(json!(ada.account), claimed);
    let hers = plane.customer("/v1/keys", &ada.headers()).await.expect(200);
    assert_eq!(hers["items"], json!([]), "a key of somebody else's opens nothing of hers");
    assert_eq!(as_eve("/v1/me").await["account"], claimed, "the token goes on to mean its own account");
    assert_eq!(plane.sign_in("ada@example.com").await.account, ada.account);
    let shown = plane.get("/accounts/ada@example.com").await.expect(200);
    assert_eq!(shown["id"], json!(ada.account), "an operator who names the address means its owner");
    // Her own token, vouched for, joins her.
    let hers = bearer(&token(&json!({ "sub": "ada", "email": "ada@example.com", "email_verified": true })));
    let me = plane.customer("/v1/me", &[("authorization", &hers)]).await.expect(200);
    assert_eq!(me["account"], json!(ada.account));
}

#[tokio::test]
async fn whoever_signed_in_by_a_token_proves_its_address_by_a_link_mailed_there() {
    let plane = plane().await;
    let ada = bearer(&token(&json!({})));
    let account = plane.customer("/v1/me", &[("authorization", &ada)]).await.expect(200)["account"].clone();
    let change = async || {
        let body = json!({ "email": "ADA@example.com" });
        plane.call("PATCH", "/v1/me", Some(&body), &[("authorization", &ada)]).await.expect(200)
    };
    assert_eq!(change().await["pending_email"], "ADA@example.com");
    let opened = json!({ "token": plane.post.next().await.token() });
    let session = plane.call("POST", "/v1/session", Some(&opened), &[]).await.expect(200);
    assert_eq!(session["account"], account);
    assert!(plane.post.is_quiet().await, "nobody is told of a change that is none");
    assert_eq!(
        json!(plane.sign_in("ada@example.com").await.account),
        account,
        "from now on it is hers by a link as well"
    );
    assert_eq!(change().await.get("pending_email"), None, "and needs no other proof");
}
